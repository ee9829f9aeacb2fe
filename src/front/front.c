#include "front/front.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "front/head.h"
#include "front/pump.h"
#include "front/refusal.h"

enum {
    CONNECTIONS_MAX = 1024,
    ORG_CONNECTIONS_MAX = 768, /* of them, for one organization */
    HEAD_MS = 15000,           /* to the end of the first head, handshake included */
    IDLE_S = 300,              /* the gateway drops idle clients long before */
    REPLACEABLE_MS = 5000,     /* idle for so long, it may make room for another */
    ACTIVATE_MS = 45000,
    ATTEMPTS = 3,      /* at a gateway that has just gone */
    GOODBYE_MS = 2000, /* for the client to take a refusal */
    GOODBYE_BYTES = 4 * 1024 * 1024,
    STACK_BYTES = 256 * 1024,
    ACCEPT_PAUSE_MS = 100,
    KEEP_MAX_MS = 60000,
    KEEP_CALL_MS = 10000,
};

struct visitor {
    struct front *front;
    int fd;
    struct tls *tls;
    char org[REGISTRY_ID_BYTES]; /* "" until it is known; under the front's lock */
    bool has_gateway;            /* under the lock */
    _Atomic int64_t moved_ns;
    int64_t kept_ns; /* moved_ns when the keyring was last told; under the lock */
    struct buf head;
    struct visitor *previous, *next;
};

struct front {
    struct front_options o;
    pthread_mutex_t lock; /* everything below */
    struct visitor *visitors;
    unsigned count;
};

/* ---- Visitors ---- */

/* The lock is held. Makes room: who was idle for longest is shut down, and leaves. */
static void replace_one(struct front *f) {
    int64_t now = clock_boottime_ns();
    struct visitor *oldest = NULL;
    for (struct visitor *v = f->visitors; v != NULL; v = v->next) {
        int64_t moved = atomic_load(&v->moved_ns);
        if (v->has_gateway && now - moved < REPLACEABLE_MS * NS_PER_MS) continue;
        if (oldest == NULL || moved < atomic_load(&oldest->moved_ns)) oldest = v;
    }
    if (oldest == NULL) return;
    atomic_store(&oldest->moved_ns, INT64_MAX); /* not again */
    shutdown(oldest->fd, SHUT_RDWR);
}

static void add(struct visitor *v) {
    struct front *f = v->front;
    pthread_mutex_lock(&f->lock);
    v->next = f->visitors;
    if (v->next != NULL) v->next->previous = v;
    f->visitors = v;
    if (++f->count > CONNECTIONS_MAX) replace_one(f);
    pthread_mutex_unlock(&f->lock);
}

static void leave(struct visitor *v) {
    struct front *f = v->front;
    pthread_mutex_lock(&f->lock);
    if (v->previous != NULL)
        v->previous->next = v->next;
    else
        f->visitors = v->next;
    if (v->next != NULL) v->next->previous = v->previous;
    f->count--;
    pthread_mutex_unlock(&f->lock);
    tls_free(v->tls);
    close(v->fd);
    buf_done(&v->head);
    mem_free(v);
}

static void note_gateway(struct visitor *v, bool has_gateway) {
    pthread_mutex_lock(&v->front->lock);
    v->has_gateway = has_gateway;
    if (has_gateway) atomic_store(&v->moved_ns, clock_boottime_ns());
    pthread_mutex_unlock(&v->front->lock);
}

/* False: the organization has enough of them. */
static bool note_org(struct visitor *v, const char *org) {
    struct front *f = v->front;
    unsigned same = 0;
    pthread_mutex_lock(&f->lock);
    for (struct visitor *i = f->visitors; i != NULL; i = i->next)
        same += strcmp(i->org, org) == 0;
    if (same < ORG_CONNECTIONS_MAX) snprintf(v->org, sizeof v->org, "%s", org);
    pthread_mutex_unlock(&f->lock);
    return same < ORG_CONNECTIONS_MAX;
}

/* ---- Answering ---- */

static ssize_t receive(struct visitor *v, uint8_t *to, size_t max) {
    if (v->tls != NULL) return tls_receive(v->tls, to, max);
    ssize_t n = recv(v->fd, to, max, MSG_DONTWAIT);
    return n >= 0 ? n : errno == EAGAIN || errno == EINTR ? TLS_AGAIN : TLS_BROKEN;
}

static bool wait_fd(int fd, short events, int64_t deadline_ns) {
    int64_t left_ms = (deadline_ns - clock_boottime_ns()) / NS_PER_MS;
    if (left_ms <= 0) return false;
    struct pollfd polled = {fd, events, 0};
    int n = poll(&polled, 1, (int)left_ms);
    return n > 0 || (n < 0 && errno == EINTR);
}

static bool send_all(struct visitor *v, struct slice bytes, int64_t deadline_ns) {
    while (bytes.len > 0) {
        ssize_t n =
            v->tls != NULL ? tls_send(v->tls, bytes) : send(v->fd, bytes.data, bytes.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        bool again = v->tls != NULL ? n == TLS_AGAIN : n < 0 && (errno == EAGAIN || errno == EINTR);
        if (n < 0 && !again) return false;
        if (again && !wait_fd(v->fd, POLLOUT, deadline_ns)) return false;
        if (n > 0) bytes = slice_make(bytes.data + n, bytes.len - (size_t)n);
    }
    return true;
}

/* A client that is still sending would not read what it was told if the connection were simply closed. */
static void hear_out(struct visitor *v, int64_t deadline_ns) {
    uint8_t dropped[16 * 1024];
    if (v->tls == NULL) shutdown(v->fd, SHUT_WR);
    for (size_t total = 0; total < GOODBYE_BYTES;) {
        ssize_t n = receive(v, dropped, sizeof dropped);
        if (n == 0 || n == TLS_BROKEN) return;
        if (n == TLS_AGAIN && !wait_fd(v->fd, POLLIN, deadline_ns)) return;
        if (n > 0) total += (size_t)n;
    }
}

static void answer(struct visitor *v, const struct head *head, const struct front_refusal *why) {
    uint8_t random[8] = {0};
    result_ignore(random_bytes(random, sizeof random)); /* an id of zeros is harmless */
    BUF_AUTO(id, 64);
    hex_encode(slice_make(random, sizeof random), &id);
    BUF_AUTO(document, 4 * HEAD_MAX_BYTES);
    s3_error_xml(why->error, why->message, (struct slice){0}, buf_str(&id), &document);
    int status = s3_error_status(why->error);
    BUF_AUTO(text, 5 * HEAD_MAX_BYTES);
    buf_printf(&text, "HTTP/1.1 %d %s\r\nContent-Type: application/xml\r\nContent-Length: %zu\r\n", status,
               s3_error_code(why->error), document.len);
    buf_printf(&text, "x-amz-request-id: %s\r\nConnection: close\r\n", buf_str(&id));
    if (status == 503) buf_printf(&text, "Retry-After: %d\r\n", FRONT_RETRY_S);
    buf_append_str(&text, "\r\n");
    if (strcmp(head->method, "HEAD") != 0) buf_append_slice(&text, buf_slice(&document));
    int64_t deadline = clock_boottime_ns() + GOODBYE_MS * NS_PER_MS;
    if (send_all(v, buf_slice(&text), deadline)) hear_out(v, deadline);
}

/* ---- From the first head to a gateway ---- */

/* Everything up to the end of the first head, and perhaps more, is in v->head. False: there is no such end. */
static bool read_head(struct visitor *v, int64_t deadline_ns, size_t *ret_end) {
    uint8_t some[16 * 1024];
    size_t seen = 0;
    while ((*ret_end = head_end(buf_slice(&v->head), seen)) == 0) {
        seen = v->head.len;
        size_t room = HEAD_MAX_BYTES - v->head.len;
        if (room == 0) return true; /* too long: *ret_end stays 0 */
        ssize_t n = receive(v, some, room < sizeof some ? room : sizeof some);
        if (n == 0 || n == TLS_BROKEN) return false;
        if (n == TLS_AGAIN && !wait_fd(v->fd, POLLIN, deadline_ns)) return false;
        if (clock_boottime_ns() > deadline_ns) return false;
        if (n > 0) buf_append(&v->head, some, (size_t)n);
    }
    return true;
}

/* Whose request is it? False: nobody's, and why. */
static bool find_org(struct visitor *v, const struct head *head, struct front_refusal *why) {
    AUTO(registry_s3_key_done) struct registry_s3_key key = {0};
    switch (head->auth) {
    case HEAD_NO_AUTH:
        front_refuse(why, S3_ERR_ACCESS_DENIED, "Anonymous requests are not served.");
        return false;
    case HEAD_OTHER_SCHEME:
        front_refuse(why, S3_ERR_INVALID_REQUEST,
                     "Only AWS4-HMAC-SHA256 is served (in boto3: signature_version='s3v4').");
        return false;
    case HEAD_MALFORMED:
        front_refuse(why, S3_ERR_AUTH_HEADER_MALFORMED, "There is no access key id in the authorization.");
        return false;
    case HEAD_KEY:
        break;
    }
    struct result r = registry_get_s3_key(v->front->o.registry, head->access_key_id, &key);
    if (is_ok(r) && strcmp(key.region, v->front->o.region) != 0) {
        front_refuse(why, S3_ERR_INVALID_ACCESS_KEY, "This access key belongs to the region %s; this is %s.",
                     key.region, v->front->o.region);
        return false;
    }
    if (is_err(r)) {
        if (r.code != ERR_NOT_FOUND) log_error("s3_key.not_read", KV("detail", err_detail()));
        front_refuse(why, r.code == ERR_NOT_FOUND ? S3_ERR_INVALID_ACCESS_KEY : S3_ERR_SERVICE_UNAVAILABLE, "%s", "");
        return false;
    }
    if (note_org(v, key.org)) return true;
    front_refuse(why, S3_ERR_SLOW_DOWN, "This organization has %d connections already.", ORG_CONNECTIONS_MAX);
    return false;
}

enum activation { ACTIVE, REFUSED, NOT_ASKED };

/* Has the organization's gateway started, if it isn't running. NOT_ASKED: the keyring can't be reached. */
static enum activation activate(struct front *f, const char *org, unsigned timeout_ms, struct front_refusal *why) {
    JSON_AUTO(known);
    JSON_AUTO(answer);
    JSON_AUTO(request);
    known = keylink_state(f->o.keylink, org);
    if (known != NULL && front_judge(known, why)) return REFUSED;
    request = json_pack("{s:s, s:s, s:s, s:b}", "op", "activate", "org", org, "region", f->o.region, "gateway", 1);
    if (is_err(keylink_call(f->o.keylink, request, timeout_ms, &answer))) {
        front_refuse(why, S3_ERR_SERVICE_UNAVAILABLE, "The keys can't be asked for now. Try again.");
        return NOT_ASKED;
    }
    if (json_is_true(json_object_get(answer, "ok"))) return ACTIVE;
    const json_t *state = json_object_get(answer, "state");
    if (state == NULL || !front_judge(state, why))
        front_refuse(why, S3_ERR_SERVICE_UNAVAILABLE, "This bucket's gateway could not be started. Try again.");
    return REFUSED;
}

static int connect_gateway(const struct front *f, const char *org) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int n = snprintf(address.sun_path, sizeof address.sun_path, "%s/run/%s@%s", f->o.config->data, org, f->o.region);
    if (n < 0 || (size_t)n >= sizeof address.sun_path) return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    const struct timeval patience = {.tv_sec = 5};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* of connect, too */
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    close(fd);
    return -1;
}

static int open_gateway(struct visitor *v, struct front_refusal *why) {
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        enum activation a = activate(v->front, v->org, ACTIVATE_MS, why);
        if (a == REFUSED) return -1;
        /* Without a keyring too: a gateway that runs has a lease still, or refuses by itself. */
        int fd = connect_gateway(v->front, v->org);
        if (fd >= 0) return fd;
        if (a == NOT_ASKED) return -1;
        poll(NULL, 0, 100 << attempt); /* it has just gone: the keyring is about to hear of it */
    }
    front_refuse(why, S3_ERR_SERVICE_UNAVAILABLE, "This bucket's gateway can't be reached. Try again.");
    return -1;
}

static void serve(struct visitor *v) {
    int64_t deadline = clock_boottime_ns() + HEAD_MS * NS_PER_MS;
    if (v->front->o.tls != NULL && is_err(tls_accept(v->front->o.tls, v->fd, deadline, &v->tls))) return;
    size_t end;
    struct head head = {0};
    struct front_refusal why = {0};
    if (!read_head(v, deadline, &end)) return;
    if (end == 0) {
        front_refuse(&why, S3_ERR_INVALID_REQUEST, "The headers have over %d bytes.", HEAD_MAX_BYTES);
    } else if (is_err(head_parse(slice_make(v->head.data, end), &head))) {
        front_refuse(&why, S3_ERR_INVALID_REQUEST, "This is no request of HTTP/1.1.");
    }
    if (why.error != S3_ERROR_NONE) {
        answer(v, &head, &why);
        return;
    }
    int gateway_fd = find_org(v, &head, &why) ? open_gateway(v, &why) : -1;
    if (gateway_fd < 0) {
        answer(v, &head, &why);
        return;
    }
    note_gateway(v, true);
    pump_run(&(struct pump){.client_fd = v->fd,
                            .gateway_fd = gateway_fd,
                            .tls = v->tls,
                            .first = buf_slice(&v->head),
                            .moved_ns = &v->moved_ns,
                            .idle_s = IDLE_S});
    close(gateway_fd);
}

static void *serve_visitor(void *arg) {
    serve(arg);
    leave(arg);
    return NULL;
}

/* ---- Threads ---- */

static void receive_visitor(struct front *f, int fd, const pthread_attr_t *attributes) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct visitor *v = mem_alloc(sizeof *v);
    v->front = f;
    v->fd = fd;
    atomic_init(&v->moved_ns, clock_boottime_ns());
    buf_init_wiping(&v->head, HEAD_MAX_BYTES);
    add(v);
    pthread_t thread;
    if (pthread_create(&thread, attributes, serve_visitor, v) != 0) {
        log_error("front.no_thread");
        leave(v);
    }
}

/* Connections that were told to leave need a moment; until then no further ones are taken. */
static bool is_crowded(struct front *f) {
    pthread_mutex_lock(&f->lock);
    bool crowded = f->count > CONNECTIONS_MAX + CONNECTIONS_MAX / 8;
    pthread_mutex_unlock(&f->lock);
    return crowded;
}

static void *take_visitors(void *arg) {
    struct front *f = arg;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (;;) {
        if (is_crowded(f)) {
            poll(NULL, 0, ACCEPT_PAUSE_MS);
            continue;
        }
        int fd = accept4(f->o.listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            receive_visitor(f, fd, &attributes);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            log_warn("front.no_room");
            poll(NULL, 0, ACCEPT_PAUSE_MS);
        } else if (errno == EAGAIN) {
            struct pollfd polled = {f->o.listen_fd, POLLIN, 0};
            poll(&polled, 1, -1);
        }
    }
    return NULL;
}

/* An organization for which bytes moved since the keyring was last told; false: none. */
static bool next_busy_org(struct front *f, char ret[static REGISTRY_ID_BYTES]) {
    bool found = false;
    pthread_mutex_lock(&f->lock);
    for (struct visitor *v = f->visitors; v != NULL; v = v->next) {
        int64_t moved = atomic_load(&v->moved_ns);
        if (!v->has_gateway || moved == v->kept_ns) continue;
        if (!found) snprintf(ret, REGISTRY_ID_BYTES, "%s", v->org);
        found = true;
        if (strcmp(ret, v->org) == 0) v->kept_ns = moved;
    }
    pthread_mutex_unlock(&f->lock);
    return found;
}

/* The keyring ends the processes of organizations that nobody uses: tells it who is used. */
static void *keep_busy_orgs(void *arg) {
    struct front *f = arg;
    int64_t pause_ms = f->o.config->engine_idle_timeout_ms / 4;
    if (pause_ms > KEEP_MAX_MS) pause_ms = KEEP_MAX_MS;
    for (;;) {
        poll(NULL, 0, (int)pause_ms);
        char org[REGISTRY_ID_BYTES];
        struct front_refusal ignored;
        while (next_busy_org(f, org))
            (void)activate(f, org, KEEP_CALL_MS, &ignored);
    }
    return NULL;
}

struct result front_start(const struct front_options *options) {
    struct front *f = mem_alloc(sizeof *f);
    f->o = *options;
    pthread_mutex_init(&f->lock, NULL);
    pthread_t taker, keeper;
    int error = pthread_create(&keeper, NULL, keep_busy_orgs, f);
    if (error == 0) error = pthread_create(&taker, NULL, take_visitors, f);
    return error == 0 ? OK : err_from_errno(error, "pthread_create");
}
