/* What is kept of one source in its collection's own table, as hidden rows: the position with the counts that belong to
 * it, and the newest errors, each in a row of its own out of KEPT_MAX_ERRORS, taken in turn. Pure but for the clock. */
#ifndef LOCKSET_SOURCES_KEPT_H
#define LOCKSET_SOURCES_KEPT_H

#include "lifecycle/hidden.h"

enum { KEPT_MAX_ERRORS = 1000, KEPT_MAX_BYTES = 8 << 20, KEPT_EXCERPT_BYTES = 512 };

#define KEPT_SOURCES_ID "sources" /* the list of the collection's sources */

struct kept {
    json_t *position; /* NULL: nothing was ever stored; owned */
    int64_t items, bytes, errors;
    int64_t stored_at_ms; /* 0: never */
    char *last_item;      /* owned; NULL: none */
    bool has_snapshot;    /* the initial load is complete */
};
void kept_done(struct kept *k); /* accepts zeroed */

/* "source:<id>", "error:<id>:": ids of hidden rows, without their NUL. New strings. */
char *kept_position_id(const char *source_id);
char *kept_error_prefix(const char *source_id);

/* As JSON text, appended; and back. CORRUPT for anything kept_write doesn't write. */
struct result kept_write(const struct kept *k, struct buf *out);
struct result kept_read(struct slice text, struct kept *ret);
/* The row of that id among others; an empty one if it isn't there. */
struct result kept_find(const struct hidden_rows *rows, const char *source_id, struct kept *ret);

/* Hidden rows made for one insert. Owns all they point to. */
struct kept_rows {
    struct write_hidden *items;
    size_t count, capacity;
    struct buf *texts; /* two for each: id, text */
};
void kept_rows_done(struct kept_rows *r); /* accepts zeroed */
/* id without its NUL; text is copied. */
void kept_rows_add(struct kept_rows *r, const char *id, struct slice text);
/* The newest of the flawed records, numbered from `first` on; returns how many flaws there are in all. */
size_t kept_rows_add_errors(struct kept_rows *r, const char *source_id, const struct write_record *records,
                            size_t count, int64_t first);

/* The list of errors as an answer: newest first, at most `limit`. */
json_t *kept_errors(const struct hidden_rows *rows, size_t limit);

#endif
