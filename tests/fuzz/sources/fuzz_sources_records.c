/* Records out of any text: the same however the text is cut, and the same again from the place behind any of them. The
 * first byte chooses JSON or CSV, the second how large the pieces are, the third behind which record to begin anew. */
#include "fuzz.h"

#include "sources/records.h"

static void read_from(const struct csv_format *csv, struct slice text, const struct records_place *place, size_t piece,
                      size_t skip, struct records_place *ret_place, struct buf *out) {
    struct records *r = records_new(csv, place);
    if (csv && place->offset > 0)
        for (size_t at = 0;
             at < text.len && !records_feed_header(r, slice_make(text.data + at, 1), at + 1 == text.len);)
            at++;
    struct record record;
    size_t seen = 0;
    for (size_t at = (size_t)place->offset, last = 0; !last;) {
        size_t n = text.len - at < piece ? text.len - at : piece;
        if (n)
            records_feed(r, slice_make(text.data + at, n));
        else
            records_end(r);
        last = n == 0;
        at += n;
        while (records_next(r, &record)) {
            if (++seen == skip) {
                *ret_place = records_place(r);
                buf_clear(out);
                continue;
            }
            buf_printf(out, "%llu%s", (unsigned long long)record.number, record.flaw ? record.flaw : ":");
            if (!record.flaw) buf_append_slice(out, record.document);
            buf_append_byte(out, 0);
        }
    }
    records_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3 || size > 4096) return 0;
    struct csv_format format;
    PROMISE(is_ok(csv_format_read(NULL, &format)));
    const struct csv_format *csv = data[0] % 2 ? &format : NULL;
    struct slice text = slice_make(data + 3, size - 3);
    struct records_place start = {.mode = csv ? RECORDS_CSV : RECORDS_UNKNOWN}, place = {0};
    BUF_AUTO(whole, 1 << 20);
    BUF_AUTO(pieces, 1 << 20);
    BUF_AUTO(rest, 1 << 20);
    BUF_AUTO(again, 1 << 20);
    read_from(csv, text, &start, text.len + 1, SIZE_MAX, &place, &whole);
    read_from(csv, text, &start, data[1] + 1U, SIZE_MAX, &place, &pieces);
    PROMISE(slice_equal(buf_slice(&whole), buf_slice(&pieces)));
    size_t skip = data[2] % 8 + 1U;
    read_from(csv, text, &start, text.len + 1, skip, &place, &rest);
    if (place.offset == 0) return 0;
    PROMISE(place.offset <= text.len);
    struct records_place unused;
    read_from(csv, text, &place, data[1] + 1U, SIZE_MAX, &unused, &again);
    PROMISE(slice_equal(buf_slice(&rest), buf_slice(&again)));
    return 0;
}
