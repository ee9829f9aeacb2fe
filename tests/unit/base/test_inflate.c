/* Decompression in pieces of any size; what is broken or cut off is told. */
#include "testing.h"

#include <string.h>

#include <zlib.h>
#include <zstd.h>

#include "base/inflate.h"

enum { TEXT_BYTES = 300000, ROOM_BYTES = 400000 };

static uint8_t text[TEXT_BYTES];

static size_t gzip_text(const uint8_t *from, size_t n, uint8_t *to) {
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = mem_unconst(from);
    z.avail_in = (uInt)n;
    z.next_out = to;
    z.avail_out = ROOM_BYTES;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t len = ROOM_BYTES - z.avail_out;
    deflateEnd(&z);
    return len;
}

static size_t compress_text(enum inflate_kind kind, const uint8_t *from, size_t n, uint8_t *to) {
    return kind == INFLATE_GZIP ? gzip_text(from, n, to) : ZSTD_compress(to, ROOM_BYTES, from, n, 3);
}

static struct result inflate_all(enum inflate_kind kind, struct slice in, size_t piece, size_t room, struct buf *out,
                                 bool *ret_whole) {
    struct inflate *i;
    ASSERT_OK(inflate_new(kind, &i));
    struct result r = OK;
    while (is_ok(r)) {
        struct slice part = slice_make(in.data, in.len < piece ? in.len : piece);
        size_t before = part.len, had = out->len;
        r = inflate_some(i, &part, room, out);
        assert_true(out->len - had <= room);
        in = slice_make(in.data + (before - part.len), in.len - (before - part.len));
        if (in.len == 0 && out->len == had) break;
    }
    *ret_whole = inflate_is_whole(i);
    inflate_free(i);
    return r;
}

static void test_pieces(void **state) {
    static const size_t pieces[] = {1, 7, 4096, ROOM_BYTES}, rooms[] = {1000, 65536, TEXT_BYTES * 3};
    uint8_t *packed = mem_alloc((size_t)ROOM_BYTES * 2);
    for (int kind = INFLATE_GZIP; kind <= INFLATE_ZSTD; kind++) {
        /* Two members, one behind the other. */
        size_t n = compress_text((enum inflate_kind)kind, text, TEXT_BYTES, packed);
        n += compress_text((enum inflate_kind)kind, text, 1000, packed + n);
        for (size_t p = 0; p < ARRAY_LEN(pieces); p++) {
            for (size_t r = 0; r < ARRAY_LEN(rooms); r++) {
                BUF_AUTO(out, TEXT_BYTES * 2);
                bool whole;
                ASSERT_OK(
                    inflate_all((enum inflate_kind)kind, slice_make(packed, n), pieces[p], rooms[r], &out, &whole));
                assert_true(whole);
                assert_int_equal(out.len, TEXT_BYTES + 1000);
                assert_memory_equal(out.data, text, TEXT_BYTES);
                assert_memory_equal(out.data + TEXT_BYTES, text, 1000);
            }
        }
    }
    mem_free(packed);
}

static void test_broken(void **state) {
    uint8_t *packed = mem_alloc(ROOM_BYTES);
    for (int kind = INFLATE_GZIP; kind <= INFLATE_ZSTD; kind++) {
        size_t n = compress_text((enum inflate_kind)kind, text, TEXT_BYTES, packed);
        BUF_AUTO(out, TEXT_BYTES * 2);
        bool whole;
        ASSERT_OK(inflate_all((enum inflate_kind)kind, slice_make(packed, n - 5), 1000, 1000, &out, &whole));
        assert_false(whole);
        buf_clear(&out);
        ASSERT_ERR(CORRUPT,
                   inflate_all((enum inflate_kind)kind, slice_str("this is plain text"), 100, 1000, &out, &whole));
        packed[n / 2] ^= 0x55;
        buf_clear(&out);
        struct result r = inflate_all((enum inflate_kind)kind, slice_make(packed, n), 1000, 1000, &out, &whole);
        bool same =
            is_ok(r) && whole && out.len == TEXT_BYTES && slice_equal(buf_slice(&out), slice_make(text, TEXT_BYTES));
        assert_false(same);
    }
    mem_free(packed);
}

static int fill(void **state) {
    uint32_t x = 1;
    for (size_t i = 0; i < TEXT_BYTES; i++) {
        x = x * 1664525 + 1013904223;
        text[i] = (uint8_t)('a' + (x >> 28));
    }
    return 0;
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(test_pieces, fill),
    cmocka_unit_test_setup(test_broken, fill),
};
TEST_MAIN(tests)
