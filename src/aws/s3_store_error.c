/* What answers of S3 mean. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "aws/s3_store_priv.h"

const char *s3_trouble_name(enum s3_trouble t) {
    static const char *const names[S3_TROUBLE_MAX] = {
        "none",         "key_refused", "access",      "throttled",     "unreachable", "no_bucket", "not_found",
        "precondition", "range",       "unsupported", "not_encrypted", "broken",      "refused",   "cancelled"};
    return (unsigned)t < S3_TROUBLE_MAX ? names[t] : "unknown";
}

enum err_code s3_trouble_code(enum s3_trouble t) {
    static const enum err_code codes[S3_TROUBLE_MAX] = {[S3_TROUBLE_NONE] = ERR_INTERNAL,
                                                        [S3_TROUBLE_KEY_REFUSED] = ERR_NO_LEASE,
                                                        [S3_TROUBLE_ACCESS] = ERR_FORBIDDEN,
                                                        [S3_TROUBLE_THROTTLED] = ERR_UNREACHABLE,
                                                        [S3_TROUBLE_UNREACHABLE] = ERR_UNREACHABLE,
                                                        [S3_TROUBLE_NO_BUCKET] = ERR_NOT_FOUND,
                                                        [S3_TROUBLE_NOT_FOUND] = ERR_NOT_FOUND,
                                                        [S3_TROUBLE_PRECONDITION] = ERR_PRECONDITION,
                                                        [S3_TROUBLE_RANGE] = ERR_RANGE,
                                                        [S3_TROUBLE_UNSUPPORTED] = ERR_UNSUPPORTED,
                                                        [S3_TROUBLE_NOT_ENCRYPTED] = ERR_PEER,
                                                        [S3_TROUBLE_BROKEN] = ERR_PEER,
                                                        [S3_TROUBLE_REFUSED] = ERR_INVALID,
                                                        [S3_TROUBLE_CANCELLED] = ERR_CANCELLED};
    return codes[t];
}

void s3_header_copy(const struct http_reply *reply, const char *name, char *ret, size_t size) {
    struct slice value = {0};
    http_reply_header(reply, name, &value);
    AUTO_FREE char *text = slice_to_str(value);
    s3_wire_clean(ret, size, text);
}

void s3_failure_read_xml(const struct xml_node *error, struct s3_failure *f) {
    s3_wire_clean(f->code, sizeof f->code, s3_wire_child(error, "Code"));
    s3_wire_clean(f->message, sizeof f->message, s3_wire_child(error, "Message"));
}

void s3_failure_read(int status, const struct http_reply *reply, struct s3_failure *f) {
    AUTO(xml_free_auto) struct xml_node *error = NULL;
    f->http_status = status;
    f->code[0] = f->message[0] = 0;
    s3_header_copy(reply, "x-amz-request-id", f->request_id, sizeof f->request_id);
    if (reply->body.len && is_ok(xml_parse(buf_slice(&reply->body), &error)) && strcmp(error->name, "Error") == 0)
        s3_failure_read_xml(error, f);
}

/* ---- classes ---- */

static const struct {
    const char *code;
    enum s3_trouble trouble;
    enum s3_remedy remedy;
} known[] = {
    {"SlowDown", S3_TROUBLE_THROTTLED, S3_REMEDY_WAIT},
    {"Throttling", S3_TROUBLE_THROTTLED, S3_REMEDY_WAIT},
    {"ThrottlingException", S3_TROUBLE_THROTTLED, S3_REMEDY_WAIT},
    {"RequestLimitExceeded", S3_TROUBLE_THROTTLED, S3_REMEDY_WAIT},
    {"TooManyRequests", S3_TROUBLE_THROTTLED, S3_REMEDY_WAIT},
    {"KMS.ThrottlingException", S3_TROUBLE_THROTTLED, S3_REMEDY_WAIT},
    {"KMS.KMSInternalException", S3_TROUBLE_UNREACHABLE, S3_REMEDY_WAIT},
    {"KMS.DependencyTimeoutException", S3_TROUBLE_UNREACHABLE, S3_REMEDY_WAIT},
    {"KMS.KeyUnavailableException", S3_TROUBLE_UNREACHABLE, S3_REMEDY_WAIT},
    {"InternalError", S3_TROUBLE_UNREACHABLE, S3_REMEDY_WAIT},
    {"ServiceUnavailable", S3_TROUBLE_UNREACHABLE, S3_REMEDY_WAIT},
    {"RequestTimeout", S3_TROUBLE_UNREACHABLE, S3_REMEDY_WAIT},
    {"OperationAborted", S3_TROUBLE_UNREACHABLE, S3_REMEDY_WAIT},
    {"ConditionalRequestConflict", S3_TROUBLE_UNREACHABLE, S3_REMEDY_WAIT},
    /* The body changed or ended on its way. */
    {"BadDigest", S3_TROUBLE_BROKEN, S3_REMEDY_WAIT},
    {"XAmzContentSHA256Mismatch", S3_TROUBLE_BROKEN, S3_REMEDY_WAIT},
    {"IncompleteBody", S3_TROUBLE_BROKEN, S3_REMEDY_WAIT},
    {"RequestTimeTooSkewed", S3_TROUBLE_ACCESS, S3_REMEDY_CLOCK},
    {"RequestExpired", S3_TROUBLE_ACCESS, S3_REMEDY_CLOCK},
    {"ExpiredToken", S3_TROUBLE_ACCESS, S3_REMEDY_CREDENTIALS},
    {"TokenRefreshRequired", S3_TROUBLE_ACCESS, S3_REMEDY_CREDENTIALS},
    {"InvalidToken", S3_TROUBLE_ACCESS, S3_REMEDY_CREDENTIALS},
    {"InvalidAccessKeyId", S3_TROUBLE_ACCESS, S3_REMEDY_CREDENTIALS},
    {"SignatureDoesNotMatch", S3_TROUBLE_ACCESS, S3_REMEDY_CREDENTIALS},
    {"AccessDenied", S3_TROUBLE_ACCESS, S3_REMEDY_NONE},
    {"AccountProblem", S3_TROUBLE_ACCESS, S3_REMEDY_NONE},
    {"AllAccessDisabled", S3_TROUBLE_ACCESS, S3_REMEDY_NONE},
    {"NoSuchBucket", S3_TROUBLE_NO_BUCKET, S3_REMEDY_NONE},
    {"NoSuchKey", S3_TROUBLE_NOT_FOUND, S3_REMEDY_NONE},
    {"NoSuchVersion", S3_TROUBLE_NOT_FOUND, S3_REMEDY_NONE},
    {"NoSuchUpload", S3_TROUBLE_NOT_FOUND, S3_REMEDY_NONE},
    {"PreconditionFailed", S3_TROUBLE_PRECONDITION, S3_REMEDY_NONE},
    {"InvalidRange", S3_TROUBLE_RANGE, S3_REMEDY_NONE},
    {"NotImplemented", S3_TROUBLE_UNSUPPORTED, S3_REMEDY_NONE},
    {"MethodNotAllowed", S3_TROUBLE_UNSUPPORTED, S3_REMEDY_NONE},
};

static enum s3_remedy by_status(struct s3_failure *f) {
    int status = f->http_status;
    f->trouble = S3_TROUBLE_REFUSED;
    if (status == 401 || status == 403) f->trouble = S3_TROUBLE_ACCESS;
    if (status == 404) f->trouble = S3_TROUBLE_NOT_FOUND;
    if (status == 412) f->trouble = S3_TROUBLE_PRECONDITION;
    if (status == 416) f->trouble = S3_TROUBLE_RANGE;
    if (status == 405 || status == 501) f->trouble = S3_TROUBLE_UNSUPPORTED;
    if (status == 429) f->trouble = S3_TROUBLE_THROTTLED;
    if (status == 408 || (status >= 500 && status != 501)) f->trouble = S3_TROUBLE_UNREACHABLE;
    bool waits = f->trouble == S3_TROUBLE_THROTTLED || f->trouble == S3_TROUBLE_UNREACHABLE;
    return waits ? S3_REMEDY_WAIT : S3_REMEDY_NONE;
}

/* S3 refuses on behalf of KMS: "not authorized to perform: kms:Decrypt", "The ciphertext refers to a customer master
 * key that ...", and what Ceph says of a key it can't get. */
static bool tells_of_a_key(const struct s3_failure *f) {
    return strcasestr(f->message, "kms") || strcasestr(f->message, "customer master key") ||
           strcasestr(f->message, "retrieve the actual key");
}

enum s3_remedy s3_failure_classify(struct s3_failure *f) {
    bool denied = f->http_status == 400 || f->http_status == 403;
    bool denied_code = strcmp(f->code, "AccessDenied") == 0 || strcmp(f->code, "InvalidAccessKeyId") == 0 ||
                       strcmp(f->code, "InvalidArgument") == 0;
    if (denied && denied_code && tells_of_a_key(f)) {
        f->trouble = S3_TROUBLE_KEY_REFUSED;
        return S3_REMEDY_NONE;
    }
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (strcmp(f->code, known[i].code) != 0) continue;
        f->trouble = known[i].trouble;
        return known[i].remedy;
    }
    enum s3_remedy remedy = by_status(f);
    if (strncmp(f->code, "KMS.", 4) == 0 && remedy == S3_REMEDY_NONE) f->trouble = S3_TROUBLE_KEY_REFUSED;
    return remedy;
}

/* ---- headers ---- */

struct result s3_check_encryption(const struct s3_store_client *c, const struct http_reply *reply, bool must_tell,
                                  struct s3_failure *f) {
    char kind[64], key[256], bucket_key[16];
    s3_header_copy(reply, "x-amz-server-side-encryption", kind, sizeof kind);
    s3_header_copy(reply, "x-amz-server-side-encryption-aws-kms-key-id", key, sizeof key);
    s3_header_copy(reply, "x-amz-server-side-encryption-bucket-key-enabled", bucket_key, sizeof bucket_key);
    if (!must_tell && !*kind && !*key) return OK;
    f->trouble = S3_TROUBLE_NOT_ENCRYPTED;
    CHECK(*kind, ERR_PEER,
          "the store does not say that the object is encrypted: it ignores x-amz-server-side-encryption");
    CHECK(strcmp(kind, "aws:kms") == 0, ERR_PEER, "asked for aws:kms, the store encrypted with '%.40s'", kind);
    CHECK(strcmp(key, c->key_arn) == 0, ERR_PEER, "asked for the key %s, the store used '%.200s'", c->key_arn, key);
    CHECK(c->bucket_key || strcasecmp(bucket_key, "true") != 0, ERR_PEER,
          "asked for a key of each object's own, the store used a bucket key");
    f->trouble = S3_TROUBLE_NONE;
    return OK;
}

struct result s3_take_etag(struct slice text, char ret[S3_STORE_ETAG_BYTES]) {
    struct slice etag = s3_wire_unquoted(text);
    bool good = etag.len > 0 && etag.len < S3_STORE_ETAG_BYTES;
    for (size_t i = 0; i < etag.len && good; i++)
        good = etag.data[i] > ' ' && etag.data[i] <= '~' && etag.data[i] != '"';
    CHECK(good, ERR_PEER, "the answer has no ETag that can be read");
    mem_copy(ret, etag.data, etag.len);
    ret[etag.len] = 0;
    return OK;
}

struct result s3_take_head(const struct http_reply *reply, bool needs_size, struct s3_head *ret) {
    *ret = (struct s3_head){0};
    struct slice etag = {0}, size, date;
    char kind[64], flag[16];
    uint64_t n = 0;
    http_reply_header(reply, "ETag", &etag);
    TRY(s3_take_etag(etag, ret->etag));
    bool has = http_reply_header(reply, "Content-Length", &size) && is_ok(slice_to_u64(size, INT64_MAX, &n));
    CHECK(has || !needs_size, ERR_PEER, "the answer does not tell the object's size");
    ret->size = (int64_t)n;
    if (http_reply_header(reply, "Last-Modified", &date)) TRY(clock_parse_http(date, &ret->modified_ms));
    s3_header_copy(reply, "x-amz-server-side-encryption", kind, sizeof kind);
    s3_header_copy(reply, "x-amz-server-side-encryption-aws-kms-key-id", ret->key_id, sizeof ret->key_id);
    s3_header_copy(reply, "x-amz-server-side-encryption-bucket-key-enabled", flag, sizeof flag);
    s3_header_copy(reply, "x-amz-version-id", ret->version_id, sizeof ret->version_id);
    ret->is_kms = strcmp(kind, "aws:kms") == 0;
    ret->bucket_key = strcasecmp(flag, "true") == 0;
    return OK;
}
