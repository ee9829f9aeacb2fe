/* Small files, whole. Paths are the caller's; nothing follows user input. Thread-safe. */
#ifndef LOCKSET_BASE_FILE_H
#define LOCKSET_BASE_FILE_H

#include "base/buf.h"

/* Closes a descriptor unless it is negative, and makes it -1. `FD_AUTO(fd) = open(...)` closes when the scope ends. */
void fd_close(int *fd);
#define FD_AUTO(name) AUTO(fd_close) int name
/* Moves a descriptor out of a variable and leaves -1 there. */
#define TAKE_FD(variable)                                                                                              \
    ({                                                                                                                 \
        int take_fd_ = (variable);                                                                                     \
        (variable) = -1;                                                                                               \
        take_fd_;                                                                                                      \
    })

/* Reads a whole file of at most max bytes into out. NOT_FOUND, TOO_LARGE, IO. */
struct result file_read(const char *path, size_t max, struct buf *out);
/* Writes everything to an open file; path is only for the error's detail. NO_SPACE, IO. */
struct result file_write_all(int fd, struct slice content, const char *path);
/* Replaces a file so that after a crash it holds the old or the new content: temporary file beside it, fsync, rename,
 * fsync of the folder. */
struct result file_write_atomic(const char *path, struct slice content, unsigned mode);
/* mkdir -p, mode 0700. */
struct result file_make_dirs(const char *path);
struct result file_sync_dir(const char *path);
/* rm -r; NOT_FOUND is a success. Does not follow symbolic links. */
struct result file_remove_tree(const char *path);

#endif
