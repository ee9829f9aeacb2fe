/* lockset-gateway: the process that can turn one organization's sealed objects into plaintext, for as long as the
 * keyring's lease lasts.
 *
 *     lockset-gateway --config FILE --org ID --region NAME --store DIR --key-arn ARN [--outside yes]
 *
 * Descriptor 3 is the control socket to the keyring (keys/wire.h), descriptor 4 the one to the supervisor, which
 * announces engines (gateway/handover.h); with --outside, descriptor 5 is the listening socket for other S3 clients
 * (gateway/outside.h). */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/http_client.h"
#include "base/log.h"
#include "base/secret.h"
#include "config/config.h"
#include "gateway/confine.h"
#include "gateway/gateway.h"
#include "gateway/handover.h"
#include "gateway/keyring_link.h"
#include "gateway/outside.h"
#include "gateway/s3_place.h"
#include "keys/deadman.h"
#include "keys/wire.h"
#include "store/cache.h"

enum {
    KEYRING_FD = 3,
    SUPERVISOR_FD = 4,
    OUTSIDE_FD = 5,
    SECRET_HEAP_BYTES = 4 * 1024 * 1024,
    LISTENER_TIMEOUT_MS = 60 * 1000,
    READY_TIMEOUT_MS = 5000,
};

struct options {
    const char *config, *org, *region, *store, *key_arn, *outside;
};

static struct result parse_options(int argc, char **argv, struct options *ret) {
    struct options o = {0};
    const struct {
        const char *name;
        const char **value;
    } known[] = {{"--config", &o.config}, {"--org", &o.org},         {"--region", &o.region},
                 {"--store", &o.store},   {"--key-arn", &o.key_arn}, {"--outside", &o.outside}};
    for (int i = 1; i < argc; i += 2) {
        bool found = false;
        for (size_t k = 0; k < ARRAY_LEN(known); k++) {
            if (strcmp(argv[i], known[k].name) != 0) continue;
            found = true;
            CHECK(i + 1 < argc, ERR_INVALID, "%s needs a value", argv[i]);
            *known[k].value = argv[i + 1];
        }
        CHECK(found, ERR_INVALID, "unknown option %s", argv[i]);
    }
    CHECK(o.org != NULL && o.region != NULL && o.store != NULL && o.key_arn != NULL, ERR_INVALID,
          "--org, --region, --store and --key-arn are needed; only the supervisor starts this program");
    *ret = o;
    return OK;
}

static enum log_level level_named(const char *name) {
    if (strcmp(name, "debug") == 0) return LOG_DEBUG;
    if (strcmp(name, "warn") == 0) return LOG_WARN;
    if (strcmp(name, "error") == 0) return LOG_ERROR;
    return LOG_INFO;
}

/* The settings live as long as the process. */
static struct result read_config(const char *file, struct config **ret) {
    TRY(config_load(file, NULL, 0, ret));
    log_start("gateway", (*ret)->log_level != NULL ? level_named((*ret)->log_level) : LOG_INFO);
    return OK;
}

/* ---- The cache ---- */

enum { CACHE_TELL_MS = 50 };

/* For the log, and for the metrics, if the keyring listens. */
static void report_cache(void *arg, const struct cache *cache) {
    const struct cache_counts n = cache_counts(cache);
    log_info("cache.used", KVI("hits", n.hits), KVI("misses", n.misses), KVI("hit_bytes", n.hit_bytes),
             KVI("admitted", n.admitted), KVI("evicted", n.evicted), KVI("expired", n.expired),
             KVI("damaged", n.damaged), KVI("failures", n.failures), KVI("blocks", n.blocks), KVI("bytes", n.bytes));
    static uint64_t told_hits, told_misses; /* one thread reports */
    if (is_ok(wire_send_cache_used(KEYRING_FD, n.hits - told_hits, n.misses - told_misses, CACHE_TELL_MS))) {
        told_hits = n.hits;
        told_misses = n.misses;
    }
}

/* NULL where it is switched off, or where its folder can't be had: then everything comes from the store. */
static struct cache *open_cache(const struct config *config, const struct options *o, struct lease *lease) {
    if (o->config == NULL || config->cache_max_bytes < (int64_t)CACHE_MIN_BYTES) return NULL;
    AUTO_FREE char *dir = str_format("%s/cache/%s/%s", config->data, o->region, o->org);
    const struct cache_options options = {.dir = dir,
                                          .max_bytes = (uint64_t)config->cache_max_bytes,
                                          .epoch_ns = config->cache_epoch_ms * NS_PER_MS,
                                          .lease = lease,
                                          .report = report_cache};
    struct cache *cache = NULL;
    struct result r = cache_open(&options, &cache);
    if (is_err(r)) log_warn("cache.off", KV("error", err_name(r.code)), KV("detail", err_detail()));
    return cache;
}

/* When the organization's folder was made: what ListBuckets shows as the bucket's creation. */
static int64_t folder_created_ms(const char *dir) {
    struct statx s;
    if (statx(AT_FDCWD, dir, 0, STATX_BTIME | STATX_MTIME, &s) != 0) return clock_unix_ms();
    const struct statx_timestamp *t = (s.stx_mask & STATX_BTIME) ? &s.stx_btime : &s.stx_mtime;
    return t->tv_sec * 1000 + t->tv_nsec / NS_PER_MS;
}

/* One engine: its listener taken, served, its credentials told. */
static struct result serve_engine(struct gateway *g, uint64_t epoch, int engine_fd) {
    int listen_fd = -1;
    unsigned port = 0;
    TRY(handover_take_listener(engine_fd, LISTENER_TIMEOUT_MS, &listen_fd, &port));
    struct gateway_credentials credentials;
    struct result r = gateway_credentials_random(&credentials);
    if (is_err(r)) {
        close(listen_fd);
        return r;
    }
    r = gateway_serve(g, epoch, listen_fd, &credentials);
    if (is_ok(r)) r = handover_answer(engine_fd, epoch, &credentials);
    wipe(&credentials, sizeof credentials);
    if (is_ok(r)) log_info("engine.served", KVI("epoch", epoch), KVI("port", port));
    return r;
}

static struct result serve_engines(struct gateway *g) {
    for (;;) {
        uint64_t epoch = 0;
        int engine_fd = -1;
        struct result r = handover_next_engine(SUPERVISOR_FD, &epoch, &engine_fd);
        if (is_ok(r)) {
            r = serve_engine(g, epoch, engine_fd);
            close(engine_fd);
        } else if (r.code != ERR_PEER && r.code != ERR_TIMEOUT) {
            return r;
        }
        if (is_err(r))
            log_warn("engine.not_served", KVI("epoch", epoch), KV("error", err_name(r.code)),
                     KV("detail", err_detail()));
    }
}

/* The clients' store is a part of the organization's, wherever that is; `s3` is NULL where it is a folder. */
static struct result serve_outside(const struct options *o, const struct config *config, const struct store_s3 *s3,
                                   struct lease *lease) {
    if (o->outside == NULL) return OK;
    CHECK(config != NULL, ERR_INVALID, "--outside needs --config");
    AUTO_FREE char *registry = str_format("%s/registry.db", config->data);
    AUTO_FREE char *dir = str_format("%s/s3", o->store);
    struct outside_options outside = {.registry = registry, .dir = dir, .lease = lease, .listen_fd = OUTSIDE_FD};
    AUTO_FREE char *prefix = s3 ? str_format("%ss3/", s3->prefix) : NULL;
    struct store_s3 place = {0};
    if (s3) {
        place = *s3;
        place.prefix = prefix;
        outside.s3 = &place;
    }
    return outside_serve(&outside);
}

static struct result run(const struct options *o, const struct config *config) {
    struct lease *lease = NULL;
    TRY(lease_new(o->org, o->region, o->key_arn, &lease));
    struct keyring_link *keyring = NULL;
    TRY(keyring_link_start(KEYRING_FD, lease, &keyring));
    TRY(keyring_link_wait(keyring));
    TRY(file_make_dirs(o->store));
    struct store *store = NULL;
    const struct config_region *region = config_find_region(config, o->region);
    struct store_s3 s3;
    bool is_s3 = region && config_is_s3(region);
    if (is_s3) TRY(s3_place_open(region, o->org, o->key_arn, keyring, &s3));
    const struct store_options place = {.dir = o->store, .s3 = is_s3 ? &s3 : NULL, .bucket = "lockset", .lease = lease};
    TRY(store_open(&place, &store));
    store_set_cache(store, open_cache(config, o, lease)); /* after the store's lock: one process uses the file */
    struct gateway *g = NULL;
    const struct gateway_options options = {.store = store,
                                            .lease = lease,
                                            .region = o->region,
                                            .key_arn = o->key_arn,
                                            .bucket_created_ms = folder_created_ms(o->store)};
    TRY(gateway_new(&options, &g));
    TRY(serve_outside(o, config, place.s3, lease));
    TRY(wire_send_ready(KEYRING_FD, READY_TIMEOUT_MS));
    log_info("gateway.ready", KV("org", o->org), KV("region", o->region));
    return serve_engines(g);
}

static struct result start(int argc, char **argv, struct options *o, struct config **ret_config) {
    TRY(deadman_start(DEADMAN_FIRST_MS));
    TRY(secret_start(SECRET_HEAP_BYTES, false));
    TRY(parse_options(argc, argv, o));
    TRY(read_config(o->config, ret_config));
    http_client_start();
    TRY(confine_process());
    return OK;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    log_start("gateway", LOG_INFO);
    struct options options = {0};
    struct config *config = NULL;
    struct result r = start(argc, argv, &options, &config);
    if (is_ok(r)) r = run(&options, config);
    /* Only failures come here: the end of the lease and of the supervisor end the process by themselves. */
    log_error("gateway.stopped", KV("error", err_name(r.code)), KV("detail", err_detail()));
    _exit(1);
}
