#include "base/clock.h"
#include "testing.h"

enum { WHEN_S = 1795492364 }; /* 2026-11-24 03:52:44 UTC */

static void test_formats(void **state) {
    char iso[CLOCK_ISO_BYTES], amz[CLOCK_AMZ_BYTES];
    clock_format_iso(WHEN_S * 1000LL + 123, iso);
    assert_string_equal(iso, "2026-11-24T03:52:44.123Z");
    clock_format_amz(WHEN_S * 1000LL + 999, amz);
    assert_string_equal(amz, "20261124T035244Z");
    clock_format_http(WHEN_S * 1000LL, iso);
    assert_string_equal(iso, "Tue, 24 Nov 2026 03:52:44 GMT");
    clock_format_iso(-1, iso);
    assert_string_equal(iso, "1969-12-31T23:59:59.999Z");
    clock_format_iso(INT64_MAX, iso);
    assert_string_equal(iso, "9999-12-31T23:59:59.999Z");
    clock_format_iso(INT64_MIN, iso);
    assert_string_equal(iso, "0000-01-01T00:00:00.000Z");
}

static void test_parsers(void **state) {
    int64_t ms = 5;
    ASSERT_OK(clock_parse_amz(slice_str("20261124T035244Z"), &ms));
    assert_int_equal(ms, WHEN_S * 1000LL);
    ASSERT_OK(clock_parse_amz(slice_str("20240229T000000Z"), &ms));
    ms = 5;
    static const char *const bad_amz[] = {"",
                                          "20261124T035244",
                                          "20261124t035244Z",
                                          "20261124T035244Z ",
                                          "2026112aT035244Z",
                                          "20260230T000000Z",
                                          "20230229T000000Z",
                                          "20261324T000000Z",
                                          "20261100T000000Z",
                                          "20261124T240000Z",
                                          "20261124T006000Z",
                                          "20261124T000060Z",
                                          "2026-1124T00000Z"};
    for (size_t i = 0; i < ARRAY_LEN(bad_amz); i++)
        ASSERT_ERR(INVALID, clock_parse_amz(slice_str(bad_amz[i]), &ms));
    assert_int_equal(ms, 5);
    ASSERT_OK(clock_parse_http(slice_str("Tue, 24 Nov 2026 03:52:44 GMT"), &ms));
    assert_int_equal(ms, WHEN_S * 1000LL);
    static const char *const bad_http[] = {"Mon, 24 Nov 2026 03:52:44 GMT",
                                           "Tue, 24 nov 2026 03:52:44 GMT",
                                           "Tue, 24 Nov 2026 03:52:44 UTC",
                                           "Tue, 31 Nov 2026 03:52:44 GMT",
                                           "Tue, 24 Nov 2026 3:52:44 GMT",
                                           "Tuesday, 24-Nov-26 03:52:44 GMT",
                                           ""};
    for (size_t i = 0; i < ARRAY_LEN(bad_http); i++)
        ASSERT_ERR(INVALID, clock_parse_http(slice_str(bad_http[i]), &ms));
    assert_int_equal(ms, WHEN_S * 1000LL);
}

static void test_clocks_run(void **state) {
    int64_t before = clock_boottime_ns();
    clock_sleep_ms(5);
    clock_sleep_ms(-1);
    int64_t after = clock_boottime_ns();
    assert_true(after - before >= 5 * NS_PER_MS);
    assert_true(clock_unix_ms() > WHEN_S / 2 * 1000LL);
    assert_true(clock_unix_us() / 1000 - clock_unix_ms() <= 1);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_formats),
    cmocka_unit_test(test_parsers),
    cmocka_unit_test(test_clocks_run),
};

TEST_MAIN(tests)
