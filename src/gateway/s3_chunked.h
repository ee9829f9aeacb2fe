/* The framing aws-chunked: a body in chunks with their sizes, each perhaps signed, with a trailer perhaps. Bytes in,
 * bytes out, in bounded memory; a chunk's bytes come out before its signature was seen, so nothing may be committed
 * before s3_chunked_finish. One owner, one thread.
 * Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and sigv4-streaming-trailers.html. */
#ifndef LOCKSET_GATEWAY_S3_CHUNKED_H
#define LOCKSET_GATEWAY_S3_CHUNKED_H

#include "aws/sigv4.h"
#include "base/crypto.h"
#include "gateway/s3_request.h"

enum { S3_CHUNKED_LINE_BYTES = 256 };

/* Where the chain of signatures starts: what the request's own signature was made with. Borrowed. */
struct s3_chunked_seed {
    struct slice signing_key;
    const char *amz_date, *scope, *signature;
};

struct s3_chunked {
    bool is_signed, has_trailer;
    struct s3_chunked_seed seed;
    uint64_t expected, decoded; /* bytes without framing */
    enum { S3_CHUNKED_SIZE, S3_CHUNKED_DATA, S3_CHUNKED_DATA_END, S3_CHUNKED_TRAILER, S3_CHUNKED_END } state;
    uint64_t left;        /* of the chunk */
    struct digest *chunk; /* its SHA-256, when signed */
    char previous[SIGV4_SIGNATURE_BYTES], claimed[SIGV4_SIGNATURE_BYTES];
    char line[S3_CHUNKED_LINE_BYTES];
    size_t line_len;
    bool trailer_signed;
    char trailer[S3_CHUNKED_LINE_BYTES]; /* "name" NUL "value" NUL; "" if there was none */
};

/* form: SIGV4_PAYLOAD_STREAMING, ..._TRAILER, ..._UNSIGNED_TRAILER. The caller calls s3_chunked_done. */
void s3_chunked_start(enum sigv4_payload form, uint64_t decoded_length, const struct s3_chunked_seed *seed,
                      struct s3_chunked *ret);
/* Takes from *in, and gives out what is content of it: *ret_data lies in *in, perhaps empty. Call until *in is empty.
 * False: malformed, longer than announced, or a signature that is not right. */
bool s3_chunked_next(struct s3_chunked *c, struct slice *in, struct slice *ret_data, struct s3_refusal *refusal);
/* After the last byte. False: the body broke off. */
bool s3_chunked_finish(const struct s3_chunked *c, struct s3_refusal *refusal);
/* The trailer, if there was one. */
bool s3_chunked_trailer(const struct s3_chunked *c, const char **ret_name, const char **ret_value);
void s3_chunked_done(struct s3_chunked *c); /* accepts zeroed */

#endif
