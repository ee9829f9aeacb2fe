#include "aws/s3_client.h"

#include <stdio.h>
#include <string.h>

#include "aws/s3_wire.h"

enum { TIMEOUT_MS = 30000, CONNECT_MS = 5000, MAX_LIST_BYTES = 8 << 20, MAX_ERROR_BYTES = 65536 };

struct s3_client {
    struct http_pool *pool;
    struct s3_address address;
    char *region, *bucket, *access_key_id;
    struct secret secret_key, session_token;
    unsigned timeout_ms;
    const bool *cancelled;
};

/* ---- the client ---- */

struct s3_client *s3_client_free(struct s3_client *c) {
    if (!c) return NULL;
    s3_address_done(&c->address);
    mem_free(c->region);
    mem_free(c->bucket);
    mem_free(c->access_key_id);
    secret_done(&c->secret_key);
    secret_done(&c->session_token);
    mem_free(c);
    return NULL;
}

static void s3_client_free_auto(struct s3_client **c) {
    s3_client_free(*c);
}

struct result s3_client_new(const struct s3_client_options *o, struct s3_client **ret) {
    AUTO(s3_client_free_auto) struct s3_client *c = mem_alloc(sizeof *c);
    TRY(s3_address_make(o->endpoint, o->region, o->bucket, o->endpoint != NULL, &c->address));
    c->pool = o->pool;
    c->region = str_dup(o->region);
    c->bucket = str_dup(o->bucket);
    c->access_key_id = str_dup(o->access_key_id);
    if (o->access_key_id) {
        CHECK(o->secret_key.len > 0, ERR_INVALID, "an access key id without its secret");
        TRY(secret_from(o->secret_key.data, o->secret_key.len, &c->secret_key));
        if (o->session_token.len) TRY(secret_from(o->session_token.data, o->session_token.len, &c->session_token));
    }
    c->timeout_ms = o->timeout_ms ? o->timeout_ms : TIMEOUT_MS;
    c->cancelled = o->cancelled;
    *ret = TAKE(c);
    return OK;
}

static struct result send_request(struct s3_client *c, struct s3_wire *w, size_t max_reply, struct http_reply *ret) {
    struct s3_wire_signer signer = {.region = c->region,
                                    .key_id = c->access_key_id,
                                    .secret_key = secret_view(&c->secret_key),
                                    .token = secret_view(&c->session_token),
                                    .unix_ms = clock_unix_ms()};
    TRY(s3_wire_finish(w, &signer, s3_wire_empty_hash));
    struct http_call call = {.method = w->method,
                             .url = w->url,
                             .fields = w->fields,
                             .connect_timeout_ms = CONNECT_MS,
                             .timeout_ms = c->timeout_ms,
                             .max_reply_bytes = max_reply > MAX_ERROR_BYTES ? max_reply : MAX_ERROR_BYTES,
                             .cancelled = c->cancelled};
    return http_call(c->pool, &call, ret);
}

/* ---- refusals ---- */

static struct result refused(struct s3_client *c, const struct http_reply *reply, const char *what) {
    AUTO(xml_free_auto) struct xml_node *error = NULL;
    const struct xml_node *code = NULL, *message = NULL;
    if (reply->body.len && is_ok(xml_parse(buf_slice(&reply->body), &error))) {
        code = xml_child(error, "Code");
        message = xml_child(error, "Message");
    }
    char code_text[121], message_text[121];
    s3_wire_clean(code_text, sizeof code_text, code ? code->text : "");
    s3_wire_clean(message_text, sizeof message_text, message ? message->text : "no reason given");
    struct slice region;
    int status = reply->status;
    if (http_reply_header(reply, "x-amz-bucket-region", &region) && !slice_is(region, c->region) && status != 404)
        FAIL(ERR_INVALID, "bucket '%s' is in the region '%.*s': say so as 'region'", c->bucket, (int)region.len,
             (const char *)region.data);
    if (status == 404)
        FAIL(ERR_NOT_FOUND, "%s: bucket '%s' or the object is not there (%s)", what, c->bucket, code_text);
    if (status == 401 || status == 403)
        FAIL(ERR_FORBIDDEN, "%s: refused for bucket '%s' (%d %s: %s)", what, c->bucket, status, code_text,
             message_text);
    if (status == 412) FAIL(ERR_CONFLICT, "%s: the object has changed", what);
    if (status == 429 || status >= 500)
        FAIL(ERR_UNREACHABLE, "%s: bucket '%s' can't be read now (%d %s)", what, c->bucket, status, code_text);
    FAIL(ERR_INVALID, "%s: bucket '%s' answers %d %s: %s", what, c->bucket, status, code_text, message_text);
}

/* ---- listing ---- */

void s3_page_done(struct s3_page *p) {
    for (size_t i = 0; i < p->count; i++) {
        mem_free(p->items[i].key);
        mem_free(p->items[i].etag);
    }
    mem_free(p->items);
    mem_free(p->next_token);
    *p = (struct s3_page){0};
}

static struct result take_object(const struct xml_node *node, struct s3_object *ret) {
    uint64_t size;
    const char *etag = s3_wire_child(node, "ETag");
    CHECK(strlen(etag) >= 3 && is_ok(slice_to_u64(slice_str(s3_wire_child(node, "Size")), INT64_MAX, &size)) &&
              s3_wire_parse_time(s3_wire_child(node, "LastModified"), &ret->modified_ms),
          ERR_PEER, "the listing of the bucket can't be read");
    ret->size = (int64_t)size;
    TRY(s3_wire_decode_key(s3_wire_child(node, "Key"), &ret->key));
    ret->etag = slice_to_str(s3_wire_unquoted(slice_str(etag)));
    return OK;
}

static struct result take_page(struct slice text, struct s3_page *p) {
    AUTO(xml_free_auto) struct xml_node *root = NULL;
    CHECK(is_ok(xml_parse(text, &root)) && strcmp(root->name, "ListBucketResult") == 0, ERR_PEER,
          "the answer is no listing of a bucket: is this an endpoint of S3?");
    size_t count = 0;
    for (const struct xml_node *n = root->first_child; n; n = n->next)
        count += strcmp(n->name, "Contents") == 0;
    p->items = mem_alloc_array(count + 1, sizeof *p->items);
    for (const struct xml_node *n = root->first_child; n; n = n->next)
        if (strcmp(n->name, "Contents") == 0) TRY(take_object(n, &p->items[p->count++]));
    bool more = strcmp(s3_wire_child(root, "IsTruncated"), "true") == 0;
    const char *token = s3_wire_child(root, "NextContinuationToken");
    CHECK(!more || *token, ERR_PEER, "the listing of the bucket has no end and no next page");
    if (more) p->next_token = str_dup(token);
    return OK;
}

struct result s3_client_list(struct s3_client *c, const char *prefix, const char *start_after, const char *token,
                             unsigned max_keys, struct s3_page *ret) {
    AUTO(s3_wire_done) struct s3_wire w;
    s3_wire_init(&w, &c->address, "GET", NULL);
    char keys[16];
    snprintf(keys, sizeof keys, "%u", max_keys);
    /* In the order of their names, as they are signed. */
    if (token) s3_wire_param(&w, "continuation-token", token);
    s3_wire_param(&w, "encoding-type", "url");
    s3_wire_param(&w, "list-type", "2");
    s3_wire_param(&w, "max-keys", keys);
    if (*prefix) s3_wire_param(&w, "prefix", prefix);
    if (!token && *start_after) s3_wire_param(&w, "start-after", start_after);
    AUTO(http_reply_done) struct http_reply reply = {0};
    TRY(send_request(c, &w, MAX_LIST_BYTES, &reply));
    if (reply.status != 200) return refused(c, &reply, "listing");
    AUTO(s3_page_done) struct s3_page page = {0};
    TRY(take_page(buf_slice(&reply.body), &page));
    *ret = page;
    page = (struct s3_page){0};
    return OK;
}

/* ---- objects ---- */

static bool header_is(const struct http_reply *reply, const char *name, const char *value) {
    struct slice v;
    return http_reply_header(reply, name, &v) && slice_is(v, value);
}

struct result s3_client_get(struct s3_client *c, const char *key, const char *etag, int64_t from, size_t max,
                            struct buf *out, struct s3_part *ret) {
    AUTO(s3_wire_done) struct s3_wire w;
    s3_wire_init(&w, &c->address, "GET", key);
    AUTO_FREE char *quoted = str_format("\"%s\"", etag);
    AUTO_FREE char *range = str_format("bytes=%lld-%lld", (long long)from, (long long)from + (long long)max - 1);
    s3_wire_field(&w, "If-Match", quoted);
    s3_wire_field(&w, "Range", range);
    AUTO(http_reply_done) struct http_reply reply = {0};
    TRY(send_request(c, &w, max, &reply));
    *ret = (struct s3_part){.total = from};
    if (reply.status == 416) return OK; /* nothing is there: behind the end */
    if (reply.status != 206 && !(reply.status == 200 && from == 0)) return refused(c, &reply, "reading");
    struct slice text = {0};
    int64_t last = 0;
    http_reply_header(&reply, "Content-Range", &text);
    if (reply.status == 206)
        TRY(s3_wire_range(text, from, &last, &ret->total));
    else
        ret->total = (int64_t)reply.body.len;
    ret->is_gzip = header_is(&reply, "Content-Encoding", "gzip");
    ret->is_zstd = header_is(&reply, "Content-Encoding", "zstd");
    int64_t wanted = ret->total - from < (int64_t)max ? ret->total - from : (int64_t)max;
    CHECK((int64_t)reply.body.len == wanted, ERR_PEER, "a part of an object has another length than it should");
    buf_append_slice(out, buf_slice(&reply.body));
    return buf_check(out);
}

struct result s3_client_head(struct s3_client *c, const char *key, const char *etag) {
    AUTO(s3_wire_done) struct s3_wire w;
    s3_wire_init(&w, &c->address, "HEAD", key);
    AUTO_FREE char *quoted = str_format("\"%s\"", etag);
    s3_wire_field(&w, "If-Match", quoted);
    AUTO(http_reply_done) struct http_reply reply = {0};
    TRY(send_request(c, &w, MAX_ERROR_BYTES, &reply));
    return reply.status == 200 ? OK : refused(c, &reply, "looking at an object");
}
