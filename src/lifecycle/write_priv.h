/* What adds, patches and deletions share. */
#ifndef LOCKSET_LIFECYCLE_WRITE_PRIV_H
#define LOCKSET_LIFECYCLE_WRITE_PRIV_H

#include "lifecycle/writes.h"

/* One version of one document on its way into the table. */
struct write_row {
    struct slice id, raw; /* borrowed; raw is empty for a deletion */
    int64_t event_time_us;
    bool is_deletion;
    const char *status; /* "ADDED"... */
    char *error;        /* owned; the row is not stored, its status is ERROR */
    size_t order;       /* place in the request */
};

/* A row of the server's own, hidden from every query: its id begins with NUL. Borrowed. */
struct write_hidden {
    struct slice id, raw;
};

enum { WRITE_MAX_HIDDEN = 1024 };

struct write_run {
    const struct write *write;
    enum keylink_use use; /* KEYLINK_WRITE, unless it is for a recovery */
    struct collection *collection;
    int64_t deadline_ns;
    struct write_row *rows;
    size_t count;
    uint64_t last_version;        /* of the rows */
    struct keylink_engine engine; /* that stored them */
    struct refusal *why;
    /* Hidden rows to be stored in the same insert, at most WRITE_MAX_HIDDEN; called when it is known which rows have
     * errors, and once more when the engine finds further ones. What *ret points to lives until the next call. */
    struct result (*make_hidden)(void *arg, struct write_hidden **ret, size_t *ret_count);
    void *arg;
};

/* Fills the parts that don't depend on the rows. */
void write_run_init(struct write_run *run, const struct write *w, struct refusal *why);
void write_run_done(struct write_run *run);

/* Takes the collection's lock, shared or alone, until the deadline; refused when others hold it for longer. */
struct result write_hold(struct write_run *run, bool alone);
void write_release(struct write_run *run);

/* Gives versions to the rows without error and stores them, with the schema if `added` (may be NULL) has something new;
 * brings the view up to date. Rows that the engine can't hold get an error. */
struct result write_store(struct write_run *run, const struct schema *added);

/* A stored document. */
struct write_found {
    char *id;
    int64_t event_time_us;
    char *raw; /* NULL if only ids were asked for */
};
struct write_found_list {
    struct write_found *items; /* sorted by id */
    size_t count;
};
void write_found_done(struct write_found_list *l);
struct write_found *write_find(const struct write_found_list *l, struct slice id);
/* The stored ones among the rows' ids. */
struct result write_lookup(struct write_run *run, bool with_raw, struct write_found_list *ret);

/* RowBinary: a length in LEB128, then the bytes. Advances; false if too few are left. */
bool write_take_string(struct slice *s, struct slice *ret);

/* The answer. */
void write_answer(const struct write_run *run, struct buf *out);

/* body -> its "data" array, each element an object with these members only. */
struct result write_parse_list(struct slice body, const char *const members[], json_t **ret_root, json_t **ret_data);
/* The _id of an element; NULL and *ret_error (static) if it is no good. */
const char *write_take_id(const json_t *element, const char **ret_error);

#endif
