#include "kms/service.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "aws/sigv4.h"
#include "base/clock.h"
#include "base/log.h"
#include "kms/operations.h"

enum { ANSWER_MAX_BYTES = 2 << 20, REQUEST_ID_BYTES = 37 };
static const char target_prefix[] = "TrentService.";

/* --- A call, once it is known who makes it. --- */

/* Actions that IAM alone decides; ReplicateKey needs one beside the primary's leave, a new key's tags another. */
static struct result check_identity(struct kmsd_call *c) {
    static const struct {
        const char *operation, *action;
    } rows[] = {
        {"CreateKey", "CreateKey"}, {"GenerateRandom", "GenerateRandom"},           {"ListAliases", "ListAliases"},
        {"ListKeys", "ListKeys"},   {"ListRetirableGrants", "ListRetirableGrants"}, {"ReplicateKey", "CreateKey"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].operation, c->operation) == 0) TRY(kmsd_check_identity(c, rows[i].action, "*"));
    bool makes_key = strcmp(c->operation, "CreateKey") == 0 || strcmp(c->operation, "ReplicateKey") == 0;
    bool has_tags = json_array_size(json_object_get(c->input, "Tags")) > 0;
    return makes_key && has_tags ? kmsd_check_identity(c, "TagResource", "*") : OK;
}

static struct result run(struct kmsd_call *c, const struct kmsd_operation *operation, struct slice body) {
    JSON_AUTO(input);
    if (is_err(json_parse_object(body, &input))) REFUSE(c, SERIALIZATION, NULL);
    c->input = input;
    struct result r = check_identity(c);
    if (is_ok(r)) r = operation->run(c);
    c->input = NULL;
    return r;
}

/* What went wrong inside: the log gets the reason, the client AWS's word for it. */
static void refuse_internal(struct kmsd_call *c, struct result r) {
    log_error("kms.failed", KV("operation", c->operation), KV("code", err_name(r.code)), KV("why", err_detail()));
    if (r.code == ERR_TIMEOUT)
        result_ignore(kmsd_refuse(&c->refusal, KMSD_DEPENDENCY_TIMEOUT,
                                  "The system timed out while trying to fulfill the request."));
    else
        result_ignore(kmsd_refuse(&c->refusal, KMSD_INTERNAL,
                                  "The request was rejected because an internal exception occurred."));
}

int kmsd_service_call_from(struct kmsd_service *s, const struct kmsd_origin *origin, const struct kmsd_account *caller,
                           const char *operation, struct slice body, int64_t now_ms, struct buf *out) {
    AUTO(kmsd_call_done)
    struct kmsd_call c = {.store = s->store,
                          .operation = operation,
                          .caller = caller,
                          .source_ip = origin->source_ip,
                          .user_agent = origin->user_agent,
                          .request_id = origin->request_id,
                          .now_ms = now_ms};
    const struct kmsd_operation *known = kmsd_operation_find(operation);
    struct result r;
    if (known == NULL)
        r = kmsd_refuse(&c.refusal, KMSD_UNKNOWN_OPERATION, NULL);
    else
        r = run(&c, known, body);
    if (is_ok(r) && c.output != NULL) r = json_write(c.output, out);
    if (is_err(r)) {
        buf_clear(out);
        if (c.refusal.error == KMSD_OK) refuse_internal(&c, r);
        kmsd_refusal_write(&c.refusal, out);
    }
    log_debug("kms.call", KV("operation", operation), KV("account", caller->account),
              KV("error", kmsd_error_name(c.refusal.error)));
    return is_ok(r) ? 200 : kmsd_error_status(c.refusal.error);
}

int kmsd_service_call(struct kmsd_service *s, const struct kmsd_account *caller, const char *operation,
                      struct slice body, int64_t now_ms, struct buf *out) {
    return kmsd_service_call_from(s, &(struct kmsd_origin){0}, caller, operation, body, now_ms, out);
}

/* --- HTTP. --- */

static void answer_as(struct http_request *r, const char *id, int status, struct slice body) {
    const struct http_field fields[] = {
        {"Content-Type", "application/x-amz-json-1.1"}, {"x-amzn-RequestId", id}, {NULL, NULL}};
    http_answer(r, status, fields, body);
}

static void new_request_id(char ret[static REQUEST_ID_BYTES]) {
    ret[0] = '\0';
    result_ignore(kmsd_key_id_new(false, ret)); // a UUID; without random bytes the answer goes without one
}

static void answer(struct http_request *r, int status, struct slice body) {
    char id[REQUEST_ID_BYTES];
    new_request_id(id);
    answer_as(r, id, status, body);
}

__attribute__((format(printf, 3, 4))) static void answer_refusal(struct http_request *r, enum kmsd_error error,
                                                                 const char *format, ...) {
    AUTO(kmsd_refusal_done) struct kmsd_refusal refusal = {.error = error};
    if (format != NULL) {
        char text[1024];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        refusal.text = str_dup(text);
    }
    BUF_AUTO(body, 8192);
    kmsd_refusal_write(&refusal, &body);
    answer(r, kmsd_error_status(error), buf_slice(&body));
}

static bool look_up(void *arg, const char *access_key_id, struct sigv4_credential *ret) {
    const struct kmsd_service *s = arg;
    struct kmsd_account *a = kmsd_accounts_find(s->accounts, access_key_id);
    if (a == NULL) return false;
    *ret = (struct sigv4_credential){.secret_key = secret_view(&a->secret_key), .user = a};
    return true;
}

/* AWS tells which bound the request's time broke, and what it reckons with. */
static void answer_skew(struct http_request *r, const char *request_date, int64_t now_ms) {
    char now[CLOCK_AMZ_BYTES], bound[CLOCK_AMZ_BYTES];
    int64_t request_ms = 0;
    bool late = is_err(clock_parse_amz(slice_str(request_date), &request_ms)) || request_ms < now_ms;
    clock_format_amz(now_ms, now);
    clock_format_amz(late ? now_ms - KMSD_MAX_SKEW_MS : now_ms + KMSD_MAX_SKEW_MS, bound);
    if (late)
        answer_refusal(r, KMSD_INVALID_SIGNATURE, "Signature expired: %s is now earlier than %s (%s - 5 min.)",
                       request_date, bound, now);
    else
        answer_refusal(r, KMSD_INVALID_SIGNATURE, "Signature not yet current: %s is still later than %s (%s + 5 min.)",
                       request_date, bound, now);
}

static void answer_unauthenticated(struct http_request *r, const struct sigv4_verified *v, const char *region,
                                   int64_t now_ms) {
    switch (v->failure) {
    case SIGV4_NO_AUTH:
        answer_refusal(r, KMSD_MISSING_TOKEN, "Missing Authentication Token");
        break;
    case SIGV4_OTHER_SCHEME:
    case SIGV4_MALFORMED:
    case SIGV4_UNSIGNED_HEADER:
    case SIGV4_EXPIRES_RANGE:
        answer_refusal(r, KMSD_INCOMPLETE_SIGNATURE, "%s", v->detail);
        break;
    case SIGV4_SCOPE:
        if (strcmp(v->region, region) != 0)
            answer_refusal(r, KMSD_INVALID_SIGNATURE, "Credential should be scoped to a valid region. ");
        else
            answer_refusal(r, KMSD_INVALID_SIGNATURE, "Credential should be scoped to correct service: 'kms'.");
        break;
    case SIGV4_SKEWED:
    case SIGV4_EXPIRED:
        answer_skew(r, v->amz_date, now_ms);
        break;
    case SIGV4_UNKNOWN_KEY:
    case SIGV4_BAD_TOKEN:
        answer_refusal(r, KMSD_UNRECOGNIZED_CLIENT, "The security token included in the request is invalid.");
        break;
    case SIGV4_OK:
    case SIGV4_BAD_SIGNATURE:
    case SIGV4_FAILURE_MAX:
        answer_refusal(r, KMSD_INVALID_SIGNATURE,
                       "The request signature we calculated does not match the signature you provided. Check your AWS "
                       "Secret Access Key and signing method. Consult the service documentation for details.");
        break;
    }
}

/* Answers, and returns NULL, unless the signature is good. */
static const struct kmsd_account *authenticate(struct kmsd_service *s, struct http_request *r, int64_t now_ms) {
    SIGV4_FIELDS_AUTO(fields);
    http_each_header(r, sigv4_fields_add, &fields);
    uint8_t digest[SHA256_BYTES];
    BUF_AUTO(digest_hex, 2 * SHA256_BYTES + 1);
    struct result hashed = sha256(http_body(r), digest);
    hex_encode(slice_make(digest, sizeof digest), &digest_hex);
    struct sigv4_request request = {.method = slice_str(http_method(r)),
                                    .path = http_path(r),
                                    .query = http_query(r),
                                    .fields = sigv4_fields_list(&fields),
                                    .payload_hash = buf_slice(&digest_hex),
                                    .path_rule = SIGV4_PATH_DEFAULT};
    struct sigv4_expect expect = {.region = kmsd_store_region(s->store),
                                  .service = "kms",
                                  .now_unix_ms = now_ms,
                                  .max_skew_ms = KMSD_MAX_SKEW_MS,
                                  .lookup = look_up,
                                  .arg = s};
    struct sigv4_verified verified = {0};
    if (is_err(hashed) || is_err(sigv4_verify(&request, &expect, &verified))) {
        log_error("kms.failed", KV("operation", "authentication"), KV("why", err_detail()));
        answer_refusal(r, KMSD_INTERNAL, NULL);
        return NULL;
    }
    if (verified.failure == SIGV4_OK) return verified.user;
    log_debug("kms.unauthenticated", KV("failure", sigv4_failure_name(verified.failure)));
    answer_unauthenticated(r, &verified, expect.region, now_ms);
    return NULL;
}

static bool read_peer(const struct http_request *r, char ret[static INET6_ADDRSTRLEN]) {
    struct sockaddr_storage peer = {0};
    socklen_t len = sizeof peer;
    if (getpeername(http_client_fd(r), (struct sockaddr *)&peer, &len) != 0) return false;
    return getnameinfo((struct sockaddr *)&peer, len, ret, INET6_ADDRSTRLEN, NULL, 0, NI_NUMERICHOST) == 0;
}

static void finish(void *context, struct http_request *r) {
    struct kmsd_service *s = context;
    if (http_answered(r)) return;
    const char *target = http_header(r, "X-Amz-Target");
    if (strcmp(http_method(r), "POST") != 0 || !slice_is(http_path(r), "/") || target == NULL) {
        answer_refusal(r, KMSD_UNKNOWN_PATH, NULL);
        return;
    }
    bool ours = strncmp(target, target_prefix, sizeof target_prefix - 1) == 0;
    const char *operation = target + sizeof target_prefix - 1;
    if (!ours || kmsd_operation_find(operation) == NULL) {
        answer_refusal(r, KMSD_UNKNOWN_OPERATION, NULL);
        return;
    }
    int64_t now_ms = clock_unix_ms();
    const struct kmsd_account *caller = authenticate(s, r, now_ms);
    if (caller == NULL || kmsd_faults_apply(s->faults, r, operation)) return;
    AUTO(buf_done) struct buf body;
    buf_init_wiping(&body, ANSWER_MAX_BYTES);
    char source_ip[INET6_ADDRSTRLEN], id[REQUEST_ID_BYTES];
    new_request_id(id);
    struct kmsd_origin origin = {read_peer(r, source_ip) ? source_ip : NULL, http_header(r, "User-Agent"), id};
    int status = kmsd_service_call_from(s, &origin, caller, operation, http_body(r), now_ms, &body);
    answer_as(r, id, status, buf_slice(&body));
}

static void begin(void *context, struct http_request *r) {}

static void too_large(void *context, struct http_request *r) {
    answer_refusal(r, KMSD_REQUEST_TOO_LARGE, "The request is over the limit of %d bytes.", KMSD_MAX_BODY_BYTES);
}

static void bad_framing(void *context, struct http_request *r, const char *why) {
    answer_refusal(r, KMSD_SERIALIZATION, "Malformed HTTP: %.200s", why);
}

void kmsd_service_options(struct kmsd_service *s, struct http_server_options *options) {
    options->handler = (struct http_handler){.begin = begin, .finish = finish};
    options->context = s;
    options->collect_max_bytes = KMSD_MAX_BODY_BYTES;
    options->too_large = too_large;
    options->bad_framing = bad_framing;
}
