/* Request headers of a write: which are honoured, which are refused, what becomes the object's metadata. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "gateway/exchange.h"

enum { USER_METADATA_MAX_BYTES = 2048 }; /* Source: S3 user guide, "User-defined object metadata" */

/* x-amz-* headers that need nothing from us, are honoured elsewhere, or name what happens anyway. Everything else that
 * begins with x-amz- is refused: an ignored ACL or object lock would be a lie. */
static const char *const understood[] = {
    "x-amz-api-version",
    "x-amz-checksum-algorithm",
    "x-amz-checksum-mode",
    "x-amz-content-sha256",
    "x-amz-copy-source",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-copy-source-range",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-metadata-directive",
    "x-amz-object-attributes",
    "x-amz-request-payer",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-server-side-encryption-bucket-key-enabled",
    "x-amz-trailer",
    "x-amz-user-agent",
};

/* These are understood with one value only: the state that every object here has. */
static const struct {
    const char *name, *value;
} only[] = {
    {"x-amz-acl", "private"},
    {"x-amz-acl", "bucket-owner-full-control"},
    {"x-amz-object-ownership", "BucketOwnerEnforced"},
    {"x-amz-server-side-encryption", "aws:kms"},
    {"x-amz-storage-class", "STANDARD"},
    {"x-amz-tagging-directive", "COPY"},
};

struct scan {
    struct exchange *x;
    bool writes;
    struct s3_refusal refusal; /* error NONE while all is well */
};

static bool is_metadata(const char *name) {
    return strncasecmp(name, "x-amz-meta-", 11) == 0;
}

/* The whole ARN, or the id behind "key/". */
static bool names_our_key(const char *key_arn, const char *value) {
    const char *id = strstr(key_arn, ":key/");
    return strcmp(value, key_arn) == 0 || (id != NULL && strcmp(value, id + 5) == 0);
}

static void check_only(struct scan *s, const char *name, const char *value) {
    bool known = false;
    for (size_t i = 0; i < ARRAY_LEN(only); i++) {
        if (strcasecmp(only[i].name, name) != 0) continue;
        known = true;
        if (strcmp(only[i].value, value) == 0) return;
    }
    if (!known)
        s3_refuse(&s->refusal, S3_ERR_NOT_IMPLEMENTED, "the header %.64s is not implemented", name);
    else if (strcasecmp(name, "x-amz-server-side-encryption") == 0)
        s3_refuse(&s->refusal, S3_ERR_INVALID_ARGUMENT, "x-amz-server-side-encryption can only be aws:kms here");
    else
        s3_refuse(&s->refusal, S3_ERR_NOT_IMPLEMENTED, "this value of the header %.64s is not implemented", name);
}

/* Only where it is looked at. */
static bool is_checksum_type(const struct exchange *x, const char *name) {
    enum s3_operation op = x->request.operation;
    return (op == S3_CREATE_UPLOAD || op == S3_COMPLETE_UPLOAD) && strcasecmp(name, "x-amz-checksum-type") == 0;
}

static void check_header(void *arg, const char *name, const char *value) {
    struct scan *s = arg;
    if (s->refusal.error != S3_ERROR_NONE || strncasecmp(name, "x-amz-", 6) != 0) return;
    if (!s->writes && strncasecmp(name, "x-amz-server-side-encryption", 28) == 0) {
        s3_refuse(&s->refusal, S3_ERR_INVALID_REQUEST, "%.64s is not allowed when reading", name);
        return;
    }
    enum s3_checksum_kind kind;
    if (is_metadata(name) || s3_checksum_of_header(name, &kind) || is_checksum_type(s->x, name)) return;
    for (size_t i = 0; i < ARRAY_LEN(understood); i++)
        if (strcasecmp(understood[i], name) == 0) return;
    if (strcasecmp(name, "x-amz-server-side-encryption-aws-kms-key-id") == 0) {
        if (!names_our_key(s->x->settings->key_arn, value))
            s3_refuse(&s->refusal, S3_ERR_INVALID_ARGUMENT, "objects here are encrypted with %s and no other key",
                      s->x->settings->key_arn);
        return;
    }
    check_only(s, name, value);
}

/* What is signed as a header can stand in a presigned URL's query instead, and counts as if it were one. */
static bool belongs_to_signature(const char *name) {
    static const char *const names[] = {"X-Amz-Algorithm",      "X-Amz-Credential",    "X-Amz-Date",
                                        "X-Amz-Expires",        "X-Amz-SignedHeaders", "X-Amz-Signature",
                                        "X-Amz-Security-Token", "X-Amz-Content-Sha256"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcasecmp(names[i], name) == 0) return true;
    return false;
}

/* Checksums in a query are ignored, as S3 does: an SDK that presigns puts the one of an empty body there. */
static bool is_idle_in_query(const char *name) {
    static const char *const names[] = {"x-amz-sdk-checksum-algorithm", "x-amz-checksum-mode", "x-amz-user-agent",
                                        "x-amz-api-version", "x-amz-request-payer"};
    enum s3_checksum_kind kind;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcasecmp(names[i], name) == 0) return true;
    return s3_checksum_of_header(name, &kind);
}

/* Unlike a header's, a parameter's text can be anything; what becomes metadata is given back in headers. */
static bool is_header_text(const char *name, const char *value) {
    static const char token[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~";
    if (name[strspn(name, token)] != '\0') return false;
    for (const char *p = value; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p == 0x7f) return false;
    return true;
}

static void check_params(struct scan *s) {
    for (size_t i = 0; i < s->x->request.param_count && s->refusal.error == S3_ERROR_NONE; i++) {
        const struct s3_param *p = &s->x->request.params[i];
        if (strncasecmp(p->name, "x-amz-", 6) != 0 || belongs_to_signature(p->name) || is_idle_in_query(p->name))
            continue;
        bool is_read_there = is_metadata(p->name);
        for (size_t k = 0; k < ARRAY_LEN(only); k++)
            is_read_there = is_read_there || strcasecmp(only[k].name, p->name) == 0;
        if (!is_header_text(p->name, p->value))
            s3_refuse(&s->refusal, S3_ERR_INVALID_ARGUMENT, "a parameter that stands for a header could be none");
        else if (is_read_there || strncasecmp(p->name, "x-amz-server-side-encryption", 28) == 0)
            check_header(s, p->name, p->value);
        else
            s3_refuse(&s->refusal, S3_ERR_NOT_IMPLEMENTED, "%.64s in the query is not implemented", p->name);
    }
}

bool exchange_check_headers(struct exchange *x) {
    enum s3_operation op = x->request.operation;
    struct scan s = {.x = x, .writes = op != S3_GET_OBJECT && op != S3_HEAD_OBJECT && op != S3_GET_OBJECT_ATTRIBUTES};
    http_each_header(x->http, check_header, &s);
    check_params(&s);
    if (s.refusal.error == S3_ERROR_NONE) return true;
    exchange_refuse(x, &s.refusal);
    return false;
}

void object_fields_done(struct object_fields *f) {
    for (size_t i = 0; i < f->count; i++) {
        mem_free(mem_unconst(f->list[i].name));
        mem_free(mem_unconst(f->list[i].value));
    }
    mem_free(f->list);
    *f = (struct object_fields){0};
}

void object_fields_add(struct object_fields *f, const char *name, const char *value) {
    char *lower = str_dup(name);
    for (char *p = lower; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    f->list[f->count++] = (struct store_field){lower, str_dup(value)};
}

static const char *const kept[] = {"content-type",  "content-encoding",    "content-language",
                                   "cache-control", "content-disposition", "expires"};

/* "gzip, aws-chunked" -> "gzip": the framing is not part of the object. */
static char *stored_encoding(const char *value) {
    struct slice rest = slice_str(value), one;
    BUF_AUTO(out, strlen(value) + 1);
    while (rest.len > 0) {
        slice_cut(rest, ',', &one, &rest);
        while (one.len > 0 && one.data[0] == ' ')
            one = slice_make(one.data + 1, one.len - 1);
        if (one.len == 0 || slice_is(one, "aws-chunked")) continue;
        if (out.len > 0) buf_append_byte(&out, ',');
        buf_append_slice(&out, one);
    }
    return slice_to_str(buf_slice(&out));
}

struct collect {
    struct object_fields *fields;
    size_t user_bytes;
    bool too_many;
};

static void collect(void *arg, const char *name, const char *value) {
    struct collect *c = arg;
    bool wanted = is_metadata(name);
    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        wanted = wanted || strcasecmp(kept[i], name) == 0;
    if (!wanted) return;
    AUTO_FREE char *text = strcasecmp(name, "content-encoding") == 0 ? stored_encoding(value) : str_dup(value);
    if (text[0] == '\0' && !is_metadata(name)) return;
    if (is_metadata(name)) c->user_bytes += strlen(name) - strlen("x-amz-meta-") + strlen(value);
    if (c->fields->count == STORE_FIELDS_MAX - 1) { /* one is for a checksum */
        c->too_many = true;
        return;
    }
    object_fields_add(c->fields, name, text);
}

bool exchange_object_fields(struct exchange *x, struct object_fields *ret) {
    AUTO(object_fields_done) struct object_fields fields = {mem_alloc_array(STORE_FIELDS_MAX, sizeof *fields.list), 0};
    struct collect c = {.fields = &fields};
    http_each_header(x->http, collect, &c);
    for (size_t i = 0; i < x->request.param_count; i++)
        if (is_metadata(x->request.params[i].name) && exchange_header(x, x->request.params[i].name) == NULL)
            collect(&c, x->request.params[i].name, x->request.params[i].value);
    if (c.too_many || c.user_bytes > USER_METADATA_MAX_BYTES) {
        exchange_fail(x, S3_ERR_METADATA_TOO_LARGE, "%s", s3_error_text(S3_ERR_METADATA_TOO_LARGE));
        return false;
    }
    *ret = fields;
    fields = (struct object_fields){0};
    return true;
}

static struct slice bare_etag(const char *value) {
    struct slice s = slice_str(value);
    if (s.len >= 2 && s.data[0] == '"' && s.data[s.len - 1] == '"') return slice_make(s.data + 1, s.len - 2);
    return s;
}

bool exchange_write_condition(struct exchange *x, struct store_condition *ret) {
    const char *match = exchange_header(x, "if-match"), *none_match = exchange_header(x, "if-none-match");
    *ret = (struct store_condition){.kind = STORE_ALWAYS};
    if (match != NULL && none_match != NULL) {
        exchange_fail(x, S3_ERR_INVALID_REQUEST, "a write can't have both If-Match and If-None-Match");
        return false;
    }
    if (none_match != NULL) {
        ret->kind = STORE_IF_ABSENT;
        if (strcmp(none_match, "*") == 0) return true;
        exchange_fail(x, S3_ERR_NOT_IMPLEMENTED, "If-None-Match of a write can only be *");
        return false;
    }
    if (match != NULL) {
        ret->kind = STORE_IF_MATCH;
        if (is_ok(store_etag_parse(bare_etag(match), &ret->etag))) return true;
        exchange_fail(x, S3_ERR_PRECONDITION_FAILED, "If-Match holds no ETag that was given out here");
        return false;
    }
    return true;
}
