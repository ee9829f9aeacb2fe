/* AWS Signature Version 4: signing and verifying. Pure: no I/O, no clock, no knowledge of any server.
 * Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html and, for S3,
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html. Thread-safe.
 *
 * Stages: canonical request -> string to sign -> signing key -> signature. Each can be had by itself, so that a test
 * (or a person) sees which one differs. Signing keys and secrets are wiped by whoever made them here. */
#ifndef LOCKSET_AWS_SIGV4_H
#define LOCKSET_AWS_SIGV4_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/http_server.h" /* struct http_field */
#include "base/secret.h"

/* How the path on the wire becomes the canonical one. */
enum sigv4_path {
    SIGV4_PATH_DEFAULT, /* normalised ("//", "." and ".." go), then encoded: an escape on the wire is encoded again */
    SIGV4_PATH_KEPT,    /* as the default, but not normalised */
    SIGV4_PATH_S3,      /* decoded and encoded once; not normalised: "//" and "/../" are part of a key */
};

enum {
    SIGV4_SIGNATURE_BYTES = 65, /* 64 lower-case hex digits and the terminator */
    SIGV4_ACCESS_KEY_BYTES = 129,
    SIGV4_SCOPE_BYTES = 128, /* longest region and service that are accepted: 32 bytes each */
    SIGV4_DETAIL_BYTES = 200,
    SIGV4_MAX_PRESIGN_S = 604800, /* seven days */
};

/* A request as it stands on the wire. All borrowed. */
struct sigv4_request {
    struct slice method;             /* "GET" */
    struct slice path;               /* raw, before '?'; empty counts as "/" */
    struct slice query;              /* raw, behind '?', without it */
    const struct http_field *fields; /* headers in the order received, repeated ones too; ends with name NULL */
    struct slice payload_hash;       /* the literal of the last line: 64 hex digits, "UNSIGNED-PAYLOAD", ... */
    enum sigv4_path path_rule;
};

/* --- Stages. --- */

/* Appends the canonical request. signed_headers: lower-case names joined by ';', in the order to use. INVALID for a
 * malformed escape in path (S3) or query, or a signed header that is not among the fields. A query parameter named
 * X-Amz-Signature is left out when is_presigned. */
struct result sigv4_canonical_request(const struct sigv4_request *r, struct slice signed_headers, bool is_presigned,
                                      struct buf *out);
/* amz_date: 20150830T123600Z; scope: 20150830/us-east-1/service/aws4_request. */
struct result sigv4_string_to_sign(const char *amz_date, const char *scope, struct slice canonical_request,
                                   struct buf *out);
/* The 32-byte key for one day, region and service; the caller frees it with secret_done. amz_date's first eight
 * characters count. */
struct result sigv4_signing_key(struct slice secret_key, const char *amz_date, const char *region, const char *service,
                                struct secret *ret);
struct result sigv4_signature(struct slice signing_key, struct slice string_to_sign,
                              char ret[static SIGV4_SIGNATURE_BYTES]);

/* --- Signing. --- */

struct sigv4_signer {
    const char *access_key_id;
    struct slice secret_key;
    struct slice session_token; /* empty: none */
    const char *region, *service;
    int64_t unix_ms;
    bool add_content_sha256;       /* sign r->payload_hash as header x-amz-content-sha256 (S3 requires it) */
    bool leave_token_out_of_scope; /* send the session token, but don't sign it (a few services want that) */
};

/* What signing made. Wiping buffers: a session token stands in them. Zeroed is a valid empty value. */
struct sigv4_signed {
    char amz_date[CLOCK_AMZ_BYTES]; /* for header X-Amz-Date */
    char signature[SIGV4_SIGNATURE_BYTES];
    struct buf canonical_request, string_to_sign;
    struct buf authorization; /* value of header Authorization (sigv4_sign) */
    struct buf query;         /* the whole query to send (sigv4_presign) */
};
void sigv4_signed_done(struct sigv4_signed *s); /* accepts zeroed */

/* Signs all of r->fields (Host must be among them; Authorization, X-Amz-Date, X-Amz-Security-Token and, if added,
 * X-Amz-Content-Sha256 must not) together with the headers that signing adds: X-Amz-Date, X-Amz-Security-Token when
 * there is a token, X-Amz-Content-Sha256 when asked. The caller sends those and Authorization. INVALID for fields that
 * break this, and for a query that already holds a parameter of the presigned form. On success the caller calls
 * sigv4_signed_done. */
struct result sigv4_sign(const struct sigv4_signer *s, const struct sigv4_request *r, struct sigv4_signed *ret);
/* The same as query parameters, valid for expires_s (1..604800) seconds; add_content_sha256 has no effect. */
struct result sigv4_presign(const struct sigv4_signer *s, const struct sigv4_request *r, unsigned expires_s,
                            struct sigv4_signed *ret);

/* --- Verifying. --- */

enum sigv4_failure {
    SIGV4_OK,
    SIGV4_NO_AUTH,         /* neither header Authorization nor presigned query parameters */
    SIGV4_OTHER_SCHEME,    /* Signature Version 2, SigV4A, Basic, ...: known not to be served */
    SIGV4_MALFORMED,       /* a part missing, twice, or of the wrong form; no date; bad escapes in path or query */
    SIGV4_EXPIRES_RANGE,   /* X-Amz-Expires is not within 1..604800 */
    SIGV4_SCOPE,           /* credential scope: other region, service or ending; or its date isn't the request's day */
    SIGV4_SKEWED,          /* the request's time is further from now than allowed */
    SIGV4_EXPIRED,         /* presigned, and its time is over */
    SIGV4_UNKNOWN_KEY,     /* no such access key id */
    SIGV4_BAD_TOKEN,       /* session token missing, not expected, or not the credential's */
    SIGV4_UNSIGNED_HEADER, /* host, the date, or a received x-amz-* header is not signed */
    SIGV4_BAD_SIGNATURE,
    SIGV4_FAILURE_MAX
};
const char *sigv4_failure_name(enum sigv4_failure f); /* "bad_signature" */

/* What a lookup tells of an access key. Borrowed: valid until sigv4_verify returns. */
struct sigv4_credential {
    struct slice secret_key;
    struct slice session_token; /* empty: a long-term key */
    void *user;                 /* handed back in sigv4_verified */
};

struct sigv4_expect {
    const char *region, *service;
    int64_t now_unix_ms;
    int64_t max_skew_ms; /* AWS: 15 minutes (S3), 5 minutes (most others) */
    /* False if there is no such key. */
    bool (*lookup)(void *arg, const char *access_key_id, struct sigv4_credential *ret);
    void *arg;
};

/* The outcome. On a failure, what could be read before it is filled in, and must not be trusted. */
struct sigv4_verified {
    enum sigv4_failure failure;
    char detail[SIGV4_DETAIL_BYTES]; /* for people: which part, what was expected; holds no secret */
    bool is_presigned;
    char access_key_id[SIGV4_ACCESS_KEY_BYTES];
    void *user; /* of the credential; set on success only */
    char amz_date[CLOCK_AMZ_BYTES];
    char scope[SIGV4_SCOPE_BYTES];
    char region[40];                       /* as signed, e.g. for an answer that names the right one */
    char signature[SIGV4_SIGNATURE_BYTES]; /* also the seed of chunk signatures */
};

/* Verifies header or presigned form, whichever the request has (both: SIGV4_MALFORMED). Every received header may be
 * signed; Host, the header the time comes from, and every received x-amz-* header must be. r->payload_hash is what the
 * caller knows of the body: its SHA-256, or the literal of x-amz-content-sha256, which the caller then holds the body
 * to. The comparison takes constant time. The result is INTERNAL only if hashing fails; otherwise look at
 * ret->failure. */
struct result sigv4_verify(const struct sigv4_request *r, const struct sigv4_expect *expect,
                           struct sigv4_verified *ret);

/* --- The header x-amz-content-sha256 (S3). --- */

enum sigv4_payload {
    SIGV4_PAYLOAD_ABSENT,
    SIGV4_PAYLOAD_SHA256,                     /* 64 hex digits of the body's SHA-256 */
    SIGV4_PAYLOAD_UNSIGNED,                   /* UNSIGNED-PAYLOAD */
    SIGV4_PAYLOAD_STREAMING,                  /* STREAMING-AWS4-HMAC-SHA256-PAYLOAD */
    SIGV4_PAYLOAD_STREAMING_TRAILER,          /* STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER */
    SIGV4_PAYLOAD_STREAMING_UNSIGNED_TRAILER, /* STREAMING-UNSIGNED-PAYLOAD-TRAILER */
    SIGV4_PAYLOAD_STREAMING_ECDSA,            /* SigV4A's two forms: known, to be answered as not implemented */
    SIGV4_PAYLOAD_INVALID
};
/* value NULL: absent. ret_sha256, if not NULL, receives the 32 bytes for SIGV4_PAYLOAD_SHA256. */
enum sigv4_payload sigv4_payload_parse(const char *value, uint8_t *ret_sha256);

/* --- Collecting headers for struct sigv4_request. --- */

/* A growing array that always ends with name NULL; names and values stay the caller's. */
struct sigv4_fields {
    struct http_field *list;
    size_t count, capacity;
};
#define SIGV4_FIELDS_AUTO(name) AUTO(sigv4_fields_done) struct sigv4_fields name = {0}
/* Of the form that http_each_header calls; arg is a struct sigv4_fields. */
void sigv4_fields_add(void *arg, const char *name, const char *value);
/* The list; an empty one if nothing was added. */
const struct http_field *sigv4_fields_list(struct sigv4_fields *f);
void sigv4_fields_done(struct sigv4_fields *f);

#endif
