/* Small files, whole. Paths are the caller's; nothing follows user input. Thread-safe. */
#ifndef LOCKSET_BASE_FILE_H
#define LOCKSET_BASE_FILE_H

#include "base/buf.h"

/* Reads a whole file of at most max bytes into out. NOT_FOUND, TOO_LARGE, IO. */
struct result file_read(const char *path, size_t max, struct buf *out);
/* Replaces a file so that after a crash it holds the old or the new content: temporary file beside it, fsync, rename,
 * fsync of the folder. */
struct result file_write_atomic(const char *path, struct slice content, unsigned mode);
/* mkdir -p, mode 0700. */
struct result file_make_dirs(const char *path);
struct result file_sync_dir(const char *path);
/* rm -r; NOT_FOUND is a success. Does not follow symbolic links. */
struct result file_remove_tree(const char *path);

#endif
