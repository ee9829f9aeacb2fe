#include "base/http_client.h"

#include <pthread.h>

#include "http_fixture.h"

/* A server for one connection that answers with any bytes. */
struct liar {
    int listener;
    unsigned port;
    const char *answer;
    int hold_ms;
    pthread_t thread;
    char asked[8192];
};

static void *lie(void *arg) {
    struct liar *l = arg;
    int fd = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC);
    size_t len = 0;
    while (len < sizeof l->asked - 1 && !strstr(l->asked, "\r\n\r\n")) {
        ssize_t n = recv(fd, l->asked + len, sizeof l->asked - 1 - len, 0);
        if (n <= 0) break;
        len += (size_t)n;
    }
    raw_send(fd, slice_str(l->answer));
    if (l->hold_ms) clock_sleep_ms(l->hold_ms);
    close(fd);
    return NULL;
}

static void liar_start(struct liar *l, const char *answer, int hold_ms) {
    *l = (struct liar){.answer = answer, .hold_ms = hold_ms};
    ASSERT_OK(http_listen_tcp("127.0.0.1", 0, &l->listener, &l->port));
    pthread_create(&l->thread, NULL, lie, l);
}

static void liar_stop(struct liar *l) {
    pthread_join(l->thread, NULL);
    close(l->listener);
}

static struct http_pool *pool;

static void reply_free(struct http_reply *r) {
    http_reply_done(r);
}
#define REPLY_AUTO(name) AUTO(reply_free) struct http_reply name = {0}

static struct result get(unsigned port, const char *path, struct http_reply *reply) {
    AUTO_FREE char *url = str_format("http://127.0.0.1:%u%s", port, path);
    struct http_call call = {.method = "GET", .url = url};
    return http_call(pool, &call, reply);
}

static void test_methods_and_bodies(void **state) {
    struct service s;
    service_start(&s, (struct http_server_options){0});
    REPLY_AUTO(hello);
    ASSERT_OK(get(s.port, "/a%2Fb/../c?x=%20", &hello));
    assert_int_equal(hello.status, 200);
    assert_string_equal(buf_str(&hello.body), "hello");
    assert_string_equal(s.last_target, "/a%2Fb/../c?x=%20"); /* nothing is normalized: targets are signed */
    struct slice value;
    assert_true(http_reply_header(&hello, "x-test", &value));
    ASSERT_SLICE(value, "yes");
    assert_false(http_reply_header(&hello, "x-tes", &value));
    AUTO_FREE char *echo = str_format("http://127.0.0.1:%u/echo", s.port);
    static const char *const methods[] = {"POST", "PUT", "PATCH", "DELETE", "GET"};
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        struct http_call call = {.method = methods[i], .url = echo, .body = slice_str("body")};
        REPLY_AUTO(r);
        ASSERT_OK(http_call(pool, &call, &r));
        assert_string_equal(buf_str(&r.body), "body");
        call.body = (struct slice){0};
        REPLY_AUTO(empty);
        ASSERT_OK(http_call(pool, &call, &empty));
        assert_int_equal(empty.status, 200);
        assert_int_equal(empty.body.len, 0);
    }
    AUTO_FREE char *stream = str_format("http://127.0.0.1:%u/stream?n=5000000000", s.port);
    struct http_call head = {.method = "HEAD", .url = stream};
    REPLY_AUTO(h);
    ASSERT_OK(http_call(pool, &head, &h));
    assert_true(http_reply_header(&h, "Content-Length", &value));
    ASSERT_SLICE(value, "5000000000");
    http_server_stop(s.server, false);
}

static void test_request_on_the_wire(void **state) {
    struct liar l;
    liar_start(&l,
               "HTTP/1.1 100 Continue\r\nX: no\r\n\r\nHTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nX:  y \r\n"
               "Content-Length: 2\r\n\r\nok",
               0);
    AUTO_FREE char *url = str_format("http://127.0.0.1:%u/x", l.port);
    const struct http_field fields[] = {{"Host", "bucket.example"}, {"X-Empty", ""}, {"Authorization", "a b"}, {0}};
    struct http_call call = {.method = "PUT", .url = url, .fields = fields, .body = slice_str("z")};
    REPLY_AUTO(r);
    ASSERT_OK(http_call(pool, &call, &r));
    liar_stop(&l);
    /* A redirect is an answer like any other, and an interim answer leaves no header behind. */
    assert_int_equal(r.status, 302);
    assert_string_equal(buf_str(&r.body), "ok");
    struct slice value;
    assert_true(http_reply_header(&r, "X", &value));
    ASSERT_SLICE(value, "y");
    assert_int_equal(strncmp(l.asked, "PUT /x HTTP/1.1\r\n", 17), 0);
    assert_non_null(strstr(l.asked, "\r\nHost: bucket.example\r\n"));
    assert_null(strstr(l.asked, "127.0.0.1"));
    assert_non_null(strstr(l.asked, "\r\nX-Empty:\r\n"));
    assert_non_null(strstr(l.asked, "\r\nAuthorization: a b\r\n"));
    assert_non_null(strstr(l.asked, "\r\nContent-Length: 1\r\n"));
    assert_null(strstr(l.asked, "Expect"));
    assert_null(strstr(l.asked, "User-Agent"));
}

struct source {
    uint64_t left, break_at;
};

static ssize_t source_read(void *arg, uint8_t *to, size_t max) {
    struct source *s = arg;
    if (s->left <= s->break_at) return -1;
    size_t n = s->left < max ? (size_t)s->left : max;
    memset(to, 'x', n);
    s->left -= n;
    return (ssize_t)n;
}

static ssize_t source_read_to_end(void *arg, uint8_t *to, size_t max) {
    struct source *s = arg;
    return s->left == 0 ? 0 : source_read(arg, to, max);
}

static bool count_body(void *arg, struct slice piece) {
    uint64_t *left = arg;
    if (piece.len > *left) return false;
    *left -= piece.len;
    return true;
}

static void test_streams(void **state) {
    struct service s;
    service_start_streaming(&s);
    AUTO_FREE char *url = str_format("http://127.0.0.1:%u/sink", s.port);
    struct source source = {3000000, 0};
    struct http_call call = {
        .method = "PUT", .url = url, .read_body = source_read, .read_body_length = 3000000, .arg = &source};
    REPLY_AUTO(sized);
    ASSERT_OK(http_call(pool, &call, &sized));
    assert_int_equal(s.body_bytes, 3000000);
    source = (struct source){2000000, 0};
    call.read_body = source_read_to_end;
    call.read_body_length = -1;
    REPLY_AUTO(chunked);
    ASSERT_OK(http_call(pool, &call, &chunked));
    assert_int_equal(s.body_bytes, 5000000);
    int finished = s.finished;
    source = (struct source){2000000, 1000000};
    REPLY_AUTO(broken);
    ASSERT_ERR(CANCELLED, http_call(pool, &call, &broken));
    source = (struct source){3000000, 1000000};
    call.read_body_length = 3000000;
    ASSERT_ERR(CANCELLED, http_call(pool, &call, &broken));
    AUTO_FREE char *get_url = str_format("http://127.0.0.1:%u/stream?n=3000000", s.port);
    uint64_t left = 3000000;
    struct http_call down = {.method = "GET", .url = get_url, .write_body = count_body, .arg = &left};
    REPLY_AUTO(got);
    ASSERT_OK(http_call(pool, &down, &got));
    assert_int_equal(left, 0);
    assert_int_equal(got.body.len, 0);
    left = 1000000;
    ASSERT_ERR(CANCELLED, http_call(pool, &down, &broken));
    left = 3000000;
    down.max_reply_bytes = 2999999;
    ASSERT_ERR(TOO_LARGE, http_call(pool, &down, &broken));
    struct http_call whole = {.method = "GET", .url = get_url};
    ASSERT_ERR(TOO_LARGE, http_call(pool, &whole, &broken)); /* the default limit */
    whole.max_reply_bytes = 3000000;
    REPLY_AUTO(all);
    ASSERT_OK(http_call(pool, &whole, &all));
    assert_int_equal(all.body.data[2999999], tap_byte(2999999));
    wait_until(&s.done, s.begun);
    assert_int_equal(s.finished, finished + 5);
    assert_null(broken.body.data);
    http_server_stop(s.server, false);
}

static void test_early_refusal_of_a_stream(void **state) {
    struct service s;
    service_start_streaming(&s);
    AUTO_FREE char *url = str_format("http://127.0.0.1:%u/refuse", s.port);
    struct source source = {100000000, 0};
    const struct http_field fields[] = {{"Expect", "100-continue"}, {0}};
    struct http_call call = {.method = "PUT",
                             .url = url,
                             .fields = fields,
                             .read_body = source_read,
                             .read_body_length = 100000000,
                             .arg = &source};
    REPLY_AUTO(r);
    ASSERT_OK(http_call(pool, &call, &r));
    assert_int_equal(r.status, 403);
    assert_string_equal(buf_str(&r.body), "refused");
    http_server_stop(s.server, false);
}

static void test_kinds_of_failure(void **state) {
    REPLY_AUTO(r);
    static const char *const broken[] = {"garbage\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
                                         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
                                         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab",
                                         "HTTP/1.1 200 OK\r\nContent-Le"};
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        struct liar l;
        liar_start(&l, broken[i], 0);
        ASSERT_ERR(PEER, get(l.port, "/", &r));
        liar_stop(&l);
    }
    struct liar silent;
    liar_start(&silent, "", 0);
    ASSERT_ERR(UNREACHABLE, get(silent.port, "/", &r));
    liar_stop(&silent);
    int fd = -1;
    unsigned port;
    ASSERT_OK(http_listen_tcp("127.0.0.1", 0, &fd, &port));
    close(fd);
    ASSERT_ERR(UNREACHABLE, get(port, "/", &r));
    struct http_call call = {.method = "GET", .url = "http://no-such-host.invalid/"};
    ASSERT_ERR(UNREACHABLE, http_call(pool, &call, &r));
    call.url = "ftp://127.0.0.1/";
    ASSERT_ERR(INVALID, http_call(pool, &call, &r));
    call.url = "http://";
    ASSERT_ERR(INVALID, http_call(pool, &call, &r));
    const struct http_field split[] = {{"X", "a\r\nY: b"}, {0}};
    call = (struct http_call){.method = "GET", .url = "http://127.0.0.1:1/", .fields = split};
    ASSERT_ERR(INVALID, http_call(pool, &call, &r));
    call = (struct http_call){.method = "GET", .url = "http://x/", .unix_socket = "/nonexistent/socket"};
    ASSERT_ERR(UNREACHABLE, http_call(pool, &call, &r));
    assert_null(r.body.data);
}

static void *set_later(void *arg) {
    clock_sleep_ms(200);
    __atomic_store_n((bool *)arg, true, __ATOMIC_RELAXED);
    return NULL;
}

static void test_time_limits_and_cancelling(void **state) {
    REPLY_AUTO(r);
    struct liar l;
    liar_start(&l, "", 1500);
    AUTO_FREE char *url = str_format("http://127.0.0.1:%u/", l.port);
    struct http_call call = {.method = "GET", .url = url, .timeout_ms = 200};
    int64_t before = clock_boottime_ns();
    ASSERT_ERR(TIMEOUT, http_call(pool, &call, &r));
    assert_in_range((clock_boottime_ns() - before) / NS_PER_MS, 190, 900);
    liar_stop(&l);
    liar_start(&l, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\na", 1500);
    AUTO_FREE char *half = str_format("http://127.0.0.1:%u/", l.port);
    call.url = half;
    ASSERT_ERR(TIMEOUT, http_call(pool, &call, &r));
    liar_stop(&l);
    liar_start(&l, "", 1500);
    AUTO_FREE char *third = str_format("http://127.0.0.1:%u/", l.port);
    bool cancelled = false;
    call = (struct http_call){.method = "GET", .url = third, .cancelled = &cancelled};
    pthread_t thread;
    pthread_create(&thread, NULL, set_later, &cancelled);
    before = clock_boottime_ns();
    ASSERT_ERR(CANCELLED, http_call(pool, &call, &r));
    assert_in_range((clock_boottime_ns() - before) / NS_PER_MS, 190, 600);
    pthread_join(thread, NULL);
    ASSERT_ERR(CANCELLED, http_call(pool, &call, &r)); /* before it begins */
    liar_stop(&l);
}

static void test_unix_socket_and_environment(void **state) {
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    char dir[] = "/tmp/lockset-http-XXXXXX";
    assert_non_null(mkdtemp(dir));
    AUTO_FREE char *path = str_format("%s/socket", dir);
    struct http_server_options options = {0};
    ASSERT_OK(http_listen_unix(path, &options.listen_fd));
    struct service s;
    service_start(&s, options);
    struct http_call call = {.method = "GET", .url = "http://engine/hello?x=1", .unix_socket = path};
    for (int i = 0; i < 3; i++) {
        REPLY_AUTO(r);
        ASSERT_OK(http_call(pool, &call, &r));
        assert_string_equal(buf_str(&r.body), "hello");
    }
    assert_string_equal(s.last_target, "/hello?x=1");
    http_server_stop(s.server, false);
    REPLY_AUTO(r);
    ASSERT_ERR(UNREACHABLE, http_call(pool, &call, &r));
    ASSERT_OK(file_remove_tree(dir));
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
}

/* A kept connection that the server closed meanwhile is no failure of the next call. */
static void test_restarted_server(void **state) {
    struct service s;
    service_start(&s, (struct http_server_options){0});
    AUTO_FREE char *url = str_format("http://127.0.0.1:%u/echo", s.port);
    unsigned port = s.port;
    struct http_call call = {.method = "POST", .url = url, .body = slice_str("again")};
    for (int i = 0; i < 5; i++) {
        REPLY_AUTO(r);
        ASSERT_OK(http_call(pool, &call, &r));
        assert_string_equal(buf_str(&r.body), "again");
        http_server_stop(s.server, false);
        struct http_server_options options = {0};
        ASSERT_OK(http_listen_tcp("127.0.0.1", port, &options.listen_fd, NULL));
        service_start(&s, options);
    }
    http_server_stop(s.server, true);
}

static void *call_often(void *arg) {
    const char *url = arg;
    intptr_t failures = 0;
    for (int i = 0; i < 200; i++) {
        struct http_call call = {.method = "POST", .url = url, .body = slice_str("thread")};
        REPLY_AUTO(r);
        failures += is_err(http_call(pool, &call, &r)) || !slice_is(buf_slice(&r.body), "thread");
    }
    return (void *)failures;
}

static void test_threads_share_a_pool(void **state) {
    struct service s;
    service_start(&s, (struct http_server_options){0});
    AUTO_FREE char *url = str_format("http://127.0.0.1:%u/echo", s.port);
    pthread_t threads[6];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_create(&threads[i], NULL, call_often, url);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        void *failures;
        pthread_join(threads[i], &failures);
        assert_null(failures);
    }
    http_server_stop(s.server, true);
}

static int set_up(void **state) {
    return is_ok(http_pool_new(&pool)) ? 0 : 1;
}

static int tear_down(void **state) {
    pool = http_pool_free(pool);
    return http_pool_free(NULL) ? 1 : 0;
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_methods_and_bodies),
    cmocka_unit_test(test_request_on_the_wire),
    cmocka_unit_test(test_streams),
    cmocka_unit_test(test_early_refusal_of_a_stream),
    cmocka_unit_test(test_kinds_of_failure),
    cmocka_unit_test(test_time_limits_and_cancelling),
    cmocka_unit_test(test_unix_socket_and_environment),
    cmocka_unit_test(test_restarted_server),
    cmocka_unit_test(test_threads_share_a_pool),
};

int main(void) {
    http_client_start();
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
