/* The protocol without HTTP: hostile bodies, and the shape of every kind of answer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "kms/service.h"
#include "testing.h"

static const int64_t now = 1764000000000;
static char root[] = "/tmp/lockset-kms-XXXXXX";
static struct kmsd_service service;
static struct kmsd_accounts accounts;
static char *key_arn, *blob;

static char *call_at(int64_t at_ms, const char *operation, const char *body, int status) {
    AUTO(buf_done) struct buf out;
    buf_init_wiping(&out, 1 << 20);
    int got = kmsd_service_call(&service, &accounts.list[0], operation, slice_str(body), at_ms, &out);
    if (got != status) fail_msg("%s %s: %d %s", operation, body, got, buf_str(&out));
    return buf_take_str(&out);
}

static char *call(const char *operation, const char *body, int status) {
    return call_at(now, operation, body, status);
}

static char *member(const char *text, const char *outer, const char *name) {
    JSON_AUTO(j);
    ASSERT_OK(json_parse_object(slice_str(text), &j));
    const json_t *object = outer != NULL ? json_object_get(j, outer) : j;
    return str_dup(json_string_value(json_object_get(object, name)));
}

static int setup(void **state) {
    static const char text[] = "{\"accounts\":[{\"account\":\"111122223333\",\"access_key_id\":\"AKIA\","
                               "\"secret_access_key\":\"0123456789abcdef\"}]}";
    if (mkdtemp(root) == NULL) return -1;
    AUTO_FREE char *dir = str_format("%s/us-west-2", root);
    struct kmsd_store_options options = {.data_dir = dir, .region = "us-west-2"};
    ASSERT_OK(kmsd_store_open(&options, &service.store));
    ASSERT_OK(kmsd_accounts_parse(slice_str(text), "aws", &accounts));
    AUTO_FREE char *created = call("CreateKey", "{\"MultiRegion\":true}", 200);
    key_arn = member(created, "KeyMetadata", "Arn");
    AUTO_FREE char *request = str_format("{\"KeyId\":\"%s\",\"Plaintext\":\"aGk=\"}", key_arn);
    AUTO_FREE char *encrypted = call("Encrypt", request, 200);
    blob = member(encrypted, NULL, "CiphertextBlob");
    return 0;
}

static int teardown(void **state) {
    kmsd_store_close(service.store);
    kmsd_accounts_done(&accounts);
    mem_free(key_arn);
    mem_free(blob);
    result_ignore(file_remove_tree(root)); // a leftover in /tmp fails nothing
    return 0;
}

struct row {
    const char *operation, *body; /* %K: the key's ARN, %B: a ciphertext */
    const char *answer;           /* how it begins */
};

static char *fill(const char *body) {
    BUF_AUTO(out, 1 << 16);
    for (const char *p = body; *p != '\0'; p++) {
        if (p[0] == '%' && (p[1] == 'K' || p[1] == 'B'))
            buf_append_str(&out, *++p == 'K' ? key_arn : blob);
        else
            buf_append_byte(&out, (uint8_t)*p);
    }
    return buf_take_str(&out);
}

static void check(const struct row *rows, size_t count) {
    for (size_t i = 0; i < count; i++) {
        AUTO_FREE char *body = fill(rows[i].body);
        AUTO_FREE char *answer = call(rows[i].operation, body, 400);
        if (strncmp(answer, rows[i].answer, strlen(rows[i].answer)) != 0)
            fail_msg("%s %s\nwanted %s\ngot    %s", rows[i].operation, body, rows[i].answer, answer);
    }
}

#define SERIALIZATION "{\"__type\":\"SerializationException\""
#define VALIDATION "{\"__type\":\"ValidationException\",\"message\":\""
#define NULL_MEMBER(name)                                                                                              \
    VALIDATION "1 validation error detected: Value null at '" name                                                     \
               "' failed to satisfy constraint: Member must not be "                                                   \
               "null\"}"

static void hostile_bodies(void **state) {
    static const struct row rows[] = {
        {"DescribeKey", "", SERIALIZATION "}"},
        {"DescribeKey", "KeyId=x", SERIALIZATION "}"},
        {"DescribeKey", "[]", SERIALIZATION "}"},
        {"DescribeKey", "\"x\"", SERIALIZATION "}"},
        {"DescribeKey", "null", SERIALIZATION "}"},
        {"DescribeKey", "{\"KeyId\":\"a\",\"KeyId\":\"b\"}", SERIALIZATION "}"},
        {"DescribeKey", "{\"KeyId\":\"a\"} x", SERIALIZATION "}"},
        {"DescribeKey", "{\"KeyId\":\"\\u0000\"}", SERIALIZATION "}"},
        {"DescribeKey", "{\"KeyId\":\"\xff\"}", SERIALIZATION "}"},
        {"DescribeKey", "{\"KeyId\":\"\\ud800\"}", SERIALIZATION "}"},
        {"DescribeKey", "{\"KeyId\":7}", SERIALIZATION ",\"Message\":\"NUMBER_VALUE can not be converted to String\"}"},
        {"DescribeKey", "{\"KeyId\":[]}", SERIALIZATION ",\"Message\":\"START_ARRAY can not be converted to String\"}"},
        {"DescribeKey", "{\"KeyId\":\"%K\",\"GrantTokens\":{}}", SERIALIZATION},
        {"DescribeKey", "{\"KeyId\":\"%K\",\"GrantTokens\":[7]}", SERIALIZATION},
        {"CreateKey", "{\"MultiRegion\":\"true\"}",
         SERIALIZATION ",\"Message\":\"STRING_VALUE can not be converted to Boolean\"}"},
        {"CreateKey", "{\"Tags\":{}}", SERIALIZATION},
        {"CreateKey", "{\"Policy\":{}}", SERIALIZATION},
        {"Encrypt", "{\"KeyId\":\"%K\",\"Plaintext\":\"???\"}", SERIALIZATION "}"},
        {"Encrypt", "{\"KeyId\":\"%K\",\"Plaintext\":\"aGk\"}", SERIALIZATION "}"},
        {"Encrypt", "{\"KeyId\":\"%K\",\"Plaintext\":\"aGk=\",\"EncryptionContext\":[]}", SERIALIZATION},
        {"Encrypt", "{\"KeyId\":\"%K\",\"Plaintext\":\"aGk=\",\"EncryptionContext\":{\"a\":1.5}}", SERIALIZATION},
        {"Encrypt", "{\"KeyId\":\"%K\",\"Plaintext\":\"aGk=\",\"DryRun\":1}", SERIALIZATION},
        {"GenerateDataKey", "{\"KeyId\":\"%K\",\"NumberOfBytes\":1.5}", SERIALIZATION},
        {"GenerateDataKey", "{\"KeyId\":\"%K\",\"NumberOfBytes\":\"32\"}", SERIALIZATION},
        {"GenerateDataKey", "{\"KeyId\":\"%K\",\"NumberOfBytes\":99999999999999999999}", SERIALIZATION "}"},
    };
    check(rows, ARRAY_LEN(rows));
}

static void validation(void **state) {
    static const struct row rows[] = {
        {"DescribeKey", "{}", NULL_MEMBER("keyId")},
        {"DescribeKey", "{\"KeyId\":null}", NULL_MEMBER("keyId")},
        {"DescribeKey", "{\"KeyId\":\"\"}",
         VALIDATION "1 validation error detected: Value at 'keyId' failed to satisfy constraint: Member must have "
                    "length greater than or equal to 1\"}"},
        {"Encrypt", "{\"Plaintext\":\"aGk=\"}", NULL_MEMBER("keyId")},
        {"Encrypt", "{\"KeyId\":\"%K\"}", NULL_MEMBER("plaintext")},
        {"Encrypt", "{\"KeyId\":\"%K\",\"Plaintext\":\"\"}", VALIDATION},
        {"Encrypt", "{\"KeyId\":\"%K\",\"Plaintext\":\"aGk=\",\"EncryptionAlgorithm\":\"ROT13\"}", VALIDATION},
        {"Encrypt", "{\"KeyId\":\"%K\",\"Plaintext\":\"aGk=\",\"EncryptionAlgorithm\":\"SM2PKE\"}",
         "{\"__type\":\"InvalidKeyUsageException\""},
        {"Encrypt",
         "{\"KeyId\":\"%K\",\"Plaintext\":\"aGk=\",\"GrantTokens\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\","
         "\"9\",\"10\",\"11\"]}",
         VALIDATION},
        {"Decrypt", "{}", NULL_MEMBER("ciphertextBlob")},
        {"Decrypt", "{\"CiphertextBlob\":\"aGk=\"}", "{\"__type\":\"InvalidCiphertextException\"}"},
        {"Decrypt", "{\"CiphertextBlob\":\"%B\",\"EncryptionContext\":{\"a\":\"b\"}}",
         "{\"__type\":\"InvalidCiphertextException\"}"},
        {"Decrypt", "{\"CiphertextBlob\":\"%B\",\"DryRun\":true}", "{\"__type\":\"DryRunOperationException\""},
        {"Decrypt", "{\"KeyId\":\"%K\",\"DryRun\":true,\"DryRunModifiers\":[\"IGNORE_CIPHERTEXT\"]}",
         "{\"__type\":\"DryRunOperationException\""},
        {"Decrypt", "{\"DryRun\":true,\"DryRunModifiers\":[\"IGNORE_CIPHERTEXT\"]}", VALIDATION},
        {"Decrypt", "{\"KeyId\":\"%K\",\"DryRunModifiers\":[\"IGNORE_CIPHERTEXT\"]}", VALIDATION},
        {"Decrypt", "{\"KeyId\":\"%K\",\"DryRun\":true,\"DryRunModifiers\":[\"X\"]}", VALIDATION},
        {"Decrypt", "{\"CiphertextBlob\":\"%B\",\"Recipient\":{}}", "{\"__type\":\"UnsupportedOperationException\""},
        {"GenerateDataKey", "{\"KeyId\":\"%K\"}", VALIDATION},
        {"GenerateDataKey", "{\"KeyId\":\"%K\",\"KeySpec\":\"AES_256\",\"NumberOfBytes\":32}", VALIDATION},
        {"GenerateDataKey", "{\"KeyId\":\"%K\",\"KeySpec\":\"AES_512\"}", VALIDATION},
        {"GenerateDataKey", "{\"KeyId\":\"%K\",\"NumberOfBytes\":1025}",
         VALIDATION "1 validation error detected: Value '1025' at 'numberOfBytes' failed to satisfy constraint: Member "
                    "must have value less than or equal to 1024\"}"},
        {"GenerateDataKey", "{\"KeyId\":\"%K\",\"NumberOfBytes\":0}", VALIDATION},
        {"ListKeys", "{\"Limit\":1001}", VALIDATION},
        {"ListKeys", "{\"Marker\":\"x\"}", "{\"__type\":\"InvalidMarkerException\"}"},
        {"ScheduleKeyDeletion", "{\"KeyId\":\"%K\",\"PendingWindowInDays\":6}", VALIDATION},
        {"ScheduleKeyDeletion", "{\"KeyId\":\"%K\",\"PendingWindowInDays\":31}", VALIDATION},
        {"ReplicateKey", "{\"KeyId\":\"%K\"}", NULL_MEMBER("replicaRegion")},
        {"ReplicateKey", "{\"KeyId\":\"%K\",\"ReplicaRegion\":\"moon\"}", VALIDATION},
        {"ReplicateKey", "{\"KeyId\":\"%K\",\"ReplicaRegion\":\"cn-north-1\"}", VALIDATION},
        {"ReplicateKey", "{\"KeyId\":\"%K\",\"ReplicaRegion\":\"us-west-2\"}",
         "{\"__type\":\"AlreadyExistsException\""},
        {"CreateKey", "{\"KeySpec\":\"RSA_2048\"}",
         VALIDATION "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.\"}"},
        {"CreateKey", "{\"KeySpec\":\"RSA_1024\",\"KeyUsage\":\"ENCRYPT_DECRYPT\"}", VALIDATION},
        {"CreateKey", "{\"KeySpec\":\"SYMMETRIC_DEFAULT\",\"CustomerMasterKeySpec\":\"SYMMETRIC_DEFAULT\"}",
         VALIDATION},
        {"CreateKey", "{\"KeyUsage\":\"SIGN_VERIFY\"}", VALIDATION},
        {"CreateKey", "{\"KeyUsage\":\"WHATEVER\"}", VALIDATION},
        {"CreateKey", "{\"Origin\":\"EXTERNAL\"}", "{\"__type\":\"UnsupportedOperationException\""},
        {"CreateKey", "{\"Tags\":[{\"TagKey\":\"AWS:x\",\"TagValue\":\"\"}]}",
         "{\"__type\":\"TagException\",\"message\":\"Tags beginning with aws: are reserved\"}"},
        {"CreateKey", "{\"Tags\":[{\"TagKey\":\"a\",\"TagValue\":\"\"},{\"TagKey\":\"a\",\"TagValue\":\"\"}]}",
         "{\"__type\":\"TagException\",\"message\":\"Duplicate tag keys\"}"},
        {"CreateKey", "{\"Tags\":[7]}", VALIDATION},
        {"PutKeyPolicy", "{\"KeyId\":\"%K\"}", NULL_MEMBER("policy")},
        {"PutKeyPolicy", "{\"KeyId\":\"%K\",\"Policy\":\"x\"}", "{\"__type\":\"MalformedPolicyDocumentException\""},
        {"PutKeyPolicy", "{\"KeyId\":\"%K\",\"Policy\":\"{\\\"a\\\":\\\"\xe2\x82\xac\\\"}\"}", VALIDATION},
        {"GetKeyPolicy", "{\"KeyId\":\"%K\",\"PolicyName\":\"other\"}", "{\"__type\":\"NotFoundException\""},
        {"EnableKeyRotation", "{\"KeyId\":\"%K\",\"RotationPeriodInDays\":89}", VALIDATION},
        {"EnableKeyRotation", "{\"KeyId\":\"%K\",\"RotationPeriodInDays\":\"90\"}", SERIALIZATION},
        {"ListKeyRotations", "{\"KeyId\":\"%K\",\"IncludeKeyMaterial\":\"SOME\"}", VALIDATION},
        {"ListKeyRotations", "{\"KeyId\":\"%K\",\"Limit\":1001}", VALIDATION},
        {"CreateAlias", "{\"TargetKeyId\":\"%K\"}", NULL_MEMBER("aliasName")},
        {"CreateAlias", "{\"AliasName\":\"alias/x\"}", NULL_MEMBER("targetKeyId")},
        {"CreateAlias", "{\"AliasName\":7,\"TargetKeyId\":\"%K\"}", SERIALIZATION},
        {"CreateAlias", "{\"AliasName\":\"alias/aws/x\",\"TargetKeyId\":\"%K\"}",
         "{\"__type\":\"InvalidAliasNameException\""},
        {"ListAliases", "{\"Limit\":101}", VALIDATION},
        {"ListAliases", "{\"Marker\":\"x\"}", "{\"__type\":\"InvalidMarkerException\"}"},
        {"TagResource", "{\"KeyId\":\"%K\"}", NULL_MEMBER("tags")},
        {"TagResource", "{\"KeyId\":\"%K\",\"Tags\":{}}", SERIALIZATION},
        {"UntagResource", "{\"KeyId\":\"%K\",\"TagKeys\":[[]]}", VALIDATION},
        {"UpdateKeyDescription", "{\"KeyId\":\"%K\",\"Description\":[]}", SERIALIZATION},
        {"GenerateRandom", "{\"NumberOfBytes\":0}", VALIDATION},
        {"ReEncrypt", "{\"CiphertextBlob\":\"%B\"}", NULL_MEMBER("destinationKeyId")},
        {"ReEncrypt", "{\"CiphertextBlob\":\"AAAA\",\"DestinationKeyId\":\"%K\"}",
         "{\"__type\":\"InvalidCiphertextException\"}"},
        {"UpdatePrimaryRegion", "{\"KeyId\":\"%K\"}", NULL_MEMBER("primaryRegion")},
        {"UpdatePrimaryRegion", "{\"KeyId\":\"%K\",\"PrimaryRegion\":\"us-east-1\"}",
         "{\"__type\":\"NotFoundException\""},
        {"CreateGrant", "{\"KeyId\":\"%K\",\"Operations\":[\"Encrypt\"]}", VALIDATION},
        {"CreateGrant", "{\"KeyId\":\"%K\",\"GranteePrincipal\":\"x\",\"Operations\":[\"Encrypt\"]}",
         "{\"__type\":\"InvalidArnException\""},
        {"RetireGrant", "{\"GrantToken\":\"AAAA\"}", "{\"__type\":\"InvalidGrantTokenException\"}"},
        {"RevokeGrant", "{\"KeyId\":\"%K\",\"GrantId\":\"x\"}", "{\"__type\":\"InvalidGrantIdException\""},
        {"Unheard", "{}", "{\"__type\":\"UnknownOperationException\"}"},
    };
    check(rows, ARRAY_LEN(rows));
}

static void key_ids(void **state) {
#define NOT_FOUND(text) "{\"__type\":\"NotFoundException\",\"message\":\"" text "\"}"
    static const struct row rows[] = {
        {"DescribeKey", "{\"KeyId\":\"fake-key-id\"}", NOT_FOUND("Invalid keyId 'fake-key-id'")},
        {"DescribeKey", "{\"KeyId\":\"mrk-zzz\"}", NOT_FOUND("Invalid keyId 'mrk-zzz'")},
        {"DescribeKey", "{\"KeyId\":\"../../../../etc/passwd\"}", NOT_FOUND("Invalid keyId '../../../../etc/passwd'")},
        {"DescribeKey", "{\"KeyId\":\"1234abcd-12ab-34cd-56ef-1234567890ab\"}",
         NOT_FOUND("Key 'arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab' does not exist")},
        {"DescribeKey", "{\"KeyId\":\"arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab\"}",
         NOT_FOUND("Invalid arn us-east-1")},
        {"DescribeKey", "{\"KeyId\":\"arn:aws:s3:us-west-2:111122223333:key/x\"}",
         NOT_FOUND("Invalid arn arn:aws:s3:us-west-2:111122223333:key/x")},
        {"DescribeKey", "{\"KeyId\":\"arn:aws:kms:us-west-2:111122223333:key/x\"}", NOT_FOUND("Invalid keyId 'x'")},
        {"DescribeKey", "{\"KeyId\":\"arn:\"}", NOT_FOUND("Invalid arn arn:")},
        {"DescribeKey", "{\"KeyId\":\"alias/x\"}",
         NOT_FOUND("Alias arn:aws:kms:us-west-2:111122223333:alias/x is not found.")},
        {"DisableKey", "{\"KeyId\":\"alias/x\"}", NOT_FOUND("Invalid keyId 'alias/x'")},
        {"DescribeKey", "{\"KeyId\":\"arn:aws:kms:us-west-2:444455556666:key/1234abcd-12ab-34cd-56ef-1234567890ab\"}",
         "{\"__type\":\"AccessDeniedException\",\"Message\":\"User: arn:aws:iam::111122223333:root is not authorized "
         "to perform: kms:DescribeKey on this resource because "},
    };
    check(rows, ARRAY_LEN(rows));
}

static void deep_and_long(void **state) {
    BUF_AUTO(deep, 1 << 20);
    buf_append_str(&deep, "{\"KeyId\":");
    for (int i = 0; i < 200000; i++)
        buf_append_byte(&deep, '[');
    AUTO_FREE char *answer = call("DescribeKey", buf_str(&deep), 400);
    assert_string_equal(answer, SERIALIZATION "}");
    BUF_AUTO(wide, 1 << 20);
    buf_append_str(&wide, "{\"KeyId\":\"");
    for (int i = 0; i < 100000; i++)
        buf_append_byte(&wide, 'k');
    buf_append_str(&wide, "\"}");
    AUTO_FREE char *long_answer = call("DescribeKey", buf_str(&wide), 400);
    assert_non_null(strstr(long_answer, "less than or equal to 2048"));
}

/* An hour back: what was made "later" works, is in no passing state, and its use is known. */
static void a_clock_that_goes_back(void **state) {
    const int64_t earlier = now - 3600000;
    AUTO_FREE char *name = fill("{\"KeyId\":\"%K\"}");
    AUTO_FREE char *sealing = fill("{\"KeyId\":\"%K\",\"Plaintext\":\"aGk=\"}");
    AUTO_FREE char *window = fill("{\"KeyId\":\"%K\",\"PendingWindowInDays\":7}");
    mem_free(call_at(earlier, "Encrypt", sealing, 200));
    AUTO_FREE char *described = call_at(earlier, "DescribeKey", name, 200);
    AUTO_FREE char *key_state = member(described, "KeyMetadata", "KeyState");
    assert_string_equal(key_state, "Enabled");
    AUTO_FREE char *usage = call_at(earlier, "GetKeyLastUsage", name, 200);
    AUTO_FREE char *operation = member(usage, "KeyLastUsage", "Operation");
    assert_string_equal(operation, "Encrypt");
    mem_free(call("ScheduleKeyDeletion", window, 200));
    mem_free(call_at(earlier, "DescribeKey", name, 200));
    mem_free(call_at(earlier, "CancelKeyDeletion", name, 200));
    mem_free(call_at(earlier, "EnableKey", name, 200));
    mem_free(call("Encrypt", sealing, 200));
}

/* Numbers and booleans count as their text. */
static void contexts_of_other_types(void **state) {
    AUTO_FREE char *sealing = fill("{\"KeyId\":\"%K\",\"Plaintext\":\"aGk=\",\"EncryptionContext\":"
                                   "{\"a\":-7,\"b\":true,\"c\":false,\"d\":\"7\",\"e\":9223372036854775807}}");
    AUTO_FREE char *sealed = call("Encrypt", sealing, 200);
    AUTO_FREE char *ciphertext = member(sealed, NULL, "CiphertextBlob");
    AUTO_FREE char *opening =
        str_format("{\"CiphertextBlob\":\"%s\",\"EncryptionContext\":{\"a\":\"-7\",\"b\":\"true\","
                   "\"c\":\"false\",\"d\":7,\"e\":\"9223372036854775807\"}}",
                   ciphertext);
    mem_free(call("Decrypt", opening, 200));
}

static void empty_bodies_and_unknown_members(void **state) {
    AUTO_FREE char *body = str_format("{\"KeyId\":\"%s\",\"Whatever\":[1,2],\"DryRun\":null}", key_arn);
    static const char *const silent[] = {"DisableKey", "EnableKey", "EnableKey"};
    for (size_t i = 0; i < ARRAY_LEN(silent); i++) {
        AUTO_FREE char *answer = call(silent[i], body, 200);
        assert_string_equal(answer, "");
    }
    AUTO_FREE char *answer = call("DescribeKey", body, 200);
    assert_non_null(strstr(answer, "\"KeyState\":\"Enabled\""));
}

static void accounts_files(void **state) {
#define ACCOUNT(rest) "{\"accounts\":[{\"account\":\"111122223333\",\"access_key_id\":\"A\"" rest "}]}"
#define SECRET ",\"secret_access_key\":\"0123456789abcdef\""
    static const char *const bad[] = {
        "",
        "{}",
        "{\"accounts\":[]}",
        "{\"accounts\":[7]}",
        "{\"accounts\":[{}]}",
        ACCOUNT(""),
        ACCOUNT(",\"secret_access_key\":\"short\""),
        ACCOUNT(SECRET ",\"principal\":\"arn:aws:iam::444455556666:root\""),
        ACCOUNT(SECRET ",\"principal\":\"arn:aws:iam::111122223333:group/g\""),
        ACCOUNT(SECRET ",\"principal\":\"root\""),
        ACCOUNT(SECRET ",\"unknown\":1"),
        "{\"accounts\":[{\"account\":\"1\",\"access_key_id\":\"A\"" SECRET "}]}",
        "{\"accounts\":[{\"account\":\"111122223333\",\"access_key_id\":\"\"" SECRET "}]}",
        "{\"accounts\":[{\"account\":\"111122223333\",\"access_key_id\":\"A\"" SECRET
        "},{\"account\":\"444455556666\",\"access_key_id\":\"A\"" SECRET "}]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct kmsd_accounts a = {0};
        ASSERT_ERR(INVALID, kmsd_accounts_parse(slice_str(bad[i]), "aws", &a));
        assert_null(a.list);
    }
    AUTO(kmsd_accounts_done) struct kmsd_accounts a = {0};
    ASSERT_OK(kmsd_accounts_parse(
        slice_str(ACCOUNT(SECRET ",\"principal\":\"arn:aws:sts::111122223333:assumed-role/R/s\"")), "aws", &a));
    assert_non_null(kmsd_accounts_find(&a, "A"));
    assert_null(kmsd_accounts_find(&a, "B"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_bodies),
        cmocka_unit_test(validation),
        cmocka_unit_test(key_ids),
        cmocka_unit_test(deep_and_long),
        cmocka_unit_test(accounts_files),
        cmocka_unit_test(contexts_of_other_types),
        cmocka_unit_test(a_clock_that_goes_back),
        cmocka_unit_test(empty_bodies_and_unknown_members),
    };
    if (is_err(secret_start(1 << 20, true))) return 1;
    json_start_wiping();
    log_start("test", LOG_ERROR);
    return cmocka_run_group_tests(tests, setup, teardown);
}
