/* lockset-keyring: the only process that talks to KMS about customers' keys. It watches every key, grants leases to
 * processes, and takes them away. Descriptor 3 is the supervisor's channel. It ends at SIGTERM at once: nothing it
 * holds is worth a goodbye, and the timers of what it started keep their word. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "keyring/keyring.h"

enum { SUPERVISOR_FD = 3, SECRET_HEAP_BYTES = 1 << 20, KMS_THREADS = 32 };

static struct result open_shelf(const struct config_region *from, struct http_pool *http, struct shelf **ret) {
    if (!config_is_s3(from)) return shelf_open_folder(from->store_path, ret);
    /* Its own: an S3 store's credentials need not be those for KMS. Lives as long as the process. */
    struct credentials_provider *credentials;
    const struct credentials_provider_options chain = {
        .source = {.profile = from->store_profile},
        .region = from->store_endpoint ? NULL : from->store_region,
        .pool = http,
    };
    struct result r = credentials_provider_new(&chain, &credentials);
    if (is_err(r)) {
        AUTO_FREE char *why = str_dup(err_detail());
        FAIL(r.code, "region %s: credentials for its store in S3: %s", from->name, why);
    }
    const struct shelf_s3_options options = {.pool = http,
                                             .credentials = credentials,
                                             .endpoint = from->store_endpoint,
                                             .signing_region = from->store_region,
                                             .bucket = from->store_bucket,
                                             .prefix = from->store_prefix,
                                             .path_style = strcmp(from->store_path_style, "true") == 0,
                                             .local = from->store_path,
                                             .region = from->name,
                                             .sse_kms = strcmp(from->encryption, "sealed") != 0,
                                             .bucket_key = strcmp(from->encryption, "sealed+sse-kms") == 0};
    return shelf_open_s3(&options, ret);
}

static struct result open_regions(struct keyring *k, struct http_pool *http) {
    const struct config *c = k->config;
    k->regions = mem_alloc_array(c->region_count, sizeof *k->regions);
    for (size_t i = 0; i < c->region_count; i++) {
        const struct config_region *from = &c->regions[i];
        struct region *r = &k->regions[k->region_count++];
        struct kms_client_options options = {
            .region = from->name,
            .endpoint = from->kms_endpoint ? from->kms_endpoint : c->kms_endpoint,
            .credentials = {.file = c->aws_credentials_file, .profile = c->aws_profile},
            .pool = http,
        };
        r->name = from->name;
        r->service_key_arn = from->service_key_arn;
        TRY(open_shelf(from, http, &r->shelf));
        TRY(kms_client_new(&options, &r->kms));
        r->meter = mem_alloc(sizeof *r->meter); /* zeroed; lives as long as the process */
        r->pool = pool_new(k->finished, KMS_THREADS);
        log_info("region", KV("region", r->name), KV("kms", kms_client_endpoint(r->kms)), KV("store", r->shelf->place));
    }
    return OK;
}

static struct result load_units(struct keyring *k) {
    AUTO(registry_regions_done) struct registry_regions rows = {0};
    TRY(registry_list_regions(k->registry, NULL, &rows));
    for (size_t i = 0; i < rows.count; i++) {
        struct region *region = keyring_find_region(k, rows.items[i].region);
        if (region) {
            audit_expect(k, region->name, rows.items[i].org);
            keyring_add_unit(k, region, &rows.items[i]);
        } else {
            log_warn("unit.elsewhere", KV("org", rows.items[i].org), KV("region", rows.items[i].region));
        }
    }
    for (size_t i = 0; i < k->region_count; i++)
        audit_expect(k, k->regions[i].name, LEDGER_OPERATOR);
    log_info("units", KVI("count", (int64_t)k->unit_count));
    return OK;
}

static struct lease_times times_of(const struct config *c, int64_t ride_through_ms, int64_t pause_after_ms) {
    return (struct lease_times){.probe_interval_ns = c->key_probe_interval_ms * NS_PER_MS,
                                .full_check_interval_ns = c->key_full_check_interval_ms * NS_PER_MS,
                                .ride_through_ns = ride_through_ms * NS_PER_MS,
                                .kms_timeout_ns = c->key_kms_timeout_ms * NS_PER_MS,
                                .pause_after_ns = pause_after_ms * NS_PER_MS};
}

static struct result set_up(struct keyring *k, const char *config_file) {
    struct config *config;
    TRY(config_load(config_file, NULL, 0, &config));
    k->config = config;
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    for (int i = 0; i < 4; i++)
        if (strcmp(config->log_level, levels[i]) == 0) log_start("keyring", (enum log_level)i);
    TRY(limits_check(config));
    k->max_calls_per_hour = limits_max_calls(config);
    k->customer_times = times_of(config, config->key_ride_through_ms, config->key_pause_after_ms);
    k->service_times = times_of(config, LEASE_HARD_CAP_MS, 0); /* never paused */
    TRY(secret_start(SECRET_HEAP_BYTES, false));
    json_start_wiping();
    http_client_start();
    TRY(loop_new(&k->loop));
    k->finished = finished_new(k->loop);
    k->registry_pool = pool_new(k->finished, 1);
    AUTO_FREE char *audit = str_format("%s/audit", config->data);
    k->ledgers = ledgers_new(audit, 0);
    k->ledger_pool = pool_new(k->finished, 1);
    struct http_pool *http;
    TRY(http_pool_new(&http));
    TRY(file_make_dirs(config->data));
    AUTO_FREE char *run = str_format("%s/run", config->data);
    TRY(file_make_dirs(run));
    AUTO_FREE char *path = str_format("%s/registry.db", config->data);
    TRY(registry_open(path, &k->registry));
    TRY(open_regions(k, http));
    delete_sweep(k);
    TRY(load_units(k));
    TRY(supervisor_link_new(k, SUPERVISOR_FD, &k->supervisor));
    AUTO_FREE char *socket = str_format("%s/keyring.sock", run);
    return api_link_new(k, socket, &k->api);
}

static void tick_all(struct keyring *k) {
    int64_t now = clock_boottime_ns();
    if (now < k->wake_ns) return;
    int64_t wake = INT64_MAX;
    k->wake_ns = INT64_MAX; /* a poke during the walk lowers it again */
    for (size_t i = 0; i < k->unit_count; i++) {
        struct unit *u = k->units[i];
        if (u->wake_ns <= now) unit_tick(u, now);
        if (u->wake_ns < wake) wake = u->wake_ns;
    }
    if (wake < k->wake_ns) k->wake_ns = wake;
}

static struct result run(struct keyring *k) {
    for (;;) {
        finished_run(k->finished);
        tick_all(k);
        TRY(loop_step(k->loop, k->wake_ns));
    }
}

int main(int argc, char **argv) {
    log_start("keyring", LOG_INFO);
    if (argc != 3 || strcmp(argv[1], "--config") != 0) {
        fprintf(stderr, "usage: lockset-keyring --config FILE\n(started by lockset; descriptor 3 is its channel)\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    static struct keyring k;
    struct result r = set_up(&k, argv[2]);
    if (is_ok(r)) r = run(&k);
    log_error("keyring.failed", KV("code", err_name(r.code)), KV("reason", err_detail()));
    return 1;
}
