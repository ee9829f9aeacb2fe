/* Hexadecimal, base64 and percent-encoding, numbers and UTF-8: decoders are strict, so decoding and encoding again
 * gives the very same text; encoders lose nothing. */
#include "base/clock.h"
#include "fuzz.h"

/* `canonical`: the decoder takes no text that the encoder would not have written. */
static void check(struct slice text, void (*encode)(struct slice, struct buf *),
                  struct result (*decode)(struct slice, struct buf *), bool canonical) {
    BUF_AUTO(decoded, text.len);
    BUF_AUTO(again, 3 * text.len + 4);
    err_forget();
    struct result r = decode(text, &decoded);
    PROMISE(is_settled(r));
    PROMISE(is_ok(buf_check(&decoded)));
    if (is_err(r)) PROMISE(decoded.len == 0);
    if (is_ok(r) && canonical) {
        encode(buf_slice(&decoded), &again);
        PROMISE(slice_equal(buf_slice(&again), text));
        buf_clear(&again);
    }
    buf_clear(&decoded);
    encode(text, &again);
    PROMISE(is_ok(buf_check(&again)));
    r = decode(buf_slice(&again), &decoded);
    PROMISE(is_ok(r) || slice_has_nul(text));
    if (is_ok(r)) PROMISE(slice_equal(buf_slice(&decoded), text));
}

static void percent_encode_all(struct slice in, struct buf *out) {
    percent_encode(in, false, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice text = slice_make(data, size);
    check(text, hex_encode, hex_decode, false);
    check(text, base64_encode, base64_decode, true);
    check(text, base64url_encode, base64url_decode, true);
    check(text, percent_encode_all, percent_decode, false);
    uint64_t number;
    if (is_ok(slice_to_u64(text, UINT64_MAX, &number))) {
        BUF_AUTO(printed, 32);
        buf_printf(&printed, "%llu", (unsigned long long)number);
        PROMISE(slice_equal(buf_slice(&printed), text));
    }
    int64_t ms;
    char amz[CLOCK_AMZ_BYTES], http[CLOCK_ISO_BYTES];
    if (is_ok(clock_parse_amz(text, &ms))) {
        clock_format_amz(ms, amz);
        PROMISE(slice_is(text, amz));
    }
    if (is_ok(clock_parse_http(text, &ms))) {
        clock_format_http(ms, http);
        PROMISE(slice_is(text, http));
    }
    return 0;
}
