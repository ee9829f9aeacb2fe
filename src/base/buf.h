/* Bytes. `struct slice` borrows and never owns; passed by value. `struct buf` owns and always has a maximum.
 * Appending past the maximum keeps what was there, marks the buffer as overflowed and stays harmless; ask buf_check()
 * once, before the content is used. Not thread-safe; one owner. */
#ifndef LOCKSET_BASE_BUF_H
#define LOCKSET_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

struct slice {
    const uint8_t *data;
    size_t len;
};

static inline struct slice slice_make(const void *data, size_t len) {
    return (struct slice){(const uint8_t *)data, len};
}
/* Of a C string, without its terminator; NULL gives the empty slice. */
struct slice slice_str(const char *s);
bool slice_equal(struct slice a, struct slice b);
bool slice_is(struct slice a, const char *s);
bool slice_starts_with(struct slice a, const char *prefix);
/* Cuts at the first `separator`: *head is what stands before it, *tail what stands behind. False (head = all, tail =
 * empty) if there is none. */
bool slice_cut(struct slice a, char separator, struct slice *head, struct slice *tail);
/* A new C string; the caller frees it with mem_free. Bytes are copied as they are; see slice_has_nul. */
char *slice_to_str(struct slice a);
bool slice_has_nul(struct slice a);
/* Decimal digits only, no sign, no leading zero but "0" itself, at most max: INVALID otherwise. */
struct result slice_to_u64(struct slice a, uint64_t max, uint64_t *ret);
/* Well-formed UTF-8 (no surrogates, no overlong forms, at most U+10FFFF)? */
bool slice_is_utf8(struct slice a);
/* Bytes of the well-formed UTF-8 character that a begins with; 0 if it begins with none. */
size_t slice_utf8_step(struct slice a);

struct buf {
    uint8_t *data; /* always followed by a NUL once anything was appended */
    size_t len;
    size_t capacity;
    size_t max;
    bool overflowed;
    bool wipes; /* content is wiped when freed or moved */
};

/* An empty buffer for at most max bytes; allocates nothing. buf_done frees and makes it unusable (accepts zeroed). */
void buf_init(struct buf *b, size_t max);
/* The same, for decrypted or otherwise private bytes: wiped on growth and on buf_done. */
void buf_init_wiping(struct buf *b, size_t max);
void buf_done(struct buf *b);
void buf_clear(struct buf *b); /* len = 0, overflow forgotten, memory kept (wiped first if it wipes) */
#define BUF_AUTO(name, maximum)                                                                                        \
    AUTO(buf_done) struct buf name;                                                                                    \
    buf_init(&name, maximum)

void buf_append(struct buf *b, const void *data, size_t len);
void buf_append_slice(struct buf *b, struct slice s);
void buf_append_str(struct buf *b, const char *s);
void buf_append_byte(struct buf *b, uint8_t byte);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Room for len more bytes to be written at the returned place; then set b->len. NULL (and overflowed) if over max. */
uint8_t *buf_reserve(struct buf *b, size_t len);
/* TOO_LARGE if anything did not fit. */
struct result buf_check(const struct buf *b);
/* The content as a C string ("" if empty); valid until the next change. */
const char *buf_str(const struct buf *b);
static inline struct slice buf_slice(const struct buf *b) {
    return (struct slice){b->data, b->len};
}
/* The content as a malloc'ed C string for the caller; the buffer is empty afterwards. */
char *buf_take_str(struct buf *b);

/* Codecs. Each appends to `out`; the decoders are strict and fail with INVALID. */
void hex_encode(struct slice in, struct buf *out); /* lower case */
struct result hex_decode(struct slice in, struct buf *out);
void base64_encode(struct slice in, struct buf *out); /* standard alphabet with padding, RFC 4648 section 4 */
struct result base64_decode(struct slice in, struct buf *out);
void base64url_encode(struct slice in, struct buf *out); /* URL alphabet without padding, RFC 4648 section 5 */
struct result base64url_decode(struct slice in, struct buf *out);
/* Percent-encoding with the unreserved set A-Za-z0-9-._~ (RFC 3986); keep_slash leaves '/' as it is. Decoding refuses
 * incomplete escapes and NULs; '+' stays a plus. */
void percent_encode(struct slice in, bool keep_slash, struct buf *out);
struct result percent_decode(struct slice in, struct buf *out);

/* Big-endian integers in formats and on the wire. */
void put_u16(struct buf *b, uint16_t v);
void put_u32(struct buf *b, uint32_t v);
void put_u64(struct buf *b, uint64_t v);
/* Reads and advances; false, and nothing moved, when too few bytes are left. */
bool take_u8(struct slice *s, uint8_t *ret);
bool take_u16(struct slice *s, uint16_t *ret);
bool take_u32(struct slice *s, uint32_t *ret);
bool take_u64(struct slice *s, uint64_t *ret);
bool take_bytes(struct slice *s, size_t n, struct slice *ret);

#endif
