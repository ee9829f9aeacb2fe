#include "engine/client.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/secret.h"
#include "engine/exception.h"

enum {
    DEFAULT_TIMEOUT_MS = 120000,
    DEFAULT_REPLY_BYTES = 16 << 20,
    MAX_URL_BYTES = 240 * 1024,
    MAX_INSERT_BYTES = 65536,
    /* What the engine may take to say that the time is over, beyond the statement's own deadline. */
    SPARE_MS = 3000,
    /* An exception behind the rows: ClickHouse bounds its text to 16 KiB. */
    TAIL_BYTES = 17 * 1024,
    CONNECT_MS = 5000,
    PIECE_MAX_BYTES = 1 << 20
};

struct engine_client {
    struct http_pool *pool;
};

struct result engine_client_new(struct engine_client **ret) {
    struct engine_client *c = mem_alloc(sizeof(*c));
    struct result r = http_pool_new(&c->pool);
    if (is_err(r)) {
        mem_free(c);
        return r;
    }
    *ret = c;
    return OK;
}

struct engine_client *engine_client_free(struct engine_client *c) {
    if (!c) return NULL;
    http_pool_free(c->pool);
    mem_free(c);
    return NULL;
}

void engine_reply_done(struct engine_reply *r) {
    mem_free(TAKE(r->exception));
    buf_done(&r->body);
}

static bool is_name(const char *s) {
    size_t len = strlen(s);
    return len > 0 && len <= 64 && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == len;
}

/* Tab-separated escaping, then percent-encoding. */
static void write_value(const struct engine_param *p, struct buf *url) {
    if (p->is_null) {
        buf_append_str(url, "%5CN");
        return;
    }
    for (size_t i = 0; i < p->value.len; i++) {
        uint8_t c = p->value.data[i];
        const char *escaped = c == '\\'   ? "%5C%5C"
                              : c == '\t' ? "%5Ct"
                              : c == '\n' ? "%5Cn"
                              : c == '\r' ? "%5Cr"
                              : c == 0    ? "%5C0"
                                          : NULL;
        if (escaped)
            buf_append_str(url, escaped);
        else
            percent_encode(slice_make(&c, 1), false, url);
    }
}

static void write_field(struct buf *url, const char *name, struct slice value) {
    buf_printf(url, "&%s=", name);
    percent_encode(value, false, url);
}

static struct result write_url(const struct engine_call *call, struct buf *url) {
    buf_append_str(url, "http://engine/?default_format=");
    percent_encode(slice_str(call->format ? call->format : "JSONCompactEachRowWithNamesAndTypes"), false, url);
    if (call->database) write_field(url, "database", slice_str(call->database));
    if (call->query_id) write_field(url, "query_id", slice_str(call->query_id));
    /* Held back until it is whole, so that a failure is a failure and not a torn answer. */
    if (!call->write) buf_append_str(url, "&wait_end_of_query=1");
    if (call->body.len > 0) {
        CHECK(call->query.len <= MAX_INSERT_BYTES, ERR_TOO_LARGE, "an INSERT has at most %d bytes before its data",
              MAX_INSERT_BYTES);
        write_field(url, "query", call->query);
    }
    for (const struct http_field *s = call->settings; s && s->name; s++) {
        CHECK(is_name(s->name), ERR_INVALID, "'%.64s' is not the name of a setting", s->name);
        write_field(url, s->name, slice_str(s->value));
    }
    size_t before = url->len;
    for (size_t i = 0; i < call->param_count; i++) {
        CHECK(is_name(call->params[i].name), ERR_INVALID, "'%.64s' is not the name of a parameter",
              call->params[i].name);
        buf_printf(url, "&param_%s=", call->params[i].name);
        write_value(&call->params[i], url);
    }
    CHECK(!url->overflowed && url->len - before <= ENGINE_MAX_PARAM_BYTES, ERR_TOO_LARGE,
          "the parameters of a statement have at most %d bytes", ENGINE_MAX_PARAM_BYTES);
    return buf_check(url);
}

/* A streamed answer on its way to the caller: its end is kept back, for an exception may stand there. */
struct stream {
    const struct engine_call *call;
    struct buf held;
};

static bool on_piece(void *arg, struct slice piece) {
    struct stream *s = arg;
    buf_append_slice(&s->held, piece);
    if (s->held.len < 4 * TAIL_BYTES) return true;
    size_t good = s->held.len - TAIL_BYTES;
    bool goes_on = s->call->write(s->call->arg, slice_make(s->held.data, good));
    /* The end is shorter than what stood before it, so the areas don't overlap. */
    mem_copy(s->held.data, s->held.data + good, TAIL_BYTES);
    wipe(s->held.data + TAIL_BYTES, s->held.len - TAIL_BYTES);
    s->held.len = TAIL_BYTES;
    return goes_on;
}

/* Cuts "\r\n__exception__\r\n<tag>\r\n<text>\n<len> <tag>\r\n__exception__\r\n" off the end of a body. */
static void cut_exception(struct buf *body, struct slice tag, struct engine_reply *ret) {
    AUTO_FREE char *mark = str_format("\r\n__exception__\r\n%.*s\r\n", (int)tag.len, (const char *)tag.data);
    AUTO_FREE char *end = str_format(" %.*s\r\n__exception__\r\n", (int)tag.len, (const char *)tag.data);
    size_t end_len = strlen(end), mark_len = strlen(mark);
    if (body->len < end_len + mark_len || mem_order(body->data + body->len - end_len, end, end_len) != 0) return;
    const uint8_t *at = memmem(body->data, body->len, mark, mark_len);
    if (!at) return;
    struct slice text = slice_make(at + mark_len, body->len - (size_t)(at + mark_len - body->data) - end_len);
    while (text.len > 0 && text.data[text.len - 1] != '\n') {
        text.len--; /* the length behind the text */
    }
    if (text.len > 0) text.len--;
    ret->exception_code = exception_code(text);
    ret->exception = slice_to_str(text);
    body->len = (size_t)(at - body->data);
    body->overflowed = false;
}

static uint64_t summary_number(const json_t *summary, const char *name) {
    const char *text = NULL;
    return summary && is_ok(json_get_str(summary, name, &text)) ? strtoull(text, NULL, 10) : 0;
}

static struct result read_headers(const struct http_reply *reply, struct engine_reply *ret) {
    struct slice value;
    CHECK(http_reply_header(reply, "X-Lockset-Epoch", &value) && is_ok(slice_to_u64(value, INT64_MAX, &ret->epoch)),
          ERR_PEER, "the answer is not an engine's: status %d without an epoch", reply->status);
    ret->status = reply->status;
    JSON_AUTO(summary);
    if (http_reply_header(reply, "X-ClickHouse-Summary", &value) && is_ok(json_parse_object(value, &summary))) {
        ret->written_rows = summary_number(summary, "written_rows");
        ret->read_rows = summary_number(summary, "read_rows");
        ret->read_bytes = summary_number(summary, "read_bytes");
        ret->elapsed_ns = summary_number(summary, "elapsed_ns");
    }
    uint64_t code = 0;
    if (http_reply_header(reply, "X-ClickHouse-Exception-Code", &value) && is_ok(slice_to_u64(value, 1 << 30, &code)))
        ret->exception_code = (int)code;
    return OK;
}

static void take_text(struct buf *body, struct engine_reply *ret) {
    while (body->len > 0 && body->data[body->len - 1] == '\n') {
        body->len--;
    }
    if (ret->exception_code == 0) ret->exception_code = exception_code(buf_slice(body));
    ret->exception = slice_to_str(buf_slice(body));
    buf_clear(body);
}

static struct result read_reply(struct http_reply *reply, struct stream *stream, struct engine_reply *ret) {
    TRY(read_headers(reply, ret));
    struct buf *body = stream->call->write ? &stream->held : &reply->body;
    struct slice tag;
    if (ret->status != 200)
        take_text(body, ret);
    else if (http_reply_header(reply, "X-ClickHouse-Exception-Tag", &tag))
        cut_exception(body, tag, ret);
    if (!stream->call->write) {
        ret->body = reply->body;
        reply->body = (struct buf){0};
        return OK;
    }
    CHECK(body->len == 0 || stream->call->write(stream->call->arg, buf_slice(body)), ERR_CANCELLED,
          "the receiver wants no more");
    return OK;
}

static struct result run(struct engine_client *c, const struct engine_call *call, struct slice url,
                         struct stream *stream, struct engine_reply *ret) {
    unsigned timeout_ms = call->timeout_ms ? call->timeout_ms : DEFAULT_TIMEOUT_MS;
    AUTO_FREE char *deadline = str_format("%u", timeout_ms);
    AUTO_FREE char *rows = str_format("%llu", (unsigned long long)call->insert_rows);
    AUTO_FREE char *url_text = slice_to_str(url);
    bool is_insert = call->body.len > 0;
    struct http_field fields[] = {{"X-ClickHouse-User", call->role == ENGINE_WRITER ? "writer" : "reader"},
                                  {"X-Lockset-Deadline-Ms", deadline},
                                  {is_insert && call->insert_rows ? "X-Lockset-Rows" : NULL, rows},
                                  {0}};
    struct http_call http = {.method = "POST",
                             .url = url_text,
                             .unix_socket = call->socket_path,
                             .fields = fields,
                             .body = is_insert ? call->body : call->query,
                             .connect_timeout_ms = timeout_ms < CONNECT_MS ? timeout_ms : CONNECT_MS,
                             .timeout_ms = timeout_ms + SPARE_MS,
                             .write_body = call->write ? on_piece : NULL,
                             .arg = stream,
                             .max_reply_bytes = call->write             ? SIZE_MAX
                                                : call->max_reply_bytes ? call->max_reply_bytes
                                                                        : DEFAULT_REPLY_BYTES,
                             .cancelled = call->cancelled};
    struct http_reply reply;
    TRY(http_call(c->pool, &http, &reply));
    struct engine_reply answer = {0};
    struct result r = read_reply(&reply, stream, &answer);
    http_reply_done(&reply);
    if (is_err(r)) {
        engine_reply_done(&answer);
        return r;
    }
    *ret = answer;
    return OK;
}

struct result engine_call(struct engine_client *c, const struct engine_call *call, struct engine_reply *ret) {
    CHECK(call->query.len > 0 && call->query.len <= ENGINE_MAX_QUERY_BYTES, ERR_TOO_LARGE,
          "a statement has 1 to %d bytes", ENGINE_MAX_QUERY_BYTES);
    BUF_AUTO(url, MAX_URL_BYTES);
    TRY(write_url(call, &url));
    struct stream stream = {.call = call};
    buf_init_wiping(&stream.held, 4 * TAIL_BYTES + PIECE_MAX_BYTES);
    struct result r = run(c, call, buf_slice(&url), &stream, ret);
    buf_done(&stream.held);
    return r;
}

struct result engine_ping(struct engine_client *c, const char *socket_path, unsigned timeout_ms, uint64_t *ret_epoch) {
    struct http_call http = {.method = "GET",
                             .url = "http://engine/ping",
                             .unix_socket = socket_path,
                             .connect_timeout_ms = timeout_ms,
                             .timeout_ms = timeout_ms};
    struct http_reply reply;
    TRY(http_call(c->pool, &http, &reply));
    struct engine_reply answer = {0};
    struct result r = read_headers(&reply, &answer);
    int status = reply.status;
    http_reply_done(&reply);
    TRY(r);
    CHECK(status == 200, ERR_PEER, "the engine answers a ping with %d", status);
    *ret_epoch = answer.epoch;
    return OK;
}
