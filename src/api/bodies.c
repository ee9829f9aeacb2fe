#include "api/bodies.h"

#include <pthread.h>
#include <time.h>

enum { ALL_MAX_BYTES = 256 << 20, ONE_MAX_BYTES = 128 << 20, WAIT_S = 3, RETRY_AFTER_S = 1 };

struct bodies {
    pthread_mutex_t lock;
    pthread_cond_t freed;
    size_t held; /* and what each tenant holds (tenant_body_bytes) */
};

/* A request's room; kept with the request. */
struct room {
    size_t bytes;
    size_t *of_one; /* its organization's sum; NULL: the operator's */
};

struct bodies *bodies_new(void) {
    struct bodies *b = mem_alloc(sizeof *b);
    pthread_mutex_init(&b->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&b->freed, &attributes);
    pthread_condattr_destroy(&attributes);
    return b;
}

/* Lock held, but while it waits. */
static bool wait_for_room(struct bodies *b, const size_t *of_one, size_t bytes) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += WAIT_S;
    while (b->held + bytes > ALL_MAX_BYTES || (of_one && *of_one + bytes > ONE_MAX_BYTES))
        if (pthread_cond_timedwait(&b->freed, &b->lock, &until) != 0) return false;
    return true;
}

struct result bodies_take(struct call *c, size_t bytes) {
    struct bodies *b = c->api->bodies;
    struct room *room = mem_alloc(sizeof *room);
    *room = (struct room){bytes, c->key.org ? tenant_body_bytes(call_tenant(c)) : NULL};
    pthread_mutex_lock(&b->lock);
    bool fits = wait_for_room(b, room->of_one, bytes);
    if (fits) b->held += bytes;
    if (fits && room->of_one) *room->of_one += bytes;
    pthread_mutex_unlock(&b->lock);
    if (fits) {
        http_set_user(c->http, room);
        return OK;
    }
    mem_free(room);
    return refuse(&c->why, ERR_BUSY, 429, "RATELIMITEXCEEDED", RETRY_AFTER_S,
                  "Too many large requests at once. Nothing of this one was read: send it again in a moment, or fewer "
                  "side by side.");
}

void bodies_give_back(struct api *api, struct http_request *r) {
    struct room *room = http_user(r);
    if (!room) return;
    pthread_mutex_lock(&api->bodies->lock);
    api->bodies->held -= room->bytes;
    if (room->of_one) *room->of_one -= room->bytes;
    pthread_cond_broadcast(&api->bodies->freed);
    pthread_mutex_unlock(&api->bodies->lock);
    mem_free(room);
}
