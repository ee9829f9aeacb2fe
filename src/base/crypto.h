/* The only home of OpenSSL's EVP interface. Keys are 32 bytes unless said. No state is shared between objects, so
 * distinct objects may be used by distinct threads; one object by one thread at a time. */
#ifndef LOCKSET_BASE_CRYPTO_H
#define LOCKSET_BASE_CRYPTO_H

#include "base/buf.h"
#include "base/secret.h"

enum {
    SHA256_BYTES = 32,
    MD5_BYTES = 16,
    SHA1_BYTES = 20,
    KEY_BYTES = 32,
    GCM_NONCE_BYTES = 12,
    GCM_TAG_BYTES = 16,
    SIV_TAG_BYTES = 16
};

/* Fills p with n random bytes fit for keys; INTERNAL if the generator fails. */
struct result random_bytes(void *p, size_t n);

/* One-shot digests and MACs. SHA-256: FIPS 180-4. HMAC: RFC 2104. */
struct result sha256(struct slice in, uint8_t ret[static SHA256_BYTES]);
struct result hmac_sha256(struct slice key, struct slice in, uint8_t ret[static SHA256_BYTES]);
/* RFC 5869 extract-and-expand; len at most 255 * 32. */
struct result hkdf_sha256(struct slice key, struct slice salt, struct slice info, uint8_t *ret, size_t len);

/* Streaming digests. */
enum digest_kind { DIGEST_SHA256, DIGEST_MD5, DIGEST_SHA1 /* a checksum only, never a proof */ };
struct digest; /* opaque */
struct result digest_new(enum digest_kind kind, struct digest **ret);
struct result digest_update(struct digest *d, struct slice in);
/* Writes 32, 16 or 20 bytes; the object can only be freed afterwards. */
struct result digest_finish(struct digest *d, uint8_t *ret);
struct digest *digest_free(struct digest *d); /* accepts NULL, returns NULL */
static inline void digest_free_auto(struct digest **d) {
    digest_free(*d);
}

/* AES-256-GCM (NIST SP 800-38D), a 96-bit nonce and a 128-bit tag. The caller guarantees that a nonce is used once per
 * key. An object keeps the key's schedule; free it as soon as the stream ends. */
struct gcm; /* opaque */
struct result gcm_new(struct slice key, struct gcm **ret);
/* out: in.len bytes of ciphertext followed by the 16-byte tag; may be in.data itself (in place). */
struct result gcm_seal(struct gcm *g, const uint8_t nonce[static GCM_NONCE_BYTES], struct slice aad, struct slice in,
                       uint8_t *out);
/* in: ciphertext and tag. out: in.len - 16 bytes. CORRUPT if it does not verify; out is then wiped. */
struct result gcm_open(struct gcm *g, const uint8_t nonce[static GCM_NONCE_BYTES], struct slice aad, struct slice in,
                       uint8_t *out);
/* GMAC (NIST SP 800-38D section 3): a tag over aad and text one after the other, nothing encrypted. */
struct result gcm_mark(struct gcm *g, const uint8_t nonce[static GCM_NONCE_BYTES], struct slice aad, struct slice text,
                       uint8_t ret_tag[static GCM_TAG_BYTES]);
/* CORRUPT if the tag is another one. */
struct result gcm_verify(struct gcm *g, const uint8_t nonce[static GCM_NONCE_BYTES], struct slice aad,
                         struct slice text, const uint8_t tag[static GCM_TAG_BYTES]);
struct gcm *gcm_free(struct gcm *g);
static inline void gcm_free_auto(struct gcm **g) {
    gcm_free(*g);
}

/* AES-256-SIV, deterministic (RFC 5297; key of 64 bytes), one associated-data string. Output: the 16-byte synthetic IV,
 * then in.len bytes. in must not be empty. */
struct result siv_seal(struct slice key64, struct slice aad, struct slice in, struct buf *out);
struct result siv_open(struct slice key64, struct slice aad, struct slice in, struct buf *out);

/* Checksums of S3 requests (crc.c); start with 0. */
uint32_t crc32_update(uint32_t crc, struct slice in);     /* zlib's */
uint32_t crc32c_update(uint32_t crc, struct slice in);    /* Castagnoli, RFC 3720 */
uint64_t crc64nvme_update(uint64_t crc, struct slice in); /* NVMe's, Rocksoft */
/* Of A and B one after the other, from those of A and of B, and B's length. */
uint64_t crc64nvme_join(uint64_t of_a, uint64_t of_b, uint64_t b_bytes);

#endif
