/* lockset-api --config FILE [--region NAME] [--debuggable]: the REST interface of one region. Descriptor 3 is its
 * listening socket. It holds no key and writes no file but the registry. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "api/serve.h"
#include "api/webhook.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/secret.h"
#include "lifecycle/retention.h"

enum { LISTEN_FD = 3, HEAP_BYTES = 262144, MAX_PEM_BYTES = 1024 * 1024 };

struct arguments {
    const char *config, *region;
    bool is_debuggable;
};

static struct result read_arguments(int count, char **words, struct arguments *ret) {
    for (int i = 1; i < count; i++) {
        if (strcmp(words[i], "--config") == 0 && i + 1 < count)
            ret->config = words[++i];
        else if (strcmp(words[i], "--region") == 0 && i + 1 < count)
            ret->region = words[++i];
        else if (strcmp(words[i], "--debuggable") == 0)
            ret->is_debuggable = true;
        else
            FAIL(ERR_INVALID, "usage: lockset-api --config FILE [--region NAME]; unknown: %s", words[i]);
    }
    CHECK(ret->config, ERR_INVALID, "usage: lockset-api --config FILE [--region NAME]");
    return OK;
}

/* The supervisor left the hash of the operator's token in a file. */
static struct result read_operator_hash(const struct config *config, struct api *api) {
    AUTO_FREE char *path = str_format("%s/run/operator.sha256", config->data);
    BUF_AUTO(text, 256);
    TRY(file_read(path, 256, &text));
    while (text.len && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == ' '))
        text.len--;
    BUF_AUTO(bytes, REGISTRY_HASH_HEX);
    CHECK(text.len == REGISTRY_HASH_HEX && is_ok(hex_decode(buf_slice(&text), &bytes)), ERR_INVALID,
          "%s must hold 64 hexadecimal digits", path);
    mem_copy(api->operator_hash, text.data, REGISTRY_HASH_HEX);
    api->operator_hash[REGISTRY_HASH_HEX] = 0;
    return OK;
}

static struct result read_pem(const char *path, struct buf *out) {
    return path ? file_read(path, MAX_PEM_BYTES, out) : OK;
}

static struct result open_parts(struct api *api) {
    const struct config *config = api->config;
    AUTO_FREE char *registry = str_format("%s/registry.db", config->data);
    AUTO_FREE char *keyring = str_format("%s/run/keyring.sock", config->data);
    TRY(read_operator_hash(config, api));
    TRY(registry_open(registry, &api->registry));
    TRY(keylink_new(keyring, api->region, &api->keylink));
    struct engine_client *engine;
    TRY(engine_client_new(&engine));
    struct tenants_options options = {
        .registry = api->registry, .keylink = api->keylink, .engine = engine, .region = api->region};
    TRY(tenants_new(&options, &api->tenants));
    struct retention *retention; /* to the end of the process */
    TRY(retention_new(api->tenants, &retention));
    return sources_new(api->tenants, &api->sources);
}

/* Says "ready:" on stdout once requests can be answered: the supervisor waits for it. */
static void serve_until_end(struct keylink *keylink, const char *region) {
    static const struct timespec moment = {.tv_nsec = 20 * 1000 * 1000};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    bool said = false, ended = false;
    while (!ended) {
        if (!said && keylink_is_connected(keylink)) {
            printf("ready: %s\n", region);
            fflush(stdout);
            said = true;
        }
        ended = (said ? sigwaitinfo(&set, NULL) : sigtimedwait(&set, NULL, &moment)) > 0;
    }
}

/* Before any thread: they inherit the mask. */
static void block_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static enum log_level level_of(const char *name) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (name && strcmp(name, names[i]) == 0) return (enum log_level)i;
    return LOG_INFO;
}

static struct result run(struct arguments *a) {
    AUTO(config_free_auto) struct config *config = NULL;
    TRY(config_load(a->config, NULL, 0, &config));
    log_start("lockset-api", level_of(config->log_level));
    CHECK(config->region_count > 0, ERR_INVALID, "the settings have no region");
    const char *region = a->region ? a->region : config->regions[0].name;
    CHECK(config_find_region(config, region), ERR_INVALID, "the settings have no region '%s'", region);
    static struct api api;
    api.config = config;
    api.region = region;
    api.started_at_ms = clock_unix_ms();
    http_client_start();
    TRY(open_parts(&api));
    BUF_AUTO(cert, MAX_PEM_BYTES);
    BUF_AUTO(key, MAX_PEM_BYTES);
    key.wipes = true;
    TRY(read_pem(config->api_tls_cert, &cert));
    TRY(read_pem(config->api_tls_key, &key));
    struct http_server *server;
    TRY(serve_start(&api, LISTEN_FD, cert.len ? buf_str(&cert) : NULL, key.len ? buf_str(&key) : NULL, &server));
    TRY(sources_start_all(api.sources));
    TRY(recovery_watch_start(&api));
    if (strcmp(region, config->regions[0].name) == 0) TRY(webhook_start(config, api.registry));
    log_info("api.serving", KV("region", region));
    serve_until_end(api.keylink, region);
    log_info("api.ending", KV("region", region));
    /* Requests under way are cut; whatever was acknowledged is in the store. */
    _exit(0);
}

int main(int count, char **words) {
    mem_start_frugal();
    block_signals();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct arguments a = {0};
    log_start("lockset-api", LOG_INFO);
    struct result r = read_arguments(count, words, &a);
    if (is_ok(r)) r = secret_start(HEAP_BYTES, a.is_debuggable);
    if (is_ok(r)) r = run(&a);
    if (is_ok(r)) return 0;
    log_error("api.failed", KV("code", err_name(r.code)), KV("detail", err_detail()));
    fprintf(stderr, "lockset-api: %s\n", err_detail());
    return r.code == ERR_INVALID ? 2 : 1;
}
