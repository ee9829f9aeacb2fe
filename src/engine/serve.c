#include "engine/serve.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "engine/client.h"
#include "engine/exception.h"
#include "engine/request.h"
#include "engine/sql_text.h"

/* The statement, and what the disks add to it. */
enum { STATEMENT_MAX_BYTES = ENGINE_MAX_QUERY_BYTES + 65536 };

enum {
    STREAM_FROM_BYTES = 1 << 20,
    PIECE_MAX_BYTES = 256 << 20,
    TAG_BYTES = 16,
    MAX_CONNECTIONS = 2048,
    IDLE_S = 600,
    FIELDS = 10
};

struct server {
    struct serve_options o;
    pthread_mutex_t lock;
    pthread_cond_t reader_left;
    unsigned readers;
};

/* One request while it is answered; of a streamed answer, until that has ended. */
struct exchange {
    struct server *server;
    struct http_request *http;
    struct request request;
    struct buf sql; /* with the disks filled in */
    struct outcome outcome;
    bool is_counted;
    bool is_reader; /* counted in server.readers */
    /* A streamed answer: */
    struct cursor *cursor;
    struct buf piece;
    size_t piece_sent;
    char tag[TAG_BYTES + 1];
    bool has_ended;
    char numbers[2][32];
    char summary[320];
    struct http_field fields[FIELDS];
};

static void add_field(struct exchange *x, const char *name, const char *value) {
    size_t n = 0;
    while (x->fields[n].name) {
        n++;
    }
    if (n + 1 < FIELDS) x->fields[n] = (struct http_field){name, value};
}

static void add_common_fields(struct exchange *x) {
    const struct outcome *o = &x->outcome;
    snprintf(x->numbers[0], sizeof(x->numbers[0]), "%llu", (unsigned long long)x->server->o.epoch);
    add_field(x, "X-Lockset-Epoch", x->numbers[0]);
    snprintf(x->summary, sizeof(x->summary),
             "{\"read_rows\":\"%llu\",\"read_bytes\":\"%llu\",\"written_rows\":\"%llu\",\"elapsed_ns\":\"%llu\"}",
             (unsigned long long)o->rows_read, (unsigned long long)o->bytes_read, (unsigned long long)o->rows_written,
             (unsigned long long)o->elapsed_ns);
    add_field(x, "X-ClickHouse-Summary", x->summary);
    add_field(x, "X-ClickHouse-Timezone", "UTC");
    if (x->request.format) add_field(x, "X-ClickHouse-Format", x->request.format);
    bool echoes =
        x->request.query_id && strspn(x->request.query_id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                           "0123456789-_.") == strlen(x->request.query_id);
    if (echoes) add_field(x, "X-ClickHouse-Query-Id", x->request.query_id);
}

static void reader_leave(struct exchange *x) {
    if (!x->is_reader) return;
    pthread_mutex_lock(&x->server->lock);
    x->server->readers--;
    pthread_cond_signal(&x->server->reader_left);
    pthread_mutex_unlock(&x->server->lock);
    x->is_reader = false;
}

static bool reader_enter(struct exchange *x) {
    struct server *s = x->server;
    pthread_mutex_lock(&s->lock);
    while (s->readers >= SERVE_MAX_READERS && clock_boottime_ns() < x->request.deadline_ns) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 50 * NS_PER_MS;
        if (until.tv_nsec >= NS_PER_S) {
            until.tv_nsec -= NS_PER_S;
            until.tv_sec++;
        }
        pthread_cond_timedwait(&s->reader_left, &s->lock, &until);
    }
    x->is_reader = s->readers < SERVE_MAX_READERS;
    if (x->is_reader) s->readers++;
    pthread_mutex_unlock(&s->lock);
    return x->is_reader;
}

/* Requests begun and ended since the process began; pings don't count. */
static _Atomic uint64_t begun_count, ended_count;

void serve_wait_quiet(void) {
    enum { STEP_MS = 20, STEPS = 5 };
    uint64_t seen = UINT64_MAX;
    for (unsigned quiet = 0; quiet < STEPS;) {
        clock_sleep_ms(STEP_MS);
        uint64_t ended = atomic_load(&ended_count), begun = atomic_load(&begun_count);
        quiet = begun == ended && begun == seen ? quiet + 1 : 0;
        seen = begun;
    }
}

static void exchange_free(struct exchange *x) {
    if (x->is_counted) atomic_fetch_add(&ended_count, 1);
    cursor_close(x->cursor);
    reader_leave(x);
    request_done(&x->request);
    outcome_done(&x->outcome);
    buf_done(&x->sql);
    buf_done(&x->piece);
    mem_free(x);
}

/* ClickHouse quotes the statement in its errors: what was filled in must not come out. */
static void hide(char *text, struct slice secret) {
    if (!text || secret.len == 0) return;
    char *at = text;
    while ((at = memmem(at, strlen(at), secret.data, secret.len))) {
        for (size_t i = 0; i < secret.len; i++) {
            *at++ = '*';
        }
    }
}

static void answer_outcome(struct exchange *x, struct slice body) {
    add_common_fields(x);
    if (x->outcome.code == 0) {
        http_answer(x->http, 200, x->fields, body);
        return;
    }
    hide(x->outcome.text, x->server->o.disk.secret_key);
    hide(x->outcome.text, x->server->o.disk.access_key);
    snprintf(x->numbers[1], sizeof(x->numbers[1]), "%d", x->outcome.code);
    add_field(x, "X-ClickHouse-Exception-Code", x->numbers[1]);
    add_field(x, "Content-Type", "text/plain; charset=UTF-8");
    BUF_AUTO(text, 1 << 20);
    buf_append_str(&text, x->outcome.text);
    buf_append_byte(&text, '\n');
    http_answer(x->http, exception_status(x->outcome.code), x->fields, buf_slice(&text));
}

static void answer_failure(struct exchange *x, struct result r) {
    outcome_fail_from(&x->outcome, r);
    answer_outcome(x, slice_make(NULL, 0));
}

static struct result check_canonical(const void *gate, struct slice sql) {
    struct sql_shape shape;
    return sql_gate_check(gate, sql, &shape);
}

static void statement_of(const struct exchange *x, struct statement *ret) {
    const struct request *r = &x->request;
    *ret = (struct statement){.query = buf_slice(&x->sql),
                              .format = r->format,
                              .names = (const char *const *)r->names,
                              .values = (const char *const *)r->values,
                              .name_lens = r->name_lens,
                              .value_lens = r->value_lens,
                              .param_count = r->param_count,
                              .settings = (const char *const *)r->settings,
                              .setting_count = r->setting_count,
                              .is_readonly = r->is_readonly,
                              .database = r->database,
                              .deadline_ns = r->deadline_ns,
                              .client_fd = http_client_fd(x->http)};
}

/* The next piece of a streamed answer is made when the client has taken the one before. */
static ssize_t stream_read(void *arg, uint64_t offset, uint8_t *to, size_t max) {
    struct exchange *x = arg;
    if (x->piece_sent == x->piece.len && !x->has_ended) {
        cursor_next(x->cursor, &x->piece, &x->outcome);
        x->piece_sent = 0;
        x->has_ended = x->piece.len == 0;
        if (x->outcome.code != 0) {
            x->has_ended = true;
            hide(x->outcome.text, x->server->o.disk.secret_key);
            size_t len = strlen(x->outcome.text);
            buf_clear(&x->piece);
            buf_printf(&x->piece, "\r\n__exception__\r\n%s\r\n%s\n%zu %s\r\n__exception__\r\n", x->tag, x->outcome.text,
                       len + 1, x->tag);
        }
    }
    size_t n = x->piece.len - x->piece_sent;
    if (n > max) n = max;
    mem_copy(to, x->piece.data + x->piece_sent, n);
    x->piece_sent += n;
    return (ssize_t)n;
}

static void stream_closed(void *arg) {
    exchange_free(arg);
}

static bool make_tag(struct exchange *x) {
    uint8_t random[TAG_BYTES / 2];
    BUF_AUTO(hex, TAG_BYTES + 1);
    if (is_err(random_bytes(random, sizeof(random)))) return false;
    hex_encode(slice_make(random, sizeof(random)), &hex);
    mem_copy(x->tag, hex.data, TAG_BYTES);
    return true;
}

/* Answers a SELECT piece by piece; small answers at once, with their length. Takes the exchange if it returns true. */
static bool answer_streaming(struct exchange *x, const struct statement *st) {
    BUF_AUTO(next, PIECE_MAX_BYTES);
    next.wipes = true;
    x->cursor = cursor_open(x->server->o.env, st, &x->outcome);
    bool ended = x->outcome.code != 0;
    size_t limit = x->request.waits_for_end ? SERVE_MAX_BUFFERED_BYTES : STREAM_FROM_BYTES;
    while (!ended && x->piece.len < limit) {
        cursor_next(x->cursor, &next, &x->outcome);
        ended = next.len == 0 || x->outcome.code != 0;
        buf_append_slice(&x->piece, buf_slice(&next));
    }
    if (!ended && x->request.waits_for_end)
        outcome_fail(&x->outcome, ENGINE_RESULT_TOO_LARGE, "The result is larger than may be held in memory");
    if (ended || x->request.waits_for_end || !make_tag(x)) {
        answer_outcome(x, buf_slice(&x->piece));
        return false;
    }
    add_common_fields(x);
    add_field(x, "X-ClickHouse-Exception-Tag", x->tag);
    http_answer_stream(x->http, 200, x->fields, -1, stream_read, stream_closed, x);
    return true;
}

static void answer_whole(struct exchange *x, const struct statement *st) {
    BUF_AUTO(out, SERVE_MAX_BUFFERED_BYTES);
    out.wipes = true;
    statement_run(x->server->o.env, st, &out, &x->outcome);
    answer_outcome(x, buf_slice(&out));
}

/* The tokens as they came. When the statement begins, ClickHouse's parser looks at it, and then the gate once more, at
 * what that has understood. */
static struct result pass_gate(const struct exchange *x, struct sql_shape *shape) {
    const struct sql_gate *gate = x->server->o.gate;
    shape->is_select = true;
    if (!gate) return OK;
    CHECK(x->sql.len <= ENGINE_MAX_QUERY_BYTES, ERR_TOO_LARGE, "the statement has %zu bytes; the limit is %d",
          x->sql.len, ENGINE_MAX_QUERY_BYTES);
    return sql_gate_check(gate, buf_slice(&x->sql), shape);
}

static bool handle_reader(struct exchange *x) {
    struct sql_shape shape;
    struct result r = pass_gate(x, &shape);
    if (is_err(r)) {
        answer_failure(x, r);
        return false;
    }
    if (!reader_enter(x)) {
        outcome_fail(&x->outcome, ENGINE_TIMEOUT_EXCEEDED, "Timeout exceeded while waiting for other queries");
        answer_outcome(x, slice_make(NULL, 0));
        return false;
    }
    struct statement st;
    statement_of(x, &st);
    st.check_arg = x->server->o.gate;
    st.check = st.check_arg ? check_canonical : NULL;
    static const char *const bounded[] = {"max_result_bytes=67108864", "result_overflow_mode=throw"};
    unsigned header_lines;
    if (shape.is_select && statement_can_stream(st.format, &header_lines)) return answer_streaming(x, &st);
    st.settings = bounded;
    st.setting_count = ARRAY_LEN(bounded);
    answer_whole(x, &st);
    return false;
}

static void run_writer(struct exchange *x, const struct writer_sql *w) {
    const struct serve_options *o = &x->server->o;
    struct statement st;
    statement_of(x, &st);
    /* A statement of Lockset's own is not abandoned because the api's connection broke. */
    if (w->kind == WRITER_TABLE) st.client_fd = -1;
    if (w->kind == WRITER_TABLE && !insert_groups_hold(o->groups, w->table, x->request.deadline_ns)) {
        outcome_fail(&x->outcome, ENGINE_TIMEOUT_EXCEEDED, "Timeout exceeded while waiting for an insert");
        answer_outcome(x, slice_make(NULL, 0));
        return;
    }
    answer_whole(x, &st);
    if (w->kind == WRITER_TABLE) insert_groups_release(o->groups, w->table);
}

static struct result handle_writer(struct exchange *x) {
    const struct serve_options *o = &x->server->o;
    AUTO(writer_sql_done) struct writer_sql w = {0};
    struct slice body = http_body(x->http);
    bool in_url = *x->request.url_query != 0;
    if (in_url) TRY(writer_sql_parse(slice_str(x->request.url_query), &w));
    if (w.kind == WRITER_INSERT && w.insert) {
        CHECK(!x->request.is_readonly, ERR_FORBIDDEN, "GET reads only");
        insert_groups_insert(o->groups, &w, body, x->request.rows, x->request.deadline_ns, &x->outcome);
        answer_outcome(x, slice_make(NULL, 0));
        return OK;
    }
    BUF_AUTO(text, STATEMENT_MAX_BYTES);
    buf_append_str(&text, x->request.url_query);
    if (in_url && body.len > 0) buf_append_byte(&text, '\n');
    buf_append_slice(&text, body);
    TRY(buf_check(&text));
    writer_sql_done(&w);
    TRY(writer_sql_parse(buf_slice(&text), &w));
    CHECK(w.kind != WRITER_INSERT, ERR_INVALID,
          "INSERT ... FORMAT: the statement goes into the URL, the data into the body");
    TRY(writer_fill_disks(buf_slice(&text), &o->disk, &x->sql));
    run_writer(x, &w);
    return OK;
}

static struct result check_settings(const struct exchange *x) {
    for (size_t i = 0; i < x->request.setting_count; i++) {
        struct slice name, value;
        slice_cut(slice_str(x->request.settings[i]), '=', &name, &value);
        AUTO_FREE char *text = slice_to_str(name);
        CHECK(name_list_has(&x->server->o.settings, text), ERR_INVALID, "there is no setting %.64s", text);
    }
    return OK;
}

static struct result handle(struct exchange *x, bool *ret_taken) {
    TRY(request_parse(x->http, &x->request));
    TRY(check_settings(x));
    if (x->request.is_writer) return handle_writer(x);
    struct slice body = http_body(x->http);
    buf_append_str(&x->sql, x->request.url_query);
    if (x->sql.len > 0 && body.len > 0) buf_append_byte(&x->sql, '\n');
    buf_append_slice(&x->sql, body);
    TRY(buf_check(&x->sql));
    *ret_taken = handle_reader(x);
    return OK;
}

static void finish(void *context, struct http_request *http) {
    struct exchange *x = mem_alloc(sizeof(*x));
    x->server = context;
    x->http = http;
    buf_init_wiping(&x->sql, STATEMENT_MAX_BYTES);
    buf_init_wiping(&x->piece, PIECE_MAX_BYTES);
    bool is_ping = slice_is(http_path(http), "/ping"), taken = false;
    bool known = strcmp(http_method(http), "GET") == 0 || strcmp(http_method(http), "POST") == 0;
    if (!known || !(is_ping || slice_is(http_path(http), "/"))) {
        add_common_fields(x);
        http_answer(http, known ? 404 : 405, x->fields, slice_str("There is / and /ping, GET and POST.\n"));
    } else if (is_ping) {
        add_common_fields(x);
        http_answer(http, 200, x->fields, slice_str("Ok.\n"));
    } else {
        x->is_counted = true;
        atomic_fetch_add(&begun_count, 1);
        struct result r = handle(x, &taken);
        if (is_err(r)) answer_failure(x, r);
    }
    if (!taken) exchange_free(x);
}

static void too_large(void *context, struct http_request *http) {
    struct exchange x = {.server = context, .http = http};
    outcome_fail(&x.outcome, ENGINE_RESULT_TOO_LARGE, "The request's body is over 64 MiB");
    answer_outcome(&x, slice_make(NULL, 0));
    outcome_done(&x.outcome);
}

struct result serve_start(const struct serve_options *options) {
    struct server *s = mem_alloc(sizeof(*s));
    s->o = *options;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->reader_left, NULL);
    struct http_server *server;
    struct http_server_options o = {.listen_fd = options->listen_fd,
                                    .handler = {.finish = finish},
                                    .context = s,
                                    .collect_max_bytes = SERVE_MAX_BODY_BYTES,
                                    .too_large = too_large,
                                    .max_connections = MAX_CONNECTIONS,
                                    .idle_timeout_s = IDLE_S};
    return http_server_start(&o, &server);
}
