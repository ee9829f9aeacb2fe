#include "keyring/meter.h"

void meter_count(struct meter *m, enum kms_operation operation, const struct kms_answer *answer) {
    if (!m) return;
    atomic_fetch_add(&m->calls[operation][answer->error], 1);
    atomic_fetch_add(&m->requests, answer->attempts);
}

json_t *meter_to_json(const struct meter *m) {
    json_t *calls = json_object();
    for (int o = 0; o < KMS_OPERATION_MAX; o++) {
        json_t *outcomes = json_object();
        for (int e = 0; e < KMS_ERROR_MAX; e++) {
            uint64_t n = atomic_load(&m->calls[o][e]);
            if (n) json_object_set_new(outcomes, kms_error_name((enum kms_error)e), json_integer((json_int_t)n));
        }
        json_object_set_new(calls, kms_operation_name((enum kms_operation)o), outcomes);
    }
    json_t *all = json_object();
    json_object_set_new(all, "requests", json_integer((json_int_t)atomic_load(&m->requests)));
    json_object_set_new(all, "calls", calls);
    json_object_set_new(all, "granted", json_integer((json_int_t)atomic_load(&m->granted)));
    json_object_set_new(all, "ended", json_integer((json_int_t)atomic_load(&m->ended)));
    json_object_set_new(all, "recovered", json_integer((json_int_t)atomic_load(&m->recovered)));
    json_object_set_new(all, "purges", json_integer((json_int_t)atomic_load(&m->purges)));
    json_object_set_new(all, "cache_hits", json_integer((json_int_t)atomic_load(&m->cache_hits)));
    json_object_set_new(all, "cache_misses", json_integer((json_int_t)atomic_load(&m->cache_misses)));
    json_object_set_new(all, "streams_cut", json_integer((json_int_t)atomic_load(&m->streams_cut)));
    return all;
}
