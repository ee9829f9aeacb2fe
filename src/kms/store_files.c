#include "kms/store_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

enum { FILE_VERSION = 1, LOCK_WAIT_MS = 10000, SMALL_FILE_BYTES = 4096 };

static char *key_path(const struct kmsd_files *f, bool shared, const char *id) {
    return str_format("%s/keys/%s.json", shared ? f->shared_dir : f->data_dir, id);
}

static struct result take_lock(const char *path, int64_t wait_ms, int *ret_fd) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return err_from_errno(errno, "open %s", path);
    for (int64_t waited_ms = 0;; waited_ms += 5) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) break;
        int why = errno;
        if ((why != EWOULDBLOCK && why != EINTR) || waited_ms >= wait_ms) {
            close(fd);
            if (why == EWOULDBLOCK) FAIL(ERR_TIMEOUT, "%s is held by another process", path);
            return err_from_errno(why, "lock %s", path);
        }
        clock_sleep_ms(5);
    }
    *ret_fd = fd;
    return OK;
}

struct result kmsd_files_lock(const struct kmsd_files *f, int *ret_fd) {
    AUTO_FREE char *path = str_format("%s/lock", f->shared_dir);
    return take_lock(path, LOCK_WAIT_MS, ret_fd);
}

void kmsd_files_unlock(int *fd) {
    if (*fd >= 0) close(*fd); // ends the lock: nobody else has this open file description
    *fd = -1;
}

/* Writes `text` to the file if there is none; otherwise the file must say the same. */
static struct result hold_to(const char *path, const char *text, const char *what) {
    BUF_AUTO(present, SMALL_FILE_BYTES);
    struct result r = file_read(path, SMALL_FILE_BYTES, &present);
    if (r.code == ERR_NOT_FOUND) return file_write_atomic(path, slice_str(text), 0600);
    TRY(r);
    CHECK(strcmp(buf_str(&present), text) == 0, ERR_CONFLICT, "%s belongs to another %s", path, what);
    return OK;
}

static struct result count_key(void *arg, const char *id) {
    (*(size_t *)arg)++;
    return OK;
}

static struct result check_private(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) return err_from_errno(errno, "%s", path);
    CHECK((st.st_mode & 077) == 0, ERR_FORBIDDEN, "%s can be read by others: chmod 600 it", path);
    return OK;
}

static struct result create_root_key(struct kmsd_files *f, const char *path) {
    size_t stored = 0;
    TRY(kmsd_files_each(f, false, count_key, &stored));
    TRY(kmsd_files_each(f, true, count_key, &stored));
    CHECK(stored == 0, ERR_NOT_FOUND, "the root key %s is missing, and %zu stored keys can't be read without it", path,
          stored);
    SECRET_AUTO(key);
    TRY(secret_random(KEY_BYTES, &key));
    AUTO(buf_done) struct buf text;
    buf_init_wiping(&text, SMALL_FILE_BYTES);
    hex_encode(secret_view(&key), &text);
    buf_append_byte(&text, '\n');
    TRY(file_write_atomic(path, buf_slice(&text), 0600));
    f->root_key = key;
    key = (struct secret){0};
    return OK;
}

static struct result read_root_key(struct kmsd_files *f, const char *path, struct buf *text) {
    TRY(check_private(path));
    AUTO(buf_done) struct buf key;
    buf_init_wiping(&key, SMALL_FILE_BYTES);
    struct slice hex = buf_slice(text);
    if (hex.len > 0 && hex.data[hex.len - 1] == '\n') hex.len--;
    CHECK(hex.len == 2 * KEY_BYTES && is_ok(hex_decode(hex, &key)), ERR_INVALID,
          "%s must hold a root key of %d hex digits", path, 2 * KEY_BYTES);
    return secret_from(key.data, key.len, &f->root_key);
}

/* Under SHARED's lock, so that regions which start together agree on one. */
static struct result load_root_key(struct kmsd_files *f, const char *path) {
    AUTO(buf_done) struct buf text;
    buf_init_wiping(&text, SMALL_FILE_BYTES);
    struct result r = file_read(path, SMALL_FILE_BYTES, &text);
    if (r.code == ERR_NOT_FOUND) {
        TRY(create_root_key(f, path));
    } else {
        TRY(r);
        TRY(read_root_key(f, path, &text));
    }
    uint8_t id[SHA256_BYTES];
    TRY(hmac_sha256(secret_view(&f->root_key), slice_str("lockset-kms root id"), id));
    BUF_AUTO(hex, SMALL_FILE_BYTES);
    hex_encode(slice_make(id, 16), &hex);
    AUTO_FREE char *id_path = str_format("%s/root.id", f->shared_dir);
    return hold_to(id_path, buf_str(&hex), "root key");
}

static struct result make_folders(const struct kmsd_files *f) {
    AUTO_FREE char *own = str_format("%s/keys", f->data_dir);
    AUTO_FREE char *shared = str_format("%s/keys", f->shared_dir);
    TRY(file_make_dirs(own));
    return file_make_dirs(shared);
}

struct result kmsd_files_open(const struct kmsd_store_options *o, struct kmsd_files *ret) {
    AUTO(kmsd_files_done) struct kmsd_files f = {.lock_fd = -1};
    f.data_dir = str_dup(o->data_dir);
    f.shared_dir = o->shared_dir != NULL ? str_dup(o->shared_dir) : str_format("%s/../shared", o->data_dir);
    CHECK(strlen(o->region) < sizeof f.region, ERR_INVALID, "the region's name is too long");
    snprintf(f.region, sizeof f.region, "%s", o->region);
    TRY(make_folders(&f));
    AUTO_FREE char *lock_path = str_format("%s/lock", f.data_dir);
    struct result locked = take_lock(lock_path, 0, &f.lock_fd);
    if (locked.code == ERR_TIMEOUT) FAIL(ERR_CONFLICT, "another lockset-kms already serves %s", f.data_dir);
    TRY(locked);
    AUTO_FREE char *region_path = str_format("%s/region", f.data_dir);
    TRY(hold_to(region_path, f.region, "region"));
    AUTO_FREE char *root_path =
        o->root_key_file != NULL ? str_dup(o->root_key_file) : str_format("%s/../root.key", o->data_dir);
    AUTO(kmsd_files_unlock) int shared_lock = -1;
    TRY(kmsd_files_lock(&f, &shared_lock));
    TRY(load_root_key(&f, root_path));
    *ret = f;
    f = (struct kmsd_files){.lock_fd = -1};
    return OK;
}

void kmsd_files_done(struct kmsd_files *f) {
    mem_free(f->data_dir);
    mem_free(f->shared_dir);
    secret_done(&f->root_key);
    kmsd_files_unlock(&f->lock_fd);
    *f = (struct kmsd_files){.lock_fd = -1};
}

struct result kmsd_files_mark(const struct kmsd_files *f, const char *id, struct kmsd_file_mark *ret) {
    AUTO_FREE char *path = key_path(f, true, id);
    struct stat st;
    if (stat(path, &st) != 0) return err_from_errno(errno, "%s", path);
    *ret = (struct kmsd_file_mark){st.st_ino, st.st_size, st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec,
                                   st.st_ctim.tv_sec * NS_PER_S + st.st_ctim.tv_nsec};
    return OK;
}

static struct result read_json(const char *path, json_t **ret) {
    BUF_AUTO(text, KMSD_MAX_FILE_BYTES);
    TRY(file_read(path, KMSD_MAX_FILE_BYTES, &text));
    JSON_AUTO(j);
    int64_t version = 0;
    struct result r = json_parse_object(buf_slice(&text), &j);
    if (is_ok(r)) r = json_get_int(j, "version", FILE_VERSION, FILE_VERSION, &version);
    if (is_err(r)) {
        AUTO_FREE char *why = str_dup(err_detail());
        FAIL(ERR_INVALID, "%s is damaged: %s", path, why);
    }
    *ret = TAKE(j);
    return OK;
}

static struct result write_json(const char *path, json_t *j) {
    CHECK(j != NULL, ERR_INTERNAL, "a key that JSON can't hold");
    BUF_AUTO(text, KMSD_MAX_FILE_BYTES);
    TRY(json_write(j, &text));
    buf_append_byte(&text, '\n');
    TRY(buf_check(&text));
    return file_write_atomic(path, buf_slice(&text), 0600);
}

static struct result check_file(struct result r, const char *path, const char *id, const struct kmsd_family *family) {
    if (is_ok(r) && family->id[0] != '\0' && strcmp(family->id, id) != 0)
        FAIL(ERR_INVALID, "%s is of another key", path);
    if (is_ok(r)) return OK;
    AUTO_FREE char *why = str_dup(err_detail());
    FAIL(ERR_INVALID, "%s is damaged: %s", path, why);
}

struct result kmsd_files_read_family(const struct kmsd_files *f, const char *id, struct kmsd_family *ret) {
    AUTO_FREE char *path = key_path(f, true, id);
    JSON_AUTO(j);
    TRY(read_json(path, &j));
    AUTO(kmsd_family_done) struct kmsd_family family = {0};
    TRY(check_file(kmsd_family_from_json(json_object_get(j, "key"), &family), path, id, &family));
    *ret = family;
    family = (struct kmsd_family){0};
    return OK;
}

struct result kmsd_files_write_family(const struct kmsd_files *f, const struct kmsd_family *family) {
    AUTO_FREE char *path = key_path(f, true, family->id);
    AUTO(json_unref) json_t *j = json_pack("{s:i, s:o}", "version", FILE_VERSION, "key", kmsd_family_to_json(family));
    return write_json(path, j);
}

static struct result remove_key_file(const struct kmsd_files *f, bool shared, const char *id) {
    AUTO_FREE char *path = key_path(f, shared, id);
    if (unlink(path) != 0 && errno != ENOENT) return err_from_errno(errno, "remove %s", path);
    AUTO_FREE char *dir = str_format("%s/keys", shared ? f->shared_dir : f->data_dir);
    return file_sync_dir(dir);
}

struct result kmsd_files_remove_family(const struct kmsd_files *f, const char *id) {
    return remove_key_file(f, true, id);
}

struct result kmsd_files_remove_own(const struct kmsd_files *f, const char *id) {
    return remove_key_file(f, false, id);
}

struct result kmsd_files_read_own(const struct kmsd_files *f, const char *id, struct kmsd_family *ret_family,
                                  struct kmsd_state *ret_state) {
    AUTO_FREE char *path = key_path(f, false, id);
    JSON_AUTO(j);
    TRY(read_json(path, &j));
    AUTO(kmsd_family_done) struct kmsd_family family = {0};
    AUTO(kmsd_state_done) struct kmsd_state state = {0};
    struct result r = kmsd_state_from_json(json_object_get(j, "state"), &state);
    if (is_ok(r) && !kmsd_is_multi_region_id(id)) r = kmsd_family_from_json(json_object_get(j, "key"), &family);
    TRY(check_file(r, path, id, &family));
    *ret_family = family;
    *ret_state = state;
    family = (struct kmsd_family){0};
    state = (struct kmsd_state){0};
    return OK;
}

struct result kmsd_files_write_own(const struct kmsd_files *f, const struct kmsd_family *family,
                                   const struct kmsd_state *state) {
    AUTO_FREE char *path = key_path(f, false, family->id);
    AUTO(json_unref) json_t *j = json_pack("{s:i, s:o}", "version", FILE_VERSION, "state", kmsd_state_to_json(state));
    if (!family->multi_region) json_object_set_new(j, "key", kmsd_family_to_json(family));
    return write_json(path, j);
}

struct result kmsd_files_each(const struct kmsd_files *f, bool shared, struct result (*each)(void *arg, const char *id),
                              void *arg) {
    AUTO_FREE char *path = str_format("%s/keys", shared ? f->shared_dir : f->data_dir);
    DIR *dir = opendir(path);
    if (dir == NULL) return err_from_errno(errno, "open %s", path);
    struct result r = OK;
    for (struct dirent *entry; is_ok(r) && (entry = readdir(dir)) != NULL;) {
        size_t len = strlen(entry->d_name);
        if (len != KMSD_KEY_ID_CHARS + 5 || strcmp(entry->d_name + KMSD_KEY_ID_CHARS, ".json") != 0) continue;
        char id[KMSD_KEY_ID_CHARS + 1];
        snprintf(id, sizeof id, "%.36s", entry->d_name);
        if (kmsd_is_key_id(id)) r = each(arg, id);
    }
    closedir(dir);
    return r;
}
