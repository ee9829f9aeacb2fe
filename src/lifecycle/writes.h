/* Documents in: adds, patches, deletions. When a function succeeds, what it answers for is an object in the store and
 * the next query sees it; when it fails, nothing was acknowledged, and the same request may be sent again: documents
 * that bring their _id, or an Idempotency-Key, are stored once. Thread-safe. */
#ifndef LOCKSET_LIFECYCLE_WRITES_H
#define LOCKSET_LIFECYCLE_WRITES_H

#include "lifecycle/document.h"
#include "lifecycle/tenant.h"

enum { WRITE_TIMEOUT_MS = 25000, WRITE_MAX_KEY_BYTES = 256 };

struct write {
    struct tenant *tenant;
    const struct registry_collection *collection;
    struct slice body;
    const char *idempotency_key; /* NULL: none */
};

/* Each appends the whole answer as JSON, {"data":[{"_collection","_id","status"},...],"last_offset":"..."}, to out.
 * On failure *why is filled. A document that can't be stored has status ERROR and stops no other. */
struct result write_add(const struct write *w, struct buf *out, struct refusal *why);
struct result write_patch(const struct write *w, struct buf *out, struct refusal *why);
struct result write_delete(const struct write *w, struct buf *out, struct refusal *why);

/* ---- data sources ---- */

/* A record of a source on its way into a collection. */
struct write_record {
    struct slice document; /* the text of a JSON object; empty for a deletion, or with a flaw */
    struct slice id;       /* of the document; empty: its own "_id", else one made from source and origin */
    struct slice origin;   /* its place in the source, unique and stable */
    bool is_deletion;      /* of the document named by id */
    char *flaw;            /* why it can't be stored; owned. Set by the caller, or by write_records */
};

struct write_hidden;
struct write_records {
    struct tenant *tenant;
    const struct registry_collection *collection;
    const char *source_id;
    struct write_record *items;
    size_t count;
    /* Called when all flaws are known: the hidden rows (hidden.h) to be stored in the same insert. What *ret points to
     * lives until the next call or the end. */
    struct result (*make_hidden)(void *arg, struct write_hidden **ret, size_t *ret_count);
    void *arg;
};

/* Stores the records' documents and deletions and the hidden rows, in their order, in one insert. The same records
 * again lead to the same documents. On failure *why is filled and the whole batch is to be sent again. */
struct result write_source_records(const struct write_records *w, struct refusal *why);

/* A fence is "f1:0:0:0:<version>". INVALID unless it is one. */
struct result write_parse_fence(const char *fence, uint64_t *ret_version);
void write_print_fence(uint64_t version, struct buf *out);

/* The highest version of a collection that is surely committed. */
uint64_t write_committed(struct collection *c);

#endif
