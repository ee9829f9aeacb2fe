/* Listings of objects, versions and uploads; and what deletes many. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws/s3_store_priv.h"
#include "base/crypto.h"

enum { LIST_MAX_BYTES = 16 << 20, DELETE_MAX_BYTES = 8 << 20 };

void s3_entries_done(struct s3_entries *e) {
    for (size_t i = 0; i < e->count; i++) {
        mem_free(e->items[i].key);
        mem_free(e->items[i].version_id);
        mem_free(e->items[i].upload_id);
    }
    mem_free(e->items);
    mem_free(e->next);
    mem_free(e->next_id);
    *e = (struct s3_entries){0};
}

/* ---- one page ---- */

static const char *const root_names[] = {"ListBucketResult", "ListVersionsResult", "ListMultipartUploadsResult"};

static bool is_item(enum s3_listing kind, const char *name) {
    if (strcmp(name, "CommonPrefixes") == 0) return true;
    if (kind == S3_LISTING_OBJECTS) return strcmp(name, "Contents") == 0;
    if (kind == S3_LISTING_UPLOADS) return strcmp(name, "Upload") == 0;
    return strcmp(name, "Version") == 0 || strcmp(name, "DeleteMarker") == 0;
}

/* What one page's entries have in common. */
struct page_rules {
    enum s3_listing kind;
    const char *prefix;
    bool is_encoded; /* keys are percent-encoded */
};

static struct result decode(const struct page_rules *rules, const char *text, char **ret) {
    CHECK(*text && strlen(text) <= 3 * S3_STORE_MAX_KEY_BYTES, ERR_PEER, "a key of the listing can't be read");
    if (rules->is_encoded)
        CHECK(is_ok(s3_wire_decode_key(text, ret)), ERR_PEER, "a key of the listing can't be read");
    else
        *ret = str_dup(text);
    return OK;
}

static struct result take_key(const struct page_rules *rules, const char *text, char **ret) {
    TRY(decode(rules, text, ret));
    CHECK(strncmp(*ret, rules->prefix, strlen(rules->prefix)) == 0, ERR_PEER,
          "the listing tells keys that were not asked for");
    return OK;
}

static struct result take_item(const struct xml_node *n, const struct page_rules *rules, struct s3_entry *ret) {
    enum s3_listing kind = rules->kind;
    ret->is_prefix = strcmp(n->name, "CommonPrefixes") == 0;
    if (ret->is_prefix) return take_key(rules, s3_wire_child(n, "Prefix"), &ret->key);
    TRY(take_key(rules, s3_wire_child(n, "Key"), &ret->key));
    const char *time = s3_wire_child(n, kind == S3_LISTING_UPLOADS ? "Initiated" : "LastModified");
    CHECK(s3_wire_parse_time(time, &ret->modified_ms), ERR_PEER, "a time of the listing can't be read");
    if (kind == S3_LISTING_UPLOADS) {
        const char *id = s3_wire_child(n, "UploadId");
        CHECK(*id, ERR_PEER, "an upload of the listing has no id");
        ret->upload_id = str_dup(id);
        return OK;
    }
    if (kind == S3_LISTING_VERSIONS) {
        const char *id = s3_wire_child(n, "VersionId");
        ret->version_id = str_dup(*id ? id : "null");
        ret->is_latest = strcmp(s3_wire_child(n, "IsLatest"), "true") == 0;
        ret->is_delete_marker = strcmp(n->name, "DeleteMarker") == 0;
        if (ret->is_delete_marker) return OK;
    }
    uint64_t size;
    CHECK(is_ok(slice_to_u64(slice_str(s3_wire_child(n, "Size")), INT64_MAX, &size)), ERR_PEER,
          "a size of the listing can't be read");
    ret->size = (int64_t)size;
    return s3_take_etag(slice_str(s3_wire_child(n, "ETag")), ret->etag);
}

static struct result take_next(const struct xml_node *root, const struct page_rules *rules, struct s3_entries *e) {
    enum s3_listing kind = rules->kind;
    if (strcmp(s3_wire_child(root, "IsTruncated"), "true") != 0) return OK;
    const char *next = s3_wire_child(root, kind == S3_LISTING_OBJECTS ? "NextContinuationToken" : "NextKeyMarker");
    const char *id = s3_wire_child(root, kind == S3_LISTING_VERSIONS ? "NextVersionIdMarker" : "NextUploadIdMarker");
    CHECK(*next, ERR_PEER, "the listing has no end and no next page");
    if (kind == S3_LISTING_OBJECTS) {
        e->next = str_dup(next);
        return OK;
    }
    TRY(decode(rules, next, &e->next));
    if (*id) e->next_id = str_dup(id);
    return OK;
}

/* Objects and common prefixes come one after the other. Versions of one key stay in their order. */
static int by_key(const void *a, const void *b) {
    const struct s3_entry *x = a, *y = b;
    return strcmp(x->key, y->key);
}

struct result s3_page_parse(struct slice text, enum s3_listing kind, const char *prefix, struct s3_entries *ret) {
    AUTO(xml_free_auto) struct xml_node *root = NULL;
    AUTO(s3_entries_done) struct s3_entries e = {0};
    CHECK(is_ok(xml_parse(text, &root)) && strcmp(root->name, root_names[kind]) == 0, ERR_PEER,
          "the answer is no listing of a bucket: is this an endpoint of S3?");
    bool asked = kind == S3_LISTING_OBJECTS;
    struct page_rules rules = {
        .kind = kind, .prefix = prefix, .is_encoded = asked || !strcmp(s3_wire_child(root, "EncodingType"), "url")};
    size_t count = 0;
    for (const struct xml_node *n = root->first_child; n; n = n->next)
        count += is_item(kind, n->name);
    e.items = mem_alloc_array(count + 1, sizeof *e.items);
    for (const struct xml_node *n = root->first_child; n; n = n->next)
        if (is_item(kind, n->name)) TRY(take_item(n, &rules, &e.items[e.count++]));
    TRY(take_next(root, &rules, &e));
    if (kind == S3_LISTING_OBJECTS) qsort(e.items, e.count, sizeof *e.items, by_key);
    *ret = e;
    e = (struct s3_entries){0};
    return OK;
}

/* ---- asking for it ---- */

struct list_call {
    enum s3_listing kind;
    const struct s3_list *list;
    struct s3_entries page;
};

static void list_call_done(struct list_call *l) {
    s3_entries_done(&l->page);
}

static bool same(const char *a, const char *b) {
    return (!a && !b) || (a && b && strcmp(a, b) == 0);
}

static struct result judge_list(struct s3_request *r, const struct http_reply *reply, struct s3_failure *f) {
    struct list_call *l = r->arg;
    s3_entries_done(&l->page);
    TRY(s3_page_parse(buf_slice(&reply->body), l->kind, l->list->prefix, &l->page));
    const struct s3_entries *after = l->list->after;
    CHECK(!after || !l->page.next || !same(after->next, l->page.next) || !same(after->next_id, l->page.next_id),
          ERR_PEER, "the listing does not come forward");
    return OK;
}

static struct result list_any(struct s3_store_client *c, enum s3_listing kind, const struct s3_list *list,
                              struct s3_entries *ret, struct s3_failure *why) {
    AUTO(list_call_done) struct list_call l = {.kind = kind, .list = list};
    struct s3_request r = {.client = c,
                           .method = "GET",
                           .what = "listing",
                           .judge = judge_list,
                           .arg = &l,
                           .max_reply = LIST_MAX_BYTES,
                           .transfer_bytes = 1 << 20};
    char keys[16];
    const struct s3_entries *after = list->after;
    CHECK(!after || after->next, ERR_INTERNAL, "there is no page behind the last one");
    snprintf(keys, sizeof keys, "%u", list->max_keys ? list->max_keys : S3_STORE_PAGE_KEYS);
    /* Ceph 16 encodes the keys of versions, but not where the next page begins: those are asked for as they are. */
    if (kind == S3_LISTING_OBJECTS) s3_request_param(&r, "encoding-type", "url");
    if (*list->prefix) s3_request_param(&r, "prefix", list->prefix);
    if (list->delimiter) s3_request_param(&r, "delimiter", list->delimiter);
    s3_request_param(&r, kind == S3_LISTING_UPLOADS ? "max-uploads" : "max-keys", keys);
    if (kind == S3_LISTING_OBJECTS) {
        s3_request_param(&r, "list-type", "2");
        if (after) s3_request_param(&r, "continuation-token", after->next);
        if (!after && list->start_after) s3_request_param(&r, "start-after", list->start_after);
    } else {
        s3_request_param(&r, kind == S3_LISTING_VERSIONS ? "versions" : "uploads", "");
        if (after) s3_request_param(&r, "key-marker", after->next);
        const char *id_marker = kind == S3_LISTING_VERSIONS ? "version-id-marker" : "upload-id-marker";
        if (after && after->next_id) s3_request_param(&r, id_marker, after->next_id);
    }
    AUTO(http_reply_done) struct http_reply reply = {0};
    TRY(s3_request_send(&r, &reply, why));
    *ret = l.page;
    l.page = (struct s3_entries){0};
    return OK;
}

struct result s3_store_list(struct s3_store_client *c, const struct s3_list *list, struct s3_entries *ret,
                            struct s3_failure *why) {
    return list_any(c, S3_LISTING_OBJECTS, list, ret, why);
}

struct result s3_store_list_versions(struct s3_store_client *c, const struct s3_list *list, struct s3_entries *ret,
                                     struct s3_failure *why) {
    return list_any(c, S3_LISTING_VERSIONS, list, ret, why);
}

struct result s3_store_list_uploads(struct s3_store_client *c, const struct s3_list *list, struct s3_entries *ret,
                                    struct s3_failure *why) {
    return list_any(c, S3_LISTING_UPLOADS, list, ret, why);
}

/* ---- deleting many ---- */

struct delete_call {
    const struct s3_name *names;
    size_t count;
    bool *again; /* by name: to be deleted by itself */
};

static bool is_name(const struct s3_name *n, const char *key, const char *version_id) {
    return strcmp(n->key, key) == 0 && strcmp(n->version_id ? n->version_id : "", version_id) == 0;
}

static struct result judge_delete(struct s3_request *r, const struct http_reply *reply, struct s3_failure *f) {
    struct delete_call *d = r->arg;
    AUTO(xml_free_auto) struct xml_node *root = NULL;
    CHECK(is_ok(xml_parse(buf_slice(&reply->body), &root)) && strcmp(root->name, "DeleteResult") == 0, ERR_PEER,
          "the answer to a deletion can't be read");
    for (const struct xml_node *n = root->first_child; n; n = n->next) {
        if (strcmp(n->name, "Error") != 0) continue;
        size_t i = 0;
        while (i < d->count && !is_name(&d->names[i], s3_wire_child(n, "Key"), s3_wire_child(n, "VersionId")))
            i++;
        CHECK(i < d->count, ERR_PEER, "the answer to a deletion tells of an object that was not named");
        d->again[i] = true;
    }
    return OK;
}

static struct result write_names(const struct s3_name *names, size_t count, struct buf *out) {
    struct xml_writer w;
    xml_start(&w, out);
    xml_open_ns(&w, "Delete", "http://s3.amazonaws.com/doc/2006-03-01/");
    xml_element_str(&w, "Quiet", "true");
    for (size_t i = 0; i < count; i++) {
        xml_open(&w, "Object");
        xml_element_str(&w, "Key", names[i].key);
        if (names[i].version_id) xml_element_str(&w, "VersionId", names[i].version_id);
        xml_close(&w);
    }
    xml_close(&w);
    return buf_check(out);
}

/* AWS wants the MD5 of this body. */
static struct result add_md5(struct s3_request *r) {
    uint8_t md5[MD5_BYTES];
    AUTO(digest_free_auto) struct digest *d = NULL;
    BUF_AUTO(text, sizeof r->md5 - 1);
    TRY(digest_new(DIGEST_MD5, &d));
    TRY(digest_update(d, r->body));
    TRY(digest_finish(d, md5));
    base64_encode(slice_make(md5, sizeof md5), &text);
    TRY(buf_check(&text));
    mem_copy(r->md5, buf_str(&text), text.len + 1);
    s3_request_field(r, "Content-MD5", r->md5);
    return OK;
}

static struct result delete_page(struct s3_store_client *c, const struct s3_name *names, size_t count,
                                 struct s3_failure *why) {
    AUTO_FREE bool *again = mem_alloc_array(count, sizeof *again);
    struct delete_call d = {.names = names, .count = count, .again = again};
    BUF_AUTO(body, DELETE_MAX_BYTES);
    TRY(write_names(names, count, &body));
    struct s3_request r = {.client = c,
                           .method = "POST",
                           .what = "deleting objects",
                           .body = buf_slice(&body),
                           .changes = true,
                           .judge = judge_delete,
                           .arg = &d,
                           .max_reply = DELETE_MAX_BYTES};
    s3_request_param(&r, "delete", "");
    s3_request_field(&r, "Content-Type", "application/xml");
    TRY(add_md5(&r));
    AUTO(http_reply_done) struct http_reply reply = {0};
    TRY(s3_request_send(&r, &reply, why));
    /* Alone each tells its own reason. */
    for (size_t i = 0; i < count; i++)
        if (again[i]) TRY(s3_store_delete(c, names[i].key, names[i].version_id, why));
    return OK;
}

struct result s3_store_delete_many(struct s3_store_client *c, const struct s3_name *names, size_t count,
                                   struct s3_failure *why) {
    struct s3_failure f = {0};
    for (size_t at = 0; at < count;) {
        size_t n = count - at < S3_STORE_PAGE_KEYS ? count - at : S3_STORE_PAGE_KEYS;
        bool singly = n == 1 || atomic_load(&c->deletes_singly);
        if (singly) n = 1;
        struct result r =
            singly ? s3_store_delete(c, names[at].key, names[at].version_id, &f) : delete_page(c, names + at, n, &f);
        if (why) *why = f;
        if (is_err(r) && !singly && f.trouble == S3_TROUBLE_UNSUPPORTED) {
            atomic_store(&c->deletes_singly, true);
            continue;
        }
        TRY(r);
        at += n;
    }
    return OK;
}
