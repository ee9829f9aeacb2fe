/* The framing guard. The library's parser is lax where it matters for security: it takes Content-Length together with
 * Transfer-Encoding, several Content-Lengths, folded headers, line feeds without carriage returns, and cuts at NULs.
 * What it made of the request is compared here with RFC 9112, before any handler sees it. */
#include <microhttpd.h>
#include <string.h>
#include <strings.h>

#include "base/http_internal.h"

/* RFC 9110 section 5.6.2. */
static bool is_token(const char *s) {
    if (*s == '\0') return false;
    for (; *s; s++) {
        bool plain = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9');
        if (!plain && !strchr("!#$%&'*+-.^_`|~", *s)) return false;
    }
    return true;
}

static bool has_control(const char *s, bool tab_allowed) {
    for (; *s; s++)
        if (((unsigned char)*s < 0x20 && !(tab_allowed && *s == '\t')) || *s == 0x7F) return true;
    return false;
}

/* A line that the parser took whole is followed, in its memory, by the two bytes of CR LF and then by the next line.
 * A NUL that hid something, a bare line feed, a folded line or superfluous spaces leave another distance. So sums of
 * addresses tell what the parsed strings can't. */
static bool is_seamless(const struct http_request *r, const char *version, size_t header_bytes) {
    uintptr_t at = (uintptr_t)r->method;
    uintptr_t end = at + header_bytes;
    at += strlen(r->method) + 1;
    if ((uintptr_t)r->target_at != at) return false;
    at += strlen(r->target) + 1;
    if ((uintptr_t)version != at) return false;
    at += strlen(version) + 2;
    for (size_t i = 0; i < r->line_count; i++) {
        const struct http_line *l = &r->lines[i];
        if ((uintptr_t)l->name != at) return false;
        if (l->name_len != strlen(l->name) || l->value_len != strlen(l->value)) return false;
        /* The colon, and blanks behind it, which the parser skipped. */
        if ((uintptr_t)l->value < at + l->name_len + 1) return false;
        at = (uintptr_t)l->value + l->value_len + 2;
    }
    return at + 2 == end;
}

static const char *guard_lines(struct http_request *r) {
    unsigned lengths = 0, encodings = 0, hosts = 0;
    for (size_t i = 0; i < r->line_count; i++) {
        const struct http_line *l = &r->lines[i];
        if (!is_token(l->name)) return "a header's name holds a character that is not allowed there";
        if (has_control(l->value, true)) return "a header holds a control character";
        if (strcasecmp(l->name, "Host") == 0) {
            hosts++;
        } else if (strcasecmp(l->name, "Content-Length") == 0) {
            uint64_t length;
            if (is_err(slice_to_u64(slice_str(l->value), INT64_MAX, &length))) return "Content-Length is not a number";
            r->content_length = (int64_t)length;
            lengths++;
        } else if (strcasecmp(l->name, "Transfer-Encoding") == 0) {
            if (strcasecmp(l->value, "chunked") != 0) return "Transfer-Encoding must be chunked";
            r->chunked = true;
            encodings++;
        } else if (strcasecmp(l->name, "Expect") == 0) {
            if (strcasecmp(l->value, "100-continue") != 0) return "this expectation is not known";
            r->expects_continue = true;
        }
    }
    if (hosts != 1) return "there must be exactly one Host header";
    if (lengths > 1) return "there is more than one Content-Length";
    if (encodings > 1) return "there is more than one Transfer-Encoding";
    if (lengths > 0 && encodings > 0) return "Content-Length and Transfer-Encoding exclude each other";
    return NULL;
}

const char *http_guard(struct http_request *r, const char *version, size_t header_bytes) {
    bool http_1_1 = strcmp(version, "HTTP/1.1") == 0;
    if (!http_1_1 && strcmp(version, "HTTP/1.0") != 0) return "only HTTP/1.1 and HTTP/1.0 are served";
    if (!is_token(r->method)) return "the method is not valid";
    if (r->target[0] != '/' && strcmp(r->target, "*") != 0) return "the target must begin with a slash";
    if (has_control(r->target, false)) return "the target holds a control character";
    const char *why = guard_lines(r);
    if (why) return why;
    if (r->chunked && !http_1_1) return "HTTP/1.0 does not know Transfer-Encoding";
    /* Later versions of the library have a strict parser, and another layout. */
    if (MHD_get_version()[0] == '0' && !is_seamless(r, version, header_bytes))
        return "the head of the request is not well-formed (NUL, folded header, or line feed without carriage return)";
    return NULL;
}
