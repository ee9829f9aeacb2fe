#include "gateway/s3_checksum.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *header, *name, *element;
    size_t bytes;
} kinds[S3_CHECKSUM_MAX] = {
    [S3_CHECKSUM_CRC32] = {"x-amz-checksum-crc32", "CRC32", "ChecksumCRC32", 4},
    [S3_CHECKSUM_CRC32C] = {"x-amz-checksum-crc32c", "CRC32C", "ChecksumCRC32C", 4},
    [S3_CHECKSUM_CRC64NVME] = {"x-amz-checksum-crc64nvme", "CRC64NVME", "ChecksumCRC64NVME", 8},
    [S3_CHECKSUM_SHA1] = {"x-amz-checksum-sha1", "SHA1", "ChecksumSHA1", SHA1_BYTES},
    [S3_CHECKSUM_SHA256] = {"x-amz-checksum-sha256", "SHA256", "ChecksumSHA256", SHA256_BYTES},
};

const char *s3_checksum_header(enum s3_checksum_kind kind) {
    return kinds[kind].header;
}

const char *s3_checksum_name(enum s3_checksum_kind kind) {
    return kinds[kind].name;
}

const char *s3_checksum_element(enum s3_checksum_kind kind) {
    return kinds[kind].element;
}

size_t s3_checksum_bytes(enum s3_checksum_kind kind) {
    return kinds[kind].bytes;
}

bool s3_checksum_of_header(const char *header, enum s3_checksum_kind *ret) {
    for (unsigned i = 0; i < S3_CHECKSUM_MAX; i++) {
        if (strcasecmp(kinds[i].header, header) != 0) continue;
        *ret = (enum s3_checksum_kind)i;
        return true;
    }
    return false;
}

bool s3_checksum_of_name(const char *name, enum s3_checksum_kind *ret) {
    for (unsigned i = 0; i < S3_CHECKSUM_MAX; i++) {
        if (strcasecmp(kinds[i].name, name) != 0) continue;
        *ret = (enum s3_checksum_kind)i;
        return true;
    }
    return false;
}

struct result s3_checksum_start(enum s3_checksum_kind kind, struct s3_checksum *ret) {
    *ret = (struct s3_checksum){.kind = kind};
    if (kind == S3_CHECKSUM_SHA1) return digest_new(DIGEST_SHA1, &ret->digest);
    if (kind == S3_CHECKSUM_SHA256) return digest_new(DIGEST_SHA256, &ret->digest);
    return OK;
}

struct result s3_checksum_update(struct s3_checksum *c, struct slice piece) {
    if (c->digest != NULL) return digest_update(c->digest, piece);
    if (c->kind == S3_CHECKSUM_CRC32) c->crc = crc32_update((uint32_t)c->crc, piece);
    if (c->kind == S3_CHECKSUM_CRC32C) c->crc = crc32c_update((uint32_t)c->crc, piece);
    if (c->kind == S3_CHECKSUM_CRC64NVME) c->crc = crc64nvme_update(c->crc, piece);
    return OK;
}

struct result s3_checksum_finish(struct s3_checksum *c, uint8_t ret[static S3_CHECKSUM_MAX_BYTES]) {
    if (c->digest != NULL) return digest_finish(c->digest, ret);
    size_t n = kinds[c->kind].bytes;
    for (size_t i = 0; i < n; i++)
        ret[i] = (uint8_t)(c->crc >> 8 * (n - 1 - i));
    return OK;
}

void s3_checksum_done(struct s3_checksum *c) {
    c->digest = digest_free(c->digest);
}

struct result s3_checksum_join_start(enum s3_checksum_kind kind, struct s3_checksum_join *ret) {
    *ret = (struct s3_checksum_join){0};
    return s3_checksum_start(kind, &ret->over);
}

struct result s3_checksum_join_add(struct s3_checksum_join *j, const char *text, uint64_t part_bytes) {
    BUF_AUTO(bytes, S3_CHECKSUM_MAX_BYTES);
    TRY(base64_decode(slice_str(text), &bytes));
    CHECK(bytes.len == kinds[j->over.kind].bytes, ERR_INVALID, "a checksum of another length");
    j->parts++;
    if (j->over.kind != S3_CHECKSUM_CRC64NVME) return s3_checksum_update(&j->over, buf_slice(&bytes));
    struct slice rest = buf_slice(&bytes);
    uint64_t crc = 0;
    CHECK(take_u64(&rest, &crc), ERR_INTERNAL, "a CRC of eight bytes has eight bytes");
    j->over.crc = crc64nvme_join(j->over.crc, crc, part_bytes);
    return OK;
}

struct result s3_checksum_join_finish(struct s3_checksum_join *j, char ret[static S3_CHECKSUM_TEXT_BYTES]) {
    uint8_t bytes[S3_CHECKSUM_MAX_BYTES];
    TRY(s3_checksum_finish(&j->over, bytes));
    BUF_AUTO(text, S3_CHECKSUM_TEXT_BYTES - 1);
    base64_encode(slice_make(bytes, kinds[j->over.kind].bytes), &text);
    if (j->over.kind != S3_CHECKSUM_CRC64NVME) buf_printf(&text, "-%u", j->parts);
    TRY(buf_check(&text));
    mem_copy(ret, buf_str(&text), text.len + 1);
    return OK;
}

void s3_checksum_join_done(struct s3_checksum_join *j) {
    s3_checksum_done(&j->over);
}

const char *s3_checksum_type(const char *text) {
    return strchr(text, '-') != NULL ? "COMPOSITE" : "FULL_OBJECT"; /* base64's alphabet has no '-' */
}

const char *s3_checksum_join_type(enum s3_checksum_kind kind) {
    return kind == S3_CHECKSUM_CRC64NVME ? "FULL_OBJECT" : "COMPOSITE";
}
