#include "keyring/cost.h"

#include "base/clock.h"

/* Nine tenths come in evenly; a twentieth may be saved up, for what comes at once: starting, checking, coming back. */
static const double steady = 0.9, saved = 0.05;
enum { FEW_CALLS = 20, WAIT_MIN_MS = 1000 };

const char *cost_cause_name(enum cost_cause cause) {
    static const char *const names[] = {"probe", "full_check", "preflight", "check", "unwrap", "new_key"};
    return names[cause];
}

void cost_init(struct cost *c, int64_t cap, int64_t now_ns) {
    c->begun_ns = c->at_ns = now_ns;
    c->per_ns = (double)cap * steady / (3600.0 * NS_PER_S);
    c->most = (double)cap * saved;
    /* A process that is started again and again begins with little each time. */
    c->tokens = c->most < FEW_CALLS ? c->most : FEW_CALLS;
}

void cost_count(struct cost *c, enum cost_cause cause, enum kms_operation operation, unsigned requests) {
    if (!c) return;
    atomic_fetch_add(&c->calls[cause][operation], requests);
    atomic_fetch_add(&c->all, requests);
}

int64_t cost_wait_ns(struct cost *c, int64_t now_ns) {
    uint64_t all = atomic_load(&c->all);
    c->tokens += (double)(now_ns - c->at_ns) * c->per_ns;
    if (c->tokens > c->most) c->tokens = c->most;
    c->tokens -= (double)(all - c->taken);
    c->at_ns = now_ns;
    c->taken = all;
    if (c->tokens >= 1) return 0;
    int64_t wait_ns = (int64_t)((1 - c->tokens) / c->per_ns);
    return wait_ns > WAIT_MIN_MS * NS_PER_MS ? wait_ns : WAIT_MIN_MS * NS_PER_MS;
}

json_t *cost_to_json(const struct cost *c) {
    json_t *all = json_object();
    for (int cause = 0; cause < COST_CAUSES; cause++) {
        json_t *calls = json_object();
        for (int o = 0; o < KMS_OPERATION_MAX; o++) {
            uint64_t n = atomic_load(&c->calls[cause][o]);
            if (n) json_object_set_new(calls, kms_operation_name((enum kms_operation)o), json_integer((json_int_t)n));
        }
        if (json_object_size(calls) > 0)
            json_object_set_new(all, cost_cause_name((enum cost_cause)cause), calls);
        else
            json_decref(calls);
    }
    return all;
}
