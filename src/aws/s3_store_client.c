#include "aws/s3_store_client.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "aws/s3_store_priv.h"
#include "base/crypto.h"
#include "base/json.h"

enum {
    ATTEMPT_TIMEOUT_MS = 30000,
    TOTAL_TIMEOUT_MS = 60000,
    CONNECT_TIMEOUT_MS = 5000,
    ATTEMPTS = 8,
    BYTES_PER_S = 256 * 1024, /* the slowest transfer that is waited for */
    BACKOFF_FIRST_MS = 50,
    BACKOFF_MAX_MS = 5000,
    SLEEP_STEP_MS = 50,
    ERROR_MAX_BYTES = 65536
};

/* ---- the client ---- */

struct s3_store_client *s3_store_client_free(struct s3_store_client *c) {
    if (!c) return NULL;
    s3_address_done(&c->address);
    mem_free(c->region);
    mem_free(c->bucket);
    mem_free(c->key_arn);
    mem_free(c->context);
    mem_free(c->ca_file);
    mem_free(c);
    return NULL;
}

/* The encryption context as the header wants it: base64 of a JSON object. */
static struct result make_context(const char *org, const char *region, char **ret) {
    BUF_AUTO(json, 2048);
    BUF_AUTO(text, 4096);
    buf_append_str(&json, "{\"lockset:org\":");
    json_write_str(slice_str(org), &json);
    buf_append_str(&json, ",\"lockset:region\":");
    json_write_str(slice_str(region), &json);
    buf_append_str(&json, "}");
    TRY(buf_check(&json));
    base64_encode(buf_slice(&json), &text);
    TRY(buf_check(&text));
    *ret = buf_take_str(&text);
    return OK;
}

static struct result set_encryption(const struct s3_store_client_options *o, struct s3_store_client *c) {
    if (!o->key_arn) return OK;
    CHECK(*o->key_arn && strlen(o->key_arn) < sizeof((struct s3_head){0}).key_id, ERR_INVALID,
          "a key's ARN must have 1 to 255 bytes");
    CHECK(o->context_org && o->context_region, ERR_INTERNAL, "a key without its encryption context");
    c->key_arn = str_dup(o->key_arn);
    c->bucket_key = o->bucket_key;
    return make_context(o->context_org, o->context_region, &c->context);
}

struct result s3_store_client_new(const struct s3_store_client_options *o, struct s3_store_client **ret) {
    CHECK(o->pool && o->credentials && o->region && o->bucket, ERR_INTERNAL,
          "a store's S3 client needs a pool, credentials, a region and a bucket");
    AUTO(s3_store_client_free_auto) struct s3_store_client *c = mem_alloc(sizeof *c);
    TRY(s3_address_make(o->endpoint, o->region, o->bucket, o->path_style, &c->address));
    TRY(set_encryption(o, c));
    c->region = str_dup(o->region);
    c->bucket = str_dup(o->bucket);
    c->ca_file = str_dup(o->ca_file);
    c->pool = o->pool;
    c->credentials = o->credentials;
    c->attempt_timeout_ms = o->attempt_timeout_ms;
    c->total_timeout_ms = o->total_timeout_ms ? o->total_timeout_ms : TOTAL_TIMEOUT_MS;
    c->max_attempts = o->max_attempts ? o->max_attempts : ATTEMPTS;
    c->cancelled = o->cancelled;
    *ret = TAKE(c);
    return OK;
}

/* ---- one attempt ---- */

static void add(struct http_field *list, size_t *count, const char *name, const char *value) {
    if (*count < S3_REQUEST_MAX_PAIRS) list[*count] = (struct http_field){name, value};
    (*count)++; /* too many: s3_request_send tells it */
}

void s3_request_param(struct s3_request *r, const char *name, const char *value) {
    add(r->params, &r->param_count, name, value);
}

void s3_request_field(struct s3_request *r, const char *name, const char *value) {
    add(r->fields, &r->field_count, name, value);
}

static struct result hash_body(struct s3_request *r) {
    uint8_t hash[SHA256_BYTES];
    BUF_AUTO(hex, sizeof r->hash);
    TRY(sha256(r->body, hash));
    hex_encode(slice_make(hash, sizeof hash), &hex);
    TRY(buf_check(&hex));
    mem_copy(r->hash, buf_str(&hex), hex.len + 1);
    return OK;
}

static struct result compose(struct s3_request *r, const struct credentials *k, struct s3_wire *w) {
    struct s3_store_client *c = r->client;
    s3_wire_init(w, &c->address, r->method, r->key);
    for (size_t i = 0; i < r->param_count; i++)
        s3_wire_param(w, r->params[i].name, r->params[i].value);
    for (size_t i = 0; i < r->field_count; i++)
        s3_wire_field(w, r->fields[i].name, r->fields[i].value);
    if (r->encrypts && c->key_arn) {
        s3_wire_field(w, "x-amz-server-side-encryption", "aws:kms");
        s3_wire_field(w, "x-amz-server-side-encryption-aws-kms-key-id", c->key_arn);
        s3_wire_field(w, "x-amz-server-side-encryption-context", c->context);
        s3_wire_field(w, "x-amz-server-side-encryption-bucket-key-enabled", c->bucket_key ? "true" : "false");
    }
    struct s3_wire_signer signer = {.region = c->region,
                                    .key_id = k->access_key_id,
                                    .secret_key = secret_view(&k->secret_key),
                                    .token = secret_view(&k->session_token),
                                    .unix_ms = clock_unix_ms() + atomic_load(&c->clock_offset_ms)};
    return s3_wire_finish(w, &signer, r->hash);
}

/* A call that brought no answer. Only for our own trouble the result is a failure. */
static struct result no_answer(struct s3_request *r, struct result sent, struct s3_failure *f) {
    bool lost = sent.code == ERR_UNREACHABLE || sent.code == ERR_TIMEOUT || sent.code == ERR_PEER;
    f->trouble = S3_TROUBLE_UNREACHABLE;
    f->unsure |= r->changes;
    if (sent.code == ERR_CANCELLED) f->trouble = S3_TROUBLE_CANCELLED;
    if (sent.code == ERR_TOO_LARGE) f->trouble = S3_TROUBLE_BROKEN;
    if (!lost && f->trouble == S3_TROUBLE_UNREACHABLE) return sent;
    s3_wire_clean(f->message, sizeof f->message, err_detail());
    return OK;
}

static struct result judge(struct s3_request *r, const struct http_reply *reply, struct s3_failure *f) {
    if (!r->judge) return OK;
    struct result good = r->judge(r, reply, f);
    if (is_ok(good)) return OK;
    if (good.code != ERR_PEER && f->trouble == S3_TROUBLE_NONE) return good;
    if (f->trouble == S3_TROUBLE_NONE) f->trouble = S3_TROUBLE_BROKEN;
    if (!f->message[0]) s3_wire_clean(f->message, sizeof f->message, err_detail());
    f->unsure |= r->changes;
    return OK;
}

static struct result attempt(struct s3_request *r, const struct credentials *k, int64_t left_ms,
                             struct http_reply *reply, struct s3_failure *f, enum s3_remedy *ret_remedy) {
    struct s3_store_client *c = r->client;
    AUTO(s3_wire_done) struct s3_wire w = {0};
    TRY(compose(r, k, &w));
    int64_t timeout =
        c->attempt_timeout_ms ? c->attempt_timeout_ms : ATTEMPT_TIMEOUT_MS + r->transfer_bytes * 1000 / BYTES_PER_S;
    if (timeout > left_ms) timeout = left_ms;
    struct http_call call = {.method = r->method,
                             .url = w.url,
                             .fields = w.fields,
                             .body = r->body,
                             .connect_timeout_ms =
                                 timeout < CONNECT_TIMEOUT_MS ? (unsigned)timeout : CONNECT_TIMEOUT_MS,
                             .timeout_ms = (unsigned)timeout,
                             .write_body = r->write_body,
                             .see_head = r->see_head,
                             .arg = r->arg,
                             .max_reply_bytes = r->write_body                    ? 0
                                                : r->max_reply > ERROR_MAX_BYTES ? r->max_reply
                                                                                 : ERROR_MAX_BYTES,
                             .cancelled = c->cancelled,
                             .ca_file = c->ca_file};
    *ret_remedy = S3_REMEDY_WAIT;
    r->stopped = r->satisfied = false;
    struct result sent = http_call(c->pool, &call, reply);
    if (r->stopped || r->satisfied) return judge(r, reply, f); /* the receiver's own doing */
    if (is_err(sent)) return no_answer(r, sent, f);
    f->http_status = reply->status;
    if (reply->status >= 200 && reply->status <= 299) return judge(r, reply, f);
    if (r->refusal) buf_append_slice(&reply->body, buf_slice(r->refusal));
    s3_failure_read(reply->status, reply, f);
    *ret_remedy = s3_failure_classify(f);
    f->unsure |= r->changes && f->trouble == S3_TROUBLE_UNREACHABLE;
    return OK;
}

/* ---- the call with its retries ---- */

/* What is tried once only. */
struct mended {
    bool clock, credentials;
};

static bool is_cancelled(const struct s3_store_client *c) {
    return c->cancelled && __atomic_load_n(c->cancelled, __ATOMIC_RELAXED);
}

/* Sleeps for a random part of the back-off. False if the call's time would be over, or it was cancelled. */
static bool wait_before_retry(const struct s3_store_client *c, unsigned attempts, int64_t left_ms) {
    int64_t most = BACKOFF_FIRST_MS;
    for (unsigned i = 1; i < attempts && most < BACKOFF_MAX_MS; i++)
        most *= 2;
    uint32_t random = 0;
    /* Without randomness the wait is the longest one. */
    int64_t wait = is_ok(random_bytes(&random, sizeof random)) ? (int64_t)(random % (uint64_t)(most + 1)) : most;
    if (wait >= left_ms) return false;
    for (; wait > 0 && !is_cancelled(c); wait -= SLEEP_STEP_MS)
        clock_sleep_ms(wait < SLEEP_STEP_MS ? wait : SLEEP_STEP_MS);
    return !is_cancelled(c);
}

/* S3's Date header says what its clock shows. */
static bool correct_clock(struct s3_store_client *c, const struct http_reply *reply) {
    struct slice date;
    int64_t theirs;
    if (!http_reply_header(reply, "Date", &date) || is_err(clock_parse_http(date, &theirs))) return false;
    atomic_store(&c->clock_offset_ms, theirs - clock_unix_ms());
    return true;
}

/* Is one more attempt worth it? Mends what can be mended on our side, or waits. */
static bool prepare_retry(struct s3_request *r, const struct http_reply *reply, const struct s3_failure *f,
                          enum s3_remedy remedy, const char *key_id, struct mended *m, int64_t left_ms) {
    bool passing =
        f->trouble == S3_TROUBLE_THROTTLED || f->trouble == S3_TROUBLE_UNREACHABLE || f->trouble == S3_TROUBLE_BROKEN;
    bool first = false;
    switch (remedy) {
    case S3_REMEDY_NONE:
        return false;
    case S3_REMEDY_CLOCK:
        first = !m->clock;
        m->clock = true;
        return first && correct_clock(r->client, reply);
    case S3_REMEDY_CREDENTIALS:
        first = !m->credentials;
        m->credentials = true;
        return first && credentials_provider_renew(r->client->credentials, key_id);
    case S3_REMEDY_WAIT:
        break;
    }
    return passing && wait_before_retry(r->client, f->attempts, left_ms);
}

static struct result tell(const struct s3_request *r, const struct s3_failure *f) {
    const char *bucket = r->client->bucket;
    AUTO_FREE char *tries = f->attempts > 1 ? str_format(", after %u attempts", f->attempts) : str_dup("");
    enum err_code code = s3_trouble_code(f->trouble);
    if (!f->http_status) FAIL(code, "%s in bucket '%s': %s%s", r->what, bucket, f->message, tries);
    bool broken = f->trouble == S3_TROUBLE_BROKEN && f->http_status < 300;
    if (broken || f->trouble == S3_TROUBLE_NOT_ENCRYPTED)
        FAIL(code, "%s in bucket '%s': %s%s", r->what, bucket, f->message, tries);
    FAIL(code, "%s in bucket '%s': S3 answers %d %s%s%s%s", r->what, bucket, f->http_status, f->code,
         *f->message ? ": " : "", f->message, tries);
}

static struct result get_credentials(struct s3_store_client *c, struct credentials *ret, struct s3_failure *f) {
    struct result r = credentials_provider_get(c->credentials, ret);
    bool passing = r.code == ERR_UNREACHABLE || r.code == ERR_TIMEOUT || r.code == ERR_PEER;
    if (is_err(r)) f->trouble = passing ? S3_TROUBLE_UNREACHABLE : S3_TROUBLE_ACCESS;
    return r;
}

static struct result send_all(struct s3_request *r, struct http_reply *reply, struct s3_failure *f) {
    struct s3_store_client *c = r->client;
    int64_t total_ms = c->total_timeout_ms + r->transfer_bytes * 1000 / BYTES_PER_S;
    int64_t deadline_ns = clock_boottime_ns() + total_ms * NS_PER_MS;
    struct mended mended = {0};
    unsigned counted = 0;
    for (;;) {
        CREDENTIALS_AUTO(k);
        enum s3_remedy remedy = S3_REMEDY_NONE;
        *f = (struct s3_failure){.attempts = f->attempts + 1, .unsure = f->unsure};
        http_reply_done(reply);
        r->progressed = false;
        if (r->prepare) TRY(r->prepare(r));
        TRY(get_credentials(c, &k, f));
        int64_t left = (deadline_ns - clock_boottime_ns()) / NS_PER_MS;
        TRY(attempt(r, &k, left > 1 ? left : 1, reply, f, &remedy));
        if (f->trouble == S3_TROUBLE_NONE) return OK;
        counted = r->progressed ? 1 : counted + 1;
        left = (deadline_ns - clock_boottime_ns()) / NS_PER_MS;
        /* New credentials and the right time are no second attempt at what failed. */
        bool waits = remedy == S3_REMEDY_WAIT;
        if (left <= 0 || (waits && counted >= c->max_attempts) ||
            !prepare_retry(r, reply, f, remedy, k.access_key_id, &mended, left))
            return tell(r, f);
    }
}

struct result s3_request_send(struct s3_request *r, struct http_reply *reply, struct s3_failure *why) {
    struct s3_failure f = {0};
    CHECK(r->param_count <= S3_REQUEST_MAX_PAIRS && r->field_count <= S3_REQUEST_MAX_PAIRS, ERR_INTERNAL,
          "a request to S3 with too many fields");
    CHECK(!r->key || (*r->key && strlen(r->key) <= S3_STORE_MAX_KEY_BYTES), ERR_INVALID,
          "an object's key has 1 to %d bytes", S3_STORE_MAX_KEY_BYTES);
    TRY(hash_body(r));
    if (r->body.len) r->transfer_bytes = (int64_t)r->body.len;
    struct result done = send_all(r, reply, &f);
    if (why) *why = f;
    if (is_err(done)) http_reply_done(reply);
    return done;
}
