/* Text encodings and big-endian integers, declared in buf.h. */
#include "base/buf.h"

#include <string.h>

#include "base/secret.h"

/* Takes back what a decoder has appended before it failed, so that a failure changes nothing. */
static void buf_cut_back(struct buf *b, size_t len) {
    if (!b->data) return;
    if (b->wipes) wipe(b->data + len, b->len - len);
    b->len = len;
    b->data[len] = '\0';
}

void hex_encode(struct slice in, struct buf *out) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < in.len; i++) {
        uint8_t pair[2] = {(uint8_t)digits[in.data[i] >> 4], (uint8_t)digits[in.data[i] & 15]};
        buf_append(out, pair, sizeof pair);
    }
}

/* What stands for a character that is no digit of the encoding. */
enum { NO_DIGIT = 255 };

static unsigned hex_value(uint8_t c) {
    if (c >= '0' && c <= '9') return c - (unsigned)'0';
    if (c >= 'a' && c <= 'f') return c - (unsigned)'a' + 10;
    if (c >= 'A' && c <= 'F') return c - (unsigned)'A' + 10;
    return NO_DIGIT;
}

struct result hex_decode(struct slice in, struct buf *out) {
    CHECK(in.len % 2 == 0, ERR_INVALID, "hexadecimal text must have an even length");
    size_t before = out->len;
    for (size_t i = 0; i < in.len; i += 2) {
        unsigned high = hex_value(in.data[i]), low = hex_value(in.data[i + 1]);
        if (high == NO_DIGIT || low == NO_DIGIT) {
            buf_cut_back(out, before);
            FAIL(ERR_INVALID, "hexadecimal text holds another character at %zu", i);
        }
        buf_append_byte(out, (uint8_t)(high << 4 | low));
    }
    return OK;
}

static const char base64_standard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64_url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void base64_write(struct slice in, const char *alphabet, bool padded, struct buf *out) {
    for (size_t i = 0; i < in.len; i += 3) {
        size_t n = in.len - i < 3 ? in.len - i : 3;
        uint32_t bits = (uint32_t)in.data[i] << 16;
        if (n > 1) bits |= (uint32_t)in.data[i + 1] << 8;
        if (n > 2) bits |= in.data[i + 2];
        uint8_t four[4] = {(uint8_t)alphabet[bits >> 18], (uint8_t)alphabet[bits >> 12 & 63],
                           n > 1 ? (uint8_t)alphabet[bits >> 6 & 63] : '=', n > 2 ? (uint8_t)alphabet[bits & 63] : '='};
        buf_append(out, four, padded ? 4 : n + 1);
        wipe(four, sizeof four);
    }
}

static unsigned base64_value(uint8_t c, uint8_t c62, uint8_t c63) {
    if (c >= 'A' && c <= 'Z') return c - (unsigned)'A';
    if (c >= 'a' && c <= 'z') return c - (unsigned)'a' + 26;
    if (c >= '0' && c <= '9') return c - (unsigned)'0' + 52;
    if (c == c62) return 62;
    if (c == c63) return 63;
    return NO_DIGIT;
}

/* The digits alone, without padding. */
static struct result base64_read(struct slice in, uint8_t c62, uint8_t c63, struct buf *out) {
    CHECK(in.len % 4 != 1, ERR_INVALID, "base64 text has an impossible length");
    for (size_t i = 0; i < in.len; i += 4) {
        size_t n = in.len - i < 4 ? in.len - i : 4;
        uint32_t bits = 0;
        for (size_t j = 0; j < 4; j++) {
            unsigned v = j < n ? base64_value(in.data[i + j], c62, c63) : 0;
            CHECK(v != NO_DIGIT, ERR_INVALID, "base64 text holds another character at %zu", i + j);
            bits = bits << 6 | v;
        }
        uint8_t three[3] = {(uint8_t)(bits >> 16), (uint8_t)(bits >> 8), (uint8_t)bits};
        /* Two texts must never mean the same bytes: RFC 4648 section 3.5. */
        CHECK(n > 3 || three[n - 1] == 0, ERR_INVALID, "base64 text has stray bits at its end");
        buf_append(out, three, n - 1);
        wipe(three, sizeof three);
    }
    return OK;
}

static struct result base64_read_or_undo(struct slice in, uint8_t c62, uint8_t c63, struct buf *out) {
    size_t before = out->len;
    struct result r = base64_read(in, c62, c63, out);
    if (is_err(r)) buf_cut_back(out, before);
    return r;
}

void base64_encode(struct slice in, struct buf *out) {
    base64_write(in, base64_standard, true, out);
}

struct result base64_decode(struct slice in, struct buf *out) {
    CHECK(in.len % 4 == 0, ERR_INVALID, "base64 text must have a length that is a multiple of 4");
    for (int i = 0; i < 2 && in.len && in.data[in.len - 1] == '='; i++)
        in.len--;
    return base64_read_or_undo(in, '+', '/', out);
}

void base64url_encode(struct slice in, struct buf *out) {
    base64_write(in, base64_url, false, out);
}

struct result base64url_decode(struct slice in, struct buf *out) {
    return base64_read_or_undo(in, '-', '_', out);
}

void percent_encode(struct slice in, bool keep_slash, struct buf *out) {
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < in.len; i++) {
        uint8_t c = in.data[i];
        bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
                     c == '.' || c == '_' || c == '~' || (keep_slash && c == '/');
        uint8_t escape[3] = {'%', (uint8_t)digits[c >> 4], (uint8_t)digits[c & 15]};
        if (plain)
            buf_append_byte(out, c);
        else
            buf_append(out, escape, sizeof escape);
    }
}

static struct result percent_read(struct slice in, struct buf *out) {
    for (size_t i = 0; i < in.len; i++) {
        unsigned c = in.data[i];
        if (c == '%') {
            unsigned high = in.len - i > 2 ? hex_value(in.data[i + 1]) : NO_DIGIT;
            unsigned low = in.len - i > 2 ? hex_value(in.data[i + 2]) : NO_DIGIT;
            CHECK(high != NO_DIGIT && low != NO_DIGIT, ERR_INVALID,
                  "a percent sign must be followed by two hexadecimal digits");
            c = high << 4 | low;
            i += 2;
        }
        CHECK(c != 0, ERR_INVALID, "a NUL is not allowed in percent-encoded text");
        buf_append_byte(out, (uint8_t)c);
    }
    return OK;
}

struct result percent_decode(struct slice in, struct buf *out) {
    size_t before = out->len;
    struct result r = percent_read(in, out);
    if (is_err(r)) buf_cut_back(out, before);
    return r;
}

static void put_be(struct buf *b, uint64_t v, size_t n) {
    uint8_t bytes[8];
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(v >> 8 * (n - 1 - i));
    buf_append(b, bytes, n);
}

void put_u16(struct buf *b, uint16_t v) {
    put_be(b, v, 2);
}

void put_u32(struct buf *b, uint32_t v) {
    put_be(b, v, 4);
}

void put_u64(struct buf *b, uint64_t v) {
    put_be(b, v, 8);
}

static bool take_be(struct slice *s, size_t n, uint64_t *ret) {
    struct slice bytes;
    if (!take_bytes(s, n, &bytes)) return false;
    *ret = 0;
    for (size_t i = 0; i < n; i++)
        *ret = *ret << 8 | bytes.data[i];
    return true;
}

bool take_u8(struct slice *s, uint8_t *ret) {
    uint64_t v;
    if (!take_be(s, 1, &v)) return false;
    *ret = (uint8_t)v;
    return true;
}

bool take_u16(struct slice *s, uint16_t *ret) {
    uint64_t v;
    if (!take_be(s, 2, &v)) return false;
    *ret = (uint16_t)v;
    return true;
}

bool take_u32(struct slice *s, uint32_t *ret) {
    uint64_t v;
    if (!take_be(s, 4, &v)) return false;
    *ret = (uint32_t)v;
    return true;
}

bool take_u64(struct slice *s, uint64_t *ret) {
    return take_be(s, 8, ret);
}

bool take_bytes(struct slice *s, size_t n, struct slice *ret) {
    if (s->len < n) return false;
    *ret = slice_make(s->data, n);
    if (n) *s = slice_make(s->data + n, s->len - n);
    return true;
}
