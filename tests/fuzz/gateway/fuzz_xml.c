/* The XML bodies of S3 requests: CompleteMultipartUpload, Delete, CreateBucketConfiguration. */
#include <string.h>

#include "fuzz.h"
#include "gateway/s3_xml.h"

static void check_refusal(const struct s3_refusal *refusal) {
    PROMISE(refusal->error > S3_ERROR_NONE && refusal->error < S3_ERROR_MAX && refusal->message[0]);
}

static void check_complete(struct slice body) {
    struct s3_refusal refusal = {0};
    struct s3_part_list list = {0};
    if (!s3_complete_parse(body, &list, &refusal)) {
        check_refusal(&refusal);
        PROMISE(!list.parts && list.count == 0);
        return;
    }
    PROMISE(list.count >= 1 && list.count <= S3_PARTS_MAX);
    for (size_t i = 0; i < list.count; i++) {
        const struct s3_part_ref *p = &list.parts[i];
        PROMISE(p->number >= 1 && p->number <= S3_PARTS_MAX);
        PROMISE(i == 0 || p[-1].number < p->number);
        PROMISE(p->etag[0] && strnlen(p->etag, S3_ETAG_BYTES) < S3_ETAG_BYTES);
    }
    s3_part_list_done(&list);
}

static void check_delete(struct slice body) {
    struct s3_refusal refusal = {0};
    struct s3_delete_list list = {0};
    if (!s3_delete_parse(body, &list, &refusal)) {
        check_refusal(&refusal);
        PROMISE(!list.keys && list.count == 0);
        return;
    }
    PROMISE(list.count >= 1 && list.count <= S3_DELETE_MAX);
    for (size_t i = 0; i < list.count; i++)
        PROMISE(s3_key_check(slice_str(list.keys[i]), &refusal));
    s3_delete_list_done(&list);
}

static void check_create(struct slice body) {
    struct s3_refusal refusal = {0};
    AUTO_FREE char *location = NULL;
    if (s3_create_bucket_parse(body, &location, &refusal)) {
        PROMISE(location && (body.len > 0 || !*location));
    } else {
        PROMISE(!location);
        check_refusal(&refusal);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice body = slice_make(data, size);
    check_complete(body);
    check_delete(body);
    check_create(body);
    return 0;
}
