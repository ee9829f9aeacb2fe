#include "aws/s3_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aws/sigv4.h"
#include "base/xml.h"

enum {
    TIMEOUT_MS = 30000,
    CONNECT_MS = 5000,
    MAX_URL_BYTES = 16384,
    MAX_LIST_BYTES = 8 << 20,
    MAX_ERROR_BYTES = 65536
};

/* SHA-256 of nothing: no request here has a body. */
static const char empty_hash[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

struct s3_client {
    struct http_pool *pool;
    char *base; /* scheme://host, without a slash */
    char *host; /* for the Host header */
    char *path; /* "" or "/bucket" */
    char *region, *bucket, *access_key_id;
    struct secret secret_key, session_token;
    unsigned timeout_ms;
    const bool *cancelled;
};

/* ---- the client ---- */

/* Bucket names are what AWS allows today: they become a part of a host name, or of a path. */
static struct result check_bucket(const char *bucket) {
    size_t n = strlen(bucket);
    bool good = n >= 3 && n <= 63;
    for (size_t i = 0; i < n && good; i++) {
        char c = bucket[i];
        good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || ((c == '-' || c == '.') && i > 0 && i < n - 1);
    }
    CHECK(good && !strstr(bucket, ".."), ERR_INVALID,
          "'%.63s' is no name of a bucket: 3 to 63 lower-case letters, digits, '-' and '.'", bucket);
    return OK;
}

static struct result check_region(const char *region) {
    size_t n = strlen(region);
    bool good = n >= 1 && n <= 32 && strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
    CHECK(good, ERR_INVALID, "'%.32s' is no name of a region", region);
    return OK;
}

static struct result check_endpoint(const char *endpoint, const char **ret_authority) {
    *ret_authority = NULL;
    if (strncmp(endpoint, "https://", 8) == 0) *ret_authority = endpoint + 8;
    if (strncmp(endpoint, "http://", 7) == 0) *ret_authority = endpoint + 7;
    CHECK(*ret_authority && **ret_authority && strlen(endpoint) < 512, ERR_INVALID,
          "an endpoint is http(s)://HOST[:PORT], not '%.80s'", endpoint);
    for (const char *p = *ret_authority; *p; p++)
        CHECK(*p > ' ' && *p <= '~' && !strchr("/?#@\\", *p), ERR_INVALID,
              "an endpoint is http(s)://HOST[:PORT] and nothing behind it, not '%.80s'", endpoint);
    return OK;
}

/* The Host header leaves the scheme's own port out. */
static char *host_of(const char *base, const char *authority) {
    const char *port = strncmp(base, "https:", 6) == 0 ? ":443" : ":80";
    size_t n = strlen(authority), m = strlen(port);
    return str_ndup(authority, n > m && strcmp(authority + n - m, port) == 0 ? n - m : n);
}

static void set_address(struct s3_client *c, const char *endpoint, const char *authority) {
    if (endpoint) {
        size_t n = strlen(endpoint);
        c->base = str_ndup(endpoint, n);
        c->host = host_of(endpoint, authority);
        c->path = str_format("/%s", c->bucket);
        return;
    }
    const char *suffix = strncmp(c->region, "cn-", 3) == 0 ? ".cn" : "";
    /* A dot in the bucket's name doesn't fit AWS's certificate. */
    bool in_path = strchr(c->bucket, '.') != NULL;
    c->host = in_path ? str_format("s3.%s.amazonaws.com%s", c->region, suffix)
                      : str_format("%s.s3.%s.amazonaws.com%s", c->bucket, c->region, suffix);
    c->base = str_format("https://%s", c->host);
    c->path = in_path ? str_format("/%s", c->bucket) : str_dup("");
}

struct s3_client *s3_client_free(struct s3_client *c) {
    if (!c) return NULL;
    mem_free(c->base);
    mem_free(c->host);
    mem_free(c->path);
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
    const char *authority = NULL;
    TRY(check_bucket(o->bucket));
    TRY(check_region(o->region));
    if (o->endpoint) TRY(check_endpoint(o->endpoint, &authority));
    AUTO(s3_client_free_auto) struct s3_client *c = mem_alloc(sizeof *c);
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
    set_address(c, o->endpoint, authority);
    *ret = TAKE(c);
    return OK;
}

/* ---- a request ---- */

struct request {
    const char *method;
    struct buf path, query; /* as on the wire */
    struct http_field fields[8];
    size_t field_count;
};

static void request_init(struct request *r, const char *method) {
    *r = (struct request){.method = method};
    buf_init(&r->path, MAX_URL_BYTES);
    buf_init(&r->query, MAX_URL_BYTES);
}

static void request_done(struct request *r) {
    buf_done(&r->path);
    buf_done(&r->query);
}

static void add_param(struct request *r, const char *name, const char *value) {
    buf_printf(&r->query, "%s%s=", r->query.len ? "&" : "", name);
    percent_encode(slice_str(value), false, &r->query);
}

static void add_field(struct request *r, const char *name, const char *value) {
    r->fields[r->field_count++] = (struct http_field){name, value};
}

static struct result sign(struct s3_client *c, struct request *r, struct sigv4_signed *made, struct buf *token) {
    struct sigv4_request wire = {.method = slice_str(r->method),
                                 .path = buf_slice(&r->path),
                                 .query = buf_slice(&r->query),
                                 .fields = r->fields,
                                 .payload_hash = slice_str(empty_hash),
                                 .path_rule = SIGV4_PATH_S3};
    struct sigv4_signer signer = {.access_key_id = c->access_key_id,
                                  .secret_key = secret_view(&c->secret_key),
                                  .session_token = secret_view(&c->session_token),
                                  .region = c->region,
                                  .service = "s3",
                                  .unix_ms = clock_unix_ms(),
                                  .add_content_sha256 = true};
    TRY(sigv4_sign(&signer, &wire, made));
    add_field(r, "X-Amz-Date", made->amz_date);
    add_field(r, "X-Amz-Content-Sha256", empty_hash);
    buf_append_slice(token, signer.session_token);
    if (token->len) add_field(r, "X-Amz-Security-Token", buf_str(token));
    add_field(r, "Authorization", buf_str(&made->authorization));
    return OK;
}

static struct result send_request(struct s3_client *c, struct request *r, size_t max_reply, struct http_reply *ret) {
    AUTO(sigv4_signed_done) struct sigv4_signed made = {0};
    BUF_AUTO(token, MAX_URL_BYTES);
    token.wipes = true;
    TRY(buf_check(&r->path));
    TRY(buf_check(&r->query));
    add_field(r, "Host", c->host);
    if (c->access_key_id) TRY(sign(c, r, &made, &token));
    AUTO_FREE char *url =
        str_format("%s%s%s%s", c->base, buf_str(&r->path), r->query.len ? "?" : "", buf_str(&r->query));
    struct http_call call = {.method = r->method,
                             .url = url,
                             .fields = r->fields,
                             .connect_timeout_ms = CONNECT_MS,
                             .timeout_ms = c->timeout_ms,
                             .max_reply_bytes = max_reply > MAX_ERROR_BYTES ? max_reply : MAX_ERROR_BYTES,
                             .cancelled = c->cancelled};
    return http_call(c->pool, &call, ret);
}

/* ---- refusals ---- */

/* A short text from the other side, for a message. */
static char *clean(const char *text) {
    char *copy = str_ndup(text, 120);
    for (char *p = copy; *p; p++)
        if ((unsigned char)*p < ' ' || (unsigned char)*p > '~') *p = ' ';
    return copy;
}

static struct result refused(struct s3_client *c, const struct http_reply *reply, const char *what) {
    AUTO(xml_free_auto) struct xml_node *error = NULL;
    const struct xml_node *code = NULL, *message = NULL;
    if (reply->body.len && is_ok(xml_parse(buf_slice(&reply->body), &error))) {
        code = xml_child(error, "Code");
        message = xml_child(error, "Message");
    }
    AUTO_FREE char *code_text = clean(code ? code->text : "");
    AUTO_FREE char *message_text = clean(message ? message->text : "no reason given");
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

/* encoding-type=url writes a space as '+' or as %20, and a plus always as %2B. */
static struct result decode_key(const char *text, char **ret) {
    AUTO_FREE char *spaced = str_dup(text);
    for (char *p = spaced; *p; p++)
        if (*p == '+') *p = ' ';
    BUF_AUTO(key, S3_CLIENT_MAX_KEY_BYTES);
    TRY(percent_decode(slice_str(spaced), &key));
    TRY(buf_check(&key));
    *ret = buf_take_str(&key);
    return OK;
}

static bool parse_time(const char *text, int64_t *ret_ms) {
    struct tm t = {0};
    int millis = 0;
    int n = sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3d", &t.tm_year, &t.tm_mon, &t.tm_mday, &t.tm_hour, &t.tm_min,
                   &t.tm_sec, &millis);
    if (n < 6) return false;
    t.tm_year -= 1900;
    t.tm_mon -= 1;
    *ret_ms = (int64_t)timegm(&t) * 1000 + millis;
    return true;
}

static const char *child_text(const struct xml_node *node, const char *name) {
    const struct xml_node *child = xml_child(node, name);
    return child ? child->text : "";
}

static struct result take_object(const struct xml_node *node, struct s3_object *ret) {
    uint64_t size;
    const char *etag = child_text(node, "ETag");
    size_t n = strlen(etag);
    bool quoted = n >= 2 && etag[0] == '"' && etag[n - 1] == '"';
    CHECK(n >= 3 && is_ok(slice_to_u64(slice_str(child_text(node, "Size")), INT64_MAX, &size)) &&
              parse_time(child_text(node, "LastModified"), &ret->modified_ms),
          ERR_PEER, "the listing of the bucket can't be read");
    ret->size = (int64_t)size;
    TRY(decode_key(child_text(node, "Key"), &ret->key));
    ret->etag = quoted ? str_ndup(etag + 1, n - 2) : str_dup(etag);
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
    bool more = strcmp(child_text(root, "IsTruncated"), "true") == 0;
    const char *token = child_text(root, "NextContinuationToken");
    CHECK(!more || *token, ERR_PEER, "the listing of the bucket has no end and no next page");
    if (more) p->next_token = str_dup(token);
    return OK;
}

struct result s3_client_list(struct s3_client *c, const char *prefix, const char *start_after, const char *token,
                             unsigned max_keys, struct s3_page *ret) {
    AUTO(request_done) struct request r;
    request_init(&r, "GET");
    buf_printf(&r.path, "%s%s", c->path, *c->path ? "" : "/");
    char keys[16];
    snprintf(keys, sizeof keys, "%u", max_keys);
    /* In the order of their names, as they are signed. */
    if (token) add_param(&r, "continuation-token", token);
    add_param(&r, "encoding-type", "url");
    add_param(&r, "list-type", "2");
    add_param(&r, "max-keys", keys);
    if (*prefix) add_param(&r, "prefix", prefix);
    if (!token && *start_after) add_param(&r, "start-after", start_after);
    AUTO(http_reply_done) struct http_reply reply = {0};
    TRY(send_request(c, &r, MAX_LIST_BYTES, &reply));
    if (reply.status != 200) return refused(c, &reply, "listing");
    AUTO(s3_page_done) struct s3_page page = {0};
    TRY(take_page(buf_slice(&reply.body), &page));
    *ret = page;
    page = (struct s3_page){0};
    return OK;
}

/* ---- objects ---- */

static void set_key(struct s3_client *c, struct request *r, const char *key) {
    buf_printf(&r->path, "%s/", c->path);
    percent_encode(slice_str(key), true, &r->path);
}

static bool header_is(const struct http_reply *reply, const char *name, const char *value) {
    struct slice v;
    return http_reply_header(reply, name, &v) && slice_is(v, value);
}

/* "bytes 0-99/1234" */
static struct result take_range(const struct http_reply *reply, int64_t from, int64_t *ret_total) {
    struct slice range, head, total;
    uint64_t n;
    CHECK(http_reply_header(reply, "Content-Range", &range) && slice_cut(range, '/', &head, &total) &&
              is_ok(slice_to_u64(total, INT64_MAX, &n)),
          ERR_PEER, "a part of an object comes without its range");
    AUTO_FREE char *begin = str_format("bytes %lld-", (long long)from);
    CHECK(slice_starts_with(head, begin), ERR_PEER, "another part of the object came than was asked for");
    *ret_total = (int64_t)n;
    return OK;
}

struct result s3_client_get(struct s3_client *c, const char *key, const char *etag, int64_t from, size_t max,
                            struct buf *out, struct s3_part *ret) {
    AUTO(request_done) struct request r;
    request_init(&r, "GET");
    set_key(c, &r, key);
    AUTO_FREE char *quoted = str_format("\"%s\"", etag);
    AUTO_FREE char *range = str_format("bytes=%lld-%lld", (long long)from, (long long)from + (long long)max - 1);
    add_field(&r, "If-Match", quoted);
    add_field(&r, "Range", range);
    AUTO(http_reply_done) struct http_reply reply = {0};
    TRY(send_request(c, &r, max, &reply));
    *ret = (struct s3_part){.total = from};
    if (reply.status == 416) return OK; /* nothing is there: behind the end */
    if (reply.status != 206 && !(reply.status == 200 && from == 0)) return refused(c, &reply, "reading");
    if (reply.status == 206)
        TRY(take_range(&reply, from, &ret->total));
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
    AUTO(request_done) struct request r;
    request_init(&r, "HEAD");
    set_key(c, &r, key);
    AUTO_FREE char *quoted = str_format("\"%s\"", etag);
    add_field(&r, "If-Match", quoted);
    AUTO(http_reply_done) struct http_reply reply = {0};
    TRY(send_request(c, &r, MAX_ERROR_BYTES, &reply));
    return reply.status == 200 ? OK : refused(c, &reply, "looking at an object");
}
