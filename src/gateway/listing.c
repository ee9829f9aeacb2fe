/* ListObjects (both versions), ListMultipartUploads, ListParts.
 * Source: API_ListObjectsV2, API_ListObjects, API_ListMultipartUploads, API_ListParts. */
#include <string.h>

#include "base/clock.h"
#include "base/xml.h"
#include "gateway/exchange.h"

/* What list requests have in common. */
struct listing {
    struct exchange *x;
    struct xml_writer w;
    bool url; /* encoding-type=url: keys and prefixes are percent-encoded */
};

static bool wants_url(struct exchange *x, bool *ret) {
    const char *type = s3_param(&x->request, "encoding-type");
    *ret = type != NULL && strcmp(type, "url") == 0;
    if (type == NULL || *ret) return true;
    exchange_fail(x, S3_ERR_INVALID_ARGUMENT, "encoding-type can only be url");
    return false;
}

/* A key, prefix, delimiter or marker. */
static void name_element(struct listing *l, const char *element, const char *text) {
    if (!l->url) {
        xml_element_str(&l->w, element, text);
        return;
    }
    BUF_AUTO(encoded, 3 * strlen(text) + 1);
    percent_encode(slice_str(text), true, &encoded);
    xml_element(&l->w, element, buf_slice(&encoded));
}

static void name_element_of_param(struct listing *l, const char *element, const char *param, bool even_if_absent) {
    const char *text = s3_param(&l->x->request, param);
    if (text != NULL || even_if_absent) name_element(l, element, text != NULL ? text : "");
}

static void bool_element(struct listing *l, const char *element, bool value) {
    xml_element_str(&l->w, element, value ? "true" : "false");
}

static void date_element(struct listing *l, const char *element, int64_t unix_ms) {
    char date[CLOCK_ISO_BYTES];
    clock_format_iso(unix_ms, date);
    xml_element_str(&l->w, element, date);
}

static void etag_element(struct listing *l, const struct store_etag *etag) {
    char text[STORE_ETAG_TEXT_BYTES];
    store_etag_format(etag, text);
    BUF_AUTO(quoted, sizeof text + 2);
    buf_printf(&quoted, "\"%s\"", text);
    xml_element(&l->w, "ETag", buf_slice(&quoted));
}

static void owner_element(struct listing *l, const char *element) {
    const char *org = lease_org(l->x->settings->lease);
    xml_open(&l->w, element);
    xml_element_str(&l->w, "ID", org);
    xml_element_str(&l->w, "DisplayName", org);
    xml_close(&l->w);
}

static void common_prefixes(struct listing *l, const struct store_list *page) {
    for (size_t i = 0; i < page->count; i++) {
        if (!page->entries[i].is_prefix) continue;
        xml_open(&l->w, "CommonPrefixes");
        name_element(l, "Prefix", page->entries[i].key);
        xml_close(&l->w);
    }
}

static void contents(struct listing *l, const struct store_list *page, bool with_owner) {
    for (size_t i = 0; i < page->count; i++) {
        const struct store_list_entry *entry = &page->entries[i];
        if (entry->is_prefix) continue;
        xml_open(&l->w, "Contents");
        name_element(l, "Key", entry->key);
        date_element(l, "LastModified", entry->mtime_ms);
        etag_element(l, &entry->etag);
        xml_element_u64(&l->w, "Size", entry->size);
        if (with_owner) owner_element(l, "Owner");
        xml_element_str(&l->w, "StorageClass", "STANDARD");
        xml_close(&l->w);
    }
}

/* A continuation token is where the next page starts, in a form nobody takes for a key. */
static void token_element(struct listing *l, const char *key) {
    BUF_AUTO(token, 2 * strlen(key) + 16);
    buf_append_str(&token, "1.");
    base64url_encode(slice_str(key), &token);
    xml_element(&l->w, "NextContinuationToken", buf_slice(&token));
}

static bool token_parse(const char *token, char **ret) {
    BUF_AUTO(key, 2 * S3_KEY_MAX_BYTES);
    struct slice text = slice_str(token);
    if (!slice_starts_with(text, "1.")) return false;
    if (is_err(base64url_decode(slice_make(text.data + 2, text.len - 2), &key)) || is_err(buf_check(&key)))
        return false;
    struct s3_refusal refusal;
    if (!s3_key_check(buf_slice(&key), &refusal)) return false;
    *ret = slice_to_str(buf_slice(&key));
    return true;
}

/* Where the page starts: token over start-after (version 2), marker (version 1). */
static bool page_start(struct exchange *x, bool is_v2, char **ret) {
    const char *token = is_v2 ? s3_param(&x->request, "continuation-token") : NULL;
    if (token != NULL && token[0] != '\0') {
        if (token_parse(token, ret)) return true;
        exchange_fail(x, S3_ERR_INVALID_ARGUMENT, "the continuation token is not one that was given out");
        return false;
    }
    *ret = str_dup(s3_param(&x->request, is_v2 ? "start-after" : "marker"));
    return true;
}

static void write_v2_head(struct listing *l, const struct store_list *page) {
    name_element_of_param(l, "StartAfter", "start-after", false);
    const char *token = s3_param(&l->x->request, "continuation-token");
    if (token != NULL) xml_element_str(&l->w, "ContinuationToken", token);
    xml_element_u64(&l->w, "KeyCount", page->count);
    if (page->truncated) token_element(l, page->entries[page->count - 1].key);
}

static void write_v1_head(struct listing *l, const struct store_list *page) {
    const char *delimiter = s3_param(&l->x->request, "delimiter");
    name_element_of_param(l, "Marker", "marker", true);
    if (page->truncated && delimiter != NULL && delimiter[0] != '\0')
        name_element(l, "NextMarker", page->entries[page->count - 1].key);
}

void listing_objects(struct exchange *x) {
    struct s3_refusal refusal;
    bool is_v2 = x->request.operation == S3_LIST_OBJECTS_V2;
    uint64_t max = 0;
    struct listing l = {.x = x};
    AUTO_FREE char *start = NULL;
    if (!wants_url(x, &l.url) || !page_start(x, is_v2, &start)) return;
    if (!s3_param_number(&x->request, "max-keys", STORE_LIST_MAX, STORE_LIST_MAX, true, &max, &refusal)) {
        exchange_refuse(x, &refusal);
        return;
    }
    const struct store_list_query query = {.prefix = s3_param(&x->request, "prefix"),
                                           .delimiter = s3_param(&x->request, "delimiter"),
                                           .start_after = start,
                                           .max = (size_t)max};
    AUTO(store_list_done) struct store_list page = {0};
    struct result r = store_list_page(x->settings->store, &query, &page);
    if (is_err(r)) {
        exchange_fail_result(x, r, S3_ERR_NO_SUCH_KEY);
        return;
    }
    BUF_AUTO(document, EXCHANGE_ANSWER_MAX_BYTES);
    xml_start(&l.w, &document);
    xml_open_ns(&l.w, "ListBucketResult", S3_NAMESPACE);
    xml_element_str(&l.w, "Name", x->settings->bucket);
    name_element_of_param(&l, "Prefix", "prefix", true);
    name_element_of_param(&l, "Delimiter", "delimiter", false);
    xml_element_u64(&l.w, "MaxKeys", max);
    if (l.url) xml_element_str(&l.w, "EncodingType", "url");
    bool_element(&l, "IsTruncated", page.truncated);
    if (is_v2)
        write_v2_head(&l, &page);
    else
        write_v1_head(&l, &page);
    const char *fetch_owner = s3_param(&x->request, "fetch-owner");
    contents(&l, &page, !is_v2 || (fetch_owner != NULL && strcmp(fetch_owner, "true") == 0));
    common_prefixes(&l, &page);
    xml_close(&l.w);
    exchange_answer_xml(x, NULL, &document);
}

static void write_uploads(struct listing *l, const struct store_upload_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        const struct store_upload *upload = &list->uploads[i];
        xml_open(&l->w, "Upload");
        name_element(l, "Key", upload->key);
        xml_element_str(&l->w, "UploadId", upload->id);
        owner_element(l, "Initiator");
        owner_element(l, "Owner");
        xml_element_str(&l->w, "StorageClass", "STANDARD");
        date_element(l, "Initiated", upload->begun_ms);
        xml_close(&l->w);
    }
}

void listing_uploads(struct exchange *x) {
    struct s3_refusal refusal;
    uint64_t max = 0;
    struct listing l = {.x = x};
    const char *delimiter = s3_param(&x->request, "delimiter");
    if (!wants_url(x, &l.url)) return;
    if (delimiter != NULL && delimiter[0] != '\0') {
        exchange_fail(x, S3_ERR_NOT_IMPLEMENTED, "ListMultipartUploads with a delimiter is not implemented");
        return;
    }
    if (!s3_param_number(&x->request, "max-uploads", STORE_LIST_MAX, STORE_LIST_MAX, true, &max, &refusal)) {
        exchange_refuse(x, &refusal);
        return;
    }
    AUTO(store_upload_list_done) struct store_upload_list list = {0};
    struct result r =
        store_upload_list(x->settings->store, s3_param(&x->request, "prefix"), s3_param(&x->request, "key-marker"),
                          s3_param(&x->request, "upload-id-marker"), (size_t)max, &list);
    if (is_err(r)) {
        exchange_fail_result(x, r, S3_ERR_NO_SUCH_UPLOAD);
        return;
    }
    BUF_AUTO(document, EXCHANGE_ANSWER_MAX_BYTES);
    xml_start(&l.w, &document);
    xml_open_ns(&l.w, "ListMultipartUploadsResult", S3_NAMESPACE);
    xml_element_str(&l.w, "Bucket", x->settings->bucket);
    name_element_of_param(&l, "KeyMarker", "key-marker", true);
    const char *id_marker = s3_param(&x->request, "upload-id-marker");
    xml_element_str(&l.w, "UploadIdMarker", id_marker != NULL ? id_marker : "");
    if (list.truncated && list.count > 0) {
        name_element(&l, "NextKeyMarker", list.uploads[list.count - 1].key);
        xml_element_str(&l.w, "NextUploadIdMarker", list.uploads[list.count - 1].id);
    }
    name_element_of_param(&l, "Prefix", "prefix", true);
    xml_element_u64(&l.w, "MaxUploads", max);
    if (l.url) xml_element_str(&l.w, "EncodingType", "url");
    bool_element(&l, "IsTruncated", list.truncated && list.count > 0);
    write_uploads(&l, &list);
    xml_close(&l.w);
    exchange_answer_xml(x, NULL, &document);
}

static void write_parts(struct listing *l, const struct store_part_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        const struct store_part *part = &list->parts[i];
        xml_open(&l->w, "Part");
        xml_element_u64(&l->w, "PartNumber", part->number);
        date_element(l, "LastModified", part->mtime_ms);
        etag_element(l, &part->etag);
        xml_element_u64(&l->w, "Size", part->size);
        xml_close(&l->w);
    }
}

void listing_parts(struct exchange *x) {
    struct s3_refusal refusal;
    uint64_t max = 0, after = 0;
    struct listing l = {.x = x};
    if (!wants_url(x, &l.url)) return;
    if (!s3_param_number(&x->request, "max-parts", STORE_LIST_MAX, STORE_LIST_MAX, true, &max, &refusal) ||
        !s3_param_number(&x->request, "part-number-marker", 0, STORE_PART_MAX, true, &after, &refusal)) {
        exchange_refuse(x, &refusal);
        return;
    }
    const char *id = s3_param(&x->request, "uploadId");
    AUTO(store_part_list_done) struct store_part_list list = {0};
    struct result r = store_upload_parts(x->settings->store, id, x->request.key, (unsigned)after, (size_t)max, &list);
    if (is_err(r)) {
        exchange_fail_result(x, r, S3_ERR_NO_SUCH_UPLOAD);
        return;
    }
    BUF_AUTO(document, EXCHANGE_ANSWER_MAX_BYTES);
    xml_start(&l.w, &document);
    xml_open_ns(&l.w, "ListPartsResult", S3_NAMESPACE);
    xml_element_str(&l.w, "Bucket", x->settings->bucket);
    name_element(&l, "Key", x->request.key);
    xml_element_str(&l.w, "UploadId", id);
    owner_element(&l, "Initiator");
    owner_element(&l, "Owner");
    xml_element_str(&l.w, "StorageClass", "STANDARD");
    xml_element_u64(&l.w, "PartNumberMarker", after);
    if (list.count > 0) xml_element_u64(&l.w, "NextPartNumberMarker", list.parts[list.count - 1].number);
    xml_element_u64(&l.w, "MaxParts", max);
    bool_element(&l, "IsTruncated", list.truncated && list.count > 0);
    write_parts(&l, &list);
    xml_close(&l.w);
    exchange_answer_xml(x, NULL, &document);
}
