/* The server: its daemon, its connections, and the life of a request. */
#include "base/http_server.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/http_internal.h"
#include "base/ipc.h"
#include "base/log.h"

enum {
    CONNECTION_MEMORY_BYTES = 256 * 1024,
    MEMORY_STEP_BYTES = 64 * 1024,
    STACK_BYTES = 512 * 1024,
    PIECE_MAX_BYTES = 256 * 1024,
    DROP_MAX_BYTES = 1024 * 1024,
    BACKLOG = 512,
    REPLACED_MAX = 64, /* connections that are being closed for others */
    DEFAULT_CONNECTIONS = 1024,
    DEFAULT_IDLE_S = 75,
    REASON_BYTES = 160
};

struct connection {
    int fd;
    int64_t since_ns; /* of the last head, answer, or of the connection itself */
    bool is_working;  /* a handler runs, or its answer is being sent */
    bool is_replaced;
    struct connection *previous, *next;
};

struct http_server {
    struct http_server_options options;
    struct MHD_Daemon *daemon;
    int listen_fd; /* the library works with a duplicate of its own */
    pthread_mutex_t lock;
    pthread_cond_t idle; /* running == 0 */
    struct connection *connections;
    unsigned connection_count;
    unsigned running;
    bool cutting;
    atomic_bool stopping;
    char start_reason[REASON_BYTES]; /* what the library said while it did not start */
    atomic_bool started;
};

unsigned http_idle_timeout_s(const struct http_server *s) {
    return s->options.idle_timeout_s;
}

static void count_request(struct http_request *r, bool begins) {
    struct http_server *s = r->server;
    pthread_mutex_lock(&s->lock);
    if (begins)
        s->running++;
    else if (--s->running == 0)
        pthread_cond_broadcast(&s->idle);
    pthread_mutex_unlock(&s->lock);
    r->counted = begins;
}

/* Notes that its connection waits for the client from now on, or works for it. */
static void note_activity(struct http_request *r, bool is_working) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct connection *c = info ? info->socket_context : NULL;
    if (!c) return;
    pthread_mutex_lock(&r->server->lock);
    c->since_ns = clock_boottime_ns();
    c->is_working = is_working;
    pthread_mutex_unlock(&r->server->lock);
}

static void answer_text(struct http_request *r, int status, const char *text) {
    static const struct http_field fields[] = {{"Content-Type", "text/plain"}, {0}};
    BUF_AUTO(b, 512);
    buf_printf(&b, "%s\n", text);
    http_answer(r, status, fields, buf_slice(&b));
}

static void answer_too_large(struct http_request *r) {
    const struct http_server_options *o = &r->server->options;
    if (o->too_large) o->too_large(o->context, r);
    if (!r->answered) answer_text(r, 413, "the body is too large");
}

/* After an answer that came before the body's end. A body that is short enough is read and dropped, so that the
 * connection can live on; MHD_NO ends it. */
static enum MHD_Result settle_early_answer(struct http_request *r) {
    if (!http_has_body(r)) return MHD_YES;
    bool waits = r->expects_continue && r->received == 0;
    if (!waits && !r->chunked && (uint64_t)r->content_length - r->received <= DROP_MAX_BYTES) return MHD_YES;
    http_deliver_early(r);
    return MHD_NO;
}

static enum MHD_Result add_line(void *arg, enum MHD_ValueKind kind, const char *name, size_t name_len,
                                const char *value, size_t value_len) {
    http_add_line(arg, (struct http_line){name, value ? value : "", name_len, value_len});
    return MHD_YES;
}

static enum MHD_Result request_begin(struct http_request *r, const char *version) {
    const struct http_server_options *o = &r->server->options;
    count_request(r, true);
    note_activity(r, false);
    MHD_get_connection_values_n(r->connection, MHD_HEADER_KIND, add_line, r);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    const char *why = http_guard(r, version, info ? info->header_size : 0);
    if (why) {
        if (o->bad_framing) o->bad_framing(o->context, r, why);
        if (!r->answered) answer_text(r, 400, why);
        http_deliver_early(r);
        return MHD_NO;
    }
    buf_init_wiping(&r->body, o->collect_max_bytes);
    r->begun = true;
    if (o->handler.begin) o->handler.begin(o->context, r);
    bool collects = !o->handler.body;
    if (!r->answered && collects && r->content_length > 0 && (uint64_t)r->content_length > o->collect_max_bytes)
        answer_too_large(r);
    return r->answered ? settle_early_answer(r) : MHD_YES;
}

static enum MHD_Result request_body(struct http_request *r, struct slice data) {
    const struct http_server_options *o = &r->server->options;
    int64_t began_ns = clock_boottime_ns();
    bool was_answered = r->answered;
    r->received += data.len;
    while (data.len > 0 && !r->answered) {
        size_t n = data.len < PIECE_MAX_BYTES ? data.len : PIECE_MAX_BYTES;
        struct slice piece = slice_make(data.data, n);
        data = slice_make(data.data + n, data.len - n);
        if (o->handler.body) {
            o->handler.body(o->context, r, piece);
            continue;
        }
        buf_append_slice(&r->body, piece);
        if (r->body.overflowed) answer_too_large(r);
    }
    http_restart_idle_timer(r, began_ns);
    return r->answered && !was_answered ? settle_early_answer(r) : MHD_YES;
}

int http_client_fd(const struct http_request *r) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? info->connect_fd : -1;
}

static bool client_hung_up(struct http_request *r) {
    int fd = http_client_fd(r);
    uint8_t byte;
    return fd >= 0 && recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static enum MHD_Result request_finish(struct http_request *r) {
    const struct http_server_options *o = &r->server->options;
    note_activity(r, true);
    /* The library takes the end of the connection for the end of a chunked body. A cut-off upload must not look like
     * a whole one, and a client that has sent its last chunk has no reason to hang up before the answer. */
    if (r->chunked && client_hung_up(r)) return MHD_NO;
    if (!r->answered) o->handler.finish(o->context, r);
    if (!r->answered) {
        log_error("http.no_answer", KV("method", r->method));
        answer_text(r, 500, "internal error");
    }
    return http_deliver(r, atomic_load(&r->server->stopping)) ? MHD_YES : MHD_NO;
}

static enum MHD_Result on_access(void *server, struct MHD_Connection *connection, const char *url, const char *method,
                                 const char *version, const char *data, size_t *data_len, void **request) {
    struct http_request *r = *request;
    if (!r || r->delivered) return MHD_NO;
    if (!r->seen) {
        r->seen = true;
        r->connection = connection;
        r->method = method;
        return request_begin(r, version);
    }
    if (*data_len == 0) return request_finish(r);
    struct slice piece = slice_make(data, *data_len);
    *data_len = 0;
    return request_body(r, piece);
}

/* The only moment at which the target is to be had as it came. */
static void *on_target(void *server, const char *target, struct MHD_Connection *connection) {
    return http_request_new(server, target ? target : "");
}

static void on_completed(void *server, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode code) {
    struct http_request *r = *request;
    *request = NULL;
    if (!r) return;
    struct http_server *s = server;
    struct http_stream *stream = TAKE(r->answer.stream);
    if (stream) {
        http_stream_close(stream);
        /* Never handed over, so nobody else frees it. */
        if (!r->delivered) mem_free(stream);
    }
    if (r->begun && s->options.handler.done) s->options.handler.done(s->options.context, r);
    if (r->counted) {
        note_activity(r, false);
        count_request(r, false);
    }
    http_request_free(r);
}

/* Lock held. */
static void replace_waiting(struct http_server *s, const struct connection *fresh) {
    struct connection *oldest = NULL;
    for (struct connection *c = s->connections; c; c = c->next) {
        bool waits = c != fresh && !c->is_working && !c->is_replaced;
        if (waits && (!oldest || c->since_ns <= oldest->since_ns)) oldest = c;
    }
    if (!oldest) return;
    oldest->is_replaced = true;
    shutdown(oldest->fd, SHUT_RDWR);
}

static void on_connection(void *server, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code) {
    struct http_server *s = server;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct connection *c = mem_alloc(sizeof *c);
        c->fd = info->connect_fd;
        c->since_ns = clock_boottime_ns();
        pthread_mutex_lock(&s->lock);
        c->next = s->connections;
        if (c->next) c->next->previous = c;
        s->connections = c;
        s->connection_count++;
        if (s->options.replaces_waiting && s->connection_count > s->options.max_connections) replace_waiting(s, c);
        if (s->cutting) shutdown(c->fd, SHUT_RDWR);
        pthread_mutex_unlock(&s->lock);
        *context = c;
        return;
    }
    struct connection *c = TAKE(*context);
    if (!c) return;
    pthread_mutex_lock(&s->lock);
    if (c->previous)
        c->previous->next = c->next;
    else
        s->connections = c->next;
    if (c->next) c->next->previous = c->previous;
    s->connection_count--;
    pthread_mutex_unlock(&s->lock);
    mem_free(c);
}

static size_t keep_escapes(void *arg, struct MHD_Connection *connection, char *text) {
    return strlen(text);
}

/* What the library has to say matters only while it starts; later it speaks of clients that went away. */
__attribute__((format(printf, 2, 0))) static void on_message(void *server, const char *format, va_list args) {
    struct http_server *s = server;
    if (atomic_load(&s->started)) return;
    vsnprintf(s->start_reason, sizeof s->start_reason, format, args);
    s->start_reason[strcspn(s->start_reason, "\n")] = '\0';
}

static void server_free(struct http_server *s) {
    fd_close(&s->listen_fd);
    pthread_cond_destroy(&s->idle);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
}

static struct result daemon_start(struct http_server *s, int fd) {
    const struct http_server_options *o = &s->options;
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, mem_unconst(o->tls_cert_pem)},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, mem_unconst(o->tls_key_pem)},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, mem_unconst("NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2")},
        {MHD_OPTION_END, 0, NULL},
    };
    struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL | MHD_USE_ITC |
                     MHD_USE_ERROR_LOG | (o->tls_cert_pem ? (unsigned)MHD_USE_TLS : 0);
    s->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_access, s, MHD_OPTION_EXTERNAL_LOGGER, on_message, s, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
        MHD_OPTION_URI_LOG_CALLBACK, on_target, s, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_CONNECTION_LIMIT,
        o->max_connections + (o->replaces_waiting ? REPLACED_MAX : 0), MHD_OPTION_CONNECTION_TIMEOUT, o->idle_timeout_s,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY_BYTES, MHD_OPTION_CONNECTION_MEMORY_INCREMENT,
        (size_t)MEMORY_STEP_BYTES, MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_BYTES, MHD_OPTION_ARRAY,
        o->tls_cert_pem ? tls : none, MHD_OPTION_END);
    CHECK(s->daemon, ERR_IO, "the HTTP server could not start: %s",
          s->start_reason[0] ? s->start_reason : "no reason given");
    return OK;
}

struct result http_server_start(const struct http_server_options *options, struct http_server **ret) {
    FD_AUTO(fd) = options->listen_fd;
    CHECK(!options->tls_cert_pem == !options->tls_key_pem, ERR_INVALID,
          "TLS needs both a certificate and a key, or neither");
    /* The library gives the socket back or closes it, depending on how starting fails: so it gets one of its own. */
    FD_AUTO(theirs) = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (theirs < 0) return err_from_errno(errno, "duplicating a listening socket");
    signal(SIGPIPE, SIG_IGN);
    struct http_server *s = mem_alloc(sizeof *s);
    s->options = *options;
    if (s->options.max_connections == 0) s->options.max_connections = DEFAULT_CONNECTIONS;
    if (s->options.idle_timeout_s == 0) s->options.idle_timeout_s = DEFAULT_IDLE_S;
    s->listen_fd = TAKE_FD(fd);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->idle, NULL);
    struct result r = daemon_start(s, theirs);
    if (is_err(r)) {
        server_free(s);
        return r;
    }
    (void)TAKE_FD(theirs);
    atomic_store(&s->started, true);
    /* Only what this process was started with, the caller's, could be read later. */
    s->options.tls_cert_pem = s->options.tls_key_pem = NULL;
    *ret = s;
    return OK;
}

struct http_server *http_server_stop(struct http_server *s, bool cut) {
    if (!s) return NULL;
    atomic_store(&s->stopping, true);
    int theirs = MHD_quiesce_daemon(s->daemon);
    pthread_mutex_lock(&s->lock);
    if (cut) {
        s->cutting = true;
        for (struct connection *c = s->connections; c; c = c->next)
            shutdown(c->fd, SHUT_RDWR);
    } else {
        while (s->running > 0)
            pthread_cond_wait(&s->idle, &s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    MHD_stop_daemon(s->daemon);
    fd_close(&theirs);
    server_free(s);
    return NULL;
}

static struct result listen_at(const struct addrinfo *a, const char *host, unsigned port, int *ret_fd) {
    FD_AUTO(fd) = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
    if (fd < 0) return err_from_errno(errno, "making a socket");
    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0)
        return err_from_errno(errno, "setting up a socket");
    if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        CHECK(errno != EADDRINUSE, ERR_CONFLICT, "port %u at %s is in use by another program", port, host);
        return err_from_errno(errno, "listening at %s, port %u", host, port);
    }
    *ret_fd = TAKE_FD(fd);
    return OK;
}

static void addresses_free(struct addrinfo **a) {
    if (*a) freeaddrinfo(*a);
}

struct result http_listen_tcp(const char *host, unsigned port, int *ret_fd, unsigned *ret_port) {
    CHECK(port <= 65535, ERR_INVALID, "%u is not a port number", port);
    char service[8];
    snprintf(service, sizeof service, "%u", port % 65536);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    AUTO(addresses_free) struct addrinfo *found = NULL;
    int e = getaddrinfo(host, service, &hints, &found);
    CHECK(e == 0, ERR_INVALID, "%s is not an address of this machine: %s", host, gai_strerror(e));
    FD_AUTO(fd) = -1;
    TRY(listen_at(found, host, port, &fd));
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } bound = {0};
    socklen_t len = sizeof bound;
    if (getsockname(fd, &bound.any, &len) != 0) return err_from_errno(errno, "reading a port number");
    in_port_t number = bound.any.sa_family == AF_INET6 ? bound.v6.sin6_port : bound.v4.sin_port;
    if (ret_port) *ret_port = ntohs(number);
    *ret_fd = TAKE_FD(fd);
    return OK;
}

struct result http_listen_unix(const char *path, int *ret_fd) {
    return ipc_listen_type(path, SOCK_STREAM, ret_fd);
}
