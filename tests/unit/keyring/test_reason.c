#include "testing.h"

#include <string.h>

#include "keyring/reason.h"

#define ARN "arn:aws:kms:us-west-2:111122223333:key/mrk-0123456789abcdef0123456789abcdef"

static char text[REASON_BYTES];

static void write_denied(const char *code, bool is_service) {
    struct verdict v = {.kind = VERDICT_REFUSED};
    snprintf(v.aws_error, sizeof v.aws_error, "%s", code);
    snprintf(v.text, sizeof v.text, "AWS's own words");
    reason_write(LEASE_UNAVAILABLE, LEASE_DENIED, ARN, "us-west-2", is_service, &v, text);
}

static void expect(const char *part) {
    if (!strstr(text, part)) fail_msg("'%s' is not in '%s'", part, text);
}

static void expect_not(const char *part) {
    if (strstr(text, part)) fail_msg("'%s' is in '%s'", part, text);
}

static void a_refusal_names_key_region_code_and_remedy(void **state) {
    static const struct {
        const char *code, *remedy;
    } rows[] = {{"DisabledException", "aws kms enable-key"},
                {"KMSInvalidStateException", "aws kms cancel-key-deletion"},
                {"NotFoundException", "replicate the Multi-Region key"},
                {"AccessDeniedException", "lockset key policy"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        write_denied(rows[i].code, false);
        expect(ARN);
        expect("us-west-2");
        expect(rows[i].code);
        expect("AWS's own words");
        expect(rows[i].remedy);
        expect("by itself");
    }
}

static void the_operators_own_key_is_no_customers_matter(void **state) {
    write_denied("AccessDeniedException", true);
    expect("Let the service use its key again");
    expect_not("key policy");
}

static void silence_blames_nobody(void **state) {
    struct verdict v = {.kind = VERDICT_SILENT, .text = "timed out"};
    reason_write(LEASE_UNAVAILABLE, LEASE_UNREACHABLE, ARN, "us-west-2", false, &v, text);
    expect("no error code: timed out");
    expect("by itself");
    expect_not("enable-key");
    reason_write(LEASE_UNAVAILABLE, LEASE_UNREACHABLE, ARN, "us-west-2", false, NULL, text);
    expect("no answer");
}

static void corruption_calls_the_operator(void **state) {
    struct verdict v = {.kind = VERDICT_CORRUPT, .aws_error = "InvalidCiphertextException"};
    reason_write(LEASE_UNAVAILABLE, LEASE_UNREACHABLE, ARN, "us-west-2", false, &v, text);
    expect("does not recognise");
    expect("The operator must");
}

static void destruction_tells_its_date(void **state) {
    struct verdict v = {.kind = VERDICT_REFUSED, .deletion_unix_ms = 1795492364123};
    reason_write(LEASE_UNAVAILABLE, LEASE_DESTROYED, ARN, "us-west-2", false, &v, text);
    expect("was deleted");
    expect("2026-11-24T");
}

static void without_trouble(void **state) {
    reason_write(LEASE_STARTING, LEASE_NO_CAUSE, ARN, "us-west-2", false, NULL, text);
    expect("is being checked");
    reason_write(LEASE_AVAILABLE, LEASE_NO_CAUSE, ARN, "us-west-2", false, NULL, text);
    expect("can be used");
}

static void the_longest_words_are_cut_and_the_remedy_stays(void **state) {
    struct verdict v = {.kind = VERDICT_REFUSED};
    memset(v.text, 'x', sizeof v.text - 1);
    memset(v.aws_error, 'E', sizeof v.aws_error - 1);
    char arn[2000];
    memset(arn, 'k', sizeof arn - 1);
    arn[sizeof arn - 1] = 0;
    reason_write(LEASE_UNAVAILABLE, LEASE_DENIED, ARN, "us-west-2", false, &v, text);
    expect("by itself");
    reason_write(LEASE_UNAVAILABLE, LEASE_DENIED, arn, "us-west-2", false, &v, text);
    assert_int_equal(strlen(text), REASON_BYTES - 1);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_refusal_names_key_region_code_and_remedy),
    cmocka_unit_test(the_operators_own_key_is_no_customers_matter),
    cmocka_unit_test(silence_blames_nobody),
    cmocka_unit_test(corruption_calls_the_operator),
    cmocka_unit_test(destruction_tells_its_date),
    cmocka_unit_test(without_trouble),
    cmocka_unit_test(the_longest_words_are_cut_and_the_remedy_stays),
};

TEST_MAIN(tests)
