#include "testing.h"

#include <string.h>

#include "keyring/limits.h"

static const struct config defaults = {.key_probe_interval_ms = 10000,
                                       .key_full_check_interval_ms = 20000,
                                       .key_kms_timeout_ms = 5000,
                                       .key_denied_bound_ms = 60000};

static void the_defaults_keep_their_bound(void **state) {
    ASSERT_OK(limits_check(&defaults));
}

static void the_bound_counts_to_the_millisecond(void **state) {
    struct config c = defaults;
    c.key_denied_bound_ms = 20000 + 2 * 5000 + LIMITS_KILL_MS;
    ASSERT_OK(limits_check(&c));
    c.key_denied_bound_ms--;
    ASSERT_ERR(INVALID, limits_check(&c));
    assert_non_null(strstr(err_detail(), "32000 ms"));
    assert_non_null(strstr(err_detail(), "key.full_check_interval (20000 ms)"));
}

static void the_longer_interval_counts(void **state) {
    struct config c = defaults;
    c.key_probe_interval_ms = 50000;
    ASSERT_ERR(INVALID, limits_check(&c));
    assert_non_null(strstr(err_detail(), "key.probe_interval (50000 ms)"));
}

static void a_cap_below_what_is_needed_is_refused(void **state) {
    struct config c = defaults;
    assert_int_equal(limits_needed_calls(&c), 450 + 4 * 225 + 5);
    assert_true(limits_max_calls(&c) > 3 * limits_needed_calls(&c));
    c.key_max_calls_per_hour = limits_needed_calls(&c) * 10 / 9;
    ASSERT_ERR(INVALID, limits_check(&c));
    assert_non_null(strstr(err_detail(), "key.max_calls_per_hour"));
    c.key_max_calls_per_hour++;
    ASSERT_OK(limits_check(&c));
}

static void the_time_to_end_processes_covers_its_parts(void **state) {
    assert_true(LIMITS_PERSIST_MS + LIMITS_ACK_MS + LIMITS_GRACE_MS <= LIMITS_KILL_MS);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_defaults_keep_their_bound),
    cmocka_unit_test(the_bound_counts_to_the_millisecond),
    cmocka_unit_test(the_longer_interval_counts),
    cmocka_unit_test(a_cap_below_what_is_needed_is_refused),
    cmocka_unit_test(the_time_to_end_processes_covers_its_parts),
};

TEST_MAIN(tests)
