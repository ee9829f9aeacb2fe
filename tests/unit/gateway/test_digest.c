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

/* crc32c and crc64nvme by a bitwise implementation that agrees with the catalogues' check values; sha1 by sha1sum | xxd
 * -r -p | base64. */
static const char *const hello_checksums[S3_CHECKSUM_MAX] = {
    [S3_CHECKSUM_CRC32] = HELLO_CRC32,          [S3_CHECKSUM_CRC32C] = "mnG7TA==",
    [S3_CHECKSUM_CRC64NVME] = "M3eFcAZSQlc=",   [S3_CHECKSUM_SHA1] = "qvTGHdzF6KLavt4PO0gs2a6pQ00=",
    [S3_CHECKSUM_SHA256] = HELLO_SHA256_BASE64,
};

static struct s3_announced with_checksum(enum s3_checksum_kind kind, const char *value) {
    struct s3_announced announced = {.length = 5};
    announced.checksums[kind] = value;
    return announced;
}

static void right_digests_pass(void **state) {
    assert_int_equal(check((struct s3_announced){.length = 5}, "hello"), S3_ERROR_NONE);
    assert_int_equal(check((struct s3_announced){.content_sha256 = "UNSIGNED-PAYLOAD", .length = 5}, "hello"),
                     S3_ERROR_NONE);
    assert_int_equal(check((struct s3_announced){.content_sha256 = EMPTY_SHA256, .length = -1}, ""), S3_ERROR_NONE);
    assert_int_equal(
        check((struct s3_announced){.content_sha256 = HELLO_SHA256, .content_md5 = HELLO_MD5, .length = 5}, "hello"),
        S3_ERROR_NONE);
    for (unsigned i = 0; i < S3_CHECKSUM_MAX; i++)
        assert_int_equal(check(with_checksum((enum s3_checksum_kind)i, hello_checksums[i]), "hello"), S3_ERROR_NONE);
}

static void wrong_digests_are_refused(void **state) {
    assert_int_equal(check((struct s3_announced){.content_sha256 = HELLO_SHA256, .length = 5}, "hellO"),
                     S3_ERR_CONTENT_SHA256_MISMATCH);
    assert_int_equal(check((struct s3_announced){.content_sha256 = HELLO_SHA256, .length = -1}, ""),
                     S3_ERR_CONTENT_SHA256_MISMATCH);
    assert_int_equal(check((struct s3_announced){.content_sha256 = EMPTY_SHA256, .length = 5}, "hello"),
                     S3_ERR_CONTENT_SHA256_MISMATCH);
    assert_int_equal(check((struct s3_announced){.content_md5 = HELLO_MD5, .length = 5}, "hellO"), S3_ERR_BAD_DIGEST);
    for (unsigned i = 0; i < S3_CHECKSUM_MAX; i++)
        assert_int_equal(check(with_checksum((enum s3_checksum_kind)i, hello_checksums[i]), "hellO"),
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
    assert_int_equal(check(with_checksum(S3_CHECKSUM_CRC32, "AAAA"), "hello"), S3_ERR_INVALID_REQUEST);
    assert_int_equal(check(with_checksum(S3_CHECKSUM_SHA256, HELLO_CRC32), "hello"), S3_ERR_INVALID_REQUEST);
    struct s3_announced two = with_checksum(S3_CHECKSUM_CRC32, HELLO_CRC32);
    two.checksums[S3_CHECKSUM_SHA256] = HELLO_SHA256_BASE64;
    assert_int_equal(check(two, "hello"), S3_ERR_INVALID_REQUEST);
    struct s3_announced other = with_checksum(S3_CHECKSUM_CRC32, HELLO_CRC32);
    other.sdk_algorithm = "SHA256";
    assert_int_equal(check(other, "hello"), S3_ERR_INVALID_REQUEST);
    other.sdk_algorithm = "CRC32";
    assert_int_equal(check(other, "hello"), S3_ERROR_NONE);
    assert_int_equal(check((struct s3_announced){.sdk_algorithm = "CRC32", .length = 5}, "hello"),
                     S3_ERR_INVALID_REQUEST);
    assert_int_equal(check((struct s3_announced){.trailer = "x-amz-checksum-crc32", .length = 5}, "hello"),
                     S3_ERR_INVALID_REQUEST);
    assert_int_equal(check((struct s3_announced){.content_sha256 = "abc", .length = 5}, "hello"),
                     S3_ERR_INVALID_ARGUMENT);
}

/* "hello" with a trailer; NULL: it does not come. */
static enum s3_error check_trailer(const char *announced, const char *name, const char *value) {
    const struct s3_announced headers = {
        .content_sha256 = "STREAMING-UNSIGNED-PAYLOAD-TRAILER", .trailer = announced, .length = 5};
    AUTO(s3_digest_done) struct s3_digest d = {0};
    struct s3_refusal refusal = {0};
    char text[S3_CHECKSUM_TEXT_BYTES];
    if (!s3_digest_start(&headers, &d, &refusal) || !s3_digest_update(&d, slice_str("hello"), &refusal))
        return refusal.error;
    s3_digest_checksum_text(&d, text);
    assert_string_equal(text, "");
    if (name != NULL && !s3_digest_trailer(&d, name, value, &refusal)) return refusal.error;
    if (!s3_digest_finish(&d, &refusal)) return refusal.error;
    s3_digest_checksum_text(&d, text);
    assert_string_equal(text, value != NULL ? value : "");
    return S3_ERROR_NONE;
}

static void trailers_are_held_to(void **state) {
    assert_int_equal(check_trailer("x-amz-checksum-crc32", "x-amz-checksum-crc32", HELLO_CRC32), S3_ERROR_NONE);
    assert_int_equal(check_trailer("X-Amz-Checksum-SHA256", "x-amz-checksum-sha256", HELLO_SHA256_BASE64),
                     S3_ERROR_NONE);
    assert_int_equal(check_trailer(NULL, NULL, NULL), S3_ERROR_NONE);
    assert_int_equal(check_trailer("x-amz-checksum-crc32", "x-amz-checksum-crc32", "AAAAAA=="), S3_ERR_BAD_DIGEST);
    assert_int_equal(check_trailer("x-amz-checksum-crc32", "x-amz-checksum-crc32", "AAAA"), S3_ERR_INVALID_REQUEST);
    assert_int_equal(check_trailer("x-amz-checksum-crc32", NULL, NULL), S3_ERR_MALFORMED_TRAILER);
    assert_int_equal(check_trailer("x-amz-checksum-crc32", "x-amz-checksum-crc32c", "mnG7TA=="),
                     S3_ERR_MALFORMED_TRAILER);
    assert_int_equal(check_trailer(NULL, "x-amz-checksum-crc32", HELLO_CRC32), S3_ERR_MALFORMED_TRAILER);
    assert_int_equal(check_trailer("x-amz-meta-a", NULL, NULL), S3_ERR_INVALID_REQUEST);
}

static void the_ecdsa_forms_are_refused_loudly(void **state) {
    static const char *const forms[] = {"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
                                        "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER"};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        assert_int_equal(check((struct s3_announced){.content_sha256 = forms[i], .length = 5}, "hello"),
                         S3_ERR_NOT_IMPLEMENTED);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(right_digests_pass),        cmocka_unit_test(wrong_digests_are_refused),
    cmocka_unit_test(wrong_lengths_are_refused), cmocka_unit_test(malformed_announcements_are_refused),
    cmocka_unit_test(trailers_are_held_to),      cmocka_unit_test(the_ecdsa_forms_are_refused_loudly),
};
TEST_MAIN(tests)
