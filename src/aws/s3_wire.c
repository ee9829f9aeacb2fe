#include "aws/s3_wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char s3_wire_empty_hash[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/* ---- addresses ---- */

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

void s3_address_done(struct s3_address *a) {
    mem_free(a->base);
    mem_free(a->host);
    mem_free(a->path);
    *a = (struct s3_address){0};
}

/* The Host header leaves the scheme's own port out. */
static char *host_of(const char *base, const char *authority) {
    const char *port = strncmp(base, "https:", 6) == 0 ? ":443" : ":80";
    size_t n = strlen(authority), m = strlen(port);
    return str_ndup(authority, n > m && strcmp(authority + n - m, port) == 0 ? n - m : n);
}

static struct result own_endpoint(const char *endpoint, const char *bucket, bool path_style, struct s3_address *ret) {
    const char *authority = NULL;
    TRY(check_endpoint(endpoint, &authority));
    if (path_style) {
        ret->base = str_dup(endpoint);
        ret->host = host_of(endpoint, authority);
        ret->path = str_format("/%s", bucket);
        return OK;
    }
    ret->base = str_format("%.*s%s.%s", (int)(authority - endpoint), endpoint, bucket, authority);
    AUTO_FREE char *whole = str_format("%s.%s", bucket, authority);
    ret->host = host_of(endpoint, whole);
    ret->path = str_dup("");
    return OK;
}

struct result s3_address_make(const char *endpoint, const char *region, const char *bucket, bool path_style,
                              struct s3_address *ret) {
    AUTO(s3_address_done) struct s3_address a = {0};
    TRY(check_bucket(bucket));
    TRY(check_region(region));
    if (endpoint) {
        TRY(own_endpoint(endpoint, bucket, path_style, &a));
    } else {
        const char *suffix = strncmp(region, "cn-", 3) == 0 ? ".cn" : "";
        /* A dot in the bucket's name doesn't fit AWS's certificate. */
        bool in_path = path_style || strchr(bucket, '.');
        a.host = in_path ? str_format("s3.%s.amazonaws.com%s", region, suffix)
                         : str_format("%s.s3.%s.amazonaws.com%s", bucket, region, suffix);
        a.base = str_format("https://%s", a.host);
        a.path = in_path ? str_format("/%s", bucket) : str_dup("");
    }
    *ret = a;
    a = (struct s3_address){0};
    return OK;
}

/* ---- requests ---- */

void s3_wire_init(struct s3_wire *w, const struct s3_address *address, const char *method, const char *key) {
    *w = (struct s3_wire){.address = address, .method = method};
    buf_init(&w->path, S3_WIRE_MAX_URL_BYTES);
    buf_init(&w->query, S3_WIRE_MAX_URL_BYTES);
    buf_init_wiping(&w->token, S3_WIRE_MAX_URL_BYTES);
    buf_printf(&w->path, "%s%s", address->path, key || !*address->path ? "/" : "");
    if (key) percent_encode(slice_str(key), true, &w->path);
}

void s3_wire_done(struct s3_wire *w) {
    buf_done(&w->path);
    buf_done(&w->query);
    buf_done(&w->token);
    sigv4_signed_done(&w->made);
    mem_free(w->url);
    w->url = NULL;
}

void s3_wire_param(struct s3_wire *w, const char *name, const char *value) {
    buf_printf(&w->query, "%s%s=", w->query.len ? "&" : "", name);
    percent_encode(slice_str(value), false, &w->query);
}

void s3_wire_field(struct s3_wire *w, const char *name, const char *value) {
    if (w->field_count < S3_WIRE_MAX_FIELDS)
        w->fields[w->field_count++] = (struct http_field){name, value};
    else
        w->path.overflowed = true; /* a mistake of the program; s3_wire_finish tells it */
}

static struct result sign(struct s3_wire *w, const struct s3_wire_signer *signer, const char *payload_hash) {
    struct sigv4_request wire = {.method = slice_str(w->method),
                                 .path = buf_slice(&w->path),
                                 .query = buf_slice(&w->query),
                                 .fields = w->fields,
                                 .payload_hash = slice_str(payload_hash),
                                 .path_rule = SIGV4_PATH_S3};
    struct sigv4_signer s = {.access_key_id = signer->key_id,
                             .secret_key = signer->secret_key,
                             .session_token = signer->token,
                             .region = signer->region,
                             .service = "s3",
                             .unix_ms = signer->unix_ms,
                             .add_content_sha256 = true};
    TRY(sigv4_sign(&s, &wire, &w->made));
    s3_wire_field(w, "X-Amz-Date", w->made.amz_date);
    s3_wire_field(w, "X-Amz-Content-Sha256", payload_hash);
    buf_append_slice(&w->token, signer->token);
    if (w->token.len) s3_wire_field(w, "X-Amz-Security-Token", buf_str(&w->token));
    s3_wire_field(w, "Authorization", buf_str(&w->made.authorization));
    return buf_check(&w->token);
}

struct result s3_wire_finish(struct s3_wire *w, const struct s3_wire_signer *signer, const char *payload_hash) {
    s3_wire_field(w, "Host", w->address->host);
    TRY(buf_check(&w->path));
    TRY(buf_check(&w->query));
    if (signer->key_id) TRY(sign(w, signer, payload_hash));
    w->url = str_format("%s%s%s%s", w->address->base, buf_str(&w->path), w->query.len ? "?" : "", buf_str(&w->query));
    return buf_check(&w->path);
}

/* ---- texts of answers ---- */

void s3_wire_clean(char *ret, size_t size, const char *text) {
    size_t n = 0;
    for (; text[n] && n + 1 < size; n++)
        ret[n] = text[n] < ' ' || text[n] > '~' ? ' ' : text[n];
    ret[n] = 0;
}

struct result s3_wire_decode_key(const char *text, char **ret) {
    AUTO_FREE char *spaced = str_dup(text);
    for (char *p = spaced; *p; p++)
        if (*p == '+') *p = ' ';
    BUF_AUTO(key, S3_WIRE_MAX_KEY_BYTES);
    TRY(percent_decode(slice_str(spaced), &key));
    TRY(buf_check(&key));
    *ret = buf_take_str(&key);
    return OK;
}

bool s3_wire_parse_time(const char *text, int64_t *ret_ms) {
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

const char *s3_wire_child(const struct xml_node *node, const char *name) {
    const struct xml_node *child = xml_child(node, name);
    return child ? child->text : "";
}

struct slice s3_wire_unquoted(struct slice etag) {
    bool quoted = etag.len >= 2 && etag.data[0] == '"' && etag.data[etag.len - 1] == '"';
    return quoted ? slice_make(etag.data + 1, etag.len - 2) : etag;
}

struct result s3_wire_range(struct slice text, int64_t from, int64_t *ret_last, int64_t *ret_total) {
    struct slice head, total, begin, end;
    uint64_t n, last;
    CHECK(slice_cut(text, '/', &head, &total) && is_ok(slice_to_u64(total, INT64_MAX, &n)) &&
              slice_cut(head, '-', &begin, &end) && is_ok(slice_to_u64(end, INT64_MAX, &last)) && last < n,
          ERR_PEER, "a part of an object comes without its range");
    AUTO_FREE char *wanted = str_format("bytes %lld", (long long)from);
    CHECK(slice_is(begin, wanted) && (int64_t)last >= from, ERR_PEER,
          "another part of the object came than was asked for");
    *ret_last = (int64_t)last;
    *ret_total = (int64_t)n;
    return OK;
}
