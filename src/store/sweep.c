/* What a crash may have left, removed when the store is opened: temporary files, overwritten versions, empty folders,
 * bodies that no record stands for. File names are only looked at, not opened, except where one object has two versions
 * and before a body is removed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/store_priv.h"

struct tag {
    uint8_t bytes[NAME_TAG_BYTES];
};

struct sweep {
    struct store *store;
    struct tag *tags; /* of every record that stays */
    size_t count, capacity;
    bool verifies; /* every name is opened, not only looked at */
    bool unsure;   /* a name was met that can't be read: whatever its bodies are, they must stay */
    size_t unused; /* bodies that no tag stands for */
};

static void sweep_done(struct sweep *w) {
    mem_free(w->tags);
}

struct file_list {
    char **names;
    size_t count, capacity;
};

static void file_list_done(struct file_list *l) {
    for (size_t i = 0; i < l->count; i++)
        mem_free(l->names[i]);
    mem_free(l->names);
}

static int name_order(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void dir_close(DIR **d) {
    if (*d) closedir(*d);
}

static struct result file_list_read(int dir_fd, struct file_list *l) {
    FD_AUTO(copy) = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO(dir_close) DIR *dir = fdopendir(copy);
    if (!dir) return err_from_errno(errno, "reading a folder of the store");
    copy = -1; /* closed with dir */
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(dir);
        if (!e && errno != 0) return err_from_errno(errno, "reading a folder of the store");
        if (!e) break;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (l->count == l->capacity) {
            l->capacity = l->capacity ? l->capacity * 2 : 64;
            l->names = mem_resize(l->names, l->capacity * sizeof(char *));
        }
        l->names[l->count++] = str_dup(e->d_name);
    }
    if (l->count > 1) qsort(l->names, l->count, sizeof(char *), name_order);
    return OK;
}

/* ---- names/ ---- */

static void tag_add(struct sweep *w, const uint8_t *tag) {
    if (w->count == w->capacity) {
        w->capacity = w->capacity ? w->capacity * 2 : 1024;
        w->tags = mem_resize(w->tags, w->capacity * sizeof *w->tags);
    }
    mem_copy(w->tags[w->count++].bytes, tag, NAME_TAG_BYTES);
}

static bool same_object(const char *a, const char *b) {
    size_t n = strcspn(a, ".");
    return a[n] == '.' && strncmp(a, b, n + 1) == 0;
}

/* In a verifying pass: does the name open? */
static struct result verify(struct sweep *w, const uint8_t *chain, const char *file) {
    if (!w->verifies) return OK;
    struct name_opened o = {0};
    buf_init_wiping(&o.component, STORE_KEY_MAX_BYTES);
    struct result r = names_open(&w->store->names, chain, file, &o);
    buf_done(&o.component);
    if (r.code != ERR_CORRUPT) return r;
    w->unsure = true;
    return OK;
}

static struct result sequence_of(struct sweep *w, const uint8_t *chain, const char *file, uint64_t *ret) {
    struct name_opened o = {0};
    buf_init_wiping(&o.component, STORE_KEY_MAX_BYTES);
    struct result r = names_open(&w->store->names, chain, file, &o);
    buf_done(&o.component);
    if (is_ok(r)) *ret = o.summary.sequence;
    return r;
}

/* Files first..last are versions of one object: all but the highest go. One that doesn't open stays, and makes the
 * whole folder's listing fail later, which is where it is reported. */
static struct result settle_versions(struct sweep *w, int dir_fd, const uint8_t *chain, char **files, size_t count) {
    uint64_t highest = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t sequence;
        struct result r = sequence_of(w, chain, files[i], &sequence);
        if (r.code == ERR_CORRUPT)
            w->unsure = true;
        else if (is_err(r))
            return r;
        else if (sequence > highest)
            highest = sequence;
    }
    if (fsync(dir_fd) != 0) return err_from_errno(errno, "syncing a folder of the store");
    for (size_t i = 0; i < count; i++) {
        uint64_t sequence;
        struct result r = sequence_of(w, chain, files[i], &sequence);
        uint8_t tag[NAME_TAG_BYTES];
        if (is_ok(r) && sequence < highest) {
            if (unlinkat(dir_fd, files[i], 0) != 0) return err_from_errno(errno, "removing an overwritten version");
        } else if (names_peek_tag(files[i], tag))
            tag_add(w, tag);
    }
    return OK;
}

static struct result sweep_folder(struct sweep *w, int dir_fd, const uint8_t *chain, bool *ret_empty);

/* *ret_stays: false if the folder was empty and is gone. */
static struct result sweep_subfolder(struct sweep *w, int dir_fd, const char *name, bool *ret_stays) {
    uint8_t chain[NAME_CHAIN_BYTES];
    FD_AUTO(fd) = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    *ret_stays = true;
    if (fd < 0 || !names_peek_chain(name, chain)) {
        w->unsure = true;
        return OK;
    }
    bool empty;
    TRY(sweep_folder(w, fd, chain, &empty));
    if (empty && unlinkat(dir_fd, name, AT_REMOVEDIR) == 0) *ret_stays = false;
    return OK;
}

static struct result sweep_folder(struct sweep *w, int dir_fd, const uint8_t *chain, bool *ret_empty) {
    AUTO(file_list_done) struct file_list list = {0};
    TRY(file_list_read(dir_fd, &list));
    size_t left = list.count;
    for (size_t i = 0; i < list.count;) {
        size_t next = i + 1;
        uint8_t tag[NAME_TAG_BYTES];
        TRY(verify(w, chain, list.names[i]));
        while (next < list.count && same_object(list.names[i], list.names[next]))
            next++;
        if (next > i + 1)
            TRY(settle_versions(w, dir_fd, chain, list.names + i, next - i));
        else if (names_peek_tag(list.names[i], tag))
            tag_add(w, tag);
        else {
            bool stays;
            TRY(sweep_subfolder(w, dir_fd, list.names[i], &stays));
            if (!stays) left--;
        }
        i = next;
    }
    *ret_empty = left == 0;
    return OK;
}

/* ---- bodies/ and tmp/ ---- */

static int tag_order(const void *a, const void *b) {
    return mem_order(a, b, NAME_TAG_BYTES);
}

static bool is_used(const struct sweep *w, const char *file) {
    struct slice hex, index;
    slice_cut(slice_str(file), '.', &hex, &index);
    BUF_AUTO(tag, NAME_TAG_BYTES);
    if (is_err(hex_decode(hex, &tag)) || tag.len != NAME_TAG_BYTES) return true; /* not ours */
    return w->count && bsearch(tag.data, w->tags, w->count, sizeof *w->tags, tag_order);
}

/* Counts the bodies without a record, or removes them. */
static struct result sweep_bodies(struct sweep *w, bool removes) {
    if (w->count > 1) qsort(w->tags, w->count, sizeof *w->tags, tag_order);
    AUTO(file_list_done) struct file_list folders = {0};
    TRY(file_list_read(w->store->bodies_fd, &folders));
    for (size_t i = 0; i < folders.count; i++) {
        FD_AUTO(fd) = openat(w->store->bodies_fd, folders.names[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0) continue;
        AUTO(file_list_done) struct file_list files = {0};
        TRY(file_list_read(fd, &files));
        for (size_t k = 0; k < files.count; k++) {
            if (is_used(w, files.names[k])) continue;
            w->unused++;
            if (removes && unlinkat(fd, files.names[k], 0) != 0)
                return err_from_errno(errno, "removing an unused body");
        }
    }
    return OK;
}

static struct result sweep_temporary(struct store *s) {
    AUTO(file_list_done) struct file_list files = {0};
    TRY(file_list_read(s->tmp_fd, &files));
    for (size_t i = 0; i < files.count; i++) {
        if (unlinkat(s->tmp_fd, files.names[i], 0) == 0 || errno == ENOENT) continue;
        if (errno != EISDIR) return err_from_errno(errno, "removing a temporary file of the store");
        TRY(store_remove_upload_folder(s->tmp_fd, files.names[i]));
    }
    return OK;
}

static struct result sweep_names(struct sweep *w) {
    static const uint8_t root_chain[NAME_CHAIN_BYTES];
    bool empty;
    w->count = 0;
    return sweep_folder(w, w->store->names_fd, root_chain, &empty);
}

struct result store_sweep(struct store *s) {
    AUTO(sweep_done) struct sweep w = {.store = s};
    TRY(sweep_temporary(s));
    TRY(sweep_names(&w));
    TRY(sweep_bodies(&w, false));
    if (w.unused == 0 || w.unsure) return OK;
    /* Before anything is removed for good, every name has to prove that it is what Lockset wrote: a damaged one may be
     * repaired, if its body is still there. */
    w.verifies = true;
    TRY(sweep_names(&w));
    return w.unsure ? OK : sweep_bodies(&w, true);
}
