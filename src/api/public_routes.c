#include "api/call.h"
#include "api/webhook.h"
#include "base/clock.h"

enum { MAX_METRICS_BYTES = 64 * 1024 * 1024 };

struct result public_root(struct call *c) {
    answer_json(c->http, 200, json_pack("{s:s}", "message", "GO ROCKSET!"));
    return OK;
}

struct result public_health(struct call *c) {
    answer_json(c->http, 200, json_pack("{s:s, s:s}", "status", "ok", "region", c->api->region));
    return OK;
}

/* Ready: the keyring is there, so that states are known and engines can be started. */
struct result public_ready(struct call *c) {
    bool ready = keylink_is_connected(c->api->keylink);
    answer_json(
        c->http, ready ? 200 : 503,
        json_pack("{s:s, s:s}", "status", ready ? "ready" : "the keyring isn't connected", "region", c->api->region));
    return OK;
}

static void put_counter(struct buf *out, const char *name, const char *help, uint64_t value) {
    buf_printf(out, "# HELP %s %s\n# TYPE %s counter\n%s %llu\n", name, help, name, name, (unsigned long long)value);
}

struct result public_metrics(struct call *c) {
    static const struct http_field fields[] = {{"Content-Type", "text/plain; version=0.0.4"}, {NULL, NULL}};
    struct metrics *m = &c->api->metrics;
    BUF_AUTO(out, MAX_METRICS_BYTES);
    put_counter(&out, "lockset_requests_total", "Requests that were read.", m->requests);
    put_counter(&out, "lockset_answers_failed_total", "Requests refused or failed.", m->failures);
    put_counter(&out, "lockset_queries_total", "Queries.", m->queries);
    put_counter(&out, "lockset_queries_failed_total", "Queries refused or failed.", m->queries_failed);
    put_counter(&out, "lockset_writes_total", "Requests that add, patch or delete documents.", m->writes);
    put_counter(&out, "lockset_writes_failed_total", "Those refused or failed.", m->writes_failed);
    buf_printf(&out,
               "# HELP lockset_uptime_seconds Since this process started.\n# TYPE lockset_uptime_seconds gauge\n"
               "lockset_uptime_seconds %lld\n",
               (long long)((clock_unix_ms() - c->api->started_at_ms) / 1000));
    buf_printf(&out,
               "# HELP lockset_keyring_connected Is the keyring there?\n# TYPE lockset_keyring_connected gauge\n"
               "lockset_keyring_connected %d\n",
               keylink_is_connected(c->api->keylink));
    buf_printf(
        &out,
        "# HELP lockset_webhook_pending Events that wait to be delivered.\n# TYPE lockset_webhook_pending gauge\n"
        "lockset_webhook_pending %llu\n",
        (unsigned long long)webhook_pending());
    sources_metrics(c->api->sources, &out);
    key_metrics_put(c->api, &out);
    http_answer(c->http, 200, fields, buf_slice(&out));
    return OK;
}
