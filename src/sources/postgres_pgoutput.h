/* The messages of PostgreSQL's logical replication plugin pgoutput, protocol version 1, as they stand in the stream's
 * XLogData. Pure: no I/O, and nothing is believed: every length is checked against what is there, a message must be
 * used up to its last byte, and a kind that version 1 doesn't have is refused. */
#ifndef LOCKSET_SOURCES_POSTGRES_PGOUTPUT_H
#define LOCKSET_SOURCES_POSTGRES_PGOUTPUT_H

#include "base/buf.h"

enum { PGOUTPUT_MAX_COLUMNS = 1664 }; /* the server's own limit of a tuple */

enum pgoutput_kind {
    PGOUTPUT_BEGIN,
    PGOUTPUT_COMMIT,
    PGOUTPUT_ORIGIN,
    PGOUTPUT_RELATION,
    PGOUTPUT_TYPE,
    PGOUTPUT_INSERT,
    PGOUTPUT_UPDATE,
    PGOUTPUT_DELETE,
    PGOUTPUT_TRUNCATE,
    PGOUTPUT_KIND_MAX,
};

enum pgoutput_value_kind {
    PGOUTPUT_NULL,
    PGOUTPUT_UNCHANGED, /* a large value that this update did not touch: the server does not send it */
    PGOUTPUT_TEXT,
};

struct pgoutput_value {
    enum pgoutput_value_kind kind;
    struct slice text;
};

struct pgoutput_tuple {
    unsigned count;
    struct pgoutput_value values[PGOUTPUT_MAX_COLUMNS];
};

/* What stands before the new tuple of an update, or is all of a delete. */
enum pgoutput_old {
    PGOUTPUT_OLD_NONE,
    PGOUTPUT_OLD_KEY, /* only the columns of the replica identity; the others read as null */
    PGOUTPUT_OLD_ROW, /* the whole row: REPLICA IDENTITY FULL */
};

struct pgoutput_column {
    bool is_key;
    struct slice name;
    uint32_t type; /* its OID */
};

/* One message; the slices borrow the parsed bytes. Large: make one with pgoutput_message_new and use it again. */
struct pgoutput_message {
    enum pgoutput_kind kind;
    /* BEGIN: final_lsn is where the transaction's commit record begins. COMMIT: final_lsn the same, end_lsn the byte
     * behind the commit record. */
    uint64_t final_lsn, end_lsn;
    uint32_t xid;
    /* RELATION, INSERT, UPDATE, DELETE: the table's OID. */
    uint32_t relation;
    /* RELATION */
    struct slice schema, table;
    uint8_t identity; /* 'd', 'n', 'f' or 'i' as in pg_class.relreplident */
    unsigned columns_count;
    struct pgoutput_column columns[PGOUTPUT_MAX_COLUMNS];
    /* INSERT and UPDATE: the new row; UPDATE and DELETE: the old one. */
    struct pgoutput_tuple new_row;
    enum pgoutput_old old;
    struct pgoutput_tuple old_row;
    /* TRUNCATE: see pgoutput_truncates. */
    struct slice truncated;
};

struct pgoutput_message *pgoutput_message_new(void);
struct pgoutput_message *pgoutput_message_free(struct pgoutput_message *m); /* accepts NULL, returns NULL */

/* PEER if it is no message of the protocol; ret is then of no use. */
struct result pgoutput_parse(struct slice text, struct pgoutput_message *ret);
/* Does a TRUNCATE name this table? */
bool pgoutput_truncates(const struct pgoutput_message *m, uint32_t relation);

#endif
