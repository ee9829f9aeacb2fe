/* A tenant's query, from the text to a whole result. The result is held back until it is complete and the key was found
 * usable once more: a client never sees a part of it. Thread-safe. */
#ifndef LOCKSET_LIFECYCLE_QUERY_H
#define LOCKSET_LIFECYCLE_QUERY_H

#include "lifecycle/rows.h"
#include "lifecycle/sql_text.h"
#include "lifecycle/tenant.h"

enum { QUERY_MAX_TIMEOUT_MS = 120000 };

struct query {
    struct slice sql;
    const json_t *parameters; /* NULL or an array of {name, type, value} */
    int64_t row_limit;        /* of a SELECT that has none itself; 0: none */
    unsigned timeout_ms;      /* 1 to QUERY_MAX_TIMEOUT_MS */
    const char *query_id;
};

struct query_result {
    struct rows rows;
    struct sql_text text; /* tables, is_star */
    int64_t elapsed_ms;
    size_t held_bytes;     /* counted against what all results together may hold */
    unsigned line, column; /* of an error in the SQL; 0: not known */
};
void query_result_done(struct query_result *r); /* accepts zeroed */

/* On failure *why is filled (but for line and column, which stand in *ret), and nothing of the result is left. */
struct result query_run(struct tenant *t, const struct query *q, struct query_result *ret, struct refusal *why);

/* ClickHouse's error text as a tenant may see it: without code, version, and the server's own names. Appended. Pure. */
void query_clean_error(struct slice text, struct buf *out);

/* The place in the tenant's own text of an error that names one in the prepared text: *line and *column, from 1, and
 * the message speaks of it. Others are left as they are. Pure. */
void query_place_error(struct slice sql, const struct sql_text *text, struct buf *message, unsigned *line,
                       unsigned *column);

#endif
