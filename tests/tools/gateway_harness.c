/* The gateway's library with fixed test keys instead of a keyring, for tests with real S3 clients. Not installed.
 *
 *     gateway-harness --store DIR [--listen 127.0.0.1:0] --access-key A --secret-key S [--lease-ms N] [--bucket B]
 *         [--cache DIR --cache-bytes N --cache-epoch-ms N]
 *         [--s3 ENDPOINT --s3-bucket B --s3-prefix P --s3-mode sealed|sse-kms|sealed+sse-kms]
 *
 * With --s3 the objects are there, below PREFIX (credentials: the standard chain); DIR has the lock only.
 *
 * Prints "ready: http://127.0.0.1:PORT", then obeys lines on stdin and answers each with one line:
 *
 *     arm MS       the lease now ends in MS milliseconds      -> armed
 *     end          ends the lease, as the keyring's END does  -> ended
 *     epoch A S    the next epoch, with new credentials       -> ready: http://127.0.0.1:PORT (a new port)
 *     cache        what the cache has done so far             -> hits=N misses=N ... (cache_counts)
 *     refusals     how often S3 said that the key is refused  -> refusals=N
 *     stop         stops serving, closes the store, exits 0   -> stopped
 *
 * End of file on stdin means no more orders; it then serves until it is killed. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "aws/s3_store_client.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/http_server.h"
#include "base/log.h"
#include "gateway/gateway.h"
#include "store/cache.h"

#define KEY_ARN "arn:aws:kms:us-west-2:111122223333:key/mrk-00000000000000000000000000000001"

struct harness {
    const char *store_dir, *host, *bucket, *cache_dir;
    const char *s3_endpoint, *s3_bucket, *s3_prefix, *s3_mode; /* s3_endpoint NULL: in the folder */
    struct http_pool *pool;
    struct credentials_provider *s3_credentials;
    struct s3_store_client *s3;
    _Atomic unsigned refusals;
    unsigned port;
    int64_t lease_ms, cache_bytes, cache_epoch_ms;
    struct gateway_credentials credentials;
    struct lease *lease;
    struct store *store;
    struct cache *cache; /* NULL: none */
    struct gateway *gateway;
    uint64_t epoch;
};

static void copy_text(char *to, size_t size, const char *from) {
    if (strlen(from) >= size) {
        fprintf(stderr, "too long: a credential of more than %zu bytes\n", size - 1);
        exit(2);
    }
    mem_copy(to, from, strlen(from) + 1);
}

static void parse_listen(struct harness *h, const char *text) {
    const char *colon = strrchr(text, ':');
    if (colon == NULL) {
        fprintf(stderr, "--listen must be host:port\n");
        exit(2);
    }
    h->host = str_ndup(text, (size_t)(colon - text));
    h->port = (unsigned)strtoul(colon + 1, NULL, 10);
}

static void parse(struct harness *h, int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (strcmp(name, "--store") == 0)
            h->store_dir = value;
        else if (strcmp(name, "--listen") == 0)
            parse_listen(h, value);
        else if (strcmp(name, "--access-key") == 0)
            copy_text(h->credentials.access_key, sizeof h->credentials.access_key, value);
        else if (strcmp(name, "--secret-key") == 0)
            copy_text(h->credentials.secret_key, sizeof h->credentials.secret_key, value);
        else if (strcmp(name, "--lease-ms") == 0)
            h->lease_ms = strtoll(value, NULL, 10);
        else if (strcmp(name, "--bucket") == 0)
            h->bucket = value;
        else if (strcmp(name, "--s3") == 0)
            h->s3_endpoint = value;
        else if (strcmp(name, "--s3-bucket") == 0)
            h->s3_bucket = value;
        else if (strcmp(name, "--s3-prefix") == 0)
            h->s3_prefix = value;
        else if (strcmp(name, "--s3-mode") == 0)
            h->s3_mode = value;
        else if (strcmp(name, "--cache") == 0)
            h->cache_dir = value;
        else if (strcmp(name, "--cache-bytes") == 0)
            h->cache_bytes = strtoll(value, NULL, 10);
        else if (strcmp(name, "--cache-epoch-ms") == 0)
            h->cache_epoch_ms = strtoll(value, NULL, 10);
        else {
            fprintf(stderr, "unknown option %s\n", name);
            exit(2);
        }
    }
    if (h->store_dir == NULL || h->credentials.access_key[0] == '\0' || h->credentials.secret_key[0] == '\0') {
        fprintf(stderr, "usage: gateway-harness --store DIR --access-key A --secret-key S [--listen HOST:PORT] "
                        "[--lease-ms N] [--bucket B]\n");
        exit(2);
    }
}

static void arm(struct harness *h, int64_t ms) {
    lease_arm(h->lease, clock_boottime_ns() + ms * NS_PER_MS);
}

static void key_refused(void *arg, const struct s3_failure *why) {
    struct harness *h = arg;
    h->refusals++;
}

static struct result open_s3(struct harness *h, struct store_s3 *ret) {
    http_client_start();
    TRY(http_pool_new(&h->pool));
    const struct credentials_provider_options chain = {.pool = h->pool, .region = "us-west-2"};
    TRY(credentials_provider_new(&chain, &h->s3_credentials));
    bool by_kms = strcmp(h->s3_mode, "sealed") != 0;
    const struct s3_store_client_options client = {.pool = h->pool,
                                                   .credentials = h->s3_credentials,
                                                   .endpoint = h->s3_endpoint,
                                                   .region = "us-west-2",
                                                   .bucket = h->s3_bucket,
                                                   .path_style = true,
                                                   .key_arn = by_kms ? KEY_ARN : NULL,
                                                   .context_org = by_kms ? "o00000000000000000001" : NULL,
                                                   .context_region = by_kms ? "us-west-2" : NULL,
                                                   .bucket_key = strcmp(h->s3_mode, "sealed+sse-kms") == 0,
                                                   .total_timeout_ms = 10000};
    TRY(s3_store_client_new(&client, &h->s3));
    *ret = (struct store_s3){.client = h->s3,
                             .prefix = h->s3_prefix,
                             .key_arn = by_kms ? KEY_ARN : NULL,
                             .in_clear = strcmp(h->s3_mode, "sse-kms") == 0,
                             .key_refused = key_refused,
                             .arg = h};
    return OK;
}

static struct result open_all(struct harness *h) {
    uint8_t id[LEASE_BRANCH_ID_BYTES], branch[KEY_BYTES], names[KEY_BYTES];
    memset(id, 0x22, sizeof id);
    memset(branch, 0x33, sizeof branch);
    memset(names, 0x11, sizeof names);
    TRY(lease_new("o00000000000000000001", "us-west-2", KEY_ARN, &h->lease));
    TRY(lease_set_names(h->lease, slice_make(names, sizeof names)));
    TRY(lease_set_branch(h->lease, id, slice_make(branch, sizeof branch)));
    TRY(lease_set_active(h->lease, id));
    arm(h, h->lease_ms);
    TRY(file_make_dirs(h->store_dir));
    struct store_s3 s3;
    if (h->s3_endpoint) TRY(open_s3(h, &s3));
    const struct store_options store = {
        .dir = h->store_dir, .s3 = h->s3_endpoint ? &s3 : NULL, .bucket = h->bucket, .lease = h->lease};
    TRY(store_open(&store, &h->store));
    if (h->cache_dir != NULL) {
        const struct cache_options cache = {.dir = h->cache_dir,
                                            .max_bytes = (uint64_t)h->cache_bytes,
                                            .epoch_ns = h->cache_epoch_ms * NS_PER_MS,
                                            .lease = h->lease};
        TRY(cache_open(&cache, &h->cache));
        store_set_cache(h->store, h->cache);
    }
    const struct gateway_options gateway = {.store = h->store,
                                            .lease = h->lease,
                                            .region = "us-west-2",
                                            .bucket = h->bucket,
                                            .key_arn = KEY_ARN,
                                            .bucket_created_ms = clock_unix_ms()};
    return gateway_new(&gateway, &h->gateway);
}

static struct result serve(struct harness *h) {
    int fd = -1;
    unsigned port = 0;
    TRY(http_listen_tcp(h->host, h->port, &fd, &port));
    TRY(gateway_serve(h->gateway, ++h->epoch, fd, &h->credentials));
    printf("ready: http://%s:%u\n", h->host, port);
    return OK;
}

static void tell_cache(const struct harness *h) {
    const struct cache_counts n = h->cache ? cache_counts(h->cache) : (struct cache_counts){0};
    printf("hits=%llu misses=%llu hit_bytes=%llu admitted=%llu evicted=%llu expired=%llu damaged=%llu failures=%llu "
           "blocks=%llu bytes=%llu keys=%u\n",
           (unsigned long long)n.hits, (unsigned long long)n.misses, (unsigned long long)n.hit_bytes,
           (unsigned long long)n.admitted, (unsigned long long)n.evicted, (unsigned long long)n.expired,
           (unsigned long long)n.damaged, (unsigned long long)n.failures, (unsigned long long)n.blocks,
           (unsigned long long)n.bytes, n.keys);
}

static struct result obey(struct harness *h, char *line) {
    char *saved = NULL, *word = strtok_r(line, " \n", &saved);
    char *first = strtok_r(NULL, " \n", &saved), *second = strtok_r(NULL, " \n", &saved);
    if (word == NULL) return OK;
    if (strcmp(word, "arm") == 0 && first != NULL) {
        arm(h, strtoll(first, NULL, 10));
        printf("armed\n");
    } else if (strcmp(word, "cache") == 0) {
        tell_cache(h);
    } else if (strcmp(word, "refusals") == 0) {
        printf("refusals=%u\n", h->refusals);
    } else if (strcmp(word, "end") == 0) {
        lease_end(h->lease);
        printf("ended\n");
    } else if (strcmp(word, "epoch") == 0 && second != NULL) {
        copy_text(h->credentials.access_key, sizeof h->credentials.access_key, first);
        copy_text(h->credentials.secret_key, sizeof h->credentials.secret_key, second);
        h->port = 0;
        return serve(h);
    } else if (strcmp(word, "stop") == 0) {
        gateway_free(h->gateway);
        store_close(h->store);
        s3_store_client_free(h->s3);
        credentials_provider_free(h->s3_credentials);
        http_pool_free(h->pool);
        cache_close(h->cache);
        lease_free(h->lease);
        printf("stopped\n");
        exit(0);
    } else {
        printf("unknown order\n");
    }
    return OK;
}

static void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, err_detail());
    exit(1);
}

int main(int argc, char **argv) {
    const int64_t year_ms = 365LL * 24 * 3600 * 1000;
    struct harness h = {.host = "127.0.0.1",
                        .lease_ms = year_ms,
                        .bucket = "lockset",
                        .s3_mode = "sealed",
                        .s3_prefix = "",
                        .cache_bytes = 64 << 20,
                        .cache_epoch_ms = 120000};
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    log_start("gateway-harness", LOG_WARN);
    parse(&h, argc, argv);
    if (is_err(secret_start(1 << 20, true))) die("secret memory");
    if (is_err(open_all(&h))) die("store");
    if (is_err(serve(&h))) die("listener");
    char line[256];
    while (fgets(line, sizeof line, stdin) != NULL)
        if (is_err(obey(&h, line))) die("order");
    for (;;)
        pause();
}
