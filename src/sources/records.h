/* Cuts a text that comes in pieces into its records: JSON lines, a JSON array of objects, JSON objects one after the
 * other, or CSV. Only as much is looked at as is needed to find a record's end; whether JSON is well-formed is found
 * out by who stores it. In bounded memory; pure; one owner.
 *
 * After any record, records_place tells where to go on: a new splitter that is begun there and fed from that byte on
 * gives the same further records, with the same numbers. */
#ifndef LOCKSET_SOURCES_RECORDS_H
#define LOCKSET_SOURCES_RECORDS_H

#include "base/json.h"

enum { RECORDS_MAX_BYTES = 10 << 20, RECORDS_MAX_COLUMNS = 10000 };

enum records_mode {
    RECORDS_UNKNOWN, /* JSON, whose form the first bytes will tell */
    RECORDS_LINES,   /* a number is a line's */
    RECORDS_ARRAY,
    RECORDS_OBJECTS, /* objects over several lines */
    RECORDS_CSV,     /* a number is a row's, not counting the header */
    RECORDS_OVER,    /* nothing further is a record */
};

/* How values of CSV are written. */
struct csv_format {
    char separator, quote, escape; /* escape 0: a doubled quote is the only escape */
    bool has_header;               /* the first row names the columns */
    const json_t *names;           /* array of strings; NULL: from the header; borrowed */
    const json_t *types; /* array of "BOOLEAN", "INTEGER", "FLOAT", "STRING", "UNKNOWN", ...; NULL: by the look of each
                            value; borrowed */
};
/* From Rockset's format_params.csv (NULL: all by default). INVALID. */
struct result csv_format_read(const json_t *params, struct csv_format *ret);

struct records_place {
    enum records_mode mode;
    uint64_t offset; /* in the text */
    uint64_t number; /* of the last record */
};

struct records;
/* place: zeroed from the beginning (mode RECORDS_UNKNOWN or RECORDS_CSV), or what records_place told. */
struct records *records_new(const struct csv_format *csv, const struct records_place *place);
struct records *records_free(struct records *r); /* accepts NULL */

/* More of the text. What was found so far must not be used any more. */
void records_feed(struct records *r, struct slice piece);
void records_end(struct records *r); /* that was all */

struct record {
    struct slice document; /* JSON text; empty with a flaw */
    uint64_t number;
    const char *flaw; /* NULL, or why it is no record; until the next call */
};
/* The next one; false: feed more, or, after records_end, there is none. Valid until the next call. */
bool records_next(struct records *r, struct record *ret);
struct records_place records_place(const struct records *r);

/* CSV begun in the middle needs the columns' names: feeds the beginning of the text, until it returns true. */
bool records_feed_header(struct records *r, struct slice piece, bool is_end);

#endif
