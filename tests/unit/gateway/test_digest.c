#include "testing.h"

#include "gateway/s3_digest.h"

/* Of "hello": by sha256sum, md5sum | base64, and zlib's crc32 in base64. */
#define HELLO_SHA256 "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
#define HELLO_SHA256_BASE64 "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="
#define HELLO_MD5 "XUFAKrxLKna5cZ2REBfFkg=="
#define HELLO_CRC32 "NhCmhg=="
#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static enum s3_error check(struct s3_announced announced, const char *body) {
    AUTO(s3_digest_done) struct s3_digest d = {0};
    struct s3_refusal refusal = {0};
    if (!s3_digest_start(&announced, &d, &refusal)) return refusal.error;
    for (const char *p = body; *p != '\0'; p++)
        if (!s3_digest_update(&d, slice_make(p, 1), &refusal)) return refusal.error;
    if (!s3_digest_finish(&d, &refusal)) return refusal.error;
    return S3_ERROR_NONE;
}

static void right_digests_pass(void **state) {
    assert_int_equal(check((struct s3_announced){.length = 5}, "hello"), S3_ERROR_NONE);
    assert_int_equal(check((struct s3_announced){.content_sha256 = "UNSIGNED-PAYLOAD", .length = 5}, "hello"),
                     S3_ERROR_NONE);
    assert_int_equal(check((struct s3_announced){.content_sha256 = EMPTY_SHA256, .length = -1}, ""), S3_ERROR_NONE);
    assert_int_equal(check((struct s3_announced){.content_sha256 = HELLO_SHA256,
                                                 .content_md5 = HELLO_MD5,
                                                 .checksum_crc32 = HELLO_CRC32,
                                                 .checksum_sha256 = HELLO_SHA256_BASE64,
                                                 .length = 5},
                           "hello"),
                     S3_ERROR_NONE);
}

static void wrong_digests_are_refused(void **state) {
    assert_int_equal(check((struct s3_announced){.content_sha256 = HELLO_SHA256, .length = 5}, "hellO"),
                     S3_ERR_CONTENT_SHA256_MISMATCH);
    assert_int_equal(check((struct s3_announced){.content_sha256 = HELLO_SHA256, .length = -1}, ""),
                     S3_ERR_CONTENT_SHA256_MISMATCH);
    assert_int_equal(check((struct s3_announced){.content_sha256 = EMPTY_SHA256, .length = 5}, "hello"),
                     S3_ERR_CONTENT_SHA256_MISMATCH);
    assert_int_equal(check((struct s3_announced){.content_md5 = HELLO_MD5, .length = 5}, "hellO"), S3_ERR_BAD_DIGEST);
    assert_int_equal(check((struct s3_announced){.checksum_crc32 = HELLO_CRC32, .length = 5}, "hellO"),
                     S3_ERR_BAD_DIGEST);
    assert_int_equal(check((struct s3_announced){.checksum_sha256 = HELLO_SHA256_BASE64, .length = 5}, "hellO"),
                     S3_ERR_BAD_DIGEST);
}

static void wrong_lengths_are_refused(void **state) {
    assert_int_equal(check((struct s3_announced){.length = 4}, "hello"), S3_ERR_INCOMPLETE_BODY);
    assert_int_equal(check((struct s3_announced){.length = 6}, "hello"), S3_ERR_INCOMPLETE_BODY);
    assert_int_equal(check((struct s3_announced){.length = 0}, "h"), S3_ERR_INCOMPLETE_BODY);
}

static void malformed_announcements_are_refused(void **state) {
    static const char *const md5[] = {
        "", "x", "XUFAKrxLKna5cZ2REBfFkg=", "XUFAKrxLKna5cZ2REBfFkgA=", "5d41402abc4b2a76b9719d911017c592"};
    for (size_t i = 0; i < ARRAY_LEN(md5); i++)
        assert_int_equal(check((struct s3_announced){.content_md5 = md5[i], .length = 5}, "hello"),
                         S3_ERR_INVALID_DIGEST);
    assert_int_equal(check((struct s3_announced){.checksum_crc32 = "AAAA", .length = 5}, "hello"),
                     S3_ERR_INVALID_REQUEST);
    assert_int_equal(check((struct s3_announced){.checksum_sha256 = HELLO_CRC32, .length = 5}, "hello"),
                     S3_ERR_INVALID_REQUEST);
    assert_int_equal(check((struct s3_announced){.content_sha256 = "abc", .length = 5}, "hello"),
                     S3_ERR_INVALID_ARGUMENT);
}

static void streaming_forms_are_refused_loudly(void **state) {
    static const char *const forms[] = {
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        assert_int_equal(check((struct s3_announced){.content_sha256 = forms[i], .length = 5}, "hello"),
                         S3_ERR_NOT_IMPLEMENTED);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(right_digests_pass),
    cmocka_unit_test(wrong_digests_are_refused),
    cmocka_unit_test(wrong_lengths_are_refused),
    cmocka_unit_test(malformed_announcements_are_refused),
    cmocka_unit_test(streaming_forms_are_refused_loudly),
};
TEST_MAIN(tests)
