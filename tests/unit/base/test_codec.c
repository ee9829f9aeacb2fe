#include <string.h>

#include "testing.h"

static void test_hex(void **state) {
    BUF_AUTO(b, 100);
    hex_encode(slice_make("\x00\xff\x1a", 3), &b);
    assert_string_equal(buf_str(&b), "00ff1a");
    BUF_AUTO(back, 100);
    ASSERT_OK(hex_decode(slice_str("00fF1A"), &back));
    assert_true(slice_equal(buf_slice(&back), slice_make("\x00\xff\x1a", 3)));
    static const char *const bad[] = {"0", "0g", "g0", "0x", " 0", "00 "};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ASSERT_ERR(INVALID, hex_decode(slice_str(bad[i]), &back));
    ASSERT_ERR(INVALID, hex_decode(slice_str("0011zz"), &back));
    assert_int_equal(back.len, 3);
}

/* RFC 4648 section 10. */
static void test_base64_vectors(void **state) {
    static const char *const rows[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        BUF_AUTO(b, 100);
        base64_encode(slice_str(rows[i][0]), &b);
        assert_string_equal(buf_str(&b), rows[i][1]);
        BUF_AUTO(back, 100);
        ASSERT_OK(base64_decode(slice_str(rows[i][1]), &back));
        assert_string_equal(buf_str(&back), rows[i][0]);
    }
}

static void test_base64_strict(void **state) {
    BUF_AUTO(b, 100);
    static const char *const bad[] = {"Z",    "Zg",     "Zg=",   "Zg===", "=",    "====",     "Zh==",
                                      "Zm9=", "Zm9v\n", "Zm 9v", "Zm-_",  "Z===", "Zg==Zg==", "Zm9vYg=a"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ASSERT_ERR(INVALID, base64_decode(slice_str(bad[i]), &b));
    assert_int_equal(b.len, 0);
    ASSERT_ERR(INVALID, base64_decode(slice_make("Zm9v\0\0\0\0", 8), &b));
}

static void test_base64url(void **state) {
    BUF_AUTO(b, 100);
    base64url_encode(slice_make("\xfb\xff\xfe\xff", 4), &b);
    assert_string_equal(buf_str(&b), "-__-_w");
    BUF_AUTO(back, 100);
    ASSERT_OK(base64url_decode(buf_slice(&b), &back));
    assert_true(slice_equal(buf_slice(&back), slice_make("\xfb\xff\xfe\xff", 4)));
    ASSERT_ERR(INVALID, base64url_decode(slice_str("-__-_w=="), &back));
    ASSERT_ERR(INVALID, base64url_decode(slice_str("+/+/"), &back));
    ASSERT_ERR(INVALID, base64url_decode(slice_str("-__-_x"), &back));
    ASSERT_ERR(INVALID, base64url_decode(slice_str("A"), &back));
}

static void test_percent(void **state) {
    BUF_AUTO(b, 100);
    percent_encode(slice_str("a/b c~\xC3\xA9+%"), true, &b);
    assert_string_equal(buf_str(&b), "a/b%20c~%C3%A9%2B%25");
    buf_clear(&b);
    percent_encode(slice_str("a/b"), false, &b);
    assert_string_equal(buf_str(&b), "a%2Fb");
    buf_clear(&b);
    ASSERT_OK(percent_decode(slice_str("a%2fb+%C3%a9"), &b));
    assert_string_equal(buf_str(&b), "a/b+\xC3\xA9");
    static const char *const bad[] = {"%", "%2", "a%", "%zz", "%2z", "%z2", "%00", "a%00b", "%%20"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ASSERT_ERR(INVALID, percent_decode(slice_str(bad[i]), &b));
    ASSERT_ERR(INVALID, percent_decode(slice_make("a\0b", 3), &b));
    assert_string_equal(buf_str(&b), "a/b+\xC3\xA9");
}

static void test_every_byte_comes_back(void **state) {
    uint8_t all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (uint8_t)i;
    for (size_t n = 0; n <= 256; n += 17) {
        BUF_AUTO(text, 2000);
        BUF_AUTO(back, 2000);
        base64_encode(slice_make(all, n), &text);
        ASSERT_OK(base64_decode(buf_slice(&text), &back));
        hex_encode(buf_slice(&back), &text);
        assert_true(slice_equal(buf_slice(&back), slice_make(all, n)));
    }
    BUF_AUTO(text, 2000);
    BUF_AUTO(back, 2000);
    percent_encode(slice_make(all + 1, 255), false, &text);
    ASSERT_OK(percent_decode(buf_slice(&text), &back));
    assert_true(slice_equal(buf_slice(&back), slice_make(all + 1, 255)));
}

static void test_integers(void **state) {
    BUF_AUTO(b, 100);
    put_u16(&b, 0x0102);
    put_u32(&b, 0x03040506);
    put_u64(&b, 0x0708090A0B0C0D0E);
    assert_int_equal(b.len, 14);
    for (int i = 0; i < 14; i++)
        assert_int_equal(b.data[i], i + 1);
    struct slice s = buf_slice(&b), bytes;
    uint8_t v8;
    uint16_t v16;
    uint32_t v32;
    uint64_t v64;
    assert_true(take_u16(&s, &v16) && v16 == 0x0102);
    assert_true(take_u32(&s, &v32) && v32 == 0x03040506);
    assert_true(take_u64(&s, &v64) && v64 == 0x0708090A0B0C0D0E);
    assert_false(take_u8(&s, &v8));
    s = slice_make(b.data, 3);
    assert_false(take_u32(&s, &v32));
    assert_int_equal(s.len, 3);
    assert_true(take_bytes(&s, 2, &bytes) && bytes.len == 2 && s.len == 1);
    assert_false(take_bytes(&s, 2, &bytes));
    assert_true(take_u8(&s, &v8) && v8 == 3 && s.len == 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_hex),           cmocka_unit_test(test_base64_vectors),
    cmocka_unit_test(test_base64_strict), cmocka_unit_test(test_base64url),
    cmocka_unit_test(test_percent),       cmocka_unit_test(test_every_byte_comes_back),
    cmocka_unit_test(test_integers),
};

TEST_MAIN(tests)
