/* A table as the catalog has it, the types of its columns, and its rows as documents. */
#ifndef LOCKSET_SOURCES_POSTGRES_TABLE_H
#define LOCKSET_SOURCES_POSTGRES_TABLE_H

#include "sources/postgres_batch.h"
#include "sources/postgres_config.h"
#include "sources/postgres_pgoutput.h"
#include "sources/postgres_position.h"
#include "sources/postgres_value.h"

/* Columns in the order in which values come, from a query or from the stream. */
struct postgres_column {
    char *name; /* owned */
    struct postgres_type type;
    bool is_left_out; /* of the document: "_id" and "_meta", which have a meaning of their own there */
};
struct postgres_columns {
    unsigned count;
    struct postgres_column *items; /* owned */
    unsigned keys_count;
    unsigned keys[POSTGRES_MAX_KEYS]; /* the key's columns, in its order */
};
void postgres_columns_done(struct postgres_columns *c);

/* Types other than the server's own, as they were asked for. */
struct postgres_types {
    unsigned count;
    struct postgres_known_type {
        uint32_t oid;
        struct postgres_type type;
    } * items; /* owned */
};
void postgres_types_done(struct postgres_types *t);
/* Domains are what they are made of; a type that is gone reads as text. */
struct result postgres_types_find(struct postgres_types *t, struct postgres_link *l, uint32_t oid,
                                  struct postgres_type *ret);

struct postgres_key_column {
    char *type;                   /* in SQL */
    char *less, *equal, *greater; /* its index's operators, in SQL: OPERATOR(pg_catalog.<) */
    bool is_plain;                /* these are PostgreSQL's own */
};

struct postgres_table {
    uint32_t oid;
    char *sql;     /* "schema"."table" */
    char *columns; /* their names in SQL, with commas */
    struct postgres_columns layout;
    struct postgres_key_column keys[POSTGRES_MAX_KEYS];
    int64_t estimate; /* of its rows; -1: never analyzed */
};
void postgres_table_done(struct postgres_table *t);

/* NOT_FOUND, FORBIDDEN (no right to read it), INVALID (partitioned, unlogged, a view; no key). On failure ret holds
 * nothing. */
struct result postgres_table_load(struct postgres_link *l, const struct postgres_config *config,
                                  struct postgres_types *types, struct postgres_table *ret);

/* Adds the row's document under its key; a flaw if it can't be one. PEER if the values don't fit the columns. */
struct result postgres_row_add(struct postgres_batch *b, const struct postgres_columns *columns,
                               const struct pgoutput_value *values, const char *origin);
/* Adds the deletion of the row whose key these values hold. */
struct result postgres_row_delete(struct postgres_batch *b, const struct postgres_columns *columns,
                                  const struct pgoutput_value *values, const char *origin);
/* The key alone, as the document's _id: the only column as it is, several as an array in JSON. */
struct result postgres_row_id(const struct postgres_columns *columns, const struct pgoutput_value *values,
                              struct buf *out);

#endif
