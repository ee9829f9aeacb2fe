#include "aws/kms_client.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "aws/sigv4.h"
#include "base/clock.h"
#include "base/crypto.h"

enum {
    ATTEMPT_TIMEOUT_MS = 5000,
    TOTAL_TIMEOUT_MS = 15000,
    ATTEMPTS = 3,
    ATTEMPTS_MAX = 10,
    CONNECT_TIMEOUT_MAX_MS = 3000,
    BACKOFF_FIRST_MS = 100,
    BACKOFF_MAX_MS = 2000,
    SLEEP_STEP_MS = 50,
    REPLY_MAX_BYTES = 256 * 1024,
    REQUEST_MAX_BYTES = 64 * 1024,
};

struct kms_client {
    char *region, *endpoint, *host, *file, *profile;
    struct http_pool *pool;
    pthread_mutex_t lock; /* guards credentials */
    struct credentials credentials;
    _Atomic int64_t clock_offset_ms; /* AWS's clock minus ours, as far as an answer told us */
};

/* --- The client itself. --- */

/* Only scheme, host and port: a path or credentials in it would be signed or sent in ways nobody expects. */
static struct result check_endpoint(const char *endpoint, const char **ret_authority) {
    struct slice url = slice_str(endpoint);
    const char *authority = NULL;
    if (slice_starts_with(url, "https://")) authority = endpoint + strlen("https://");
    if (slice_starts_with(url, "http://")) authority = endpoint + strlen("http://");
    CHECK(authority && *authority, ERR_INVALID, "a KMS endpoint is http(s)://HOST[:PORT], not '%.80s'", endpoint);
    for (const char *p = authority; *p; p++)
        CHECK(*p > ' ' && *p <= '~' && strchr("/?#@\\", *p) == NULL, ERR_INVALID,
              "a KMS endpoint is http(s)://HOST[:PORT] and nothing behind it, not '%.80s'", endpoint);
    *ret_authority = authority;
    return OK;
}

static char *default_endpoint(const char *region, const char *partition) {
    const char *suffix = strcmp(partition, "aws-cn") == 0 ? ".cn" : "";
    return str_format("https://kms.%s.amazonaws.com%s", region, suffix);
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

/* The Host header leaves the scheme's own port out. */
static char *host_of(const char *endpoint, const char *authority) {
    const char *port = slice_starts_with(slice_str(endpoint), "https:") ? ":443" : ":80";
    size_t n = strlen(authority);
    return str_ndup(authority, ends_with(authority, port) ? n - strlen(port) : n);
}

struct kms_client *kms_client_free(struct kms_client *c) {
    if (c == NULL) return NULL;
    mem_free(c->region);
    mem_free(c->endpoint);
    mem_free(c->host);
    mem_free(c->file);
    mem_free(c->profile);
    credentials_done(&c->credentials);
    pthread_mutex_destroy(&c->lock);
    mem_free(c);
    return NULL;
}

struct result kms_client_new(const struct kms_client_options *options, struct kms_client **ret) {
    CHECK(options->region && options->pool, ERR_INTERNAL, "a KMS client needs a region and a pool");
    const char *partition = arn_partition_of_region(slice_str(options->region));
    CHECK(partition, ERR_INVALID, "'%.40s' is not the name of a region Lockset knows", options->region);
    AUTO_FREE char *endpoint =
        options->endpoint ? str_dup(options->endpoint) : default_endpoint(options->region, partition);
    size_t n = strlen(endpoint);
    if (n > 0 && endpoint[n - 1] == '/') endpoint[n - 1] = 0;
    const char *authority = "";
    TRY(check_endpoint(endpoint, &authority));
    CREDENTIALS_AUTO(credentials);
    TRY(credentials_load(&options->credentials, &credentials));
    struct kms_client *c = mem_alloc(sizeof *c);
    c->region = str_dup(options->region);
    c->host = host_of(endpoint, authority);
    c->endpoint = TAKE(endpoint);
    c->file = str_dup(options->credentials.file);
    c->profile = str_dup(options->credentials.profile);
    c->pool = options->pool;
    pthread_mutex_init(&c->lock, NULL);
    c->credentials = credentials;
    credentials = (struct credentials){0};
    *ret = c;
    return OK;
}

const char *kms_client_region(const struct kms_client *c) {
    return c->region;
}

const char *kms_client_endpoint(const struct kms_client *c) {
    return c->endpoint;
}

static bool is_same(const struct credentials *a, const struct credentials *b) {
    return strcmp(a->access_key_id, b->access_key_id) == 0 &&
           secret_equal(secret_view(&a->secret_key), secret_view(&b->secret_key)) &&
           secret_equal(secret_view(&a->session_token), secret_view(&b->session_token));
}

/* Reads the credentials again. Did they change? */
static bool reload_credentials(struct kms_client *c) {
    CREDENTIALS_AUTO(fresh);
    struct credentials_source source = {.file = c->file, .profile = c->profile};
    /* What is gone or half written may be whole again at the next call; until then the old ones stay. */
    if (is_err(credentials_load(&source, &fresh))) return false;
    pthread_mutex_lock(&c->lock);
    bool changed = !is_same(&c->credentials, &fresh);
    if (changed) {
        struct credentials old = c->credentials;
        c->credentials = fresh;
        fresh = old;
    }
    pthread_mutex_unlock(&c->lock);
    return changed;
}

/* --- One attempt. --- */

/* A call in progress. */
struct call {
    struct kms_client *client;
    const struct kms_request *request;
    const bool *cancelled;
    struct buf body;
    char *target, *url;
    char payload_hash[2 * SHA256_BYTES + 1];
    int64_t deadline_ns;
    unsigned attempt_timeout_ms;
    bool clock_corrected, credentials_reloaded;
};

static void call_done(struct call *k) {
    buf_done(&k->body);
    mem_free(k->target);
    mem_free(k->url);
}

static struct result sign(struct call *k, const struct http_field *fields, struct sigv4_signed *ret,
                          struct buf *token) {
    struct kms_client *c = k->client;
    struct sigv4_request r = {
        .method = slice_str("POST"),
        .path = slice_str("/"),
        .fields = fields,
        .payload_hash = slice_str(k->payload_hash),
        .path_rule = SIGV4_PATH_DEFAULT,
    };
    pthread_mutex_lock(&c->lock);
    struct sigv4_signer s = {
        .access_key_id = c->credentials.access_key_id,
        .secret_key = secret_view(&c->credentials.secret_key),
        .session_token = secret_view(&c->credentials.session_token),
        .region = c->region,
        .service = "kms",
        .unix_ms = clock_unix_ms() + atomic_load(&c->clock_offset_ms),
    };
    buf_append_slice(token, s.session_token);
    struct result made = sigv4_sign(&s, &r, ret);
    pthread_mutex_unlock(&c->lock);
    TRY(buf_check(token));
    return made;
}

static void no_answer(struct kms_answer *a, struct result r) {
    switch ((int)r.code) {
    case ERR_TIMEOUT:
        a->error = KMS_TIMEOUT;
        break;
    case ERR_CANCELLED:
        a->error = KMS_CANCELLED;
        break;
    case ERR_UNREACHABLE:
    case ERR_PEER: /* broken off, or no HTTP at all */
        a->error = KMS_UNREACHABLE;
        break;
    default:
        a->error = KMS_UNKNOWN;
        break;
    }
    BUF_AUTO(text, KMS_MESSAGE_BYTES - 1);
    buf_append_str(&text, err_detail());
    mem_copy(a->message, buf_str(&text), text.len + 1);
}

/* AWS's Date header says what its clock shows. True if there was one. */
static bool correct_clock(struct kms_client *c, const struct http_reply *reply) {
    struct slice date;
    int64_t theirs;
    if (!http_reply_header(reply, "Date", &date) || is_err(clock_parse_http(date, &theirs))) return false;
    atomic_store(&c->clock_offset_ms, theirs - clock_unix_ms());
    return true;
}

static struct result attempt(struct call *k, unsigned timeout_ms, struct kms_answer *ret, bool *ret_clock_corrected) {
    struct kms_client *c = k->client;
    struct http_field fields[8] = {
        {"Content-Type", "application/x-amz-json-1.1"}, {"Host", c->host}, {"X-Amz-Target", k->target}};
    AUTO(sigv4_signed_done) struct sigv4_signed made = {0};
    BUF_AUTO(token, REQUEST_MAX_BYTES);
    token.wipes = true;
    TRY(sign(k, fields, &made, &token));
    size_t n = 3;
    fields[n++] = (struct http_field){"X-Amz-Date", made.amz_date};
    if (token.len > 0) fields[n++] = (struct http_field){"X-Amz-Security-Token", buf_str(&token)};
    fields[n++] = (struct http_field){"Authorization", buf_str(&made.authorization)};
    struct http_call call = {
        .method = "POST",
        .url = k->url,
        .fields = fields,
        .body = buf_slice(&k->body),
        .connect_timeout_ms = timeout_ms < CONNECT_TIMEOUT_MAX_MS ? timeout_ms : CONNECT_TIMEOUT_MAX_MS,
        .timeout_ms = timeout_ms,
        .max_reply_bytes = REPLY_MAX_BYTES,
        .cancelled = k->cancelled,
    };
    AUTO(http_reply_done) struct http_reply reply = {0};
    ret->sent_boottime_ns = clock_boottime_ns();
    struct result sent = http_call(c->pool, &call, &reply);
    if (is_err(sent)) {
        no_answer(ret, sent);
        return OK;
    }
    struct slice request_id = {0};
    http_reply_header(&reply, "x-amzn-RequestId", &request_id);
    kms_message_parse(k->request, reply.status, request_id, buf_slice(&reply.body), ret);
    *ret_clock_corrected = ret->error == KMS_CLOCK_SKEW && correct_clock(c, &reply);
    return OK;
}

/* --- The call with its retries. --- */

static struct result call_init(struct call *k, const struct kms_call_options *o) {
    unsigned total_ms = o->total_timeout_ms ? o->total_timeout_ms : TOTAL_TIMEOUT_MS;
    k->deadline_ns = clock_boottime_ns() + total_ms * NS_PER_MS;
    k->attempt_timeout_ms = o->attempt_timeout_ms ? o->attempt_timeout_ms : ATTEMPT_TIMEOUT_MS;
    k->cancelled = o->cancelled;
    k->target = str_format("TrentService.%s", kms_operation_name(k->request->operation));
    k->url = str_format("%s/", k->client->endpoint);
    buf_init_wiping(&k->body, REQUEST_MAX_BYTES);
    TRY(kms_message_build(k->request, &k->body));
    uint8_t hash[SHA256_BYTES];
    TRY(sha256(buf_slice(&k->body), hash));
    BUF_AUTO(hex, sizeof k->payload_hash);
    hex_encode(slice_make(hash, sizeof hash), &hex);
    TRY(buf_check(&hex));
    mem_copy(k->payload_hash, buf_str(&hex), sizeof k->payload_hash);
    return OK;
}

static int64_t left_ms(const struct call *k) {
    return (k->deadline_ns - clock_boottime_ns()) / NS_PER_MS;
}

static bool is_cancelled(const struct call *k) {
    return k->cancelled && __atomic_load_n(k->cancelled, __ATOMIC_RELAXED);
}

/* Sleeps for a random part of the back-off. False if the call's time would be over, or it was cancelled. */
static bool wait_before_retry(const struct call *k, unsigned attempts) {
    int64_t most = BACKOFF_FIRST_MS;
    for (unsigned i = 1; i < attempts && most < BACKOFF_MAX_MS; i++)
        most *= 2;
    uint32_t random = 0;
    /* Without randomness the wait is the longest one. */
    int64_t wait = is_ok(random_bytes(&random, sizeof random)) ? (int64_t)(random % (uint64_t)(most + 1)) : most;
    if (wait >= left_ms(k)) return false;
    for (; wait > 0 && !is_cancelled(k); wait -= SLEEP_STEP_MS)
        clock_sleep_ms(wait < SLEEP_STEP_MS ? wait : SLEEP_STEP_MS);
    return !is_cancelled(k);
}

/* Is one more attempt worth it? Mends what can be mended on our side, or waits. */
static bool prepare_retry(struct call *k, const struct kms_answer *a, bool clock_corrected) {
    if (a->error == KMS_CLOCK_SKEW) {
        bool first = clock_corrected && !k->clock_corrected;
        k->clock_corrected = true;
        return first;
    }
    if (a->error == KMS_CREDENTIALS) {
        bool first = !k->credentials_reloaded;
        k->credentials_reloaded = true;
        return first && reload_credentials(k->client);
    }
    return kms_error_is_retryable(a->error) && wait_before_retry(k, a->attempts);
}

struct result kms_client_call(struct kms_client *c, const struct kms_request *request,
                              const struct kms_call_options *options, struct kms_answer *ret) {
    static const struct kms_call_options defaults;
    const struct kms_call_options *o = options ? options : &defaults;
    unsigned max_attempts = o->max_attempts ? o->max_attempts : ATTEMPTS;
    if (max_attempts > ATTEMPTS_MAX) max_attempts = ATTEMPTS_MAX;
    AUTO(call_done) struct call k = {.client = c, .request = request};
    TRY(call_init(&k, o));
    KMS_ANSWER_AUTO(answer);
    answer = (struct kms_answer){.error = KMS_TIMEOUT, .message = "the time for this call was over before it was sent"};
    for (unsigned n = 1;; n++) {
        int64_t left = left_ms(&k);
        if (left <= 0) break;
        char earlier[KMS_REQUEST_ID_BYTES];
        snprintf(earlier, sizeof earlier, "%s", answer.request_id);
        kms_answer_done(&answer);
        bool clock_corrected = false;
        TRY(attempt(&k, left < k.attempt_timeout_ms ? (unsigned)left : k.attempt_timeout_ms, &answer,
                    &clock_corrected));
        answer.attempts = n;
        snprintf(answer.earlier_request_id, sizeof answer.earlier_request_id, "%s", earlier);
        bool again =
            (n < max_attempts || answer.error == KMS_CREDENTIALS) && prepare_retry(&k, &answer, clock_corrected);
        if (!again || n >= max_attempts) break;
    }
    *ret = answer;
    answer = (struct kms_answer){0};
    return OK;
}
