#include "registry/db.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/file.h"
#include "registry/schema.h"

enum { APPLICATION_ID = 0x4c6b7374, BUSY_TIMEOUT_MS = 5000, BLOB_MAX = 16 << 20 }; /* "Lkst" */

struct result db_fail(struct registry *r, int code, const char *what) {
    const char *text = r && r->db ? sqlite3_errmsg(r->db) : sqlite3_errstr(code);
    enum err_code ours = ERR_IO;
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        ours = ERR_BUSY;
        break;
    case SQLITE_CONSTRAINT:
        ours = ERR_CONFLICT;
        break;
    case SQLITE_FULL:
        ours = ERR_NO_SPACE;
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        ours = ERR_CORRUPT;
        break;
    default:
        break;
    }
    return err_make(ours, "the registry, %s: %s", what, text);
}

static struct result db_exec(struct registry *r, const char *sql, const char *what) {
    int code = sqlite3_exec(r->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? OK : db_fail(r, code, what);
}

static struct result bind_all(struct registry *r, sqlite3_stmt *s, const char *types, va_list args) {
    for (int i = 0; types[i]; i++) {
        int code = SQLITE_MISUSE;
        if (types[i] == 't') {
            const char *text = va_arg(args, const char *);
            code = text ? sqlite3_bind_text(s, i + 1, text, -1, SQLITE_STATIC) : sqlite3_bind_null(s, i + 1);
        } else if (types[i] == 'i') {
            code = sqlite3_bind_int64(s, i + 1, va_arg(args, int64_t));
        } else if (types[i] == 'b') {
            const struct slice *blob = va_arg(args, const struct slice *);
            code = blob->len ? sqlite3_bind_blob64(s, i + 1, blob->data, blob->len, SQLITE_STATIC)
                             : sqlite3_bind_zeroblob(s, i + 1, 0);
        }
        if (code != SQLITE_OK) return db_fail(r, code, "binding a value");
    }
    return OK;
}

static struct result prepare_list(struct registry *r, sqlite3_stmt **ret, const char *sql, const char *types,
                                  va_list args) {
    sqlite3_stmt *s = NULL;
    int code = sqlite3_prepare_v2(r->db, sql, -1, &s, NULL);
    if (code != SQLITE_OK) return db_fail(r, code, "preparing a statement");
    struct result bound = bind_all(r, s, types, args);
    if (is_err(bound)) {
        sqlite3_finalize(s);
        return bound;
    }
    *ret = s;
    return OK;
}

struct result db_prepare(struct registry *r, sqlite3_stmt **ret, const char *sql, const char *types, ...) {
    va_list args;
    va_start(args, types);
    struct result made = prepare_list(r, ret, sql, types, args);
    va_end(args);
    return made;
}

struct result db_next(struct registry *r, sqlite3_stmt *s, bool *ret_row) {
    int code = sqlite3_step(s);
    if (code != SQLITE_ROW && code != SQLITE_DONE) return db_fail(r, code, "running a statement");
    *ret_row = code == SQLITE_ROW;
    return OK;
}

struct result db_run(struct registry *r, const char *sql, const char *types, ...) {
    DB_STATEMENT(s);
    va_list args;
    va_start(args, types);
    struct result made = prepare_list(r, &s, sql, types, args);
    va_end(args);
    TRY(made);
    bool row = true;
    while (row) {
        TRY(db_next(r, s, &row));
    }
    return OK;
}

int db_changes(struct registry *r) {
    return sqlite3_changes(r->db);
}

char *db_text(sqlite3_stmt *s, int column) {
    if (sqlite3_column_type(s, column) == SQLITE_NULL) return NULL;
    const void *text = sqlite3_column_text(s, column);
    return text ? str_dup(text) : str_dup("");
}

void db_blob(sqlite3_stmt *s, int column, struct buf *ret) {
    buf_init(ret, BLOB_MAX);
    const void *blob = sqlite3_column_blob(s, column);
    if (blob) buf_append(ret, blob, (size_t)sqlite3_column_bytes(s, column));
}

void *db_grow(void **items, size_t *count, size_t item_bytes) {
    size_t n = *count;
    if ((n & (n - 1)) == 0) { /* full at every power of two */
        size_t capacity = n ? 2 * n : 1;
        uint8_t *grown = mem_alloc_array(capacity, item_bytes);
        mem_copy(grown, *items, n * item_bytes);
        mem_free(*items);
        *items = grown;
    }
    *count = n + 1;
    return (uint8_t *)*items + n * item_bytes;
}

struct result db_forget_log(struct registry *r) {
    pthread_mutex_lock(&r->lock);
    struct result done = db_exec(r, "PRAGMA wal_checkpoint(TRUNCATE)", "emptying the log");
    pthread_mutex_unlock(&r->lock);
    return done.code == ERR_BUSY ? OK : done;
}

static struct result begin(struct registry *r, struct db_tx *tx, const char *sql) {
    pthread_mutex_lock(&r->lock);
    tx->r = r; /* from here on db_end unlocks */
    TRY(db_exec(r, sql, "beginning a transaction"));
    tx->is_open = true;
    return OK;
}

struct result db_begin_read(struct registry *r, struct db_tx *tx) {
    return begin(r, tx, "BEGIN");
}

struct result db_begin_write(struct registry *r, struct db_tx *tx) {
    return begin(r, tx, "BEGIN IMMEDIATE");
}

struct result db_commit(struct db_tx *tx) {
    TRY(db_exec(tx->r, "COMMIT", "committing"));
    tx->is_open = false;
    return OK;
}

void db_end(struct db_tx *tx) {
    if (!tx->r) return;
    if (tx->is_open) sqlite3_exec(tx->r->db, "ROLLBACK", NULL, NULL, NULL);
    pthread_mutex_unlock(&tx->r->lock);
    tx->r = NULL;
    tx->is_open = false;
}

/* ---- Opening ---- */

static struct result read_int(struct registry *r, const char *sql, int64_t *ret) {
    DB_STATEMENT(s);
    TRY(db_prepare(r, &s, sql, ""));
    bool row = false;
    TRY(db_next(r, s, &row));
    *ret = row ? sqlite3_column_int64(s, 0) : 0;
    return OK;
}

/* Every table, index and trigger as text, in a fixed order. */
static struct result describe(struct registry *r, struct buf *out) {
    DB_STATEMENT(s);
    TRY(db_prepare(r, &s,
                   "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL"
                   " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name",
                   ""));
    bool row;
    for (;;) {
        TRY(db_next(r, s, &row));
        if (!row) break;
        for (int i = 0; i < 4; i++) {
            AUTO_FREE char *text = db_text(s, i);
            buf_append_str(out, text ? text : "");
            buf_append_byte(out, '\n');
        }
    }
    return buf_check(out);
}

static struct result check_schema(struct registry *r) {
    struct registry fresh = {0};
    BUF_AUTO(want, 1 << 20);
    BUF_AUTO(have, 1 << 20);
    int code = sqlite3_open(":memory:", &fresh.db);
    struct result done = code == SQLITE_OK ? OK : db_fail(&fresh, code, "opening");
    if (is_ok(done)) done = db_exec(&fresh, registry_schema_sql, "making tables");
    if (is_ok(done)) done = describe(&fresh, &want);
    sqlite3_close(fresh.db);
    TRY(done);
    TRY(describe(r, &have));
    CHECK(slice_equal(buf_slice(&want), buf_slice(&have)), ERR_CORRUPT,
          "the registry's tables or triggers are not those of this version: someone changed them; restore the file "
          "from a backup");
    return OK;
}

static struct result make_or_check(struct registry *r, const char *path) {
    DB_TX(tx);
    TRY(db_begin_write(r, &tx));
    int64_t version, application, objects;
    TRY(read_int(r, "PRAGMA user_version", &version));
    TRY(read_int(r, "PRAGMA application_id", &application));
    TRY(read_int(r, "SELECT count(*) FROM sqlite_schema", &objects));
    if (version == 0 && application == 0 && objects == 0) {
        TRY(db_exec(r, registry_schema_sql, "making tables"));
        AUTO_FREE char *marks = str_format("PRAGMA application_id = %d; PRAGMA user_version = %d;", APPLICATION_ID,
                                           REGISTRY_SCHEMA_VERSION);
        TRY(db_exec(r, marks, "marking the version"));
        return db_commit(&tx);
    }
    CHECK(application == APPLICATION_ID, ERR_CORRUPT, "%s is not a registry of Lockset", path);
    CHECK(version <= REGISTRY_SCHEMA_VERSION, ERR_CONFLICT,
          "%s was written by a newer Lockset (schema %lld, this one knows %d): start that version", path,
          (long long)version, REGISTRY_SCHEMA_VERSION);
    if (version == 1) {
        TRY(db_exec(r, registry_from_1_sql, "bringing it up to date"));
        version = 2;
    }
    if (version == 2) {
        TRY(db_exec(r, registry_from_2_sql, "bringing it up to date"));
        TRY(db_exec(r, "PRAGMA user_version = 3;", "marking the version"));
        version = 3;
    }
    CHECK(version == REGISTRY_SCHEMA_VERSION, ERR_CORRUPT, "%s has the unknown schema version %lld", path,
          (long long)version);
    TRY(check_schema(r));
    return db_commit(&tx);
}

static struct result set_up(struct registry *r, const char *path) {
    sqlite3_busy_timeout(r->db, BUSY_TIMEOUT_MS);
    sqlite3_extended_result_codes(r->db, 1);
    sqlite3_db_config(r->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(r->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_limit(r->db, SQLITE_LIMIT_ATTACHED, 0);
    TRY(db_exec(r,
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
                "PRAGMA recursive_triggers = ON; PRAGMA secure_delete = ON;",
                "setting it up"));
    return make_or_check(r, path);
}

struct result registry_open(const char *path, struct registry **ret) {
    /* Made here first, because SQLite's own mode would follow the umask. */
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return err_from_errno(errno, "the registry %s", path);
    close(fd);
    struct registry *r = mem_alloc(sizeof *r);
    pthread_mutex_init(&r->lock, NULL);
    int code = sqlite3_open_v2(path, &r->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX, NULL);
    struct result done = code == SQLITE_OK ? set_up(r, path) : db_fail(r, code, "opening");
    if (is_err(done)) {
        registry_close(r);
        return done;
    }
    *ret = r;
    return OK;
}

struct registry *registry_close(struct registry *r) {
    if (!r) return NULL;
    sqlite3_close(r->db);
    pthread_mutex_destroy(&r->lock);
    mem_free(r);
    return NULL;
}

struct result registry_new_id(char prefix, char ret[static REGISTRY_ID_BYTES]) {
    uint8_t bytes[10];
    TRY(random_bytes(bytes, sizeof bytes));
    BUF_AUTO(hex, 64);
    hex_encode(slice_make(bytes, sizeof bytes), &hex);
    TRY(buf_check(&hex));
    ret[0] = prefix;
    mem_copy(ret + 1, buf_str(&hex), 21);
    return OK;
}
