#include "testing.h"

#include "gateway/s3_request.h"

static bool parse(const char *method, const char *path, const char *query, bool copies, struct s3_request *r,
                  struct s3_refusal *refusal) {
    *refusal = (struct s3_refusal){0};
    return s3_request_parse(method, slice_str(path), slice_str(query), copies, r, refusal);
}

static void expect(const char *method, const char *path, const char *query, bool copies, enum s3_operation op) {
    struct s3_request r;
    struct s3_refusal refusal;
    if (!parse(method, path, query, copies, &r, &refusal))
        fail_msg("%s %s?%s: %s", method, path, query, refusal.message);
    assert_string_equal(s3_operation_name(r.operation), s3_operation_name(op));
    s3_request_done(&r);
}

static void expect_refusal(const char *method, const char *path, const char *query, enum s3_error error) {
    struct s3_request r;
    struct s3_refusal refusal;
    if (parse(method, path, query, false, &r, &refusal)) fail_msg("%s %s?%s was accepted", method, path, query);
    assert_string_equal(s3_error_code(refusal.error), s3_error_code(error));
    assert_true(refusal.message[0] != '\0');
}

static void operations_are_told_apart(void **state) {
    expect("GET", "/", "", false, S3_LIST_BUCKETS);
    expect("GET", "/", "x-id=ListBuckets", false, S3_LIST_BUCKETS);
    expect("HEAD", "/b", "", false, S3_HEAD_BUCKET);
    expect("HEAD", "/b/", "", false, S3_HEAD_BUCKET);
    expect("PUT", "/b/", "", false, S3_CREATE_BUCKET);
    expect("GET", "/b", "location", false, S3_GET_BUCKET_LOCATION);
    expect("GET", "/b/", "location=", false, S3_GET_BUCKET_LOCATION);
    expect("GET", "/b", "list-type=2&prefix=a%2Fb", false, S3_LIST_OBJECTS_V2);
    expect("GET", "/b", "delimiter=&max-keys=1000&prefix=", false, S3_LIST_OBJECTS_V1);
    expect("GET", "/b", "", false, S3_LIST_OBJECTS_V1);
    expect("GET", "/b", "uploads=&prefix=x", false, S3_LIST_UPLOADS);
    expect("POST", "/b", "delete", false, S3_DELETE_OBJECTS);
    expect("GET", "/b/k", "", false, S3_GET_OBJECT);
    expect("GET", "/b/k", "response-content-type=text%2Fplain", false, S3_GET_OBJECT);
    expect("GET", "/b/k", "partNumber=2", false, S3_GET_OBJECT);
    expect("GET", "/b/k", "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00", false, S3_GET_OBJECT);
    expect("HEAD", "/b/k", "", false, S3_HEAD_OBJECT);
    expect("PUT", "/b/k", "", false, S3_PUT_OBJECT);
    expect("PUT", "/b/k", "", true, S3_COPY_OBJECT);
    expect("PUT", "/b/k", "uploadId=u&partNumber=1", false, S3_UPLOAD_PART);
    expect("PUT", "/b/k", "partNumber=1&uploadId=u", true, S3_UPLOAD_PART_COPY);
    expect("DELETE", "/b/k", "", false, S3_DELETE_OBJECT);
    expect("DELETE", "/b/k", "uploadId=u", false, S3_ABORT_UPLOAD);
    expect("POST", "/b/k", "uploads", false, S3_CREATE_UPLOAD);
    expect("POST", "/b/k", "uploadId=u", false, S3_COMPLETE_UPLOAD);
    expect("GET", "/b/k", "uploadId=u&max-parts=3", false, S3_LIST_PARTS);
}

static void subresources_are_never_ignored(void **state) {
    static const char *const names[] = {"acl",        "tagging",     "policy",    "versioning",  "versions",
                                        "encryption", "object-lock", "lifecycle", "retention",   "legal-hold",
                                        "cors",       "torrent",     "restore",   "versionId=1", "attributes",
                                        "website",    "something"};
    static const char *const methods[] = {"PUT", "DELETE", "HEAD", "POST"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        for (size_t m = 0; m < ARRAY_LEN(methods); m++) {
            expect_refusal(methods[m], "/b/k", names[i], S3_ERR_NOT_IMPLEMENTED);
            expect_refusal(methods[m], "/b", names[i], S3_ERR_NOT_IMPLEMENTED);
        }
    static const char *const not_of_objects[] = {"policy",    "encryption", "object-lock", "lifecycle",
                                                 "retention", "versions",   "legal-hold",  "cors",
                                                 "torrent",   "restore",    "something",   "versionId=1"};
    for (size_t i = 0; i < ARRAY_LEN(not_of_objects); i++)
        expect_refusal("GET", "/b/k", not_of_objects[i], S3_ERR_NOT_IMPLEMENTED);
    static const char *const not_of_buckets[] = {"analytics", "inventory", "metrics",       "attributes",
                                                 "torrent",   "retention", "versionId=null"};
    for (size_t i = 0; i < ARRAY_LEN(not_of_buckets); i++)
        expect_refusal("GET", "/b", not_of_buckets[i], S3_ERR_NOT_IMPLEMENTED);
    expect_refusal("PUT", "/b/k", "uploadId=u", S3_ERR_NOT_IMPLEMENTED);
    expect_refusal("DELETE", "/b", "", S3_ERR_NOT_IMPLEMENTED);
    expect_refusal("PATCH", "/b/k", "", S3_ERR_NOT_IMPLEMENTED);
    expect_refusal("POST", "/b/k", "", S3_ERR_NOT_IMPLEMENTED);
    expect_refusal("POST", "/", "", S3_ERR_NOT_IMPLEMENTED);
    expect_refusal("GET", "/b", "list-type=1", S3_ERR_INVALID_ARGUMENT);
}

static void subresources_can_be_read(void **state) {
    static const char *const of_buckets[] = {"acl", "versioning", "policy", "cors", "encryption", "publicAccessBlock"};
    for (size_t i = 0; i < ARRAY_LEN(of_buckets); i++)
        expect("GET", "/b", of_buckets[i], false, S3_GET_SUBRESOURCE);
    expect("GET", "/b/k", "acl", false, S3_GET_SUBRESOURCE);
    expect("GET", "/b/k", "tagging&versionId=null", false, S3_GET_SUBRESOURCE);
    expect("GET", "/b/k", "attributes", false, S3_GET_OBJECT_ATTRIBUTES);
    expect("GET", "/b", "versions&prefix=a&key-marker=b&version-id-marker=null", false, S3_LIST_VERSIONS);
    expect("GET", "/b/k", "versionId=null", false, S3_GET_OBJECT);
    expect("DELETE", "/b/k", "versionId=null", false, S3_DELETE_OBJECT);
    /* Two at once are none of them. */
    expect_refusal("GET", "/b", "acl&policy", S3_ERR_NOT_IMPLEMENTED);
    expect_refusal("GET", "/b", "versioning&prefix=a", S3_ERR_NOT_IMPLEMENTED);
    expect_refusal("GET", "/b/k", "acl&tagging", S3_ERR_NOT_IMPLEMENTED);
}

static void keys_are_taken_as_they_are(void **state) {
    static const struct {
        const char *path, *key;
    } cases[] = {
        {"/b/a/b", "a/b"},
        {"/b//a", "/a"},
        {"/b/a//b/", "a//b/"},
        {"/b/../x", "../x"},
        {"/b/.", "."},
        {"/b/a%2Fb", "a/b"},
        {"/b/a+b", "a+b"},
        {"/b/a%20b", "a b"},
        {"/b/%C3%A9", "\xc3\xa9"},
        {"/b/%e2%82%ac", "\xe2\x82\xac"},
        {"/b/%25", "%"},
        {"/b/%0A", "\n"},
        {"/b//", "/"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct s3_request r;
        struct s3_refusal refusal;
        if (!parse("GET", cases[i].path, "", false, &r, &refusal)) fail_msg("%s: %s", cases[i].path, refusal.message);
        assert_string_equal(r.bucket, "b");
        assert_string_equal(r.key, cases[i].key);
        s3_request_done(&r);
    }
}

static void bad_paths_are_refused(void **state) {
    expect_refusal("GET", "", "", S3_ERR_INVALID_URI);
    expect_refusal("GET", "b/k", "", S3_ERR_INVALID_URI);
    expect_refusal("GET", "//k", "", S3_ERR_INVALID_BUCKET_NAME);
    expect_refusal("GET", "/b/%", "", S3_ERR_INVALID_URI);
    expect_refusal("GET", "/b/%4", "", S3_ERR_INVALID_URI);
    expect_refusal("GET", "/b/%zz", "", S3_ERR_INVALID_URI);
    expect_refusal("GET", "/b/a%00b", "", S3_ERR_INVALID_URI);
    expect_refusal("GET", "/b/%ff", "", S3_ERR_INVALID_URI);
    expect_refusal("GET", "/b/%C0%AF", "", S3_ERR_INVALID_URI);
    expect_refusal("GET", "/b/%ED%A0%80", "", S3_ERR_INVALID_URI);
    expect_refusal("GET", "/%ff/k", "", S3_ERR_INVALID_BUCKET_NAME);
    expect_refusal("GET", "/b", "prefix=%", S3_ERR_INVALID_URI);
    expect_refusal("GET", "/b", "prefix=%ff", S3_ERR_INVALID_URI);
    expect_refusal("GET", "/b", "prefix=a&prefix=b", S3_ERR_INVALID_ARGUMENT);
}

static void key_length_is_bounded(void **state) {
    BUF_AUTO(path, 8192);
    buf_append_str(&path, "/b/");
    for (int i = 0; i < S3_KEY_MAX_BYTES; i++)
        buf_append_byte(&path, 'k');
    expect("GET", buf_str(&path), "", false, S3_GET_OBJECT);
    buf_append_byte(&path, 'k');
    expect_refusal("GET", buf_str(&path), "", S3_ERR_KEY_TOO_LONG);
}

static void parameters_are_counted(void **state) {
    BUF_AUTO(query, 8192);
    for (int i = 0; i < S3_PARAMS_MAX; i++)
        buf_printf(&query, "%sx-amz-p%d=1", i > 0 ? "&" : "", i);
    expect("GET", "/b/k", buf_str(&query), false, S3_GET_OBJECT);
    buf_append_str(&query, "&x-amz-more=1");
    expect_refusal("GET", "/b/k", buf_str(&query), S3_ERR_INVALID_URI);
}

static void parameters_have_values(void **state) {
    struct s3_request r;
    struct s3_refusal refusal;
    assert_true(parse("GET", "/b", "list-type=2&prefix=a+b%26c&&delimiter&max-keys=7", false, &r, &refusal));
    assert_string_equal(s3_param(&r, "prefix"), "a+b&c");
    assert_string_equal(s3_param(&r, "delimiter"), "");
    assert_null(s3_param(&r, "start-after"));
    uint64_t n = 0;
    assert_true(s3_param_number(&r, "max-keys", 1000, 1000, true, &n, &refusal));
    assert_int_equal(n, 7);
    assert_true(s3_param_number(&r, "absent", 42, 1000, true, &n, &refusal));
    assert_int_equal(n, 42);
    assert_false(s3_param_number(&r, "prefix", 1, 1000, true, &n, &refusal));
    s3_request_done(&r);
    assert_true(parse("GET", "/b", "max-keys=5000", false, &r, &refusal));
    assert_true(s3_param_number(&r, "max-keys", 1000, 1000, true, &n, &refusal));
    assert_int_equal(n, 1000);
    assert_false(s3_param_number(&r, "max-keys", 1000, 1000, false, &n, &refusal));
    s3_request_done(&r);
    assert_true(parse("GET", "/b", "max-keys=-1", false, &r, &refusal));
    assert_false(s3_param_number(&r, "max-keys", 1000, 1000, true, &n, &refusal));
    s3_request_done(&r);
}

static void copy_sources_are_parsed(void **state) {
    static const struct {
        const char *header, *bucket, *key;
    } good[] = {
        {"b/k", "b", "k"}, {"/b/k", "b", "k"}, {"b/a%2Fb%20c", "b", "a/b c"}, {"b//k", "b", "/k"}, {"b/k/", "b", "k/"},
    };
    struct s3_refusal refusal;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        AUTO_FREE char *bucket = NULL, *key = NULL;
        assert_true(s3_copy_source_parse(good[i].header, &bucket, &key, &refusal));
        assert_string_equal(bucket, good[i].bucket);
        assert_string_equal(key, good[i].key);
    }
    static const char *const bad[] = {"", "/", "b", "b/", "/b/", "//k", "b/%", "b/%ff", "b/%00"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        AUTO_FREE char *bucket = NULL, *key = NULL;
        assert_false(s3_copy_source_parse(bad[i], &bucket, &key, &refusal));
        assert_null(bucket);
    }
    AUTO_FREE char *bucket = NULL, *key = NULL;
    assert_false(s3_copy_source_parse("b/k?versionId=3", &bucket, &key, &refusal));
    assert_int_equal(refusal.error, S3_ERR_NOT_IMPLEMENTED);
    assert_true(s3_copy_source_parse("b/k?versionId=null", &bucket, &key, &refusal));
    assert_string_equal(key, "k");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(operations_are_told_apart),  cmocka_unit_test(subresources_are_never_ignored),
    cmocka_unit_test(keys_are_taken_as_they_are), cmocka_unit_test(bad_paths_are_refused),
    cmocka_unit_test(key_length_is_bounded),      cmocka_unit_test(parameters_are_counted),
    cmocka_unit_test(parameters_have_values),     cmocka_unit_test(copy_sources_are_parsed),
    cmocka_unit_test(subresources_can_be_read),
};
TEST_MAIN(tests)
