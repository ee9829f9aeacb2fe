/* aws-chunked. The signed bodies are the two examples of AWS's pages (sigv4-streaming, sigv4-streaming-trailers). */
#include "testing.h"

#include <string.h>

#include "gateway/s3_chunked.h"

#define DATE "20130524T000000Z"
#define SCOPE "20130524/us-east-1/s3/aws4_request"
#define SEED "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
#define FIRST "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"
#define SECOND "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"
#define LAST "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"
#define T_SEED "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
#define T_FIRST "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2"
#define T_SECOND "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7"
#define T_LAST "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"
#define T_TRAILER "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"

enum { FIRST_BYTES = 65536, SECOND_BYTES = 1024, ALL_BYTES = FIRST_BYTES + SECOND_BYTES };

static void append_as(struct buf *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        buf_append_byte(b, 'a');
}

static void signed_body(struct buf *b) {
    buf_append_str(b, "10000;chunk-signature=" FIRST "\r\n");
    append_as(b, FIRST_BYTES);
    buf_append_str(b, "\r\n400;chunk-signature=" SECOND "\r\n");
    append_as(b, SECOND_BYTES);
    buf_append_str(b, "\r\n0;chunk-signature=" LAST "\r\n\r\n");
}

static void trailer_body(struct buf *b, const char *before_signature) {
    buf_append_str(b, "10000;chunk-signature=" T_FIRST "\r\n");
    append_as(b, FIRST_BYTES);
    buf_append_str(b, "\r\n400;chunk-signature=" T_SECOND "\r\n");
    append_as(b, SECOND_BYTES);
    buf_append_str(b, "\r\n0;chunk-signature=" T_LAST "\r\nx-amz-checksum-crc32c:sOO8/Q==");
    buf_append_str(b, before_signature);
    buf_append_str(b, "x-amz-trailer-signature:" T_TRAILER "\r\n\r\n");
}

/* What comes out of `body`, taken `step` bytes at a time; the outcome is the refusal's error. */
static enum s3_error decode(enum sigv4_payload form, const char *seed_signature, struct slice body, uint64_t length,
                            size_t step, struct buf *out, char ret_trailer[static S3_CHUNKED_LINE_BYTES]) {
    SECRET_AUTO(key);
    ASSERT_OK(sigv4_signing_key(slice_str("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), DATE, "us-east-1", "s3", &key));
    const struct s3_chunked_seed seed = {secret_view(&key), DATE, SCOPE, seed_signature};
    AUTO(s3_chunked_done) struct s3_chunked c;
    struct s3_refusal refusal = {0};
    s3_chunked_start(form, length, &seed, &c);
    for (size_t i = 0; i < body.len; i += step) {
        struct slice in = slice_make(body.data + i, body.len - i < step ? body.len - i : step), data;
        while (in.len > 0) {
            size_t before = in.len;
            if (!s3_chunked_next(&c, &in, &data, &refusal)) return refusal.error;
            assert_true(in.len < before);
            buf_append_slice(out, data);
        }
    }
    if (!s3_chunked_finish(&c, &refusal)) return refusal.error;
    const char *name, *value;
    ret_trailer[0] = '\0';
    if (s3_chunked_trailer(&c, &name, &value)) snprintf(ret_trailer, S3_CHUNKED_LINE_BYTES, "%s=%s", name, value);
    return S3_ERROR_NONE;
}

static enum s3_error outcome(enum sigv4_payload form, struct slice body, uint64_t length) {
    BUF_AUTO(out, 1 << 20);
    char trailer[S3_CHUNKED_LINE_BYTES];
    return decode(form, form == SIGV4_PAYLOAD_STREAMING ? SEED : T_SEED, body, length, body.len + 1, &out, trailer);
}

static void assert_decodes(enum sigv4_payload form, struct slice body, const char *trailer_expected) {
    static const size_t steps[] = {1, 7, 4096, 1 << 20};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        BUF_AUTO(out, 1 << 20);
        char trailer[S3_CHUNKED_LINE_BYTES];
        enum s3_error e =
            decode(form, form == SIGV4_PAYLOAD_STREAMING ? SEED : T_SEED, body, ALL_BYTES, steps[i], &out, trailer);
        assert_int_equal(e, S3_ERROR_NONE);
        assert_int_equal(out.len, ALL_BYTES);
        assert_int_equal(strspn(buf_str(&out), "a"), ALL_BYTES);
        assert_string_equal(trailer, trailer_expected);
    }
}

static void the_examples_of_aws_decode(void **state) {
    BUF_AUTO(plain, 1 << 20);
    signed_body(&plain);
    assert_decodes(SIGV4_PAYLOAD_STREAMING, buf_slice(&plain), "");
    static const char *const endings[] = {"\r\n", "\n", "\n\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
        BUF_AUTO(with_trailer, 1 << 20);
        trailer_body(&with_trailer, endings[i]);
        assert_decodes(SIGV4_PAYLOAD_STREAMING_TRAILER, buf_slice(&with_trailer), "x-amz-checksum-crc32c=sOO8/Q==");
    }
}

static void unsigned_chunks_decode(void **state) {
    BUF_AUTO(body, 1 << 20);
    buf_append_str(&body, "10000\r\n");
    append_as(&body, FIRST_BYTES);
    buf_append_str(&body, "\r\n400;other=x\r\n");
    append_as(&body, SECOND_BYTES);
    buf_append_str(&body, "\r\n0\r\nX-Amz-Checksum-CRC32C: sOO8/Q== \r\n\r\n");
    assert_decodes(SIGV4_PAYLOAD_STREAMING_UNSIGNED_TRAILER, buf_slice(&body), "x-amz-checksum-crc32c=sOO8/Q==");
    assert_int_equal(outcome(SIGV4_PAYLOAD_STREAMING_UNSIGNED_TRAILER, slice_str("0\r\n\r\n"), 0), S3_ERROR_NONE);
}

/* Each single byte of framing, signature or content changed is noticed. */
static void every_altered_byte_is_refused(void **state) {
    BUF_AUTO(good, 1 << 20);
    trailer_body(&good, "\r\n");
    size_t tail = good.len - 420;
    for (size_t i = 0; i < good.len; i = i < 120 || i >= tail ? i + 1 : i + 4099) {
        BUF_AUTO(bad, 1 << 20);
        buf_append_slice(&bad, buf_slice(&good));
        bad.data[i] ^= 1;
        enum s3_error e = outcome(SIGV4_PAYLOAD_STREAMING_TRAILER, buf_slice(&bad), ALL_BYTES);
        if (e == S3_ERROR_NONE) fail_msg("byte %zu", i);
    }
    BUF_AUTO(content, 1 << 20);
    signed_body(&content);
    content.data[40000] = 'b';
    assert_int_equal(outcome(SIGV4_PAYLOAD_STREAMING, buf_slice(&content), ALL_BYTES), S3_ERR_SIGNATURE_MISMATCH);
}

static void every_truncation_is_refused(void **state) {
    BUF_AUTO(good, 1 << 20);
    trailer_body(&good, "\r\n");
    for (size_t n = 0; n < good.len; n = n < 120 || n >= good.len - 420 ? n + 1 : n + 4099)
        if (outcome(SIGV4_PAYLOAD_STREAMING_TRAILER, slice_make(good.data, n), ALL_BYTES) != S3_ERR_INCOMPLETE_BODY)
            fail_msg("%zu bytes", n);
    buf_append_str(&good, "x");
    assert_int_equal(outcome(SIGV4_PAYLOAD_STREAMING_TRAILER, buf_slice(&good), ALL_BYTES), S3_ERR_INVALID_REQUEST);
}

static void lengths_are_held(void **state) {
    BUF_AUTO(body, 1 << 20);
    signed_body(&body);
    assert_int_equal(outcome(SIGV4_PAYLOAD_STREAMING, buf_slice(&body), ALL_BYTES - 1), S3_ERR_INCOMPLETE_BODY);
    assert_int_equal(outcome(SIGV4_PAYLOAD_STREAMING, buf_slice(&body), ALL_BYTES + 1), S3_ERR_INCOMPLETE_BODY);
    assert_int_equal(outcome(SIGV4_PAYLOAD_STREAMING_UNSIGNED_TRAILER, slice_str("fffffffffffffff\r\nx"), ALL_BYTES),
                     S3_ERR_INCOMPLETE_BODY);
}

static void malformed_framing_is_refused(void **state) {
    static const struct {
        const char *body;
        enum s3_error error;
    } bad[] = {
        {"\r\n", S3_ERR_INVALID_REQUEST},
        {"5", S3_ERR_INCOMPLETE_BODY},
        {"x\r\nhello\r\n0\r\n\r\n", S3_ERR_INVALID_REQUEST},
        {"-5\r\nhello\r\n0\r\n\r\n", S3_ERR_INVALID_REQUEST},
        {"5 \r\nhello\r\n0\r\n\r\n", S3_ERR_INVALID_REQUEST},
        {"0x5\r\nhello\r\n0\r\n\r\n", S3_ERR_INVALID_REQUEST},
        {"10000000000000005\r\nhello\r\n0\r\n\r\n", S3_ERR_INVALID_REQUEST},
        {"5\r\r\nhello\r\n0\r\n\r\n", S3_ERR_INVALID_REQUEST},
        {"5\r\nhelloX\r\n0\r\n\r\n", S3_ERR_INVALID_REQUEST},
        {"5\r\nhello0\r\n\r\n", S3_ERR_INVALID_REQUEST},
        {"5\r\nhello\r\n0\r\nnothing\r\n\r\n", S3_ERR_MALFORMED_TRAILER},
        {"5\r\nhello\r\n0\r\n:x\r\n\r\n", S3_ERR_MALFORMED_TRAILER},
        {"5\r\nhello\r\n0\r\na:x\r\nb:y\r\n\r\n", S3_ERR_MALFORMED_TRAILER},
        {"5\r\nhello\r\n0\r\n\r\n\r\n", S3_ERR_INVALID_REQUEST},
        {"5\r\nhello\r\n0\r\n", S3_ERR_INCOMPLETE_BODY},
        {"5\r\nhello\r\n", S3_ERR_INCOMPLETE_BODY},
        {"5\r\nhel", S3_ERR_INCOMPLETE_BODY},
        {"6\r\nhello!\r\n0\r\n\r\n", S3_ERR_INCOMPLETE_BODY},
        {"4\r\nhell\r\n0\r\n\r\n", S3_ERR_INCOMPLETE_BODY},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (outcome(SIGV4_PAYLOAD_STREAMING_UNSIGNED_TRAILER, slice_str(bad[i].body), 5) != bad[i].error)
            fail_msg("%zu", i);
    assert_int_equal(outcome(SIGV4_PAYLOAD_STREAMING_UNSIGNED_TRAILER, slice_str("5\r\nhello\r\n0\r\n\r\n"), 5),
                     S3_ERROR_NONE);
    /* Without a signature where one must be; a trailer where none may be. */
    assert_int_equal(outcome(SIGV4_PAYLOAD_STREAMING, slice_str("5\r\nhello\r\n0\r\n\r\n"), 5), S3_ERR_INVALID_REQUEST);
    BUF_AUTO(body, 1 << 20);
    signed_body(&body);
    body.len -= 2;
    buf_append_str(&body, "a:b\r\n\r\n");
    assert_int_equal(outcome(SIGV4_PAYLOAD_STREAMING, buf_slice(&body), ALL_BYTES), S3_ERR_MALFORMED_TRAILER);
    BUF_AUTO(line, 1 << 12);
    buf_append_str(&line, "5;");
    append_as(&line, S3_CHUNKED_LINE_BYTES);
    assert_int_equal(outcome(SIGV4_PAYLOAD_STREAMING_UNSIGNED_TRAILER, buf_slice(&line), 5), S3_ERR_INVALID_REQUEST);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_examples_of_aws_decode),
    cmocka_unit_test(unsigned_chunks_decode),
    cmocka_unit_test(every_altered_byte_is_refused),
    cmocka_unit_test(every_truncation_is_refused),
    cmocka_unit_test(lengths_are_held),
    cmocka_unit_test(malformed_framing_is_refused),
};
TEST_MAIN(tests)
