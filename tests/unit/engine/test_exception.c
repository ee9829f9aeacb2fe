#include "testing.h"

#include "engine/exception.h"

static void test_codes(void **state) {
    assert_int_equal(exception_code(slice_str("Code: 60. DB::Exception: x")), 60);
    assert_int_equal(exception_code(slice_str("Code: 497")), 497);
    assert_int_equal(exception_code(slice_str("Code: ")), 1001);
    assert_int_equal(exception_code(slice_str("")), 1001);
    assert_int_equal(exception_code(slice_str("anything")), 1001);
    assert_true(exception_code(slice_str("Code: 99999999999999999999")) > 0);
}

static void test_statuses(void **state) {
    static const int cases[][2] = {{60, 404},  {81, 404},  {62, 400}, {117, 400}, {164, 403}, {497, 403},
                                   {159, 408}, {396, 413}, {48, 501}, {241, 500}, {1001, 500}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(exception_status(cases[i][0]), cases[i][1]);
    }
}

static void test_our_own_read_back(void **state) {
    BUF_AUTO(b, 256);
    exception_write(497, "no", &b);
    assert_string_equal(buf_str(&b), "Code: 497. DB::Exception: no.");
    assert_int_equal(exception_code(buf_slice(&b)), 497);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_codes),
    cmocka_unit_test(test_statuses),
    cmocka_unit_test(test_our_own_read_back),
};
TEST_MAIN(tests)
