#include <stdio.h>
#include <string.h>

#include "api/call.h"
#include "base/crypto.h"
#include "lifecycle/query.h"

enum { QUERY_ID_BYTES = 16, MAX_ROW_LIMIT = 1000000000, MAX_HEAD_BYTES = 8 * 1024 * 1024 };

/* ---- the request ---- */

static bool is_absent(const json_t *object, const char *name) {
    const json_t *v = json_object_get(object, name);
    return !v || json_is_null(v);
}

/* What is known and changes nothing here must still have its type. */
static struct result check_unused(const json_t *body, const json_t *sql) {
    static const char *const flags[] = {"async", "paginate"}, *const numbers[] = {
                                                                  "debug_threshold_ms",
                                                                  "initial_paginate_response_doc_count"};
    const json_t *places[] = {body, sql};
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        bool flag;
        int64_t number;
        for (size_t j = 0; j < ARRAY_LEN(flags); j++)
            if (!is_absent(places[i], flags[j])) TRY(json_opt_bool(places[i], flags[j], &flag));
        for (size_t j = 0; j < ARRAY_LEN(numbers); j++)
            if (!is_absent(places[i], numbers[j])) TRY(json_get_int(places[i], numbers[j], 0, INT64_MAX, &number));
    }
    json_t *options;
    return is_absent(body, "async_options") ? OK : json_opt_object(body, "async_options", &options);
}

static struct result read_query(struct call *c, const json_t *body, struct query *q, bool *ret_paged) {
    static const char *const members[] = {
        "query", "parameters", "default_row_limit", "paginate", "initial_paginate_response_doc_count", NULL};
    json_t *sql;
    const char *text;
    TRY(json_get_object(body, "sql", &sql));
    TRY(json_only(sql, members));
    TRY(json_get_str(sql, "query", &text));
    TRY(check_unused(body, sql));
    q->sql = slice_str(text);
    if (!is_absent(sql, "parameters")) {
        json_t *parameters;
        TRY(json_get_array(sql, "parameters", &parameters));
        q->parameters = parameters;
    }
    if (!is_absent(sql, "default_row_limit"))
        TRY(json_get_int(sql, "default_row_limit", 1, MAX_ROW_LIMIT, &q->row_limit));
    *ret_paged = !is_absent(body, "max_initial_results") || json_is_true(json_object_get(sql, "paginate"));
    int64_t timeout = QUERY_MAX_TIMEOUT_MS, ignored;
    if (!is_absent(body, "timeout_ms")) TRY(json_get_int(body, "timeout_ms", 1, QUERY_MAX_TIMEOUT_MS, &timeout));
    if (!is_absent(body, "max_initial_results")) TRY(json_get_int(body, "max_initial_results", 0, 100000, &ignored));
    q->timeout_ms = (unsigned)timeout;
    if (json_is_true(json_object_get(body, "async")) || !is_absent(body, "async_options"))
        return refuse(&c->why, ERR_UNSUPPORTED, 501, "NOTIMPLEMENTEDYET", 0,
                      "Asynchronous queries are not served: leave out 'async' and 'async_options'.");
    return OK;
}

/* ---- the answer: head, results, tail, sent without a copy ---- */

struct reply {
    struct api *api;
    char *org;
    struct buf head, tail;
    struct query_result result;
};

static void reply_free(void *arg) {
    struct reply *p = arg;
    buf_done(&p->head);
    buf_done(&p->tail);
    query_result_done(&p->result);
    mem_free(p->org);
    mem_free(p);
}

static ssize_t reply_read(void *arg, uint64_t offset, uint8_t *to, size_t max) {
    struct reply *p = arg;
    /* A slow reader gets no more of its rows once the key is gone: its connection breaks. */
    AUTO(refusal_done) struct refusal why = {0};
    if (is_err(keylink_check(p->api->keylink, p->org, KEYLINK_READ, &why))) return -1;
    const struct buf *parts[] = {&p->head, &p->result.rows.results, &p->tail};
    size_t done = 0;
    for (size_t i = 0; i < ARRAY_LEN(parts) && done < max; i++) {
        size_t len = parts[i]->len;
        if (offset >= len) {
            offset -= len;
            continue;
        }
        size_t n = len - (size_t)offset < max - done ? len - (size_t)offset : max - done;
        mem_copy(to + done, parts[i]->data + offset, n);
        done += n;
        offset = 0;
    }
    return (ssize_t)done;
}

/* "ws.name" of what the SQL names and the organization has. */
static void put_collections(struct call *c, const struct sql_text *text, struct buf *out) {
    const char *comma = "";
    for (size_t i = 0; i < text->table_count; i++) {
        const struct sql_table *t = &text->tables[i];
        bool again = false;
        for (size_t j = 0; j < i && !again; j++)
            again = strcmp(text->tables[j].name, t->name) == 0 && strcmp(text->tables[j].workspace, t->workspace) == 0;
        AUTO(registry_collection_done) struct registry_collection row = {0};
        if (again ||
            is_err(registry_get_collection(c->api->registry, call_org(c), c->api->region, t->workspace, t->name, &row)))
            continue;
        buf_printf(out, "%s\"%s.%s\"", comma, row.workspace, row.name);
        comma = ",";
    }
}

/* Nothing is null here: the Python client refuses it. */
static struct result write_reply(struct call *c, const char *query_id, bool paged, struct reply *p) {
    buf_init(&p->head, MAX_HEAD_BYTES);
    buf_init(&p->tail, MAX_HEAD_BYTES);
    buf_printf(&p->head, "{\"query_id\":\"%s\",\"status\":\"COMPLETED\",\"collections\":[", query_id);
    put_collections(c, &p->result.text, &p->head);
    buf_append_str(&p->head, "],");
    if (!p->result.text.is_star) {
        buf_append_str(&p->head, "\"column_fields\":");
        rows_write_fields(&p->result.rows, &p->head);
        buf_append_str(&p->head, ",");
    }
    buf_append_str(&p->head, "\"results\":");
    buf_printf(&p->tail,
               ",\"results_total_doc_count\":%llu,\"stats\":{\"elapsed_time_ms\":%lld,\"throttled_time_micros\":0},"
               "\"warnings\":[%s]}",
               (unsigned long long)p->result.rows.count, (long long)p->result.elapsed_ms,
               paged ? "\"Results are not paged here: this answer holds all rows.\"" : "");
    TRY(buf_check(&p->head));
    return buf_check(&p->tail);
}

static void send_reply(struct call *c, struct reply *p) {
    static const struct http_field fields[] = {
        {"Content-Type", "application/json"}, {"Cache-Control", "no-store"}, {NULL, NULL}};
    int64_t length = (int64_t)(p->head.len + p->result.rows.results.len + p->tail.len);
    http_answer_stream(c->http, 200, fields, length, reply_read, reply_free, p);
}

static struct result run(struct call *c, const struct query *q, bool paged) {
    struct reply *p = mem_alloc(sizeof *p);
    p->api = c->api;
    p->org = str_dup(call_org(c));
    struct result r = query_run(call_tenant(c), q, &p->result, &c->why);
    if (is_ok(r)) r = write_reply(c, q->query_id, paged, p);
    if (is_ok(r)) {
        send_reply(c, p);
        return OK;
    }
    c->error.line = p->result.line;
    c->error.column = p->result.column;
    reply_free(p);
    return r;
}

struct result query_post(struct call *c) {
    static const char *const members[] = {"sql",
                                          "async",
                                          "async_options",
                                          "timeout_ms",
                                          "max_initial_results",
                                          "debug_threshold_ms",
                                          "paginate",
                                          "initial_paginate_response_doc_count",
                                          NULL};
    JSON_AUTO(body);
    TRY(call_body(c, members, true, &body));
    struct query q = {0};
    bool paged = false;
    TRY(read_query(c, body, &q, &paged));
    uint8_t bytes[QUERY_ID_BYTES];
    TRY(random_bytes(bytes, sizeof bytes));
    BUF_AUTO(id, QUERY_ID_BYTES * 2);
    hex_encode(slice_make(bytes, sizeof bytes), &id);
    q.query_id = buf_str(&id);
    atomic_fetch_add(&c->api->metrics.queries, 1);
    struct result r = run(c, &q, paged);
    if (is_err(r)) {
        atomic_fetch_add(&c->api->metrics.queries_failed, 1);
        answer_error(c->http, r, &c->why,
                     &(struct answer_error){.query_id = q.query_id, .line = c->error.line, .column = c->error.column});
    }
    return OK;
}
