/* One statement run by the embedded ClickHouse: in a session of its own, on a thread with a deep stack (the parser and
 * the planner recurse), watched (watch.h). Any thread may call. */
#ifndef LOCKSET_ENGINE_STATEMENT_H
#define LOCKSET_ENGINE_STATEMENT_H

#include "base/buf.h"
#include "engine/instance.h"
#include "engine/watch.h"

struct statement_env {
    struct instance *instance;
    struct watch *watch;
};

struct statement {
    struct slice query;
    const char *format;
    /* Parameters: names, and values in tab-separated escaping. */
    const char *const *names, *const *values;
    const size_t *name_lens, *value_lens;
    size_t param_count;
    const char *const *settings; /* "name=value" */
    size_t setting_count;
    bool is_readonly;     /* no writes, no change of settings */
    const char *database; /* current database; NULL: the default one */
    int64_t deadline_ns;
    int client_fd; /* for the watch; -1: none */
    /* Unless NULL, the query runs only if ClickHouse's own parser calls it exactly one statement that only reads, and
     * if `check` takes it in the form in which ClickHouse writes what it understood. May run on another thread. */
    struct result (*check)(const void *check_arg, struct slice canonical);
    const void *check_arg;
};

/* How it went: code 0, or ClickHouse's code and text. */
struct outcome {
    int code;
    char *text;
    uint64_t rows_read, bytes_read, rows_written, elapsed_ns;
};
void outcome_done(struct outcome *o); /* accepts zeroed */
/* An outcome of our own making: "Code: N. DB::Exception: <text>." */
void outcome_fail(struct outcome *o, int code, const char *text);
/* The same from a failure and its err_detail(): FORBIDDEN is ENGINE_GATE_REFUSED, and so on. */
void outcome_fail_from(struct outcome *o, struct result r);

/* Runs it whole and appends the answer to `out` (396 when it doesn't fit). */
void statement_run(struct statement_env *env, const struct statement *st, struct buf *out, struct outcome *ret);

/* A SELECT in pieces. Formats that repeat a header in each piece need statement_can_stream. */
struct cursor;
/* Can answers of this format be cut into pieces? *ret_header_lines: lines to be dropped from all pieces but the first.
 */
bool statement_can_stream(const char *format, unsigned *ret_header_lines);
/* NULL, and ret->code set, when it doesn't begin. The strings of st must live until cursor_close. */
struct cursor *cursor_open(struct statement_env *env, const struct statement *st, struct outcome *ret);
/* Replaces `out` by the next piece, headers dropped as needed; an empty one is the end (or a failure: ret->code). Adds
 * to the counts of ret. */
void cursor_next(struct cursor *c, struct buf *out, struct outcome *ret);
void cursor_close(struct cursor *c); /* accepts NULL; cancels what still runs */

/* INSERT INTO ... (columns), without FORMAT; the data is the bodies one after another. ret->rows_written counts all. */
void statement_insert(struct statement_env *env, const struct statement *st, const struct slice *bodies, size_t count,
                      struct outcome *ret);

#endif
