#include "testing.h"

#include <string.h>

#include "keyring/checks.h"

#define ARN "arn:aws:kms:us-west-2:111122223333:key/mrk-0123456789abcdef0123456789abcdef"

/* All five asked and well. */
static struct checks_answers all_good(void) {
    struct checks_answers a = {
        .key_arn = ARN, .region = "us-west-2", .service_account_id = "318212636800", .needs_multi_region = true};
    for (int i = 0; i < KMS_OPERATION_MAX; i++)
        a.asked[i] = true;
    struct kms_key_metadata *m = &a.answers[KMS_DESCRIBE_KEY].key;
    snprintf(m->arn, sizeof m->arn, "%s", ARN);
    snprintf(m->state, sizeof m->state, "Enabled");
    snprintf(m->spec, sizeof m->spec, "SYMMETRIC_DEFAULT");
    snprintf(m->usage, sizeof m->usage, "ENCRYPT_DECRYPT");
    snprintf(m->multi_region_type, sizeof m->multi_region_type, "PRIMARY");
    m->is_multi_region = true;
    return a;
}

static void refuse(struct checks_answers *a, enum kms_operation o, enum kms_error error, const char *code) {
    a->answers[o] = (struct kms_answer){.error = error};
    snprintf(a->answers[o].code, sizeof a->answers[o].code, "%s", code);
    snprintf(a->answers[o].message, sizeof a->answers[o].message, "AWS's words");
}

static void refuse_all(struct checks_answers *a, enum kms_error error, const char *code) {
    for (int i = 0; i < KMS_OPERATION_MAX; i++)
        refuse(a, (enum kms_operation)i, error, code);
}

/* "-name" for each that failed, "+name" for each that holds, in a fixed order. */
static void summarize(const struct checks *c, struct buf *out) {
    for (size_t i = 0; i < c->count; i++)
        buf_printf(out, "%s%c%s", i ? " " : "", c->items[i].ok ? '+' : '-', c->items[i].name);
}

static void expect(const struct checks_answers *a, bool passed, enum verdict_kind kind, const char *summary) {
    struct checks c;
    checks_evaluate(a, &c);
    BUF_AUTO(text, 4096);
    summarize(&c, &text);
    assert_string_equal(buf_str(&text), summary);
    assert_int_equal(c.passed, passed);
    assert_string_equal(verdict_name(c.verdict.kind), verdict_name(kind));
    for (size_t i = 0; i < c.count; i++) {
        assert_true(c.items[i].detail[0] != 0);
        assert_int_equal(c.items[i].mend[0] == 0, c.items[i].ok); /* what is wrong can be mended, what isn't needn't */
    }
}

#define KIND "+exists +state +key_spec +key_usage +multi_region +region "

static void a_good_key(void **state) {
    struct checks_answers a = all_good();
    expect(&a, true, VERDICT_GOOD,
           KIND "+kms:DescribeKey +kms:Encrypt +kms:Decrypt +kms:GenerateDataKey +kms:GenerateDataKeyWithoutPlaintext");
}

static void actions_that_are_denied_are_told_together(void **state) {
    struct checks_answers a = all_good();
    refuse(&a, KMS_ENCRYPT, KMS_ACCESS_DENIED, "AccessDeniedException");
    refuse(&a, KMS_GENERATE_DATA_KEY, KMS_ACCESS_DENIED, "AccessDeniedException");
    expect(&a, false, VERDICT_REFUSED,
           KIND "+kms:DescribeKey -kms:Encrypt +kms:Decrypt -kms:GenerateDataKey +kms:GenerateDataKeyWithoutPlaintext");
}

static void without_describe_key_the_rest_is_told_all_the_same(void **state) {
    struct checks_answers a = all_good();
    refuse(&a, KMS_DESCRIBE_KEY, KMS_ACCESS_DENIED, "AccessDeniedException");
    expect(
        &a, false, VERDICT_REFUSED,
        "+exists -kms:DescribeKey +kms:Encrypt +kms:Decrypt +kms:GenerateDataKey +kms:GenerateDataKeyWithoutPlaintext");
}

static void a_disabled_key_is_only_disabled(void **state) {
    struct checks_answers a = all_good();
    struct kms_answer shown = a.answers[KMS_DESCRIBE_KEY];
    refuse_all(&a, KMS_DISABLED, "DisabledException");
    a.answers[KMS_DESCRIBE_KEY] = shown;
    snprintf(a.answers[KMS_DESCRIBE_KEY].key.state, sizeof a.answers[KMS_DESCRIBE_KEY].key.state, "Disabled");
    expect(&a, false, VERDICT_REFUSED, "+exists -state +key_spec +key_usage +multi_region +region +kms:DescribeKey");
    /* DescribeKey lags behind: what the use of the key says counts. */
    snprintf(a.answers[KMS_DESCRIBE_KEY].key.state, sizeof a.answers[KMS_DESCRIBE_KEY].key.state, "Enabled");
    expect(&a, false, VERDICT_REFUSED, "+exists -state +key_spec +key_usage +multi_region +region +kms:DescribeKey");
}

static void a_key_that_is_not_there(void **state) {
    struct checks_answers a = all_good();
    refuse_all(&a, KMS_NOT_FOUND, "NotFoundException");
    expect(&a, false, VERDICT_REFUSED, "-exists");
}

static void nothing_is_allowed(void **state) {
    struct checks_answers a = all_good();
    refuse_all(&a, KMS_ACCESS_DENIED, "AccessDeniedException");
    expect(&a, false, VERDICT_REFUSED,
           "-kms:DescribeKey -kms:Encrypt -kms:Decrypt -kms:GenerateDataKey -kms:GenerateDataKeyWithoutPlaintext");
}

static void what_a_key_is_counts_though_every_call_went_well(void **state) {
    struct checks_answers a = all_good();
    a.answers[KMS_DESCRIBE_KEY].key.is_multi_region = false;
    struct checks c;
    checks_evaluate(&a, &c);
    assert_false(c.passed);
    assert_int_equal(c.verdict.kind, VERDICT_REFUSED);
    assert_non_null(strstr(c.verdict.text, "single-Region"));
    a.needs_multi_region = false; /* the operator's own key */
    checks_evaluate(&a, &c);
    assert_true(c.passed);
    a = all_good();
    snprintf(a.answers[KMS_DESCRIBE_KEY].key.arn, sizeof a.answers[KMS_DESCRIBE_KEY].key.arn,
             "arn:aws:kms:us-east-1:111122223333:key/mrk-0123456789abcdef0123456789abcdef");
    checks_evaluate(&a, &c);
    assert_false(c.passed);
}

static void silence_fails_nothing_and_passes_nothing(void **state) {
    struct checks_answers a = all_good();
    for (int i = 0; i < KMS_OPERATION_MAX; i++)
        a.asked[i] = i == KMS_DESCRIBE_KEY;
    a.answers[KMS_DESCRIBE_KEY] = (struct kms_answer){.error = KMS_UNREACHABLE, .message = "no route"};
    expect(&a, false, VERDICT_SILENT, "");
    struct checks c;
    checks_evaluate(&a, &c);
    assert_string_equal(c.verdict.text, "no route"); /* and not that the others were left out */
    a.asked[KMS_DESCRIBE_KEY] = false;
    checks_evaluate(&a, &c);
    assert_false(c.passed);
    assert_int_equal(c.verdict.kind, VERDICT_SILENT);
}

static void a_refusal_outweighs_silence_and_corruption(void **state) {
    struct checks_answers a = all_good();
    refuse(&a, KMS_DECRYPT, KMS_INVALID_CIPHERTEXT, "InvalidCiphertextException");
    refuse(&a, KMS_ENCRYPT, KMS_THROTTLED, "ThrottlingException");
    struct checks c;
    checks_evaluate(&a, &c);
    assert_int_equal(c.verdict.kind, VERDICT_CORRUPT);
    refuse(&a, KMS_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT, KMS_ACCESS_DENIED, "AccessDeniedException");
    checks_evaluate(&a, &c);
    assert_int_equal(c.verdict.kind, VERDICT_REFUSED);
    assert_string_equal(c.verdict.aws_error, "AccessDeniedException");
}

static void a_made_up_ciphertext_tells_only_of_the_callers_rights(void **state) {
    struct checks_answers a = all_good();
    a.decrypt_is_bogus = true;
    refuse(&a, KMS_DECRYPT, KMS_INVALID_CIPHERTEXT, "InvalidCiphertextException");
    expect(&a, false, VERDICT_SILENT,
           KIND "+kms:DescribeKey +kms:Encrypt +kms:GenerateDataKey +kms:GenerateDataKeyWithoutPlaintext");
    refuse(&a, KMS_DECRYPT, KMS_ACCESS_DENIED, "AccessDeniedException");
    expect(&a, false, VERDICT_REFUSED,
           KIND "+kms:DescribeKey +kms:Encrypt -kms:Decrypt +kms:GenerateDataKey +kms:GenerateDataKeyWithoutPlaintext");
}

static void the_list_as_json(void **state) {
    struct checks_answers a = all_good();
    refuse(&a, KMS_ENCRYPT, KMS_ACCESS_DENIED, "AccessDeniedException");
    struct checks c;
    checks_evaluate(&a, &c);
    JSON_AUTO(j);
    j = checks_to_json(&c);
    assert_int_equal(json_array_size(j), 11);
    const json_t *encrypt = json_array_get(j, 7);
    assert_string_equal(json_string_value(json_object_get(encrypt, "check")), "kms:Encrypt");
    assert_true(json_is_false(json_object_get(encrypt, "ok")));
    assert_non_null(strstr(json_string_value(json_object_get(encrypt, "mend")), "arn:aws:iam::318212636800:root"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_good_key),
    cmocka_unit_test(actions_that_are_denied_are_told_together),
    cmocka_unit_test(without_describe_key_the_rest_is_told_all_the_same),
    cmocka_unit_test(a_disabled_key_is_only_disabled),
    cmocka_unit_test(a_key_that_is_not_there),
    cmocka_unit_test(nothing_is_allowed),
    cmocka_unit_test(what_a_key_is_counts_though_every_call_went_well),
    cmocka_unit_test(silence_fails_nothing_and_passes_nothing),
    cmocka_unit_test(a_refusal_outweighs_silence_and_corruption),
    cmocka_unit_test(a_made_up_ciphertext_tells_only_of_the_callers_rights),
    cmocka_unit_test(the_list_as_json),
};

TEST_MAIN(tests)
