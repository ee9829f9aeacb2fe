#include "keyring/limits.h"

struct result limits_check(const struct config *c) {
    bool probe_is_longer = c->key_probe_interval_ms > c->key_full_check_interval_ms;
    int64_t interval = probe_is_longer ? c->key_probe_interval_ms : c->key_full_check_interval_ms;
    const char *name = probe_is_longer ? "key.probe_interval" : "key.full_check_interval";
    int64_t sum = interval + 2 * c->key_kms_timeout_ms + LIMITS_KILL_MS;
    CHECK(
        sum <= c->key_denied_bound_ms, ERR_INVALID,
        "these settings can't keep key.denied_bound (%lld ms): %s (%lld ms) + 2 x key.kms_timeout (%lld ms) + %d ms to "
        "end the processes is %lld ms; shorten them, or publish a longer bound",
        (long long)c->key_denied_bound_ms, name, (long long)interval, (long long)c->key_kms_timeout_ms, LIMITS_KILL_MS,
        (long long)sum);
    return OK;
}
