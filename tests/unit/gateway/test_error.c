#include "testing.h"

#include <string.h>

#include "gateway/s3_error.h"

/* ClickHouse repeats a request that failed with a 5xx up to 500 times. */
static void a_missing_lease_is_never_a_5xx(void **state) {
    enum s3_error e = s3_error_of(ERR_NO_LEASE, S3_ERR_NO_SUCH_KEY);
    assert_string_equal(s3_error_code(e), "AccessDenied");
    assert_int_equal(s3_error_status(e), 403);
    assert_int_equal(s3_error_status(s3_error_of(ERR_CONFLICT, S3_ERR_NO_SUCH_KEY)), 403);
}

static void every_error_has_an_s3_form(void **state) {
    for (int code = ERR_NONE + 1; code < ERR_MAX; code++) {
        enum s3_error e = s3_error_of((enum err_code)code, S3_ERR_NO_SUCH_UPLOAD);
        assert_true(e > S3_ERROR_NONE && e < S3_ERROR_MAX);
        assert_true(s3_error_status(e) >= 400);
    }
    assert_string_equal(s3_error_code(s3_error_of(ERR_NOT_FOUND, S3_ERR_NO_SUCH_UPLOAD)), "NoSuchUpload");
}

static void the_document_is_escaped(void **state) {
    BUF_AUTO(out, 4096);
    s3_error_xml(S3_ERR_NO_SUCH_KEY, "a < b", slice_str("/b/<&>"), "00FF", &out);
    const char *text = buf_str(&out);
    assert_non_null(strstr(text, "<Code>NoSuchKey</Code>"));
    assert_non_null(strstr(text, "<Message>a &lt; b</Message>"));
    assert_non_null(strstr(text, "<Resource>/b/&lt;&amp;&gt;</Resource>"));
    assert_non_null(strstr(text, "<RequestId>00FF</RequestId>"));
    buf_clear(&out);
    s3_error_xml(S3_ERR_NO_SUCH_KEY, NULL, slice_str(""), "1", &out);
    assert_non_null(strstr(buf_str(&out), s3_error_text(S3_ERR_NO_SUCH_KEY)));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_missing_lease_is_never_a_5xx),
    cmocka_unit_test(every_error_has_an_s3_form),
    cmocka_unit_test(the_document_is_escaped),
};
TEST_MAIN(tests)
