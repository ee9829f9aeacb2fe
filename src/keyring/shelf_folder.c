/* A shelf that is a folder. */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "keyring/shelf.h"

enum { REMOVE_TRIES = 5, REMOVE_WAIT_MS = 200 };

bool shelf_is_id(const char *s, size_t n) {
    return n == SHELF_ID_HEX && strspn(s, "0123456789abcdef") >= n;
}

static char *folder_of(const struct shelf *s, const char *org) {
    return str_format("%s/%s", s->place, org);
}

static char *keys_of(const struct shelf *s, const char *org) {
    return str_format("%s/%s/keys", s->place, org);
}

static struct result folder_read(struct shelf *s, const char *org, const char *id, struct buf *out) {
    AUTO_FREE char *path = str_format("%s/%s/keys/%s.json", s->place, org, id);
    return file_read(path, SHELF_TEXT_MAX_BYTES, out);
}

static struct result folder_write(struct shelf *s, const char *org, const char *kms_key_arn, const char *id,
                                  struct slice text) {
    AUTO_FREE char *folder = keys_of(s, org);
    TRY(file_make_dirs(folder));
    AUTO_FREE char *path = str_format("%s/%s.json", folder, id);
    TRY(file_write_atomic(path, text, 0600));
    /* The folders themselves may be new. */
    AUTO_FREE char *above = folder_of(s, org);
    TRY(file_sync_dir(above));
    return file_sync_dir(s->place);
}

static void close_dir(DIR **d) {
    if (*d) closedir(*d);
}

static struct result folder_list(struct shelf *s, const char *org, shelf_each *each, void *arg) {
    AUTO_FREE char *folder = keys_of(s, org);
    AUTO(close_dir) DIR *d = opendir(folder);
    if (!d && errno != ENOENT) return err_from_errno(errno, "the folder of wrapped keys %s", folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (n != SHELF_ID_HEX + 5 || strcmp(e->d_name + SHELF_ID_HEX, ".json") != 0 ||
            !shelf_is_id(e->d_name, SHELF_ID_HEX))
            continue;
        AUTO_FREE char *id = str_ndup(e->d_name, SHELF_ID_HEX);
        TRY(each(arg, id));
    }
    return OK;
}

static struct result folder_must_be_bare(struct shelf *s, const char *org) {
    AUTO_FREE char *names = str_format("%s/%s/names", s->place, org);
    AUTO_FREE char *bodies = str_format("%s/%s/bodies", s->place, org);
    CHECK(access(names, F_OK) != 0 && access(bodies, F_OK) != 0, ERR_CONFLICT, "%s/%s holds data already", s->place,
          org);
    return OK;
}

static struct result folder_remove_keys(struct shelf *s, const char *org) {
    AUTO_FREE char *folder = keys_of(s, org);
    return file_remove_tree(folder);
}

/* A gateway that is just dying may still finish a file. */
static struct result remove_patiently(const char *folder) {
    struct result r = OK;
    for (int i = 0; i < REMOVE_TRIES; i++) {
        r = file_remove_tree(folder);
        if (is_ok(r) && access(folder, F_OK) != 0) return OK;
        clock_sleep_ms(REMOVE_WAIT_MS);
    }
    if (is_ok(r)) r = err_make(ERR_IO, "%s comes back", folder);
    return r;
}

static void folder_remove_rest(struct shelf *s, const char *org, json_t *remains) {
    AUTO_FREE char *folder = folder_of(s, org);
    if (is_ok(remove_patiently(folder))) return;
    log_error("org.remains", KV("org", org), KV("folder", folder), KV("reason", err_detail()));
    json_array_append_new(remains, json_string(folder));
}

static struct result folder_list_orgs(struct shelf *s, shelf_each *each, void *arg) {
    AUTO(close_dir) DIR *d = opendir(s->place);
    if (!d) return err_from_errno(errno, "the store's folder %s", s->place);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == 'o') TRY(each(arg, e->d_name));
    }
    return OK;
}

static struct shelf *folder_free(struct shelf *s) {
    mem_free(s->place);
    mem_free(s);
    return NULL;
}

static const struct shelf_kind folder_kind = {.read = folder_read,
                                              .write = folder_write,
                                              .list = folder_list,
                                              .must_be_bare = folder_must_be_bare,
                                              .remove_keys = folder_remove_keys,
                                              .remove_rest = folder_remove_rest,
                                              .list_orgs = folder_list_orgs,
                                              .free = folder_free};

struct result shelf_open_folder(const char *folder, struct shelf **ret) {
    TRY(file_make_dirs(folder));
    struct shelf *s = mem_alloc(sizeof *s);
    *s = (struct shelf){.kind = &folder_kind, .place = str_dup(folder)};
    *ret = s;
    return OK;
}
