#include <string.h>

#include "store/store.h"

void store_etag_format(const struct store_etag *etag, char ret[static STORE_ETAG_TEXT_BYTES]) {
    BUF_AUTO(text, STORE_ETAG_TEXT_BYTES - 1);
    hex_encode(slice_make(etag->bytes, sizeof etag->bytes), &text);
    if (etag->parts) buf_printf(&text, "-%u", etag->parts);
    mem_copy(ret, buf_str(&text), text.len + 1);
}

/* Clients may send upper-case digits. */
static void append_lower(struct slice text, struct buf *out) {
    for (size_t i = 0; i < text.len; i++)
        buf_append_byte(out, text.data[i] >= 'A' && text.data[i] <= 'F' ? (uint8_t)(text.data[i] + 32) : text.data[i]);
}

struct result store_etag_parse(struct slice text, struct store_etag *ret) {
    struct slice hex, count;
    struct store_etag etag = {0};
    bool has_parts = slice_cut(text, '-', &hex, &count);
    BUF_AUTO(lower, 2 * sizeof etag.bytes);
    append_lower(hex, &lower);
    BUF_AUTO(bytes, sizeof etag.bytes);
    CHECK(is_ok(buf_check(&lower)) && is_ok(hex_decode(buf_slice(&lower), &bytes)) && bytes.len == sizeof etag.bytes,
          ERR_INVALID, "an ETag must be 32 hexadecimal digits, perhaps followed by - and the number of parts");
    mem_copy(etag.bytes, bytes.data, bytes.len);
    if (has_parts) {
        uint64_t parts;
        TRY(slice_to_u64(count, STORE_PART_MAX, &parts));
        CHECK(parts > 0, ERR_INVALID, "an ETag of no parts");
        etag.parts = (uint32_t)parts;
    }
    *ret = etag;
    return OK;
}

bool store_etag_equal(const struct store_etag *a, const struct store_etag *b) {
    return a->parts == b->parts && mem_order(a->bytes, b->bytes, sizeof a->bytes) == 0;
}
