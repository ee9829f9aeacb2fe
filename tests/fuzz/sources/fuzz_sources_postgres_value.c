/* Values: of any type and any UTF-8 text comes one JSON value. Input: a byte for the type, then the text. */
#include "fuzz.h"
#include "sources/postgres_value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1 || !slice_is_utf8(slice_make(data + 1, size - 1))) return 0;
    struct postgres_type type = {.kind = (enum postgres_kind)(data[0] % (POSTGRES_BYTEA + 1)),
                                 .is_array = (data[0] & 0x80) != 0,
                                 .delimiter = data[0] & 0x40 ? ';' : 0};
    JSON_AUTO(parsed);
    BUF_AUTO(out, 16 << 20);
    BUF_AUTO(wrapped, 17 << 20);
    postgres_value_write(type, slice_make(data + 1, size - 1), &out);
    PROMISE(is_ok(buf_check(&out)));
    /* Text with a NUL, which the server never sends, is JSON that jansson does not take. */
    if (slice_has_nul(slice_make(data + 1, size - 1))) return 0;
    buf_append_byte(&wrapped, '[');
    buf_append_slice(&wrapped, buf_slice(&out));
    buf_append_byte(&wrapped, ']');
    PROMISE(is_ok(json_parse(buf_slice(&wrapped), &parsed)) && json_array_size(parsed) == 1);
    return 0;
}
