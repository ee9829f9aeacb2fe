#include "gateway/gateway.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/log.h"
#include "gateway/exchange.h"

enum { DEFAULT_CONNECTIONS = 1024, IDLE_TIMEOUT_S = 75 };

struct gateway {
    struct gateway_settings settings;
    unsigned max_connections;
    _Atomic uint64_t epoch;    /* the only one that may commit; 0: none */
    struct listener *listener; /* NULL: not serving */
    uint64_t last_epoch;       /* the highest served so far */
};

const struct gateway_settings *gateway_settings(const struct gateway *g) {
    return &g->settings;
}

/* Runs under the store's commit lock, so no commit of an old epoch can follow one of a new. */
static struct result guard(void *arg, uint64_t token) {
    const struct gateway *g = arg;
    CHECK(token != 0 && atomic_load(&g->epoch) == token, ERR_CONFLICT,
          "this writer's epoch is over; another engine writes now");
    return OK;
}

static struct result random_text(char *to, size_t len, const char *alphabet, unsigned alphabet_len) {
    uint8_t bytes[GATEWAY_SECRET_KEY_BYTES];
    TRY(random_bytes(bytes, len));
    for (size_t i = 0; i < len; i++)
        to[i] = alphabet[bytes[i] % alphabet_len]; /* both alphabets have a power of two: no bias */
    to[len] = '\0';
    wipe(bytes, sizeof bytes);
    return OK;
}

struct result gateway_credentials_random(struct gateway_credentials *ret) {
    static const char upper[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    struct gateway_credentials made = {.access_key = "LSKT"};
    TRY(random_text(made.access_key + 4, 16, upper, 32));
    TRY(random_text(made.secret_key, 40, base64, 64));
    *ret = made;
    wipe(&made, sizeof made);
    return OK;
}

struct result gateway_new(const struct gateway_options *options, struct gateway **ret) {
    struct gateway *g = mem_alloc(sizeof *g);
    g->settings = (struct gateway_settings){
        .store = options->store,
        .lease = options->lease,
        .secret = options->secret,
        .secret_arg = options->secret_arg,
        .region = str_dup(options->region),
        .bucket = str_dup(options->bucket != NULL ? options->bucket : "lockset"),
        .key_arn = str_dup(options->key_arn),
        .bucket_created_ms = options->bucket_created_ms,
    };
    g->max_connections = options->max_connections != 0 ? options->max_connections : DEFAULT_CONNECTIONS;
    store_set_commit_guard(options->store, guard, g);
    *ret = g;
    return OK;
}

void gateway_stop(struct gateway *g) {
    atomic_store(&g->epoch, 0); /* first: what runs now can't commit any more */
    if (g->listener == NULL) return;
    g->listener->server = http_server_stop(g->listener->server, true);
    wipe(&g->listener->credentials, sizeof g->listener->credentials);
    mem_free(g->listener);
    g->listener = NULL;
}

struct gateway *gateway_free(struct gateway *g) {
    if (g == NULL) return NULL;
    gateway_stop(g);
    mem_free(g->settings.region);
    mem_free(g->settings.bucket);
    mem_free(g->settings.key_arn);
    mem_free(g);
    return NULL;
}

struct result gateway_serve(struct gateway *g, uint64_t epoch, int listen_fd,
                            const struct gateway_credentials *credentials) {
    if (epoch <= g->last_epoch) {
        close(listen_fd);
        FAIL(ERR_CONFLICT, "epoch %llu is not above the last one, %llu", (unsigned long long)epoch,
             (unsigned long long)g->last_epoch);
    }
    g->last_epoch = epoch;
    gateway_stop(g);
    struct listener *listener = mem_alloc(sizeof *listener);
    listener->gateway = g;
    listener->epoch = epoch;
    if (credentials != NULL) listener->credentials = *credentials;
    const struct http_server_options options = {
        .listen_fd = listen_fd,
        .handler = exchange_handler,
        .context = listener,
        .bad_framing = exchange_bad_framing,
        .max_connections = g->max_connections,
        .idle_timeout_s = IDLE_TIMEOUT_S,
    };
    atomic_store(&g->epoch, epoch);
    struct result r = http_server_start(&options, &listener->server);
    if (is_err(r)) {
        atomic_store(&g->epoch, 0);
        wipe(&listener->credentials, sizeof listener->credentials);
        mem_free(listener);
        return r;
    }
    g->listener = listener;
    return OK;
}
