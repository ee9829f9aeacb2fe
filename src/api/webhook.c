#include "api/webhook.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "api/call.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/http_client.h"
#include "base/log.h"
#include "base/secret.h"

enum {
    POLL_MS = 250,
    CALL_MS = 10000,
    BACKOFF_FIRST_MS = 500,
    BACKOFF_MAX_MS = 60000,
    BATCH = 100,
    SECRET_MIN = 16,
    SECRET_MAX = 4096,
    MAX_BODY_BYTES = 64 * 1024,
};

static const char mark[] = "webhook";

struct webhook {
    const struct config *config;
    struct registry *registry;
    struct http_pool *pool;
    struct buf secret; /* wiping; empty: deliveries are not signed */
    int64_t delivered; /* the highest number */
};

static _Atomic uint64_t pending;

uint64_t webhook_pending(void) {
    return atomic_load(&pending);
}

struct result webhook_sign(struct slice secret, int64_t unix_s, struct slice body, struct buf *out) {
    BUF_AUTO(text, MAX_BODY_BYTES + 32);
    buf_printf(&text, "%lld.", (long long)unix_s);
    buf_append_slice(&text, body);
    TRY(buf_check(&text));
    uint8_t digest[SHA256_BYTES];
    TRY(hmac_sha256(secret, buf_slice(&text), digest));
    buf_printf(out, "t=%lld,v1=", (long long)unix_s);
    hex_encode(slice_make(digest, sizeof digest), out);
    return buf_check(out);
}

static struct result write_body(struct webhook *w, const struct registry_event *e, struct buf *out) {
    AUTO(registry_org_done) struct registry_org org = {0};
    struct result r = registry_get_org(w->registry, e->org, &org);
    if (is_err(r) && r.code != ERR_NOT_FOUND) return r; /* deleted meanwhile: its id will do */
    JSON_AUTO(body);
    body = shape_event(e);
    json_object_set_new(body, "organization", json_pack("{s:s, s:s?}", "id", e->org, "name", org.name));
    TRY(json_write(body, out));
    return buf_check(out);
}

/* One delivery, once. */
static struct result post(struct webhook *w, const struct registry_event *e) {
    BUF_AUTO(body, MAX_BODY_BYTES);
    BUF_AUTO(signature, 256);
    TRY(write_body(w, e, &body));
    if (w->secret.len) TRY(webhook_sign(buf_slice(&w->secret), clock_unix_ms() / 1000, buf_slice(&body), &signature));
    char number[24];
    snprintf(number, sizeof number, "%lld", (long long)e->seq);
    struct http_field fields[] = {
        {"Content-Type", "application/json"},
        {"User-Agent", "Lockset/" LOCKSET_VERSION},
        {"Lockset-Event", number},
        {w->secret.len ? "Lockset-Signature" : NULL, w->secret.len ? buf_str(&signature) : NULL},
        {NULL, NULL}};
    struct http_call call = {.method = "POST",
                             .url = w->config->webhook_url,
                             .fields = fields,
                             .body = buf_slice(&body),
                             .timeout_ms = CALL_MS};
    AUTO(http_reply_done) struct http_reply reply = {0};
    TRY(http_call(w->pool, &call, &reply));
    CHECK(reply.status >= 200 && reply.status < 300, ERR_PEER, "it answered with status %d", reply.status);
    return OK;
}

static void deliver(struct webhook *w, const struct registry_event *e) {
    unsigned wait_ms = BACKOFF_FIRST_MS;
    struct result r;
    while (is_err(r = post(w, e))) {
        log_warn("webhook.failed", KVI("event", e->seq), KV("code", err_name(r.code)), KV("why", err_detail()),
                 KVI("again_in_ms", wait_ms));
        clock_sleep_ms(wait_ms);
        wait_ms = wait_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : wait_ms * 2;
    }
    w->delivered = e->seq;
    if (is_err(registry_set_mark(w->registry, mark, e->seq))) log_warn("webhook.not_marked", KV("why", err_detail()));
}

static void deliver_all(struct webhook *w) {
    AUTO(registry_events_done) struct registry_events list = {0};
    uint64_t count = 0;
    if (is_err(registry_events_after(w->registry, w->delivered, BATCH, &list, &count))) {
        log_warn("webhook.registry", KV("why", err_detail()));
        return;
    }
    atomic_store(&pending, count);
    for (size_t i = 0; i < list.count; i++) {
        deliver(w, &list.items[i]);
        atomic_fetch_sub(&pending, 1);
    }
}

static void *run(void *arg) {
    struct webhook *w = arg;
    while (true) {
        deliver_all(w);
        clock_sleep_ms(POLL_MS);
    }
    return NULL;
}

static struct result read_secret(const struct config *c, struct buf *out) {
    if (!c->webhook_secret_file) return OK;
    TRY(file_read(c->webhook_secret_file, SECRET_MAX, out));
    while (out->len && (out->data[out->len - 1] == '\n' || out->data[out->len - 1] == '\r'))
        out->len--;
    CHECK(out->len >= SECRET_MIN, ERR_INVALID, "webhook.secret_file: %s must hold at least %d characters",
          c->webhook_secret_file, SECRET_MIN);
    return OK;
}

struct result webhook_start(const struct config *config, struct registry *registry) {
    const char *url = config->webhook_url;
    if (!url) return OK;
    struct webhook *w = mem_alloc(sizeof *w); /* lives as long as the process */
    *w = (struct webhook){.config = config, .registry = registry};
    buf_init_wiping(&w->secret, SECRET_MAX);
    TRY(read_secret(config, &w->secret));
    TRY(http_pool_new(&w->pool));
    struct result r = registry_get_mark(registry, mark, &w->delivered);
    if (r.code == ERR_NOT_FOUND) {
        TRY(registry_last_event(registry, &w->delivered));
        r = registry_set_mark(registry, mark, w->delivered);
    }
    TRY(r);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, run, w) == 0, ERR_IO, "no thread for the webhook");
    pthread_detach(thread);
    log_info("webhook.on", KVI("after_event", w->delivered), KV("signed", w->secret.len ? "yes" : "no"));
    return OK;
}
