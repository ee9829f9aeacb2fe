/* Body files: bodies/<2 hex>/<tag in hex>.<index>. Every object has its own names for its bodies; copies share the
 * files themselves by hard links, so the file system counts the references and no table of them can go wrong. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/remote.h"

void bodies_path(const uint8_t tag[static NAME_TAG_BYTES], size_t index, char ret[static STORE_PATH_BYTES]) {
    BUF_AUTO(hex, 2 * NAME_TAG_BYTES);
    hex_encode(slice_make(tag, NAME_TAG_BYTES), &hex);
    snprintf(ret, STORE_PATH_BYTES, "%.2s/%s.%zu", buf_str(&hex), buf_str(&hex), index);
}

struct result bodies_context(const struct store *s, const uint8_t body_id[static RECORD_BODY_ID_BYTES],
                             struct buf *out) {
    return store_context(s, "body", slice_make(body_id, RECORD_BODY_ID_BYTES), out);
}

struct result bodies_make_folders(int bodies_fd) {
    bool created = false;
    for (unsigned i = 0; i < 256; i++) {
        char name[8];
        snprintf(name, sizeof name, "%02x", i);
        if (mkdirat(bodies_fd, name, 0700) == 0)
            created = true;
        else if (errno != EEXIST)
            return err_from_errno(errno, "creating a folder of the store");
    }
    if (created && fsync(bodies_fd) != 0) return err_from_errno(errno, "syncing a folder of the store");
    return OK;
}

/* The way for file systems without hard links, or with too many of them on one file. */
static struct result copy_file(int from_fd, const char *from, int to_fd, const char *to) {
    FD_AUTO(in) = openat(from_fd, from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (in < 0) return err_from_errno(errno, "opening a body");
    FD_AUTO(out) = openat(to_fd, to, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (out < 0) return err_from_errno(errno, "creating a body");
    enum { PIECE = 128 * 1024 };
    AUTO_FREE uint8_t *piece = mem_alloc(PIECE);
    for (;;) {
        ssize_t n = read(in, piece, PIECE);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_from_errno(errno, "reading a body");
        if (n == 0) break;
        TRY(file_write_all(out, slice_make(piece, (size_t)n), "a body"));
    }
    if (fsync(out) != 0) return err_from_errno(errno, "syncing a body");
    return OK;
}

struct result bodies_link(int from_fd, const char *from, int to_fd, const char *to) {
    if (linkat(from_fd, from, to_fd, to, 0) == 0) return OK;
    if (errno != EMLINK && errno != EPERM && errno != EOPNOTSUPP) return err_from_errno(errno, "linking a body");
    struct result r = copy_file(from_fd, from, to_fd, to);
    if (is_err(r)) unlinkat(to_fd, to, 0);
    return r;
}

static void unlink_all(struct store *s, const uint8_t *tag) {
    char path[STORE_PATH_BYTES];
    for (size_t i = 0;; i++) {
        bodies_path(tag, i, path);
        /* What can't be removed now is swept at the next open. */
        if (unlinkat(s->bodies_fd, path, 0) != 0) return;
    }
}

struct result bodies_place(struct store *s, const uint8_t tag[static NAME_TAG_BYTES],
                           const struct bodies_source *source) {
    if (source->count == 0) return OK;
    char path[STORE_PATH_BYTES], from[STORE_PATH_BYTES];
    struct result r = OK;
    for (size_t i = 0; is_ok(r) && i < source->count; i++) {
        int from_fd;
        source->locate(source->arg, i, &from_fd, from);
        bodies_path(tag, i, path);
        r = bodies_link(from_fd, from, s->bodies_fd, path);
    }
    if (is_ok(r)) {
        path[2] = '\0'; /* the folder's name */
        FD_AUTO(dir) = openat(s->bodies_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0 || fsync(dir) != 0) r = err_from_errno(errno, "syncing a folder of the store");
    }
    if (is_err(r)) unlink_all(s, tag);
    return r;
}

struct store_pin **bodies_find_pin(struct store *s, const uint8_t *tag) {
    struct store_pin **at = &s->pins;
    while (*at && mem_order((*at)->tag, tag, NAME_TAG_BYTES) != 0)
        at = &(*at)->next;
    return at;
}

void bodies_remove(struct store *s, const uint8_t tag[static NAME_TAG_BYTES]) {
    struct store_pin *pin = *bodies_find_pin(s, tag);
    if (pin)
        pin->doomed = true;
    else
        unlink_all(s, tag);
}

void bodies_pin(struct store *s, const uint8_t tag[static NAME_TAG_BYTES]) {
    struct store_pin **at = bodies_find_pin(s, tag);
    if (!*at) {
        *at = mem_alloc(sizeof **at);
        mem_copy((*at)->tag, tag, NAME_TAG_BYTES);
    }
    (*at)->readers++;
}

void bodies_unpin(struct store *s, const uint8_t tag[static NAME_TAG_BYTES]) {
    struct store_pin **at = bodies_find_pin(s, tag), *pin = *at;
    if (!pin || --pin->readers > 0) return;
    *at = pin->next;
    if (pin->bodies)
        remote_bodies_let_go(s, pin->bodies);
    else if (pin->doomed)
        unlink_all(s, tag);
    mem_free(pin);
}
