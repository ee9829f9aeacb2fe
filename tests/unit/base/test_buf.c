#include <string.h>

#include "testing.h"

static void test_slices(void **state) {
    struct slice head, tail;
    assert_true(slice_cut(slice_str("a=b=c"), '=', &head, &tail));
    ASSERT_SLICE(head, "a");
    ASSERT_SLICE(tail, "b=c");
    assert_false(slice_cut(slice_str("abc"), '=', &head, &tail));
    ASSERT_SLICE(head, "abc");
    assert_int_equal(tail.len, 0);
    assert_true(slice_cut(slice_str("="), '=', &head, &tail));
    assert_int_equal(head.len + tail.len, 0);
    assert_int_equal(slice_str(NULL).len, 0);
    assert_true(slice_equal(slice_str(""), (struct slice){0}));
    assert_false(slice_equal(slice_str("a"), slice_str("b")));
    assert_true(slice_starts_with(slice_str("abc"), "ab"));
    assert_false(slice_starts_with(slice_str("a"), "ab"));
    assert_true(slice_has_nul(slice_make("a\0b", 3)));
    assert_false(slice_has_nul(slice_str("ab")));
    AUTO_FREE char *s = slice_to_str(slice_make("abcdef", 3));
    assert_string_equal(s, "abc");
}

static void test_numbers(void **state) {
    uint64_t v = 7;
    ASSERT_OK(slice_to_u64(slice_str("0"), 10, &v));
    assert_int_equal(v, 0);
    ASSERT_OK(slice_to_u64(slice_str("18446744073709551615"), UINT64_MAX, &v));
    assert_true(v == UINT64_MAX);
    v = 7;
    static const char *const bad[] = {"", "00", "01", "-1", "+1", " 1", "1 ", "1a", "11", "18446744073709551616"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ASSERT_ERR(INVALID, slice_to_u64(slice_str(bad[i]), 10, &v));
    ASSERT_ERR(INVALID, slice_to_u64(slice_str("18446744073709551616"), UINT64_MAX, &v));
    ASSERT_ERR(INVALID, slice_to_u64(slice_str("99999999999999999999"), UINT64_MAX, &v));
    assert_int_equal(v, 7);
}

static void test_utf8(void **state) {
    static const char *const good[] = {"", "abc", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x94\x91", "\xF4\x8F\xBF\xBF"};
    static const char *const bad[] = {"\x80",         "\xC0\xAF",         "\xC3",         "\xE0\x80\xAF",
                                      "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xFF",         "\xF0\x80\x80\x80",
                                      "\xE2\x82",     "\xE2\x28\xA1",     "\xF0\x9F\x94", "a\xC3z"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(slice_is_utf8(slice_str(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(slice_is_utf8(slice_str(bad[i])));
}

static void test_buffer_limits(void **state) {
    BUF_AUTO(b, 8);
    assert_string_equal(buf_str(&b), "");
    buf_append_str(&b, "12345678");
    ASSERT_OK(buf_check(&b));
    buf_append_byte(&b, '9');
    ASSERT_ERR(TOO_LARGE, buf_check(&b));
    assert_string_equal(buf_str(&b), "12345678");
    buf_clear(&b);
    ASSERT_OK(buf_check(&b));
    assert_string_equal(buf_str(&b), "");
    buf_printf(&b, "%d", 1234567);
    assert_string_equal(buf_str(&b), "1234567");
    buf_printf(&b, "%d", 89);
    ASSERT_ERR(TOO_LARGE, buf_check(&b));
    assert_string_equal(buf_str(&b), "1234567");
    /* Once too much, always too much: what follows must not close the gap. */
    buf_append_byte(&b, '8');
    assert_int_equal(b.len, 7);
    assert_null(buf_reserve(&b, 1));
}

static void test_reserve_and_take(void **state) {
    BUF_AUTO(b, 100);
    uint8_t *to = buf_reserve(&b, 10);
    assert_non_null(to);
    memset(to, 'x', 10);
    b.len += 4;
    assert_string_equal(buf_str(&b), "xxxx");
    AUTO_FREE char *s = buf_take_str(&b);
    assert_string_equal(s, "xxxx");
    assert_int_equal(b.len, 0);
    AUTO_FREE char *empty = buf_take_str(&b);
    assert_string_equal(empty, "");
    buf_append_str(&b, "again");
    assert_string_equal(buf_str(&b), "again");
}

static void test_growth_keeps_content(void **state) {
    struct buf b;
    buf_init_wiping(&b, 1 << 20);
    for (int i = 0; i < 100000; i++)
        buf_append_byte(&b, (uint8_t)i);
    ASSERT_OK(buf_check(&b));
    assert_int_equal(b.len, 100000);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(b.data[i], (uint8_t)i);
    buf_done(&b);
    /* Done or zeroed, a buffer takes nothing but does no harm. */
    buf_append_byte(&b, 1);
    ASSERT_ERR(TOO_LARGE, buf_check(&b));
    buf_done(&b);
}

static void test_wiping_on_clear(void **state) {
    struct buf b;
    buf_init_wiping(&b, 64);
    buf_append_str(&b, "canary");
    const uint8_t *p = b.data;
    buf_clear(&b);
    for (int i = 0; i < 6; i++)
        assert_int_equal(p[i], 0);
    buf_done(&b);
}

static void test_memory(void **state) {
    char *p = mem_alloc(0);
    assert_non_null(p);
    p = mem_resize(p, 0);
    assert_non_null(p);
    char *moved = TAKE(p);
    assert_null(p);
    mem_free(moved);
    mem_free(NULL);
    mem_free_wiping(NULL);
    assert_null(str_dup(NULL));
    AUTO_FREE char *cut = str_ndup("abcdef", 3);
    assert_string_equal(cut, "abc");
    AUTO_FREE char *made = str_format("%s-%d", "a", 5);
    assert_string_equal(made, "a-5");
    mem_copy(NULL, NULL, 0);
}

static struct result inner(bool fails) {
    CHECK(!fails, ERR_CONFLICT, "inner %d", 5);
    return OK;
}

static struct result outer(bool fails) {
    TRY(inner(fails));
    return OK;
}

static void test_errors(void **state) {
    ASSERT_OK(outer(false));
    ASSERT_ERR(CONFLICT, outer(true));
    assert_string_equal(err_detail(), "inner 5");
    /* A detail made of the detail before. */
    ASSERT_ERR(IO, err_make(ERR_IO, "outer: %s", err_detail()));
    assert_int_equal(err_make(ERR_IO, "long %02000d", 1).code, ERR_IO);
    assert_int_equal(strlen(err_detail()), 1023);
    ASSERT_ERR(NOT_FOUND, err_from_errno(2, "opening %s", "x"));
    assert_string_equal(err_detail(), "opening x: No such file or directory");
    ASSERT_ERR(EXISTS, err_from_errno(17, "x"));
    ASSERT_ERR(NO_SPACE, err_from_errno(28, "x"));
    ASSERT_ERR(IO, err_from_errno(5, "x"));
    assert_string_equal(err_name(ERR_NO_LEASE), "NO_LEASE");
    assert_int_equal(err_http_status(ERR_NO_LEASE), 403);
    assert_string_equal(err_name((enum err_code)999), "INTERNAL");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_slices),
    cmocka_unit_test(test_numbers),
    cmocka_unit_test(test_utf8),
    cmocka_unit_test(test_buffer_limits),
    cmocka_unit_test(test_reserve_and_take),
    cmocka_unit_test(test_growth_keeps_content),
    cmocka_unit_test(test_wiping_on_clear),
    cmocka_unit_test(test_memory),
    cmocka_unit_test(test_errors),
};

TEST_MAIN(tests)
