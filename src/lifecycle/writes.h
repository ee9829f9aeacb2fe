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

/* A fence is "f1:0:0:0:<version>". INVALID unless it is one. */
struct result write_parse_fence(const char *fence, uint64_t *ret_version);
void write_print_fence(uint64_t version, struct buf *out);

/* The highest version of a collection that is surely committed. */
uint64_t write_committed(struct collection *c);

#endif
