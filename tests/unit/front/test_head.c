#include "front/head.h"

#include <string.h>

#include "testing.h"

static void ends_are_found_however_the_bytes_come(void **state) {
    static const char *const heads[] = {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\nHost: a\n\n",
                                        "GET / HTTP/1.1\r\nHost: a\n\r\n"};
    for (size_t h = 0; h < ARRAY_LEN(heads); h++) {
        AUTO_FREE char *all = str_format("%sbody\r\n\r\n", heads[h]);
        size_t len = strlen(heads[h]);
        assert_int_equal(head_end(slice_str(all), 0), len);
        for (size_t step = 1; step < 8; step++) {
            size_t seen = 0, end = 0, had = 0;
            while (end == 0 && had < len) {
                had = had + step < len ? had + step : len;
                end = head_end(slice_make(all, had), seen);
                assert_true(end == 0 || had == len);
                seen = had;
            }
            assert_int_equal(end, len);
        }
    }
    assert_int_equal(head_end(slice_str("GET / HTTP/1.1\r\nA: b\r\n"), 0), 0);
    assert_int_equal(head_end(slice_str(""), 0), 0);
}

static void expect(const char *text, enum head_auth auth, const char *key) {
    struct head head;
    AUTO_FREE char *whole = str_format("%s\r\nHost: a\r\n\r\n", text);
    ASSERT_OK(head_parse(slice_str(whole), &head));
    if (head.auth != auth || strcmp(head.access_key_id, key) != 0)
        fail_msg("%s: got %d '%s'", text, head.auth, head.access_key_id);
}

static void keys_are_found(void **state) {
#define GET "GET /b/k HTTP/1.1"
#define V4 "Authorization: AWS4-HMAC-SHA256 Credential="
    expect(GET, HEAD_NO_AUTH, "");
    expect(GET "\r\n" V4 "AKID/20250101/us-west-2/s3/aws4_request, SignedHeaders=host, Signature=00", HEAD_KEY, "AKID");
    expect(GET "\r\naUTHORIZATION:\tAWS4-HMAC-SHA256 SignedHeaders=host,Credential=A-b_9/x", HEAD_KEY, "A-b_9");
    expect("GET /b/k?X-Amz-Algorithm=x&X-Amz-Credential=AKID%2F2025&X-Amz-Date=1 HTTP/1.1", HEAD_KEY, "AKID");
    expect("GET /b/k?X-Amz-Credential=AKID/2025 HTTP/1.1", HEAD_KEY, "AKID");
    expect("GET /b/k?AWSAccessKeyId=AKID&Signature=1 HTTP/1.1", HEAD_OTHER_SCHEME, "");
    expect(GET "\r\nAuthorization: AWS AKID:c2ln", HEAD_OTHER_SCHEME, "");
    expect(GET "\r\n" V4 "AKID", HEAD_MALFORMED, "");
    expect(GET "\r\n" V4 "/x", HEAD_MALFORMED, "");
    expect(GET "\r\n" V4 "A\xc3\xa4/x", HEAD_MALFORMED, "");
    expect(GET "\r\n" V4 "A/x\r\n" V4 "A/x", HEAD_MALFORMED, "");
    expect("GET /b/k?X-Amz-Credential=A/x HTTP/1.1\r\n" V4 "A/x", HEAD_MALFORMED, "");
    expect("GET /b/k?X-Amz-Credential=A/x HTTP/1.1\r\nAuthorization: Basic eA==", HEAD_MALFORMED, "");
    expect(GET "\r\nX-Note: " V4 "A/x", HEAD_NO_AUTH, "");
    expect("GET /b/X-Amz-Credential=A/x HTTP/1.1", HEAD_NO_AUTH, "");
    AUTO_FREE char *longest = str_format(GET "\r\n" V4 "%0128d/x", 7),
                   *too_long = str_format(GET "\r\n" V4 "%0129d/x", 7);
    AUTO_FREE char *key = str_format("%0128d", 7);
    expect(longest, HEAD_KEY, key);
    expect(too_long, HEAD_MALFORMED, "");
}

static void what_is_no_request_is_refused(void **state) {
    static const char *const bad[] = {"",
                                      "\r\n",
                                      "GET",
                                      "GET /",
                                      "GET / HTTP/2.0",
                                      "GET / HTTP/1.1 x",
                                      "get / HTTP/1.1",
                                      "GET  / HTTP/1.1",
                                      "GET a HTTP/1.1",
                                      "ABCDEFGHIJKLMNOP / HTTP/1.1",
                                      "\x16\x03\x01"};
    struct head head;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        AUTO_FREE char *whole = str_format("%s\r\n\r\n", bad[i]);
        ASSERT_ERR(INVALID, head_parse(slice_str(whole), &head));
    }
    ASSERT_OK(head_parse(slice_str("HEAD /b/k?x HTTP/1.0\r\n\r\n"), &head));
    assert_string_equal(head.method, "HEAD");
    assert_true(slice_is(head.path, "/b/k"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(ends_are_found_however_the_bytes_come),
    cmocka_unit_test(keys_are_found),
    cmocka_unit_test(what_is_no_request_is_refused),
};
TEST_MAIN(tests)
