/* aws-chunked. Input: a byte for the form, a byte for how large the pieces are, then the body. What comes out does not
 * depend on the pieces, and is never more than was announced. */
#include <string.h>

#include "fuzz.h"
#include "gateway/s3_chunked.h"

enum { EXPECTED_BYTES = 300 };

static enum s3_error decode(enum sigv4_payload form, struct slice body, size_t step, struct buf *out) {
    static const uint8_t key[32] = {1};
    static const char seed_signature[] = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
    const struct s3_chunked_seed seed = {slice_make(key, sizeof key), "20130524T000000Z",
                                         "20130524/us-east-1/s3/aws4_request", seed_signature};
    AUTO(s3_chunked_done) struct s3_chunked c;
    struct s3_refusal refusal = {0};
    s3_chunked_start(form, EXPECTED_BYTES, &seed, &c);
    for (size_t i = 0; i < body.len; i += step) {
        struct slice in = slice_make(body.data + i, body.len - i < step ? body.len - i : step), data;
        while (in.len > 0) {
            size_t before = in.len;
            if (!s3_chunked_next(&c, &in, &data, &refusal)) {
                PROMISE(refusal.error > S3_ERROR_NONE && refusal.error < S3_ERROR_MAX && refusal.message[0]);
                return refusal.error;
            }
            PROMISE(in.len < before);
            buf_append_slice(out, data);
            PROMISE(out->len == c.decoded && out->len <= EXPECTED_BYTES);
        }
    }
    if (!s3_chunked_finish(&c, &refusal)) return refusal.error;
    PROMISE(out->len == EXPECTED_BYTES);
    const char *name, *value;
    if (s3_chunked_trailer(&c, &name, &value))
        PROMISE(c.has_trailer && name[0] && strlen(value) < S3_CHUNKED_LINE_BYTES);
    return S3_ERROR_NONE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const enum sigv4_payload forms[] = {SIGV4_PAYLOAD_STREAMING, SIGV4_PAYLOAD_STREAMING_TRAILER,
                                               SIGV4_PAYLOAD_STREAMING_UNSIGNED_TRAILER};
    if (size < 2 || size > 16384) return 0;
    enum sigv4_payload form = forms[data[0] % ARRAY_LEN(forms)];
    struct slice body = slice_make(data + 2, size - 2);
    BUF_AUTO(whole, EXPECTED_BYTES + 1);
    BUF_AUTO(pieces, EXPECTED_BYTES + 1);
    enum s3_error a = decode(form, body, size, &whole), b = decode(form, body, (size_t)data[1] + 1, &pieces);
    PROMISE(a == b);
    if (a == S3_ERROR_NONE) PROMISE(slice_equal(buf_slice(&whole), buf_slice(&pieces)));
    return 0;
}
