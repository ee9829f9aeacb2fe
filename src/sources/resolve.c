#include "sources/resolve.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

enum { LOOK_EVERY_MS = 20, STACK_BYTES = 256 * 1024 };

struct lookup {
    pthread_mutex_t mutex;
    pthread_cond_t done_cond;
    bool done, abandoned; /* whoever comes second frees it */
    resolve_function *function;
    char *node, *service;
    struct addrinfo hints;
    int status;
    struct addrinfo *found;
};

static void lookup_free(struct lookup *l) {
    if (l->found) freeaddrinfo(l->found);
    mem_free(l->node);
    mem_free(l->service);
    pthread_cond_destroy(&l->done_cond);
    pthread_mutex_destroy(&l->mutex);
    mem_free(l);
}

static void *lookup_main(void *argument) {
    struct lookup *l = argument;
    struct addrinfo *found = NULL;
    int status = l->function(l->node, l->service, &l->hints, &found);
    pthread_mutex_lock(&l->mutex);
    l->status = status;
    l->found = status == 0 ? found : NULL;
    l->done = true;
    bool abandoned = l->abandoned;
    pthread_cond_signal(&l->done_cond);
    pthread_mutex_unlock(&l->mutex);
    if (abandoned) lookup_free(l);
    return NULL;
}

static struct lookup *lookup_start(resolve_function *function, const char *node, const char *service,
                                   const struct addrinfo *hints) {
    struct lookup *l = mem_alloc(sizeof *l);
    l->function = function;
    l->node = str_dup(node);
    l->service = str_dup(service);
    if (hints)
        l->hints = (struct addrinfo){.ai_flags = hints->ai_flags,
                                     .ai_family = hints->ai_family,
                                     .ai_socktype = hints->ai_socktype,
                                     .ai_protocol = hints->ai_protocol};
    pthread_mutex_init(&l->mutex, NULL);
    pthread_cond_init(&l->done_cond, NULL);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_t thread;
    int e = pthread_create(&thread, &attributes, lookup_main, l);
    pthread_attr_destroy(&attributes);
    if (e == 0) return l;
    lookup_free(l);
    return NULL;
}

int resolve(resolve_function *function, const char *node, const char *service, const struct addrinfo *hints,
            int64_t timeout_ms, const _Atomic bool *giving_up, struct addrinfo **ret) {
    struct lookup *l = lookup_start(function, node, service, hints);
    if (!l) return EAI_MEMORY;
    int64_t deadline = clock_boottime_ns() + timeout_ms * NS_PER_MS;
    pthread_mutex_lock(&l->mutex);
    while (!l->done && !(giving_up && atomic_load(giving_up)) && clock_boottime_ns() < deadline) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        int64_t ns = until.tv_nsec + LOOK_EVERY_MS * NS_PER_MS;
        until.tv_sec += (time_t)(ns / NS_PER_S);
        until.tv_nsec = (long)(ns % NS_PER_S);
        pthread_cond_timedwait(&l->done_cond, &l->mutex, &until);
    }
    bool done = l->done;
    l->abandoned = !done;
    int status = done ? l->status : EAI_AGAIN;
    if (done && status == 0) *ret = TAKE(l->found);
    pthread_mutex_unlock(&l->mutex);
    if (done) lookup_free(l);
    return status;
}
