/* PutObject, CopyObject, DeleteObject, DeleteObjects. */
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/xml.h"
#include "gateway/exchange.h"
#include "gateway/s3_condition.h"
#include "gateway/s3_xml.h"

bool object_put_begin(struct exchange *x) {
    struct store_condition condition;
    if (!exchange_write_condition(x, &condition)) return false;
    AUTO(object_fields_done) struct object_fields fields = {0};
    if (!exchange_object_fields(x, &fields)) return false; /* refused now, not after gigabytes */
    struct result r = store_writer_new(x->settings->store, &x->writer);
    if (is_ok(r)) return true;
    exchange_fail_result(x, r, S3_ERR_NO_SUCH_KEY);
    return false;
}

void object_put_finish(struct exchange *x) {
    AUTO(object_fields_done) struct object_fields fields = {0};
    struct store_commit commit = {.key = x->request.key, .token = x->listener->epoch};
    if (!exchange_write_condition(x, &commit.condition) || !exchange_object_fields(x, &fields)) return;
    char checksum[S3_CHECKSUM_TEXT_BYTES];
    s3_digest_checksum_text(&x->digest, checksum);
    if (checksum[0] != '\0') object_fields_add(&fields, s3_checksum_header(x->digest.checksum.kind), checksum);
    commit.fields = fields.list;
    commit.field_count = fields.count;
    commit.md5 = x->digest.md5 != NULL ? x->digest.want_md5 : NULL;
    struct store_written written;
    struct result r = store_writer_commit(x->writer, &commit, &written);
    x->writer = store_writer_free(x->writer);
    if (is_err(r)) {
        exchange_fail_result(x, r, S3_ERR_NO_SUCH_KEY);
        return;
    }
    FIELDS_AUTO(f);
    exchange_add_etag(&f, &written.etag);
    exchange_add_encryption(x, &f);
    exchange_add_checksum(x, &f);
    if (checksum[0] != '\0') fields_add(&f, "x-amz-checksum-type", "FULL_OBJECT");
    exchange_answer_empty(x, 200, &f);
}

bool exchange_copy_source(struct exchange *x, char **ret_key, struct store_info *ret) {
    struct s3_refusal refusal;
    AUTO_FREE char *bucket = NULL, *key = NULL;
    if (!s3_copy_source_parse(exchange_header(x, "x-amz-copy-source"), &bucket, &key, &refusal)) {
        exchange_refuse(x, &refusal);
        return false;
    }
    if (strcmp(bucket, x->settings->bucket) != 0) {
        exchange_fail(x, S3_ERR_NO_SUCH_BUCKET, "There is no such source bucket; the only one here is '%s'.",
                      x->settings->bucket);
        return false;
    }
    AUTO(store_info_done) struct store_info info = {0};
    struct result r = store_head(x->settings->store, key, &info);
    if (is_err(r)) {
        exchange_fail_result(x, r, S3_ERR_NO_SUCH_KEY);
        return false;
    }
    const struct s3_conditions conditions = {
        .if_match = exchange_header(x, "x-amz-copy-source-if-match"),
        .if_none_match = exchange_header(x, "x-amz-copy-source-if-none-match"),
        .if_modified_since = exchange_header(x, "x-amz-copy-source-if-modified-since"),
        .if_unmodified_since = exchange_header(x, "x-amz-copy-source-if-unmodified-since"),
    };
    char etag[STORE_ETAG_TEXT_BYTES];
    store_etag_format(&info.etag, etag);
    if (s3_conditions_judge(&conditions, etag, info.mtime_ms) != S3_GO) {
        exchange_fail(x, S3_ERR_PRECONDITION_FAILED, "%s", s3_error_text(S3_ERR_PRECONDITION_FAILED));
        return false;
    }
    *ret_key = TAKE(key);
    *ret = info;
    info = (struct store_info){0};
    return true;
}

static bool replaces_metadata(struct exchange *x, bool *ret) {
    const char *directive = exchange_header(x, "x-amz-metadata-directive");
    *ret = directive != NULL && strcmp(directive, "REPLACE") == 0;
    if (directive == NULL || *ret || strcmp(directive, "COPY") == 0) return true;
    exchange_fail(x, S3_ERR_INVALID_ARGUMENT, "x-amz-metadata-directive must be COPY or REPLACE");
    return false;
}

/* The checksum that an object was stored with; NULL if none. */
static const char *stored_checksum(const struct store_info *info, enum s3_checksum_kind *ret) {
    for (size_t i = 0; i < info->field_count; i++)
        if (s3_checksum_of_header(info->fields[i].name, ret)) return info->fields[i].value;
    return NULL;
}

void exchange_answer_copied(struct exchange *x, const char *element, const struct store_written *written,
                            const struct store_info *source) {
    char date[CLOCK_ISO_BYTES], etag[STORE_ETAG_TEXT_BYTES];
    clock_format_iso(written->mtime_ms, date);
    store_etag_format(&written->etag, etag);
    BUF_AUTO(quoted, sizeof etag + 2);
    buf_printf(&quoted, "\"%s\"", etag);
    BUF_AUTO(document, EXCHANGE_ANSWER_MAX_BYTES);
    struct xml_writer w;
    xml_start(&w, &document);
    xml_open_ns(&w, element, S3_NAMESPACE);
    xml_element_str(&w, "LastModified", date);
    xml_element(&w, "ETag", buf_slice(&quoted));
    enum s3_checksum_kind kind;
    const char *checksum = source != NULL ? stored_checksum(source, &kind) : NULL;
    if (checksum != NULL) {
        xml_element_str(&w, s3_checksum_element(kind), checksum);
        xml_element_str(&w, "ChecksumType", s3_checksum_type(checksum));
    }
    xml_close(&w);
    FIELDS_AUTO(f);
    exchange_add_encryption(x, &f);
    exchange_answer_xml(x, &f, &document);
}

/* A copy has the checksum of its source: the content is not read, so no other can be computed. */
static bool copied_checksum(struct exchange *x, const struct store_info *source, struct object_fields *replacing) {
    enum s3_checksum_kind kind = S3_CHECKSUM_MAX;
    const char *checksum = stored_checksum(source, &kind), *wanted = exchange_header(x, "x-amz-checksum-algorithm");
    if (wanted != NULL && (checksum == NULL || strcasecmp(wanted, s3_checksum_name(kind)) != 0)) {
        exchange_fail(x, S3_ERR_NOT_IMPLEMENTED, "a copy with another checksum than its source has is not implemented");
        return false;
    }
    if (replacing->list != NULL && checksum != NULL) object_fields_add(replacing, s3_checksum_header(kind), checksum);
    return true;
}

void object_copy(struct exchange *x) {
    AUTO_FREE char *from = NULL;
    AUTO(store_info_done) struct store_info source = {0};
    AUTO(object_fields_done) struct object_fields fields = {0};
    struct store_commit commit = {.key = x->request.key, .token = x->listener->epoch};
    struct store_copy copy = {.if_match = true};
    if (!replaces_metadata(x, &copy.replace_fields) || !exchange_write_condition(x, &commit.condition) ||
        !exchange_copy_source(x, &from, &source))
        return;
    if (strcmp(from, x->request.key) == 0 && !copy.replace_fields) {
        exchange_fail(x, S3_ERR_INVALID_REQUEST,
                      "copying an object onto itself changes nothing without x-amz-metadata-directive: REPLACE");
        return;
    }
    if (copy.replace_fields && !exchange_object_fields(x, &fields)) return;
    if (!copied_checksum(x, &source, &fields)) return;
    commit.fields = fields.list;
    commit.field_count = fields.count;
    copy.from = from;
    copy.source_etag = source.etag;
    struct store_written written;
    struct result r = store_copy(x->settings->store, &copy, &commit, &written);
    if (is_err(r)) {
        exchange_fail_result(x, r, S3_ERR_NO_SUCH_KEY);
        return;
    }
    exchange_answer_copied(x, "CopyObjectResult", &written, &source);
}

void object_delete(struct exchange *x) {
    struct store_condition condition;
    if (!exchange_write_condition(x, &condition)) return;
    bool existed = false;
    struct result r = store_delete(x->settings->store, x->request.key, &condition, x->listener->epoch, &existed);
    if (is_err(r)) {
        exchange_fail_result(x, r, S3_ERR_NO_SUCH_KEY);
        return;
    }
    exchange_answer_empty(x, 204, NULL);
}

static void delete_one(struct exchange *x, const char *key, bool quiet, struct xml_writer *w) {
    const struct store_condition always = {.kind = STORE_ALWAYS};
    bool existed = false;
    struct result r = store_delete(x->settings->store, key, &always, x->listener->epoch, &existed);
    if (is_ok(r)) {
        if (quiet) return;
        xml_open(w, "Deleted");
        xml_element_str(w, "Key", key);
        xml_close(w);
        return;
    }
    enum s3_error error = s3_error_of(r.code, S3_ERR_NO_SUCH_KEY);
    xml_open(w, "Error");
    xml_element_str(w, "Key", key);
    xml_element_str(w, "Code", s3_error_code(error));
    xml_element_str(w, "Message", s3_error_text(error));
    xml_close(w);
}

void object_delete_many(struct exchange *x) {
    struct s3_refusal refusal;
    AUTO(s3_delete_list_done) struct s3_delete_list list = {0};
    if (!s3_delete_parse(buf_slice(&x->body), &list, &refusal)) {
        exchange_refuse(x, &refusal);
        return;
    }
    BUF_AUTO(document, EXCHANGE_ANSWER_MAX_BYTES);
    struct xml_writer w;
    xml_start(&w, &document);
    xml_open_ns(&w, "DeleteResult", S3_NAMESPACE);
    for (size_t i = 0; i < list.count; i++)
        delete_one(x, list.keys[i], list.quiet, &w);
    xml_close(&w);
    exchange_answer_xml(x, NULL, &document);
}
