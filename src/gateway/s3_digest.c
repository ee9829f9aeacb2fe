#include "gateway/s3_digest.h"

#include <string.h>

#include "aws/sigv4.h"

void s3_digest_done(struct s3_digest *d) {
    d->sha256 = digest_free(d->sha256);
    d->md5 = digest_free(d->md5);
    s3_checksum_done(&d->checksum);
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

static bool refuse(struct s3_refusal *refusal, enum s3_error error) {
    s3_refuse(refusal, error, "%s", s3_error_text(error));
    return false;
}

static bool start_payload(const struct s3_announced *announced, struct s3_digest *d, struct s3_refusal *refusal) {
    switch (sigv4_payload_parse(announced->content_sha256, d->want_sha256)) {
    case SIGV4_PAYLOAD_ABSENT:
    case SIGV4_PAYLOAD_UNSIGNED:
    case SIGV4_PAYLOAD_STREAMING:
        break;
    case SIGV4_PAYLOAD_SHA256:
        if (is_err(digest_new(DIGEST_SHA256, &d->sha256))) return failed_hashing(refusal);
        break;
    case SIGV4_PAYLOAD_STREAMING_TRAILER:
    case SIGV4_PAYLOAD_STREAMING_UNSIGNED_TRAILER:
        return true;
    case SIGV4_PAYLOAD_STREAMING_ECDSA:
        s3_refuse(refusal, S3_ERR_NOT_IMPLEMENTED, "%.64s is not implemented", announced->content_sha256);
        return false;
    case SIGV4_PAYLOAD_INVALID:
    default:
        s3_refuse(refusal, S3_ERR_INVALID_ARGUMENT,
                  "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-... or 64 lower-case hex digits");
        return false;
    }
    if (announced->trailer == NULL) return true;
    s3_refuse(refusal, S3_ERR_INVALID_REQUEST, "x-amz-trailer needs an x-amz-content-sha256 that ends with -TRAILER");
    return false;
}

/* Which checksum, from where. */
static bool choose_checksum(const struct s3_announced *announced, struct s3_digest *d, struct s3_refusal *refusal) {
    enum s3_checksum_kind kind = S3_CHECKSUM_MAX;
    size_t count = announced->trailer != NULL ? 1 : 0;
    for (unsigned i = 0; i < S3_CHECKSUM_MAX; i++) {
        if (announced->checksums[i] == NULL) continue;
        kind = (enum s3_checksum_kind)i;
        count++;
    }
    if (count > 1) {
        s3_refuse(refusal, S3_ERR_INVALID_REQUEST, "only one x-amz-checksum- header or trailer is allowed");
        return false;
    }
    if (announced->trailer != NULL && !s3_checksum_of_header(announced->trailer, &kind)) {
        s3_refuse(refusal, S3_ERR_INVALID_REQUEST, "the value of x-amz-trailer is not supported");
        return false;
    }
    enum s3_checksum_kind named = S3_CHECKSUM_MAX;
    if (announced->sdk_algorithm != NULL && (!s3_checksum_of_name(announced->sdk_algorithm, &named) || named != kind)) {
        s3_refuse(refusal, S3_ERR_INVALID_REQUEST,
                  "x-amz-sdk-checksum-algorithm has no x-amz-checksum- header or x-amz-trailer that goes with it");
        return false;
    }
    d->has_checksum = count == 1;
    d->awaits_trailer = announced->trailer != NULL;
    d->checksum.kind = kind;
    return true;
}

static bool take_checksum(struct s3_digest *d, const char *value, struct s3_refusal *refusal) {
    if (base64_bytes(value, d->want_checksum, s3_checksum_bytes(d->checksum.kind))) return true;
    s3_refuse(refusal, S3_ERR_INVALID_REQUEST, "%s must be the base64 form of %zu bytes",
              s3_checksum_header(d->checksum.kind), s3_checksum_bytes(d->checksum.kind));
    return false;
}

bool s3_digest_start(const struct s3_announced *announced, struct s3_digest *d, struct s3_refusal *refusal) {
    *d = (struct s3_digest){.expected_length = announced->length};
    if (!start_payload(announced, d, refusal)) return false;
    if (announced->content_md5 != NULL) {
        if (!base64_bytes(announced->content_md5, d->want_md5, MD5_BYTES))
            return refuse(refusal, S3_ERR_INVALID_DIGEST);
        if (is_err(digest_new(DIGEST_MD5, &d->md5))) return failed_hashing(refusal);
    }
    if (!choose_checksum(announced, d, refusal)) return false;
    if (!d->has_checksum) return true;
    if (!d->awaits_trailer && !take_checksum(d, announced->checksums[d->checksum.kind], refusal)) return false;
    return is_ok(s3_checksum_start(d->checksum.kind, &d->checksum)) || failed_hashing(refusal);
}

bool s3_digest_update(struct s3_digest *d, struct slice piece, struct s3_refusal *refusal) {
    d->length += piece.len;
    if (d->expected_length >= 0 && d->length > (uint64_t)d->expected_length) {
        s3_refuse(refusal, S3_ERR_INCOMPLETE_BODY, "the body is longer than its headers said");
        return false;
    }
    if (d->sha256 != NULL && is_err(digest_update(d->sha256, piece))) return failed_hashing(refusal);
    if (d->md5 != NULL && is_err(digest_update(d->md5, piece))) return failed_hashing(refusal);
    if (d->has_checksum && is_err(s3_checksum_update(&d->checksum, piece))) return failed_hashing(refusal);
    return true;
}

bool s3_digest_trailer(struct s3_digest *d, const char *name, const char *value, struct s3_refusal *refusal) {
    enum s3_checksum_kind kind;
    if (!d->awaits_trailer || !s3_checksum_of_header(name, &kind) || kind != d->checksum.kind)
        return refuse(refusal, S3_ERR_MALFORMED_TRAILER);
    d->awaits_trailer = false;
    return take_checksum(d, value, refusal);
}

static bool finish_checksum(struct s3_digest *d, struct s3_refusal *refusal) {
    if (!d->has_checksum) return true;
    if (d->awaits_trailer) return refuse(refusal, S3_ERR_MALFORMED_TRAILER);
    uint8_t got[S3_CHECKSUM_MAX_BYTES];
    size_t n = s3_checksum_bytes(d->checksum.kind);
    if (is_err(s3_checksum_finish(&d->checksum, got))) return failed_hashing(refusal);
    if (secret_equal(slice_make(got, n), slice_make(d->want_checksum, n))) return true;
    s3_refuse(refusal, S3_ERR_BAD_DIGEST, "The %s that was announced is not the body's.",
              s3_checksum_name(d->checksum.kind));
    return false;
}

bool s3_digest_finish(struct s3_digest *d, struct s3_refusal *refusal) {
    if (d->expected_length >= 0 && d->length != (uint64_t)d->expected_length)
        return refuse(refusal, S3_ERR_INCOMPLETE_BODY);
    uint8_t sha[SHA256_BYTES], md5[MD5_BYTES];
    if (d->sha256 != NULL && is_err(digest_finish(d->sha256, sha))) return failed_hashing(refusal);
    if (d->md5 != NULL && is_err(digest_finish(d->md5, md5))) return failed_hashing(refusal);
    if (d->sha256 != NULL && !secret_equal(slice_make(sha, sizeof sha), slice_make(d->want_sha256, sizeof sha)))
        return refuse(refusal, S3_ERR_CONTENT_SHA256_MISMATCH);
    if (d->md5 != NULL && !secret_equal(slice_make(md5, sizeof md5), slice_make(d->want_md5, sizeof md5)))
        return refuse(refusal, S3_ERR_BAD_DIGEST);
    return finish_checksum(d, refusal);
}

void s3_digest_checksum_text(const struct s3_digest *d, char ret[static S3_CHECKSUM_TEXT_BYTES]) {
    ret[0] = '\0';
    if (!d->has_checksum || d->awaits_trailer) return;
    BUF_AUTO(text, S3_CHECKSUM_TEXT_BYTES);
    base64_encode(slice_make(d->want_checksum, s3_checksum_bytes(d->checksum.kind)), &text);
    if (is_ok(buf_check(&text))) mem_copy(ret, buf_str(&text), text.len + 1);
}
