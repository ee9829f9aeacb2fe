#include "gateway/s3_request.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum level { SERVICE, BUCKET, OBJECT };
enum copy { PLAIN, COPY };

struct route {
    const char *method;
    enum level level;
    enum copy copy;
    const char *required[2]; /* parameters that choose this route */
    const char *allowed;     /* further ones, each between spaces */
    enum s3_body body;
    enum s3_operation operation;
};

#define RESPONSE_OVERRIDES                                                                                             \
    " response-content-type response-content-language response-expires response-cache-control "                        \
    "response-content-disposition response-content-encoding partNumber versionId "

#define OF_BUCKET(name)                                                                                                \
    { "GET", BUCKET, PLAIN, {name}, "", S3_BODY_NONE, S3_GET_SUBRESOURCE }
#define OF_OBJECT(name)                                                                                                \
    { "GET", OBJECT, PLAIN, {name}, " versionId ", S3_BODY_NONE, S3_GET_SUBRESOURCE }

/* The first route that fits is taken: those with required parameters stand before those without. */
static const struct route routes[] = {
    {"GET", SERVICE, PLAIN, {NULL}, " prefix bucket-region max-buckets ", S3_BODY_NONE, S3_LIST_BUCKETS},
    {"HEAD", BUCKET, PLAIN, {NULL}, "", S3_BODY_NONE, S3_HEAD_BUCKET},
    {"PUT", BUCKET, PLAIN, {NULL}, "", S3_BODY_XML, S3_CREATE_BUCKET},
    {"GET", BUCKET, PLAIN, {"location"}, "", S3_BODY_NONE, S3_GET_BUCKET_LOCATION},
    OF_BUCKET("acl"),
    OF_BUCKET("accelerate"),
    OF_BUCKET("cors"),
    OF_BUCKET("encryption"),
    OF_BUCKET("lifecycle"),
    OF_BUCKET("logging"),
    OF_BUCKET("notification"),
    OF_BUCKET("object-lock"),
    OF_BUCKET("ownershipControls"),
    OF_BUCKET("policy"),
    OF_BUCKET("policyStatus"),
    OF_BUCKET("publicAccessBlock"),
    OF_BUCKET("replication"),
    OF_BUCKET("requestPayment"),
    OF_BUCKET("tagging"),
    OF_BUCKET("versioning"),
    OF_BUCKET("website"),
    {"GET",
     BUCKET,
     PLAIN,
     {"versions"},
     " prefix delimiter max-keys key-marker version-id-marker encoding-type ",
     S3_BODY_NONE,
     S3_LIST_VERSIONS},
    {"GET",
     BUCKET,
     PLAIN,
     {"uploads"},
     " prefix delimiter key-marker upload-id-marker max-uploads encoding-type ",
     S3_BODY_NONE,
     S3_LIST_UPLOADS},
    {"GET",
     BUCKET,
     PLAIN,
     {"list-type"},
     " prefix delimiter max-keys continuation-token start-after encoding-type fetch-owner ",
     S3_BODY_NONE,
     S3_LIST_OBJECTS_V2},
    {"GET",
     BUCKET,
     PLAIN,
     {NULL},
     " prefix delimiter max-keys marker encoding-type ",
     S3_BODY_NONE,
     S3_LIST_OBJECTS_V1},
    {"POST", BUCKET, PLAIN, {"delete"}, "", S3_BODY_XML, S3_DELETE_OBJECTS},
    {"GET", OBJECT, PLAIN, {"uploadId"}, " max-parts part-number-marker encoding-type ", S3_BODY_NONE, S3_LIST_PARTS},
    {"GET", OBJECT, PLAIN, {"attributes"}, " versionId ", S3_BODY_NONE, S3_GET_OBJECT_ATTRIBUTES},
    OF_OBJECT("acl"),
    OF_OBJECT("tagging"),
    {"GET", OBJECT, PLAIN, {NULL}, RESPONSE_OVERRIDES, S3_BODY_NONE, S3_GET_OBJECT},
    {"HEAD", OBJECT, PLAIN, {NULL}, RESPONSE_OVERRIDES, S3_BODY_NONE, S3_HEAD_OBJECT},
    {"PUT", OBJECT, PLAIN, {"uploadId", "partNumber"}, "", S3_BODY_STREAM, S3_UPLOAD_PART},
    {"PUT", OBJECT, COPY, {"uploadId", "partNumber"}, "", S3_BODY_NONE, S3_UPLOAD_PART_COPY},
    {"PUT", OBJECT, PLAIN, {NULL}, "", S3_BODY_STREAM, S3_PUT_OBJECT},
    {"PUT", OBJECT, COPY, {NULL}, "", S3_BODY_NONE, S3_COPY_OBJECT},
    {"DELETE", OBJECT, PLAIN, {"uploadId"}, "", S3_BODY_NONE, S3_ABORT_UPLOAD},
    {"DELETE", OBJECT, PLAIN, {NULL}, " versionId ", S3_BODY_NONE, S3_DELETE_OBJECT},
    {"POST", OBJECT, PLAIN, {"uploads"}, "", S3_BODY_NONE, S3_CREATE_UPLOAD},
    {"POST", OBJECT, PLAIN, {"uploadId"}, "", S3_BODY_XML, S3_COMPLETE_UPLOAD},
};

static const char *const names[S3_OPERATION_MAX] = {
    [S3_LIST_BUCKETS] = "ListBuckets",
    [S3_HEAD_BUCKET] = "HeadBucket",
    [S3_CREATE_BUCKET] = "CreateBucket",
    [S3_GET_BUCKET_LOCATION] = "GetBucketLocation",
    [S3_GET_SUBRESOURCE] = "GetSubresource",
    [S3_LIST_VERSIONS] = "ListObjectVersions",
    [S3_LIST_OBJECTS_V2] = "ListObjectsV2",
    [S3_LIST_OBJECTS_V1] = "ListObjects",
    [S3_LIST_UPLOADS] = "ListMultipartUploads",
    [S3_DELETE_OBJECTS] = "DeleteObjects",
    [S3_GET_OBJECT_ATTRIBUTES] = "GetObjectAttributes",
    [S3_GET_OBJECT] = "GetObject",
    [S3_HEAD_OBJECT] = "HeadObject",
    [S3_PUT_OBJECT] = "PutObject",
    [S3_COPY_OBJECT] = "CopyObject",
    [S3_DELETE_OBJECT] = "DeleteObject",
    [S3_CREATE_UPLOAD] = "CreateMultipartUpload",
    [S3_UPLOAD_PART] = "UploadPart",
    [S3_UPLOAD_PART_COPY] = "UploadPartCopy",
    [S3_COMPLETE_UPLOAD] = "CompleteMultipartUpload",
    [S3_ABORT_UPLOAD] = "AbortMultipartUpload",
    [S3_LIST_PARTS] = "ListParts",
};

const char *s3_operation_name(enum s3_operation op) {
    return op < S3_OPERATION_MAX ? names[op] : "Unknown";
}

void s3_refuse(struct s3_refusal *refusal, enum s3_error error, const char *format, ...) {
    va_list args;
    va_start(args, format);
    refusal->error = error;
    vsnprintf(refusal->message, sizeof refusal->message, format, args);
    va_end(args);
}

void s3_request_done(struct s3_request *r) {
    mem_free(r->bucket);
    mem_free(r->key);
    for (size_t i = 0; i < r->param_count; i++) {
        mem_free(r->params[i].name);
        mem_free(r->params[i].value);
    }
    mem_free(r->params);
    *r = (struct s3_request){0};
}

const char *s3_param(const struct s3_request *r, const char *name) {
    for (size_t i = 0; i < r->param_count; i++)
        if (strcmp(r->params[i].name, name) == 0) return r->params[i].value;
    return NULL;
}

/* A decoded copy; NULL if an escape is malformed, stands for NUL, or the text isn't UTF-8. */
static char *decode(struct slice raw) {
    BUF_AUTO(text, raw.len + 1);
    if (is_err(percent_decode(raw, &text))) return NULL;
    struct slice decoded = buf_slice(&text);
    if (slice_has_nul(decoded) || !slice_is_utf8(decoded)) return NULL;
    char *copy = slice_to_str(decoded);
    return copy;
}

static bool parse_query(struct slice query, struct s3_request *r, struct s3_refusal *refusal) {
    r->params = mem_alloc_array(S3_PARAMS_MAX, sizeof *r->params);
    while (query.len > 0) {
        struct slice pair, name, value;
        slice_cut(query, '&', &pair, &query);
        if (pair.len == 0) continue;
        slice_cut(pair, '=', &name, &value);
        AUTO_FREE char *name_text = decode(name);
        AUTO_FREE char *value_text = decode(value);
        if (name_text == NULL || value_text == NULL) {
            s3_refuse(refusal, S3_ERR_INVALID_URI, "a query parameter holds a malformed escape or is not UTF-8");
            return false;
        }
        if (s3_param(r, name_text) != NULL) {
            s3_refuse(refusal, S3_ERR_INVALID_ARGUMENT, "a query parameter stands there twice");
            return false;
        }
        if (r->param_count == S3_PARAMS_MAX) {
            s3_refuse(refusal, S3_ERR_INVALID_URI, "more than %d query parameters", S3_PARAMS_MAX);
            return false;
        }
        r->params[r->param_count++] = (struct s3_param){TAKE(name_text), TAKE(value_text)};
    }
    return true;
}

bool s3_key_check(struct slice key, struct s3_refusal *refusal) {
    if (key.len == 0) {
        s3_refuse(refusal, S3_ERR_INVALID_ARGUMENT, "the key is empty");
        return false;
    }
    if (key.len > S3_KEY_MAX_BYTES) {
        s3_refuse(refusal, S3_ERR_KEY_TOO_LONG, "the key is longer than %d bytes", S3_KEY_MAX_BYTES);
        return false;
    }
    if (slice_has_nul(key) || !slice_is_utf8(key)) {
        s3_refuse(refusal, S3_ERR_INVALID_URI, "the key is not UTF-8");
        return false;
    }
    return true;
}

/* "/", "/bucket", "/bucket/" or "/bucket/key". */
static bool parse_path(struct slice path, struct s3_request *r, enum level *ret_level, struct s3_refusal *refusal) {
    if (path.len == 0 || path.data[0] != '/') {
        s3_refuse(refusal, S3_ERR_INVALID_URI, "the path does not begin with a slash");
        return false;
    }
    struct slice bucket, key, rest = slice_make(path.data + 1, path.len - 1);
    slice_cut(rest, '/', &bucket, &key);
    if (bucket.len == 0) {
        if (rest.len > 0) {
            s3_refuse(refusal, S3_ERR_INVALID_BUCKET_NAME, "the path holds no bucket name");
            return false;
        }
        *ret_level = SERVICE;
        return true;
    }
    r->bucket = decode(bucket);
    if (r->bucket == NULL) {
        s3_refuse(refusal, S3_ERR_INVALID_BUCKET_NAME, "the bucket name is not valid");
        return false;
    }
    *ret_level = key.len > 0 ? OBJECT : BUCKET;
    if (key.len == 0) return true;
    r->key = decode(key);
    if (r->key == NULL) {
        s3_refuse(refusal, S3_ERR_INVALID_URI, "the key holds a malformed escape, a NUL or is not UTF-8");
        return false;
    }
    return s3_key_check(slice_str(r->key), refusal);
}

static bool word_in(const char *words, const char *word) {
    size_t len = strlen(word);
    for (const char *p = words; len > 0 && (p = strstr(p, word)) != NULL; p += len)
        if (p > words && p[-1] == ' ' && p[len] == ' ') return true;
    return false;
}

/* What presigning adds, and x-id, which newer SDKs send for their own logs. */
static bool is_neutral(const char *name) {
    return strncasecmp(name, "X-Amz-", 6) == 0 || strcmp(name, "x-id") == 0;
}

static bool fits(const struct route *route, const struct s3_request *r) {
    for (size_t i = 0; i < ARRAY_LEN(route->required) && route->required[i] != NULL; i++)
        if (s3_param(r, route->required[i]) == NULL) return false;
    return true;
}

static bool is_known(const struct route *route, const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(route->required) && route->required[i] != NULL; i++)
        if (strcmp(route->required[i], name) == 0) return true;
    return is_neutral(name) || word_in(route->allowed, name);
}

static bool choose(const char *method, enum level level, enum copy copy, struct s3_request *r,
                   struct s3_refusal *refusal) {
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        const struct route *route = &routes[i];
        if (strcmp(route->method, method) != 0 || route->level != level || route->copy != copy || !fits(route, r))
            continue;
        for (size_t p = 0; p < r->param_count; p++) {
            if (is_known(route, r->params[p].name)) continue;
            s3_refuse(refusal, S3_ERR_NOT_IMPLEMENTED, "%s with the query parameter '%.64s' is not implemented",
                      s3_operation_name(route->operation), r->params[p].name);
            return false;
        }
        r->operation = route->operation;
        r->body = route->body;
        return true;
    }
    s3_refuse(refusal, S3_ERR_NOT_IMPLEMENTED, "this operation is not implemented");
    return false;
}

/* What parameters may say beyond being there. */
static bool check_values(const struct s3_request *r, struct s3_refusal *refusal) {
    const char *list_type = s3_param(r, "list-type"), *version = s3_param(r, "versionId");
    if (list_type != NULL && strcmp(list_type, "2") != 0) {
        s3_refuse(refusal, S3_ERR_INVALID_ARGUMENT, "list-type must be 2");
        return false;
    }
    if (version != NULL && !s3_version_check(version, refusal)) return false;
    return true;
}

bool s3_version_check(const char *version, struct s3_refusal *refusal) {
    if (strcmp(version, "null") == 0) return true;
    s3_refuse(refusal, S3_ERR_NOT_IMPLEMENTED, "versions are not implemented; the one of each object is 'null'");
    return false;
}

bool s3_request_parse(const char *method, struct slice path, struct slice query, bool has_copy_source,
                      struct s3_request *ret, struct s3_refusal *refusal) {
    struct s3_request r = {0};
    enum level level = SERVICE;
    if (parse_path(path, &r, &level, refusal) && parse_query(query, &r, refusal) &&
        choose(method, level, has_copy_source ? COPY : PLAIN, &r, refusal) && check_values(&r, refusal)) {
        *ret = r;
        return true;
    }
    s3_request_done(&r);
    return false;
}

bool s3_copy_source_parse(const char *header, char **ret_bucket, char **ret_key, struct s3_refusal *refusal) {
    struct slice source = slice_str(header), path, version, bucket, key;
    if (slice_cut(source, '?', &path, &version) && !slice_is(version, "versionId=null")) {
        s3_refuse(refusal, S3_ERR_NOT_IMPLEMENTED, "a version in x-amz-copy-source is not implemented");
        return false;
    }
    if (slice_starts_with(path, "/")) path = slice_make(path.data + 1, path.len - 1);
    slice_cut(path, '/', &bucket, &key);
    AUTO_FREE char *bucket_text = decode(bucket);
    AUTO_FREE char *key_text = decode(key);
    if (bucket.len == 0 || key.len == 0 || bucket_text == NULL || key_text == NULL) {
        s3_refuse(refusal, S3_ERR_INVALID_ARGUMENT, "x-amz-copy-source must be bucket/key, percent-encoded");
        return false;
    }
    if (!s3_key_check(slice_str(key_text), refusal)) return false;
    *ret_bucket = TAKE(bucket_text);
    *ret_key = TAKE(key_text);
    return true;
}

bool s3_param_number(const struct s3_request *r, const char *name, uint64_t otherwise, uint64_t max, bool clamps,
                     uint64_t *ret, struct s3_refusal *refusal) {
    const char *text = s3_param(r, name);
    if (text == NULL) {
        *ret = otherwise;
        return true;
    }
    if (is_err(slice_to_u64(slice_str(text), clamps ? INT32_MAX : max, ret))) {
        s3_refuse(refusal, S3_ERR_INVALID_ARGUMENT, "%s must be a number from 0 to %llu", name,
                  (unsigned long long)(clamps ? INT32_MAX : max));
        return false;
    }
    if (*ret > max) *ret = max;
    return true;
}
