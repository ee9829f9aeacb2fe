/* S3 requests: what is taken is well-formed and of one operation; what is refused says why. Input, a line each: method,
 * path, query, x-amz-copy-source ("-": none). */
#include <string.h>

#include "fuzz.h"
#include "gateway/s3_request.h"

static void check_key(const char *key) {
    size_t n = strlen(key);
    PROMISE(n >= 1 && n <= S3_KEY_MAX_BYTES && slice_is_utf8(slice_str(key)));
}

static void check_refusal(const struct s3_refusal *refusal) {
    PROMISE(refusal->error > S3_ERROR_NONE && refusal->error < S3_ERROR_MAX && refusal->message[0]);
    PROMISE(s3_error_status(refusal->error) >= 300);
    BUF_AUTO(xml, 65536);
    s3_error_xml(refusal->error, refusal->message, slice_str("/b/k"), "1", &xml);
    PROMISE(is_ok(buf_check(&xml)));
}

static void check_copy_source(const char *header) {
    struct s3_refusal refusal = {0};
    AUTO_FREE char *bucket = NULL, *key = NULL;
    if (s3_copy_source_parse(header, &bucket, &key, &refusal)) {
        PROMISE(bucket && *bucket && key);
        check_key(key);
    } else {
        PROMISE(!bucket && !key);
        check_refusal(&refusal);
    }
}

static void check_numbers(const struct s3_request *r) {
    for (size_t i = 0; i < r->param_count; i++) {
        struct s3_refusal refusal = {0};
        uint64_t n = 0, clamped = 0;
        if (s3_param_number(r, r->params[i].name, 5, 1000, false, &n, &refusal)) {
            PROMISE(n <= 1000);
            PROMISE(s3_param_number(r, r->params[i].name, 5, 1000, true, &clamped, &refusal) && clamped == n);
        } else {
            check_refusal(&refusal);
        }
    }
    uint64_t n = 0;
    struct s3_refusal refusal = {0};
    PROMISE(s3_param_number(r, "no such parameter", 5, 1000, true, &n, &refusal) && n == 5);
}

/* The same bucket and key, written our way, ask for the same. */
static void check_again(const char *method, const struct s3_request *r, struct slice query, bool copies) {
    BUF_AUTO(path, 16384);
    buf_append_byte(&path, '/');
    if (r->bucket) percent_encode(slice_str(r->bucket), false, &path);
    if (r->key) {
        buf_append_byte(&path, '/');
        percent_encode(slice_str(r->key), true, &path);
    }
    PROMISE(is_ok(buf_check(&path)));
    struct s3_refusal refusal = {0};
    struct s3_request again;
    PROMISE(s3_request_parse(method, buf_slice(&path), query, copies, &again, &refusal));
    PROMISE(again.operation == r->operation && again.param_count == r->param_count);
    PROMISE(!r->bucket == !again.bucket && (!r->bucket || strcmp(r->bucket, again.bucket) == 0));
    PROMISE(!r->key == !again.key && (!r->key || strcmp(r->key, again.key) == 0));
    s3_request_done(&again);
}

static void check_request(const char *method, struct slice path, struct slice query, bool copies) {
    struct s3_request r = {0};
    struct s3_refusal refusal = {0};
    if (!s3_request_parse(method, path, query, copies, &r, &refusal)) {
        check_refusal(&refusal);
        PROMISE(!r.bucket && !r.key && !r.params);
        return;
    }
    PROMISE(r.operation < S3_OPERATION_MAX && r.param_count <= S3_PARAMS_MAX);
    PROMISE((r.operation == S3_LIST_BUCKETS) == !r.bucket);
    PROMISE((r.key != NULL) == (r.operation >= S3_GET_OBJECT));
    PROMISE(copies == (r.operation == S3_COPY_OBJECT || r.operation == S3_UPLOAD_PART_COPY));
    if (r.key) check_key(r.key);
    bool reads = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    if (reads) PROMISE(r.body == S3_BODY_NONE);
    if (r.operation == S3_GET_OBJECT || r.operation == S3_HEAD_OBJECT) PROMISE(reads);
    check_numbers(&r);
    check_again(method, &r, query, copies);
    s3_request_done(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 16384) return 0;
    struct slice rest = slice_make(data, size), method, path, query;
    slice_cut(rest, '\n', &method, &rest);
    slice_cut(rest, '\n', &path, &rest);
    slice_cut(rest, '\n', &query, &rest);
    if (slice_has_nul(method) || slice_has_nul(rest)) return 0;
    AUTO_FREE char *method_text = slice_to_str(method);
    AUTO_FREE char *source = slice_to_str(rest);
    bool copies = strcmp(source, "-") != 0;
    if (copies) check_copy_source(source);
    check_request(method_text, path, query, copies);
    return 0;
}
