/* What the keyring does in this region, for Prometheus. */
#include <string.h>

#include "api/call.h"
#include "base/clock.h"

enum { ASK_MS = 1000 };

static const char *text_of(const json_t *state, const char *name) {
    const char *text = json_string_value(json_object_get(state, name));
    return text ? text : "";
}

static void put_counts(const json_t *all, struct buf *out) {
    static const char *const states[] = {"STARTING", "AVAILABLE", "UNAVAILABLE", "PAUSED", "RECOVERING"};
    size_t counts[ARRAY_LEN(states)] = {0}, i;
    json_t *state;
    json_array_foreach(all, i, state) {
        for (size_t k = 0; k < ARRAY_LEN(states); k++)
            if (strcmp(text_of(state, "state"), states[k]) == 0) counts[k]++;
    }
    buf_append_str(out, "# HELP lockset_organizations Organizations by the state of their key in this region.\n"
                        "# TYPE lockset_organizations gauge\n");
    for (i = 0; i < ARRAY_LEN(states); i++)
        buf_printf(out, "lockset_organizations{state=\"%s\"} %zu\n", states[i], counts[i]);
}

/* Only those that need somebody: with thousands of organizations, not one line for each. */
static void put_trouble(const json_t *all, struct buf *out) {
    buf_append_str(out, "# HELP lockset_key_trouble Seconds since the key of an organization left AVAILABLE.\n"
                        "# TYPE lockset_key_trouble gauge\n");
    int64_t now_ms = clock_unix_ms();
    size_t i;
    json_t *state;
    json_array_foreach(all, i, state) {
        if (strcmp(text_of(state, "state"), "AVAILABLE") == 0) continue;
        buf_printf(out, "lockset_key_trouble{org=\"%s\",state=\"%s\",cause=\"%s\",aws_error=\"%s\"} %lld\n",
                   text_of(state, "org"), text_of(state, "state"), text_of(state, "cause"), text_of(state, "aws_error"),
                   (long long)((now_ms - json_integer_value(json_object_get(state, "since_ms"))) / 1000));
    }
}

/* How near the nearest lease is to its end: falls when KMS is silent. */
static void put_leases(const json_t *all, struct buf *out) {
    int64_t now_ns = clock_boottime_ns(), least_ns = INT64_MAX;
    size_t i;
    json_t *state;
    json_array_foreach(all, i, state) {
        int64_t expiry_ns = json_integer_value(json_object_get(state, "lease_expiry_boottime_ns"));
        if (expiry_ns > 0 && expiry_ns < least_ns) least_ns = expiry_ns;
    }
    if (least_ns == INT64_MAX) return; /* no leases */
    buf_printf(
        out,
        "# HELP lockset_lease_left_seconds Time to the end of the lease that ends first; the api is told of idle "
        "organizations' leases up to half a minute late.\n# TYPE lockset_lease_left_seconds gauge\n"
        "lockset_lease_left_seconds %.3f\n",
        (double)(least_ns - now_ns) / NS_PER_S);
}

static void put_calls(const json_t *meter, struct buf *out) {
    buf_append_str(out, "# HELP lockset_kms_calls_total Calls of KMS in this region, by operation and outcome.\n"
                        "# TYPE lockset_kms_calls_total counter\n");
    const char *operation, *outcome;
    json_t *outcomes, *n;
    json_object_foreach(json_object_get(meter, "calls"), operation, outcomes) json_object_foreach(outcomes, outcome, n)
        buf_printf(out, "lockset_kms_calls_total{operation=\"%s\",outcome=\"%s\"} %lld\n", operation, outcome,
                   (long long)json_integer_value(n));
    buf_printf(out,
               "# HELP lockset_kms_requests_total The same on the wire, repetitions counted.\n"
               "# TYPE lockset_kms_requests_total counter\nlockset_kms_requests_total %lld\n",
               (long long)json_integer_value(json_object_get(meter, "requests")));
}

void key_metrics_put(struct api *api, struct buf *out) {
    JSON_AUTO(all);
    all = keylink_states(api->keylink);
    put_counts(all, out);
    put_trouble(all, out);
    put_leases(all, out);
    JSON_AUTO(request);
    JSON_AUTO(answer);
    request = json_pack("{s:s, s:s}", "op", "meter", "region", api->region);
    /* While the keyring is away its counters are left out, not zero. */
    if (is_ok(keylink_call(api->keylink, request, ASK_MS, &answer)) && json_is_true(json_object_get(answer, "ok")))
        put_calls(json_object_get(answer, "meter"), out);
}
