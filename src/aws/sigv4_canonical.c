/* Stage one: the canonical request. */
#include <stdlib.h>
#include <string.h>

#include "aws/sigv4_priv.h"

const char *const sigv4_param_names[SIGV4_PARAM_MAX] = {
    "X-Amz-Algorithm",     "X-Amz-Credential",     "X-Amz-Date",      "X-Amz-Expires",
    "X-Amz-SignedHeaders", "X-Amz-Security-Token", "X-Amz-Signature",
};

static char to_lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool sigv4_name_is(const char *name, struct slice other) {
    if (strlen(name) != other.len) return false;
    for (size_t i = 0; i < other.len; i++)
        if (to_lower(name[i]) != to_lower((char)other.data[i])) return false;
    return true;
}

int sigv4_compare(struct slice a, struct slice b) {
    size_t n = a.len < b.len ? a.len : b.len;
    for (size_t i = 0; i < n; i++)
        if (a.data[i] != b.data[i]) return a.data[i] < b.data[i] ? -1 : 1;
    return a.len < b.len ? -1 : a.len > b.len;
}

size_t sigv4_canonical_max(const struct sigv4_request *r) {
    size_t headers = 0;
    for (const struct http_field *f = r->fields; f->name; f++)
        headers += 2 * strlen(f->name) + strlen(f->value) + 4;
    return r->method.len + 3 * r->path.len + 4 * r->query.len + headers + r->payload_hash.len + 64;
}

/* Takes "", "." and ".." out of a path, keeping one slash at the end where there was one. */
static void normalise(struct slice path, struct buf *out) {
    struct slice segment, rest = path;
    bool more = true;
    buf_append_byte(out, '/');
    while (more) {
        more = slice_cut(rest, '/', &segment, &rest);
        if (segment.len == 0 || slice_is(segment, ".")) continue;
        if (!slice_is(segment, "..")) {
            buf_append_slice(out, segment);
            buf_append_byte(out, '/');
            continue;
        }
        if (out->len > 1) out->len--; /* the slash behind the segment that goes */
        while (out->len > 1 && out->data[out->len - 1] != '/')
            out->len--;
    }
    bool ends_in_slash = path.len > 0 && path.data[path.len - 1] == '/';
    if (out->len > 1 && !ends_in_slash) out->len--;
}

static struct result append_path(const struct sigv4_request *r, struct buf *out) {
    if (r->path.len == 0) {
        buf_append_byte(out, '/');
        return OK;
    }
    BUF_AUTO(plain, r->path.len + 2);
    switch (r->path_rule) {
    case SIGV4_PATH_DEFAULT:
        normalise(r->path, &plain);
        break;
    case SIGV4_PATH_KEPT:
        buf_append_slice(&plain, r->path);
        break;
    case SIGV4_PATH_S3:
        TRY(percent_decode(r->path, &plain));
        break;
    }
    TRY(buf_check(&plain));
    percent_encode(buf_slice(&plain), true, out);
    return OK;
}

/* A parameter, encoded; offsets into one buffer, because it moves while it grows. */
struct parameter {
    size_t name_at, name_len, value_at, value_len;
};

static struct slice part(const struct buf *text, size_t at, size_t len) {
    if (len == 0) return slice_make(NULL, 0);
    return slice_make(text->data + at, len);
}

static struct slice name_of(const struct parameter *p, const struct buf *text) {
    return part(text, p->name_at, p->name_len);
}

static struct slice value_of(const struct parameter *p, const struct buf *text) {
    return part(text, p->value_at, p->value_len);
}

static int compare_parameters(const void *a, const void *b, void *text) {
    int order = sigv4_compare(name_of(a, text), name_of(b, text));
    return order != 0 ? order : sigv4_compare(value_of(a, text), value_of(b, text));
}

/* Clients differ in what they escape, so the wire's form counts for nothing: decode, encode. */
static struct result append_encoded(struct slice wire, struct buf *text, size_t *ret_at, size_t *ret_len) {
    BUF_AUTO(plain, wire.len + 1);
    TRY(percent_decode(wire, &plain));
    *ret_at = text->len;
    percent_encode(buf_slice(&plain), false, text);
    *ret_len = text->len - *ret_at;
    return OK;
}

static struct result append_query(struct slice query, bool is_presigned, struct buf *out) {
    size_t count = 1;
    for (size_t i = 0; i < query.len; i++)
        count += query.data[i] == '&';
    AUTO_FREE struct parameter *list = mem_alloc_array(count, sizeof *list);
    BUF_AUTO(text, 3 * query.len + 1);
    struct slice one, rest = query;
    size_t n = 0;
    bool more = true;
    while (more) {
        more = slice_cut(rest, '&', &one, &rest);
        if (one.len == 0) continue;
        struct slice name, value;
        slice_cut(one, '=', &name, &value);
        struct parameter *p = &list[n];
        TRY(append_encoded(name, &text, &p->name_at, &p->name_len));
        if (is_presigned && slice_is(name_of(p, &text), sigv4_param_names[SIGV4_PARAM_SIGNATURE])) continue;
        TRY(append_encoded(value, &text, &p->value_at, &p->value_len));
        n++;
    }
    TRY(buf_check(&text));
    if (n > 1) qsort_r(list, n, sizeof *list, compare_parameters, &text);
    for (size_t i = 0; i < n; i++) {
        if (i > 0) buf_append_byte(out, '&');
        buf_append_slice(out, name_of(&list[i], &text));
        buf_append_byte(out, '=');
        buf_append_slice(out, value_of(&list[i], &text));
    }
    return OK;
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Without white space at the ends, and each run inside as one space. */
static void append_value(const char *value, struct buf *out) {
    bool pending = false, any = false;
    for (const char *p = value; *p; p++) {
        if (is_space(*p)) {
            pending = any;
            continue;
        }
        if (pending) buf_append_byte(out, ' ');
        buf_append_byte(out, (uint8_t)*p);
        pending = false;
        any = true;
    }
}

static struct result append_header(const struct http_field *fields, struct slice name, struct buf *out) {
    bool found = false;
    for (const struct http_field *f = fields; f->name; f++) {
        if (!sigv4_name_is(f->name, name)) continue;
        if (found)
            buf_append_byte(out, ',');
        else {
            buf_append_slice(out, name);
            buf_append_byte(out, ':');
        }
        append_value(f->value, out);
        found = true;
    }
    CHECK(found, ERR_INVALID, "header '%.*s' is signed but was not received", (int)(name.len < 64 ? name.len : 64),
          (const char *)name.data);
    buf_append_byte(out, '\n');
    return OK;
}

struct result sigv4_canonical_request(const struct sigv4_request *r, struct slice signed_headers, bool is_presigned,
                                      struct buf *out) {
    buf_append_slice(out, r->method);
    buf_append_byte(out, '\n');
    TRY(append_path(r, out));
    buf_append_byte(out, '\n');
    TRY(append_query(r->query, is_presigned, out));
    buf_append_byte(out, '\n');
    struct slice name, rest = signed_headers;
    bool more = signed_headers.len > 0;
    while (more) {
        more = slice_cut(rest, ';', &name, &rest);
        TRY(append_header(r->fields, name, out));
    }
    buf_append_byte(out, '\n');
    buf_append_slice(out, signed_headers);
    buf_append_byte(out, '\n');
    buf_append_slice(out, r->payload_hash);
    return buf_check(out);
}
