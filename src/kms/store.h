/* The keys of one region, durable. Whatever a function here reports as done is on disk (fsync) before it returns; a
 * process that is killed at any moment leaves the old or the new state. Thread-safe.
 *
 *     DATA/keys/ID.json      a single-Region key, or what this region decided about a Multi-Region key
 *     DATA/aliases.json      the aliases of this region
 *     DATA/usage.json       when each key was last used; the one file that follows within a second or so
 *     DATA/region, lock      which region the folder belongs to; held by the process that serves it
 *     SHARED/keys/ID.json    a Multi-Region key's family: material, primary, regions and how the key began in each
 *     SHARED/root.id, lock   which root key all of it is wrapped under; held while SHARED is changed
 *
 * The processes of all regions share SHARED and the root key, and nothing else: none talks to another. A family is
 * read again when its file changed, which costs a stat(2) per use. Only a region's own process removes the region
 * from a family and writes the region's DATA, so readers never wait for another process. */
#ifndef LOCKSET_KMS_STORE_H
#define LOCKSET_KMS_STORE_H

#include "kms/aliases.h"
#include "kms/key.h"
#include "kms/usage.h"

struct kmsd_store;

struct kmsd_store_options {
    const char *data_dir;
    const char *shared_dir;    /* NULL: DATA/../shared */
    const char *root_key_file; /* NULL: DATA/../root.key; made when absent and nothing is stored yet */
    const char *region;
    int64_t day_ms; /* length of a day of deletions and rotations; 0: a real day */
};

/* CONFLICT if another process serves data_dir, or it belongs to another region or root key; FORBIDDEN if others may
 * read the root key; NOT_FOUND if the root key is gone while keys exist; INVALID or CORRUPT for a damaged file (the
 * detail names it). */
struct result kmsd_store_open(const struct kmsd_store_options *options, struct kmsd_store **ret);
struct kmsd_store *kmsd_store_close(struct kmsd_store *s); /* accepts NULL; no call may be running */
int64_t kmsd_store_day_ms(const struct kmsd_store *s);
struct kmsd_aliases *kmsd_store_aliases(struct kmsd_store *s);
struct kmsd_usage *kmsd_store_usage(struct kmsd_store *s);
const char *kmsd_store_region(const struct kmsd_store *s);

/* The key as it is now. NOT_FOUND also when its deletion date has passed. The caller unrefs *ret. */
struct result kmsd_store_find(struct kmsd_store *s, const char *key_id, int64_t now_ms, struct kmsd_key **ret);

/* Makes a key with fresh material. `state` brings description, policy and tags, and is taken over; the rest of it is
 * set here. INVALID if the policy doesn't parse. */
struct result kmsd_store_create(struct kmsd_store *s, const char *account, const struct kmsd_kind *kind,
                                bool multi_region, int64_t now_ms, struct kmsd_state *state, struct kmsd_key **ret);

/* Changes what this region decides about a key: `change` gets the key as it is, and a copy of its state to edit; its
 * failure is handed back and nothing has changed. Changes of one region are serialised. ret may be NULL. */
struct result kmsd_store_change(struct kmsd_store *s, const char *key_id, int64_t now_ms,
                                struct result (*change)(const struct kmsd_key *key, struct kmsd_state *draft,
                                                        void *arg),
                                void *arg, struct kmsd_key **ret);

/* The same for what all regions of a key share, in the region that decides about it. */
struct result kmsd_store_change_family(struct kmsd_store *s, const char *key_id, int64_t now_ms,
                                       struct result (*change)(struct kmsd_store *s, const struct kmsd_key *key,
                                                               struct kmsd_family *draft, void *arg),
                                       void *arg, struct kmsd_key **ret);
/* For such a change: fresh material becomes the current one. */
struct result kmsd_store_add_material(struct kmsd_store *s, struct kmsd_family *draft, enum kmsd_rotation rotation,
                                      int64_t now_ms);

/* Adds a region to a Multi-Region key whose primary is here; `state` as in kmsd_store_create. *ret is the key as the
 * other region will see it. EXISTS if it has a key there; CONFLICT if the primary's deletion is scheduled; INVALID
 * if it isn't the primary (any more). */
struct result kmsd_store_replicate(struct kmsd_store *s, const char *key_id, const char *region, int64_t now_ms,
                                   struct kmsd_state *state, struct kmsd_key **ret);

struct kmsd_key_id {
    char text[KMSD_KEY_ID_CHARS + 1];
};
/* The ids of an account's keys (NULL: of all accounts') in order, at most max, those behind `after` ("": from the
 * start). *ret_more: there are others behind them. The caller frees *ret_ids with mem_free. */
struct result kmsd_store_list(struct kmsd_store *s, const char *account, const char *after, size_t max, int64_t now_ms,
                              struct kmsd_key_id **ret_ids, size_t *ret_count, bool *ret_more);

/* Removes the keys whose deletion date has passed, their material with them, rotates those whose time has come, and
 * writes down which were used.
 * Call it every second or so. */
void kmsd_store_sweep(struct kmsd_store *s, int64_t now_ms);

/* Unwraps a key's material. CORRUPT if it doesn't verify. The caller calls secret_done. */
struct result kmsd_store_material(struct kmsd_store *s, const struct kmsd_key *key, const struct kmsd_material *m,
                                  struct secret *ret);

#endif
