/* PostgreSQL's values, which come as text both from queries and from the replication stream, as JSON. Pure.
 *
 *     bool                            true, false
 *     smallint, integer, bigint, oid  number
 *     real, double precision          number with a fraction or an exponent; NaN and the infinities: string
 *     numeric                         number where nothing is lost: an integer of 64 bits, or a fraction of at most 15
 *                                     significant digits; else (and NaN): string, with all its digits
 *     json, jsonb                     as it is, embedded; what our JSON refuses (a member twice, U+0000, nested too
 *                                     deep, an integer over 64 bits): string
 *     timestamp, timestamptz          "2026-01-02T03:04:05.123456", the latter in UTC and with a Z; infinity and BC: as
 *                                     PostgreSQL writes them
 *     date, time, uuid                string, as PostgreSQL writes it
 *     bytea                           string in base64
 *     arrays of all types             array, nested as it is; lower bounds are not kept
 *     domains                         as what they are made of
 *     everything else                 string, as PostgreSQL writes it
 */
#ifndef LOCKSET_SOURCES_POSTGRES_VALUE_H
#define LOCKSET_SOURCES_POSTGRES_VALUE_H

#include "base/buf.h"

enum postgres_kind {
    POSTGRES_TEXT,
    POSTGRES_BOOL,
    POSTGRES_INTEGER,
    POSTGRES_FLOAT,
    POSTGRES_NUMERIC,
    POSTGRES_JSON,
    POSTGRES_TIMESTAMP,
    POSTGRES_TIMESTAMPTZ,
    POSTGRES_BYTEA,
};

struct postgres_type {
    enum postgres_kind kind; /* of the value, or of an array's elements */
    bool is_array;
    char delimiter; /* of an array's elements; 0 counts as ',' */
};

enum { POSTGRES_FIRST_CUSTOM_OID = 16384 };
/* Types that every server has under the same OID: their kind; anything else reads as text. */
struct postgres_type postgres_type_builtin(uint32_t oid);

/* Appends the value as JSON. Text that is not what the type promises is written as a string, so out always stays JSON;
 * text must be UTF-8. */
void postgres_value_write(struct postgres_type type, struct slice text, struct buf *out);

#endif
