#include "lifecycle/query.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "lifecycle/recovery.h"

enum { MAX_ERROR_BYTES = 2000, ATTEMPTS = 2 };

/* Bytes of results held in memory, of all queries together. */
static const size_t held_max = (size_t)1 << 30;
static _Atomic size_t held_bytes;

void query_result_done(struct query_result *r) {
    rows_done(&r->rows);
    sql_text_done(&r->text);
    atomic_fetch_sub(&held_bytes, r->held_bytes);
    *r = (struct query_result){0};
}

/* ---- error texts ---- */

static bool is_hex(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* How many bytes at p are one of the server's own names; 0: none. */
static size_t own_name(struct slice rest) {
    static const char *const names[] = {"lockset_data.", "__lockset_doc.",    "__lockset_doc",
                                        "__lockset_raw", "__lockset_version", "__lockset_deleted"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (slice_starts_with(rest, names[i])) return strlen(names[i]);
    return 0;
}

static size_t collection_id(struct slice rest) {
    if (rest.len < REGISTRY_ID_BYTES - 1 || rest.data[0] != 'c') return 0;
    for (size_t i = 1; i < REGISTRY_ID_BYTES - 1; i++)
        if (!is_hex(rest.data[i])) return 0;
    return REGISTRY_ID_BYTES - 1;
}

void query_clean_error(struct slice text, struct buf *out) {
    const char *const prefix = "DB::Exception: ";
    const uint8_t *begin = memmem(text.data, text.len < 64 ? text.len : 64, prefix, strlen(prefix));
    if (begin) text = slice_make(begin + strlen(prefix), text.len - (size_t)(begin - text.data) - strlen(prefix));
    const char *const version = " (version ";
    const uint8_t *end = text.len ? memmem(text.data, text.len, version, strlen(version)) : NULL;
    if (end) text.len = (size_t)(end - text.data);
    size_t start = out->len;
    for (size_t i = 0; i < text.len && out->len - start < MAX_ERROR_BYTES;) {
        struct slice rest = slice_make(text.data + i, text.len - i);
        size_t own = own_name(rest), id = own ? 0 : collection_id(rest);
        if (id) buf_append_str(out, "collection");
        if (!own && !id) buf_append_byte(out, text.data[i]);
        i += own ? own : id ? id : 1;
    }
    /* Not in the middle of a character. */
    while (out->len > start && !slice_is_utf8(slice_make(out->data + start, out->len - start)) &&
           out->len - start > MAX_ERROR_BYTES - 4)
        out->len--;
}

/* Line and column, from 1, of an offset into the tenant's text. */
static void find_line(struct slice sql, size_t at, unsigned *line, unsigned *column) {
    *line = *column = 1;
    for (size_t i = 0; i < at && i < sql.len; i++) {
        if (sql.data[i] == '\n') {
            ++*line;
            *column = 1;
        } else {
            *column += (sql.data[i] & 0xC0) != 0x80;
        }
    }
}

void query_place_error(struct slice sql, const struct sql_text *text, struct buf *message, unsigned *line,
                       unsigned *column) {
    static const struct {
        const char *words, *shown;
        unsigned first; /* what the first byte counts as */
    } forms[] = {{"failed at position ", "failed at", 1},
                 {"can't be read at byte ", "can't be read at", 0},
                 {"the bracket at byte ", "the bracket at", 0}};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        const char *found = strstr(buf_str(message), forms[i].words);
        if (!found) continue;
        const char *digits = found + strlen(forms[i].words);
        size_t n = strspn(digits, "0123456789");
        uint64_t at;
        if (is_err(slice_to_u64(slice_make(digits, n), SQL_MAX_BYTES * 4, &at)) || at < forms[i].first) return;
        find_line(sql, sql_text_origin(text, (size_t)at - forms[i].first), line, column);
        const char *rest = digits + n, *own = strstr(rest, " (line ");
        BUF_AUTO(out, MAX_ERROR_BYTES + 256);
        buf_append(&out, buf_str(message), (size_t)(found - buf_str(message)));
        buf_printf(&out, "%s line %u, column %u", forms[i].shown, *line, *column);
        /* The engine's own line and column are those of the prepared text. */
        const char *end = own ? strchr(own, ')') : NULL;
        buf_append(&out, rest, end ? (size_t)(own - rest) : strlen(rest));
        if (end) buf_append_str(&out, end + 1);
        buf_clear(message);
        buf_append_slice(message, buf_slice(&out));
        return;
    }
}

static struct result refuse_timeout(const struct query *q, struct refusal *why) {
    return refuse(
        why, ERR_TIMEOUT, 408, "QUERY_TIMEOUT", 0,
        "The query took longer than its time-out of %u ms and was stopped. Give it a larger timeout_ms (at most "
        "%d), or less to do.",
        q->timeout_ms, QUERY_MAX_TIMEOUT_MS);
}

static struct result refuse_exception(const struct query *q, const struct sql_text *prepared,
                                      const struct engine_reply *reply, struct query_result *ret, struct refusal *why) {
    const char *text = reply->exception ? reply->exception : "";
    BUF_AUTO(clean, MAX_ERROR_BYTES + 256);
    query_clean_error(slice_str(text), &clean);
    query_place_error(q->sql, prepared, &clean, &ret->line, &ret->column);
    switch (reply->exception_code) {
    case ENGINE_TIMEOUT_EXCEEDED:
    case ENGINE_QUERY_CANCELLED:
        return refuse_timeout(q, why);
    case ENGINE_MEMORY_LIMIT:
        return refuse(
            why, ERR_INVALID, 400, "RESOURCEEXCEEDED", 0,
            "The query needs more memory than it may have. Aggregate or filter more, or take fewer columns. %s",
            buf_str(&clean));
    case ENGINE_RESULT_TOO_LARGE:
        return refuse(
            why, ERR_INVALID, 400, "RESOURCEEXCEEDED", 0,
            "The query would have to spill to disk, which is never done, or its result is too large. Aggregate or "
            "filter more. %s",
            buf_str(&clean));
    default:
        return refuse(why, ERR_INVALID, 400, "QUERY_ERROR", 0, "%s", buf_str(&clean));
    }
}

/* ---- running ---- */

struct feed {
    struct query_result *result;
    struct result outcome;
    char *detail;
};

static bool feed_rows(void *arg, struct slice piece) {
    struct feed *f = arg;
    struct rows *rows = &f->result->rows;
    f->outcome = rows_feed(rows, piece);
    size_t holds = rows->results.capacity + rows->line.capacity, grown = holds - f->result->held_bytes;
    f->result->held_bytes = holds;
    if (atomic_fetch_add(&held_bytes, grown) + grown > held_max && is_ok(f->outcome))
        f->outcome = err_make(ERR_BUSY, "the results of all running queries are too large together");
    if (is_err(f->outcome)) f->detail = str_dup(err_detail());
    return is_ok(f->outcome);
}

static struct result refuse_feed(const struct feed *f, struct refusal *why) {
    enum err_code code = f->outcome.code;
    if (code == ERR_TOO_LARGE)
        return refuse(why, code, 400, "RESOURCEEXCEEDED", 0, "%s: add a LIMIT, or aggregate.", f->detail);
    if (code == ERR_BUSY)
        return refuse(why, code, 429, "RATELIMITEXCEEDED", 1, "%s: try again in a moment.", f->detail);
    return refuse(why, code, 500, "INTERNALERROR", 0, "%s", f->detail);
}

struct attempt {
    struct tenant *tenant;
    const struct query *query;
    const struct sql_text *text;
    int64_t deadline_ns;
};

static unsigned left_ms(int64_t deadline_ns) {
    int64_t ms = (deadline_ns - clock_boottime_ns()) / NS_PER_MS;
    return ms < 1 ? 1 : (unsigned)ms;
}

/* A collection that was lost in a pause is there, but can't be seen: tell so. */
static struct result check_recovered(const struct attempt *a, struct refusal *why) {
    struct tenants *all = tenant_all(a->tenant);
    for (size_t i = 0; i < a->text->table_count; i++) {
        AUTO(registry_collection_done) struct registry_collection row = {0};
        if (is_ok(registry_get_collection(tenants_registry(all), tenant_org(a->tenant), tenants_region(all),
                                          a->text->tables[i].workspace, a->text->tables[i].name, &row)))
            TRY(recovery_check(tenants_registry(all), &row, KEYLINK_READ, why));
    }
    return OK;
}

/* One call of one engine. UNREACHABLE and TIMEOUT leave *why empty: the caller finds out what they mean. */
static struct result run_once(const struct attempt *a, const struct keylink_engine *engine, struct query_result *ret,
                              struct refusal *why) {
    struct engine_param params[SQL_MAX_PARAMS];
    for (size_t i = 0; i < a->text->param_count; i++)
        params[i] = (struct engine_param){a->text->params[i].name, buf_slice(&a->text->params[i].value), false};
    struct feed feed = {.result = ret, .outcome = OK};
    struct engine_call call = {.role = ENGINE_READER,
                               .query = buf_slice(&a->text->text),
                               .params = params,
                               .param_count = a->text->param_count,
                               .query_id = a->query->query_id,
                               .timeout_ms = left_ms(a->deadline_ns),
                               .write = feed_rows,
                               .arg = &feed};
    AUTO(engine_reply_done) struct engine_reply reply = {0};
    struct result r = tenant_call(a->tenant, engine, &call, &reply);
    if (is_err(feed.outcome)) r = refuse_feed(&feed, why);
    mem_free(feed.detail);
    TRY(r);
    if (reply.exception_code == ENGINE_UNKNOWN_TABLE) TRY(check_recovered(a, why));
    if (reply.exception_code) return refuse_exception(a->query, a->text, &reply, ret, why);
    r = rows_finish(&ret->rows);
    if (is_err(r)) {
        AUTO_FREE char *detail = str_dup(err_detail());
        return refuse(why, r.code, r.code == ERR_TOO_LARGE ? 400 : 500,
                      r.code == ERR_TOO_LARGE ? "RESOURCEEXCEEDED" : "INTERNALERROR", 0, "%s", detail);
    }
    return OK;
}

static bool is_gone(struct result r) {
    return r.code == ERR_UNREACHABLE || r.code == ERR_PEER;
}

/* Which empty arrays of the collections named are real ones. */
static void find_empty_arrays(const struct attempt *a, struct schema *names) {
    struct tenants *all = tenant_all(a->tenant);
    for (size_t i = 0; i < a->text->table_count; i++) {
        const struct sql_table *table = &a->text->tables[i];
        AUTO(registry_collection_done) struct registry_collection row = {0};
        if (is_err(registry_get_collection(tenants_registry(all), tenant_org(a->tenant), tenants_region(all),
                                           table->workspace, table->name, &row)))
            continue;
        struct collection *c = tenant_collection(a->tenant, &row);
        pthread_mutex_lock(&c->lock);
        schema_empty_arrays(&c->schema, names);
        pthread_mutex_unlock(&c->lock);
    }
}

/* Finds an engine and runs the query on it; once more if the engine went away under it. */
static struct result run_attempts(const struct attempt *a, struct query_result *ret, struct refusal *why) {
    for (int i = 0; i < ATTEMPTS; i++) {
        struct keylink_engine engine;
        TRY(tenant_engine(a->tenant, KEYLINK_READ, a->deadline_ns, &engine, why));
        rows_done(&ret->rows);
        atomic_fetch_sub(&held_bytes, ret->held_bytes);
        ret->held_bytes = 0;
        rows_init(&ret->rows, a->text->is_star);
        if (a->text->is_star) find_empty_arrays(a, &ret->rows.empty_arrays);
        struct result r = run_once(a, &engine, ret, why);
        if (is_ok(r) || why->status) return r;
        if (!is_gone(r) && r.code != ERR_TIMEOUT) {
            AUTO_FREE char *detail = str_dup(err_detail());
            return refuse(why, r.code, err_http_status(r.code),
                          r.code == ERR_TOO_LARGE ? "CONTENTTOOLARGE" : "INTERNALERROR", 0, "%s", detail);
        }
        TRY(tenant_broken(a->tenant, &engine, r.code == ERR_TIMEOUT, KEYLINK_READ, why));
        if (r.code == ERR_TIMEOUT || clock_boottime_ns() > a->deadline_ns) return refuse_timeout(a->query, why);
    }
    return refuse(why, ERR_UNREACHABLE, 503, "NOT_READY", 1,
                  "The engine was restarted while the query ran. Nothing is lost: send the query again.");
}

struct result query_run(struct tenant *t, const struct query *q, struct query_result *ret, struct refusal *why) {
    int64_t begun = clock_boottime_ns();
    AUTO(query_result_done) struct query_result result = {0};
    struct result r = sql_text_prepare(q->sql, q->parameters, q->row_limit, &result.text);
    if (is_err(r)) {
        AUTO_FREE char *detail = str_dup(err_detail());
        return refuse(why, r.code, 400, "INVALIDINPUT", 0, "%s", detail);
    }
    struct attempt a = {t, q, &result.text, begun + (int64_t)q->timeout_ms * NS_PER_MS};
    r = run_attempts(&a, &result, why);
    ret->line = result.line;
    ret->column = result.column;
    TRY(r);
    /* What was computed under a key that is refused by now stays here. */
    TRY(keylink_check(tenants_keylink(tenant_all(t)), tenant_org(t), KEYLINK_READ, why));
    result.elapsed_ms = (clock_boottime_ns() - begun) / NS_PER_MS;
    *ret = result;
    result = (struct query_result){0};
    return OK;
}
