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

static bool check_length(struct exchange *x) {
    int64_t length = http_content_length(x->http);
    switch (x->request.body) {
    case S3_BODY_NONE:
        if (length <= 0) return true;
        exchange_fail(x, S3_ERR_INVALID_REQUEST, "%s takes no body", s3_operation_name(x->request.operation));
        return false;
    case S3_BODY_XML:
        if (length <= S3_XML_MAX_BYTES) return true;
        exchange_fail(x, S3_ERR_MALFORMED_XML, "the XML is larger than %d bytes", S3_XML_MAX_BYTES);
        return false;
    case S3_BODY_STREAM:
        if (length < 0) {
            exchange_fail(x, S3_ERR_MISSING_CONTENT_LENGTH, "Content-Length is missing");
            return false;
        }
        if (length <= upload_max_bytes) return true;
        exchange_fail(x, S3_ERR_ENTITY_TOO_LARGE, "more than %d GiB in one upload; send it in parts", OBJECT_MAX_GIB);
        return false;
    }
    return false;
}

static bool start_digest(struct exchange *x) {
    const struct s3_announced announced = {
        .content_sha256 = exchange_header(x, "x-amz-content-sha256"),
        .content_md5 = exchange_header(x, "content-md5"),
        .checksum_crc32 = exchange_header(x, "x-amz-checksum-crc32"),
        .checksum_sha256 = exchange_header(x, "x-amz-checksum-sha256"),
        .length = http_content_length(x->http),
    };
    struct s3_refusal refusal;
    if (s3_digest_start(&announced, &x->digest, &refusal)) return true;
    exchange_refuse(x, &refusal);
    return false;
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
        !check_length(x) || !start_digest(x))
        return;
    if (x->request.operation == S3_PUT_OBJECT) (void)object_put_begin(x);
    if (x->request.operation == S3_UPLOAD_PART) (void)upload_part_begin(x);
}

static void body(void *context, struct http_request *http, struct slice piece) {
    struct exchange *x = http_user(http);
    if (x == NULL || http_answered(http) || piece.len == 0) return;
    struct s3_refusal refusal;
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
    struct s3_refusal refusal;
    if (!s3_digest_finish(&x->digest, &refusal)) {
        exchange_refuse(x, &refusal);
        return;
    }
    run(x);
}

static void done(void *context, struct http_request *http) {
    struct exchange *x = http_user(http);
    if (x == NULL) return;
    http_set_user(http, NULL);
    x->reader = store_reader_free(x->reader);
    x->writer = store_writer_free(x->writer); /* an upload that did not get to its commit leaves nothing */
    s3_digest_done(&x->digest);
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
