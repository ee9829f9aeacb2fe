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

static void put_events(const json_t *meter, struct buf *out) {
    static const struct {
        const char *member, *metric, *help;
    } counters[] = {
        {"granted", "lockset_leases_granted_total", "Leases that began."},
        {"ended", "lockset_leases_ended_total", "Leases that ended, whatever the reason."},
        {"recovered", "lockset_recoveries_total", "Recoveries after a pause that were completed."},
        {"purges", "lockset_purges_total", "Ends of organizations' processes, with all keys in them."},
        {"cache_hits", "lockset_cache_hits_total", "Blocks that gateways' caches had; told once in cache.epoch."},
        {"cache_misses", "lockset_cache_misses_total", "Blocks that they did not have."},
        {"streams_cut", "lockset_streams_cut_total",
         "Objects that were being read or written when a gateway wiped its keys."},
    };
    for (size_t i = 0; i < ARRAY_LEN(counters); i++)
        buf_printf(out, "# HELP %s %s\n# TYPE %s counter\n%s %lld\n", counters[i].metric, counters[i].help,
                   counters[i].metric, counters[i].metric,
                   (long long)json_integer_value(json_object_get(meter, counters[i].member)));
}

static void put_meter(const json_t *meter, struct buf *out) {
    put_calls(meter, out);
    put_events(meter, out);
}

/* ---- One line for each key ---- */

static void put_causes(const json_t *cost, struct buf *out) {
    const char *cause, *operation;
    json_t *operations, *n;
    json_object_foreach(json_object_get(cost, "calls"), cause, operations) json_object_foreach(operations, operation, n)
        buf_printf(out, "lockset_key_calls_total{org=\"%s\",operation=\"%s\",cause=\"%s\"} %lld\n",
                   text_of(cost, "org"), operation, cause, (long long)json_integer_value(n));
}

static void put_number(const json_t *costs, const char *region, const char *metric, const char *type, const char *help,
                       const char *member, struct buf *out) {
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", metric, help, metric, type);
    size_t i;
    json_t *cost, *walked = mem_unconst(costs);
    json_array_foreach(walked, i, cost) {
        const json_t *value = json_object_get(cost, member);
        long long n = json_is_boolean(value) ? json_is_true(value) : json_integer_value(value);
        if (strcmp(text_of(cost, "region"), region) == 0)
            buf_printf(out, "%s{org=\"%s\"} %lld\n", metric, text_of(cost, "org"), n);
    }
}

static void put_costs(struct api *api, struct buf *out) {
    JSON_AUTO(costs);
    costs = cost_ask(api);
    if (!costs) return;
    buf_append_str(out, "# HELP lockset_key_calls_total Requests to KMS with an organization's key, by what for.\n"
                        "# TYPE lockset_key_calls_total counter\n");
    size_t i;
    json_t *cost;
    json_array_foreach(costs, i, cost) if (strcmp(text_of(cost, "region"), api->region) == 0) put_causes(cost, out);
    put_number(costs, api->region, "lockset_key_calls_capped", "gauge",
               "Does key.max_calls_per_hour hold calls with this key back right now?", "is_capped", out);
    put_number(costs, api->region, "lockset_key_calls_capped_total", "counter", "How often that began.", "capped", out);
    put_number(costs, api->region, "lockset_branch_key_age_seconds", "gauge",
               "Age of the branch key that new objects are sealed under; 0: not loaded.", "branch_age_s", out);
    put_number(costs, api->region, "lockset_lease_age_seconds", "gauge", "How long the lease has lasted; 0: none.",
               "lease_age_s", out);
    put_number(costs, api->region, "lockset_lease_expires_seconds", "gauge",
               "When the lease ends unless it is prolonged; 0: none.", "lease_left_s", out);
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
        put_meter(json_object_get(answer, "meter"), out);
    put_costs(api, out);
}
