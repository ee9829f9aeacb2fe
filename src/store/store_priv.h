/* What the files of the store share. */
#ifndef LOCKSET_STORE_STORE_PRIV_H
#define LOCKSET_STORE_STORE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/file.h"
#include "store/cache.h"
#include "store/level.h"
#include "store/record.h"
#include "store/sealed.h"
#include "store/store.h"

enum {
    STORE_PATH_BYTES = 128, /* of a body, relative to its root, or of a temporary file */
    STORE_COMPLETED_KEPT = 256,
};

/* Bodies that someone reads: removing them waits until the last reader is gone. */
struct store_pin {
    uint8_t tag[NAME_TAG_BYTES];
    unsigned readers;
    bool doomed;
    struct remote_bodies *bodies; /* in S3: which those are, once they are doomed */
    struct store_pin *next;
};

struct upload; /* upload.c */
struct remote; /* remote.h */

/* sync.c: syncs of folders that run or wait. */
struct sync_folder;
struct store_syncs {
    pthread_mutex_t lock; /* taken alone */
    pthread_cond_t changed;
    struct sync_folder *folders;
};

/* A finished upload, so that a repeated request to complete it gets the same answer. */
struct store_completed {
    char id[STORE_UPLOAD_ID_BYTES];
    uint8_t list_hash[SHA256_BYTES];
    struct store_written written;
};

struct store {
    struct lease *lease;
    char *bucket;
    struct names names;
    struct remote *remote; /* in S3; NULL: in the folders below */
    int lock_fd, names_fd, bodies_fd, uploads_fd, tmp_fd;
    struct cache *cache; /* borrowed; NULL: none */
    store_guard_fn *guard;
    void *guard_arg;
    _Atomic uint64_t temporary_count;
    struct store_syncs syncs;

    pthread_mutex_t lock; /* the commit lock; guards everything below */
    struct level_cache levels;
    uint64_t last_sequence;
    unsigned creating;    /* writes under way that made folders and have not synced them yet */
    size_t creating_from; /* the lowest sync_from of those */
    bool is_unsettled;    /* the disk failed: folders may be there that no level knows of and that were never synced */
    struct store_pin *pins;
    struct upload *uploads;
    struct store_completed completed[STORE_COMPLETED_KEPT];
    size_t completed_next;
};

static inline void store_lock(struct store *s) {
    pthread_mutex_lock(&s->lock);
}
static inline void store_unlock(struct store *s) {
    pthread_mutex_unlock(&s->lock);
}

/* ---- store.c ---- */

struct result store_check_key(const char *key);
/* What a sealed file is and where it belongs, for its key's derivation. */
struct result store_context(const struct store *s, const char *label, struct slice id, struct buf *out);
enum { STORE_CONTEXT_MAX_BYTES = 1024 };
/* With the lock held: a working lease and the guard's consent. */
struct result store_may_commit(struct store *s, uint64_t token);
/* A name for a new file in tmp/. */
void store_temporary_name(struct store *s, char ret[static STORE_PATH_BYTES]);
/* Seals a record into a new, synced file of tmp/, whose name is returned. Nothing is left after a failure. */
struct result store_write_record(struct store *s, const struct record *record, struct slice context,
                                 char ret_name[static STORE_PATH_BYTES]);
/* Reads and opens a record from an open file: only its bytes, appended to out, which should be wiping; or parsed. */
struct result store_open_record(struct store *s, int fd, struct slice context, struct buf *out);
/* Seals a record, as it stands in a file. */
struct result store_seal_record(struct store *s, const struct record *record, struct slice context, struct buf *out);
struct result store_read_record(struct store *s, int fd, struct slice context, struct record *ret);

/* ---- bodies.c ---- */

/* Relative to bodies/. */
void bodies_path(const uint8_t tag[static NAME_TAG_BYTES], size_t index, char ret[static STORE_PATH_BYTES]);
struct result bodies_context(const struct store *s, const uint8_t body_id[static RECORD_BODY_ID_BYTES],
                             struct buf *out);
/* The 256 folders. */
struct result bodies_make_folders(int bodies_fd);
/* Where body number `index` of something new comes from: a file that stays as it is. */
struct bodies_source {
    void (*locate)(const void *arg, size_t index, int *ret_fd, char ret[static STORE_PATH_BYTES]);
    const void *arg;
    size_t count;
    const uint8_t *shared_from; /* the tag of the object that has them now and keeps them; NULL: they are new */
};
/* Gives every body a second name, belonging to `tag`, and syncs the folder. Nothing is left after a failure. */
struct result bodies_place(struct store *s, const uint8_t tag[static NAME_TAG_BYTES],
                           const struct bodies_source *source);
/* Another name for a file; where the file system can't, a copy of its (sealed) bytes. */
struct result bodies_link(int from_fd, const char *from, int to_fd, const char *to);
/* With the lock held. */
void bodies_remove(struct store *s, const uint8_t tag[static NAME_TAG_BYTES]);
void bodies_pin(struct store *s, const uint8_t tag[static NAME_TAG_BYTES]);
struct store_pin **bodies_find_pin(struct store *s, const uint8_t *tag); /* *: NULL if there is none */
void bodies_unpin(struct store *s, const uint8_t tag[static NAME_TAG_BYTES]);

/* ---- commit.c ---- */

/* An object that was found: its record is open and its bodies are pinned (bodies_unpin). */
struct store_located {
    int fd;
    char *path; /* in S3, instead of fd; the caller frees it */
    struct name_summary summary;
    uint8_t tag[NAME_TAG_BYTES];
};
struct result store_locate(struct store *s, const char *key, struct store_located *ret);
/* Where an object is. */
struct spot {
    struct slice prefix, last;       /* of the key */
    struct name_place place;         /* the folder of the file itself, '+' folders included */
    char name[NAME_FILE_BYTES];      /* sealed, without summary */
    uint8_t chain[NAME_CHAIN_BYTES]; /* of the name */
};
struct result spot_init(struct store *s, const char *key, struct spot *spot);
void spot_done(struct spot *spot);
struct result spot_file(struct store *s, const struct spot *spot, const struct name_summary *summary,
                        char ret_file[static NAME_FILE_BYTES], uint8_t ret_tag[static NAME_TAG_BYTES]);
struct result store_condition_check(const struct store_condition *condition, const struct level_entry *e);
/* Folders came to be on the way to a level: its ancestors in memory learn of it. */
void levels_appeared(struct store *s, struct slice prefix);
/* Makes the record's object visible under its key. Sets sequence and time. */
struct result store_publish(struct store *s, struct record *record, const struct bodies_source *bodies,
                            const struct store_condition *condition, uint64_t token, struct store_written *ret);

/* ---- sync.c ---- */

void store_syncs_init(struct store_syncs *s);
void store_syncs_done(struct store_syncs *s);
/* Syncs the folder of names/ with the path `dir`, open as fd, and those above it whose paths are not shorter than
 * `from` (0: all; dir.len: none). Calls for one folder share a sync that begins after them. Without the store's lock.
 */
struct result store_sync_folder(struct store *s, struct slice dir, int fd, size_t from);

/* ---- reader.c ---- */

/* The record of an object, without reading bodies. */
const struct record *store_reader_record(const struct store_reader *r);
const uint8_t *store_reader_tag(const struct store_reader *r);

/* ---- sweep.c ---- */

struct result store_sweep(struct store *s);

/* ---- upload.c ---- */

/* Removes an upload's folder, half-made or whole. */
struct result store_remove_upload_folder(int parent_fd, const char *name);
struct result uploads_load(struct store *s);
void uploads_forget(struct store *s);

#endif
