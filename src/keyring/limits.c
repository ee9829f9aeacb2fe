#include "keyring/limits.h"

#include "keyring/lease_state.h"

enum { HOUR_MS = 3600 * 1000 };

int64_t limits_needed_calls(const struct config *c) {
    /* Jitter shortens by up to a fifth: a quarter more. */
    return HOUR_MS * 5 / 4 / c->key_probe_interval_ms +
           (KMS_OPERATION_MAX - 1) * (HOUR_MS * 5 / 4 / c->key_full_check_interval_ms) + KMS_OPERATION_MAX;
}

int64_t limits_max_calls(const struct config *c) {
    if (c->key_max_calls_per_hour > 0) return (int64_t)c->key_max_calls_per_hour;
    return 3 * limits_needed_calls(c) + KMS_OPERATION_MAX * (HOUR_MS / LEASE_RETRY_MS);
}

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
    int64_t needed = limits_needed_calls(c) * 10 / 9 + 1;
    CHECK(limits_max_calls(c) >= needed, ERR_INVALID,
          "key.max_calls_per_hour (%lld) is less than key.probe_interval and key.full_check_interval need: %lld",
          (long long)limits_max_calls(c), (long long)needed);
    return OK;
}
