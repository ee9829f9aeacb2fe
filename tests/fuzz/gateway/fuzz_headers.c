/* Headers of S3 requests: ranges, conditions, and what is announced of a body. Input: a header's value in each of eight
 * lines (empty: absent), then the body. */
#include <string.h>

#include "base/clock.h"
#include "fuzz.h"
#include "gateway/s3_condition.h"
#include "gateway/s3_digest.h"
#include "gateway/s3_range.h"

static const char etag[] = "0123456789abcdef0123456789abcdef";

static void check_range(const char *header) {
    static const uint64_t sizes[] = {0, 1, 100, 65536, INT64_MAX, UINT64_MAX};
    struct s3_range range = s3_range_parse(header), copied = {0};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        uint64_t offset = 0, length = 0;
        struct result r = s3_range_resolve(range, sizes[i], &offset, &length);
        if (is_ok(r)) {
            PROMISE(offset <= sizes[i] && length <= sizes[i] - offset);
            PROMISE(length > 0 || sizes[i] == 0);
            PROMISE(range.kind != S3_RANGE_ALL || (offset == 0 && length == sizes[i]));
        } else {
            PROMISE(r.code == ERR_RANGE && range.kind != S3_RANGE_ALL);
        }
    }
    if (header && is_ok(s3_copy_range_parse(header, &copied))) {
        PROMISE(copied.kind == S3_RANGE_FROM && copied.first <= copied.last);
        PROMISE(range.kind == S3_RANGE_FROM && range.first == copied.first && range.last == copied.last);
    }
}

static void check_conditions(const char *match, const char *none_match, const char *since, const char *unmodified) {
    const int64_t when_ms = 1795492364000;
    struct s3_conditions c = {match, none_match, since, unmodified};
    enum s3_verdict verdict = s3_conditions_judge(&c, etag, when_ms);
    if (match) PROMISE((verdict == S3_PRECONDITION) == !s3_etag_listed(match, etag));
    if (none_match && verdict != S3_PRECONDITION)
        PROMISE((verdict == S3_NOT_MODIFIED) == s3_etag_listed(none_match, etag));
    if (!match && !none_match && !since && !unmodified) PROMISE(verdict == S3_GO);
    if (since) s3_if_range_holds(since, etag, when_ms);
    PROMISE(s3_if_range_holds(NULL, etag, when_ms));
}

/* Whether a body is what was announced doesn't depend on how it comes. */
static enum s3_error judge(const struct s3_announced *announced, struct slice body, size_t piece) {
    struct s3_refusal refusal = {0};
    struct s3_digest d;
    bool is_good = s3_digest_start(announced, &d, &refusal);
    for (size_t i = 0; is_good && i < body.len; i += piece) {
        size_t n = body.len - i < piece ? body.len - i : piece;
        is_good = s3_digest_update(&d, slice_make(body.data + i, n), &refusal);
    }
    is_good = is_good && s3_digest_finish(&d, &refusal);
    s3_digest_done(&d);
    PROMISE(is_good == (refusal.error == S3_ERROR_NONE));
    return refusal.error;
}

static void check_digests(const char *sha, const char *md5, const char *crc, struct slice body) {
    struct s3_announced announced = {
        .content_sha256 = sha, .content_md5 = md5, .checksums = {[S3_CHECKSUM_CRC32] = crc}, .length = -1};
    PROMISE(judge(&announced, body, 7) == judge(&announced, body, body.len + 1));
    uint8_t sum[SHA256_BYTES];
    PROMISE(is_ok(sha256(body, sum)));
    BUF_AUTO(hex, 65);
    BUF_AUTO(base64, 65);
    hex_encode(slice_make(sum, sizeof sum), &hex);
    base64_encode(slice_make(sum, sizeof sum), &base64);
    announced = (struct s3_announced){.content_sha256 = buf_str(&hex),
                                      .checksums = {[S3_CHECKSUM_SHA256] = buf_str(&base64)},
                                      .length = (int64_t)body.len};
    PROMISE(judge(&announced, body, 13) == S3_ERROR_NONE);
    if (body.len == 0) return;
    PROMISE(judge(&announced, slice_make(body.data, body.len - 1), 13) == S3_ERR_INCOMPLETE_BODY);
    announced.length = -1;
    PROMISE(judge(&announced, slice_make(body.data, body.len - 1), 13) == S3_ERR_CONTENT_SHA256_MISMATCH);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 16384) return 0;
    struct slice rest = slice_make(data, size);
    char *lines[8] = {NULL};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct slice line;
        slice_cut(rest, '\n', &line, &rest);
        if (line.len > 0 && !slice_has_nul(line)) lines[i] = slice_to_str(line);
    }
    check_range(lines[0]);
    check_conditions(lines[1], lines[2], lines[3], lines[4]);
    check_digests(lines[5], lines[6], lines[7], rest);
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        mem_free(lines[i]);
    return 0;
}
