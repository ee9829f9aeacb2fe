#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/secret.h"

struct slice slice_str(const char *s) {
    return slice_make(s, s ? strlen(s) : 0);
}

bool slice_equal(struct slice a, struct slice b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool slice_is(struct slice a, const char *s) {
    return slice_equal(a, slice_str(s));
}

bool slice_starts_with(struct slice a, const char *prefix) {
    size_t n = strlen(prefix);
    return a.len >= n && slice_is(slice_make(a.data, n), prefix);
}

bool slice_cut(struct slice a, char separator, struct slice *head, struct slice *tail) {
    const uint8_t *at = a.len ? memchr(a.data, (unsigned char)separator, a.len) : NULL;
    if (!at) {
        *head = a;
        *tail = (struct slice){0};
        return false;
    }
    size_t n = (size_t)(at - a.data);
    *head = slice_make(a.data, n);
    *tail = slice_make(at + 1, a.len - n - 1);
    return true;
}

char *slice_to_str(struct slice a) {
    char *s = mem_alloc(a.len + 1);
    mem_copy(s, a.data, a.len);
    return s;
}

bool slice_has_nul(struct slice a) {
    return a.len && memchr(a.data, 0, a.len);
}

struct result slice_to_u64(struct slice a, uint64_t max, uint64_t *ret) {
    CHECK(a.len > 0, ERR_INVALID, "a number is missing");
    CHECK(a.len == 1 || a.data[0] != '0', ERR_INVALID, "a number must not begin with zeros");
    uint64_t value = 0;
    for (size_t i = 0; i < a.len; i++) {
        CHECK(a.data[i] >= '0' && a.data[i] <= '9', ERR_INVALID, "a number must consist of decimal digits");
        CHECK(!__builtin_mul_overflow(value, 10, &value) &&
                  !__builtin_add_overflow(value, (uint64_t)(a.data[i] - '0'), &value) && value <= max,
              ERR_INVALID, "a number is over the largest allowed, %llu", (unsigned long long)max);
    }
    *ret = value;
    return OK;
}

/* Length of the well-formed sequence at p (Unicode 15, table 3-7); 0 if there is none. */
static size_t utf8_sequence(const uint8_t *p, size_t left) {
    if (p[0] < 0x80) return 1;
    size_t n = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    if (p[0] < 0xC2 || p[0] > 0xF4 || left < n) return 0;
    uint8_t low = 0x80, high = 0xBF;
    if (p[0] == 0xE0) low = 0xA0;
    if (p[0] == 0xED) high = 0x9F;
    if (p[0] == 0xF0) low = 0x90;
    if (p[0] == 0xF4) high = 0x8F;
    if (p[1] < low || p[1] > high) return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xC0) != 0x80) return 0;
    return n;
}

size_t slice_utf8_step(struct slice a) {
    return a.len ? utf8_sequence(a.data, a.len) : 0;
}

bool slice_is_utf8(struct slice a) {
    for (size_t i = 0; i < a.len;) {
        size_t n = utf8_sequence(a.data + i, a.len - i);
        if (n == 0) return false;
        i += n;
    }
    return true;
}

void buf_init(struct buf *b, size_t max) {
    *b = (struct buf){.max = max};
}

void buf_init_wiping(struct buf *b, size_t max) {
    *b = (struct buf){.max = max, .wipes = true};
}

void buf_done(struct buf *b) {
    if (b->wipes) wipe(b->data, b->capacity);
    mem_free(b->data);
    *b = (struct buf){0};
}

void buf_clear(struct buf *b) {
    if (b->wipes) wipe(b->data, b->capacity);
    b->len = 0;
    b->overflowed = false;
    if (b->data) b->data[0] = '\0';
}

/* Makes room for n bytes and the NUL behind them. */
static bool buf_grow(struct buf *b, size_t n) {
    if (b->overflowed || n > b->max - b->len) {
        b->overflowed = true;
        return false;
    }
    size_t needed;
    if (__builtin_add_overflow(b->len + n, (size_t)1, &needed)) {
        b->overflowed = true;
        return false;
    }
    if (needed <= b->capacity) return true;
    size_t capacity = b->capacity < 64 ? 64 : b->capacity;
    while (capacity < needed)
        capacity = capacity > SIZE_MAX / 2 ? needed : capacity * 2;
    /* The maximum is often a round number: don't double past it. */
    if (b->max < SIZE_MAX && capacity > b->max + 1) capacity = b->max + 1;
    if (b->wipes) {
        /* realloc would leave a copy behind. */
        uint8_t *data = mem_alloc(capacity);
        mem_copy(data, b->data, b->len);
        wipe(b->data, b->capacity);
        mem_free(b->data);
        b->data = data;
    } else {
        b->data = mem_resize(b->data, capacity);
    }
    b->capacity = capacity;
    b->data[b->len] = '\0';
    return true;
}

void buf_append(struct buf *b, const void *data, size_t len) {
    if (!buf_grow(b, len)) return;
    mem_copy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void buf_append_slice(struct buf *b, struct slice s) {
    buf_append(b, s.data, s.len);
}

void buf_append_str(struct buf *b, const char *s) {
    buf_append(b, s, strlen(s));
}

void buf_append_byte(struct buf *b, uint8_t byte) {
    buf_append(b, &byte, 1);
}

void buf_printf(struct buf *b, const char *format, ...) {
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0) {
        b->overflowed = true;
    } else if (buf_grow(b, (size_t)n)) {
        vsnprintf((char *)b->data + b->len, (size_t)n + 1, format, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

uint8_t *buf_reserve(struct buf *b, size_t len) {
    if (!buf_grow(b, len)) return NULL;
    b->data[b->len + len] = '\0';
    return b->data + b->len;
}

struct result buf_check(const struct buf *b) {
    CHECK(!b->overflowed, ERR_TOO_LARGE, "something is over its limit of %zu bytes", b->max);
    return OK;
}

const char *buf_str(const struct buf *b) {
    if (!b->data) return "";
    /* Only needed after a shorter use of buf_reserve; otherwise nothing is written, so readers may share. */
    if (b->data[b->len] != '\0') b->data[b->len] = '\0';
    return (const char *)b->data;
}

char *buf_take_str(struct buf *b) {
    if (!b->data) return str_dup("");
    (void)buf_str(b); /* terminates */
    char *s = (char *)TAKE(b->data);
    b->len = b->capacity = 0;
    return s;
}
