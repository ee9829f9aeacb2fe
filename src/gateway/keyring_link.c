#include "gateway/keyring_link.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "keys/deadman.h"
#include "keys/wire.h"

enum { FETCH_TIMEOUT_S = 10, SEND_TIMEOUT_MS = 1000, REFUSALS_GAP_MS = 1000 };

/* A thread that waits for a branch; lives on its stack. */
struct fetch {
    uint8_t id[WIRE_ID_BYTES];
    bool answered;
    enum err_code code;
    struct fetch *next;
};

struct keyring_link {
    int fd;
    struct lease *lease;
    pthread_mutex_t lock; /* everything below */
    pthread_cond_t changed;
    bool has_names, has_active, has_expiry, gone;
    int64_t refused_ns; /* when the keyring was last told so; 0: never */
    struct fetch *fetches;
};

static void answer_fetches(struct keyring_link *k, const uint8_t *id, enum err_code code) {
    pthread_mutex_lock(&k->lock);
    for (struct fetch *f = k->fetches; f != NULL; f = f->next) {
        if (f->answered || !slice_equal(slice_make(f->id, sizeof f->id), slice_make(id, sizeof f->id))) continue;
        f->answered = true;
        f->code = code;
    }
    pthread_cond_broadcast(&k->changed);
    pthread_mutex_unlock(&k->lock);
}

static void note(struct keyring_link *k, bool *flag) {
    pthread_mutex_lock(&k->lock);
    *flag = true;
    pthread_cond_broadcast(&k->changed);
    pthread_mutex_unlock(&k->lock);
}

static struct result arm(struct keyring_link *k, int64_t expiry_boottime_ns) {
    /* The kernel's timer first: should anything fail in between, the process ends in time all the same. */
    TRY(deadman_arm(expiry_boottime_ns));
    lease_arm(k->lease, expiry_boottime_ns);
    note(k, &k->has_expiry);
    return OK;
}

/* Tells what was wiped: the keyring writes it down. It is gone all the same if nobody listens. */
static _Noreturn void end(struct keyring_link *k) {
    struct lease_wiped w = lease_end_counted(k->lease);
    const struct wire_wiped told = {.branch_keys = w.branch_keys,
                                    .name_keys = w.name_keys,
                                    .streams = w.ciphers,
                                    .namers = w.namers,
                                    .epoch_keys = w.epoch_keys,
                                    .unix_ms = clock_unix_ms(),
                                    .boottime_ns = clock_boottime_ns()};
    result_ignore(wire_send_ended(k->fd, &told, 0));
    _exit(0);
}

static struct result obey(struct keyring_link *k, const struct wire_message *m) {
    switch (m->type) {
    case WIRE_ARM:
        return arm(k, m->expiry_boottime_ns);
    case WIRE_BRANCH:
        TRY(lease_set_branch(k->lease, m->id, secret_view(&m->key)));
        answer_fetches(k, m->id, ERR_NONE);
        return OK;
    case WIRE_ACTIVE:
        TRY(lease_set_active(k->lease, m->id));
        note(k, &k->has_active);
        return OK;
    case WIRE_NAMES:
        TRY(lease_set_names(k->lease, secret_view(&m->key)));
        note(k, &k->has_names);
        return OK;
    case WIRE_NO_BRANCH:
        answer_fetches(k, m->id, m->code);
        return OK;
    case WIRE_END:
        end(k);
    case WIRE_RETIRE: /* an engine's */
    case WIRE_READY:
    case WIRE_NEED_BRANCH:
    case WIRE_ENDED:
    case WIRE_KEY_REFUSED:
    case WIRE_CACHE_USED:
        break;
    }
    FAIL(ERR_PEER, "the keyring sent a message that only a gateway sends");
}

static void *read_orders(void *arg) {
    struct keyring_link *k = arg;
    for (;;) {
        AUTO(wire_message_done) struct wire_message m = {0};
        struct result r = wire_receive(k->fd, -1, &m);
        if (is_err(r) && r.code != ERR_PEER && r.code != ERR_TIMEOUT) break;
        if (is_ok(r)) r = obey(k, &m);
        if (is_err(r) && r.code != ERR_TIMEOUT)
            log_error("keyring.order_refused", KV("error", err_name(r.code)), KV("detail", err_detail()));
    }
    log_warn("keyring.gone", KV("detail", err_detail()));
    note(k, &k->gone);
    return NULL;
}

static void forget(struct keyring_link *k, struct fetch *gone) {
    for (struct fetch **p = &k->fetches; *p != NULL; p = &(*p)->next)
        if (*p == gone) {
            *p = gone->next;
            return;
        }
}

/* Waits for the answer; k->lock is held. */
static enum err_code wait_answer(struct keyring_link *k, struct fetch *f) {
    struct timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += FETCH_TIMEOUT_S;
    while (!f->answered && !k->gone)
        if (pthread_cond_timedwait(&k->changed, &k->lock, &deadline) == ETIMEDOUT) break;
    return f->answered ? f->code : ERR_UNREACHABLE;
}

static struct result fetch_branch(void *arg, const uint8_t id[static LEASE_BRANCH_ID_BYTES]) {
    struct keyring_link *k = arg;
    struct fetch f = {0};
    mem_copy(f.id, id, sizeof f.id);
    pthread_mutex_lock(&k->lock);
    f.next = k->fetches;
    k->fetches = &f;
    pthread_mutex_unlock(&k->lock);
    struct result sent = wire_send_need_branch(k->fd, id, SEND_TIMEOUT_MS);
    pthread_mutex_lock(&k->lock);
    enum err_code code = is_ok(sent) ? wait_answer(k, &f) : ERR_UNREACHABLE;
    forget(k, &f);
    pthread_mutex_unlock(&k->lock);
    if (code == ERR_NONE) return OK;
    CHECK(code != ERR_NOT_FOUND && code != ERR_CORRUPT, code, "the keyring has no such branch key");
    /* Whatever else it is, the key can't be had now: S3 clients must see a refusal, not an error to repeat. */
    FAIL(ERR_NO_LEASE, "the keyring can't unwrap an older branch key now (%s)", err_name(code));
}

bool keyring_link_key_refused(struct keyring_link *k, enum wire_refusal reason) {
    int64_t now = clock_boottime_ns();
    pthread_mutex_lock(&k->lock);
    bool is_due = k->refused_ns == 0 || now - k->refused_ns >= REFUSALS_GAP_MS * NS_PER_MS;
    if (is_due) k->refused_ns = now;
    pthread_mutex_unlock(&k->lock);
    if (is_due && is_err(wire_send_key_refused(k->fd, reason, SEND_TIMEOUT_MS)))
        log_warn("keyring.not_told", KV("detail", err_detail()));
    return is_due;
}

struct result keyring_link_start(int fd, struct lease *lease, struct keyring_link **ret) {
    struct keyring_link *k = mem_alloc(sizeof *k);
    k->fd = fd;
    k->lease = lease;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&k->lock, NULL);
    pthread_cond_init(&k->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    lease_set_fetch(lease, fetch_branch, k);
    pthread_t thread;
    int error = pthread_create(&thread, NULL, read_orders, k);
    if (error != 0) {
        mem_free(k);
        return err_from_errno(error, "pthread_create");
    }
    pthread_detach(thread);
    *ret = k;
    return OK;
}

struct result keyring_link_wait(struct keyring_link *k) {
    pthread_mutex_lock(&k->lock);
    while (!k->gone && !(k->has_names && k->has_active && k->has_expiry))
        pthread_cond_wait(&k->changed, &k->lock);
    bool complete = k->has_names && k->has_active && k->has_expiry;
    pthread_mutex_unlock(&k->lock);
    CHECK(complete, ERR_UNREACHABLE, "the keyring is gone before it handed over the keys");
    return OK;
}
