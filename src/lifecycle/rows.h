/* A result set on its way out: JSONCompactEachRowWithNamesAndTypes, in pieces as the engine sends them, becomes an
 * array of objects with keys in the order of the SELECT list, values in Rockset's encoding: dates, times and datetimes
 * as
 * {"__rockset_type":...}, timestamps with at most 6 digits of fraction. Expressions without a name are called
 * "?function". With a star, columns that are null are left out of their row, as the document had no such field. Pure.
 */
#ifndef LOCKSET_LIFECYCLE_ROWS_H
#define LOCKSET_LIFECYCLE_ROWS_H

#include "base/buf.h"
#include "lifecycle/schema.h"

enum { ROWS_MAX_BYTES = 100 * 1024 * 1024, ROWS_MAX_COLUMNS = 16384 };

enum rows_kind { ROWS_PLAIN, ROWS_TIMESTAMP, ROWS_DATE, ROWS_TIME };

struct rows_column {
    char *key; /* as a JSON string, quotes included; owned */
    enum rows_kind kind;
    bool is_object; /* an empty object means that there is none */
    bool is_array;  /* the same of an empty array */
};

struct rows {
    bool is_star;
    struct schema empty_arrays; /* fields whose empty arrays are real; the caller fills it */
    unsigned lines;             /* header lines seen */
    struct rows_column *columns;
    size_t column_count;
    struct buf line;    /* what came without its end yet */
    struct buf results; /* [{...},{...}], closed by rows_finish; wiping */
    uint64_t count;
};

void rows_init(struct rows *r, bool is_star);
void rows_done(struct rows *r); /* accepts zeroed */
/* TOO_LARGE over ROWS_MAX_BYTES; PEER for what is no such text. */
struct result rows_feed(struct rows *r, struct slice piece);
struct result rows_finish(struct rows *r);
/* [{"name":...,"type":""},...] */
void rows_write_fields(const struct rows *r, struct buf *out);

#endif
