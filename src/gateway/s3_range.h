/* The Range header (RFC 9110 section 14) and S3's x-amz-copy-source-range. Pure, thread-safe. */
#ifndef LOCKSET_GATEWAY_S3_RANGE_H
#define LOCKSET_GATEWAY_S3_RANGE_H

#include "base/buf.h"

enum s3_range_kind {
    S3_RANGE_ALL,   /* no header, or one that a server ignores: another unit, several ranges, malformed */
    S3_RANGE_FROM,  /* first..last, last perhaps open (UINT64_MAX) */
    S3_RANGE_SUFFIX /* the last `last` bytes */
};

struct s3_range {
    enum s3_range_kind kind;
    uint64_t first, last;
};

/* header NULL: all. Never fails: what can't be understood is ignored, as the RFC and S3 have it. */
struct s3_range s3_range_parse(const char *header);

/* What it selects of an object of `size` bytes. RANGE if nothing: the answer is 416. An empty object satisfies only
 * S3_RANGE_ALL. */
struct result s3_range_resolve(struct s3_range range, uint64_t size, uint64_t *ret_offset, uint64_t *ret_length);

/* x-amz-copy-source-range must be "bytes=first-last" in full: INVALID otherwise. */
struct result s3_copy_range_parse(const char *header, struct s3_range *ret);

#endif
