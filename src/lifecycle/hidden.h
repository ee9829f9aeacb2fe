/* Hidden rows: what the server itself keeps sealed in a collection's own table, beside the documents: the schema, the
 * field mapping, data sources and their positions. Their ids begin with NUL, which no document's can; they are marked
 * as deleted, so that no query sees them. A newer row replaces an older one of the same id; an empty one stands for
 * none. Thread-safe. */
#ifndef LOCKSET_LIFECYCLE_HIDDEN_H
#define LOCKSET_LIFECYCLE_HIDDEN_H

#include "lifecycle/write_priv.h"

struct hidden_row {
    char *id;        /* without the NUL at its begin; owned */
    struct buf text; /* wiping */
};
struct hidden_rows {
    struct hidden_row *items; /* by id */
    size_t count;
};
void hidden_rows_done(struct hidden_rows *l); /* accepts zeroed */

/* Those whose id begins with `prefix` (letters, digits, ':'; without the NUL), as they were last written. Waits for an
 * engine at most until the deadline. On failure *why is filled. */
struct result hidden_read(struct tenant *t, const struct registry_collection *c, enum keylink_use use,
                          const char *prefix, int64_t deadline_ns, struct hidden_rows *ret, struct refusal *why);

/* Stores rows (whose ids begin with NUL), all in one insert. use: KEYLINK_WRITE, or KEYLINK_RECOVER. */
struct result hidden_write(struct tenant *t, const struct registry_collection *c, enum keylink_use use,
                           const struct write_hidden *rows, size_t count, struct refusal *why);

#endif
