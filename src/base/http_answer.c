/* Answers: given by the handlers, delivered through the library or, early, past it. */
#include <errno.h>
#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/http_internal.h"
#include "base/log.h"
#include "base/secret.h"

enum { STREAM_BLOCK_BYTES = 128 * 1024, LINGER_BYTES = 1024 * 1024, LINGER_MS = 2000, EARLY_SEND_MS = 5000 };

static bool is_ours(const char *name) {
    return strcasecmp(name, "Content-Length") == 0 || strcasecmp(name, "Transfer-Encoding") == 0 ||
           strcasecmp(name, "Date") == 0;
}

static bool is_clean(const char *text) {
    for (; *text; text++)
        if (((unsigned char)*text < 0x20 && *text != '\t') || *text == 0x7F) return false;
    return true;
}

/* Copies the fields; false if one would break the framing of the answer. */
static bool take_fields(struct http_answer *a, const struct http_field *fields) {
    size_t count = 0;
    while (fields && fields[count].name)
        count++;
    a->fields = mem_alloc_array(count + 1, sizeof *a->fields);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (is_ours(fields[i].name)) continue;
        if (!is_clean(fields[i].name) || !is_clean(fields[i].value)) return false;
        a->fields[kept++] = (struct http_field){str_dup(fields[i].name), str_dup(fields[i].value)};
    }
    return true;
}

static void answer_internal_error(struct http_request *r) {
    static const char text[] = "internal error\n";
    r->answer.status = 500;
    r->answer.body = mem_dup(text, sizeof text - 1);
    r->answer.body_len = sizeof text - 1;
}

void http_answer(struct http_request *r, int status, const struct http_field *fields, struct slice body) {
    if (r->answered) {
        log_error("http.answered_twice", KVI("status", status));
        return;
    }
    r->answered = true;
    if (!take_fields(&r->answer, fields)) {
        log_error("http.bad_field", KVI("status", status));
        answer_internal_error(r);
        return;
    }
    r->answer.status = status;
    r->answer.body = mem_dup(body.data, body.len);
    r->answer.body_len = body.len;
}

void http_answer_stream(struct http_request *r, int status, const struct http_field *fields, int64_t length,
                        ssize_t (*read)(void *arg, uint64_t offset, uint8_t *to, size_t max), void (*closed)(void *arg),
                        void *arg) {
    struct http_stream *s = mem_alloc(sizeof *s);
    *s = (struct http_stream){.read = read, .closed = closed, .arg = arg, .length = length, .request = r};
    bool usable = !r->answered;
    if (!usable) {
        log_error("http.answered_twice", KVI("status", status));
    } else {
        r->answered = true;
        usable = take_fields(&r->answer, fields);
        if (!usable) {
            log_error("http.bad_field", KVI("status", status));
            answer_internal_error(r);
        }
    }
    if (!usable) {
        http_stream_close(s);
        mem_free(s);
        return;
    }
    r->answer.status = status;
    r->answer.stream = s;
}

void http_stream_close(struct http_stream *s) {
    if (s->is_closed) return;
    s->is_closed = true;
    s->request = NULL;
    if (s->closed) s->closed(s->arg);
}

static ssize_t on_read(void *arg, uint64_t offset, char *to, size_t max) {
    struct http_stream *s = arg;
    if (s->is_closed) return MHD_CONTENT_READER_END_WITH_ERROR;
    if (s->length >= 0 && max > (uint64_t)s->length - offset) max = (size_t)((uint64_t)s->length - offset);
    /* With a length known the library reads into the response's block; without one into the connection's memory. */
    if (s->length >= 0) {
        s->block = to;
        s->block_used = max > s->block_used ? max : s->block_used;
    }
    int64_t began_ns = clock_boottime_ns();
    ssize_t n = s->read(s->arg, offset, (uint8_t *)to, max);
    http_restart_idle_timer(s->request, began_ns);
    if (n < 0 || (size_t)n > max) return MHD_CONTENT_READER_END_WITH_ERROR;
    /* Zero would make the library ask again and again. */
    if (n == 0) return s->length < 0 ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
    return n;
}

static void on_stream_free(void *arg) {
    struct http_stream *s = arg;
    /* The library may free a response before it says that the request is over, or after. */
    if (s->request) s->request->answer.stream = NULL;
    http_stream_close(s);
    wipe(s->block, s->block_used); /* still the response's: it is freed after this */
    mem_free(s);
}

static struct MHD_Response *response_of(struct http_request *r) {
    struct http_answer *a = &r->answer;
    struct MHD_Response *response;
    if (a->stream) {
        uint64_t size = a->stream->length < 0 ? MHD_SIZE_UNKNOWN : (uint64_t)a->stream->length;
        response = MHD_create_response_from_callback(size, STREAM_BLOCK_BYTES, on_read, a->stream, on_stream_free);
        /* From now on the response owns the stream; the request only points there. */
        if (!response) {
            http_stream_close(a->stream);
            mem_free(TAKE(a->stream));
        }
    } else {
        response = MHD_create_response_from_buffer_with_free_callback(a->body_len, a->body, mem_free_wiping);
        if (response) a->body = NULL;
    }
    return response;
}

bool http_deliver(struct http_request *r, bool closes) {
    struct MHD_Response *response = response_of(r);
    if (!response) return false;
    r->delivered = true;
    bool ok = true;
    for (const struct http_field *f = r->answer.fields; ok && f->name; f++)
        ok = MHD_add_response_header(response, f->name, f->value) == MHD_YES;
    if (ok && closes) ok = MHD_add_response_header(response, "Connection", "close") == MHD_YES;
    if (ok) ok = MHD_queue_response(r->connection, (unsigned)r->answer.status, response) == MHD_YES;
    MHD_destroy_response(response);
    return ok;
}

void http_restart_idle_timer(struct http_request *r, int64_t began_ns) {
    if (!r || clock_boottime_ns() - began_ns < NS_PER_S / 4) return;
    /* The library restarts a timer only when it sets one where there was none. */
    MHD_set_connection_option(r->connection, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
    MHD_set_connection_option(r->connection, MHD_CONNECTION_OPTION_TIMEOUT, http_idle_timeout_s(r->server));
}

static bool wait_for(int fd, short events, int64_t deadline_ns) {
    int64_t left_ms = (deadline_ns - clock_boottime_ns()) / NS_PER_MS;
    struct pollfd p = {.fd = fd, .events = events};
    return left_ms > 0 && poll(&p, 1, (int)left_ms) > 0;
}

static void send_all(int fd, gnutls_session_t tls, struct slice text) {
    int64_t deadline = clock_boottime_ns() + EARLY_SEND_MS * NS_PER_MS;
    while (text.len > 0) {
        ssize_t n;
        bool again;
        if (tls) {
            n = gnutls_record_send(tls, text.data, text.len);
            again = n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED;
        } else {
            n = send(fd, text.data, text.len, MSG_NOSIGNAL | MSG_DONTWAIT);
            again = n < 0 && (errno == EAGAIN || errno == EINTR);
        }
        if (n < 0 && !(again && wait_for(fd, POLLOUT, deadline))) return;
        if (n > 0) text = slice_make(text.data + n, text.len - (size_t)n);
    }
    /* One try is enough: it only tells the client that the end was meant. */
    if (tls) gnutls_bye(tls, GNUTLS_SHUT_WR);
}

static void linger(int fd) {
    enum { PIECE = 16384 };
    uint8_t dropped[PIECE];
    int64_t deadline = clock_boottime_ns() + LINGER_MS * NS_PER_MS;
    shutdown(fd, SHUT_WR);
    for (size_t total = 0; total < LINGER_BYTES;) {
        ssize_t n = recv(fd, dropped, sizeof dropped, MSG_DONTWAIT);
        if (n == 0) return;
        if (n > 0)
            total += (size_t)n;
        else if ((errno != EAGAIN && errno != EINTR) || !wait_for(fd, POLLIN, deadline))
            return;
    }
}

void http_deliver_early(struct http_request *r) {
    r->delivered = true;
    const struct http_answer *a = &r->answer;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    /* A stream is no refusal; the client sees a broken connection. */
    if (!info || a->stream) return;
    int fd = info->connect_fd;
    info = MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    gnutls_session_t tls = info ? info->tls_session : NULL;
    BUF_AUTO(text, SIZE_MAX);
    char date[CLOCK_ISO_BYTES];
    clock_format_http(clock_unix_ms(), date);
    buf_printf(&text, "HTTP/1.1 %d %s\r\nDate: %s\r\nConnection: close\r\nContent-Length: %zu\r\n", a->status,
               MHD_get_reason_phrase_for((unsigned)a->status), date, a->body_len);
    for (const struct http_field *f = a->fields; f->name; f++)
        if (strcasecmp(f->name, "Connection") != 0) buf_printf(&text, "%s: %s\r\n", f->name, f->value);
    buf_append_str(&text, "\r\n");
    if (strcmp(r->method, "HEAD") != 0) buf_append(&text, a->body, a->body_len);
    send_all(fd, tls, buf_slice(&text));
    linger(fd);
}
