/* What Encrypt and the data-key calls hand out, and how key material rests on disk. Pure but for random bytes;
 * thread-safe.
 *
 * A ciphertext blob:  version 0x01 | key id, 36 characters | material id, 32 bytes | salt, 16 | nonce, 12 |
 *                     ciphertext | tag, 16
 * Key: HKDF-SHA256(material, salt, "lockset-kms ciphertext v1"), so every blob has its own and no nonce limit counts.
 * Cipher: AES-256-GCM with everything before the ciphertext, and the encryption context's one byte form, as
 * associated data. Clients treat blobs as opaque, as AWS asks them to.
 *
 * Wrapped material:   version 0x01 | salt, 32 bytes | ciphertext, 32 | tag, 16
 * Key: HKDF-SHA256(root key, salt, "lockset-kms material v1"); nonce zero (each salt is used once); associated data:
 * account, key id and material id. */
#ifndef LOCKSET_KMS_BLOB_H
#define LOCKSET_KMS_BLOB_H

#include "base/crypto.h"
#include "kms/context.h"

enum {
    KMSD_KEY_ID_CHARS = 36,
    KMSD_MATERIAL_ID_BYTES = 32,
    KMSD_BLOB_SALT_BYTES = 16,
    KMSD_BLOB_HEADER_BYTES = 1 + KMSD_KEY_ID_CHARS + KMSD_MATERIAL_ID_BYTES + KMSD_BLOB_SALT_BYTES + GCM_NONCE_BYTES,
    KMSD_BLOB_OVERHEAD = KMSD_BLOB_HEADER_BYTES + GCM_TAG_BYTES,
    KMSD_BLOB_MAX_BYTES = 6144,
    KMSD_WRAP_SALT_BYTES = 32,
    KMSD_WRAPPED_BYTES = 1 + KMSD_WRAP_SALT_BYTES + KEY_BYTES + GCM_TAG_BYTES
};

/* A blob taken apart; slices are borrowed from the blob. */
struct kmsd_blob {
    char key_id[KMSD_KEY_ID_CHARS + 1];
    uint8_t material_id[KMSD_MATERIAL_ID_BYTES];
    struct slice header, salt, nonce, sealed;
};
/* CORRUPT unless it has the form of a blob. Says nothing about its authenticity. */
struct result kmsd_blob_parse(struct slice bytes, struct kmsd_blob *ret);
/* Appends a blob. material: 32 bytes. */
struct result kmsd_blob_seal(struct slice material, const char *key_id,
                             const uint8_t material_id[static KMSD_MATERIAL_ID_BYTES],
                             const struct kmsd_context *context, struct slice plaintext, struct buf *out);
/* Appends the plaintext (out should be a wiping buffer). CORRUPT if blob or context differ from what was sealed. */
struct result kmsd_blob_open(struct slice material, const struct kmsd_blob *blob, const struct kmsd_context *context,
                             struct buf *out);

struct result kmsd_wrap(struct slice root_key, struct slice bound_to, struct slice material,
                        uint8_t ret[static KMSD_WRAPPED_BYTES]);
/* CORRUPT if it was wrapped under another root key, or bound to something else. */
struct result kmsd_unwrap(struct slice root_key, struct slice bound_to,
                          const uint8_t wrapped[static KMSD_WRAPPED_BYTES], struct secret *ret);

#endif
