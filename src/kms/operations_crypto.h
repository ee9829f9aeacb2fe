/* The steps that cryptographic operations have in common. Private to operations_*.c. */
#ifndef LOCKSET_KMS_OPERATIONS_CRYPTO_H
#define LOCKSET_KMS_OPERATIONS_CRYPTO_H

#include "kms/operations.h"

enum { KMSD_KEY_ID_MAX = 2048 };

#define WIPING_BUF(name, maximum)                                                                                      \
    AUTO(buf_done) struct buf name;                                                                                    \
    buf_init_wiping(&name, maximum)

/* An encryption context from the member `name`. The caller calls kmsd_context_done. */
struct result kmsd_read_context(struct kmsd_call *c, const char *name, struct kmsd_context *ret);
/* DryRunModifiers: ["IGNORE_CIPHERTEXT"] asks for the permission alone, with a KeyId and without a ciphertext. */
struct result kmsd_read_modifiers(struct kmsd_call *c, bool *ret_ignore_ciphertext);
struct result kmsd_refuse_recipient(struct kmsd_call *c);
/* An encryption algorithm other than that of the key, or a context for a key that takes none. */
struct result kmsd_check_algorithm(struct kmsd_call *c, const char *name, const struct kmsd_key *k,
                                   const struct kmsd_context *context);
/* The key a ciphertext is to be opened with: the one that key_id names, or (NULL) the one that the ciphertext names.
 * *ret is set also if it is another key than the ciphertext's. */
struct result kmsd_find_for_decrypt(struct kmsd_call *c, const char *key_id, struct slice ciphertext,
                                    const struct kmsd_context *context, struct kmsd_blob *ret_blob,
                                    struct kmsd_key **ret);
/* Appends the plaintext (out: a wiping buffer). *ret_material is borrowed from the key. */
struct result kmsd_open(struct kmsd_call *c, const struct kmsd_key *k, const struct kmsd_blob *blob,
                        const struct kmsd_context *context, struct buf *out, const struct kmsd_material **ret_material);
/* Seals under the key's current material and puts CiphertextBlob and KeyId into the answer. */
struct result kmsd_seal(struct kmsd_call *c, const struct kmsd_key *k, const struct kmsd_context *context,
                        struct slice plaintext);
/* Records that the key was used with success; the operation by the name that GetKeyLastUsage has for it. */
struct result kmsd_note_use(struct kmsd_call *c, const struct kmsd_key *k, const char *operation);
void kmsd_set_bytes(json_t *object, const char *name, struct slice bytes);

#endif
