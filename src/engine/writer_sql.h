/* Lockset's own statements, as far as the engine must understand them: which table they touch, whether they bring
 * data, and where a disk is to be filled in. */
#ifndef LOCKSET_ENGINE_WRITER_SQL_H
#define LOCKSET_ENGINE_WRITER_SQL_H

#include "base/buf.h"
#include "base/secret.h"

enum writer_kind {
    WRITER_INSERT, /* INSERT INTO [db.]table [(columns)] FORMAT x: data follows */
    WRITER_TABLE,  /* changes one table as a whole: CREATE, ATTACH, DETACH, DROP, TRUNCATE, OPTIMIZE */
    WRITER_OTHER,
};

enum { WRITER_MAX_COLUMNS = 64 };

struct writer_sql {
    enum writer_kind kind;
    char *table;                       /* "db.table" or "table"; NULL for WRITER_OTHER */
    char *database_part, *table_part;  /* of it; database_part may be NULL */
    char *insert;                      /* WRITER_INSERT: the statement without FORMAT and what follows */
    char *format;                      /* WRITER_INSERT */
    char *columns[WRITER_MAX_COLUMNS]; /* WRITER_INSERT: as listed */
    size_t column_count;               /* 0: none listed */
};

/* INVALID when the text can't be cut into tokens, or an INSERT's shape isn't the above. An INSERT ... SELECT is
 * WRITER_OTHER. */
struct result writer_sql_parse(struct slice sql, struct writer_sql *ret);
void writer_sql_done(struct writer_sql *w); /* accepts zeroed */

/* What @disk(<collection>) stands for in this epoch. */
struct writer_disk {
    unsigned port;
    struct slice access_key, secret_key;
};

/* Appends sql with each @disk(<collection id>) replaced by the definition of the collection's disk: a plain_rewritable
 * S3 disk whose endpoint is the gateway, with retries kept short. Only outside of strings and comments. INVALID for
 * something that is no collection id ('c' and 20 lower-case hex digits). `out` then holds a credential: make it wiping.
 */
struct result writer_fill_disks(struct slice sql, const struct writer_disk *disk, struct buf *out);

#endif
