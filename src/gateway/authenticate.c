/* Who asks: Signature V4 in a header or presigned. The body is held to x-amz-content-sha256 by s3_digest. */
#include <string.h>
#include <strings.h>

#include "aws/sigv4.h"
#include "base/clock.h"
#include "gateway/exchange.h"

enum { MAX_SKEW_MS = 15 * 60 * 1000 };

static bool lookup(void *arg, const char *access_key_id, struct sigv4_credential *ret) {
    struct exchange *x = arg;
    const struct gateway_credentials *own = &x->listener->credentials;
    if (x->settings->secret != NULL) {
        if (!x->settings->secret(x->settings->secret_arg, access_key_id, x->secret_key)) return false;
    } else {
        /* An access key id is no secret; the secret key is compared inside of sigv4. */
        if (own->access_key[0] == '\0' || strcmp(access_key_id, own->access_key) != 0) return false;
        mem_copy(x->secret_key, own->secret_key, sizeof x->secret_key);
    }
    *ret = (struct sigv4_credential){.secret_key = slice_str(x->secret_key)};
    return true;
}

static enum s3_error error_of(const struct sigv4_verified *v) {
    switch (v->failure) {
    case SIGV4_MALFORMED:
    case SIGV4_SCOPE:
        return v->is_presigned ? S3_ERR_AUTH_QUERY_PARAMETERS : S3_ERR_AUTH_HEADER_MALFORMED;
    case SIGV4_OTHER_SCHEME:
        return S3_ERR_INVALID_REQUEST;
    case SIGV4_EXPIRES_RANGE:
        return S3_ERR_AUTH_QUERY_PARAMETERS;
    case SIGV4_SKEWED:
        return S3_ERR_REQUEST_TIME_SKEWED;
    case SIGV4_UNKNOWN_KEY:
        return S3_ERR_INVALID_ACCESS_KEY;
    case SIGV4_BAD_SIGNATURE:
        return S3_ERR_SIGNATURE_MISMATCH;
    case SIGV4_OK:
    case SIGV4_NO_AUTH:
    case SIGV4_EXPIRED:
    case SIGV4_BAD_TOKEN:
    case SIGV4_UNSIGNED_HEADER:
    case SIGV4_FAILURE_MAX:
        break;
    }
    return S3_ERR_ACCESS_DENIED;
}

static void refuse(struct exchange *x, const struct sigv4_verified *v) {
    const char *hint = "";
    if (v->failure == SIGV4_OTHER_SCHEME)
        hint = " Only AWS4-HMAC-SHA256 is served (in boto3: signature_version='s3v4').";
    if (v->failure == SIGV4_NO_AUTH) hint = " Anonymous requests are not served.";
    /* In S3's own words, which clients look for. */
    const char *what = v->failure == SIGV4_EXPIRED ? "Request has expired: " : "";
    enum s3_error error = error_of(v);
    exchange_fail(x, error, "%s%s%s", what, v->detail[0] != '\0' ? v->detail : s3_error_text(error), hint);
}

/* Chunks are signed with the request's own signing key, each after the signature before. */
static bool keep_signing_key(struct exchange *x, const char *content_sha256) {
    enum sigv4_payload form = sigv4_payload_parse(content_sha256, NULL);
    if (form != SIGV4_PAYLOAD_STREAMING && form != SIGV4_PAYLOAD_STREAMING_TRAILER) return true;
    struct result r = sigv4_signing_key(slice_str(x->secret_key), x->authorized.amz_date, x->authorized.region, "s3",
                                        &x->signing_key);
    if (is_ok(r)) return true;
    exchange_fail_result(x, r, S3_ERR_ACCESS_DENIED);
    return false;
}

const char *exchange_content_sha256(const struct exchange *x) {
    const char *header = exchange_header(x, "x-amz-content-sha256");
    return header != NULL ? header : http_query_param(x->http, "X-Amz-Content-Sha256");
}

bool exchange_authenticate(struct exchange *x) {
    SIGV4_FIELDS_AUTO(fields);
    http_each_header(x->http, sigv4_fields_add, &fields);
    const char *content_sha256 = exchange_content_sha256(x);
    const struct sigv4_request request = {
        .method = slice_str(http_method(x->http)),
        .path = http_path(x->http),
        .query = http_query(x->http),
        .fields = sigv4_fields_list(&fields),
        .payload_hash = slice_str(content_sha256 != NULL ? content_sha256 : "UNSIGNED-PAYLOAD"),
        .path_rule = SIGV4_PATH_S3,
    };
    struct sigv4_expect expect = {
        .region = x->settings->region,
        .service = "s3",
        .now_unix_ms = clock_unix_ms(),
        .max_skew_ms = MAX_SKEW_MS,
        .lookup = lookup,
        .arg = x,
    };
    struct sigv4_verified v = {0};
    struct result r = sigv4_verify(&request, &expect, &v);
    if (is_ok(r) && v.failure == SIGV4_SCOPE && strcmp(v.region, "us-east-1") == 0) {
        /* What ClickHouse and most tools sign when they were given an endpoint and no region. */
        expect.region = "us-east-1";
        r = sigv4_verify(&request, &expect, &v);
    }
    if (is_err(r)) {
        exchange_fail_result(x, r, S3_ERR_ACCESS_DENIED);
        return false;
    }
    if (v.failure != SIGV4_OK) {
        refuse(x, &v);
        return false;
    }
    if (content_sha256 == NULL && !v.is_presigned) {
        exchange_fail(x, S3_ERR_INVALID_REQUEST, "the header x-amz-content-sha256 is missing");
        return false;
    }
    x->authorized = v;
    bool kept = keep_signing_key(x, content_sha256);
    wipe(x->secret_key, sizeof x->secret_key);
    return kept;
}
