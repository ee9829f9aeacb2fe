/* What the keyring does in this region, for Prometheus. */
#include <string.h>

#include "api/call.h"

enum { ASK_MS = 1000 };

static void put_states(struct api *api, struct buf *out) {
    static const char *const states[] = {"STARTING", "AVAILABLE", "UNAVAILABLE", "PAUSED", "RECOVERING"};
    buf_append_str(out, "# HELP lockset_organizations Organizations by the state of their key in this region.\n"
                        "# TYPE lockset_organizations gauge\n");
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        JSON_AUTO(orgs);
        orgs = keylink_orgs_in_state(api->keylink, states[i]);
        buf_printf(out, "lockset_organizations{state=\"%s\"} %zu\n", states[i], json_array_size(orgs));
    }
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
    put_states(api, out);
    JSON_AUTO(request);
    JSON_AUTO(answer);
    request = json_pack("{s:s, s:s}", "op", "meter", "region", api->region);
    /* While the keyring is away its counters are left out, not zero. */
    if (is_ok(keylink_call(api->keylink, request, ASK_MS, &answer)) && json_is_true(json_object_get(answer, "ok")))
        put_calls(json_object_get(answer, "meter"), out);
}
