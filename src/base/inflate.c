#include "base/inflate.h"

#include <zlib.h>
#include <zstd.h>

enum { STEP_BYTES = 65536, GZIP_WINDOW = 15 + 16, ZSTD_MAX_WINDOW_LOG = 27 };

struct inflate {
    enum inflate_kind kind;
    bool is_whole;
    z_stream gzip;
    ZSTD_DStream *zstd;
};

struct result inflate_new(enum inflate_kind kind, struct inflate **ret) {
    struct inflate *i = mem_alloc(sizeof *i);
    i->kind = kind;
    i->is_whole = true;
    bool made;
    if (kind == INFLATE_GZIP) {
        made = inflateInit2(&i->gzip, GZIP_WINDOW) == Z_OK;
    } else {
        i->zstd = ZSTD_createDStream();
        made = i->zstd && !ZSTD_isError(ZSTD_DCtx_setParameter(i->zstd, ZSTD_d_windowLogMax, ZSTD_MAX_WINDOW_LOG));
    }
    if (!made) {
        inflate_free(i);
        FAIL(ERR_INTERNAL, "no decompressor can be made");
    }
    *ret = i;
    return OK;
}

struct inflate *inflate_free(struct inflate *i) {
    if (!i) return NULL;
    if (i->kind == INFLATE_GZIP) inflateEnd(&i->gzip);
    ZSTD_freeDStream(i->zstd); /* accepts NULL */
    mem_free_wiping(i);
    return NULL;
}

/* One step: how much was taken and given. */
static struct result gzip_step(struct inflate *i, struct slice in, uint8_t *to, size_t room, size_t *ret_taken,
                               size_t *ret_given) {
    if (i->is_whole) CHECK(inflateReset(&i->gzip) == Z_OK, ERR_INTERNAL, "the decompressor can't begin anew");
    i->is_whole = false;
    uInt given_in = in.len > STEP_BYTES ? STEP_BYTES : (uInt)in.len;
    i->gzip.next_in = mem_unconst(in.data);
    i->gzip.avail_in = given_in;
    i->gzip.next_out = to;
    i->gzip.avail_out = (uInt)room;
    int code = inflate(&i->gzip, Z_NO_FLUSH);
    CHECK(code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR, ERR_CORRUPT, "it is no whole gzip text");
    i->is_whole = code == Z_STREAM_END;
    *ret_taken = given_in - i->gzip.avail_in;
    *ret_given = room - i->gzip.avail_out;
    return OK;
}

static struct result zstd_step(struct inflate *i, struct slice in, uint8_t *to, size_t room, size_t *ret_taken,
                               size_t *ret_given) {
    ZSTD_inBuffer from = {in.data, in.len, 0};
    ZSTD_outBuffer out = {to, room, 0};
    size_t left = ZSTD_decompressStream(i->zstd, &out, &from);
    CHECK(!ZSTD_isError(left), ERR_CORRUPT, "it is no whole zstd text");
    i->is_whole = left == 0;
    *ret_taken = from.pos;
    *ret_given = out.pos;
    return OK;
}

struct result inflate_some(struct inflate *i, struct slice *in, size_t max, struct buf *out) {
    size_t begin = out->len;
    while (out->len - begin < max) {
        size_t room = max - (out->len - begin), taken, given;
        if (room > STEP_BYTES) room = STEP_BYTES;
        if (in->len == 0 && i->is_whole) break;
        uint8_t *to = buf_reserve(out, room);
        TRY(buf_check(out));
        TRY(i->kind == INFLATE_GZIP ? gzip_step(i, *in, to, room, &taken, &given)
                                    : zstd_step(i, *in, to, room, &taken, &given));
        out->len += given;
        *in = slice_make(in->data + taken, in->len - taken);
        if (taken == 0 && given == 0) break; /* wants more */
    }
    return buf_check(out);
}

bool inflate_is_whole(const struct inflate *i) {
    return i->is_whole;
}
