#include "front/refusal.h"

#include <string.h>

#include "testing.h"

static const char *const KEY = "arn:aws:kms:us-west-2:111122223333:key/mrk-1";

static void expect(const char *state, const char *cause, const char *aws_error, enum s3_error error, int status) {
    JSON_AUTO(j);
    j = json_pack("{s:s, s:s?, s:s?, s:s, s:s}", "state", state, "cause", cause, "aws_error", aws_error, "reason",
                  "the reason for it", "kms_key_arn", KEY);
    struct front_refusal got = {0};
    assert_true(front_judge(j, &got));
    assert_int_equal(got.error, error);
    assert_int_equal(s3_error_status(got.error), status);
    assert_non_null(strstr(got.message, KEY));
    assert_non_null(strstr(got.message, "the reason for it"));
}

static void states_are_told_as_s3_tells_them(void **state) {
    expect("UNAVAILABLE", "DENIED", "DisabledException", S3_ERR_KMS_DISABLED, 400);
    expect("UNAVAILABLE", "DENIED", "KMSInvalidStateException", S3_ERR_KMS_INVALID_STATE, 400);
    expect("UNAVAILABLE", "DESTROYED", "NotFoundException", S3_ERR_KMS_NOT_FOUND, 400);
    expect("UNAVAILABLE", "DENIED", "AccessDeniedException", S3_ERR_ACCESS_DENIED, 403);
    expect("UNAVAILABLE", "DENIED", NULL, S3_ERR_ACCESS_DENIED, 403);
    expect("UNAVAILABLE", "UNREACHABLE", "ThrottlingException", S3_ERR_SERVICE_UNAVAILABLE, 503);
    expect("PAUSED", "DENIED", "DisabledException", S3_ERR_KMS_DISABLED, 400);
    expect("PAUSED", "UNREACHABLE", NULL, S3_ERR_ACCESS_DENIED, 403);
    expect("RECOVERING", NULL, NULL, S3_ERR_SERVICE_UNAVAILABLE, 503);
    expect("STARTING", NULL, NULL, S3_ERR_SERVICE_UNAVAILABLE, 503);
    struct front_refusal got = {0};
    assert_true(front_judge(NULL, &got));
    assert_int_equal(got.error, S3_ERR_SERVICE_UNAVAILABLE);
    JSON_AUTO(good);
    good = json_pack("{s:s}", "state", "AVAILABLE");
    got = (struct front_refusal){0};
    assert_false(front_judge(good, &got));
    assert_int_equal(got.error, S3_ERROR_NONE);
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(states_are_told_as_s3_tells_them)};
TEST_MAIN(tests)
