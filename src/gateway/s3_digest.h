/* Holds a body to what its headers announced: length, x-amz-content-sha256, Content-MD5, x-amz-checksum-crc32 and
 * -sha256. Only what was announced is computed: MD5 costs six times what sealing does. One owner, one thread. */
#ifndef LOCKSET_GATEWAY_S3_DIGEST_H
#define LOCKSET_GATEWAY_S3_DIGEST_H

#include "base/crypto.h"
#include "gateway/s3_request.h"

/* The announcing headers; NULL if absent. Borrowed for the call. */
struct s3_announced {
    const char *content_sha256; /* as in x-amz-content-sha256 */
    const char *content_md5;
    const char *checksum_crc32, *checksum_sha256; /* base64 */
    int64_t length;                               /* Content-Length; -1: none */
};

struct s3_digest {
    int64_t expected_length; /* -1: not known */
    uint64_t length;
    struct digest *sha256, *md5;
    bool checks_sha256, checks_checksum_sha256, checks_crc32;
    uint8_t want_sha256[SHA256_BYTES], want_checksum_sha256[SHA256_BYTES], want_md5[MD5_BYTES];
    uint32_t want_crc32, crc32;
};

/* False: an announcement has the wrong form, or a form that is not implemented (STREAMING-*). The caller calls
 * s3_digest_done in either case. */
bool s3_digest_start(const struct s3_announced *announced, struct s3_digest *d, struct s3_refusal *refusal);
/* False when the body is longer than announced, or hashing failed. */
bool s3_digest_update(struct s3_digest *d, struct slice piece, struct s3_refusal *refusal);
/* Call once, after the last byte. False: BadDigest, XAmzContentSHA256Mismatch, IncompleteBody. */
bool s3_digest_finish(struct s3_digest *d, struct s3_refusal *refusal);
void s3_digest_done(struct s3_digest *d); /* accepts zeroed */

#endif
