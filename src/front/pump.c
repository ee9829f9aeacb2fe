#include "front/pump.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/secret.h"

enum { ROOM_BYTES = 128 * 1024 };

struct end {
    int fd;
    struct tls *tls; /* NULL: plain */
};

/* One way. */
struct way {
    const struct end *from, *to;
    uint8_t *room;
    size_t start, len; /* what waits to be sent */
    bool has_ended;    /* nothing more comes */
    bool was_told;     /* the other side knows that */
};

enum outcome { STUCK, MOVED, BROKEN };

static enum outcome fill(struct way *w) {
    ssize_t n;
    if (w->from->tls != NULL) {
        n = tls_receive(w->from->tls, w->room, ROOM_BYTES);
        if (n == TLS_AGAIN) return STUCK;
    } else {
        n = recv(w->from->fd, w->room, ROOM_BYTES, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return STUCK;
    }
    if (n < 0) return BROKEN;
    w->start = 0;
    w->len = (size_t)n;
    w->has_ended = n == 0;
    return MOVED;
}

static enum outcome drain(struct way *w) {
    struct slice bytes = slice_make(w->room + w->start, w->len);
    ssize_t n;
    if (w->to->tls != NULL) {
        n = tls_send(w->to->tls, bytes);
        if (n == TLS_AGAIN) return STUCK;
    } else {
        n = send(w->to->fd, bytes.data, bytes.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return STUCK;
    }
    if (n < 0) return BROKEN;
    w->start += (size_t)n;
    w->len -= (size_t)n;
    return MOVED;
}

static enum outcome step(struct way *w) {
    if (w->len > 0) return drain(w);
    if (!w->has_ended) return fill(w);
    if (w->was_told) return STUCK;
    w->was_told = true;
    /* A client that ends its side may still read its answer; over TLS that takes the whole connection down. */
    if (w->to->tls == NULL) shutdown(w->to->fd, SHUT_WR);
    return MOVED;
}

static short wanted(const struct way *w) {
    return w->len == 0 && !w->has_ended ? POLLIN : 0;
}

/* False: nothing came to pass for too long. */
static bool wait_for(const struct pump *p, const struct way *up, const struct way *down) {
    struct pollfd polled[2] = {
        {p->client_fd, (short)(wanted(up) | (down->len > 0 ? POLLOUT : 0)), 0},
        {p->gateway_fd, (short)(wanted(down) | (up->len > 0 ? POLLOUT : 0)), 0},
    };
    if (p->tls != NULL && wanted(up) && tls_has_pending(p->tls)) return true;
    /* An end that nobody waits for tells its death all the time: leave it out. */
    for (int i = 0; i < 2; i++)
        if (polled[i].events == 0) polled[i].fd = -1;
    int n = poll(polled, 2, (int)p->idle_s * 1000);
    return n > 0 || (n < 0 && errno == EINTR);
}

static void run(const struct pump *p, struct way *up, struct way *down) {
    for (;;) {
        enum outcome a = step(up), b = step(down);
        if (a == BROKEN || b == BROKEN) return;
        if (down->has_ended && down->len == 0) return; /* the gateway has said all it had to say */
        if (a == MOVED || b == MOVED) {
            atomic_store_explicit(p->moved_ns, clock_boottime_ns(), memory_order_relaxed);
            continue;
        }
        if (!wait_for(p, up, down)) return;
    }
}

void pump_run(const struct pump *p) {
    const struct end client = {p->client_fd, p->tls}, gateway = {p->gateway_fd, NULL};
    struct way up = {.from = &client, .to = &gateway, .room = mem_alloc(ROOM_BYTES)};
    struct way down = {.from = &gateway, .to = &client, .room = mem_alloc(ROOM_BYTES)};
    up.len = p->first.len; /* at most HEAD_MAX_BYTES: there is room */
    mem_copy(up.room, p->first.data, p->first.len);
    run(p, &up, &down);
    wipe(up.room, ROOM_BYTES);
    wipe(down.room, ROOM_BYTES);
    mem_free(up.room);
    mem_free(down.room);
}
