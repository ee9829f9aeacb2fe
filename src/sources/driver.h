/* The contract between a kind of data source (S3, Kafka, PostgreSQL) and what runs it. A driver reads records from its
 * source and tells, with each batch, the position at which to go on once that batch is stored; the runner stores the
 * documents and the position in one insert, so that a crash at any moment neither loses nor doubles anything. A driver
 * keeps nothing of its own: with the same position it goes on at the same record.
 *
 * A driver never decides about keys or collections. The runner sets *cancelled when the key's lease ends; every call
 * then returns CANCELLED within SOURCE_CANCEL_MS. One thread at a time uses a reader; different readers are
 * independent. Errors: INVALID (the configuration is wrong; the detail is for the customer), FORBIDDEN (the source
 * refuses our credentials), NOT_FOUND (bucket, topic, table, slot is not there), UNREACHABLE and TIMEOUT (tried again
 * later with a growing pause), CORRUPT (next: the position can't be served any more). Details never hold a credential.
 */
#ifndef LOCKSET_SOURCES_DRIVER_H
#define LOCKSET_SOURCES_DRIVER_H

#include <stdatomic.h>

#include "base/json.h"

enum { SOURCE_CANCEL_MS = 1000, SOURCE_BATCH_MAX_RECORDS = 10000, SOURCE_BATCH_MAX_BYTES = 16 << 20 };

/* One record. The slices belong to the batch. */
struct source_record {
    struct slice document; /* the text of one JSON object, as it came; empty for a deletion; with a flaw, what
                              stands there instead (its beginning will do), for the error list */
    struct slice id;       /* the document's _id where the source has a key (Kafka key, primary key); empty: the
                              document's own "_id" field, else one made from source id and origin, so that reading the
                              record again gives the same */
    bool is_deletion;      /* of the document named by id */
    struct slice origin;   /* its place in the source, unique and stable: "s3://bucket/key#17", "topic[3]@99",
                              "public.t@0/16B3748#2" */
    struct slice flaw;     /* not empty: it is no document, and why; it goes to the source's error list */
};

enum source_state {
    SOURCE_INITIALIZING, /* connecting, listing, taking a snapshot's bounds */
    SOURCE_SCANNING,     /* the initial load */
    SOURCE_WATCHING,     /* caught up; following changes */
};

struct source_progress {
    enum source_state state;
    int64_t total_items, done_items; /* objects, rows of the snapshot, ...; total -1: not known */
    int64_t total_bytes;             /* detected; -1: not known */
    int64_t lag;                     /* records or bytes the source is ahead, -1: not known */
    char last_item[256];             /* an object's key, "topic[0]@12", an LSN */
    json_t *partitions;              /* Kafka: [{"partition","offset","lag"}]; NULL: none; owned */
};

struct source_batch {
    struct source_record *records; /* owned by the batch, with all they point to */
    size_t count;
    struct buf text;      /* wiping; what the slices point into */
    json_t *position;     /* NULL: nothing new to remember; else replaces the position kept so far; owned */
    bool is_snapshot_end; /* the initial load is complete with this batch */
};
void source_batch_done(struct source_batch *b); /* accepts zeroed */

/* What the engine does for drivers: it takes in, in its sandbox, what nobody else here should take apart. */
struct source_engine {
    void *arg;
    /* A whole Parquet file; *ret_rows: how many rows it has. INVALID (it is none, or is too large), UNREACHABLE. */
    struct result (*parquet_open)(void *arg, struct slice file, void **ret_table, uint64_t *ret_rows);
    /* Rows as JSON objects, one a line, appended to out. TOO_LARGE: ask for fewer. */
    struct result (*parquet_read)(void *table, uint64_t first, uint64_t count, struct buf *out);
    void (*parquet_close)(void *table);
};

/* What a reader is opened with; borrowed until it is closed. */
struct source_spec {
    const char *source_id;     /* stable, unique; names replication slots, consumer groups */
    const char *region;        /* of this deployment */
    const json_t *config;      /* the source's own object in Rockset's shape: {"bucket","prefix",...} */
    const json_t *format;      /* format_params, or NULL */
    const json_t *integration; /* credentials and addresses: the integration's object of this kind, or NULL */
    const _Atomic bool *cancelled;
    const struct source_engine *engine; /* NULL outside of a run: only next needs it */
};

struct source_reader;

struct source_driver {
    const char *kind; /* "s3", "kafka", "postgres": the member that names it in a Source object */
    /* Checks shapes only, without touching the network. INVALID. */
    struct result (*check)(const json_t *config, const json_t *format, const json_t *integration);
    /* Connects. position: NULL at the very first start, else the last one stored (borrowed). */
    struct result (*open)(const struct source_spec *spec, const json_t *position, struct source_reader **ret);
    /* The next records. Waits up to wait_ms for the first one; an empty batch is a success. Never over the limits
     * above, but at least one record however large. ERR_CORRUPT: the position can't be served any more (the detail
     * tells why): the collection needs recovery. */
    struct result (*next)(struct source_reader *r, unsigned wait_ms, struct source_batch *ret);
    /* The last batch's position is durable: offsets and slots may move on. Failures are not fatal. */
    struct result (*stored)(struct source_reader *r);
    void (*progress)(struct source_reader *r, struct source_progress *ret); /* the caller drops ret->partitions */
    void (*close)(struct source_reader *r);
    /* After a pause: does the source still have everything since this position (NULL: nothing was ever read)? Touches
     * nothing. *ret_why (owned) tells what is missing, or why not even that can be found out (then the result is a
     * failure). */
    struct result (*still_has)(const struct source_spec *spec, const json_t *position, bool *ret, char **ret_why);
    /* The source is deleted for good: gives back what it holds in the source (a replication slot). May be NULL. */
    struct result (*forget)(const struct source_spec *spec, const json_t *position);
    /* An integration's object of this kind, when it is made: shapes only. May be NULL. INVALID. */
    struct result (*check_integration)(const json_t *integration);
};

/* NULL: there is no such kind. */
const struct source_driver *source_driver_find(const char *kind);

#endif
