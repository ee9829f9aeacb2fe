#include "testing.h"

#include "gateway/s3_range.h"

static void expect(const char *header, uint64_t size, uint64_t offset, uint64_t length) {
    uint64_t o = 99, l = 99;
    ASSERT_OK(s3_range_resolve(s3_range_parse(header), size, &o, &l));
    if (o != offset || l != length) fail_msg("%s of %d: got %d+%d", header, (int)size, (int)o, (int)l);
}

static void expect_none(const char *header, uint64_t size) {
    uint64_t o = 0, l = 0;
    ASSERT_ERR(RANGE, s3_range_resolve(s3_range_parse(header), size, &o, &l));
}

static void ranges_select(void **state) {
    expect(NULL, 100, 0, 100);
    expect("bytes=0-0", 100, 0, 1);
    expect("bytes=10-19", 100, 10, 10);
    expect("bytes=10-", 100, 10, 90);
    expect("bytes=10-1000", 100, 10, 90);
    expect("bytes=99-", 100, 99, 1);
    expect("bytes=-1", 100, 99, 1);
    expect("bytes=-100", 100, 0, 100);
    expect("bytes=-1000", 100, 0, 100);
    expect(" bytes=5-6 ", 100, 5, 2);
    expect("bytes=0-18446744073709551615", 100, 0, 100);
    expect("bytes=0-99999999999999999999999999", 100, 0, 100);
    expect("bytes=-99999999999999999999999999", 100, 0, 100);
    expect("bytes=5-5", UINT64_MAX, 5, 1);
}

static void what_is_not_understood_is_ignored(void **state) {
    static const char *const headers[] = {"",          "bytes",     "bytes=",        "bytes=-",      "bytes=a-b",
                                          "bytes=5-4", "items=0-1", "bytes=0-1,5-6", "bytes=0-1x",   "bytes=+1-2",
                                          "bytes=1",   "bytes=--1", "bytes=0x1-0x2", "bytes= 1 - 2", "Bytes=1-2"};
    for (size_t i = 0; i < ARRAY_LEN(headers); i++)
        expect(headers[i], 100, 0, 100);
}

static void nothing_selected_is_an_error(void **state) {
    expect_none("bytes=100-", 100);
    expect_none("bytes=100-200", 100);
    expect_none("bytes=-0", 100);
    expect_none("bytes=0-0", 0);
    expect_none("bytes=-5", 0);
    expect_none("bytes=0-", 0);
    expect_none("bytes=18446744073709551615-", 100);
    expect(NULL, 0, 0, 0);
}

static void copy_ranges_are_strict(void **state) {
    struct s3_range range;
    ASSERT_OK(s3_copy_range_parse("bytes=5-9", &range));
    assert_int_equal(range.first, 5);
    assert_int_equal(range.last, 9);
    static const char *const bad[] = {"", "bytes=5-", "bytes=-5", "5-9", "bytes=9-5", "bytes=0-1,2-3", "bytes=a-9"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ASSERT_ERR(INVALID, s3_copy_range_parse(bad[i], &range));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(ranges_select),
    cmocka_unit_test(what_is_not_understood_is_ignored),
    cmocka_unit_test(nothing_selected_is_an_error),
    cmocka_unit_test(copy_ranges_are_strict),
};
TEST_MAIN(tests)
