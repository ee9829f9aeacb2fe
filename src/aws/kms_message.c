#include "aws/kms_message.h"

#include <string.h>

#include "base/json.h"

enum { KEY_ID_MAX_BYTES = 2048, CONTEXT_MAX_BYTES = 8192, AES_256_BYTES = 32 };

static const struct {
    const char *name, *action;
} operations[KMS_OPERATION_MAX] = {
    [KMS_DESCRIBE_KEY] = {"DescribeKey", "kms:DescribeKey"},
    [KMS_ENCRYPT] = {"Encrypt", "kms:Encrypt"},
    [KMS_DECRYPT] = {"Decrypt", "kms:Decrypt"},
    [KMS_GENERATE_DATA_KEY] = {"GenerateDataKey", "kms:GenerateDataKey"},
    [KMS_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT] = {"GenerateDataKeyWithoutPlaintext",
                                                 "kms:GenerateDataKeyWithoutPlaintext"},
};

const char *kms_operation_name(enum kms_operation o) {
    return (unsigned)o < KMS_OPERATION_MAX ? operations[o].name : "unknown";
}

const char *kms_operation_action(enum kms_operation o) {
    return (unsigned)o < KMS_OPERATION_MAX ? operations[o].action : "unknown";
}

void kms_answer_done(struct kms_answer *a) {
    secret_done(&a->plaintext);
    buf_done(&a->ciphertext);
    *a = (struct kms_answer){0};
}

/* --- Building. --- */

static void member(struct buf *out, const char *name) {
    if (out->len > 0 && out->data[out->len - 1] != '{') buf_append_byte(out, ',');
    buf_printf(out, "\"%s\":", name);
}

static void member_blob(struct buf *out, const char *name, struct slice bytes) {
    member(out, name);
    buf_append_byte(out, '"');
    base64_encode(bytes, out);
    buf_append_byte(out, '"');
}

static struct result write_context(const struct kms_context *context, struct buf *out) {
    size_t total = 0;
    member(out, "EncryptionContext");
    buf_append_byte(out, '{');
    for (const struct kms_context *p = context; p->name; p++) {
        struct slice name = slice_str(p->name), value = slice_str(p->value);
        CHECK(name.len > 0 && p->value, ERR_INVALID, "a pair of an encryption context needs a name and a value");
        CHECK(slice_is_utf8(name) && slice_is_utf8(value), ERR_INVALID, "an encryption context must be UTF-8");
        for (const struct kms_context *q = context; q != p; q++)
            CHECK(strcmp(p->name, q->name) != 0, ERR_INVALID, "a name stands twice in the encryption context");
        total += name.len + value.len;
        CHECK(total <= CONTEXT_MAX_BYTES, ERR_TOO_LARGE, "an encryption context has at most %d bytes",
              CONTEXT_MAX_BYTES);
        if (p != context) buf_append_byte(out, ',');
        json_write_str(name, out);
        buf_append_byte(out, ':');
        json_write_str(value, out);
    }
    buf_append_byte(out, '}');
    return OK;
}

static struct result write_payload(const struct kms_request *r, struct buf *out) {
    switch (r->operation) {
    case KMS_DESCRIBE_KEY:
        CHECK(!r->dry_run && !r->context, ERR_INVALID, "DescribeKey takes neither DryRun nor an encryption context");
        return OK;
    case KMS_ENCRYPT:
        CHECK(r->plaintext.len >= 1 && r->plaintext.len <= KMS_MAX_PLAINTEXT_BYTES, ERR_INVALID,
              "Encrypt takes 1 to %d bytes", KMS_MAX_PLAINTEXT_BYTES);
        member_blob(out, "Plaintext", r->plaintext);
        return OK;
    case KMS_DECRYPT:
        CHECK(r->ciphertext.len >= 1 && r->ciphertext.len <= KMS_MAX_CIPHERTEXT_BYTES, ERR_INVALID,
              "Decrypt takes 1 to %d bytes", KMS_MAX_CIPHERTEXT_BYTES);
        member_blob(out, "CiphertextBlob", r->ciphertext);
        return OK;
    case KMS_GENERATE_DATA_KEY:
    case KMS_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT:
        CHECK(r->data_key_bytes <= KMS_MAX_DATA_KEY_BYTES, ERR_INVALID, "a data key has at most %d bytes",
              KMS_MAX_DATA_KEY_BYTES);
        if (r->data_key_bytes == 0 || r->data_key_bytes == AES_256_BYTES) {
            member(out, "KeySpec");
            buf_append_str(out, "\"AES_256\"");
        } else {
            member(out, "NumberOfBytes");
            buf_printf(out, "%u", r->data_key_bytes);
        }
        return OK;
    case KMS_OPERATION_MAX:
        break;
    }
    FAIL(ERR_INTERNAL, "unknown KMS operation");
}

struct result kms_message_build(const struct kms_request *r, struct buf *out) {
    struct slice key_id = slice_str(r->key_id);
    CHECK(key_id.len >= 1 && key_id.len <= KEY_ID_MAX_BYTES, ERR_INVALID, "a key id has 1 to %d bytes",
          KEY_ID_MAX_BYTES);
    CHECK(slice_is_utf8(key_id), ERR_INVALID, "a key id must be UTF-8");
    buf_append_byte(out, '{');
    member(out, "KeyId");
    json_write_str(key_id, out);
    TRY(write_payload(r, out));
    if (r->context) TRY(write_context(r->context, out));
    if (r->dry_run) {
        member(out, "DryRun");
        buf_append_str(out, "true");
    }
    buf_append_byte(out, '}');
    return buf_check(out);
}

/* --- Reading. --- */

/* Printable text of at most size - 1 bytes; what isn't printable becomes '?'. */
static void copy_shown(char *to, size_t size, struct slice from) {
    size_t n = from.len < size - 1 ? from.len : size - 1;
    for (size_t i = 0; i < n; i++)
        to[i] = from.data[i] >= ' ' && from.data[i] <= '~' ? (char)from.data[i] : '?';
    to[n] = 0;
}

static void copy_str(char *to, size_t size, const char *from) {
    copy_shown(to, size, slice_str(from));
}

static void not_understood(struct kms_answer *a, const char *why) {
    a->error = KMS_UNKNOWN;
    copy_str(a->code, sizeof a->code, "LocksetAnswerNotUnderstood");
    copy_str(a->message, sizeof a->message, why);
}

/* A string member, NULL if it is absent or no string. */
static const char *text_of(const json_t *object, const char *name) {
    return json_string_value(json_object_get(object, name));
}

/* "com.amazon.coral.service#AccessDeniedException:http://..." -> "AccessDeniedException" */
static struct slice bare_code(const char *type) {
    struct slice code = slice_str(type), head, tail;
    if (slice_cut(code, '#', &head, &tail)) code = tail;
    slice_cut(code, ':', &head, &tail);
    return head;
}

static void parse_error(int http_status, struct slice body, struct kms_answer *a) {
    JSON_AUTO(object);
    a->error = KMS_UNKNOWN;
    if (is_ok(json_parse_object(body, &object))) {
        const char *type = text_of(object, "__type");
        if (type == NULL) type = text_of(object, "code");
        if (type) copy_shown(a->code, sizeof a->code, bare_code(type));
        const char *message = text_of(object, "message");
        if (message == NULL) message = text_of(object, "Message");
        if (message) copy_str(a->message, sizeof a->message, message);
    }
    a->error = kms_message_classify(a->code, a->message, http_status);
    if (a->code[0] == 0 && a->message[0] == 0)
        copy_str(a->message, sizeof a->message, "the answer names no error; it may not come from KMS");
}

static bool get_blob(const json_t *object, const char *name, size_t max, struct buf *out) {
    json_t *value = json_object_get(object, name);
    if (!json_is_string(value)) return false;
    buf_done(out);
    buf_init_wiping(out, max);
    struct slice text = slice_make(json_string_value(value), json_string_length(value));
    return is_ok(base64_decode(text, out)) && is_ok(buf_check(out)) && out->len > 0;
}

static bool get_plaintext(const json_t *object, size_t max, struct secret *ret) {
    BUF_AUTO(plain, max);
    plain.wipes = true;
    if (!get_blob(object, "Plaintext", max, &plain)) return false;
    secret_done(ret);
    return is_ok(secret_from(plain.data, plain.len, ret));
}

static void get_text(const json_t *object, const char *name, char *to, size_t size) {
    copy_str(to, size, text_of(object, name));
}

static void parse_metadata(const json_t *m, struct kms_key_metadata *ret) {
    get_text(m, "Arn", ret->arn, sizeof ret->arn);
    get_text(m, "AWSAccountId", ret->account, sizeof ret->account);
    get_text(m, "KeyState", ret->state, sizeof ret->state);
    get_text(m, "KeyUsage", ret->usage, sizeof ret->usage);
    get_text(m, json_object_get(m, "KeySpec") ? "KeySpec" : "CustomerMasterKeySpec", ret->spec, sizeof ret->spec);
    get_text(m, "Origin", ret->origin, sizeof ret->origin);
    get_text(m, "KeyManager", ret->manager, sizeof ret->manager);
    get_text(m, "CurrentKeyMaterialId", ret->material_id, sizeof ret->material_id);
    ret->is_enabled = json_is_true(json_object_get(m, "Enabled"));
    ret->is_multi_region = json_is_true(json_object_get(m, "MultiRegion"));
    const json_t *regions = json_object_get(m, "MultiRegionConfiguration");
    get_text(regions, "MultiRegionKeyType", ret->multi_region_type, sizeof ret->multi_region_type);
    get_text(json_object_get(regions, "PrimaryKey"), "Region", ret->primary_region, sizeof ret->primary_region);
    const json_t *deletion = json_object_get(m, "DeletionDate"); /* seconds since 1970, with a fraction */
    double seconds = json_number_value(deletion);
    if (json_is_number(deletion) && seconds > 0 && seconds < 1e11) {
        ret->has_deletion_date = true;
        ret->deletion_unix_ms = (int64_t)(seconds * 1000.0);
    }
}

/* Was it the key that was asked for? Only full ARNs can be compared. */
static bool is_of_key(const struct kms_request *r, const char *arn) {
    return !slice_starts_with(slice_str(r->key_id), "arn:") || strcmp(r->key_id, arn) == 0;
}

static size_t wanted_bytes(const struct kms_request *r) {
    return r->data_key_bytes ? r->data_key_bytes : (size_t)AES_256_BYTES;
}

/* NULL when all is well, else what isn't. */
static const char *parse_success(const struct kms_request *r, const json_t *object, struct kms_answer *a) {
    if (r->operation == KMS_DESCRIBE_KEY) {
        const json_t *metadata = json_object_get(object, "KeyMetadata");
        if (!json_is_object(metadata)) return "the answer to DescribeKey has no KeyMetadata";
        parse_metadata(metadata, &a->key);
        copy_str(a->key_arn, sizeof a->key_arn, a->key.arn);
        copy_str(a->material_id, sizeof a->material_id, a->key.material_id);
    } else {
        get_text(object, "KeyId", a->key_arn, sizeof a->key_arn);
        get_text(object, "KeyMaterialId", a->material_id, sizeof a->material_id);
    }
    if (a->key_arn[0] == 0) return "the answer names no key";
    if (!is_of_key(r, a->key_arn)) return "the answer is for another key than the one asked for";
    bool has_plaintext = r->operation == KMS_DECRYPT || r->operation == KMS_GENERATE_DATA_KEY;
    bool has_ciphertext = r->operation == KMS_ENCRYPT || r->operation == KMS_GENERATE_DATA_KEY ||
                          r->operation == KMS_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT;
    if (has_plaintext && !get_plaintext(object, KMS_MAX_PLAINTEXT_BYTES, &a->plaintext))
        return "the answer has no readable Plaintext";
    if (has_ciphertext && !get_blob(object, "CiphertextBlob", KMS_MAX_CIPHERTEXT_BYTES, &a->ciphertext))
        return "the answer has no readable CiphertextBlob";
    if (r->operation == KMS_GENERATE_DATA_KEY && a->plaintext.len != wanted_bytes(r))
        return "the data key is not of the length asked for";
    return NULL;
}

void kms_message_parse(const struct kms_request *r, int http_status, struct slice request_id, struct slice body,
                       struct kms_answer *ret) {
    ret->http_status = http_status;
    copy_shown(ret->request_id, sizeof ret->request_id, request_id);
    if (http_status != 200) {
        parse_error(http_status, body, ret);
        return;
    }
    const char *wrong;
    JSON_AUTO(object);
    if (r->dry_run)
        wrong = "a dry run was answered as if it had been carried out";
    else if (is_err(json_parse_object(body, &object)))
        wrong = "the answer is not a JSON object";
    else
        wrong = parse_success(r, object, ret);
    if (wrong == NULL) {
        ret->error = KMS_OK;
        return;
    }
    secret_done(&ret->plaintext);
    buf_done(&ret->ciphertext);
    not_understood(ret, wrong);
}
