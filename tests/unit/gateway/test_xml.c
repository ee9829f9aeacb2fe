#include "testing.h"

#include "gateway/s3_xml.h"

#define PART(n, etag) "<Part><PartNumber>" n "</PartNumber><ETag>" etag "</ETag></Part>"

static bool complete(const char *body, struct s3_part_list *list, struct s3_refusal *refusal) {
    *refusal = (struct s3_refusal){0};
    return s3_complete_parse(slice_str(body), list, refusal);
}

static void expect_complete_refused(const char *body, enum s3_error error) {
    struct s3_part_list list;
    struct s3_refusal refusal;
    if (complete(body, &list, &refusal)) fail_msg("accepted: %s", body);
    assert_string_equal(s3_error_code(refusal.error), s3_error_code(error));
}

static void completions_are_read(void **state) {
    struct s3_part_list list;
    struct s3_refusal refusal;
    assert_true(complete("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">" PART(
                             "1", "&quot;aa&quot;") "<Part><ETag>bb</ETag><ChecksumCRC32>x</"
                                                    "ChecksumCRC32><PartNumber>10000</PartNumber></Part>"
                                                    "</CompleteMultipartUpload>",
                         &list, &refusal));
    assert_int_equal(list.count, 2);
    assert_int_equal(list.parts[0].number, 1);
    assert_string_equal(list.parts[0].etag, "aa");
    assert_int_equal(list.parts[1].number, 10000);
    assert_string_equal(list.parts[1].etag, "bb");
    assert_false(list.parts[0].has_checksum);
    assert_true(list.parts[1].has_checksum && list.parts[1].kind == S3_CHECKSUM_CRC32);
    assert_string_equal(list.parts[1].checksum, "x");
    s3_part_list_done(&list);
}

static void bad_completions_are_refused(void **state) {
    expect_complete_refused("", S3_ERR_MALFORMED_XML);
    expect_complete_refused("<CompleteMultipartUpload/>", S3_ERR_MALFORMED_XML);
    expect_complete_refused("<CompleteMultipartUpload>" PART("1", "a"), S3_ERR_MALFORMED_XML);
    expect_complete_refused("<Other>" PART("1", "a") "</Other>", S3_ERR_MALFORMED_XML);
    expect_complete_refused(
        "<!DOCTYPE x [<!ENTITY a \"b\">]><CompleteMultipartUpload>" PART("1", "&a;") "</CompleteMultipartUpload>",
        S3_ERR_MALFORMED_XML);
#define WRAP(inside) "<CompleteMultipartUpload>" inside "</CompleteMultipartUpload>"
    expect_complete_refused(WRAP("<Part><PartNumber>1</PartNumber></Part>"), S3_ERR_MALFORMED_XML);
    expect_complete_refused(WRAP("<Part><ETag>a</ETag></Part>"), S3_ERR_MALFORMED_XML);
    expect_complete_refused(WRAP("<Part><PartNumber>1</PartNumber><ETag>a</ETag><ChecksumCRC32>x</ChecksumCRC32>"
                                 "<ChecksumSHA1>x</ChecksumSHA1></Part>"),
                            S3_ERR_MALFORMED_XML);
    expect_complete_refused(
        WRAP("<Part><PartNumber>1</PartNumber><ETag>a</ETag><ChecksumSHA256>0123456789012345678901234"
             "5678901234567890123456789012345678901234567890123456789</ChecksumSHA256></Part>"),
        S3_ERR_MALFORMED_XML);
    expect_complete_refused(WRAP(PART("0", "a")), S3_ERR_INVALID_ARGUMENT);
    expect_complete_refused(WRAP(PART("10001", "a")), S3_ERR_INVALID_ARGUMENT);
    expect_complete_refused(WRAP(PART("-1", "a")), S3_ERR_INVALID_ARGUMENT);
    expect_complete_refused(WRAP(PART("x", "a")), S3_ERR_INVALID_ARGUMENT);
    expect_complete_refused(WRAP(PART("1", "")), S3_ERR_INVALID_PART);
    expect_complete_refused(
        WRAP(PART("1", "0123456789012345678901234567890123456789012345678901234567890123456789012345678901")),
        S3_ERR_INVALID_PART);
    expect_complete_refused(WRAP(PART("2", "a") PART("1", "b")), S3_ERR_INVALID_PART_ORDER);
    expect_complete_refused(WRAP(PART("1", "a") PART("1", "b")), S3_ERR_INVALID_PART_ORDER);
}

/* The longest list that S3 allows, and one more. */
static void ten_thousand_parts_are_read(void **state) {
    BUF_AUTO(body, S3_XML_MAX_BYTES);
    buf_append_str(&body, "<CompleteMultipartUpload>");
    for (int i = 1; i <= S3_PARTS_MAX; i++)
        buf_printf(&body,
                   "<Part><PartNumber>%d</PartNumber><ETag>&quot;0123456789abcdef0123456789abcdef&quot;</ETag>"
                   "<ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part>",
                   i);
    size_t len = body.len;
    buf_append_str(&body, "</CompleteMultipartUpload>");
    ASSERT_OK(buf_check(&body));
    struct s3_part_list list;
    struct s3_refusal refusal = {0};
    if (!s3_complete_parse(buf_slice(&body), &list, &refusal)) fail_msg("%s", refusal.message);
    assert_int_equal(list.count, S3_PARTS_MAX);
    s3_part_list_done(&list);
    body.len = len;
    buf_append_str(&body, "<Part><PartNumber>10001</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>");
    assert_false(s3_complete_parse(buf_slice(&body), &list, &refusal));
}

static void deletions_are_read(void **state) {
    struct s3_delete_list list;
    struct s3_refusal refusal = {0};
    assert_true(s3_delete_parse(slice_str("<Delete><Object><Key>a &amp; b</Key></Object><Quiet>true</Quiet>"
                                          "<Object><Key>c/d</Key></Object></Delete>"),
                                &list, &refusal));
    assert_int_equal(list.count, 2);
    assert_string_equal(list.keys[0], "a & b");
    assert_string_equal(list.keys[1], "c/d");
    assert_true(list.quiet);
    s3_delete_list_done(&list);
}

static void bad_deletions_are_refused(void **state) {
    static const char *const bad[] = {
        "",
        "<Delete/>",
        "<Delete><Object/></Delete>",
        "<Delete><Object><Key/></Object></Delete>",
        "<X><Object><Key>a</Key></Object></X>",
        "<Delete><Object><Key>a</Key></Object>",
        "<Delete><Object><Key>a</Key></Object><Object><Key>b</Key><VersionId>1</VersionId></Object></Delete>"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct s3_delete_list list;
        struct s3_refusal refusal = {0};
        if (s3_delete_parse(slice_str(bad[i]), &list, &refusal)) fail_msg("accepted: %s", bad[i]);
        assert_int_not_equal(refusal.error, S3_ERROR_NONE);
    }
    BUF_AUTO(body, S3_XML_MAX_BYTES);
    buf_append_str(&body, "<Delete>");
    for (int i = 0; i <= S3_DELETE_MAX; i++)
        buf_printf(&body, "<Object><Key>k%d</Key></Object>", i);
    buf_append_str(&body, "</Delete>");
    struct s3_delete_list list;
    struct s3_refusal refusal = {0};
    assert_false(s3_delete_parse(buf_slice(&body), &list, &refusal));
}

static void bucket_configurations_are_read(void **state) {
    struct s3_refusal refusal = {0};
    AUTO_FREE char *none = NULL, *west = NULL, *bad = NULL;
    assert_true(s3_create_bucket_parse(slice_str(""), &none, &refusal));
    assert_string_equal(none, "");
    assert_true(s3_create_bucket_parse(slice_str("<CreateBucketConfiguration><LocationConstraint>us-west-2"
                                                 "</LocationConstraint></CreateBucketConfiguration>"),
                                       &west, &refusal));
    assert_string_equal(west, "us-west-2");
    assert_false(s3_create_bucket_parse(slice_str("<Create"), &bad, &refusal));
    assert_false(s3_create_bucket_parse(slice_str("<Other/>"), &bad, &refusal));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(completions_are_read),        cmocka_unit_test(bad_completions_are_refused),
    cmocka_unit_test(ten_thousand_parts_are_read), cmocka_unit_test(deletions_are_read),
    cmocka_unit_test(bad_deletions_are_refused),   cmocka_unit_test(bucket_configurations_are_read),
};
TEST_MAIN(tests)
