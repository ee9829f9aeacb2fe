#include "testing.h"

#include <string.h>

#include "keyring/verdict.h"

/* The whole table once more, so that nobody changes a row by mistake. */
static void every_error_has_its_verdict(void **state) {
    static const enum kms_error refused[] = {KMS_DISABLED, KMS_ACCESS_DENIED, KMS_NOT_FOUND, KMS_INVALID_STATE,
                                             KMS_INVALID_KEY_USAGE};
    static const enum kms_error corrupt[] = {KMS_INCORRECT_KEY, KMS_INVALID_CIPHERTEXT};
    enum verdict_kind wanted[KMS_ERROR_MAX];
    for (int i = 0; i < KMS_ERROR_MAX; i++)
        wanted[i] = VERDICT_SILENT;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        wanted[refused[i]] = VERDICT_REFUSED;
    for (size_t i = 0; i < ARRAY_LEN(corrupt); i++)
        wanted[corrupt[i]] = VERDICT_CORRUPT;
    wanted[KMS_OK] = VERDICT_GOOD;
    for (int i = 0; i < KMS_ERROR_MAX; i++)
        if (verdict_of_error((enum kms_error)i) != wanted[i])
            fail_msg("%s is %s", kms_error_name((enum kms_error)i), verdict_name(verdict_of_error((enum kms_error)i)));
    assert_int_equal(verdict_of_error(KMS_ERROR_MAX), VERDICT_SILENT);
}

static struct kms_answer described(const char *state) {
    struct kms_answer a = {.error = KMS_OK};
    snprintf(a.key.state, sizeof a.key.state, "%s", state);
    snprintf(a.key.spec, sizeof a.key.spec, "SYMMETRIC_DEFAULT");
    snprintf(a.key.usage, sizeof a.key.usage, "ENCRYPT_DECRYPT");
    return a;
}

static void expect(const struct kms_answer *a, enum kms_operation o, enum verdict_kind kind, const char *code) {
    struct verdict v;
    verdict_of(a, o, &v);
    if (v.kind != kind || strcmp(v.aws_error, code) != 0)
        fail_msg("state %s: %s %s", a->key.state, verdict_name(v.kind), v.aws_error);
}

static void what_describe_key_shows_counts(void **state) {
    static const struct {
        const char *state;
        enum verdict_kind kind;
        const char *code;
    } rows[] = {{"Enabled", VERDICT_GOOD, ""},
                {"Updating", VERDICT_GOOD, ""},
                {"Creating", VERDICT_SILENT, "KMSInvalidStateException"},
                {"Disabled", VERDICT_REFUSED, "DisabledException"},
                {"PendingDeletion", VERDICT_REFUSED, "KMSInvalidStateException"},
                {"PendingReplicaDeletion", VERDICT_REFUSED, "KMSInvalidStateException"},
                {"PendingImport", VERDICT_REFUSED, "KMSInvalidStateException"},
                {"Unavailable", VERDICT_REFUSED, "KMSInvalidStateException"},
                {"", VERDICT_REFUSED, "KMSInvalidStateException"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct kms_answer a = described(rows[i].state);
        expect(&a, KMS_DESCRIBE_KEY, rows[i].kind, rows[i].code);
        expect(&a, KMS_DECRYPT, VERDICT_GOOD, ""); /* only DescribeKey shows anything */
    }
    struct kms_answer a = described("Enabled");
    snprintf(a.key.usage, sizeof a.key.usage, "SIGN_VERIFY");
    expect(&a, KMS_DESCRIBE_KEY, VERDICT_REFUSED, "InvalidKeyUsageException");
    a = described("Enabled");
    snprintf(a.key.spec, sizeof a.key.spec, "RSA_2048");
    expect(&a, KMS_DESCRIBE_KEY, VERDICT_REFUSED, "InvalidKeyUsageException");
}

static void a_deletion_date_is_known_only_from_describe_key(void **state) {
    struct verdict v;
    struct kms_answer a = described("PendingDeletion");
    a.key.has_deletion_date = true;
    a.key.deletion_unix_ms = 77;
    verdict_of(&a, KMS_DESCRIBE_KEY, &v);
    assert_true(v.knows_deletion && v.has_deletion);
    assert_int_equal(v.deletion_unix_ms, 77);
    a.key.has_deletion_date = false;
    verdict_of(&a, KMS_DESCRIBE_KEY, &v);
    assert_true(v.knows_deletion && !v.has_deletion);
    assert_int_equal(v.deletion_unix_ms, 0);
    verdict_of(&a, KMS_DECRYPT, &v);
    assert_false(v.knows_deletion);
}

static void words_are_awss_or_ours(void **state) {
    struct kms_answer a = {.error = KMS_ACCESS_DENIED, .code = "AccessDeniedException", .message = "User: x is not"};
    struct verdict v;
    verdict_of(&a, KMS_DECRYPT, &v);
    assert_string_equal(v.aws_error, "AccessDeniedException");
    assert_string_equal(v.text, "User: x is not");
    a = (struct kms_answer){.error = KMS_TIMEOUT};
    verdict_of(&a, KMS_DECRYPT, &v);
    assert_string_equal(v.text, "timeout");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_error_has_its_verdict),
    cmocka_unit_test(what_describe_key_shows_counts),
    cmocka_unit_test(a_deletion_date_is_known_only_from_describe_key),
    cmocka_unit_test(words_are_awss_or_ours),
};

TEST_MAIN(tests)
