/* Holds a body to what its headers announced: length, x-amz-content-sha256, Content-MD5, one x-amz-checksum-..., which
 * may come in a trailer. Only what was announced is computed: MD5 costs six times what sealing does. One owner, one
 * thread. */
#ifndef LOCKSET_GATEWAY_S3_DIGEST_H
#define LOCKSET_GATEWAY_S3_DIGEST_H

#include "base/crypto.h"
#include "gateway/s3_checksum.h"
#include "gateway/s3_request.h"

/* The announcing headers; NULL if absent. Borrowed for the call. */
struct s3_announced {
    const char *content_sha256; /* as in x-amz-content-sha256 */
    const char *content_md5;
    const char *checksums[S3_CHECKSUM_MAX]; /* base64 */
    const char *sdk_algorithm;              /* x-amz-sdk-checksum-algorithm: must agree with the one given */
    const char *trailer;                    /* x-amz-trailer: the name of the checksum that follows the body */
    int64_t length;                         /* of the body, without a framing; -1: not known */
};

struct s3_digest {
    int64_t expected_length; /* -1: not known */
    uint64_t length;
    struct digest *sha256, *md5;
    bool has_checksum, awaits_trailer;
    struct s3_checksum checksum;
    uint8_t want_sha256[SHA256_BYTES], want_md5[MD5_BYTES], want_checksum[S3_CHECKSUM_MAX_BYTES];
};

/* False: an announcement has the wrong form, or a form that is not implemented. The caller calls s3_digest_done in
 * either case. */
bool s3_digest_start(const struct s3_announced *announced, struct s3_digest *d, struct s3_refusal *refusal);
/* False when the body is longer than announced, or hashing failed. */
bool s3_digest_update(struct s3_digest *d, struct slice piece, struct s3_refusal *refusal);
/* What followed the body. False: not what x-amz-trailer announced, or malformed. */
bool s3_digest_trailer(struct s3_digest *d, const char *name, const char *value, struct s3_refusal *refusal);
/* Call once, after the last byte. False: BadDigest, XAmzContentSHA256Mismatch, IncompleteBody, MalformedTrailerError.
 */
bool s3_digest_finish(struct s3_digest *d, struct s3_refusal *refusal);
/* The checksum in base64, once it was announced; "" if there is none. */
void s3_digest_checksum_text(const struct s3_digest *d, char ret[static S3_CHECKSUM_TEXT_BYTES]);
void s3_digest_done(struct s3_digest *d); /* accepts zeroed */

#endif
