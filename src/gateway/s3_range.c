#include "gateway/s3_range.h"

/* Digits only; leading zeros are allowed here, as the RFC's grammar has it. */
static bool number(struct slice text, uint64_t *ret) {
    if (text.len == 0) return false;
    uint64_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c < '0' || c > '9') return false;
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(c - '0'), &n)) n = UINT64_MAX;
        if (n == UINT64_MAX) break;
    }
    *ret = n;
    return true;
}

static struct slice trim(struct slice s) {
    while (s.len > 0 && (s.data[0] == ' ' || s.data[0] == '\t'))
        s = slice_make(s.data + 1, s.len - 1);
    while (s.len > 0 && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t'))
        s.len--;
    return s;
}

struct s3_range s3_range_parse(const char *header) {
    const struct s3_range all = {S3_RANGE_ALL, 0, 0};
    if (header == NULL) return all;
    struct slice unit, set, first, last;
    if (!slice_cut(trim(slice_str(header)), '=', &unit, &set) || !slice_is(trim(unit), "bytes")) return all;
    if (!slice_cut(trim(set), '-', &first, &last)) return all;
    struct s3_range range = all;
    if (first.len == 0) {
        range.kind = S3_RANGE_SUFFIX;
        return number(last, &range.last) ? range : all;
    }
    range.kind = S3_RANGE_FROM;
    range.last = UINT64_MAX;
    if (!number(first, &range.first)) return all;
    if (last.len > 0 && (!number(last, &range.last) || range.last < range.first)) return all;
    return range;
}

struct result s3_range_resolve(struct s3_range range, uint64_t size, uint64_t *ret_offset, uint64_t *ret_length) {
    uint64_t offset = 0, length = size;
    switch (range.kind) {
    case S3_RANGE_ALL:
        break;
    case S3_RANGE_FROM:
        CHECK(range.first < size, ERR_RANGE, "the object has %llu bytes", (unsigned long long)size);
        offset = range.first;
        length = (range.last < size - 1 ? range.last : size - 1) - offset + 1;
        break;
    case S3_RANGE_SUFFIX:
        CHECK(size > 0 && range.last > 0, ERR_RANGE, "the object has %llu bytes", (unsigned long long)size);
        length = range.last < size ? range.last : size;
        offset = size - length;
        break;
    }
    *ret_offset = offset;
    *ret_length = length;
    return OK;
}

struct result s3_copy_range_parse(const char *header, struct s3_range *ret) {
    struct s3_range range = s3_range_parse(header);
    CHECK(range.kind == S3_RANGE_FROM && range.last != UINT64_MAX, ERR_INVALID,
          "x-amz-copy-source-range must be bytes=first-last");
    *ret = range;
    return OK;
}
