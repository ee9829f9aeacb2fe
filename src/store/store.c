#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/remote.h"

enum { CACHE_ENTRIES_DEFAULT = 200000, BUCKET_MAX_BYTES = 255 };

struct result store_check_key(const char *key) {
    size_t len = key ? strlen(key) : 0;
    CHECK(len >= 1 && len <= STORE_KEY_MAX_BYTES, ERR_INVALID, "an object's key must have 1 to %d bytes, not %zu",
          STORE_KEY_MAX_BYTES, len);
    CHECK(slice_is_utf8(slice_make(key, len)), ERR_INVALID, "an object's key must be well-formed UTF-8");
    return OK;
}

struct result store_context(const struct store *s, const char *label, struct slice id, struct buf *out) {
    buf_append(out, label, strlen(label) + 1);
    put_u16(out, (uint16_t)strlen(s->bucket));
    buf_append_str(out, s->bucket);
    buf_append_slice(out, id);
    return buf_check(out);
}

void store_set_commit_guard(struct store *s, store_guard_fn *guard, void *arg) {
    s->guard = guard;
    s->guard_arg = arg;
}

void store_set_cache(struct store *s, struct cache *cache) {
    s->cache = cache;
}

struct result store_may_commit(struct store *s, uint64_t token) {
    TRY(lease_check(s->lease));
    return s->guard ? s->guard(s->guard_arg, token) : OK;
}

/* ---- Records in files ---- */

void store_temporary_name(struct store *s, char ret[static STORE_PATH_BYTES]) {
    snprintf(ret, STORE_PATH_BYTES, "%llu", (unsigned long long)atomic_fetch_add(&s->temporary_count, 1));
}

static struct result write_file(struct store *s, const char *name, struct slice content) {
    FD_AUTO(fd) = openat(s->tmp_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return err_from_errno(errno, "creating a file of the store");
    TRY(file_write_all(fd, content, "a file of the store"));
    if (fsync(fd) != 0) return err_from_errno(errno, "syncing a file of the store");
    return OK;
}

struct result store_seal_record(struct store *s, const struct record *record, struct slice context, struct buf *out) {
    AUTO(buf_done) struct buf plain;
    buf_init_wiping(&plain, RECORD_MAX_BYTES);
    TRY(record_write(record, &plain));
    return sealed_seal(s->lease, remote_version(s), context, buf_slice(&plain), out);
}

struct result store_write_record(struct store *s, const struct record *record, struct slice context,
                                 char ret_name[static STORE_PATH_BYTES]) {
    BUF_AUTO(sealed, RECORD_MAX_BYTES + RECORD_MAX_BYTES / 1024);
    TRY(store_seal_record(s, record, context, &sealed));
    char name[STORE_PATH_BYTES];
    store_temporary_name(s, name);
    struct result r = write_file(s, name, buf_slice(&sealed));
    if (is_err(r))
        unlinkat(s->tmp_fd, name, 0);
    else
        mem_copy(ret_name, name, sizeof name);
    return r;
}

static struct result read_file(int fd, struct buf *out) {
    struct stat st;
    if (fstat(fd, &st) != 0) return err_from_errno(errno, "reading a record");
    CHECK(S_ISREG(st.st_mode) && (uint64_t)st.st_size <= out->max, ERR_CORRUPT, "a record of an impossible size");
    size_t size = (size_t)st.st_size;
    uint8_t *to = buf_reserve(out, size ? size : 1);
    if (!to) return buf_check(out);
    while (out->len < size) {
        ssize_t n = pread(fd, to + out->len, size - out->len, (off_t)out->len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_from_errno(errno, "reading a record");
        CHECK(n > 0, ERR_CORRUPT, "a record ends early");
        out->len += (size_t)n;
    }
    return OK;
}

struct result store_open_record(struct store *s, int fd, struct slice context, struct buf *out) {
    BUF_AUTO(sealed, RECORD_MAX_BYTES + RECORD_MAX_BYTES / 1024);
    TRY(read_file(fd, &sealed));
    return sealed_open(s->lease, context, buf_slice(&sealed), out);
}

struct result store_read_record(struct store *s, int fd, struct slice context, struct record *ret) {
    AUTO(buf_done) struct buf plain;
    buf_init_wiping(&plain, RECORD_MAX_BYTES + LEASE_CHUNK_BYTES);
    TRY(store_open_record(s, fd, context, &plain));
    return record_parse(buf_slice(&plain), ret);
}

/* ---- Opening ---- */

static struct result open_folder(int dir_fd, const char *name, int *ret) {
    if (mkdirat(dir_fd, name, 0700) != 0 && errno != EEXIST)
        return err_from_errno(errno, "creating the folder %s of the store", name);
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return err_from_errno(errno, "opening the folder %s of the store", name);
    *ret = fd;
    return OK;
}

static struct result take_lock(struct store *s, int fd, const char *dir) {
    s->lock_fd = openat(fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (s->lock_fd < 0) return err_from_errno(errno, "opening %s/lock", dir);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        CHECK(errno != EWOULDBLOCK, ERR_BUSY, "another process has the store %s open", dir);
        return err_from_errno(errno, "locking %s/lock", dir);
    }
    return OK;
}

/* All of the store's folders, or only the lock of one that is in S3. */
static struct result open_folders(struct store *s, const char *dir) {
    FD_AUTO(fd) = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return err_from_errno(errno, "opening the store's folder %s", dir);
    TRY(take_lock(s, fd, dir));
    if (s->remote) return OK;
    TRY(open_folder(fd, "names", &s->names_fd));
    TRY(open_folder(fd, "bodies", &s->bodies_fd));
    TRY(open_folder(fd, "uploads", &s->uploads_fd));
    TRY(open_folder(fd, "tmp", &s->tmp_fd));
    TRY(bodies_make_folders(s->bodies_fd));
    if (fsync(fd) != 0) return err_from_errno(errno, "syncing the store's folder %s", dir);
    return OK;
}

static void level_bodies_remove(void *arg, const uint8_t tag[static NAME_TAG_BYTES]) {
    bodies_remove(arg, tag);
}

struct store *store_close(struct store *s) {
    if (!s) return NULL;
    remote_stop(s);
    uploads_forget(s);
    level_cache_done(&s->levels);
    names_done(&s->names);
    fd_close(&s->names_fd);
    fd_close(&s->bodies_fd);
    fd_close(&s->uploads_fd);
    fd_close(&s->tmp_fd);
    fd_close(&s->lock_fd);
    pthread_mutex_destroy(&s->lock);
    store_syncs_done(&s->syncs);
    s->remote = remote_free(s->remote);
    mem_free(s->bucket);
    mem_free(s);
    return NULL;
}

static void close_auto(struct store **s) {
    store_close(*s);
}

struct result store_open(const struct store_options *options, struct store **ret) {
    CHECK(*options->bucket && strlen(options->bucket) <= BUCKET_MAX_BYTES, ERR_INVALID,
          "a bucket's name must have 1 to %d bytes", BUCKET_MAX_BYTES);
    TRY(lease_check(options->lease));
    AUTO(close_auto) struct store *s = mem_alloc(sizeof *s);
    s->lock_fd = s->names_fd = s->bodies_fd = s->uploads_fd = s->tmp_fd = -1;
    pthread_mutex_init(&s->lock, NULL);
    store_syncs_init(&s->syncs);
    s->lease = options->lease;
    s->bucket = str_dup(options->bucket);
    if (options->s3) TRY(remote_new(options->s3, &s->remote));
    if (options->dir || !options->s3) TRY(open_folders(s, options->dir));
    TRY(names_init(s->lease, s->bucket, &s->names));
    level_cache_init(&s->levels, s->names_fd, &s->names,
                     options->cache_entries ? options->cache_entries : CACHE_ENTRIES_DEFAULT);
    s->levels.remove_bodies = level_bodies_remove;
    s->levels.arg = s;
    if (s->remote) {
        TRY(remote_start(s));
        *ret = TAKE(s);
        return OK;
    }
    TRY(store_sweep(s));
    TRY(uploads_load(s));
    *ret = TAKE(s);
    return OK;
}
