#include "gateway/s3_digest.h"

#include <string.h>

#include "aws/sigv4.h"

void s3_digest_done(struct s3_digest *d) {
    d->sha256 = digest_free(d->sha256);
    d->md5 = digest_free(d->md5);
}

/* Exactly n bytes out of base64. */
static bool base64_bytes(const char *text, uint8_t *ret, size_t n) {
    BUF_AUTO(bytes, 128);
    if (strlen(text) > 64 || is_err(base64_decode(slice_str(text), &bytes)) || bytes.len != n) return false;
    mem_copy(ret, bytes.data, n);
    return true;
}

static bool failed_hashing(struct s3_refusal *refusal) {
    s3_refuse(refusal, S3_ERR_INTERNAL, "the body could not be hashed");
    return false;
}

static bool start_payload(const char *content_sha256, struct s3_digest *d, struct s3_refusal *refusal) {
    switch (sigv4_payload_parse(content_sha256, d->want_sha256)) {
    case SIGV4_PAYLOAD_ABSENT:
    case SIGV4_PAYLOAD_UNSIGNED:
        return true;
    case SIGV4_PAYLOAD_SHA256:
        d->checks_sha256 = true;
        return true;
    case SIGV4_PAYLOAD_STREAMING:
    case SIGV4_PAYLOAD_STREAMING_TRAILER:
    case SIGV4_PAYLOAD_STREAMING_UNSIGNED_TRAILER:
    case SIGV4_PAYLOAD_STREAMING_ECDSA:
        s3_refuse(refusal, S3_ERR_NOT_IMPLEMENTED,
                  "%.64s (aws-chunked) is not implemented; with a newer SDK set request_checksum_calculation to "
                  "when_required",
                  content_sha256);
        return false;
    case SIGV4_PAYLOAD_INVALID:
    default:
        s3_refuse(refusal, S3_ERR_INVALID_ARGUMENT,
                  "x-amz-content-sha256 must be UNSIGNED-PAYLOAD or 64 lower-case hex digits");
        return false;
    }
}

bool s3_digest_start(const struct s3_announced *announced, struct s3_digest *d, struct s3_refusal *refusal) {
    *d = (struct s3_digest){.expected_length = announced->length};
    if (!start_payload(announced->content_sha256, d, refusal)) return false;
    if (announced->content_md5 != NULL) {
        if (!base64_bytes(announced->content_md5, d->want_md5, MD5_BYTES)) {
            s3_refuse(refusal, S3_ERR_INVALID_DIGEST, "%s", s3_error_text(S3_ERR_INVALID_DIGEST));
            return false;
        }
        if (is_err(digest_new(DIGEST_MD5, &d->md5))) return failed_hashing(refusal);
    }
    uint8_t crc[4];
    if (announced->checksum_crc32 != NULL) {
        if (!base64_bytes(announced->checksum_crc32, crc, sizeof crc)) {
            s3_refuse(refusal, S3_ERR_INVALID_REQUEST, "x-amz-checksum-crc32 must be the base64 form of 4 bytes");
            return false;
        }
        d->checks_crc32 = true;
        d->want_crc32 = (uint32_t)crc[0] << 24 | (uint32_t)crc[1] << 16 | (uint32_t)crc[2] << 8 | crc[3];
    }
    if (announced->checksum_sha256 != NULL) {
        if (!base64_bytes(announced->checksum_sha256, d->want_checksum_sha256, SHA256_BYTES)) {
            s3_refuse(refusal, S3_ERR_INVALID_REQUEST, "x-amz-checksum-sha256 must be the base64 form of 32 bytes");
            return false;
        }
        d->checks_checksum_sha256 = true;
    }
    if ((d->checks_sha256 || d->checks_checksum_sha256) && is_err(digest_new(DIGEST_SHA256, &d->sha256)))
        return failed_hashing(refusal);
    return true;
}

bool s3_digest_update(struct s3_digest *d, struct slice piece, struct s3_refusal *refusal) {
    d->length += piece.len;
    if (d->expected_length >= 0 && d->length > (uint64_t)d->expected_length) {
        s3_refuse(refusal, S3_ERR_INCOMPLETE_BODY, "the body is longer than Content-Length said");
        return false;
    }
    if (d->sha256 != NULL && is_err(digest_update(d->sha256, piece))) return failed_hashing(refusal);
    if (d->md5 != NULL && is_err(digest_update(d->md5, piece))) return failed_hashing(refusal);
    if (d->checks_crc32) d->crc32 = crc32_update(d->crc32, piece);
    return true;
}

static bool refuse(struct s3_refusal *refusal, enum s3_error error) {
    s3_refuse(refusal, error, "%s", s3_error_text(error));
    return false;
}

bool s3_digest_finish(struct s3_digest *d, struct s3_refusal *refusal) {
    if (d->expected_length >= 0 && d->length != (uint64_t)d->expected_length)
        return refuse(refusal, S3_ERR_INCOMPLETE_BODY);
    uint8_t sha[SHA256_BYTES], md5[MD5_BYTES];
    if (d->sha256 != NULL && is_err(digest_finish(d->sha256, sha))) return failed_hashing(refusal);
    if (d->md5 != NULL && is_err(digest_finish(d->md5, md5))) return failed_hashing(refusal);
    if (d->checks_sha256 && !secret_equal(slice_make(sha, sizeof sha), slice_make(d->want_sha256, sizeof sha)))
        return refuse(refusal, S3_ERR_CONTENT_SHA256_MISMATCH);
    if (d->checks_checksum_sha256 &&
        !secret_equal(slice_make(sha, sizeof sha), slice_make(d->want_checksum_sha256, sizeof sha)))
        return refuse(refusal, S3_ERR_BAD_DIGEST);
    if (d->md5 != NULL && !secret_equal(slice_make(md5, sizeof md5), slice_make(d->want_md5, sizeof md5)))
        return refuse(refusal, S3_ERR_BAD_DIGEST);
    if (d->checks_crc32 && d->crc32 != d->want_crc32) return refuse(refusal, S3_ERR_BAD_DIGEST);
    return true;
}
