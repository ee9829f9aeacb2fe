#include "engine/watch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

/* A KILL that came before the statement had begun found nothing: it is sent again. */
enum { LOOK_EVERY_MS = 50, KILL_AGAIN_MS = 400, KILL_QUEUE = 256 };

struct watch {
    struct instance *instance;
    int statm_fd;
    uint64_t memory_bytes;
    atomic_ullong last_id;
    pthread_mutex_t lock;
    pthread_cond_t kill_wanted;
    struct watch_item *items;
    uint64_t kills[KILL_QUEUE]; /* ring: ids for the killer thread */
    size_t kill_begin, kill_count;
};

uint64_t watch_new_id(struct watch *w) {
    return atomic_fetch_add(&w->last_id, 1) + 1;
}

void watch_add(struct watch *w, struct watch_item *item) {
    pthread_mutex_lock(&w->lock);
    item->previous = NULL;
    item->next = w->items;
    if (item->next) item->next->previous = item;
    w->items = item;
    pthread_mutex_unlock(&w->lock);
}

void watch_remove(struct watch *w, struct watch_item *item) {
    pthread_mutex_lock(&w->lock);
    if (item->previous)
        item->previous->next = item->next;
    else
        w->items = item->next;
    if (item->next) item->next->previous = item->previous;
    pthread_mutex_unlock(&w->lock);
}

void watch_idle(struct watch *w, struct watch_item *item, bool is_idle) {
    int64_t now = clock_boottime_ns();
    pthread_mutex_lock(&w->lock);
    item->is_idle = is_idle;
    if (!is_idle && item->deadline_ns < now) item->deadline_ns = now;
    pthread_mutex_unlock(&w->lock);
}

static bool client_is_gone(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    return fd >= 0 && poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static void look_at_statements(struct watch *w) {
    int64_t now = clock_boottime_ns();
    pthread_mutex_lock(&w->lock);
    for (struct watch_item *i = w->items; i; i = i->next) {
        bool is_late = now >= i->deadline_ns + WATCH_GRACE_MS * NS_PER_MS;
        if (i->is_idle) {
            if (is_late && i->client_fd >= 0) shutdown(i->client_fd, SHUT_RDWR);
            continue;
        }
        if (is_late) {
            log_error("engine.statement_stuck", KVI("statement", i->id),
                      KVI("past_ms", (now - i->deadline_ns) / NS_PER_MS));
            _exit(WATCH_EXIT_DEADLINE);
        }
        if (now < i->next_kill_ns || !(now >= i->deadline_ns || client_is_gone(i->client_fd))) continue;
        if (w->kill_count == KILL_QUEUE) continue;
        i->killed = true;
        i->next_kill_ns = now + KILL_AGAIN_MS * NS_PER_MS;
        w->kills[(w->kill_begin + w->kill_count++) % KILL_QUEUE] = i->id;
        pthread_cond_signal(&w->kill_wanted);
    }
    pthread_mutex_unlock(&w->lock);
}

static void look_at_memory(struct watch *w) {
    char text[128];
    if (w->statm_fd < 0) return;
    ssize_t n = pread(w->statm_fd, text, sizeof(text) - 1, 0);
    if (n <= 0) return;
    text[n] = 0;
    char *end;
    strtoull(text, &end, 10);
    unsigned long long resident = strtoull(end, &end, 10), shared = strtoull(end, NULL, 10);
    /* The library's own pages are shared with other engines and can be dropped: they don't count. */
    uint64_t own = (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
    if (resident <= shared || own <= w->memory_bytes) return;
    log_error("engine.memory_exceeded", KVI("bytes", own), KVI("limit", w->memory_bytes));
    _exit(WATCH_EXIT_MEMORY);
}

__attribute__((noreturn)) static void *run_watch(void *arg) {
    for (;;) {
        clock_sleep_ms(LOOK_EVERY_MS);
        look_at_statements(arg);
        look_at_memory(arg);
    }
}

/* In a thread of its own: were KILL to hang, deadlines would still be kept. */
__attribute__((noreturn)) static void *run_killer(void *arg) {
    struct watch *w = arg;
    for (;;) {
        pthread_mutex_lock(&w->lock);
        while (w->kill_count == 0) {
            pthread_cond_wait(&w->kill_wanted, &w->lock);
        }
        uint64_t id = w->kills[w->kill_begin];
        w->kill_begin = (w->kill_begin + 1) % KILL_QUEUE;
        w->kill_count--;
        pthread_mutex_unlock(&w->lock);
        char sql[128];
        snprintf(sql, sizeof(sql), "KILL QUERY WHERE Settings['log_comment'] = 'lockset-%llu' ASYNC",
                 (unsigned long long)id);
        BUF_AUTO(answer, 65536);
        /* Not finding it is the usual race with its end; the deadline stands behind a KILL that fails. */
        result_ignore(instance_ask(w->instance, sql, "Null", &answer));
    }
}

static struct result start_thread(void *(*run)(void *), void *arg) {
    pthread_t thread;
    int error = pthread_create(&thread, NULL, run, arg);
    if (error) return err_from_errno(error, "starting a thread");
    pthread_detach(thread);
    return OK;
}

struct result watch_start(struct instance *i, int statm_fd, uint64_t memory_bytes, struct watch **ret) {
    struct watch *w = mem_alloc(sizeof(*w));
    w->instance = i;
    w->statm_fd = statm_fd;
    w->memory_bytes = memory_bytes;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->kill_wanted, NULL);
    TRY(start_thread(run_watch, w));
    TRY(start_thread(run_killer, w));
    *ret = w;
    return OK;
}
