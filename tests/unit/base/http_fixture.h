/* A small service for the tests of the HTTP server and client, and a client that sends any bytes. */
#ifndef LOCKSET_TESTS_HTTP_FIXTURE_H
#define LOCKSET_TESTS_HTTP_FIXTURE_H

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/http_server.h"
#include "testing.h"

struct service {
    struct http_server *server;
    unsigned port;
    atomic_int begun, finished, done, closed, pieces;
    _Atomic uint64_t body_bytes;
    atomic_int in_finish, in_body;
    pthread_mutex_t lock;
    char last_target[256]; /* read it when no request is running */
};

/* State of a streamed answer. */
struct tap {
    struct service *service;
    uint64_t length, breaks_at;
    int64_t pause_ms;
};

static inline uint8_t tap_byte(uint64_t offset) {
    return (uint8_t)(offset * 7 + (offset >> 16));
}

static inline ssize_t tap_read(void *arg, uint64_t offset, uint8_t *to, size_t max) {
    struct tap *t = arg;
    if (t->pause_ms) clock_sleep_ms(t->pause_ms);
    if (offset >= t->breaks_at) return -1;
    uint64_t left = t->length - offset;
    if (left < max) max = (size_t)left;
    if (t->breaks_at - offset < max) max = (size_t)(t->breaks_at - offset);
    for (size_t i = 0; i < max; i++)
        to[i] = tap_byte(offset + i);
    return (ssize_t)max;
}

static inline void tap_closed(void *arg) {
    struct tap *t = arg;
    t->service->closed++;
    mem_free(t);
}

static inline uint64_t number_param(struct http_request *r, const char *name, uint64_t otherwise) {
    const char *text = http_query_param(r, name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static inline bool path_is(const struct http_request *r, const char *path) {
    return slice_is(http_path(r), path);
}

static inline void answer_str(struct http_request *r, int status, const char *text) {
    const struct http_field fields[] = {{"X-Test", "yes"}, {"Content-Length", "99"}, {0}};
    http_answer(r, status, fields, slice_str(text));
}

static inline void service_begin(void *context, struct http_request *r) {
    struct service *s = context;
    s->begun++;
    pthread_mutex_lock(&s->lock);
    snprintf(s->last_target, sizeof s->last_target, "%s", (const char *)http_target(r).data);
    pthread_mutex_unlock(&s->lock);
    http_set_user(r, s);
    if (path_is(r, "/refuse")) answer_str(r, 403, "refused");
}

static inline void service_body(void *context, struct http_request *r, struct slice piece) {
    struct service *s = context;
    s->pieces++;
    s->body_bytes += piece.len;
    s->in_body++;
    if (path_is(r, "/slow-body")) clock_sleep_ms((int64_t)number_param(r, "ms", 0));
    if (path_is(r, "/fail-in-body")) answer_str(r, 507, "full");
}

static inline void add_header(void *arg, const char *name, const char *value) {
    buf_printf(arg, "%s=%s;", name, value);
}

static inline void service_finish(void *context, struct http_request *r) {
    struct service *s = context;
    assert_ptr_equal(http_user(r), s);
    s->in_finish++;
    if (path_is(r, "/echo")) {
        http_answer(r, 200, NULL, http_body(r));
    } else if (path_is(r, "/headers")) {
        BUF_AUTO(b, 4096);
        http_each_header(r, add_header, &b);
        http_answer(r, 200, NULL, buf_slice(&b));
    } else if (path_is(r, "/param")) {
        const char *v = http_query_param(r, "k"), *again = http_query_param(r, "k");
        answer_str(r, v == again ? 200 : 500, v ? v : "none");
    } else if (path_is(r, "/stream")) {
        struct tap *t = mem_alloc(sizeof *t);
        *t = (struct tap){s, number_param(r, "n", 0), number_param(r, "break", UINT64_MAX),
                          (int64_t)number_param(r, "pause", 0)};
        bool chunked = number_param(r, "chunked", 0);
        http_answer_stream(r, 200, NULL, chunked ? -1 : (int64_t)t->length, tap_read, tap_closed, t);
    } else if (path_is(r, "/slow")) {
        clock_sleep_ms((int64_t)number_param(r, "ms", 0));
        answer_str(r, 200, "slow");
    } else if (path_is(r, "/status")) {
        http_answer(r, (int)number_param(r, "s", 200), NULL, (struct slice){0});
    } else if (path_is(r, "/split")) {
        const struct http_field bad[] = {{"X-A", "b\r\nX-Injected: 1"}, {0}};
        http_answer(r, 200, bad, slice_str("x"));
    } else if (!path_is(r, "/silent")) {
        answer_str(r, 200, "hello");
        answer_str(r, 500, "twice");
    }
    s->finished++;
}

static inline void service_done(void *context, struct http_request *r) {
    struct service *s = http_user(r);
    s->done++;
}

static inline void service_too_large(void *context, struct http_request *r) {
    answer_str(r, 413, "too large");
}

static inline void service_start(struct service *s, struct http_server_options options) {
    *s = (struct service){.lock = PTHREAD_MUTEX_INITIALIZER};
    if (options.listen_fd == 0) ASSERT_OK(http_listen_tcp("127.0.0.1", 0, &options.listen_fd, &s->port));
    options.handler.begin = service_begin;
    options.handler.finish = service_finish;
    options.handler.done = service_done;
    options.context = s;
    if (!options.collect_max_bytes) options.collect_max_bytes = 100000;
    options.too_large = service_too_large;
    ASSERT_OK(http_server_start(&options, &s->server));
}

static inline void service_start_streaming(struct service *s) {
    service_start(s, (struct http_server_options){.handler = {.body = service_body}});
}

static inline int raw_connect(unsigned port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((in_port_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (const struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static inline void raw_send(int fd, struct slice text) {
    while (text.len > 0) {
        ssize_t n = send(fd, text.data, text.len, MSG_NOSIGNAL);
        if (n <= 0) return;
        text = slice_make(text.data + n, text.len - (size_t)n);
    }
}

/* What comes within ms, until the end; *ret_ended: the server closed. */
static inline void raw_read(int fd, int ms, struct buf *to, bool *ret_ended) {
    int64_t deadline = clock_boottime_ns() + ms * NS_PER_MS;
    *ret_ended = false;
    for (;;) {
        int64_t left = (deadline - clock_boottime_ns()) / NS_PER_MS;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (left <= 0 || poll(&p, 1, (int)left) <= 0) return;
        char piece[4096];
        ssize_t n = recv(fd, piece, sizeof piece, 0);
        if (n <= 0) {
            *ret_ended = true;
            return;
        }
        buf_append(to, piece, (size_t)n);
    }
}

/* Sends bytes on a new connection and returns what comes back (the caller frees it). */
static inline char *raw_exchange(unsigned port, struct slice text, int ms, bool *ret_ended) {
    int fd = raw_connect(port);
    raw_send(fd, text);
    BUF_AUTO(b, 1 << 20);
    raw_read(fd, ms, &b, ret_ended);
    close(fd);
    return buf_take_str(&b);
}

static inline void wait_until(atomic_int *counter, int wanted) {
    for (int i = 0; i < 500 && *counter < wanted; i++)
        clock_sleep_ms(10);
    assert_int_equal(*counter, wanted);
}

#endif
