/* The work that a drill keeps going: short queries, writes, a long query, a slow download. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/drill.h"

enum {
    PAUSE_MS = 50,
    CALL_MS = 150000,
    REPLY_MAX_BYTES = 1 << 20,
    DOWNLOAD_PIECE_MS = 50,
    DOCUMENTS_AT_ONCE = 5,
};

static bool is_stopping(const struct drill_load *l) {
    return __atomic_load_n(&l->stopping, __ATOMIC_RELAXED);
}

static struct result call(struct drill_load *l, const char *path, struct slice body, struct http_call *call,
                          struct http_reply *ret) {
    AUTO_FREE char *url = str_format("%s%s", l->client->url, path);
    struct http_field fields[] = {
        {"Authorization", l->client->authorization}, {"Content-Type", "application/json"}, {NULL, NULL}};
    call->method = "POST";
    call->url = url;
    call->fields = fields;
    call->body = body;
    call->timeout_ms = CALL_MS;
    call->cancelled = &l->stopping;
    return http_call(l->client->pool, call, ret);
}

static void keep_text(struct drill_work *w, struct result outcome, const struct http_reply *reply) {
    w->status = is_err(outcome) ? 0 : reply->status;
    JSON_AUTO(j);
    const char *message = is_err(outcome) ? err_detail() : "";
    if (is_ok(outcome) && is_ok(json_parse_object(buf_slice(&reply->body), &j)))
        result_ignore(json_opt_str(j, "message", &message));
    size_t n = 0, step;
    struct slice rest = slice_str(message);
    while (rest.len && (step = slice_utf8_step(rest)) && n + step < sizeof w->text) {
        n += step;
        rest = slice_make(rest.data + step, rest.len - step);
    }
    snprintf(w->text, sizeof w->text, "%.*s", (int)n, message);
}

/* What became of a request that was sent at sent_ns. */
static void note(struct drill_load *l, enum drill_kind kind, int64_t sent_ns, struct result outcome,
                 const struct http_reply *reply) {
    int64_t now = clock_boottime_ns();
    bool is_good = is_ok(outcome) && reply->status == 200;
    if (is_stopping(l)) return;
    pthread_mutex_lock(&l->lock);
    struct drill_work *w = &l->works[kind];
    if (is_good) {
        w->done++;
        if (l->back_ns && sent_ns >= l->back_ns) {
            if (!w->first_back_ns) w->first_back_ns = now;
        } else if (!w->first_refused_ns) {
            w->last_good_ns = now;
        } else if (sent_ns > w->first_refused_ns && !l->back_ns) {
            w->stray++;
        }
    } else if (!l->taken_ns) {
        w->early_failures++;
    } else if (!w->first_refused_ns) {
        w->first_refused_ns = now;
        keep_text(w, outcome, reply);
    }
    w->begun_ns = 0;
    pthread_mutex_unlock(&l->lock);
}

static int64_t begin(struct drill_load *l, enum drill_kind kind) {
    int64_t now = clock_boottime_ns();
    pthread_mutex_lock(&l->lock);
    l->works[kind].begun_ns = now;
    pthread_mutex_unlock(&l->lock);
    return now;
}

static void query_once(struct drill_load *l, enum drill_kind kind, const char *sql) {
    AUTO_FREE char *body = str_format("{\"sql\":{\"query\":\"%s\"}}", sql);
    AUTO(http_reply_done) struct http_reply reply = {0};
    struct http_call c = {.max_reply_bytes = REPLY_MAX_BYTES};
    int64_t sent = begin(l, kind);
    note(l, kind, sent, call(l, "/v1/orgs/self/queries", slice_str(body), &c, &reply), &reply);
}

static void *run_queries(void *arg) {
    struct drill_load *l = arg;
    AUTO_FREE char *sql = str_format("SELECT count(*) AS n FROM %s", l->collection);
    for (; !is_stopping(l); clock_sleep_ms(PAUSE_MS))
        query_once(l, DRILL_QUERY, sql);
    return NULL;
}

/* Hours of work for one core. */
static void *run_long(void *arg) {
    struct drill_load *l = arg;
    AUTO_FREE char *sql =
        str_format("SELECT count(*) AS n FROM numbers(1000000000000) WHERE sipHash64(number) IN (SELECT v FROM %s)",
                   l->collection);
    for (; !is_stopping(l); clock_sleep_ms(PAUSE_MS))
        query_once(l, DRILL_LONG, sql);
    return NULL;
}

static void *run_writes(void *arg) {
    struct drill_load *l = arg;
    AUTO_FREE char *path = str_format("/v1/orgs/self/ws/commons/collections/%s/docs", l->collection);
    for (uint64_t next = 0; !is_stopping(l); clock_sleep_ms(PAUSE_MS)) {
        BUF_AUTO(body, 4096);
        buf_append_str(&body, "{\"data\":[");
        for (int i = 0; i < DOCUMENTS_AT_ONCE; i++, next++)
            buf_printf(&body, "%s{\"_id\":\"w%llu\",\"v\":%llu}", i ? "," : "", (unsigned long long)next,
                       (unsigned long long)next);
        buf_append_str(&body, "]}");
        AUTO(http_reply_done) struct http_reply reply = {0};
        struct http_call c = {.max_reply_bytes = REPLY_MAX_BYTES};
        int64_t sent = begin(l, DRILL_WRITE);
        struct result r = call(l, path, buf_slice(&body), &c, &reply);
        pthread_mutex_lock(&l->lock);
        /* A 503 may come when a write was under way: it is to be sent again, and may be there already. What is sent
         * after a refusal is refused before anything is done. */
        bool may_begin = !l->works[DRILL_WRITE].first_refused_ns || l->back_ns;
        if (is_ok(r) && reply.status == 200)
            l->acknowledged += DOCUMENTS_AT_ONCE;
        else if (may_begin && (is_err(r) || reply.status >= 500))
            l->unknown += DOCUMENTS_AT_ONCE;
        pthread_mutex_unlock(&l->lock);
        note(l, DRILL_WRITE, sent, r, &reply);
    }
    return NULL;
}

/* Slow while the key is there; what is left in buffers after that is taken at once. */
static bool take_bytes_slowly(void *arg, struct slice piece) {
    struct drill_load *l = arg;
    pthread_mutex_lock(&l->lock);
    l->download_bytes += piece.len;
    struct drill_work *w = &l->works[DRILL_DOWNLOAD];
    if (!w->first_refused_ns) w->last_good_ns = clock_boottime_ns();
    bool is_slow = !l->works[DRILL_QUERY].first_refused_ns || l->back_ns;
    pthread_mutex_unlock(&l->lock);
    if (is_slow && !is_stopping(l)) clock_sleep_ms(DOWNLOAD_PIECE_MS);
    return true;
}

/* 40 MB, far more than sockets hold, at some 300 KB a second. */
static void *run_download(void *arg) {
    struct drill_load *l = arg;
    AUTO_FREE char *body = str_format("{\"sql\":{\"query\":\"SELECT a.v AS v, repeat('lockset', 600) AS text FROM %s "
                                      "AS a CROSS JOIN numbers(200) AS b "
                                      "LIMIT 10000\"}}",
                                      l->collection);
    for (; !is_stopping(l); clock_sleep_ms(PAUSE_MS)) {
        AUTO(http_reply_done) struct http_reply reply = {0};
        struct http_call c = {.write_body = take_bytes_slowly, .arg = l};
        int64_t sent = begin(l, DRILL_DOWNLOAD);
        note(l, DRILL_DOWNLOAD, sent, call(l, "/v1/orgs/self/queries", slice_str(body), &c, &reply), &reply);
    }
    return NULL;
}

struct result drill_load_start(struct drill_load *l) {
    static void *(*const runs[DRILL_KINDS])(void *) = {[DRILL_QUERY] = run_queries,
                                                       [DRILL_WRITE] = run_writes,
                                                       [DRILL_LONG] = run_long,
                                                       [DRILL_DOWNLOAD] = run_download};
    for (size_t i = 0; i < DRILL_KINDS; i++) {
        CHECK(pthread_create(&l->threads[i], NULL, runs[i], l) == 0, ERR_IO, "no thread could be started");
        l->thread_count++;
    }
    return OK;
}

void drill_load_stop(struct drill_load *l) {
    __atomic_store_n(&l->stopping, true, __ATOMIC_RELAXED);
    for (; l->thread_count > 0; l->thread_count--)
        pthread_join(l->threads[l->thread_count - 1], NULL);
}

void drill_load_take(struct drill_load *l, int64_t at_ns) {
    pthread_mutex_lock(&l->lock);
    l->taken_ns = at_ns;
    pthread_mutex_unlock(&l->lock);
}

void drill_load_back(struct drill_load *l, int64_t at_ns) {
    pthread_mutex_lock(&l->lock);
    l->back_ns = at_ns;
    pthread_mutex_unlock(&l->lock);
}

struct drill_work drill_load_look(struct drill_load *l, enum drill_kind kind) {
    pthread_mutex_lock(&l->lock);
    struct drill_work w = l->works[kind];
    pthread_mutex_unlock(&l->lock);
    return w;
}

struct result drill_count(struct client *c, const char *workspace, const char *collection, int64_t *ret) {
    JSON_AUTO(j);
    AUTO_FREE char *sql = str_format("SELECT count(*) AS n FROM \"%s\".\"%s\"", workspace, collection);
    j = json_pack("{s:{s:s}}", "sql", "query", sql);
    BUF_AUTO(body, 8192);
    TRY(json_write(j, &body));
    TRY(buf_check(&body));
    AUTO(client_answer_done) struct client_answer answer = {0};
    TRY(client_expect(c, "POST", "/v1/orgs/self/queries", buf_slice(&body), &answer));
    return json_get_int(json_array_get(json_object_get(answer.body, "results"), 0), "n", 0, INT64_MAX, ret);
}
