/* A collection's field mapping (field_mapping_query): a SELECT over `_input` that the engine runs, as the tenant's own
 * SQL, over each batch of documents on their way in. Each row it gives is a document; each row comes from one document
 * of the batch, so that nothing depends on how batches are cut.
 *
 * `_input` has a column for every field of the batch, like a collection's own view, and for every name in the SQL that
 * no document of the batch has (null). Columns of the result with a meaning: `_id` (numbers become text),
 * `_event_time`,
 * `_op` ('DELETE' deletes the document; anything else stores it whole). A row without `_id` or `_event_time` keeps the
 * document's; the second, third... row of a document gets "#2", "#3"... behind its id. Nulls are left out. */
#ifndef LOCKSET_LIFECYCLE_MAPPING_H
#define LOCKSET_LIFECYCLE_MAPPING_H

#include "lifecycle/document.h"
#include "lifecycle/staging.h"

enum { MAPPING_MAX_BYTES = 64 * 1024, MAPPING_MAX_NAMES = 1000 };

#define MAPPING_HIDDEN_ID "mapping" /* of the hidden row that keeps the SQL */

/* ---- the text (pure) ---- */

struct mapping_name {
    char *name;     /* owned */
    bool is_object; /* something behind a dot is asked of it */
};
struct mapping_text {
    char *statement; /* the SQL, with the number of the input document as first column; owned */
    struct mapping_name *names;
    size_t name_count;
};
void mapping_text_done(struct mapping_text *m); /* accepts zeroed */
/* INVALID with a detail for people: not one plain SELECT whose rows stand for single documents. */
struct result mapping_text_parse(struct slice sql, struct mapping_text *ret);

/* ---- running it ---- */

struct mapping_input {
    struct slice raw; /* a JSON object without _id, _event_time, _meta; good in itself */
    const char *id;   /* never NULL */
    int64_t event_time_us;
};

struct mapped {
    struct documents documents; /* each with its id and event time */
    size_t *from;               /* by document: the input's number */
    bool *is_deletion;          /* by document: of the document with this id */
    size_t capacity;
    char **flaws; /* by input: why it can't be mapped, or NULL */
    size_t input_count;
};
void mapped_done(struct mapped *m); /* accepts zeroed */

/* Maps documents, on whichever engine serves until the deadline. A document that the SQL fails on gets a flaw and stops
 * no other. On failure *why is filled: the engine is away, or refuses the SQL as such (400). On success the caller
 * calls mapped_done. */
struct result mapping_run(struct tenant *t, const char *sql, const struct mapping_input *inputs, size_t count,
                          int64_t deadline_ns, struct mapped *ret, struct refusal *why);

/* The documents in the order of their inputs: an array of their numbers, for the caller to free. */
size_t *mapped_order(const struct mapped *m);

/* Does the engine take this SQL? 400 with its message otherwise. */
struct result mapping_check(struct tenant *t, const char *sql, struct refusal *why);

#endif
