/* The files of a store: paths, locks, the root key. Private to store*.c. */
#ifndef LOCKSET_KMS_STORE_FILES_H
#define LOCKSET_KMS_STORE_FILES_H

#include "kms/store.h"

struct kmsd_files {
    char *data_dir, *shared_dir;
    char region[ARN_REGION_BYTES];
    struct secret root_key;
    int lock_fd;
};

/* Folders, lock, region, root key. */
struct result kmsd_files_open(const struct kmsd_store_options *o, struct kmsd_files *ret);
void kmsd_files_done(struct kmsd_files *f);

/* Waits at most ten seconds for SHARED's lock (TIMEOUT); kmsd_files_unlock takes it back. */
struct result kmsd_files_lock(const struct kmsd_files *f, int *ret_fd);
void kmsd_files_unlock(int *fd); /* accepts -1 */

/* NOT_FOUND, INVALID with the file's name. */
struct result kmsd_files_mark(const struct kmsd_files *f, const char *id, struct kmsd_file_mark *ret);
struct result kmsd_files_read_family(const struct kmsd_files *f, const char *id, struct kmsd_family *ret);
struct result kmsd_files_write_family(const struct kmsd_files *f, const struct kmsd_family *family);
struct result kmsd_files_remove_family(const struct kmsd_files *f, const char *id);
/* This region's file of a key: its state, and for a single-Region key the family (else zeroed). */
struct result kmsd_files_read_own(const struct kmsd_files *f, const char *id, struct kmsd_family *ret_family,
                                  struct kmsd_state *ret_state);
struct result kmsd_files_write_own(const struct kmsd_files *f, const struct kmsd_family *family,
                                   const struct kmsd_state *state);
struct result kmsd_files_remove_own(const struct kmsd_files *f, const char *id); /* absent is fine */
/* Calls each for every key id that has a file, in DATA or in SHARED. */
struct result kmsd_files_each(const struct kmsd_files *f, bool shared, struct result (*each)(void *arg, const char *id),
                              void *arg);

#endif
