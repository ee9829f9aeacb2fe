/* libchdb: ClickHouse in a library, 26.7.3. Its package brings no header, so the functions used are declared here
 * with their documented meaning (chdb-core, programs/local/chdb.h). The library is opened at run time from an explicit
 * path: building Lockset needs no libchdb, and no other program of Lockset pays for its 560 MB.
 *
 * The rules that hold for all of it: a connection runs one statement at a time; a result belongs to the caller and is
 * given back with result_free; nothing but `result_error` may be read of a result that holds an error; connecting is
 * done by one thread at a time. */
#ifndef LOCKSET_ENGINE_CHDB_H
#define LOCKSET_ENGINE_CHDB_H

#include "base/buf.h"

struct chdb_session; /* their chdb_connection: one session with its own settings */
struct chdb_result;
struct chdb_insert; /* their chdb_insert_stream */

/* What a statement does to state that outlives it. */
enum chdb_class {
    CHDB_READ_ONLY = 0,       /* SELECT, SHOW, DESCRIBE, EXPLAIN, EXISTS, CHECK */
    CHDB_MUTATING = 1,        /* INSERT, CREATE, DROP, ... */
    CHDB_MUTATING_GLOBAL = 2, /* users, functions, the system database */
    CHDB_CONTROL = 3,         /* SET, USE, SYSTEM, KILL, ATTACH, INTO OUTFILE, ... */
    CHDB_UNKNOWN = 4,         /* did not parse */
};

struct chdb_analysis {
    uint32_t struct_size; /* the caller sets sizeof */
    uint32_t statement_count;
    uint32_t flags;
    uint32_t query_class; /* enum chdb_class; of several statements the highest */
};

struct chdb {
    void *library;
    const char *(*version)(void);
    /* 0: the library leaves all signals alone. Before the first connect. */
    void (*set_signal_handlers)(int enabled);
    /* --path, --config-file count for the first connection of the process, `--<setting>=<value>` for this session
     * alone. NULL on failure. The value points to the session. */
    struct chdb_session **(*connect)(int argc, char **argv);
    void (*close)(struct chdb_session **s);
    /* All rows of the answer in one buffer. Values of parameters are text with tab-separated escapes. */
    struct chdb_result *(*query)(struct chdb_session *s, const char *query, size_t query_len, const char *format,
                                 size_t format_len, const char *const *names, const size_t *name_lens,
                                 const char *const *values, const size_t *value_lens, size_t count);
    /* The same for a SELECT, answered in pieces by stream_fetch: each piece is a *complete* document of the format
     * (headers again); an empty one without an error is the end. The handle is freed like a result. */
    struct chdb_result *(*stream)(struct chdb_session *s, const char *query, size_t query_len, const char *format,
                                  size_t format_len, const char *const *names, const size_t *name_lens,
                                  const char *const *values, const size_t *value_lens, size_t count);
    struct chdb_result *(*stream_fetch)(struct chdb_session *s, struct chdb_result *stream);
    void (*stream_cancel)(struct chdb_session *s, struct chdb_result *stream);
    /* An INSERT without FORMAT clause and data; then data in `format`; insert_done commits and tells. The handle is
     * never NULL and always freed. Data inside the statement's text is not used by Lockset: the library reads over what
     * looks like a comment at its beginning. */
    struct chdb_insert *(*insert)(struct chdb_session *s, const char *query, size_t query_len, const char *format,
                                  size_t format_len);
    int (*insert_append)(struct chdb_insert *i, const void *data, size_t len); /* 0: taken */
    struct chdb_result *(*insert_done)(struct chdb_insert *i);
    const char *(*insert_error)(struct chdb_insert *i); /* NULL: none */
    void (*insert_free)(struct chdb_insert *i);

    const char *(*result_error)(struct chdb_result *r); /* NULL: none */
    char *(*result_data)(struct chdb_result *r);
    size_t (*result_len)(struct chdb_result *r);
    double (*result_elapsed_s)(struct chdb_result *r);
    uint64_t (*result_rows_read)(struct chdb_result *r);    /* from storage */
    uint64_t (*result_bytes_read)(struct chdb_result *r);   /* from storage */
    uint64_t (*result_rows_written)(struct chdb_result *r); /* includes those of materialized views */
    void (*result_free)(struct chdb_result *r);
    /* What a text would do, by the parser that would run it. 0: *analysis is set. */
    int (*classify)(struct chdb_session *s, const char *sql, size_t sql_len, const char *database, size_t database_len,
                    struct chdb_analysis *analysis);
};

/* Opens the library at an absolute path. NOT_FOUND, UNSUPPORTED (not a libchdb of the version this was written for). It
 * stays open until the process ends. */
struct result chdb_load(const char *path, struct chdb *ret);

#endif
