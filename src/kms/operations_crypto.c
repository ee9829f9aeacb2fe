#include "kms/operations_crypto.h"

#include <string.h>

enum { PLAINTEXT_MAX_BYTES = 4096, DATA_KEY_MAX_BYTES = 1024, KEY_ID_MAX = KMSD_KEY_ID_MAX };

static struct result check_encrypts(struct kmsd_call *c, const struct kmsd_key *k) {
    const struct kmsd_kind *kind = k->family.kind;
    if (strcmp(kind->usage, kmsd_symmetric->usage) != 0)
        REFUSE(c, INVALID_KEY_USAGE, "%s key usage is %s which is not valid for %s.", k->arn, kind->usage,
               c->operation);
    return OK;
}

struct result kmsd_check_algorithm(struct kmsd_call *c, const char *name, const struct kmsd_key *k,
                                   const struct kmsd_context *context) {
    static const char *const algorithms[] = {"SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "SM2PKE",
                                             NULL};
    const char *algorithm = algorithms[0];
    TRY(kmsd_opt_enum(c, name, algorithms, &algorithm));
    TRY(check_encrypts(c, k));
    if (!kmsd_kind_is_symmetric(k->family.kind) && context->count > 0)
        REFUSE(c, VALIDATION, "EncryptionContext is supported only for symmetric encryption keys.");
    for (const char *const *a = k->family.kind->algorithms; *a != NULL; a++)
        if (strcmp(*a, algorithm) == 0) {
            if (kmsd_kind_is_symmetric(k->family.kind)) return OK;
            REFUSE(c, UNSUPPORTED_OPERATION, "%s is not computed here: only symmetric keys encrypt.", algorithm);
        }
    REFUSE(c, INVALID_KEY_USAGE, "Algorithm %s is incompatible with key spec %s.", algorithm, k->family.kind->spec);
}

/* Data keys are made under symmetric keys alone. */
static struct result check_makes_data_keys(struct kmsd_call *c, const struct kmsd_key *k) {
    TRY(check_encrypts(c, k));
    if (!kmsd_kind_is_symmetric(k->family.kind))
        REFUSE(c, INVALID_KEY_USAGE, "%s key spec is %s which is not valid for %s.", k->arn, k->family.kind->spec,
               c->operation);
    return OK;
}

/* AWS takes numbers and booleans for their text; a fraction's is lost here, so it is refused. */
static void numbers_to_text(json_t *object) {
    const char *name;
    json_t *value;
    void *next;
    json_object_foreach_safe(object, next, name, value) {
        if (json_is_integer(value)) {
            AUTO_FREE char *number = str_format("%" JSON_INTEGER_FORMAT, json_integer_value(value));
            json_object_set_new(object, name, json_string(number));
        } else if (json_is_boolean(value)) {
            json_object_set_new(object, name, json_string(json_is_true(value) ? "true" : "false"));
        }
    }
}

struct result kmsd_read_context(struct kmsd_call *c, const char *name, struct kmsd_context *ret) {
    json_t *object = NULL;
    TRY(kmsd_opt_object(c, name, &object));
    numbers_to_text(object);
    if (is_err(kmsd_context_from_json(object, ret)))
        REFUSE(c, SERIALIZATION, "The values of an encryption context must be strings");
    return OK;
}

struct result kmsd_refuse_recipient(struct kmsd_call *c) {
    json_t *recipient = NULL;
    TRY(kmsd_opt_object(c, "Recipient", &recipient));
    if (recipient != NULL) REFUSE(c, UNSUPPORTED_OPERATION, "Recipient (Nitro Enclaves) is not served here.");
    return OK;
}

void kmsd_set_bytes(json_t *object, const char *name, struct slice bytes) {
    WIPING_BUF(text, bytes.len * 2 + 8);
    base64_encode(bytes, &text);
    json_object_set_new(object, name, json_string(buf_str(&text)));
}

struct result kmsd_seal(struct kmsd_call *c, const struct kmsd_key *k, const struct kmsd_context *context,
                        struct slice plaintext) {
    const struct kmsd_material *m = kmsd_key_current(k);
    BUF_AUTO(material_id, KMSD_MATERIAL_ID_BYTES + 1);
    TRY(hex_decode(slice_str(m->id), &material_id));
    SECRET_AUTO(material);
    TRY(kmsd_store_material(c->store, k, m, &material));
    BUF_AUTO(blob, KMSD_BLOB_MAX_BYTES + 1);
    TRY(kmsd_blob_seal(secret_view(&material), k->family.id, material_id.data, context, plaintext, &blob));
    c->output = json_object();
    kmsd_set_bytes(c->output, "CiphertextBlob", buf_slice(&blob));
    json_object_set_new(c->output, "KeyId", json_string(k->arn));
    return OK;
}

struct result kmsd_encrypt(struct kmsd_call *c) {
    const char *key_id = NULL;
    bool given = false;
    WIPING_BUF(plaintext, PLAINTEXT_MAX_BYTES + 1);
    AUTO(kmsd_context_done) struct kmsd_context context = {0};
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(kmsd_get_str(c, "KeyId", 1, KEY_ID_MAX, &key_id));
    TRY(kmsd_opt_blob(c, "Plaintext", 1, PLAINTEXT_MAX_BYTES, &plaintext, &given));
    if (!given)
        REFUSE(
            c, VALIDATION,
            "1 validation error detected: Value null at 'plaintext' failed to satisfy constraint: Member must not be "
            "null");
    TRY(kmsd_read_context(c, "EncryptionContext", &context));
    TRY(kmsd_check_grant_tokens(c));
    TRY(kmsd_find_authorized(c, key_id, KMSD_TAKES_ALIAS | KMSD_CROSS_ACCOUNT, &context, &k));
    TRY(kmsd_check_algorithm(c, "EncryptionAlgorithm", k, &context));
    TRY(kmsd_check_enabled(c, k));
    TRY(kmsd_check_dry_run(c));
    TRY(kmsd_seal(c, k, &context, buf_slice(&plaintext)));
    json_object_set_new(c->output, "EncryptionAlgorithm", json_string("SYMMETRIC_DEFAULT"));
    return kmsd_note_use(c, k, c->operation);
}

struct result kmsd_read_modifiers(struct kmsd_call *c, bool *ret_ignore_ciphertext) {
    json_t *modifiers = NULL;
    bool dry_run = false;
    TRY(kmsd_opt_array(c, "DryRunModifiers", &modifiers));
    TRY(kmsd_opt_bool(c, "DryRun", &dry_run));
    for (size_t i = 0; i < json_array_size(modifiers); i++) {
        const char *modifier = json_string_value(json_array_get(modifiers, i));
        if (modifier == NULL || strcmp(modifier, "IGNORE_CIPHERTEXT") != 0)
            REFUSE(c, VALIDATION,
                   "1 validation error detected: Value at 'dryRunModifiers' failed to satisfy constraint: Member must "
                   "satisfy enum value set: [IGNORE_CIPHERTEXT]");
        *ret_ignore_ciphertext = true;
    }
    if (*ret_ignore_ciphertext && !dry_run)
        REFUSE(c, VALIDATION, "DryRunModifiers can only be used when DryRun is true.");
    return OK;
}

struct result kmsd_find_for_decrypt(struct kmsd_call *c, const char *key_id, struct slice ciphertext,
                                    const struct kmsd_context *context, struct kmsd_blob *ret_blob,
                                    struct kmsd_key **ret) {
    if (key_id != NULL) TRY(kmsd_find_authorized(c, key_id, KMSD_TAKES_ALIAS | KMSD_CROSS_ACCOUNT, context, ret));
    struct result parsed = kmsd_blob_parse(ciphertext, ret_blob);
    if (is_err(parsed)) {
        result_ignore(kmsd_refuse(&c->refusal, KMSD_INVALID_CIPHERTEXT, NULL));
        return parsed;
    }
    if (key_id == NULL) return kmsd_find_by_ciphertext(c, ret_blob, context, ret);
    if (strcmp(ret_blob->key_id, (*ret)->family.id) != 0)
        REFUSE(c, INCORRECT_KEY, "The key ID in the request does not identify a CMK that can perform this operation.");
    return OK;
}

struct result kmsd_open(struct kmsd_call *c, const struct kmsd_key *k, const struct kmsd_blob *blob,
                        const struct kmsd_context *context, struct buf *out,
                        const struct kmsd_material **ret_material) {
    const struct kmsd_material *m = kmsd_key_material(k, blob->material_id);
    if (m == NULL) REFUSE(c, INVALID_CIPHERTEXT, NULL);
    SECRET_AUTO(material);
    TRY(kmsd_store_material(c->store, k, m, &material));
    struct result r = kmsd_blob_open(secret_view(&material), blob, context, out);
    if (r.code == ERR_CORRUPT) REFUSE(c, INVALID_CIPHERTEXT, NULL);
    TRY(r);
    *ret_material = m;
    return OK;
}

static struct result answer_plaintext(struct kmsd_call *c, const struct kmsd_key *k, const struct kmsd_blob *blob,
                                      const struct kmsd_context *context) {
    const struct kmsd_material *m = NULL;
    WIPING_BUF(plaintext, KMSD_BLOB_MAX_BYTES + 1);
    TRY(kmsd_open(c, k, blob, context, &plaintext, &m));
    c->output = json_pack("{s:s, s:s, s:s}", "KeyId", k->arn, "EncryptionAlgorithm", "SYMMETRIC_DEFAULT",
                          "KeyMaterialId", m->id);
    kmsd_set_bytes(c->output, "Plaintext", buf_slice(&plaintext));
    return kmsd_note_use(c, k, c->operation);
}

struct result kmsd_decrypt(struct kmsd_call *c) {
    const char *key_id = NULL;
    bool given = false, ignore_ciphertext = false;
    BUF_AUTO(ciphertext, KMSD_BLOB_MAX_BYTES + 1);
    AUTO(kmsd_context_done) struct kmsd_context context = {0};
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    struct kmsd_blob blob = {0};
    TRY(kmsd_opt_str(c, "KeyId", 1, KEY_ID_MAX, &key_id));
    TRY(kmsd_opt_blob(c, "CiphertextBlob", 1, KMSD_BLOB_MAX_BYTES, &ciphertext, &given));
    TRY(kmsd_read_context(c, "EncryptionContext", &context));
    TRY(kmsd_check_grant_tokens(c));
    TRY(kmsd_read_modifiers(c, &ignore_ciphertext));
    TRY(kmsd_refuse_recipient(c));
    if (ignore_ciphertext && key_id == NULL)
        REFUSE(c, VALIDATION, "KeyId is required when IGNORE_CIPHERTEXT is specified.");
    if (!given && !ignore_ciphertext)
        REFUSE(c, VALIDATION,
               "1 validation error detected: Value null at 'ciphertextBlob' failed to satisfy constraint: Member must "
               "not be null");
    if (ignore_ciphertext)
        TRY(kmsd_find_authorized(c, key_id, KMSD_TAKES_ALIAS | KMSD_CROSS_ACCOUNT, &context, &k));
    else
        TRY(kmsd_find_for_decrypt(c, key_id, buf_slice(&ciphertext), &context, &blob, &k));
    TRY(kmsd_check_algorithm(c, "EncryptionAlgorithm", k, &context));
    TRY(kmsd_check_enabled(c, k));
    if (ignore_ciphertext) return kmsd_check_dry_run(c);
    TRY(kmsd_check_dry_run(c));
    return answer_plaintext(c, k, &blob, &context);
}

static struct result read_data_key_length(struct kmsd_call *c, size_t *ret) {
    static const char *const specs[] = {"AES_256", "AES_128", NULL};
    const char *spec = NULL;
    int64_t bytes = 0;
    bool has_bytes = false;
    TRY(kmsd_opt_enum(c, "KeySpec", specs, &spec));
    TRY(kmsd_opt_int(c, "NumberOfBytes", 1, DATA_KEY_MAX_BYTES, &bytes, &has_bytes));
    if ((spec != NULL) == has_bytes) REFUSE(c, VALIDATION, "Please specify either number of bytes or key spec.");
    *ret = spec == NULL ? (size_t)bytes : spec == specs[0] ? 32 : 16;
    return OK;
}

static struct result generate(struct kmsd_call *c, bool with_plaintext) {
    const char *key_id = NULL;
    size_t bytes = 0;
    AUTO(kmsd_context_done) struct kmsd_context context = {0};
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(kmsd_get_str(c, "KeyId", 1, KEY_ID_MAX, &key_id));
    TRY(read_data_key_length(c, &bytes));
    TRY(kmsd_read_context(c, "EncryptionContext", &context));
    TRY(kmsd_check_grant_tokens(c));
    if (with_plaintext) TRY(kmsd_refuse_recipient(c));
    TRY(kmsd_find_authorized(c, key_id, KMSD_TAKES_ALIAS | KMSD_CROSS_ACCOUNT, &context, &k));
    TRY(check_makes_data_keys(c, k));
    TRY(kmsd_check_enabled(c, k));
    TRY(kmsd_check_dry_run(c));
    SECRET_AUTO(data_key);
    TRY(secret_random(bytes, &data_key));
    TRY(kmsd_seal(c, k, &context, secret_view(&data_key)));
    if (with_plaintext) kmsd_set_bytes(c->output, "Plaintext", secret_view(&data_key));
    json_object_set_new(c->output, "KeyMaterialId", json_string(kmsd_key_current(k)->id));
    return kmsd_note_use(c, k, c->operation);
}

struct result kmsd_generate_data_key(struct kmsd_call *c) {
    return generate(c, true);
}

struct result kmsd_generate_data_key_without_plaintext(struct kmsd_call *c) {
    return generate(c, false);
}
