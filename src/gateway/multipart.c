/* Multipart uploads. Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html. */
#include <string.h>

#include "base/xml.h"
#include "gateway/exchange.h"
#include "gateway/part_checksums.h"
#include "gateway/s3_range.h"
#include "gateway/s3_xml.h"

enum { PART_MIN_BYTES = 5 * 1024 * 1024 };

/* Of the parts: each is held to the one that it brings. */
static bool checksum_algorithm(struct exchange *x, const char **ret) {
    enum s3_checksum_kind kind;
    const char *name = exchange_header(x, "x-amz-checksum-algorithm");
    *ret = NULL;
    if (name == NULL) return true;
    if (!s3_checksum_of_name(name, &kind)) {
        exchange_fail(x, S3_ERR_INVALID_REQUEST, "x-amz-checksum-algorithm names no algorithm that is known here");
        return false;
    }
    *ret = s3_checksum_name(kind);
    return true;
}

void upload_create(struct exchange *x) {
    AUTO(object_fields_done) struct object_fields fields = {0};
    const char *algorithm = NULL;
    if (!checksum_algorithm(x, &algorithm) || !part_checksums_type(x, algorithm) || !exchange_object_fields(x, &fields))
        return;
    const struct store_commit commit = {
        .key = x->request.key, .fields = fields.list, .field_count = fields.count, .token = x->listener->epoch};
    char id[STORE_UPLOAD_ID_BYTES];
    struct result r = store_upload_begin(x->settings->store, &commit, id);
    if (is_err(r)) {
        exchange_fail_result(x, r, S3_ERR_NO_SUCH_KEY);
        return;
    }
    BUF_AUTO(document, EXCHANGE_ANSWER_MAX_BYTES);
    struct xml_writer w;
    xml_start(&w, &document);
    xml_open_ns(&w, "InitiateMultipartUploadResult", S3_NAMESPACE);
    xml_element_str(&w, "Bucket", x->settings->bucket);
    xml_element_str(&w, "Key", x->request.key);
    xml_element_str(&w, "UploadId", id);
    xml_close(&w);
    FIELDS_AUTO(f);
    exchange_add_encryption(x, &f);
    enum s3_checksum_kind kind;
    if (algorithm != NULL && s3_checksum_of_name(algorithm, &kind)) {
        fields_add(&f, "x-amz-checksum-algorithm", algorithm);
        fields_add(&f, "x-amz-checksum-type", s3_checksum_join_type(kind));
    }
    exchange_answer_xml(x, &f, &document);
}

static bool part_number(struct exchange *x, unsigned *ret) {
    struct s3_refusal refusal;
    uint64_t n = 0;
    if (!s3_param_number(&x->request, "partNumber", 0, STORE_PART_MAX, false, &n, &refusal) || n == 0) {
        exchange_fail(x, S3_ERR_INVALID_ARGUMENT, "partNumber must be from 1 to %d", STORE_PART_MAX);
        return false;
    }
    *ret = (unsigned)n;
    return true;
}

bool upload_part_begin(struct exchange *x) {
    unsigned number = 0;
    if (!part_number(x, &number)) return false;
    struct result r =
        store_part_new(x->settings->store, s3_param(&x->request, "uploadId"), x->request.key, number, &x->writer);
    if (is_ok(r)) return true;
    exchange_fail_result(x, r, S3_ERR_NO_SUCH_UPLOAD);
    return false;
}

void upload_part_finish(struct exchange *x) {
    struct store_written written;
    const uint8_t *md5 = x->digest.md5 != NULL ? x->digest.want_md5 : NULL;
    char note[STORE_NOTE_BYTES];
    part_checksum_note(x, note);
    store_part_note(x->writer, note);
    struct result r = store_part_commit(x->writer, md5, x->listener->epoch, &written);
    x->writer = store_writer_free(x->writer);
    if (is_err(r)) {
        exchange_fail_result(x, r, S3_ERR_NO_SUCH_UPLOAD);
        return;
    }
    FIELDS_AUTO(f);
    exchange_add_etag(&f, &written.etag);
    exchange_add_encryption(x, &f);
    exchange_add_checksum(x, &f);
    exchange_answer_empty(x, 200, &f);
}

static bool copy_range(struct exchange *x, struct store_part_copy *copy) {
    const char *header = exchange_header(x, "x-amz-copy-source-range");
    copy->whole = header == NULL;
    if (copy->whole) return true;
    struct s3_range range;
    struct result r = s3_copy_range_parse(header, &range);
    if (is_err(r)) {
        exchange_fail_result(x, r, S3_ERR_NO_SUCH_KEY);
        return false;
    }
    copy->offset = range.first;
    copy->length = range.last - range.first + 1;
    return true;
}

void upload_part_copy(struct exchange *x) {
    AUTO_FREE char *from = NULL;
    AUTO(store_info_done) struct store_info source = {0};
    struct store_part_copy copy = {.upload_id = s3_param(&x->request, "uploadId"),
                                   .key = x->request.key,
                                   .if_match = true,
                                   .token = x->listener->epoch};
    if (!part_number(x, &copy.number) || !copy_range(x, &copy) || !exchange_copy_source(x, &from, &source)) return;
    copy.from = from;
    copy.source_etag = source.etag;
    struct store_written written;
    struct result r = store_part_copy(x->settings->store, &copy, &written);
    if (is_err(r)) {
        /* The source was there a moment ago, so what is missing is the upload. */
        exchange_fail_result(x, r, S3_ERR_NO_SUCH_UPLOAD);
        return;
    }
    exchange_answer_copied(x, "CopyPartResult", &written, NULL);
}

static void answer_completed(struct exchange *x, const struct store_written *written,
                             const struct object_checksum *checksum) {
    char etag[STORE_ETAG_TEXT_BYTES];
    store_etag_format(&written->etag, etag);
    BUF_AUTO(quoted, sizeof etag + 2);
    buf_printf(&quoted, "\"%s\"", etag);
    BUF_AUTO(location, 2 * S3_KEY_MAX_BYTES * 3);
    buf_printf(&location, "/%s/", x->settings->bucket);
    percent_encode(slice_str(x->request.key), true, &location);
    BUF_AUTO(document, EXCHANGE_ANSWER_MAX_BYTES);
    struct xml_writer w;
    xml_start(&w, &document);
    xml_open_ns(&w, "CompleteMultipartUploadResult", S3_NAMESPACE);
    xml_element(&w, "Location", buf_slice(&location));
    xml_element_str(&w, "Bucket", x->settings->bucket);
    xml_element_str(&w, "Key", x->request.key);
    xml_element(&w, "ETag", buf_slice(&quoted));
    if (checksum->text[0] != '\0') {
        xml_element_str(&w, s3_checksum_element(checksum->kind), checksum->text);
        xml_element_str(&w, "ChecksumType", s3_checksum_type(checksum->text));
    }
    xml_close(&w);
    FIELDS_AUTO(f);
    exchange_add_encryption(x, &f);
    exchange_answer_xml(x, &f, &document);
}

static void fail_completion(struct exchange *x, struct result r, enum store_complete_problem problem) {
    switch (problem) {
    case STORE_COMPLETE_OK:
        exchange_fail_result(x, r, S3_ERR_NO_SUCH_UPLOAD);
        return;
    case STORE_COMPLETE_ORDER:
        exchange_fail(x, S3_ERR_INVALID_PART_ORDER, "%s", err_detail());
        return;
    case STORE_COMPLETE_PART:
        exchange_fail(x, S3_ERR_INVALID_PART, "%s", err_detail());
        return;
    case STORE_COMPLETE_TOO_SMALL:
        exchange_fail(x, S3_ERR_ENTITY_TOO_SMALL, "%s", err_detail());
        return;
    }
}

/* What is missing when a completion found something missing: the upload, or the object that If-Match is about. */
static enum s3_error absent_of(struct exchange *x, const struct store_commit *commit) {
    AUTO(store_part_list_done) struct store_part_list list = {0};
    if (commit->condition.kind != STORE_IF_MATCH) return S3_ERR_NO_SUCH_UPLOAD;
    struct result r =
        store_upload_parts(x->settings->store, s3_param(&x->request, "uploadId"), x->request.key, 0, 1, &list);
    return is_ok(r) ? S3_ERR_NO_SUCH_KEY : S3_ERR_NO_SUCH_UPLOAD;
}

void upload_complete(struct exchange *x) {
    struct s3_refusal refusal;
    AUTO(s3_part_list_done) struct s3_part_list list = {0};
    struct store_commit commit = {.key = x->request.key, .token = x->listener->epoch};
    if (!s3_complete_parse(buf_slice(&x->body), &list, &refusal)) {
        exchange_refuse(x, &refusal);
        return;
    }
    struct object_checksum checksum;
    if (!exchange_write_condition(x, &commit.condition) || !part_checksums_join(x, &list, &checksum) ||
        !part_checksums_type(x, checksum.text[0] != '\0' ? s3_checksum_name(checksum.kind) : NULL))
        return;
    const struct store_field field = {s3_checksum_header(checksum.kind), checksum.text};
    commit.fields = &field;
    commit.field_count = checksum.text[0] != '\0' ? 1 : 0;
    AUTO_FREE struct store_part *parts = mem_alloc_array(list.count, sizeof *parts);
    for (size_t i = 0; i < list.count; i++) {
        parts[i].number = list.parts[i].number;
        if (is_ok(store_etag_parse(slice_str(list.parts[i].etag), &parts[i].etag))) continue;
        exchange_fail(x, S3_ERR_INVALID_PART, "the ETag of part %u is not one that was given out", parts[i].number);
        return;
    }
    const struct store_complete complete = {.upload_id = s3_param(&x->request, "uploadId"),
                                            .parts = parts,
                                            .part_count = list.count,
                                            .min_part_bytes = PART_MIN_BYTES};
    enum store_complete_problem problem = STORE_COMPLETE_OK;
    struct store_written written;
    struct result r = store_upload_complete(x->settings->store, &complete, &commit, &problem, &written);
    if (r.code == ERR_NOT_FOUND)
        exchange_fail_result(x, r, absent_of(x, &commit));
    else if (is_err(r))
        fail_completion(x, r, r.code == ERR_INVALID ? problem : STORE_COMPLETE_OK);
    else
        answer_completed(x, &written, &checksum);
}

void upload_abort(struct exchange *x) {
    struct result r =
        store_upload_abort(x->settings->store, s3_param(&x->request, "uploadId"), x->request.key, x->listener->epoch);
    if (is_err(r))
        exchange_fail_result(x, r, S3_ERR_NO_SUCH_UPLOAD);
    else
        exchange_answer_empty(x, 204, NULL);
}
