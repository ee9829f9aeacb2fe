/* The client against engines played by the test: good ones, gone ones, and ones that break off. */
#include "testing.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/http_server.h"
#include "engine/client.h"

#define EPOCH                                                                                                          \
    { "X-Lockset-Epoch", "42" }
#define TAG "0123456789abcdef"

static char socket_path[64];
static struct http_server *server;
static struct engine_client *client;

static ssize_t read_rows(void *arg, uint64_t offset, uint8_t *to, size_t max) {
    enum { ROWS_BYTES = 500000 };
    static const char tail[] =
        "\r\n__exception__\r\n" TAG "\r\nCode: 395. DB::Exception: late\n31 " TAG "\r\n__exception__\r\n";
    if (offset >= ROWS_BYTES) {
        size_t sent = (size_t)(offset - ROWS_BYTES), left = sizeof(tail) - 1 - sent;
        if (arg && left > 0) {
            size_t n = left < max ? left : max;
            mem_copy(to, tail + sent, n);
            return (ssize_t)n;
        }
        return 0;
    }
    size_t n = ROWS_BYTES - (size_t)offset < max ? ROWS_BYTES - (size_t)offset : max;
    memset(to, 'r', n);
    return (ssize_t)n;
}

static void answer_echo(struct http_request *r, struct slice sql) {
    static const struct http_field fields[] = {
        EPOCH, {"X-ClickHouse-Summary", "{\"read_rows\":\"3\",\"written_rows\":\"2\",\"elapsed_ns\":\"9\"}"}, {0}};
    BUF_AUTO(text, 1 << 20);
    const char *rows = http_header(r, "X-Lockset-Rows");
    buf_printf(&text, "%s|%.*s|%.*s|%s|%s", http_header(r, "X-ClickHouse-User"), (int)http_query(r).len,
               (const char *)http_query(r).data, (int)sql.len, (const char *)sql.data, rows ? rows : "-",
               http_header(r, "X-Lockset-Deadline-Ms"));
    http_answer(r, 200, fields, buf_slice(&text));
}

static void finish(void *context, struct http_request *r) {
    static const struct http_field epoch[] = {EPOCH, {0}};
    static const struct http_field tagged[] = {EPOCH, {"X-ClickHouse-Exception-Tag", TAG}, {0}};
    static const struct http_field code[] = {EPOCH, {"X-ClickHouse-Exception-Code", "60"}, {0}};
    struct slice sql = http_body(r);
    if (slice_is(http_path(r), "/ping") || slice_is(sql, "ok"))
        http_answer(r, 200, epoch, slice_str("Ok.\n"));
    else if (slice_is(sql, "exception"))
        http_answer(r, 404, code, slice_str("Code: 60. DB::Exception: no table\n"));
    else if (slice_is(sql, "stream"))
        http_answer_stream(r, 200, tagged, -1, read_rows, NULL, NULL);
    else if (slice_is(sql, "late"))
        http_answer_stream(r, 200, tagged, -1, read_rows, NULL, server);
    else if (slice_is(sql, "stranger"))
        http_answer(r, 200, NULL, slice_str("hello"));
    else if (slice_is(sql, "slow")) {
        clock_sleep_ms(6000);
        http_answer(r, 200, epoch, slice_str("late"));
    } else
        answer_echo(r, sql);
}

static int start(void **state) {
    http_client_start();
    snprintf(socket_path, sizeof(socket_path), "/tmp/lockset-client-test-%d.sock", (int)getpid());
    int fd;
    if (is_err(http_listen_unix(socket_path, &fd)) || is_err(engine_client_new(&client))) return 1;
    struct http_server_options o = {.listen_fd = fd, .handler = {.finish = finish}, .collect_max_bytes = 1 << 20};
    return is_ok(http_server_start(&o, &server)) ? 0 : 1;
}

static int stop(void **state) {
    client = engine_client_free(client);
    server = http_server_stop(server, true);
    unlink(socket_path);
    return 0;
}

static struct engine_call call_of(const char *sql) {
    return (struct engine_call){.socket_path = socket_path, .query = slice_str(sql), .timeout_ms = 3000};
}

static void test_what_is_sent(void **state) {
    struct engine_param params[] = {{.name = "a", .value = slice_make("x\ty\n\\\0&'", 8)},
                                    {.name = "n", .is_null = true}};
    struct engine_call call = call_of("SELECT {a:String}");
    call.params = params;
    call.param_count = 2;
    call.format = "JSON";
    struct engine_reply reply;
    ASSERT_OK(engine_call(client, &call, &reply));
    assert_string_equal(
        buf_str(&reply.body),
        "reader|default_format=JSON&wait_end_of_query=1&param_a=x%5Cty%5Cn%5C%5C%5C0%26%27&param_n=%5CN|"
        "SELECT {a:String}|-|3000");
    assert_int_equal(reply.epoch, 42);
    assert_int_equal(reply.read_rows, 3);
    assert_int_equal(reply.written_rows, 2);
    assert_int_equal(reply.elapsed_ns, 9);
    assert_int_equal(reply.exception_code, 0);
    engine_reply_done(&reply);
}

static void test_inserts_send_the_statement_in_the_url(void **state) {
    struct http_field settings[] = {{"max_threads", "1"}, {0}};
    struct engine_call call = call_of("INSERT INTO t FORMAT RowBinary");
    call.role = ENGINE_WRITER;
    call.body = slice_str("data");
    call.insert_rows = 7;
    call.settings = settings;
    struct engine_reply reply;
    ASSERT_OK(engine_call(client, &call, &reply));
    assert_string_equal(buf_str(&reply.body),
                        "writer|default_format=JSONCompactEachRowWithNamesAndTypes&wait_end_of_query=1&"
                        "query=INSERT%20INTO%20t%20FORMAT%20RowBinary&max_threads=1|data|7|3000");
    engine_reply_done(&reply);
}

static void test_an_exception_is_an_answer(void **state) {
    struct engine_call call = call_of("exception");
    struct engine_reply reply;
    ASSERT_OK(engine_call(client, &call, &reply));
    assert_int_equal(reply.status, 404);
    assert_int_equal(reply.exception_code, ENGINE_UNKNOWN_TABLE);
    assert_string_equal(reply.exception, "Code: 60. DB::Exception: no table");
    assert_int_equal(reply.body.len, 0);
    engine_reply_done(&reply);
}

struct sink {
    size_t bytes, limit;
    bool is_pure;
};

static bool take(void *arg, struct slice piece) {
    struct sink *s = arg;
    for (size_t i = 0; i < piece.len; i++) {
        s->is_pure &= piece.data[i] == 'r';
    }
    s->bytes += piece.len;
    return s->bytes <= s->limit;
}

static void test_streams(void **state) {
    struct sink sink = {.limit = SIZE_MAX, .is_pure = true};
    struct engine_call call = call_of("stream");
    call.write = take;
    call.arg = &sink;
    struct engine_reply reply;
    ASSERT_OK(engine_call(client, &call, &reply));
    assert_int_equal(reply.exception_code, 0);
    assert_int_equal(sink.bytes, 500000);
    engine_reply_done(&reply);
    sink = (struct sink){.limit = SIZE_MAX, .is_pure = true};
    call.query = slice_str("late");
    ASSERT_OK(engine_call(client, &call, &reply));
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.exception_code, 395);
    assert_string_equal(reply.exception, "Code: 395. DB::Exception: late");
    assert_int_equal(sink.bytes, 500000);
    assert_true(sink.is_pure);
    engine_reply_done(&reply);
    sink = (struct sink){.limit = 100000, .is_pure = true};
    call.query = slice_str("stream");
    ASSERT_ERR(CANCELLED, engine_call(client, &call, &reply));
}

static void test_a_late_exception_in_a_collected_answer(void **state) {
    struct engine_call call = call_of("late");
    struct engine_reply reply;
    ASSERT_OK(engine_call(client, &call, &reply));
    assert_int_equal(reply.exception_code, 395);
    assert_int_equal(reply.body.len, 500000);
    engine_reply_done(&reply);
    call.max_reply_bytes = 1000;
    ASSERT_ERR(TOO_LARGE, engine_call(client, &call, &reply));
}

static void *set_later(void *arg) {
    clock_sleep_ms(200);
    __atomic_store_n((bool *)arg, true, __ATOMIC_SEQ_CST);
    return NULL;
}

static void test_time_and_cancellation(void **state) {
    struct engine_call call = call_of("slow");
    struct engine_reply reply;
    call.timeout_ms = 100; /* and the spare time in which an engine would say so itself */
    ASSERT_ERR(TIMEOUT, engine_call(client, &call, &reply));
    bool cancelled = false;
    call.timeout_ms = 20000;
    call.cancelled = &cancelled;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, set_later, &cancelled), 0);
    int64_t began = clock_boottime_ns();
    ASSERT_ERR(CANCELLED, engine_call(client, &call, &reply));
    pthread_join(thread, NULL);
    assert_true(clock_boottime_ns() - began < 2 * NS_PER_S);
}

static void test_an_engine_that_is_none(void **state) {
    struct engine_call call = call_of("stranger");
    struct engine_reply reply;
    ASSERT_ERR(PEER, engine_call(client, &call, &reply));
    call.socket_path = "/tmp/lockset-no-such-socket";
    ASSERT_ERR(UNREACHABLE, engine_call(client, &call, &reply));
    uint64_t epoch = 0;
    ASSERT_ERR(UNREACHABLE, engine_ping(client, "/tmp/lockset-no-such-socket", 1000, &epoch));
    ASSERT_OK(engine_ping(client, socket_path, 1000, &epoch));
    assert_int_equal(epoch, 42);
}

static void test_wrong_calls(void **state) {
    struct engine_reply reply;
    struct engine_call call = call_of("");
    ASSERT_ERR(TOO_LARGE, engine_call(client, &call, &reply));
    call = call_of("x");
    struct engine_param bad = {.name = "a b", .value = slice_str("1")};
    call.params = &bad;
    call.param_count = 1;
    ASSERT_ERR(INVALID, engine_call(client, &call, &reply));
    BUF_AUTO(big, 1 << 20);
    assert_non_null(buf_reserve(&big, ENGINE_MAX_PARAM_BYTES + 1));
    memset(big.data, 'a', ENGINE_MAX_PARAM_BYTES + 1);
    bad = (struct engine_param){.name = "a", .value = slice_make(big.data, ENGINE_MAX_PARAM_BYTES + 1)};
    ASSERT_ERR(TOO_LARGE, engine_call(client, &call, &reply));
    struct http_field settings[] = {{"a=b", "1"}, {0}};
    call = call_of("x");
    call.settings = settings;
    ASSERT_ERR(INVALID, engine_call(client, &call, &reply));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_what_is_sent),
    cmocka_unit_test(test_inserts_send_the_statement_in_the_url),
    cmocka_unit_test(test_an_exception_is_an_answer),
    cmocka_unit_test(test_streams),
    cmocka_unit_test(test_a_late_exception_in_a_collected_answer),
    cmocka_unit_test(test_time_and_cancellation),
    cmocka_unit_test(test_an_engine_that_is_none),
    cmocka_unit_test(test_wrong_calls),
};

int main(void) {
    if (is_err(secret_start(1 << 20, true))) return 1;
    return cmocka_run_group_tests(tests, start, stop);
}
