/* KMS requests and answers, with bodies of the shapes that the real service was recorded to send. */
#include "helpers.h"

#include "aws/kms_message.h"

#define KEY "arn:aws:kms:us-west-2:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"
#define OTHER_KEY "arn:aws:kms:us-west-2:111122223333:key/mrk-00000000000000000000000000000000"
#define KEY_32 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define MATERIAL "1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdef"

static const struct kms_context context[] = {
    {"lockset:org", "o0123"}, {"lockset:region", "us-west-2"}, {"quote\"", "line\nend"}, {NULL, NULL}};

static void must_build(const struct kms_request *r, const char *wanted) {
    BUF_AUTO(out, 64 * 1024);
    ASSERT_OK(kms_message_build(r, &out));
    assert_string_equal(buf_str(&out), wanted);
    JSON_AUTO(parsed);
    ASSERT_OK(json_parse_object(buf_slice(&out), &parsed));
}

static void test_build(void **state) {
    struct kms_request r = {.operation = KMS_DESCRIBE_KEY, .key_id = KEY};
    must_build(&r, "{\"KeyId\":\"" KEY "\"}");
    r = (struct kms_request){.operation = KMS_ENCRYPT, .key_id = KEY, .plaintext = slice_str("hello"), .dry_run = true};
    must_build(&r, "{\"KeyId\":\"" KEY "\",\"Plaintext\":\"aGVsbG8=\",\"DryRun\":true}");
    r = (struct kms_request){
        .operation = KMS_DECRYPT, .key_id = KEY, .ciphertext = slice_str("hello"), .context = context};
    must_build(&r, "{\"KeyId\":\"" KEY "\",\"CiphertextBlob\":\"aGVsbG8=\",\"EncryptionContext\":{\"lockset:org\":"
                   "\"o0123\",\"lockset:region\":\"us-west-2\",\"quote\\\"\":\"line\\nend\"}}");
    r = (struct kms_request){.operation = KMS_GENERATE_DATA_KEY, .key_id = KEY};
    must_build(&r, "{\"KeyId\":\"" KEY "\",\"KeySpec\":\"AES_256\"}");
    r.data_key_bytes = 64;
    must_build(&r, "{\"KeyId\":\"" KEY "\",\"NumberOfBytes\":64}");
    r = (struct kms_request){
        .operation = KMS_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT, .key_id = KEY, .context = (struct kms_context[]){{0}}};
    must_build(&r, "{\"KeyId\":\"" KEY "\",\"KeySpec\":\"AES_256\",\"EncryptionContext\":{}}");
}

static void test_build_refuses(void **state) {
    static uint8_t large[KMS_MAX_CIPHERTEXT_BYTES + 1];
    static const struct kms_context twice[] = {{"a", "1"}, {"a", "2"}, {0}};
    static const struct kms_context latin[] = {{"a", "\xe9"}, {0}};
    static const struct kms_context empty[] = {{"", "1"}, {0}};
    const struct slice five = slice_str("hello");
    const struct kms_request bad[] = {
        {.operation = KMS_DESCRIBE_KEY},
        {.operation = KMS_DESCRIBE_KEY, .key_id = ""},
        {.operation = KMS_DESCRIBE_KEY, .key_id = "\xff"},
        {.operation = KMS_DESCRIBE_KEY, .key_id = KEY, .dry_run = true},
        {.operation = KMS_DESCRIBE_KEY, .key_id = KEY, .context = context},
        {.operation = KMS_ENCRYPT, .key_id = KEY},
        {.operation = KMS_ENCRYPT, .key_id = KEY, .plaintext = {large, KMS_MAX_PLAINTEXT_BYTES + 1}},
        {.operation = KMS_DECRYPT, .key_id = KEY},
        {.operation = KMS_DECRYPT, .key_id = KEY, .ciphertext = {large, KMS_MAX_CIPHERTEXT_BYTES + 1}},
        {.operation = KMS_ENCRYPT, .key_id = KEY, .plaintext = five, .context = twice},
        {.operation = KMS_ENCRYPT, .key_id = KEY, .plaintext = five, .context = latin},
        {.operation = KMS_ENCRYPT, .key_id = KEY, .plaintext = five, .context = empty},
        {.operation = KMS_GENERATE_DATA_KEY, .key_id = KEY, .data_key_bytes = KMS_MAX_DATA_KEY_BYTES + 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        BUF_AUTO(out, 64 * 1024);
        ASSERT_ERR(INVALID, kms_message_build(&bad[i], &out));
    }
}

static void parse(const struct kms_request *r, int status, const char *body, struct kms_answer *a) {
    kms_answer_done(a);
    kms_message_parse(r, status, slice_str("8d3acf57-6bba-480a-9459-ed1b8e79d3d0"), slice_str(body), a);
    assert_int_equal(a->http_status, status);
    assert_string_equal(a->request_id, "8d3acf57-6bba-480a-9459-ed1b8e79d3d0");
}

static void test_data_key(void **state) {
    struct kms_request r = {.operation = KMS_GENERATE_DATA_KEY, .key_id = KEY};
    KMS_ANSWER_AUTO(a);
    parse(&r, 200,
          "{\"CiphertextBlob\":\"AQIDAHg=\",\"KeyId\":\"" KEY "\",\"Plaintext\":\"" KEY_32
          "\",\"KeyMaterialId\":\"" MATERIAL "\",\"Later\":[1]}",
          &a);
    assert_int_equal(a.error, KMS_OK);
    assert_string_equal(a.code, "");
    assert_string_equal(a.key_arn, KEY);
    assert_string_equal(a.material_id, MATERIAL);
    assert_int_equal(a.plaintext.len, 32);
    for (uint8_t i = 0; i < 32; i++)
        assert_int_equal(a.plaintext.data[i], i);
    assert_int_equal(a.ciphertext.len, 5);
    r.operation = KMS_DECRYPT;
    parse(&r, 200, "{\"KeyId\":\"" KEY "\",\"Plaintext\":\"aGVsbG8=\",\"EncryptionAlgorithm\":\"SYMMETRIC_DEFAULT\"}",
          &a);
    assert_int_equal(a.error, KMS_OK);
    ASSERT_SLICE(secret_view(&a.plaintext), "hello");
    assert_string_equal(a.material_id, "");
    r.operation = KMS_ENCRYPT;
    parse(&r, 200, "{\"KeyId\":\"" KEY "\",\"CiphertextBlob\":\"aGVsbG8=\"}", &a);
    assert_int_equal(a.error, KMS_OK);
    ASSERT_SLICE(buf_slice(&a.ciphertext), "hello");
    assert_int_equal(a.plaintext.len, 0);
    r.operation = KMS_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT;
    parse(&r, 200, "{\"KeyId\":\"" KEY "\",\"CiphertextBlob\":\"aGVsbG8=\"}", &a);
    assert_int_equal(a.error, KMS_OK);
}

/* A 200 that isn't what was asked for gives no key. */
static void test_wrong_success(void **state) {
    static const struct {
        enum kms_operation operation;
        const char *body, *words;
    } bad[] = {
        {KMS_GENERATE_DATA_KEY, "", "not a JSON object"},
        {KMS_GENERATE_DATA_KEY, "[]", "not a JSON object"},
        {KMS_GENERATE_DATA_KEY, "<html>welcome</html>", "not a JSON object"},
        {KMS_GENERATE_DATA_KEY, "{}", "names no key"},
        {KMS_GENERATE_DATA_KEY, "{\"KeyId\":7}", "names no key"},
        {KMS_GENERATE_DATA_KEY,
         "{\"KeyId\":\"" OTHER_KEY "\",\"Plaintext\":\"" KEY_32 "\",\"CiphertextBlob\":\"AA==\"}", "another key"},
        {KMS_GENERATE_DATA_KEY, "{\"KeyId\":\"" KEY "\",\"Plaintext\":\"AA==\",\"CiphertextBlob\":\"AA==\"}", "length"},
        {KMS_GENERATE_DATA_KEY, "{\"KeyId\":\"" KEY "\",\"Plaintext\":\"" KEY_32 "\"}", "CiphertextBlob"},
        {KMS_GENERATE_DATA_KEY, "{\"KeyId\":\"" KEY "\",\"CiphertextBlob\":\"AA==\"}", "Plaintext"},
        {KMS_DECRYPT, "{\"KeyId\":\"" KEY "\",\"Plaintext\":\"\"}", "Plaintext"},
        {KMS_DECRYPT, "{\"KeyId\":\"" KEY "\",\"Plaintext\":\"A\"}", "Plaintext"},
        {KMS_DECRYPT, "{\"KeyId\":\"" KEY "\",\"Plaintext\":[\"AA==\"]}", "Plaintext"},
        {KMS_DECRYPT, "{\"KeyId\":\"" KEY "\",\"Plaintext\":\"AA==\",\"Plaintext\":\"AQ==\"}", "not a JSON object"},
        {KMS_ENCRYPT, "{\"KeyId\":\"" KEY "\",\"CiphertextBlob\":\"!\"}", "CiphertextBlob"},
        {KMS_DESCRIBE_KEY, "{\"KeyId\":\"" KEY "\"}", "KeyMetadata"},
        {KMS_DESCRIBE_KEY, "{\"KeyMetadata\":{\"Arn\":\"" OTHER_KEY "\"}}", "another key"},
        {KMS_DESCRIBE_KEY, "{\"KeyMetadata\":{}}", "names no key"},
    };
    KMS_ANSWER_AUTO(a);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct kms_request r = {.operation = bad[i].operation, .key_id = KEY};
        parse(&r, 200, bad[i].body, &a);
        assert_int_equal(a.error, KMS_UNKNOWN);
        MUST_HOLD(a.message, bad[i].words);
        assert_int_equal(a.plaintext.len, 0);
        assert_int_equal(a.ciphertext.len, 0);
    }
    struct kms_request dry = {.operation = KMS_DECRYPT, .key_id = KEY, .dry_run = true};
    parse(&dry, 200, "{\"KeyId\":\"" KEY "\",\"Plaintext\":\"AA==\"}", &a);
    assert_int_equal(a.error, KMS_UNKNOWN);
}

static void test_describe(void **state) {
    struct kms_request r = {.operation = KMS_DESCRIBE_KEY, .key_id = KEY};
    KMS_ANSWER_AUTO(a);
    parse(&r, 200,
          "{\"KeyMetadata\":{\"AWSAccountId\":\"111122223333\",\"Arn\":\"" KEY
          "\",\"CreationDate\":1609193147.831,\"CurrentKeyMaterialId\":\"" MATERIAL
          "\",\"CustomerMasterKeySpec\":\"SYMMETRIC_DEFAULT\",\"Description\":\"\",\"Enabled\":true,"
          "\"EncryptionAlgorithms\":[\"SYMMETRIC_DEFAULT\"],\"KeyId\":\"mrk-1234abcd12ab34cd56ef1234567890ab\","
          "\"KeyManager\":\"CUSTOMER\",\"KeySpec\":\"SYMMETRIC_DEFAULT\",\"KeyState\":\"Enabled\",\"KeyUsage\":"
          "\"ENCRYPT_DECRYPT\",\"MultiRegion\":true,\"MultiRegionConfiguration\":{\"MultiRegionKeyType\":\"REPLICA\","
          "\"PrimaryKey\":{\"Arn\":\"x\",\"Region\":\"us-east-1\"},\"ReplicaKeys\":[]},\"Origin\":\"AWS_KMS\"}}",
          &a);
    assert_int_equal(a.error, KMS_OK);
    assert_string_equal(a.key_arn, KEY);
    assert_string_equal(a.key.account, "111122223333");
    assert_string_equal(a.key.state, "Enabled");
    assert_string_equal(a.key.spec, "SYMMETRIC_DEFAULT");
    assert_string_equal(a.key.usage, "ENCRYPT_DECRYPT");
    assert_string_equal(a.key.origin, "AWS_KMS");
    assert_string_equal(a.key.manager, "CUSTOMER");
    assert_string_equal(a.key.multi_region_type, "REPLICA");
    assert_string_equal(a.key.primary_region, "us-east-1");
    assert_string_equal(a.material_id, MATERIAL);
    assert_true(a.key.is_enabled && a.key.is_multi_region && !a.key.has_deletion_date);
    parse(&r, 200,
          "{\"KeyMetadata\":{\"Arn\":\"" KEY "\",\"Enabled\":false,\"KeyState\":\"PendingDeletion\",\"DeletionDate\":"
          "1609193147.831,\"MultiRegion\":false,\"CustomerMasterKeySpec\":\"RSA_2048\"}}",
          &a);
    assert_true(a.key.has_deletion_date);
    assert_int_equal(a.key.deletion_unix_ms, 1609193147831);
    assert_string_equal(a.key.spec, "RSA_2048");
    assert_string_equal(a.key.multi_region_type, "");
    parse(&r, 200,
          "{\"KeyMetadata\":{\"Arn\":\"" KEY "\",\"DeletionDate\":1e300,\"Enabled\":\"true\",\"MultiRegion"
          "Configuration\":[]}}",
          &a);
    assert_int_equal(a.error, KMS_OK);
    assert_false(a.key.has_deletion_date || a.key.is_enabled);
}

/* Every row of the closed list. */
static const struct {
    int status;
    const char *body;
    enum kms_error error;
    const char *code, *message;
} errors[] = {
    {400,
     "{\"__type\":\"DryRunOperationException\",\"message\":\"The request would have succeeded, but the DryRun option "
     "is set.\"}",
     KMS_DRY_RUN_OK, "DryRunOperationException", "would have succeeded"},
    {400, "{\"__type\":\"DisabledException\",\"message\":\"" KEY " is disabled.\"}", KMS_DISABLED, "DisabledException",
     "is disabled."},
    {409, "{\"__type\":\"DisabledException\",\"message\":\"x\"}", KMS_DISABLED, "DisabledException", "x"},
    {400, "{\"__type\":\"com.amazon.coral.service#AccessDeniedException\",\"Message\":\"User: x is not authorized\"}",
     KMS_ACCESS_DENIED, "AccessDeniedException", "User: x"},
    {400, "{\"__type\":\"AccessDeniedException:http://internal.amazon.com/\"}", KMS_ACCESS_DENIED,
     "AccessDeniedException", ""},
    {400, "{\"__type\":\"NotFoundException\",\"message\":\"Invalid arn us-west-2\"}", KMS_NOT_FOUND,
     "NotFoundException", "Invalid arn"},
    {400, "{\"__type\":\"InvalidArnException\"}", KMS_NOT_FOUND, "InvalidArnException", ""},
    {400, "{\"__type\":\"KMSInvalidStateException\",\"message\":\"" KEY " is pending deletion.\"}", KMS_INVALID_STATE,
     "KMSInvalidStateException", "pending deletion"},
    {400, "{\"__type\":\"KMSInvalidStateException\",\"message\":\"" KEY " is pending import.\"}", KMS_INVALID_STATE,
     "KMSInvalidStateException", ""},
    {400, "{\"__type\":\"KMSInvalidStateException\"}", KMS_INVALID_STATE, "KMSInvalidStateException", ""},
    {400, "{\"__type\":\"KMSInvalidStateException\",\"message\":\"" KEY " is creating.\"}", KMS_INVALID_STATE_PASSING,
     "KMSInvalidStateException", "creating"},
    {400, "{\"__type\":\"KMSInvalidStateException\",\"message\":\"" KEY " is updating.\"}", KMS_INVALID_STATE_PASSING,
     "KMSInvalidStateException", "updating"},
    {400, "{\"__type\":\"InvalidKeyUsageException\"}", KMS_INVALID_KEY_USAGE, "InvalidKeyUsageException", ""},
    {400, "{\"__type\":\"IncorrectKeyException\",\"message\":\"The key ID in the request does not identify a CMK\"}",
     KMS_INCORRECT_KEY, "IncorrectKeyException", "key ID"},
    {400, "{\"__type\":\"InvalidCiphertextException\"}", KMS_INVALID_CIPHERTEXT, "InvalidCiphertextException", ""},
    {400, "{\"__type\":\"ThrottlingException\",\"message\":\"You have exceeded the rate\"}", KMS_THROTTLED,
     "ThrottlingException", "exceeded"},
    {400, "{\"__type\":\"RequestThrottledException\"}", KMS_THROTTLED, "RequestThrottledException", ""},
    {500, "{\"__type\":\"KeyUnavailableException\"}", KMS_KEY_UNAVAILABLE, "KeyUnavailableException", ""},
    {500, "{\"__type\":\"KMSInternalException\"}", KMS_INTERNAL, "KMSInternalException", ""},
    {503, "{\"__type\":\"DependencyTimeoutException\"}", KMS_DEPENDENCY_TIMEOUT, "DependencyTimeoutException", ""},
    {400, "{\"__type\":\"ExpiredTokenException\"}", KMS_CREDENTIALS, "ExpiredTokenException", ""},
    {400,
     "{\"__type\":\"UnrecognizedClientException\",\"message\":\"The security token included in the request is "
     "invalid.\"}",
     KMS_CREDENTIALS, "UnrecognizedClientException", "security token"},
    {403, "{\"__type\":\"MissingAuthenticationTokenException\"}", KMS_CREDENTIALS,
     "MissingAuthenticationTokenException", ""},
    {400,
     "{\"__type\":\"InvalidSignatureException\",\"message\":\"The request signature we calculated does not match\"}",
     KMS_CREDENTIALS, "InvalidSignatureException", "does not match"},
    {400,
     "{\"__type\":\"InvalidSignatureException\",\"message\":\"Signature expired: 20261124T000000Z is now earlier "
     "than 20261124T040000Z\"}",
     KMS_CLOCK_SKEW, "InvalidSignatureException", "expired"},
    {400, "{\"__type\":\"InvalidSignatureException\",\"message\":\"Signature not yet current: x\"}", KMS_CLOCK_SKEW,
     "InvalidSignatureException", "not yet"},
    {400, "{\"__type\":\"ValidationException\",\"message\":\"1 validation error detected\"}", KMS_VALIDATION,
     "ValidationException", "1 validation"},
    {400, "{\"__type\":\"SerializationException\"}", KMS_VALIDATION, "SerializationException", ""},
    {400, "{\"__type\":\"UnsupportedOperationException\",\"message\":\"x\"}", KMS_UNSUPPORTED,
     "UnsupportedOperationException", "x"},
    {400, "{\"__type\":\"UnknownOperationException\"}", KMS_UNSUPPORTED, "UnknownOperationException", ""},
    {400, "{\"__type\":\"LimitExceededException\",\"message\":\"x\"}", KMS_UNKNOWN, "LimitExceededException", "x"},
    {400, "{\"__type\":\"SomethingNewException\",\"message\":\"x\"}", KMS_UNKNOWN, "SomethingNewException", "x"},
    {500, "{\"__type\":\"SomethingNewException\"}", KMS_INTERNAL, "SomethingNewException", ""},
    {400, "{}", KMS_UNKNOWN, "", "may not come from KMS"},
    {403, "<html>Forbidden</html>", KMS_UNKNOWN, "", "may not come from KMS"},
    {400, "{\"__type\":7,\"message\":[]}", KMS_UNKNOWN, "", "may not come from KMS"},
    {502, "Bad Gateway", KMS_INTERNAL, "", "may not come from KMS"},
    {503, "", KMS_INTERNAL, "", "may not come from KMS"},
    {504, "", KMS_DEPENDENCY_TIMEOUT, "", ""},
    {429, "", KMS_THROTTLED, "", ""},
    {408, "", KMS_TIMEOUT, "", ""},
    {302, "", KMS_UNKNOWN, "", ""},
    {204, "", KMS_UNKNOWN, "", ""},
};

static void test_errors(void **state) {
    struct kms_request r = {.operation = KMS_DECRYPT, .key_id = KEY};
    KMS_ANSWER_AUTO(a);
    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        parse(&r, errors[i].status, errors[i].body, &a);
        if (a.error != errors[i].error)
            fail_msg("%d %s: %s instead of %s", errors[i].status, errors[i].body, kms_error_name(a.error),
                     kms_error_name(errors[i].error));
        assert_string_equal(a.code, errors[i].code);
        MUST_HOLD(a.message, errors[i].message);
        assert_int_equal(a.plaintext.len, 0);
    }
}

/* A refusal must never look like something that may be repeated or ridden through, and the other way round. */
static void test_retryable(void **state) {
    static const enum kms_error yes[] = {
        KMS_THROTTLED, KMS_KEY_UNAVAILABLE,      KMS_INTERNAL, KMS_DEPENDENCY_TIMEOUT, KMS_UNREACHABLE,
        KMS_TIMEOUT,   KMS_INVALID_STATE_PASSING};
    size_t n = 0;
    for (int e = 0; e < KMS_ERROR_MAX; e++)
        n += kms_error_is_retryable((enum kms_error)e);
    assert_int_equal(n, ARRAY_LEN(yes));
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        assert_true(kms_error_is_retryable(yes[i]));
    for (int e = 0; e < KMS_ERROR_MAX; e++)
        for (int f = 0; f < e; f++)
            assert_string_not_equal(kms_error_name((enum kms_error)e), kms_error_name((enum kms_error)f));
}

/* What goes into messages and ledgers is printable and bounded, whatever came. */
static void test_texts_are_bounded(void **state) {
    BUF_AUTO(body, 64 * 1024);
    buf_append_str(&body, "{\"__type\":\"");
    for (size_t i = 0; i < 2000; i++)
        buf_append_str(&body, "x\\u0007");
    buf_append_str(&body, "\",\"message\":\"");
    for (size_t i = 0; i < 2000; i++)
        buf_append_str(&body, "\\u001b\xc3\xa9");
    buf_append_str(&body, "\"}");
    struct kms_request r = {.operation = KMS_DECRYPT, .key_id = KEY};
    KMS_ANSWER_AUTO(a);
    AUTO_FREE char *id = str_dup(buf_str(&body));
    kms_message_parse(&r, 400, slice_str(id), buf_slice(&body), &a);
    assert_int_equal(strlen(a.code), KMS_CODE_BYTES - 1);
    assert_int_equal(strlen(a.message), KMS_MESSAGE_BYTES - 1);
    assert_int_equal(strlen(a.request_id), KMS_REQUEST_ID_BYTES - 1);
    for (const char *p = a.message; *p; p++)
        assert_int_equal(*p, '?');
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_build),         cmocka_unit_test(test_build_refuses),     cmocka_unit_test(test_data_key),
    cmocka_unit_test(test_wrong_success), cmocka_unit_test(test_describe),          cmocka_unit_test(test_errors),
    cmocka_unit_test(test_retryable),     cmocka_unit_test(test_texts_are_bounded),
};

int main(void) {
    return cmocka_run_group_tests(tests, start_secrets, NULL);
}
