#include "sources/postgres_resolve.h"

#include <netdb.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"

enum { LOOK_MS = 50 };

/* Shared by the caller and the thread; whoever is last frees it. */
struct lookup {
    pthread_mutex_t lock;
    pthread_cond_t done_changed;
    bool is_done, is_abandoned;
    int error; /* getaddrinfo's */
    struct resolved found;
    char *host;
};

static void lookup_free(struct lookup *l) {
    pthread_cond_destroy(&l->done_changed);
    pthread_mutex_destroy(&l->lock);
    mem_free(l->host);
    mem_free(l);
}

static int look_up(const char *host, struct resolved *found) {
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int error = getaddrinfo(host, NULL, &hints, &list);
    if (error) return error;
    for (const struct addrinfo *a = list; a && found->count < RESOLVE_MAX_ADDRESSES; a = a->ai_next)
        if (getnameinfo(a->ai_addr, a->ai_addrlen, found->addresses[found->count], RESOLVE_ADDRESS_BYTES, NULL, 0,
                        NI_NUMERICHOST) == 0)
            found->count++;
    freeaddrinfo(list);
    return 0;
}

static void *lookup_run(void *context) {
    struct lookup *l = context;
    struct resolved found = {0};
    int error = look_up(l->host, &found);
    pthread_mutex_lock(&l->lock);
    l->error = error;
    l->found = found;
    l->is_done = true;
    bool is_mine = l->is_abandoned;
    pthread_cond_signal(&l->done_changed);
    pthread_mutex_unlock(&l->lock);
    if (is_mine) lookup_free(l);
    return NULL;
}

static struct result lookup_start(struct lookup *l) {
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int error = pthread_create(&thread, &attributes, lookup_run, l);
    pthread_attr_destroy(&attributes);
    return error ? err_from_errno(error, "a thread to look up a host") : OK;
}

/* Waits for a moment; is the thread done? */
static bool lookup_wait(struct lookup *l) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += LOOK_MS * NS_PER_MS;
    if (until.tv_nsec >= NS_PER_S) {
        until.tv_sec++;
        until.tv_nsec -= NS_PER_S;
    }
    pthread_mutex_lock(&l->lock);
    if (!l->is_done) pthread_cond_timedwait(&l->done_changed, &l->lock, &until);
    bool is_done = l->is_done;
    pthread_mutex_unlock(&l->lock);
    return is_done;
}

/* The thread still runs and frees it, unless it ended this very moment. */
static void lookup_abandon(struct lookup *l) {
    pthread_mutex_lock(&l->lock);
    bool is_done = l->is_done;
    l->is_abandoned = true;
    pthread_mutex_unlock(&l->lock);
    if (is_done) lookup_free(l);
}

struct result resolve_host(const char *host, int64_t timeout_ms, const _Atomic bool *cancelled, struct resolved *ret) {
    struct lookup *l = mem_alloc(sizeof *l);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->done_changed, NULL);
    l->host = str_dup(host);
    struct result r = lookup_start(l);
    if (is_err(r)) {
        lookup_free(l);
        return r;
    }
    int64_t deadline = clock_boottime_ns() + timeout_ms * NS_PER_MS;
    while (!lookup_wait(l)) {
        bool is_cancelled = cancelled && atomic_load(cancelled);
        if (!is_cancelled && clock_boottime_ns() < deadline) continue;
        lookup_abandon(l);
        if (is_cancelled) FAIL(ERR_CANCELLED, "looking up a host was cancelled");
        FAIL(ERR_TIMEOUT, "the name of host %.100s was not found out in time", host);
    }
    int error = l->error;
    *ret = l->found;
    lookup_free(l);
    CHECK(!error && ret->count, ERR_UNREACHABLE, "no address of host %.100s: %s", host,
          error ? gai_strerror(error) : "none was found");
    return OK;
}
