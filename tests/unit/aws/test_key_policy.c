/* The statement and the document that customers paste: the same as the published one, word by word. */
#include "helpers.h"

#include "aws/key_policy.h"

#define KEY "arn:aws:kms:us-west-2:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"

/* As it was published, with a key id of real length. */
static const char published[] = "{"
                                "\"Sid\": \"Allow use of the key\","
                                "\"Effect\": \"Allow\","
                                "\"Principal\": {\"AWS\": \"arn:aws:iam::318212636800:root\"},"
                                "\"Action\": [\"kms:Encrypt\",\"kms:Decrypt\",\"kms:GenerateDataKey*\","
                                "\"kms:DescribeKey\"],"
                                "\"Resource\": \"" KEY "\"}";

static void test_statement(void **state) {
    struct key_policy_grant g = {.service_account_id = "318212636800", .key_arn = KEY};
    BUF_AUTO(out, 4096);
    ASSERT_OK(key_policy_statement(&g, &out));
    JSON_AUTO(made);
    JSON_AUTO(wanted);
    ASSERT_OK(json_parse_object(buf_slice(&out), &made));
    ASSERT_OK(json_parse_object(slice_str(published), &wanted));
    assert_true(json_equal(made, wanted));
    /* Members and actions in the published order, too. */
    BUF_AUTO(made_text, 4096);
    BUF_AUTO(wanted_text, 4096);
    ASSERT_OK(json_write(made, &made_text));
    ASSERT_OK(json_write(wanted, &wanted_text));
    assert_string_equal(buf_str(&made_text), buf_str(&wanted_text));
    assert_int_equal(out.data[out.len - 1], '\n');
}

static void test_statement_without_key(void **state) {
    struct key_policy_grant g = {.service_account_id = "000000000001"};
    BUF_AUTO(out, 4096);
    ASSERT_OK(key_policy_statement(&g, &out));
    MUST_HOLD(buf_str(&out), "\"Resource\": \"*\"");
    MUST_HOLD(buf_str(&out), "arn:aws:iam::000000000001:root");
}

static const char *member(const json_t *object, const char *name) {
    const char *text = NULL;
    ASSERT_OK(json_get_str(object, name, &text));
    return text;
}

static void test_document(void **state) {
    struct key_policy_grant g = {.service_account_id = "318212636800", .customer_account_id = "111122223333"};
    BUF_AUTO(out, 4096);
    ASSERT_OK(key_policy_document(&g, &out));
    JSON_AUTO(made);
    ASSERT_OK(json_parse_object(buf_slice(&out), &made));
    assert_string_equal(member(made, "Version"), "2012-10-17");
    json_t *statements = NULL;
    ASSERT_OK(json_get_array(made, "Statement", &statements));
    assert_int_equal(json_array_size(statements), 2);
    const json_t *owner = json_array_get(statements, 0), *service = json_array_get(statements, 1);
    assert_string_equal(member(owner, "Sid"), "Enable IAM User Permissions");
    assert_string_equal(member(owner, "Effect"), "Allow");
    assert_string_equal(member(owner, "Action"), "kms:*");
    assert_string_equal(member(owner, "Resource"), "*");
    assert_string_equal(member(json_object_get(owner, "Principal"), "AWS"), "arn:aws:iam::111122223333:root");
    assert_string_equal(member(json_object_get(service, "Principal"), "AWS"), "arn:aws:iam::318212636800:root");
    assert_string_equal(member(service, "Resource"), "*");
    g.customer_account_id = NULL;
    buf_clear(&out);
    ASSERT_OK(key_policy_document(&g, &out));
    JSON_AUTO(alone);
    ASSERT_OK(json_parse_object(buf_slice(&out), &alone));
    ASSERT_OK(json_get_array(alone, "Statement", &statements));
    assert_int_equal(json_array_size(statements), 1);
    /* The key's ARN tells the account. */
    g.key_arn = KEY;
    buf_clear(&out);
    ASSERT_OK(key_policy_document(&g, &out));
    MUST_HOLD(buf_str(&out), "arn:aws:iam::111122223333:root");
}

static void test_partitions(void **state) {
    struct key_policy_grant g = {.service_account_id = "318212636800",
                                 .key_arn = "arn:aws-cn:kms:cn-north-1:111122223333:key/"
                                            "mrk-1234abcd12ab34cd56ef1234567890ab"};
    BUF_AUTO(out, 4096);
    ASSERT_OK(key_policy_statement(&g, &out));
    MUST_HOLD(buf_str(&out), "arn:aws-cn:iam::318212636800:root");
    g = (struct key_policy_grant){.service_account_id = "318212636800", .partition = "aws-us-gov"};
    ASSERT_OK(key_policy_statement(&g, &out));
    MUST_HOLD(buf_str(&out), "arn:aws-us-gov:iam::318212636800:root");
}

static void test_refused(void **state) {
    static const struct key_policy_grant bad[] = {
        {.service_account_id = NULL},
        {.service_account_id = "31821263680"},
        {.service_account_id = "31821263680\""},
        {.service_account_id = "318212636800", .customer_account_id = ""},
        {.service_account_id = "318212636800", .customer_account_id = "me"},
        {.service_account_id = "318212636800", .key_arn = "alias/x"},
        {.service_account_id = "318212636800", .key_arn = KEY "\"}"},
        {.service_account_id = "318212636800", .key_arn = KEY, .customer_account_id = "999999999999"},
        {.service_account_id = "318212636800", .partition = "aws\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        BUF_AUTO(out, 4096);
        ASSERT_ERR(INVALID, key_policy_statement(&bad[i], &out));
        ASSERT_ERR(INVALID, key_policy_document(&bad[i], &out));
        ASSERT_ERR(INVALID, key_policy_cloudformation(&bad[i], &out));
        ASSERT_ERR(INVALID, key_policy_terraform(&bad[i], &out));
        assert_int_equal(out.len, 0);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_statement), cmocka_unit_test(test_statement_without_key),
    cmocka_unit_test(test_document),  cmocka_unit_test(test_partitions),
    cmocka_unit_test(test_refused),
};

TEST_MAIN(tests)
