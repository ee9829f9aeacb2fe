/* The checksums that S3 knows of a body, x-amz-checksum-...: names, and computing them.
 * Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html. One owner, one thread.
 */
#ifndef LOCKSET_GATEWAY_S3_CHECKSUM_H
#define LOCKSET_GATEWAY_S3_CHECKSUM_H

#include "base/crypto.h"

enum s3_checksum_kind {
    S3_CHECKSUM_CRC32,
    S3_CHECKSUM_CRC32C,
    S3_CHECKSUM_CRC64NVME,
    S3_CHECKSUM_SHA1,
    S3_CHECKSUM_SHA256,
    S3_CHECKSUM_MAX
};

enum { S3_CHECKSUM_MAX_BYTES = 32, S3_CHECKSUM_TEXT_BYTES = 64 /* base64, perhaps "-10000", NUL */ };

const char *s3_checksum_header(enum s3_checksum_kind kind);  /* "x-amz-checksum-crc32" */
const char *s3_checksum_name(enum s3_checksum_kind kind);    /* "CRC32" */
const char *s3_checksum_element(enum s3_checksum_kind kind); /* "ChecksumCRC32" */
size_t s3_checksum_bytes(enum s3_checksum_kind kind);
/* Of a header's name, in any case; of an algorithm's name. False: none of them. */
bool s3_checksum_of_header(const char *header, enum s3_checksum_kind *ret);
bool s3_checksum_of_name(const char *name, enum s3_checksum_kind *ret);

struct s3_checksum {
    enum s3_checksum_kind kind;
    uint64_t crc;
    struct digest *digest; /* NULL for the CRCs */
};
/* INTERNAL if hashing fails. The caller calls s3_checksum_done in any case. */
struct result s3_checksum_start(enum s3_checksum_kind kind, struct s3_checksum *ret);
struct result s3_checksum_update(struct s3_checksum *c, struct slice piece);
/* Once. Writes s3_checksum_bytes(kind) bytes, big-endian. */
struct result s3_checksum_finish(struct s3_checksum *c, uint8_t ret[static S3_CHECKSUM_MAX_BYTES]);
void s3_checksum_done(struct s3_checksum *c); /* accepts zeroed */

/* An object's checksum out of those of its parts, in their order: CRC64NVME is joined to the one of the whole content;
 * of the others, as S3 does, it is the checksum of the parts' checksums, followed by "-<parts>". */
struct s3_checksum_join {
    struct s3_checksum over;
    unsigned parts;
};
struct result s3_checksum_join_start(enum s3_checksum_kind kind, struct s3_checksum_join *ret);
/* text: base64. INVALID if it isn't a checksum of that kind. */
struct result s3_checksum_join_add(struct s3_checksum_join *j, const char *text, uint64_t part_bytes);
struct result s3_checksum_join_finish(struct s3_checksum_join *j, char ret[static S3_CHECKSUM_TEXT_BYTES]);
void s3_checksum_join_done(struct s3_checksum_join *j); /* accepts zeroed */

/* "FULL_OBJECT" or "COMPOSITE": of a value, and of what joining makes. */
const char *s3_checksum_type(const char *text);
const char *s3_checksum_join_type(enum s3_checksum_kind kind);

#endif
