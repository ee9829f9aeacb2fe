#include "kms/grants.h"

#include <stdio.h>
#include <string.h>

#include "kms/policy_model.h"

enum { TOKEN_RANDOM_BYTES = 16, GRANT_ID_BYTES = KMSD_GRANT_ID_CHARS / 2 };

/* --- Principals. --- */

static bool read_principal(const char *arn, const char *partition, struct kmsd_principals *ret) {
    if (strncmp(arn, "arn:", 4) != 0) return false; // no "*", no bare account
    AUTO(json_unref) json_t *element = json_pack("{s:s}", "AWS", arn);
    return is_ok(kmsd_principals_parse(element, partition, ret));
}

bool kmsd_grant_is_principal(const char *arn, const char *partition) {
    AUTO(kmsd_principals_done) struct kmsd_principals p = {0};
    return read_principal(arn, partition, &p);
}

/* A grant to an account reaches those of its principals whose identity policies allow the action. */
static bool reaches(const char *arn, const struct kmsd_access *access) {
    AUTO(kmsd_principals_done) struct kmsd_principals p = {0};
    AUTO_FREE char *partition = str_ndup(access->principal + 4, strcspn(access->principal + 4, ":"));
    if (!read_principal(arn, partition, &p)) return false;
    enum kmsd_reach reach = kmsd_principals_reach(&p, access);
    return reach == KMSD_DIRECTLY || (reach == KMSD_BY_ACCOUNT && kmsd_decide_by_identity(access) == KMSD_ALLOWED);
}

/* --- Constraints. --- */

static const char *value_of(const struct kmsd_context *context, const char *name) {
    for (size_t i = 0; i < context->count; i++)
        if (strcmp(context->pairs[i].name, name) == 0) return context->pairs[i].value;
    return NULL;
}

static bool includes(const struct kmsd_context *context, json_t *pairs) {
    const char *name;
    json_t *value;
    json_object_foreach(pairs, name, value) {
        const char *given = value_of(context, name);
        if (given == NULL || strcmp(given, json_string_value(value)) != 0) return false;
    }
    return true;
}

/* is_exact: is `context` all there will be, or (a subset constraint of a further grant) only a part of it? */
static bool fits(const json_t *grant, const struct kmsd_context *context, bool is_exact) {
    const json_t *constraints = json_object_get(grant, "constraints");
    json_t *equals = json_object_get(constraints, "EncryptionContextEquals");
    json_t *subset = json_object_get(constraints, "EncryptionContextSubset");
    if (equals == NULL && subset == NULL) return true;
    if (context == NULL) return false;
    if (equals != NULL && (!is_exact || context->count != json_object_size(equals) || !includes(context, equals)))
        return false;
    return subset == NULL || includes(context, subset);
}

/* --- A grant and a call. --- */

static bool has_operation(const json_t *grant, const char *operation) {
    const json_t *operations = json_object_get(grant, "operations");
    for (size_t i = 0; i < json_array_size(operations); i++)
        if (strcmp(json_string_value(json_array_get(operations, i)), operation) == 0) return true;
    return false;
}

/* Whoever may create grants by a grant may give away no more than that grant does. */
static bool covers_new_grant(const json_t *grant, const json_t *input) {
    const json_t *operations = json_object_get(input, "Operations"),
                 *constraints = json_object_get(input, "Constraints");
    for (size_t i = 0; i < json_array_size(operations); i++) {
        const char *operation = json_string_value(json_array_get(operations, i));
        if (operation == NULL || !has_operation(grant, operation)) return false;
    }
    json_t *equals = json_object_get(constraints, "EncryptionContextEquals");
    json_t *subset = json_object_get(constraints, "EncryptionContextSubset");
    AUTO(kmsd_context_done) struct kmsd_context context = {0};
    json_t *pairs = equals != NULL ? equals : subset;
    if (pairs != NULL && is_err(kmsd_context_from_json(pairs, &context))) return false;
    return fits(grant, pairs != NULL ? &context : NULL, equals != NULL);
}

static bool names(const json_t *grant, const char *member, const struct kmsd_access *access) {
    const char *arn = json_string_value(json_object_get(grant, member));
    return arn != NULL && reaches(arn, access);
}

/* A grant is retired by whom it names for that, and by its grantee if the operation is among those given. */
static bool may_retire(const json_t *grant, const struct kmsd_access *access) {
    return names(grant, "retiring", access) || (has_operation(grant, "RetireGrant") && names(grant, "grantee", access));
}

static bool permits(const struct kmsd_call *c, const json_t *grant, const struct kmsd_context *context,
                    const struct kmsd_access *access) {
    if (!has_operation(grant, c->operation) || !names(grant, "grantee", access)) return false;
    if (strcmp(c->operation, "DescribeKey") == 0) return true;
    return strcmp(c->operation, "CreateGrant") == 0 ? covers_new_grant(grant, c->input) : fits(grant, context, true);
}

bool kmsd_grants_permit(const struct kmsd_call *c, const struct kmsd_key *k, const struct kmsd_context *context,
                        const struct kmsd_access *access) {
    if (strcmp(c->operation, "RetireGrant") == 0) {
        const json_t *grant = kmsd_grants_find(k->grants, c->grant_id);
        return grant != NULL && may_retire(grant, access);
    }
    for (size_t i = 0; i < json_array_size(k->grants); i++)
        if (permits(c, json_array_get(k->grants, i), context, access)) return true;
    return false;
}

json_t *kmsd_grants_find(const json_t *grants, const char *id) {
    for (size_t i = 0; i < json_array_size(grants); i++) {
        json_t *grant = json_array_get(grants, i);
        if (strcmp(json_string_value(json_object_get(grant, "id")), id) == 0) return grant;
    }
    return NULL;
}

/* --- Tokens. --- */

struct result kmsd_grant_token_make(const char *key_id, const char *grant_id, struct buf *out) {
    uint8_t random[TOKEN_RANDOM_BYTES];
    TRY(random_bytes(random, sizeof random));
    BUF_AUTO(bytes, 256);
    buf_append_str(&bytes, key_id);
    TRY(hex_decode(slice_str(grant_id), &bytes));
    buf_append(&bytes, random, sizeof random);
    TRY(buf_check(&bytes));
    base64_encode(buf_slice(&bytes), out);
    return buf_check(out);
}

bool kmsd_grant_token_read(const char *text, struct kmsd_grant_token *ret) {
    BUF_AUTO(bytes, 256);
    if (is_err(base64_decode(slice_str(text), &bytes)) || is_err(buf_check(&bytes))) return false;
    if (bytes.len != KMSD_KEY_ID_CHARS + GRANT_ID_BYTES + TOKEN_RANDOM_BYTES) return false;
    *ret = (struct kmsd_grant_token){0};
    mem_copy(ret->key_id, bytes.data, KMSD_KEY_ID_CHARS);
    BUF_AUTO(hex, KMSD_GRANT_ID_CHARS + 1);
    hex_encode(slice_make(bytes.data + KMSD_KEY_ID_CHARS, GRANT_ID_BYTES), &hex);
    snprintf(ret->grant_id, sizeof ret->grant_id, "%s", buf_str(&hex));
    return kmsd_is_key_id(ret->key_id);
}
