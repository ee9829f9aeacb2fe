/* The thread that wipes a cache's keys in time: called at each quarter's beginning, on CLOCK_BOOTTIME, so that a
 * machine that slept wipes what is due as soon as it wakes. */
#ifndef LOCKSET_STORE_CACHE_PRIV_H
#define LOCKSET_STORE_CACHE_PRIV_H

#include <pthread.h>

#include "base/err.h"

struct cache_waker {
    int fd, stop_fd; /* timer; event; -1: not started */
    pthread_t thread;
    void (*tick)(void *arg);
    void *arg;
};

struct result cache_waker_start(struct cache_waker *w, int64_t first_boottime_ns, int64_t interval_ns,
                                void (*tick)(void *arg), void *arg);
/* Waits for the thread; harmless if it was not started. */
void cache_waker_stop(struct cache_waker *w);

#endif
