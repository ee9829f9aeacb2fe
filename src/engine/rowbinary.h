/* ClickHouse's RowBinary: rows of values without any framing. Bodies of several callers are joined into one INSERT, so
 * each is measured first: a body that is cut short would take its missing bytes from its neighbour. */
#ifndef LOCKSET_ENGINE_ROWBINARY_H
#define LOCKSET_ENGINE_ROWBINARY_H

#include "base/buf.h"

/* How the values of one column lie in a row. */
struct rowbinary_column {
    unsigned fixed_bytes; /* 0: a string, with its length as LEB128 before it */
    bool is_nullable;     /* one byte before it: 1 is NULL, and nothing follows */
};

/* From the column's type; false for types that aren't measured here (arrays, maps, JSON, ...). */
bool rowbinary_column_of(struct slice type, struct rowbinary_column *ret);

/* Counts the rows of a body. INVALID when it doesn't end with the end of a row. */
struct result rowbinary_count(struct slice body, const struct rowbinary_column *columns, size_t count,
                              uint64_t *ret_rows);

#endif
