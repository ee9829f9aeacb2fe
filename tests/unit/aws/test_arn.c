/* ARNs: every form that is a customer's key, and every form that isn't, each with its own message. */
#include "helpers.h"

#include "aws/arn.h"

#define ACCOUNT "111122223333"
#define MRK "mrk-1234abcd12ab34cd56ef1234567890ab"
#define UUID "1234abcd-12ab-34cd-56ef-1234567890ab"
#define GOOD "arn:aws:kms:us-west-2:" ACCOUNT ":key/" MRK

static struct slice text(const char *s) {
    return slice_str(s);
}

static void test_parts(void **state) {
    struct arn a;
    ASSERT_OK(arn_parse(text("arn:aws:s3:::bucket/a:b"), &a));
    assert_true(slice_is(a.partition, "aws") && slice_is(a.service, "s3"));
    assert_true(a.region.len == 0 && a.account.len == 0);
    assert_true(slice_is(a.resource, "bucket/a:b"));
    BUF_AUTO(out, 200);
    arn_print(&a, &out);
    assert_string_equal(buf_str(&out), "arn:aws:s3:::bucket/a:b");
    const char *const bad[] = {"",         "arn",         "arn:aws:s3:::",    "arn::s3:::x",           "arn:aws::::x",
                               "ARN:aws:", "aws:s3:::x:", "arn:aws:s3:::a b", "arn:aws:s3:::\xc3\xa9", "arn:aws:s3::x"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct arn untouched = {.account = text("untouched")};
        ASSERT_ERR(INVALID, arn_parse(text(bad[i]), &untouched));
        assert_true(slice_is(untouched.account, "untouched"));
    }
}

static void test_good_keys(void **state) {
    struct arn_kms_key key;
    enum arn_rule rule = ARN_RULE_MAX;
    ASSERT_OK(arn_check_customer_key(text(GOOD), "us-west-2", &rule, &key));
    assert_int_equal(rule, ARN_RULE_NONE);
    assert_string_equal(key.partition, "aws");
    assert_string_equal(key.region, "us-west-2");
    assert_string_equal(key.account, ACCOUNT);
    assert_string_equal(key.id, MRK);
    assert_true(key.is_multi_region);
    char printed[ARN_KMS_KEY_BYTES];
    arn_print_kms_key(&key, printed);
    assert_string_equal(printed, GOOD);
    ASSERT_OK(arn_check_customer_key(text("arn:aws-cn:kms:cn-north-1:" ACCOUNT ":key/" MRK), "cn-north-1", NULL, NULL));
    ASSERT_OK(arn_check_customer_key(text("arn:aws-us-gov:kms:us-gov-west-1:" ACCOUNT ":key/" MRK), "us-gov-west-1",
                                     NULL, NULL));
    ASSERT_OK(arn_parse_kms_key(text("arn:aws:kms:eu-central-1:" ACCOUNT ":key/" UUID), &key));
    assert_false(key.is_multi_region);
}

/* What is refused, the rule that is named, and words the message must hold. */
static const struct {
    const char *text;
    enum arn_rule rule;
    const char *words, *mend;
} refused[] = {
    {"", ARN_RULE_EMPTY, "no key given", "full key ARN"},
    {"alias/my-key", ARN_RULE_ALIAS_NAME, "'alias/my-key' is an alias name", "describe-key"},
    {UUID, ARN_RULE_BARE_KEY_ID, "bare key id", "full key ARN"},
    {MRK, ARN_RULE_BARE_KEY_ID, "bare key id", "full key ARN"},
    {"arn:aws:kms:us-west-2:" ACCOUNT ":alias/my-key", ARN_RULE_ALIAS_ARN, "ARN of an alias", "describe-key"},
    {"arn:aws:kms:us-west-2:" ACCOUNT ":alias/mrk-1234abcd12ab34cd56ef1234567890ab", ARN_RULE_ALIAS_ARN, "alias",
     "key it points to"},
    {"my key", ARN_RULE_CHARACTERS, "without spaces", "copy it again"},
    {" " GOOD, ARN_RULE_CHARACTERS, "without spaces", "copy it again"},
    {GOOD "\n", ARN_RULE_CHARACTERS, "line ends", "copy it again"},
    {GOOD "\xc2\xa0", ARN_RULE_CHARACTERS, "ASCII", "copy it again"},
    {"nonsense", ARN_RULE_NOT_AN_ARN, "'nonsense' is not an ARN", "full key ARN"},
    {"arn:aws:kms:us-west-2", ARN_RULE_NOT_AN_ARN, "is not an ARN", "full key ARN"},
    {"ARN:aws:kms:us-west-2:" ACCOUNT ":key/" MRK, ARN_RULE_NOT_AN_ARN, "is not an ARN", "full key ARN"},
    {"mrk-1234", ARN_RULE_NOT_AN_ARN, "is not an ARN", "full key ARN"},
    {"arn:aws:s3:::bucket", ARN_RULE_SERVICE, "'s3' is not KMS", "KMS key"},
    {"arn:aws:iam::" ACCOUNT ":root", ARN_RULE_SERVICE, "'iam' is not KMS", "KMS key"},
    {"arn:aws:KMS:us-west-2:" ACCOUNT ":key/" MRK, ARN_RULE_SERVICE, "'KMS' is not KMS", "KMS key"},
    {"arn:azure:kms:us-west-2:" ACCOUNT ":key/" MRK, ARN_RULE_PARTITION, "unknown partition 'azure'", "aws-cn"},
    {"arn::kms:us-west-2:" ACCOUNT ":key/" MRK, ARN_RULE_PARTITION, "unknown partition ''", "aws-cn"},
    {"arn:aws:kms::" ACCOUNT ":key/" MRK, ARN_RULE_REGION_FORM, "'' is not the name of a region", "us-west-2"},
    {"arn:aws:kms:uswest2:" ACCOUNT ":key/" MRK, ARN_RULE_REGION_FORM, "'uswest2'", "us-west-2"},
    {"arn:aws:kms:US-WEST-2:" ACCOUNT ":key/" MRK, ARN_RULE_REGION_FORM, "'US-WEST-2'", "us-west-2"},
    {"arn:aws:kms:cn-north-1:" ACCOUNT ":key/" MRK, ARN_RULE_PARTITION_REGION, "not in partition 'aws' but in aws-cn",
     "copy the ARN"},
    {"arn:aws-cn:kms:us-west-2:" ACCOUNT ":key/" MRK, ARN_RULE_PARTITION_REGION, "but in aws;", "copy the ARN"},
    {"arn:aws:kms:us-gov-west-1:" ACCOUNT ":key/" MRK, ARN_RULE_PARTITION_REGION, "but in aws-us-gov", "copy the ARN"},
    {"arn:aws-us-gov:kms:us-west-2:" ACCOUNT ":key/" MRK, ARN_RULE_PARTITION_REGION, "but in aws;", "copy the ARN"},
    {"arn:aws:kms:us-iso-east-1:" ACCOUNT ":key/" MRK, ARN_RULE_PARTITION_REGION, "not supported", "copy the ARN"},
    {"arn:aws:kms:us-west-2:12345:key/" MRK, ARN_RULE_ACCOUNT, "'12345' is not an AWS account id", "12 digits"},
    {"arn:aws:kms:us-west-2::key/" MRK, ARN_RULE_ACCOUNT, "'' is not an AWS account id", "12 digits"},
    {"arn:aws:kms:us-west-2:11112222333x:key/" MRK, ARN_RULE_ACCOUNT, "'11112222333x'", "12 digits"},
    {"arn:aws:kms:us-west-2:" ACCOUNT ":" MRK, ARN_RULE_RESOURCE, "is not a key", "key/ and the key's id"},
    {"arn:aws:kms:us-west-2:" ACCOUNT ":grant/x", ARN_RULE_RESOURCE, "'grant/x' is not a key", "key/ and the key's id"},
    {"arn:aws:kms:us-west-2:" ACCOUNT ":key:" MRK, ARN_RULE_RESOURCE, "is not a key", "key/ and the key's id"},
    {"arn:aws:kms:us-west-2:" ACCOUNT ":", ARN_RULE_RESOURCE, "'' is not a key", "key/ and the key's id"},
    {"arn:aws:kms:us-west-2:" ACCOUNT ":key/", ARN_RULE_KEY_ID, "'' is not a key id", "32 lower-case"},
    {"arn:aws:kms:us-west-2:" ACCOUNT ":key/mrk-1234", ARN_RULE_KEY_ID, "not a Multi-Region key id", "32 lower-case"},
    {"arn:aws:kms:us-west-2:" ACCOUNT ":key/mrk-1234ABCD12ab34cd56ef1234567890ab", ARN_RULE_KEY_ID,
     "not a Multi-Region key id", "lower-case"},
    {GOOD "0", ARN_RULE_KEY_ID, "not a Multi-Region key id", "32 lower-case"},
    {GOOD "/x", ARN_RULE_KEY_ID, "not a Multi-Region key id", "32 lower-case"},
    {"arn:aws:kms:us-west-2:" ACCOUNT ":key/mrk_1234abcd12ab34cd56ef1234567890ab", ARN_RULE_KEY_ID, "is not a key id",
     "32 lower-case"},
    {"arn:aws:kms:us-west-2:" ACCOUNT ":key/1234abcd12ab34cd56ef1234567890ab", ARN_RULE_KEY_ID, "is not a key id",
     "32 lower-case"},
    {"arn:aws:kms:us-east-1:" ACCOUNT ":key/" MRK, ARN_RULE_REGION,
     "the key is in region us-east-1, but the organization is in us-west-2", "replicate it first"},
    {"arn:aws:kms:us-east-1:" ACCOUNT ":key/" UUID, ARN_RULE_REGION, "us-east-1", "us-west-2"},
    {"arn:aws:kms:us-west-2:" ACCOUNT ":key/" UUID, ARN_RULE_SINGLE_REGION, "single-Region key", "--multi-region)"},
};

static void test_refused(void **state) {
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        enum arn_rule rule = ARN_RULE_MAX;
        struct arn_kms_key key = {.id = "untouched"};
        ASSERT_ERR(INVALID, arn_check_customer_key(text(refused[i].text), "us-west-2", &rule, &key));
        if (rule != refused[i].rule)
            fail_msg("'%s': rule %s instead of %s", refused[i].text, arn_rule_name(rule),
                     arn_rule_name(refused[i].rule));
        MUST_HOLD(err_detail(), refused[i].words);
        MUST_HOLD(err_detail(), refused[i].mend);
        assert_string_equal(key.id, "untouched");
    }
}

/* Every rule has its case above, and its own name. */
static void test_rules_are_covered(void **state) {
    for (int rule = ARN_RULE_NONE + 1; rule < ARN_RULE_MAX; rule++) {
        bool found = false;
        for (size_t i = 0; i < ARRAY_LEN(refused); i++)
            found = found || (int)refused[i].rule == rule;
        if (!found) fail_msg("no case for rule %s", arn_rule_name((enum arn_rule)rule));
        for (int other = 0; other < rule; other++)
            assert_string_not_equal(arn_rule_name((enum arn_rule)rule), arn_rule_name((enum arn_rule)other));
    }
}

/* Long parts are quoted in short, and the mend still fits behind them. */
static void test_long_texts(void **state) {
    char many[301] = {0};
    for (size_t i = 0; i < sizeof many - 1; i++)
        many[i] = 'x';
    static const struct {
        const char *format, *end;
    } forms[] = {
        {"%s", "key/mrk-..."},
        {"alias/%s", "prints it"},
        {"arn:aws:%s:us-west-2:" ACCOUNT ":key/" MRK, "key/mrk-..."},
        {"arn:%s:kms:us-west-2:" ACCOUNT ":key/" MRK, "aws-us-gov"},
        {"arn:aws:kms:%s:" ACCOUNT ":key/" MRK, "us-west-2"},
        {"arn:aws:kms:us-west-2:%s:key/" MRK, "12 digits"},
        {"arn:aws:kms:us-west-2:" ACCOUNT ":alias/%s", "prints it"},
        {"arn:aws:kms:us-west-2:" ACCOUNT ":%s", "key/mrk-..."},
        {"arn:aws:kms:us-west-2:" ACCOUNT ":key/%s", "key/mrk-..."},
        {"arn:aws:kms:us-west-2:" ACCOUNT ":key/mrk-%s", "from the key"},
        {" %s", "...'"},
    };
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        AUTO_FREE char *arn = str_format(forms[i].format, many);
#pragma GCC diagnostic pop
        ASSERT_ERR(INVALID, arn_check_customer_key(text(arn), "us-west-2", NULL, NULL));
        const char *detail = err_detail();
        size_t n = strlen(detail), m = strlen(forms[i].end);
        if (n < m || strcmp(detail + n - m, forms[i].end) != 0)
            fail_msg("'%s' does not end in '%s'", detail, forms[i].end);
    }
    AUTO_FREE char *huge = mem_alloc(3000);
    for (size_t i = 0; i < 2999; i++)
        huge[i] = 'a';
    enum arn_rule rule;
    ASSERT_ERR(INVALID, arn_check_customer_key(text(huge), "us-west-2", &rule, NULL));
    assert_int_equal(rule, ARN_RULE_CHARACTERS);
}

static void test_control_characters_are_not_repeated(void **state) {
    ASSERT_ERR(INVALID, arn_check_customer_key(text("a\x1b[31m\x07"), "us-west-2", NULL, NULL));
    for (const char *p = err_detail(); *p; p++)
        assert_true(*p >= ' ' && *p <= '~');
    ASSERT_ERR(INVALID, arn_check_customer_key(slice_make(GOOD "\0", sizeof GOOD), "us-west-2", NULL, NULL));
}

static void test_replica(void **state) {
    struct arn_kms_key key, replica = {.id = "untouched"};
    ASSERT_OK(arn_parse_kms_key(text(GOOD), &key));
    ASSERT_OK(arn_replica(&key, "us-east-1", &replica));
    char printed[ARN_KMS_KEY_BYTES];
    arn_print_kms_key(&replica, printed);
    assert_string_equal(printed, "arn:aws:kms:us-east-1:" ACCOUNT ":key/" MRK);
    ASSERT_OK(arn_replica(&key, "us-west-2", &replica));
    arn_print_kms_key(&replica, printed);
    assert_string_equal(printed, GOOD);
    struct arn_kms_key untouched = {.id = "untouched"};
    ASSERT_ERR(INVALID, arn_replica(&key, "cn-north-1", &untouched));
    MUST_HOLD(err_detail(), "partition");
    ASSERT_ERR(INVALID, arn_replica(&key, "somewhere", &untouched));
    ASSERT_ERR(INVALID, arn_replica(&key, "", &untouched));
    ASSERT_OK(arn_parse_kms_key(text("arn:aws:kms:us-west-2:" ACCOUNT ":key/" UUID), &key));
    ASSERT_ERR(INVALID, arn_replica(&key, "us-east-1", &untouched));
    MUST_HOLD(err_detail(), "single-Region");
    assert_string_equal(untouched.id, "untouched");
}

static void test_regions(void **state) {
    const char *const good[] = {"us-west-2", "ap-southeast-10", "us-gov-west-1", "cn-northwest-1", "us-isob-east-1"};
    const char *const bad[] = {"",      "us",         "us-west",    "us-west-",  "-west-2",
                               "us--2", "us-west-2a", "us-west-2 ", "us-West-2", "a-b-c-d-1",
                               "us-1",  "us_west_2",  "us-w3st-2"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (!arn_is_region(text(good[i]))) fail_msg("'%s' is a region", good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (arn_is_region(text(bad[i]))) fail_msg("'%s' is not a region", bad[i]);
    assert_string_equal(arn_partition_of_region(text("us-west-2")), "aws");
    assert_string_equal(arn_partition_of_region(text("cn-north-1")), "aws-cn");
    assert_string_equal(arn_partition_of_region(text("us-gov-east-1")), "aws-us-gov");
    assert_null(arn_partition_of_region(text("us-iso-east-1")));
    assert_null(arn_partition_of_region(text("nowhere")));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_parts),      cmocka_unit_test(test_good_keys),
    cmocka_unit_test(test_refused),    cmocka_unit_test(test_rules_are_covered),
    cmocka_unit_test(test_long_texts), cmocka_unit_test(test_control_characters_are_not_repeated),
    cmocka_unit_test(test_replica),    cmocka_unit_test(test_regions),
};

TEST_MAIN(tests)
