/* The client of an engine: ClickHouse's HTTP protocol over the engine's unix socket, so that the same calls work
 * against a ClickHouse server. Thread-safe: one client serves any number of threads and sockets (organizations); it
 * keeps connections alive.
 *
 * Three outcomes are kept apart:
 *   engine gone      UNREACHABLE  refused, broken before or in the middle of an answer. The statement may have run.
 *   no answer        TIMEOUT      timeout_ms passed. The engine cancels the statement when the connection closes and
 *                                 ends itself when that doesn't help; whoever must have it gone kills the engine.
 *   it answered      OK           reply.exception_code is 0 (it worked) or ClickHouse's error code, with its text. */
#ifndef LOCKSET_ENGINE_CLIENT_H
#define LOCKSET_ENGINE_CLIENT_H

#include "base/buf.h"
#include "base/http_client.h" /* struct http_field */

struct engine_client;

/* http_client_start() of base must have been called. */
struct result engine_client_new(struct engine_client **ret);
struct engine_client *engine_client_free(struct engine_client *c); /* accepts NULL; no call may be running */

enum engine_role {
    ENGINE_READER, /* a tenant's SQL: exactly one reading statement, through the gate (engine/sql_gate.h) */
    ENGINE_WRITER, /* Lockset's own statements: CREATE, ATTACH, DROP, INSERT, views; may contain @disk(<collection>) */
};

/* A value for {name:Type} in the query. `value` is the plain text of the value: the client does the escaping of
 * ClickHouse's tab-separated text. An Array is written as ClickHouse's literal ("[1,2]", "['a','b\\'c']"), NULL by
 * is_null (the type must be Nullable). All values of a call together: at most ENGINE_MAX_PARAM_BYTES once encoded,
 * TOO_LARGE otherwise. */
struct engine_param {
    const char *name;
    struct slice value;
    bool is_null;
};

enum { ENGINE_MAX_PARAM_BYTES = 96 * 1024, ENGINE_MAX_QUERY_BYTES = 1024 * 1024 };

struct engine_call {
    const char *socket_path;
    enum engine_role role;
    struct slice query;
    const struct engine_param *params;
    size_t param_count;
    struct slice body;    /* data of an INSERT ... FORMAT X; the query then goes into the URL (at most 64 KiB) */
    uint64_t insert_rows; /* rows in `body`. Required for INSERT ... FORMAT RowBinary of the writer: such calls with
                             the same query text are committed in groups, and each learns its own outcome. */
    const char *database; /* the current one; NULL: the default */
    const char *format;   /* of the answer; NULL: JSONCompactEachRowWithNamesAndTypes */
    const char *query_id; /* shown in the engine's log only; NULL: none */
    const struct http_field *settings; /* ClickHouse settings of this statement, ended by name NULL; writer only; may be
                                          NULL. A reader's limits are the engine's. */
    unsigned timeout_ms;    /* of the whole call; also the statement's deadline inside the engine; 0: 120,000 */
    size_t max_reply_bytes; /* of reply.body: more is TOO_LARGE; 0: 16 MiB. Not for `write`. */
    const bool *cancelled;  /* polled at least every 100 ms: CANCELLED; the engine cancels the statement. NULL: never */
    /* Receives the answer piece by piece instead of reply.body, in bounded memory; false ends the call with CANCELLED.
     * Pieces that were passed on are good even when the call ends with an exception: reply.exception_code tells. */
    bool (*write)(void *arg, struct slice piece);
    void *arg;
};

struct engine_reply {
    int status;            /* HTTP; 200 also when an exception came after the first rows */
    int exception_code;    /* 0: none. ClickHouse's, or ENGINE_GATE_REFUSED for a statement the gate refused */
    char *exception;       /* its text, "Code: N. DB::Exception: ..."; NULL if none. May quote the statement or values:
                              tell it to the tenant, never log it. */
    struct buf body;       /* wiping */
    uint64_t epoch;        /* of the engine that answered */
    uint64_t written_rows; /* of an insert: this call's own rows, never those of its group */
    uint64_t read_rows, read_bytes;
    uint64_t elapsed_ns;
};

/* ClickHouse's codes that callers look at. The gate uses ACCESS_DENIED, as ClickHouse's own grants do. */
enum {
    ENGINE_UNKNOWN_TABLE = 60,
    ENGINE_SYNTAX_ERROR = 62,
    ENGINE_UNKNOWN_DATABASE = 81,
    ENGINE_TIMEOUT_EXCEEDED = 159,
    ENGINE_READONLY = 164,
    ENGINE_MEMORY_LIMIT = 241,
    ENGINE_QUERY_CANCELLED = 394,
    ENGINE_RESULT_TOO_LARGE = 396,
    ENGINE_GATE_REFUSED = 497,
    ENGINE_S3_ERROR = 499, /* the gateway refused: no lease, or an epoch that has ended */
    ENGINE_UNKNOWN_EXCEPTION = 1001,
};

/* UNREACHABLE, TIMEOUT, CANCELLED, TOO_LARGE (query, parameters, or reply), INVALID (a name that isn't one), PEER (no
 * answer of an engine: no epoch in it). On success the caller calls engine_reply_done. */
struct result engine_call(struct engine_client *c, const struct engine_call *call, struct engine_reply *ret);
void engine_reply_done(struct engine_reply *r); /* accepts zeroed */

/* GET /ping: OK and the epoch, or UNREACHABLE, TIMEOUT, PEER. */
struct result engine_ping(struct engine_client *c, const char *socket_path, unsigned timeout_ms, uint64_t *ret_epoch);

/* Appends the bytes of RowBinary: a string with its length as LEB128, and little-endian integers. */
void rowbinary_string(struct buf *out, struct slice s);
void rowbinary_u8(struct buf *out, uint8_t v);
void rowbinary_u64(struct buf *out, uint64_t v);
void rowbinary_i64(struct buf *out, int64_t v); /* DateTime64(p): ticks of 10^-p seconds since 1970 */

#endif
