#include "front/head.h"

#include <string.h>
#include <strings.h>

size_t head_end(struct slice bytes, size_t seen) {
    /* The end may have begun in what was seen: "\n\r" and then "\n". */
    for (size_t i = seen < 3 ? 0 : seen - 3; i < bytes.len; i++) {
        if (bytes.data[i] != '\n') continue;
        size_t next = i + 1;
        if (next < bytes.len && bytes.data[next] == '\r') next++;
        if (next < bytes.len && bytes.data[next] == '\n') return next + 1;
    }
    return 0;
}

/* A line without its end; false at the end of the head. */
static bool next_line(struct slice *rest, struct slice *ret) {
    if (rest->len == 0) return false;
    const uint8_t *end = memchr(rest->data, '\n', rest->len);
    size_t len = end != NULL ? (size_t)(end - rest->data) : rest->len;
    *ret = slice_make(rest->data, len > 0 && rest->data[len - 1] == '\r' ? len - 1 : len);
    size_t used = end != NULL ? len + 1 : len;
    *rest = slice_make(rest->data + used, rest->len - used);
    return ret->len > 0;
}

static bool starts_with_any_case(struct slice s, const char *prefix) {
    size_t n = strlen(prefix);
    return s.len >= n && strncasecmp((const char *)s.data, prefix, n) == 0;
}

static bool is_key_char(uint8_t c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static void refuse(struct head *ret) {
    ret->auth = HEAD_MALFORMED;
    ret->access_key_id[0] = '\0';
}

/* "AKID/20250101/us-west-2/s3/aws4_request", the slashes perhaps as %2F. A second one makes it malformed. */
static void take_credential(struct slice value, struct head *ret) {
    size_t n = 0;
    while (n < value.len && is_key_char(value.data[n]))
        n++;
    struct slice rest = slice_make(value.data + n, value.len - n);
    bool ends = slice_starts_with(rest, "/") || starts_with_any_case(rest, "%2F");
    bool good = n > 0 && n <= HEAD_KEY_MAX_CHARS && ends && ret->auth == HEAD_NO_AUTH;
    if (!good) {
        refuse(ret);
        return;
    }
    ret->auth = HEAD_KEY;
    mem_copy(ret->access_key_id, value.data, n);
    ret->access_key_id[n] = '\0';
}

static void read_query(struct slice query, struct head *ret) {
    while (query.len > 0) {
        struct slice pair;
        slice_cut(query, '&', &pair, &query);
        size_t credential = strlen("X-Amz-Credential=");
        if (slice_starts_with(pair, "X-Amz-Credential="))
            take_credential(slice_make(pair.data + credential, pair.len - credential), ret);
        else if (slice_starts_with(pair, "AWSAccessKeyId=") && ret->auth == HEAD_NO_AUTH)
            ret->auth = HEAD_OTHER_SCHEME;
    }
}

static void read_authorization(struct slice value, struct head *ret) {
    static const char scheme[] = "AWS4-HMAC-SHA256", credential[] = "Credential=";
    while (value.len > 0 && (value.data[0] == ' ' || value.data[0] == '\t'))
        value = slice_make(value.data + 1, value.len - 1);
    if (!slice_starts_with(value, scheme)) {
        if (ret->auth == HEAD_NO_AUTH)
            ret->auth = HEAD_OTHER_SCHEME;
        else
            refuse(ret);
        return;
    }
    const uint8_t *found = memmem(value.data, value.len, credential, strlen(credential));
    if (found == NULL) {
        refuse(ret);
        return;
    }
    const uint8_t *from = found + strlen(credential);
    take_credential(slice_make(from, (size_t)(value.data + value.len - from)), ret);
}

/* METHOD SP target SP HTTP/1.x */
static struct result read_request_line(struct slice line, struct head *ret) {
    struct slice method, rest, target, version;
    slice_cut(line, ' ', &method, &rest);
    slice_cut(rest, ' ', &target, &version);
    bool good = method.len > 0 && method.len <= HEAD_METHOD_MAX_CHARS && target.len > 0 && target.data[0] == '/' &&
                slice_starts_with(version, "HTTP/1.") && version.len == strlen("HTTP/1.1");
    for (size_t i = 0; i < method.len && good; i++)
        good = method.data[i] >= 'A' && method.data[i] <= 'Z';
    CHECK(good, ERR_INVALID, "this is no request of HTTP/1.1");
    mem_copy(ret->method, method.data, method.len);
    ret->method[method.len] = '\0';
    struct slice query;
    slice_cut(target, '?', &ret->path, &query);
    read_query(query, ret);
    return OK;
}

struct result head_parse(struct slice bytes, struct head *ret) {
    *ret = (struct head){.auth = HEAD_NO_AUTH};
    struct slice line;
    CHECK(next_line(&bytes, &line), ERR_INVALID, "this is no request of HTTP/1.1");
    TRY(read_request_line(line, ret));
    static const char name[] = "Authorization:";
    while (next_line(&bytes, &line)) {
        if (starts_with_any_case(line, name))
            read_authorization(slice_make(line.data + strlen(name), line.len - strlen(name)), ret);
    }
    return OK;
}
