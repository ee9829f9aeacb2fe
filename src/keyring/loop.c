#include "keyring/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

struct loop_source {
    struct loop *loop;
    int fd;
    void (*ready)(void *arg, int fd);
    void (*writable)(void *arg, int fd);
    void *arg;
    bool is_dead;             /* forgotten; freed at the end of the step */
    struct loop_source *next; /* among the dead */
};

struct loop {
    int epoll_fd, wake_fd;
    struct loop_source *dead;
};

enum { BATCH = 64, LONGEST_WAIT_MS = 60000 };

struct result loop_new(struct loop **ret) {
    struct loop *l = mem_alloc(sizeof *l);
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN}; /* data NULL: the wake-up */
    if (l->epoll_fd < 0 || l->wake_fd < 0 || epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->wake_fd, &e) < 0) {
        int error = errno;
        if (l->epoll_fd >= 0) close(l->epoll_fd);
        if (l->wake_fd >= 0) close(l->wake_fd);
        mem_free(l);
        return err_from_errno(error, "making an event loop");
    }
    *ret = l;
    return OK;
}

struct result loop_watch(struct loop *l, int fd, void (*ready)(void *arg, int fd), void *arg,
                         struct loop_source **ret) {
    struct loop_source *s = mem_alloc(sizeof *s);
    *s = (struct loop_source){.loop = l, .fd = fd, .ready = ready, .arg = arg};
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0) {
        mem_free(s);
        return err_from_errno(errno, "watching a descriptor");
    }
    *ret = s;
    return OK;
}

struct result loop_watch_room(struct loop_source *s, void (*writable)(void *arg, int fd)) {
    struct epoll_event e = {.events = EPOLLIN | (writable ? EPOLLOUT : 0U), .data.ptr = s};
    if (epoll_ctl(s->loop->epoll_fd, EPOLL_CTL_MOD, s->fd, &e) < 0)
        return err_from_errno(errno, "watching a descriptor");
    s->writable = writable;
    return OK;
}

struct loop_source *loop_forget(struct loop_source *s) {
    if (!s || s->is_dead) return NULL;
    epoll_ctl(s->loop->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
    s->is_dead = true;
    s->next = s->loop->dead;
    s->loop->dead = s;
    return NULL;
}

static void dispatch(struct loop *l, const struct epoll_event *e) {
    struct loop_source *s = e->data.ptr;
    if (!s) {
        uint64_t count;
        while (read(l->wake_fd, &count, sizeof count) > 0)
            ;
        return;
    }
    if (!s->is_dead && (e->events & EPOLLOUT) && s->writable) s->writable(s->arg, s->fd);
    if (!s->is_dead && (e->events & ~(uint32_t)EPOLLOUT)) s->ready(s->arg, s->fd);
}

struct result loop_step(struct loop *l, int64_t wake_ns) {
    int64_t left_ms = LONGEST_WAIT_MS;
    int64_t now = clock_boottime_ns();
    if (wake_ns - now < LONGEST_WAIT_MS * NS_PER_MS) left_ms = (wake_ns - now + NS_PER_MS - 1) / NS_PER_MS;
    if (left_ms < 0) left_ms = 0;
    struct epoll_event events[BATCH];
    int n = epoll_wait(l->epoll_fd, events, BATCH, (int)left_ms);
    if (n < 0 && errno != EINTR) return err_from_errno(errno, "waiting for events");
    for (int i = 0; i < n; i++)
        dispatch(l, &events[i]);
    while (l->dead) {
        struct loop_source *s = l->dead;
        l->dead = s->next;
        mem_free(s);
    }
    return OK;
}

void loop_wake(struct loop *l) {
    uint64_t one = 1;
    if (write(l->wake_fd, &one, sizeof one) < 0) return; /* full: it is awake anyhow */
}
