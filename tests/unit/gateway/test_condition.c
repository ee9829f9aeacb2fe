#include "testing.h"

#include "gateway/s3_condition.h"

/* 2026-11-24T03:52:44Z and a fraction. */
enum { SECOND = 1795492364 };
static const int64_t modified = (int64_t)SECOND * 1000 + 500;
static const char exact[] = "Tue, 24 Nov 2026 03:52:44 GMT";
static const char before[] = "Tue, 24 Nov 2026 03:52:43 GMT";
static const char after[] = "Tue, 24 Nov 2026 03:52:45 GMT";

static enum s3_verdict judge(struct s3_conditions c) {
    return s3_conditions_judge(&c, "abc-2", modified);
}

static void tags_are_matched(void **state) {
    assert_true(s3_etag_listed("*", "abc"));
    assert_true(s3_etag_listed("abc", "abc"));
    assert_true(s3_etag_listed("\"abc\"", "abc"));
    assert_true(s3_etag_listed("W/\"abc\"", "abc"));
    assert_true(s3_etag_listed("\"x\" , \"abc\"", "abc"));
    assert_false(s3_etag_listed("\"abcd\"", "abc"));
    assert_false(s3_etag_listed("\"ab\"", "abc"));
    assert_false(s3_etag_listed("", "abc"));
    assert_false(s3_etag_listed("\"", "abc"));
    assert_false(s3_etag_listed(",,,", "abc"));
}

static void conditions_hold_or_not(void **state) {
    assert_int_equal(judge((struct s3_conditions){0}), S3_GO);
    assert_int_equal(judge((struct s3_conditions){.if_match = "\"abc-2\""}), S3_GO);
    assert_int_equal(judge((struct s3_conditions){.if_match = "\"other\""}), S3_PRECONDITION);
    assert_int_equal(judge((struct s3_conditions){.if_none_match = "\"abc-2\""}), S3_NOT_MODIFIED);
    assert_int_equal(judge((struct s3_conditions){.if_none_match = "\"other\""}), S3_GO);
    assert_int_equal(judge((struct s3_conditions){.if_modified_since = exact}), S3_NOT_MODIFIED);
    assert_int_equal(judge((struct s3_conditions){.if_modified_since = before}), S3_GO);
    assert_int_equal(judge((struct s3_conditions){.if_unmodified_since = before}), S3_PRECONDITION);
    assert_int_equal(judge((struct s3_conditions){.if_unmodified_since = exact}), S3_GO);
    assert_int_equal(judge((struct s3_conditions){.if_unmodified_since = after}), S3_GO);
    assert_int_equal(judge((struct s3_conditions){.if_modified_since = "yesterday"}), S3_GO);
    assert_int_equal(judge((struct s3_conditions){.if_unmodified_since = "yesterday"}), S3_GO);
}

static void tags_outweigh_dates(void **state) {
    assert_int_equal(judge((struct s3_conditions){.if_match = "abc-2", .if_unmodified_since = before}), S3_GO);
    assert_int_equal(judge((struct s3_conditions){.if_none_match = "x", .if_modified_since = after}), S3_GO);
    assert_int_equal(judge((struct s3_conditions){.if_match = "x", .if_none_match = "y"}), S3_PRECONDITION);
}

static void if_range_compares(void **state) {
    assert_true(s3_if_range_holds(NULL, "abc", modified));
    assert_true(s3_if_range_holds("\"abc\"", "abc", modified));
    assert_false(s3_if_range_holds("\"abd\"", "abc", modified));
    assert_true(s3_if_range_holds(exact, "abc", modified));
    assert_false(s3_if_range_holds(after, "abc", modified));
    assert_false(s3_if_range_holds("", "abc", modified));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(tags_are_matched),
    cmocka_unit_test(conditions_hold_or_not),
    cmocka_unit_test(tags_outweigh_dates),
    cmocka_unit_test(if_range_compares),
};
TEST_MAIN(tests)
