/* ReEncrypt: from one key, context or material to another, without the plaintext leaving. Two permissions:
 * kms:ReEncryptFrom of the source, kms:ReEncryptTo of the destination. And GenerateRandom, which needs no key.
 * Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_ReEncrypt.html */
#include <string.h>

#include "kms/operations_crypto.h"

struct reencrypt {
    const char *source_id, *destination_id;
    bool ignore_ciphertext;
    struct buf ciphertext;
    struct kmsd_context source, destination;
};

static void reencrypt_done(struct reencrypt *r) {
    buf_done(&r->ciphertext);
    kmsd_context_done(&r->source);
    kmsd_context_done(&r->destination);
}

static struct result read_input(struct kmsd_call *c, struct reencrypt *r) {
    bool given = false;
    TRY(kmsd_opt_blob(c, "CiphertextBlob", 1, KMSD_BLOB_MAX_BYTES, &r->ciphertext, &given));
    TRY(kmsd_opt_str(c, "SourceKeyId", 1, KMSD_KEY_ID_MAX, &r->source_id));
    TRY(kmsd_get_str(c, "DestinationKeyId", 1, KMSD_KEY_ID_MAX, &r->destination_id));
    TRY(kmsd_read_context(c, "SourceEncryptionContext", &r->source));
    TRY(kmsd_read_context(c, "DestinationEncryptionContext", &r->destination));
    TRY(kmsd_check_grant_tokens(c));
    TRY(kmsd_read_modifiers(c, &r->ignore_ciphertext));
    if (r->ignore_ciphertext && r->source_id == NULL)
        REFUSE(c, VALIDATION, "SourceKeyId is required when IGNORE_CIPHERTEXT is specified.");
    if (!given && !r->ignore_ciphertext)
        REFUSE(c, VALIDATION,
               "1 validation error detected: Value null at 'ciphertextBlob' failed to satisfy constraint: Member must "
               "not be null");
    return OK;
}

struct result kmsd_re_encrypt(struct kmsd_call *c) {
    AUTO(reencrypt_done) struct reencrypt r = {0};
    AUTO(kmsd_key_unref_auto) struct kmsd_key *from = NULL, *to = NULL;
    struct kmsd_blob blob = {0};
    buf_init(&r.ciphertext, KMSD_BLOB_MAX_BYTES + 1);
    TRY(read_input(c, &r));
    c->operation = "ReEncryptFrom";
    if (r.ignore_ciphertext)
        TRY(kmsd_find_authorized(c, r.source_id, KMSD_TAKES_ALIAS | KMSD_CROSS_ACCOUNT, &r.source, &from));
    else
        TRY(kmsd_find_for_decrypt(c, r.source_id, buf_slice(&r.ciphertext), &r.source, &blob, &from));
    c->operation = "ReEncryptTo";
    TRY(kmsd_find_authorized(c, r.destination_id, KMSD_TAKES_ALIAS | KMSD_CROSS_ACCOUNT, &r.destination, &to));
    TRY(kmsd_check_algorithm(c, "SourceEncryptionAlgorithm", from, &r.source));
    TRY(kmsd_check_algorithm(c, "DestinationEncryptionAlgorithm", to, &r.destination));
    TRY(kmsd_check_enabled(c, from));
    TRY(kmsd_check_enabled(c, to));
    TRY(kmsd_check_dry_run(c));
    const struct kmsd_material *material = NULL;
    WIPING_BUF(plaintext, KMSD_BLOB_MAX_BYTES + 1);
    TRY(kmsd_open(c, from, &blob, &r.source, &plaintext, &material));
    TRY(kmsd_seal(c, to, &r.destination, buf_slice(&plaintext)));
    json_object_set_new(c->output, "SourceKeyId", json_string(from->arn));
    json_object_set_new(c->output, "SourceKeyMaterialId", json_string(material->id));
    json_object_set_new(c->output, "DestinationKeyMaterialId", json_string(kmsd_key_current(to)->id));
    json_object_set_new(c->output, "SourceEncryptionAlgorithm", json_string("SYMMETRIC_DEFAULT"));
    json_object_set_new(c->output, "DestinationEncryptionAlgorithm", json_string("SYMMETRIC_DEFAULT"));
    TRY(kmsd_note_use(c, from, "ReEncrypt"));
    return kmsd_note_use(c, to, "ReEncrypt");
}

struct result kmsd_generate_random(struct kmsd_call *c) {
    int64_t bytes = 0;
    bool given = false;
    const char *store = NULL;
    TRY(kmsd_opt_int(c, "NumberOfBytes", 1, 1024, &bytes, &given));
    TRY(kmsd_opt_str(c, "CustomKeyStoreId", 1, 64, &store));
    if (!given) REFUSE(c, VALIDATION, "NumberOfBytes is required.");
    if (store != NULL) REFUSE(c, UNSUPPORTED_OPERATION, "Custom key stores are not served here.");
    TRY(kmsd_refuse_recipient(c));
    SECRET_AUTO(random);
    TRY(secret_random((size_t)bytes, &random));
    c->output = json_object();
    kmsd_set_bytes(c->output, "Plaintext", secret_view(&random));
    return OK;
}
