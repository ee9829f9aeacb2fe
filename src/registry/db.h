/* SQLite, wrapped for this folder: open and check, transactions, binding, rows. Only files of registry/ include it. */
#ifndef LOCKSET_REGISTRY_DB_H
#define LOCKSET_REGISTRY_DB_H

#include <pthread.h>
#include <sqlite3.h>

#include "registry/registry.h"

struct registry {
    pthread_mutex_t lock; /* held by every transaction, read or write */
    sqlite3 *db;
};

/* A transaction: db_begin locks and begins; db_end (for AUTO) rolls back unless db_commit succeeded, and unlocks. */
struct db_tx {
    struct registry *r; /* NULL: none */
    bool is_open;
};
struct result db_begin_read(struct registry *r, struct db_tx *tx);
struct result db_begin_write(struct registry *r, struct db_tx *tx);
struct result db_commit(struct db_tx *tx);
void db_end(struct db_tx *tx);
#define DB_TX(name) AUTO(db_end) struct db_tx name = {0}

static inline void db_finalize(sqlite3_stmt **s) {
    sqlite3_finalize(*s);
}
#define DB_STATEMENT(name) AUTO(db_finalize) sqlite3_stmt *name = NULL

/* Prepares and binds ?1, ?2, ...: in `types` a letter each: t text (const char *, NULL allowed), i int64_t, b blob
 * (const struct slice *). All must outlive the statement. */
struct result db_prepare(struct registry *r, sqlite3_stmt **ret, const char *sql, const char *types, ...);
/* The next row; false at the end. */
struct result db_next(struct registry *r, sqlite3_stmt *s, bool *ret_row);
/* Prepares, binds, runs to the end. */
struct result db_run(struct registry *r, const char *sql, const char *types, ...);
/* The number of rows the last statement changed. */
int db_changes(struct registry *r);
/* Moves everything from the write-ahead log into the file and empties the log. Best effort: a reader may be in the way,
 * then the next one does it. */
struct result db_forget_log(struct registry *r);
/* A result code of SQLite as ours. */
struct result db_fail(struct registry *r, int code, const char *what);

/* Columns as owned copies; NULL for NULL. */
char *db_text(sqlite3_stmt *s, int column);
void db_blob(sqlite3_stmt *s, int column, struct buf *ret);

/* Room for one more item in a growing array of a result list; zeroed. */
void *db_grow(void **items, size_t *count, size_t item_bytes);
#define DB_GROW(list) db_grow((void **)&(list)->items, &(list)->count, sizeof *(list)->items)

#endif
