/* The block cache of one organization and region: what was opened twice lately, sealed again under keys that are soon
 * forgotten (keys/epoch.h), in one file on the local disk. Only this process can read it, and only for a while.
 *
 * Life. A key lives exactly one epoch, then it is wiped and what was sealed under it is noise. A new key begins with
 * each quarter of an epoch, so no more than a quarter of the blocks goes at once. A block is never sealed again from
 * the cache: one that is still wanted is read from the store again. So nothing is older than one epoch.
 *
 * Who gets in. A block is admitted when it is asked for the second time within an epoch; what is read once costs a note
 * of a few bytes. New blocks wait in a queue of a tenth of the space, from which those that were hit move on to the
 * main queue; the main queue gives those that were hit lately another round. A scan passes through the tenth.
 *
 * A block that does not verify, an expired one, a full or broken disk: a miss, never an error. Nothing is ever synced;
 * the file is emptied when it is opened. Thread-safe. */
#ifndef LOCKSET_STORE_CACHE_H
#define LOCKSET_STORE_CACHE_H

#include "keys/epoch.h"

enum {
    CACHE_ID_BYTES = 16,
    CACHE_BLOCK_MAX_BYTES = LEASE_EPOCH_BLOCK_BYTES,
    CACHE_SCRATCH_BYTES = CACHE_BLOCK_MAX_BYTES + GCM_TAG_BYTES,
};
#define CACHE_MIN_BYTES (1ULL << 20)

/* What stands under a key must never change: the id is of a body or of one version of an object. */
struct cache_key {
    uint8_t id[CACHE_ID_BYTES];
    uint64_t index;
};

struct cache; /* opaque */

typedef int64_t cache_clock_fn(void);

struct cache_options {
    const char *dir;       /* made if it isn't there */
    uint64_t max_bytes;    /* of the file; at least CACHE_MIN_BYTES */
    int64_t epoch_ns;      /* how long a key lives */
    struct lease *lease;   /* must outlive the cache */
    cache_clock_fn *clock; /* NULL: CLOCK_BOOTTIME, and a thread of the cache's own that wipes keys in time */
    void (*report)(void *arg, const struct cache *c); /* called by that thread once an epoch, if it was used; or NULL */
    void *report_arg;
};

struct result cache_open(const struct cache_options *options, struct cache **ret);
/* Wipes the keys, empties the file. Nobody may use it any more. Accepts NULL, returns NULL. */
struct cache *cache_close(struct cache *c);

enum cache_answer {
    CACHE_HIT,
    CACHE_MISS,
    CACHE_WANTED, /* a miss; hand the block over with cache_put once it was read */
};
/* Asks the lease, and fills out from a block that verifies. `room`: the most it can hold, at most
 * CACHE_BLOCK_MAX_BYTES; a longer block is a miss. `scratch`, the caller's, holds room + GCM_TAG_BYTES; only ciphertext
 * is in it. NULL for a cache: a miss. */
enum cache_answer cache_get(struct cache *c, const struct cache_key *key, uint8_t *scratch, uint8_t *out, size_t room,
                            size_t *ret_len);
/* 1 to CACHE_BLOCK_MAX_BYTES; larger and empty blocks are not kept. `scratch` holds plain.len + GCM_TAG_BYTES. */
void cache_put(struct cache *c, const struct cache_key *key, struct slice plain, uint8_t *scratch);

/* Wipes the keys whose time has come. Every call of the others does the same first. */
void cache_expire(struct cache *c);

struct cache_counts {
    uint64_t hits, misses, hit_bytes;    /* since it was opened */
    uint64_t admitted, evicted, damaged; /* blocks */
    uint64_t expired;                    /* blocks whose key was wiped */
    uint64_t failures;                   /* of the disk; after one nothing is admitted for a quarter of an epoch */
    uint64_t blocks, bytes;              /* now */
    unsigned keys;                       /* alive now */
};
struct cache_counts cache_counts(const struct cache *c);

#endif
