/* The life of a request: authenticated and understood before a byte of the body is read, held to what it announced
 * before anything is committed. */
#include "gateway/exchange.h"

#include <string.h>

enum { OBJECT_MAX_GIB = 5 };
static const int64_t upload_max_bytes = (int64_t)OBJECT_MAX_GIB << 30;

static void make_id(char ret[static EXCHANGE_ID_BYTES]) {
    static const char digits[] = "0123456789ABCDEF";
    uint8_t bytes[8] = {0};
    result_ignore(random_bytes(bytes, sizeof bytes)); /* an id of zeros is harmless: it only helps to find a log line */
    for (size_t i = 0; i < sizeof bytes; i++) {
        ret[2 * i] = digits[bytes[i] >> 4];
        ret[2 * i + 1] = digits[bytes[i] & 15];
    }
    ret[16] = '\0';
}

static bool parse(struct exchange *x) {
    struct s3_refusal refusal;
    bool copies = exchange_header(x, "x-amz-copy-source") != NULL;
    if (s3_request_parse(http_method(x->http), http_path(x->http), http_query(x->http), copies, &x->request, &refusal))
        return true;
    exchange_refuse(x, &refusal);
    return false;
}

static bool check_bucket(struct exchange *x) {
    const char *bucket = x->request.bucket;
    if (bucket == NULL || strcmp(bucket, x->settings->bucket) == 0) return true;
    if (x->request.operation == S3_CREATE_BUCKET)
        exchange_fail(x, S3_ERR_ACCESS_DENIED, "Buckets can't be created here; there is one, '%s'.",
                      x->settings->bucket);
    else
        exchange_fail(x, S3_ERR_NO_SUCH_BUCKET, "There is no such bucket; the only one here is '%s'.",
                      x->settings->bucket);
    return false;
}

/* The length of the body itself, without a framing; -1 if it is not announced. False: answered. */
static bool body_length(struct exchange *x, int64_t *ret) {
    *ret = http_content_length(x->http);
    if (!x->is_chunked) return true;
    const char *text = exchange_header(x, "x-amz-decoded-content-length");
    uint64_t length = 0;
    *ret = -1;
    if (text == NULL) return true;
    if (is_err(slice_to_u64(slice_str(text), INT64_MAX, &length))) {
        exchange_fail(x, S3_ERR_INVALID_ARGUMENT, "x-amz-decoded-content-length is not a number");
        return false;
    }
    *ret = (int64_t)length;
    return true;
}

static bool check_length(struct exchange *x, int64_t length) {
    switch (x->request.body) {
    case S3_BODY_NONE:
        if (length <= 0) return true;
        exchange_fail(x, S3_ERR_INVALID_REQUEST, "%s takes no body", s3_operation_name(x->request.operation));
        return false;
    case S3_BODY_XML:
        if (length < 0 && x->is_chunked) break;
        if (length <= S3_XML_MAX_BYTES) return true;
        exchange_fail(x, S3_ERR_MALFORMED_XML, "the XML is larger than %d bytes", S3_XML_MAX_BYTES);
        return false;
    case S3_BODY_STREAM:
        if (length < 0) break;
        if (length <= upload_max_bytes) return true;
        exchange_fail(x, S3_ERR_ENTITY_TOO_LARGE, "more than %d GiB in one upload; send it in parts", OBJECT_MAX_GIB);
        return false;
    }
    exchange_fail(x, S3_ERR_MISSING_CONTENT_LENGTH, "%s is missing",
                  x->is_chunked ? "x-amz-decoded-content-length" : "Content-Length");
    return false;
}

static bool start_body(struct exchange *x) {
    struct s3_announced announced = {
        .content_sha256 = exchange_content_sha256(x),
        .content_md5 = exchange_header(x, "content-md5"),
        .sdk_algorithm = exchange_header(x, "x-amz-sdk-checksum-algorithm"),
        .trailer = exchange_header(x, "x-amz-trailer"),
    };
    /* A completion's checksum is not of its body, but of the object. */
    for (unsigned i = 0; i < S3_CHECKSUM_MAX && x->request.operation != S3_COMPLETE_UPLOAD; i++)
        announced.checksums[i] = exchange_header(x, s3_checksum_header((enum s3_checksum_kind)i));
    enum sigv4_payload form = sigv4_payload_parse(announced.content_sha256, NULL);
    x->is_chunked = form == SIGV4_PAYLOAD_STREAMING || form == SIGV4_PAYLOAD_STREAMING_TRAILER ||
                    form == SIGV4_PAYLOAD_STREAMING_UNSIGNED_TRAILER;
    struct s3_refusal refusal = {0};
    if (!body_length(x, &announced.length) || !check_length(x, announced.length)) return false;
    if (!s3_digest_start(&announced, &x->digest, &refusal)) {
        exchange_refuse(x, &refusal);
        return false;
    }
    const struct s3_chunked_seed seed = {.signing_key = secret_view(&x->signing_key),
                                         .amz_date = x->authorized.amz_date,
                                         .scope = x->authorized.scope,
                                         .signature = x->authorized.signature};
    if (x->is_chunked) s3_chunked_start(form, (uint64_t)announced.length, &seed, &x->chunked);
    return true;
}

static bool check_lease(struct exchange *x) {
    struct result r = lease_check(x->settings->lease);
    if (is_ok(r)) return true;
    exchange_fail_result(x, r, S3_ERR_ACCESS_DENIED);
    return false;
}

static void begin(void *context, struct http_request *http) {
    struct exchange *x = mem_alloc(sizeof *x);
    x->listener = context;
    x->settings = gateway_settings(x->listener->gateway);
    x->http = http;
    make_id(x->id);
    buf_init_wiping(&x->body, S3_XML_MAX_BYTES);
    buf_init_wiping(&x->ahead, LEASE_CHUNK_BYTES);
    http_set_user(http, x);
    if (!exchange_authenticate(x) || !parse(x) || !check_lease(x) || !check_bucket(x) || !exchange_check_headers(x) ||
        !start_body(x))
        return;
    if (x->request.operation == S3_PUT_OBJECT) (void)object_put_begin(x);
    if (x->request.operation == S3_UPLOAD_PART) (void)upload_part_begin(x);
}

/* A piece of the body itself. */
static void take_content(struct exchange *x, struct slice piece) {
    struct s3_refusal refusal = {0};
    if (!s3_digest_update(&x->digest, piece, &refusal)) {
        exchange_refuse(x, &refusal);
        return;
    }
    if (x->request.body == S3_BODY_NONE) {
        exchange_fail(x, S3_ERR_INVALID_REQUEST, "%s takes no body", s3_operation_name(x->request.operation));
    } else if (x->request.body == S3_BODY_XML) {
        buf_append_slice(&x->body, piece);
        if (is_err(buf_check(&x->body)))
            exchange_fail(x, S3_ERR_MALFORMED_XML, "the XML is larger than %d bytes", S3_XML_MAX_BYTES);
    } else {
        struct result r = store_writer_append(x->writer, piece);
        if (is_ok(r)) return;
        x->writer = store_writer_free(x->writer);
        exchange_fail_result(x, r, S3_ERR_INTERNAL);
    }
}

static void body(void *context, struct http_request *http, struct slice piece) {
    struct exchange *x = http_user(http);
    if (x == NULL || http_answered(http) || piece.len == 0) return;
    if (!x->is_chunked) {
        take_content(x, piece);
        return;
    }
    while (piece.len > 0 && !http_answered(http)) {
        struct s3_refusal refusal = {0};
        struct slice content;
        if (!s3_chunked_next(&x->chunked, &piece, &content, &refusal))
            exchange_refuse(x, &refusal);
        else if (content.len > 0)
            take_content(x, content);
    }
}

static bool finish_body(struct exchange *x, struct s3_refusal *refusal) {
    const char *name, *value;
    if (x->is_chunked && x->request.body != S3_BODY_NONE) {
        if (!s3_chunked_finish(&x->chunked, refusal)) return false;
        if (s3_chunked_trailer(&x->chunked, &name, &value) && !s3_digest_trailer(&x->digest, name, value, refusal))
            return false;
    }
    return s3_digest_finish(&x->digest, refusal);
}

static void run(struct exchange *x) {
    switch (x->request.operation) {
    case S3_LIST_BUCKETS:
        return bucket_list_all(x);
    case S3_HEAD_BUCKET:
        return bucket_head(x);
    case S3_CREATE_BUCKET:
        return bucket_create(x);
    case S3_GET_BUCKET_LOCATION:
        return bucket_location(x);
    case S3_GET_SUBRESOURCE:
        return subresource_get(x);
    case S3_LIST_VERSIONS:
        return listing_versions(x);
    case S3_GET_OBJECT_ATTRIBUTES:
        return object_attributes(x);
    case S3_LIST_OBJECTS_V1:
    case S3_LIST_OBJECTS_V2:
        return listing_objects(x);
    case S3_LIST_UPLOADS:
        return listing_uploads(x);
    case S3_LIST_PARTS:
        return listing_parts(x);
    case S3_GET_OBJECT:
    case S3_HEAD_OBJECT:
        return object_get(x);
    case S3_PUT_OBJECT:
        return object_put_finish(x);
    case S3_COPY_OBJECT:
        return object_copy(x);
    case S3_DELETE_OBJECT:
        return object_delete(x);
    case S3_DELETE_OBJECTS:
        return object_delete_many(x);
    case S3_CREATE_UPLOAD:
        return upload_create(x);
    case S3_UPLOAD_PART:
        return upload_part_finish(x);
    case S3_UPLOAD_PART_COPY:
        return upload_part_copy(x);
    case S3_COMPLETE_UPLOAD:
        return upload_complete(x);
    case S3_ABORT_UPLOAD:
        return upload_abort(x);
    case S3_OPERATION_MAX:
        break;
    }
    exchange_fail(x, S3_ERR_NOT_IMPLEMENTED, "this operation is not implemented");
}

static void finish(void *context, struct http_request *http) {
    struct exchange *x = http_user(http);
    if (x == NULL || http_answered(http)) return;
    struct s3_refusal refusal = {0};
    if (finish_body(x, &refusal))
        run(x);
    else
        exchange_refuse(x, &refusal);
}

static void done(void *context, struct http_request *http) {
    struct exchange *x = http_user(http);
    if (x == NULL) return;
    http_set_user(http, NULL);
    x->reader = store_reader_free(x->reader);
    x->writer = store_writer_free(x->writer); /* an upload that did not get to its commit leaves nothing */
    s3_chunked_done(&x->chunked);
    s3_digest_done(&x->digest);
    secret_done(&x->signing_key);
    wipe(x->secret_key, sizeof x->secret_key);
    s3_request_done(&x->request);
    buf_done(&x->body);
    buf_done(&x->ahead);
    mem_free(x);
}

const struct http_handler exchange_handler = {.begin = begin, .body = body, .finish = finish, .done = done};

void exchange_bad_framing(void *context, struct http_request *r, const char *why) {
    char id[EXCHANGE_ID_BYTES];
    make_id(id);
    BUF_AUTO(document, 4096);
    s3_error_xml(S3_ERR_INVALID_REQUEST, why, (struct slice){0}, id, &document);
    const struct http_field f[] = {{"Content-Type", "application/xml"}, {"x-amz-request-id", id}, {NULL, NULL}};
    http_answer(r, 400, f, buf_slice(&document));
}
