#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void fd_close(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

struct result file_read(const char *path, size_t max, struct buf *out) {
    FD_AUTO(fd) = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return err_from_errno(errno, "opening %s", path);
    struct stat st;
    if (fstat(fd, &st) != 0) return err_from_errno(errno, "reading %s", path);
    CHECK(!S_ISDIR(st.st_mode), ERR_IO, "reading %s: it is a folder", path);
    size_t total = 0;
    for (;;) {
        enum { PIECE = 65536 };
        /* One byte more than may come, to notice the excess. */
        size_t wanted = max - total < PIECE ? max - total + 1 : PIECE;
        /* A buffer smaller than that must still be able to take what is there. */
        if (wanted > out->max - out->len) wanted = out->max - out->len;
        uint8_t excess[1];
        uint8_t *to = wanted ? buf_reserve(out, wanted) : excess;
        if (!to) return buf_check(out);
        ssize_t n = read(fd, to, wanted ? wanted : sizeof excess);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_from_errno(errno, "reading %s", path);
        if (n == 0) return OK;
        total += (size_t)n;
        CHECK(wanted && total <= max, ERR_TOO_LARGE, "%s is larger than its limit of %zu bytes", path, max);
        out->len += (size_t)n;
    }
}

struct result file_write_all(int fd, struct slice content, const char *path) {
    while (content.len > 0) {
        ssize_t n = write(fd, content.data, content.len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_from_errno(errno, "writing %s", path);
        content = slice_make(content.data + n, content.len - (size_t)n);
    }
    return OK;
}

static struct result file_fill(const char *path, struct slice content, unsigned mode) {
    FD_AUTO(fd) = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return err_from_errno(errno, "creating %s", path);
    if (fchmod(fd, (mode_t)mode) != 0) return err_from_errno(errno, "setting the mode of %s", path);
    TRY(file_write_all(fd, content, path));
    if (fsync(fd) != 0) return err_from_errno(errno, "syncing %s", path);
    return OK;
}

struct result file_write_atomic(const char *path, struct slice content, unsigned mode) {
    /* The name is new for each call, so writers of the same file don't meet in one temporary file. */
    static _Atomic unsigned counter;
    AUTO_FREE char *temporary = str_format("%s.%ld.%u.new", path, (long)getpid(), atomic_fetch_add(&counter, 1) + 1);
    struct result r = file_fill(temporary, content, mode);
    if (is_ok(r) && rename(temporary, path) != 0) r = err_from_errno(errno, "renaming a file to %s", path);
    if (is_err(r)) {
        unlink(temporary); /* may not exist */
        return r;
    }
    AUTO_FREE char *copy = str_dup(path);
    return file_sync_dir(dirname(copy));
}

static struct result make_dir(const char *path) {
    if (mkdir(path, 0700) == 0) return OK;
    int error = errno;
    struct stat st;
    if (error == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode)) return OK;
    return err_from_errno(error, "creating the folder %s", path);
}

struct result file_make_dirs(const char *path) {
    CHECK(*path, ERR_INVALID, "a folder's path is empty");
    AUTO_FREE char *copy = str_dup(path);
    for (char *p = copy + 1; *p; p++) {
        if (*p != '/') continue;
        *p = '\0';
        TRY(make_dir(copy));
        *p = '/';
    }
    return make_dir(copy);
}

struct result file_sync_dir(const char *path) {
    FD_AUTO(fd) = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return err_from_errno(errno, "opening the folder %s", path);
    if (fsync(fd) != 0) return err_from_errno(errno, "syncing the folder %s", path);
    return OK;
}

static void dir_close(DIR **d) {
    if (*d) closedir(*d);
}

static struct result remove_at(int parent, const char *name, const char *shown_path, unsigned depth) {
    enum { DEPTH_MAX = 200 }; /* one open folder each */
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) return OK;
    if (errno != EISDIR && errno != EPERM) return err_from_errno(errno, "removing under %s", shown_path);
    CHECK(depth < DEPTH_MAX, ERR_IO, "removing %s: folders are nested too deeply", shown_path);
    FD_AUTO(fd) = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return err_from_errno(errno, "removing under %s", shown_path);
    AUTO(dir_close) DIR *d = fdopendir(fd);
    if (!d) return err_from_errno(errno, "removing under %s", shown_path);
    int inside = fd;
    fd = -1; /* closed with d */
    for (struct dirent *e; (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        TRY(remove_at(inside, e->d_name, shown_path, depth + 1));
    }
    if (unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        return err_from_errno(errno, "removing under %s", shown_path);
    return OK;
}

struct result file_remove_tree(const char *path) {
    return remove_at(AT_FDCWD, path, path, 0);
}
