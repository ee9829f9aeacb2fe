#include "http_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>

#include "base/log.h"

enum { QUICK_MS = 1000, PATIENT_MS = 10000 }; /* on a busy machine, too */

static void expect(unsigned port, const char *text, int status, bool ends) {
    bool ended;
    AUTO_FREE char *got = raw_exchange(port, slice_str(text), ends ? PATIENT_MS : QUICK_MS, &ended);
    char line[32];
    snprintf(line, sizeof line, "HTTP/1.1 %d ", status);
    if (strncmp(got, line, strlen(line)) != 0) fail_msg("to \"%.60s\": wanted %d, got \"%.200s\"", text, status, got);
    if (ended != ends) fail_msg("to \"%.60s\": the connection %s", text, ended ? "ended" : "lived on");
}

static void test_simple(void **state) {
    struct service s;
    service_start(&s, (struct http_server_options){0});
    bool ended;
    AUTO_FREE char *got = raw_exchange(s.port, slice_str("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"), QUICK_MS, &ended);
    assert_non_null(strstr(got, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(got, "X-Test: yes\r\n"));
    assert_non_null(strstr(got, "Content-Length: 5\r\n"));
    assert_null(strstr(got, "99"));
    assert_non_null(strstr(got, "Date: "));
    assert_non_null(strstr(got, "\r\n\r\nhello"));
    assert_false(ended);
    wait_until(&s.done, 1);
    s.server = http_server_stop(s.server, false);
    assert_null(s.server);
    assert_int_equal(s.begun, 1);
    assert_int_equal(s.finished, 1);
}

/* Several requests on one connection, with bodies, one behind the other without waiting. */
static void test_keep_alive_and_pipelining(void **state) {
    struct service s;
    service_start(&s, (struct http_server_options){0});
    bool ended;
    AUTO_FREE char *got = raw_exchange(s.port,
                                       slice_str("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
                                                 "PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                                                 "2\r\nde\r\n1;x=y\r\nf\r\n0\r\n\r\n"
                                                 "POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nlost"
                                                 "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"),
                                       QUICK_MS, &ended);
    assert_false(ended);
    const char *a = strstr(got, "\r\n\r\nabc"), *b = strstr(got, "\r\n\r\ndef"), *c = strstr(got, "refused"),
               *d = strstr(got, "hello");
    assert_true(a && b && c && d && a < b && b < c && c < d);
    wait_until(&s.done, 4);
    http_server_stop(s.server, false);
    assert_int_equal(s.finished, 3);
}

static void test_target_is_raw(void **state) {
    struct service s;
    service_start(&s, (struct http_server_options){0});
    expect(s.port, "GET /b/a%2Fb%20c+d?x=%C3%A9&y HTTP/1.1\r\nHost: x\r\n\r\n", 200, false);
    assert_string_equal(s.last_target, "/b/a%2Fb%20c+d?x=%C3%A9&y");
    static const char *const rows[][2] = {
        {"/param?k=a%20b+c", "a b+c"}, {"/param?%6b=1", "1"},    {"/param?k", ""},        {"/param?a=1&k=2&k=3", "2"},
        {"/param?kk=1", "none"},       {"/param", "none"},       {"/param?k=%", "none"},  {"/param?k=%00", "none"},
        {"/param?&&k=x=y&", "x=y"},    {"/param?k=%zz", "none"}, {"/param?%=1&k=5", "5"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_FREE char *request = str_format("GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", rows[i][0]);
        AUTO_FREE char *wanted = str_format("\r\n\r\n%s", rows[i][1]);
        bool ended;
        AUTO_FREE char *got = raw_exchange(s.port, slice_str(request), PATIENT_MS, &ended);
        assert_non_null(strstr(got, "200 OK"));
        assert_string_equal(strstr(got, "\r\n\r\n"), wanted);
        assert_true(ended);
    }
    http_server_stop(s.server, false);
}

static void test_headers(void **state) {
    struct service s;
    service_start(&s, (struct http_server_options){0});
    bool ended;
    AUTO_FREE char *got =
        raw_exchange(s.port,
                     slice_str("GET /headers HTTP/1.1\r\nHost:x\r\nX-B: 1\r\nx-a: 2 3 \r\nX-B:\t 4\r\n"
                               "Empty:\r\nConnection: close\r\n\r\n"),
                     PATIENT_MS, &ended);
    assert_non_null(strstr(got, "\r\n\r\nHost=x;X-B=1;x-a=2 3"));
    assert_non_null(strstr(got, ";X-B=4;Empty=;Connection=close;"));
    http_server_stop(s.server, false);
}

/* What the guard looks at must not depend on what else the library does with a request. */
static void test_unusual_but_fine(void **state) {
    struct service s;
    service_start(&s, (struct http_server_options){0});
    expect(s.port, "GET /x?a=1&b=2+3&c=%41#f HTTP/1.1\r\nHost: x\r\nCookie: a=b; c=\"d\"\r\nX:\t y\r\n\r\n", 200,
           false);
    expect(s.port, "\r\n\r\nGET / HTTP/1.1\r\nHost:\r\n\r\n", 200, false);
    expect(s.port, "GET / HTTP/1.0\r\nHost: x\r\n\r\n", 200, true);
    expect(s.port, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 200, false);
    expect(s.port, "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n", 200, false);
    BUF_AUTO(b, 1 << 20);
    buf_append_str(&b, "GET / HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; i < 600; i++)
        buf_printf(&b, "X-%d: %0100d\r\n", i, i);
    buf_append_str(&b, "\r\n");
    expect(s.port, buf_str(&b), 200, false);
    buf_clear(&b);
    buf_printf(&b, "GET /%060000d HTTP/1.1\r\nHost: x\r\n\r\n", 1);
    expect(s.port, buf_str(&b), 200, false);
    buf_clear(&b);
    buf_printf(&b, "GET / HTTP/1.1\r\nHost: x\r\nX: %0300000d\r\n\r\n", 1);
    expect(s.port, buf_str(&b), 431, true);
    http_server_stop(s.server, false);
}

/* Requests that two parsers could read differently. None may reach a handler. */
static void test_framing_guard(void **state) {
    static const struct {
        const char *text;
        size_t len;
    } rows[] = {
#define ROW(text) {text, sizeof(text) - 1}
        ROW("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ROW("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
        ROW("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
        ROW("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
        ROW("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 03\r\n\r\nabc"),
        ROW("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        ROW("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\nabc"),
        ROW("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: "
            "chunked\r\n\r\n0\r\n\r\n"),
        ROW("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        ROW("POST /echo HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ROW("GET / HTTP/1.1\r\n\r\n"),
        ROW("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ROW("GET / HTTP/1.0\r\n\r\n"),
        ROW("GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n"),
        ROW("GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n\tContent-Length: 5\r\n\r\n"),
        ROW("GET / HTTP/1.1\r\nHost: x\nX: a\r\n\r\n"),
        ROW("GET / HTTP/1.1\r\nHost: x\nContent-Length: 5\n\nabcde"),
        ROW("GET / HTTP/1.1\nHost: x\r\n\r\n"),
        ROW("GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n"),
        ROW("GET / HTTP/1.1\r\nHost: x\r\nX: a\0\r\n\r\n"),
        ROW("GET / HTTP/1.1\r\nHost: x\0\r\nX: a\r\n\r\n"),
        ROW("GET / HTTP/1.1\r\nHost: x\r\nX\0Y: a\r\n\r\n"),
        ROW("GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n"),
        ROW("GET /a\tb HTTP/1.1\r\nHost: x\r\n\r\n"),
        ROW("GET /a\x01 HTTP/1.1\r\nHost: x\r\n\r\n"),
        ROW("GET  / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ROW("G\0T / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ROW("G(T / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ROW("GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n"),
        ROW("GET x HTTP/1.1\r\nHost: x\r\n\r\n"),
        ROW("GET / HTTP/1.2\r\nHost: x\r\n\r\n"),
        ROW("GET / HTTP/1.1\r\nHost: x\r\nX: a\x01\r\n\r\n"),
        ROW("GET / HTTP/1.1\r\nHost: x\r\nX: a\x7f\r\n\r\n"),
        ROW("GET / HTTP/1.1\r\nHost: x\r\nX: a\rb: c\r\n\r\n"),
        ROW("GET / HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n"),
        ROW("GET / HTTP/1.1\r\nHost: x\r\nX Y: a\r\n\r\n"),
        ROW("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 200-ok\r\n\r\nabc"),
    };
    struct service s;
    service_start(&s, (struct http_server_options){0});
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        bool ended;
        AUTO_FREE char *got = raw_exchange(s.port, slice_make(rows[i].text, rows[i].len), PATIENT_MS, &ended);
        if (strncmp(got, "HTTP/1.1 400 ", 13) != 0)
            fail_msg("row %zu, \"%.70s\": got \"%.200s\"", i, rows[i].text, got);
        if (!ended) fail_msg("row %zu: the connection lived on", i);
    }
    assert_int_equal(s.begun, 0);
    /* The library itself drops these without an answer, or with one of its own. */
    static const char *const dropped[] = {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
                                          "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc",
                                          "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
                                          "GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
                                          "GET / HTTP/2.0\r\nHost: x\r\n\r\n",
                                          "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
                                          "GET /  HTTP/1.1\r\nHost: x\r\n\r\n",
                                          "GET /\r\n\r\n",
                                          "nonsense\r\n\r\n",
                                          "\x16\x03\x01\x02\r\n\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(dropped); i++) {
        bool ended;
        AUTO_FREE char *got = raw_exchange(s.port, slice_str(dropped[i]), PATIENT_MS, &ended);
        if (!ended || strstr(got, " 200 ")) fail_msg("\"%.70s\": got \"%.200s\"", dropped[i], got);
    }
    assert_int_equal(s.begun, 0);
    expect(s.port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200, false);
    http_server_stop(s.server, false);
    assert_int_equal(s.done, 1);
}

static void test_bad_chunks(void **state) {
    struct service s;
    service_start(&s, (struct http_server_options){0});
    static const char *const bad[] = {"x\r\nab\r\n0\r\n\r\n", "-1\r\na\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n",
                                      "11111111111111111\r\na\r\n0\r\n\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        AUTO_FREE char *text =
            str_format("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%s", bad[i]);
        bool ended;
        AUTO_FREE char *got = raw_exchange(s.port, slice_str(text), PATIENT_MS, &ended);
        if (!ended || strstr(got, " 200 ")) fail_msg("\"%s\": got \"%.200s\"", bad[i], got);
    }
    http_server_stop(s.server, false);
    assert_int_equal(s.finished, 0);
}

/* A body that is cut off must never look like a whole one. */
static void test_truncated_bodies(void **state) {
    static const char *const heads[] = {
        "Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", "Transfer-Encoding: chunked\r\n\r\n9\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n"};
    for (int streaming = 0; streaming < 2; streaming++) {
        struct service s;
        if (streaming)
            service_start_streaming(&s);
        else
            service_start(&s, (struct http_server_options){0});
        for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
            for (int pause = 0; pause < 2; pause++) {
                int fd = raw_connect(s.port);
                AUTO_FREE char *text = str_format("PUT /echo HTTP/1.1\r\nHost: x\r\n%s", heads[i]);
                raw_send(fd, slice_str(text));
                if (pause) clock_sleep_ms(30);
                shutdown(fd, SHUT_WR);
                BUF_AUTO(b, 4096);
                bool ended;
                raw_read(fd, PATIENT_MS, &b, &ended);
                close(fd);
                if (!ended || strstr(buf_str(&b), " 200 ")) fail_msg("row %zu: got \"%s\"", i, buf_str(&b));
            }
        }
        http_server_stop(s.server, false);
        assert_int_equal(s.finished, 0);
        assert_int_equal(s.done, s.begun);
    }
}

static void test_refusal_before_the_body(void **state) {
    struct service s;
    service_start_streaming(&s);
    /* With Expect: the refusal instead of "100 Continue", and the end. */
    expect(s.port, "PUT /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\nExpect: 100-continue\r\n\r\n", 403,
           true);
    expect(s.port, "PUT /refuse HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n", 403,
           true);
    /* Without: the answer comes though the client goes on sending, and a short body keeps the connection. */
    expect(s.port, "PUT /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde", 403, false);
    expect(s.port, "DELETE /refuse HTTP/1.1\r\nHost: x\r\n\r\n", 403, false);
    static char body[600000];
    memset(body, 'x', sizeof body);
    static const char head[] = "PUT /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n";
    memcpy(body, head, sizeof head - 1);
    bool ended;
    AUTO_FREE char *got = raw_exchange(s.port, slice_make(body, sizeof body), PATIENT_MS, &ended);
    assert_int_equal(strncmp(got, "HTTP/1.1 403 ", 13), 0);
    assert_non_null(strstr(got, "Connection: close\r\n"));
    assert_non_null(strstr(got, "X-Test: yes\r\n"));
    assert_non_null(strstr(got, "Content-Length: 7\r\n"));
    assert_non_null(strstr(got, "\r\n\r\nrefused"));
    assert_true(ended);
    wait_until(&s.done, 5);
    http_server_stop(s.server, false);
    assert_int_equal(s.pieces, 0);
    assert_int_equal(s.finished, 0);
}

static void test_continue_is_sent(void **state) {
    struct service s;
    service_start_streaming(&s);
    int fd = raw_connect(s.port);
    raw_send(fd, slice_str("PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\n"));
    BUF_AUTO(b, 4096);
    bool ended;
    raw_read(fd, QUICK_MS, &b, &ended);
    assert_string_equal(buf_str(&b), "HTTP/1.1 100 Continue\r\n\r\n");
    raw_send(fd, slice_str("abc"));
    raw_read(fd, QUICK_MS, &b, &ended);
    assert_non_null(strstr(buf_str(&b), "hello"));
    assert_false(ended);
    close(fd);
    http_server_stop(s.server, false);
    assert_int_equal(s.body_bytes, 3);
}

static void test_answer_within_the_body(void **state) {
    struct service s;
    service_start_streaming(&s);
    expect(s.port, "PUT /fail-in-body HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde", 507, false);
    expect(s.port, "PUT /fail-in-body HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\nabcde", 507, true);
    expect(s.port, "PUT /fail-in-body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n", 507,
           true);
    wait_until(&s.done, 3);
    http_server_stop(s.server, false);
    assert_int_equal(s.finished, 0);
}

static void test_collected_bodies_are_limited(void **state) {
    struct service s;
    service_start(&s, (struct http_server_options){.collect_max_bytes = 5});
    expect(s.port, "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde", 200, false);
    expect(s.port, "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabcdef", 413, false);
    expect(s.port, "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n", 413, true);
    expect(s.port, "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000000\r\n\r\nabcdef", 413, true);
    expect(s.port, "PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n0\r\n\r\n", 413,
           true);
    http_server_stop(s.server, false);
    assert_int_equal(s.finished, 1);
}

static void test_head_and_empty_statuses(void **state) {
    struct service s;
    service_start(&s, (struct http_server_options){0});
    bool ended;
    AUTO_FREE char *sized =
        raw_exchange(s.port, slice_str("HEAD /stream?n=5000000000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
                     PATIENT_MS, &ended);
    assert_non_null(strstr(sized, "Content-Length: 5000000000\r\n"));
    assert_string_equal(strstr(sized, "\r\n\r\n"), "\r\n\r\n");
    wait_until(&s.closed, 1);
    AUTO_FREE char *small =
        raw_exchange(s.port, slice_str("HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), PATIENT_MS, &ended);
    assert_non_null(strstr(small, "Content-Length: 5\r\n"));
    assert_string_equal(strstr(small, "\r\n\r\n"), "\r\n\r\n");
    AUTO_FREE char *none = raw_exchange(
        s.port, slice_str("DELETE /status?s=204 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), PATIENT_MS, &ended);
    assert_int_equal(strncmp(none, "HTTP/1.1 204 ", 13), 0);
    assert_null(strstr(none, "Content-Length"));
    AUTO_FREE char *same = raw_exchange(
        s.port, slice_str("GET /status?s=304 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), PATIENT_MS, &ended);
    assert_int_equal(strncmp(same, "HTTP/1.1 304 ", 13), 0);
    assert_string_equal(strstr(same, "\r\n\r\n"), "\r\n\r\n");
    http_server_stop(s.server, false);
}

static void test_mistakes_of_a_service(void **state) {
    struct service s;
    service_start(&s, (struct http_server_options){0});
    expect(s.port, "GET /silent HTTP/1.1\r\nHost: x\r\n\r\n", 500, false);
    bool ended;
    AUTO_FREE char *got = raw_exchange(s.port, slice_str("GET /split HTTP/1.1\r\nHost: x\r\n\r\n"), QUICK_MS, &ended);
    assert_int_equal(strncmp(got, "HTTP/1.1 500 ", 13), 0);
    assert_null(strstr(got, "Injected"));
    http_server_stop(s.server, false);
}

static void test_broken_stream_has_no_clean_end(void **state) {
    struct service s;
    service_start(&s, (struct http_server_options){0});
    bool ended;
    AUTO_FREE char *sized = raw_exchange(s.port, slice_str("GET /stream?n=3000&break=1000 HTTP/1.1\r\nHost: x\r\n\r\n"),
                                         PATIENT_MS, &ended);
    assert_true(ended);
    assert_non_null(strstr(sized, "Content-Length: 3000\r\n"));
    AUTO_FREE char *chunked = raw_exchange(
        s.port, slice_str("GET /stream?n=3000&break=1000&chunked=1 HTTP/1.1\r\nHost: x\r\n\r\n"), PATIENT_MS, &ended);
    assert_true(ended);
    assert_non_null(strstr(chunked, "chunked"));
    assert_null(strstr(chunked, "\r\n0\r\n"));
    wait_until(&s.closed, 2);
    wait_until(&s.done, 2);
    http_server_stop(s.server, false);
}

static void test_client_goes_away(void **state) {
    struct service s;
    service_start(&s, (struct http_server_options){0});
    for (int i = 0; i < 5; i++) {
        int fd = raw_connect(s.port);
        raw_send(fd, slice_str("GET /stream?n=1000000000 HTTP/1.1\r\nHost: x\r\n\r\n"));
        char some[1000];
        assert_true(recv(fd, some, sizeof some, 0) > 0);
        struct linger hard = {1, 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        close(fd); /* a reset, in the middle of sends */
    }
    wait_until(&s.closed, 5);
    wait_until(&s.done, 5);
    expect(s.port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200, false);
    http_server_stop(s.server, false);
}

static void test_idle_clients_are_dropped_but_slow_handlers_are_not(void **state) {
    struct service s;
    service_start(&s, (struct http_server_options){.idle_timeout_s = 1, .handler = {.body = service_body}});
    bool ended;
    AUTO_FREE char *nothing = raw_exchange(s.port, slice_str("GET / HTTP/1.1\r\nHo"), 5000, &ended);
    assert_true(ended);
    assert_null(strstr(nothing, " 200 "));
    AUTO_FREE char *slow =
        raw_exchange(s.port, slice_str("GET /slow?ms=2500 HTTP/1.1\r\nHost: x\r\n\r\n"), 3000, &ended);
    assert_non_null(strstr(slow, "\r\n\r\nslow"));
    AUTO_FREE char *body = raw_exchange(
        s.port, slice_str("PUT /slow-body?ms=2500 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"), 3000, &ended);
    assert_non_null(strstr(body, "\r\n\r\nhello"));
    AUTO_FREE char *stream =
        raw_exchange(s.port, slice_str("GET /stream?n=5&pause=2500 HTTP/1.1\r\nHost: x\r\n\r\n"), 3000, &ended);
    assert_non_null(strstr(stream, "Content-Length: 5\r\n"));
    assert_int_equal(strstr(stream, "\r\n\r\n")[5], 7);
    http_server_stop(s.server, false);
}

static void *stop_gently(void *arg) {
    struct service *s = arg;
    http_server_stop(s->server, false);
    return NULL;
}

static void test_stop_waits_for_running_requests(void **state) {
    struct service s;
    service_start(&s, (struct http_server_options){0});
    int idle = raw_connect(s.port), busy = raw_connect(s.port);
    raw_send(busy, slice_str("GET /slow?ms=500 HTTP/1.1\r\nHost: x\r\n\r\n"));
    wait_until(&s.in_finish, 1);
    pthread_t stopper;
    pthread_create(&stopper, NULL, stop_gently, &s);
    BUF_AUTO(b, 4096);
    bool ended;
    raw_read(busy, PATIENT_MS, &b, &ended);
    assert_non_null(strstr(buf_str(&b), "\r\n\r\nslow"));
    assert_non_null(strcasestr(buf_str(&b), "Connection: close"));
    assert_true(ended);
    pthread_join(stopper, NULL);
    assert_int_equal(s.done, 1);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((in_port_t)s.port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_not_equal(connect(late, (const struct sockaddr *)&a, sizeof a), 0);
    close(late);
    close(idle);
    close(busy);
}

static void test_cut_is_quick(void **state) {
    struct service s;
    service_start_streaming(&s);
    int half_head = raw_connect(s.port), half_body = raw_connect(s.port), reader = raw_connect(s.port),
        idle = raw_connect(s.port), lingering = raw_connect(s.port);
    raw_send(half_head, slice_str("GET / HTT"));
    raw_send(half_body, slice_str("PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc"));
    raw_send(reader, slice_str("GET /stream?n=10000000000 HTTP/1.1\r\nHost: x\r\n\r\n"));
    raw_send(lingering, slice_str("PUT /fail-in-body HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\nabcde"));
    wait_until(&s.in_finish, 1);
    wait_until(&s.in_body, 2);
    clock_sleep_ms(100);
    int64_t before = clock_boottime_ns();
    http_server_stop(s.server, true);
    assert_true(clock_boottime_ns() - before < NS_PER_S);
    assert_int_equal(s.done, 3);
    assert_int_equal(s.closed, 1);
    close(half_head);
    close(half_body);
    close(reader);
    close(idle);
    close(lingering);
}

static void *ask_often(void *arg) {
    const struct service *s = arg;
    int failures = 0;
    for (int i = 0; i < 100; i++) {
        bool ended;
        AUTO_FREE char *got = raw_exchange(
            s->port, slice_str("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"),
            10000, &ended);
        failures += !strstr(got, "\r\n\r\nabc");
    }
    return (void *)(intptr_t)failures;
}

static void test_many_clients(void **state) {
    struct service s;
    service_start(&s, (struct http_server_options){0});
    pthread_t threads[8];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_create(&threads[i], NULL, ask_often, &s);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        void *failures;
        pthread_join(threads[i], &failures);
        assert_null(failures);
    }
    http_server_stop(s.server, false);
    assert_int_equal(s.done, 800);
}

static void test_connection_limit(void **state) {
    struct service s;
    service_start(&s, (struct http_server_options){.max_connections = 2});
    int a = raw_connect(s.port), b = raw_connect(s.port);
    bool ended;
    AUTO_FREE char *got = raw_exchange(s.port, slice_str("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), PATIENT_MS, &ended);
    assert_true(ended);
    assert_string_equal(got, "");
    close(a);
    close(b);
    clock_sleep_ms(100);
    expect(s.port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200, false);
    http_server_stop(s.server, false);
}

/* Has the other side closed it within `ms`? */
static bool is_closed(int fd, int ms) {
    struct pollfd p = {fd, POLLIN, 0};
    char byte;
    return poll(&p, 1, ms) == 1 && recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

/* Soon: connections that were closed are still counted for a moment. */
static bool gets_an_answer(unsigned port) {
    for (int i = 0; i < 200; i++) {
        bool ended;
        AUTO_FREE char *got =
            raw_exchange(port, slice_str("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), PATIENT_MS, &ended);
        if (strncmp(got, "HTTP/1.1 200 ", 13) == 0) return true;
        clock_sleep_ms(20);
    }
    return false;
}

static void test_waiting_connections_make_room(void **state) {
    struct service s;
    service_start(&s, (struct http_server_options){.max_connections = 3, .replaces_waiting = true});
    static const char work[] = "GET /slow?ms=3000 HTTP/1.1\r\nHost: x\r\n\r\n", half[] = "GET / HTTP/1.1\r\nHo";
    int working = raw_connect(s.port);
    assert_int_equal(write(working, work, sizeof work - 1), sizeof work - 1);
    while (s.in_finish == 0)
        clock_sleep_ms(5);
    int idle = raw_connect(s.port), dripping = raw_connect(s.port);
    assert_int_equal(write(dripping, half, sizeof half - 1), sizeof half - 1);
    assert_true(gets_an_answer(s.port));
    assert_true(is_closed(idle, PATIENT_MS));
    assert_true(gets_an_answer(s.port));
    for (int i = 0; i < 200; i++)
        close(raw_connect(s.port));
    assert_true(gets_an_answer(s.port));
    int others[3];
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        others[i] = raw_connect(s.port);
    assert_true(is_closed(dripping, PATIENT_MS));
    assert_true(gets_an_answer(s.port));
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        close(others[i]);
    /* What worked all the while was left alone. */
    char answer[512];
    ssize_t n = read(working, answer, sizeof answer);
    assert_true(n > 12 && slice_starts_with(slice_make(answer, (size_t)n), "HTTP/1.1 200"));
    close(working);
    close(idle);
    close(dripping);
    http_server_stop(s.server, false);
}

static void test_ports(void **state) {
    int fd = -1, other = -1;
    unsigned port = 0;
    ASSERT_OK(http_listen_tcp("127.0.0.1", 0, &fd, &port));
    assert_true(port > 0);
    ASSERT_ERR(CONFLICT, http_listen_tcp("127.0.0.1", port, &other, NULL));
    ASSERT_ERR(INVALID, http_listen_tcp("127.0.0.1", 70000, &other, NULL));
    ASSERT_ERR(INVALID, http_listen_tcp("not an address", 0, &other, NULL));
    assert_int_equal(other, -1);
    struct http_server *server = NULL;
    struct http_server_options half = {.listen_fd = fd, .tls_cert_pem = "x"};
    ASSERT_ERR(INVALID, http_server_start(&half, &server));
    assert_int_equal(fcntl(fd, F_GETFD), -1); /* it was the server's */
    ASSERT_OK(http_listen_tcp("127.0.0.1", port, &fd, NULL));
    struct http_server_options bad = {.listen_fd = fd, .tls_cert_pem = "x", .tls_key_pem = "y"};
    ASSERT_ERR(IO, http_server_start(&bad, &server));
    assert_null(server);
    ASSERT_OK(http_listen_tcp("::1", 0, &fd, &port));
    close(fd);
    assert_null(http_server_stop(NULL, true));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_simple),
    cmocka_unit_test(test_keep_alive_and_pipelining),
    cmocka_unit_test(test_target_is_raw),
    cmocka_unit_test(test_headers),
    cmocka_unit_test(test_unusual_but_fine),
    cmocka_unit_test(test_framing_guard),
    cmocka_unit_test(test_bad_chunks),
    cmocka_unit_test(test_truncated_bodies),
    cmocka_unit_test(test_refusal_before_the_body),
    cmocka_unit_test(test_continue_is_sent),
    cmocka_unit_test(test_answer_within_the_body),
    cmocka_unit_test(test_collected_bodies_are_limited),
    cmocka_unit_test(test_head_and_empty_statuses),
    cmocka_unit_test(test_mistakes_of_a_service),
    cmocka_unit_test(test_broken_stream_has_no_clean_end),
    cmocka_unit_test(test_client_goes_away),
    cmocka_unit_test(test_idle_clients_are_dropped_but_slow_handlers_are_not),
    cmocka_unit_test(test_stop_waits_for_running_requests),
    cmocka_unit_test(test_cut_is_quick),
    cmocka_unit_test(test_many_clients),
    cmocka_unit_test(test_connection_limit),
    cmocka_unit_test(test_waiting_connections_make_room),
    cmocka_unit_test(test_ports),
};

TEST_MAIN(tests)
