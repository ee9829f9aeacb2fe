#include "kms/blob.h"

static const uint8_t version = 1;

struct result kmsd_blob_parse(struct slice bytes, struct kmsd_blob *ret) {
    struct slice rest = bytes, key_id, material_id;
    struct kmsd_blob b = {0};
    uint8_t first = 0;
    bool whole = bytes.len <= KMSD_BLOB_MAX_BYTES && take_u8(&rest, &first) && first == version &&
                 take_bytes(&rest, KMSD_KEY_ID_CHARS, &key_id) &&
                 take_bytes(&rest, KMSD_MATERIAL_ID_BYTES, &material_id) &&
                 take_bytes(&rest, KMSD_BLOB_SALT_BYTES, &b.salt) && take_bytes(&rest, GCM_NONCE_BYTES, &b.nonce) &&
                 rest.len > GCM_TAG_BYTES && !slice_has_nul(key_id);
    CHECK(whole, ERR_CORRUPT, "not a ciphertext blob");
    mem_copy(b.key_id, key_id.data, key_id.len);
    mem_copy(b.material_id, material_id.data, material_id.len);
    b.header = slice_make(bytes.data, KMSD_BLOB_HEADER_BYTES);
    b.sealed = rest;
    *ret = b;
    return OK;
}

static struct result blob_cipher(struct slice material, struct slice salt, struct gcm **ret) {
    SECRET_AUTO(key);
    TRY(secret_new(KEY_BYTES, &key));
    TRY(hkdf_sha256(material, salt, slice_str("lockset-kms ciphertext v1"), key.data, key.len));
    return gcm_new(secret_view(&key), ret);
}

struct result kmsd_blob_seal(struct slice material, const char *key_id,
                             const uint8_t material_id[static KMSD_MATERIAL_ID_BYTES],
                             const struct kmsd_context *context, struct slice plaintext, struct buf *out) {
    uint8_t salt_nonce[KMSD_BLOB_SALT_BYTES + GCM_NONCE_BYTES];
    TRY(random_bytes(salt_nonce, sizeof salt_nonce));
    size_t start = out->len;
    buf_append_byte(out, version);
    buf_append(out, key_id, KMSD_KEY_ID_CHARS);
    buf_append(out, material_id, KMSD_MATERIAL_ID_BYTES);
    buf_append(out, salt_nonce, sizeof salt_nonce);
    uint8_t *sealed = buf_reserve(out, plaintext.len + GCM_TAG_BYTES);
    TRY(buf_check(out));

    BUF_AUTO(bound, 1 << 20);
    buf_append(&bound, out->data + start, KMSD_BLOB_HEADER_BYTES);
    kmsd_context_write(context, &bound);
    TRY(buf_check(&bound));
    AUTO(gcm_free_auto) struct gcm *cipher = NULL;
    TRY(blob_cipher(material, slice_make(salt_nonce, KMSD_BLOB_SALT_BYTES), &cipher));
    TRY(gcm_seal(cipher, salt_nonce + KMSD_BLOB_SALT_BYTES, buf_slice(&bound), plaintext, sealed));
    out->len += plaintext.len + GCM_TAG_BYTES;
    return OK;
}

struct result kmsd_blob_open(struct slice material, const struct kmsd_blob *blob, const struct kmsd_context *context,
                             struct buf *out) {
    BUF_AUTO(bound, 1 << 20);
    buf_append_slice(&bound, blob->header);
    kmsd_context_write(context, &bound);
    TRY(buf_check(&bound));
    AUTO(gcm_free_auto) struct gcm *cipher = NULL;
    TRY(blob_cipher(material, blob->salt, &cipher));
    uint8_t *plain = buf_reserve(out, blob->sealed.len - GCM_TAG_BYTES);
    TRY(buf_check(out));
    TRY(gcm_open(cipher, blob->nonce.data, buf_slice(&bound), blob->sealed, plain));
    out->len += blob->sealed.len - GCM_TAG_BYTES;
    return OK;
}

static const uint8_t zero_nonce[GCM_NONCE_BYTES];

static struct result wrap_cipher(struct slice root_key, struct slice salt, struct gcm **ret) {
    SECRET_AUTO(key);
    TRY(secret_new(KEY_BYTES, &key));
    TRY(hkdf_sha256(root_key, salt, slice_str("lockset-kms material v1"), key.data, key.len));
    return gcm_new(secret_view(&key), ret);
}

struct result kmsd_wrap(struct slice root_key, struct slice bound_to, struct slice material,
                        uint8_t ret[static KMSD_WRAPPED_BYTES]) {
    CHECK(material.len == KEY_BYTES, ERR_INTERNAL, "key material of %zu bytes", material.len);
    ret[0] = version;
    TRY(random_bytes(ret + 1, KMSD_WRAP_SALT_BYTES));
    AUTO(gcm_free_auto) struct gcm *cipher = NULL;
    TRY(wrap_cipher(root_key, slice_make(ret + 1, KMSD_WRAP_SALT_BYTES), &cipher));
    return gcm_seal(cipher, zero_nonce, bound_to, material, ret + 1 + KMSD_WRAP_SALT_BYTES);
}

struct result kmsd_unwrap(struct slice root_key, struct slice bound_to,
                          const uint8_t wrapped[static KMSD_WRAPPED_BYTES], struct secret *ret) {
    CHECK(wrapped[0] == version, ERR_CORRUPT, "key material of an unknown version");
    SECRET_AUTO(material);
    TRY(secret_new(KEY_BYTES, &material));
    AUTO(gcm_free_auto) struct gcm *cipher = NULL;
    TRY(wrap_cipher(root_key, slice_make(wrapped + 1, KMSD_WRAP_SALT_BYTES), &cipher));
    struct slice sealed = slice_make(wrapped + 1 + KMSD_WRAP_SALT_BYTES, KEY_BYTES + GCM_TAG_BYTES);
    TRY(gcm_open(cipher, zero_nonce, bound_to, sealed, material.data));
    *ret = material;
    material = (struct secret){0};
    return OK;
}
