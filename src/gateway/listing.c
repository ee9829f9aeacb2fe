/* ListObjects (both versions), ListObjectVersions, ListMultipartUploads, ListParts.
 * Source: API_ListObjectsV2, API_ListObjects, API_ListObjectVersions, API_ListMultipartUploads, API_ListParts. */
#include <string.h>

#include "base/clock.h"
#include "base/xml.h"
#include "gateway/part_checksums.h"

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

static void write_versions(struct listing *l, const struct store_list *page) {
    for (size_t i = 0; i < page->count; i++) {
        const struct store_list_entry *entry = &page->entries[i];
        if (entry->is_prefix) continue;
        xml_open(&l->w, "Version");
        name_element(l, "Key", entry->key);
        xml_element_str(&l->w, "VersionId", "null");
        bool_element(l, "IsLatest", true);
        date_element(l, "LastModified", entry->mtime_ms);
        etag_element(l, &entry->etag);
        xml_element_u64(&l->w, "Size", entry->size);
        owner_element(l, "Owner");
        xml_element_str(&l->w, "StorageClass", "STANDARD");
        xml_close(&l->w);
    }
}

/* Of a bucket without versions: each object has one, "null". So a key marker alone says where to go on. */
void listing_versions(struct exchange *x) {
    struct s3_refusal refusal;
    uint64_t max = 0;
    struct listing l = {.x = x};
    if (!wants_url(x, &l.url)) return;
    if (!s3_param_number(&x->request, "max-keys", STORE_LIST_MAX, STORE_LIST_MAX, true, &max, &refusal)) {
        exchange_refuse(x, &refusal);
        return;
    }
    const struct store_list_query query = {.prefix = s3_param(&x->request, "prefix"),
                                           .delimiter = s3_param(&x->request, "delimiter"),
                                           .start_after = s3_param(&x->request, "key-marker"),
                                           .max = (size_t)max};
    AUTO(store_list_done) struct store_list page = {0};
    struct result r = store_list_page(x->settings->store, &query, &page);
    if (is_err(r)) {
        exchange_fail_result(x, r, S3_ERR_NO_SUCH_KEY);
        return;
    }
    BUF_AUTO(document, EXCHANGE_ANSWER_MAX_BYTES);
    xml_start(&l.w, &document);
    xml_open_ns(&l.w, "ListVersionsResult", S3_NAMESPACE);
    xml_element_str(&l.w, "Name", x->settings->bucket);
    name_element_of_param(&l, "Prefix", "prefix", true);
    name_element_of_param(&l, "KeyMarker", "key-marker", true);
    const char *version_marker = s3_param(&x->request, "version-id-marker");
    xml_element_str(&l.w, "VersionIdMarker", version_marker != NULL ? version_marker : "");
    if (page.truncated) {
        name_element(&l, "NextKeyMarker", page.entries[page.count - 1].key);
        xml_element_str(&l.w, "NextVersionIdMarker", "null");
    }
    xml_element_u64(&l.w, "MaxKeys", max);
    name_element_of_param(&l, "Delimiter", "delimiter", false);
    if (l.url) xml_element_str(&l.w, "EncodingType", "url");
    bool_element(&l, "IsTruncated", page.truncated);
    write_versions(&l, &page);
    common_prefixes(&l, &page);
    xml_close(&l.w);
    exchange_answer_xml(x, NULL, &document);
}

/* One page of uploads: each an upload, or a common prefix of keys (then id is NULL). */
struct upload_page {
    struct upload_entry {
        char *key, *id; /* owned */
        int64_t begun_ms;
    } * entries;
    size_t count, max;
    bool truncated;
};

static void upload_page_done(struct upload_page *p) {
    for (size_t i = 0; i < p->count; i++) {
        mem_free(p->entries[i].key);
        mem_free(p->entries[i].id);
    }
    mem_free(p->entries);
    *p = (struct upload_page){0};
}

/* The common prefix that a key belongs to; NULL if none. The caller frees it. */
static char *common_prefix(const char *key, const char *prefix, const char *delimiter) {
    size_t skip = prefix != NULL ? strlen(prefix) : 0;
    if (delimiter == NULL || delimiter[0] == '\0' || strlen(key) < skip) return NULL;
    const char *at = strstr(key + skip, delimiter);
    return at != NULL ? str_ndup(key, (size_t)(at - key) + strlen(delimiter)) : NULL;
}

/* Adds an upload, or its prefix if that isn't the last entry already. False: there is no more room. */
static bool upload_page_add(struct upload_page *p, const struct store_upload *upload, char *owned_prefix) {
    AUTO_FREE char *prefix = owned_prefix;
    const struct upload_entry *last = p->count > 0 ? &p->entries[p->count - 1] : NULL;
    if (prefix != NULL && last != NULL && last->id == NULL && strcmp(last->key, prefix) == 0) return true;
    if (p->count == p->max) return false;
    struct upload_entry entry = {.begun_ms = upload->begun_ms};
    entry.id = prefix != NULL ? NULL : str_dup(upload->id);
    entry.key = prefix != NULL ? TAKE(prefix) : str_dup(upload->key);
    p->entries[p->count++] = entry;
    return true;
}

static struct result upload_page_fill(struct exchange *x, size_t max, struct upload_page *p) {
    const char *prefix = s3_param(&x->request, "prefix"), *delimiter = s3_param(&x->request, "delimiter");
    const char *marker = s3_param(&x->request, "key-marker"), *id_marker = s3_param(&x->request, "upload-id-marker");
    /* A marker that is a common prefix was given out as one: what it stands for is past. */
    AUTO_FREE char *past = marker != NULL ? common_prefix(marker, prefix, delimiter) : NULL;
    if (past != NULL && strcmp(past, marker) != 0) mem_free(TAKE(past));
    AUTO_FREE char *after_key = str_dup(marker), *after_id = str_dup(id_marker);
    *p = (struct upload_page){.entries = mem_alloc_array(max + 1, sizeof *p->entries), .max = max};
    for (bool more = max > 0; more && !p->truncated;) {
        AUTO(store_upload_list_done) struct store_upload_list list = {0};
        TRY(store_upload_list(x->settings->store, prefix, after_key, after_id, STORE_LIST_MAX, &list));
        for (size_t i = 0; i < list.count && !p->truncated; i++) {
            char *common = common_prefix(list.uploads[i].key, prefix, delimiter);
            if (common != NULL && past != NULL && strcmp(common, past) == 0)
                mem_free(common);
            else
                p->truncated = !upload_page_add(p, &list.uploads[i], common);
        }
        more = list.truncated && list.count > 0;
        if (!more) break;
        mem_free(TAKE(after_key));
        mem_free(TAKE(after_id));
        after_key = str_dup(list.uploads[list.count - 1].key);
        after_id = str_dup(list.uploads[list.count - 1].id);
    }
    return OK;
}

static void write_uploads(struct listing *l, const struct upload_page *page) {
    for (size_t i = 0; i < page->count; i++) {
        const struct upload_entry *entry = &page->entries[i];
        if (entry->id == NULL) continue;
        xml_open(&l->w, "Upload");
        name_element(l, "Key", entry->key);
        xml_element_str(&l->w, "UploadId", entry->id);
        owner_element(l, "Initiator");
        owner_element(l, "Owner");
        xml_element_str(&l->w, "StorageClass", "STANDARD");
        date_element(l, "Initiated", entry->begun_ms);
        xml_close(&l->w);
    }
    for (size_t i = 0; i < page->count; i++) {
        if (page->entries[i].id != NULL) continue;
        xml_open(&l->w, "CommonPrefixes");
        name_element(l, "Prefix", page->entries[i].key);
        xml_close(&l->w);
    }
}

void listing_uploads(struct exchange *x) {
    struct s3_refusal refusal;
    uint64_t max = 0;
    struct listing l = {.x = x};
    if (!wants_url(x, &l.url)) return;
    if (!s3_param_number(&x->request, "max-uploads", STORE_LIST_MAX, STORE_LIST_MAX, true, &max, &refusal)) {
        exchange_refuse(x, &refusal);
        return;
    }
    AUTO(upload_page_done) struct upload_page page = {0};
    struct result r = upload_page_fill(x, (size_t)max, &page);
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
    if (page.truncated) {
        const struct upload_entry *last = &page.entries[page.count - 1];
        name_element(&l, "NextKeyMarker", last->key);
        xml_element_str(&l.w, "NextUploadIdMarker", last->id != NULL ? last->id : "");
    }
    name_element_of_param(&l, "Prefix", "prefix", true);
    name_element_of_param(&l, "Delimiter", "delimiter", false);
    xml_element_u64(&l.w, "MaxUploads", max);
    if (l.url) xml_element_str(&l.w, "EncodingType", "url");
    bool_element(&l, "IsTruncated", page.truncated);
    write_uploads(&l, &page);
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
        enum s3_checksum_kind kind;
        const char *checksum;
        if (part_checksum_of_note(part->note, &kind, &checksum))
            xml_element_str(&l->w, s3_checksum_element(kind), checksum);
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
