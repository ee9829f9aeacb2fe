/* CreateGrant, RetireGrant, RevokeGrant and their lists. A grant works at once here, so tokens, which AWS has for the
 * time until it does, are only checked for their form.
 * Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateGrant.html and the others' pages. */
#include <ctype.h>
#include <string.h>

#include "kms/grants.h"
#include "kms/operations.h"

enum { KEY_ID_MAX = 2048, PRINCIPAL_MAX = 256, NAME_MAX = 256, PAIRS_MAX = 8, VALUE_MAX = 384, TOKEN_MAX = 8192 };

/* What each operation needs of a key: a usage ("": any), symmetry. */
static const struct grant_operation {
    const char *name, *usage;
    bool symmetric, asymmetric;
} grant_operations[] = {
    {"Decrypt", "ENCRYPT_DECRYPT", true, true},
    {"Encrypt", "ENCRYPT_DECRYPT", true, true},
    {"GenerateDataKey", "ENCRYPT_DECRYPT", true, false},
    {"GenerateDataKeyWithoutPlaintext", "ENCRYPT_DECRYPT", true, false},
    {"ReEncryptFrom", "ENCRYPT_DECRYPT", true, true},
    {"ReEncryptTo", "ENCRYPT_DECRYPT", true, true},
    {"GenerateDataKeyPair", "ENCRYPT_DECRYPT", true, false},
    {"GenerateDataKeyPairWithoutPlaintext", "ENCRYPT_DECRYPT", true, false},
    {"CreateGrant", "", true, true},
    {"RetireGrant", "", true, true},
    {"DescribeKey", "", true, true},
    {"GetPublicKey", "", false, true},
    {"Sign", "SIGN_VERIFY", false, true},
    {"Verify", "SIGN_VERIFY", false, true},
    {"GenerateMac", "GENERATE_VERIFY_MAC", false, true},
    {"VerifyMac", "GENERATE_VERIFY_MAC", false, true},
    {"DeriveSharedSecret", "KEY_AGREEMENT", false, true},
};

static const struct grant_operation *find_operation(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(grant_operations); i++)
        if (strcmp(grant_operations[i].name, name) == 0) return &grant_operations[i];
    return NULL;
}

/* --- What a new grant is to be. --- */

static const char *partition(const struct kmsd_call *c) {
    return arn_partition_of_region(slice_str(kmsd_store_region(c->store)));
}

static struct result read_principal(struct kmsd_call *c, const char *name, const char **ret) {
    TRY(kmsd_opt_str(c, name, 1, PRINCIPAL_MAX, ret));
    if (*ret != NULL && !kmsd_grant_is_principal(*ret, partition(c)))
        REFUSE(c, INVALID_ARN, "ARN does not refer to a valid principal: %s", *ret);
    return OK;
}

static struct result check_operation(struct kmsd_call *c, const char *name) {
    if (find_operation(name) != NULL) return OK;
    REFUSE(
        c, VALIDATION,
        "1 validation error detected: Value '%.64s' at 'operations' failed to satisfy constraint: Member must satisfy "
        "enum value set",
        name);
}

static struct result read_operations(struct kmsd_call *c, json_t **ret) {
    json_t *given = NULL;
    TRY(kmsd_get_array(c, "Operations", &given));
    AUTO(json_unref) json_t *kept = json_array();
    for (size_t i = 0; i < json_array_size(given); i++) {
        const char *name = json_string_value(json_array_get(given, i));
        if (name == NULL) REFUSE(c, SERIALIZATION, NULL);
        TRY(check_operation(c, name));
        bool again = false;
        for (size_t n = 0; n < json_array_size(kept); n++)
            again = again || strcmp(json_string_value(json_array_get(kept, n)), name) == 0;
        if (!again) json_array_append_new(kept, json_string(name));
    }
    if (json_array_size(kept) == 0)
        REFUSE(c, VALIDATION,
               "1 validation error detected: Value '[]' at 'operations' failed to satisfy constraint: Member must have "
               "length greater than or equal to 1");
    *ret = TAKE(kept);
    return OK;
}

static struct result read_pairs(struct kmsd_call *c, const json_t *constraints, const char *name, json_t *into) {
    json_t *pairs = json_object_get(constraints, name), *value;
    const char *key;
    if (pairs == NULL || json_is_null(pairs)) return OK;
    if (!json_is_object(pairs)) REFUSE(c, SERIALIZATION, NULL);
    if (json_object_size(pairs) > PAIRS_MAX)
        REFUSE(c, VALIDATION, "A grant constraint can hold at most %d encryption context pairs.", PAIRS_MAX);
    json_object_foreach(pairs, key, value) {
        if (!json_is_string(value)) REFUSE(c, SERIALIZATION, NULL);
        if (json_string_length(value) > VALUE_MAX)
            REFUSE(c, VALIDATION, "A value in a grant constraint can have at most %d characters.", VALUE_MAX);
    }
    json_object_set_new(into, name, json_deep_copy(pairs));
    return OK;
}

/* *ret stays NULL without constraints. */
static struct result read_constraints(struct kmsd_call *c, json_t **ret) {
    json_t *given = NULL;
    TRY(kmsd_opt_object(c, "Constraints", &given));
    if (given == NULL) return OK;
    AUTO(json_unref) json_t *kept = json_object();
    TRY(read_pairs(c, given, "EncryptionContextEquals", kept));
    TRY(read_pairs(c, given, "EncryptionContextSubset", kept));
    const char *source = json_string_value(json_object_get(given, "SourceArn"));
    if (source != NULL) REFUSE(c, UNSUPPORTED_OPERATION, "SourceArn constrains AWS services: there are none here.");
    if (json_object_size(kept) > 0) *ret = TAKE(kept);
    return OK;
}

static struct result refuse_services(struct kmsd_call *c) {
    const char *service = NULL;
    TRY(kmsd_opt_str(c, "GranteeServicePrincipal", 1, PRINCIPAL_MAX, &service));
    TRY(kmsd_opt_str(c, "RetiringServicePrincipal", 1, PRINCIPAL_MAX, &service));
    if (service != NULL) REFUSE(c, UNSUPPORTED_OPERATION, "AWS services call nobody here: %s", service);
    return OK;
}

static struct result read_name(struct kmsd_call *c, const char **ret) {
    TRY(kmsd_opt_str(c, "Name", 1, NAME_MAX, ret));
    for (const char *p = *ret; p != NULL && *p != '\0'; p++)
        if (!isalnum((unsigned char)*p) && strchr(":/_-", *p) == NULL)
            REFUSE(
                c, VALIDATION,
                "1 validation error detected: Value '%s' at 'name' failed to satisfy constraint: Member must satisfy "
                "regular expression pattern: ^[a-zA-Z0-9:/_-]+$",
                *ret);
    return OK;
}

/* Everything but id and date. */
static struct result read_grant(struct kmsd_call *c, json_t **ret) {
    const char *grantee = NULL, *retiring = NULL, *name = NULL;
    AUTO(json_unref) json_t *grant = json_object();
    json_t *operations = NULL, *constraints = NULL;
    TRY(refuse_services(c));
    TRY(read_principal(c, "GranteePrincipal", &grantee));
    TRY(read_principal(c, "RetiringPrincipal", &retiring));
    TRY(read_name(c, &name));
    if (grantee == NULL) REFUSE(c, VALIDATION, "You must specify either GranteePrincipal or GranteeServicePrincipal.");
    TRY(read_operations(c, &operations));
    json_object_set_new(grant, "operations", operations);
    TRY(read_constraints(c, &constraints));
    if (constraints != NULL) json_object_set_new(grant, "constraints", constraints);
    json_object_set_new(grant, "grantee", json_string(grantee));
    if (retiring != NULL) json_object_set_new(grant, "retiring", json_string(retiring));
    if (name != NULL) json_object_set_new(grant, "name", json_string(name));
    AUTO_FREE char *issuer = str_format("arn:%s:iam::%s:root", partition(c), c->caller->account);
    json_object_set_new(grant, "issuing_account", json_string(issuer));
    *ret = TAKE(grant);
    return OK;
}

static struct result check_fits_key(struct kmsd_call *c, const json_t *grant, const struct kmsd_key *k) {
    const json_t *operations = json_object_get(grant, "operations");
    bool symmetric = kmsd_kind_is_symmetric(k->family.kind);
    for (size_t i = 0; i < json_array_size(operations); i++) {
        const struct grant_operation *o = find_operation(json_string_value(json_array_get(operations, i)));
        bool fits = symmetric ? o->symmetric : o->asymmetric;
        if (o->usage[0] != '\0' && strcmp(o->usage, k->family.kind->usage) != 0) fits = false;
        if (!fits) REFUSE(c, VALIDATION, "Grant operation %s is not valid for %s.", o->name, k->arn);
    }
    if (!symmetric && json_object_get(grant, "constraints") != NULL)
        REFUSE(c, VALIDATION, "EncryptionContext is supported only for symmetric encryption keys.");
    return OK;
}

/* --- CreateGrant. --- */

struct creation {
    struct kmsd_call *call;
    json_t *grant;
    char id[KMSD_GRANT_ID_CHARS + 1];
};

static bool is_same(const json_t *there, json_t *wanted) {
    AUTO(json_unref) json_t *bare = json_deep_copy(there);
    json_object_del(bare, "id");
    json_object_del(bare, "created_ms");
    return json_equal(bare, wanted) == 1;
}

static struct result put_grants(struct kmsd_state *draft, const json_t *grants) {
    BUF_AUTO(text, KMSD_MAX_FILE_BYTES);
    TRY(json_write(grants, &text));
    TRY(buf_check(&text));
    mem_free(draft->grants);
    draft->grants = buf_take_str(&text);
    return OK;
}

static struct result edit_create(const struct kmsd_key *key, struct kmsd_state *draft, void *arg) {
    struct creation *creation = arg;
    struct kmsd_call *c = creation->call;
    TRY(kmsd_check_enabled(c, key));
    AUTO(json_unref) json_t *grants = key->grants != NULL ? json_deep_copy(key->grants) : json_array();
    for (size_t i = 0; i < json_array_size(grants); i++) {
        const json_t *there = json_array_get(grants, i);
        if (json_object_get(creation->grant, "name") == NULL || !is_same(there, creation->grant)) continue;
        mem_copy(creation->id, json_string_value(json_object_get(there, "id")), KMSD_GRANT_ID_CHARS);
        return OK;
    }
    CHECK(json_array_size(grants) < KMSD_GRANTS_MAX, ERR_TOO_LARGE, "too many grants");
    TRY(kmsd_random_hex(KMSD_GRANT_ID_CHARS / 2, creation->id));
    AUTO(json_unref) json_t *grant = json_deep_copy(creation->grant);
    json_object_set_new(grant, "id", json_string(creation->id));
    json_object_set_new(grant, "created_ms", json_integer(c->now_ms));
    json_array_append(grants, grant);
    return put_grants(draft, grants);
}

struct result kmsd_create_grant(struct kmsd_call *c) {
    const char *key_id = NULL;
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    JSON_AUTO(grant);
    TRY(kmsd_get_str(c, "KeyId", 1, KEY_ID_MAX, &key_id));
    TRY(kmsd_check_grant_tokens(c));
    TRY(read_grant(c, &grant));
    TRY(kmsd_find_authorized(c, key_id, KMSD_CROSS_ACCOUNT, NULL, &k));
    TRY(check_fits_key(c, grant, k));
    TRY(kmsd_check_enabled(c, k));
    TRY(kmsd_check_dry_run(c));
    struct creation creation = {.call = c, .grant = grant};
    struct result r = kmsd_change_state(c, k, edit_create, &creation, NULL);
    if (r.code == ERR_TOO_LARGE) REFUSE(c, LIMIT_EXCEEDED, "%s has as many grants as it can have.", k->arn);
    TRY(r);
    BUF_AUTO(token, 512);
    TRY(kmsd_grant_token_make(k->family.id, creation.id, &token));
    c->output = json_pack("{s:s, s:s}", "GrantId", creation.id, "GrantToken", buf_str(&token));
    return OK;
}

/* --- Their end. --- */

struct ending {
    struct kmsd_call *call;
    const char *id;
};

static struct result refuse_missing(struct kmsd_call *c, const char *id) {
    REFUSE(c, NOT_FOUND, "Grant '%s' does not exist", id);
}

static struct result edit_end(const struct kmsd_key *key, struct kmsd_state *draft, void *arg) {
    const struct ending *e = arg;
    AUTO(json_unref) json_t *grants = json_array();
    for (size_t i = 0; i < json_array_size(key->grants); i++) {
        const json_t *grant = json_array_get(key->grants, i);
        if (strcmp(json_string_value(json_object_get(grant, "id")), e->id) != 0)
            json_array_append_new(grants, json_deep_copy(grant));
    }
    if (json_array_size(grants) == json_array_size(key->grants)) return refuse_missing(e->call, e->id);
    return put_grants(draft, grants);
}

static struct result end_grant(struct kmsd_call *c, const struct kmsd_key *k, const char *id) {
    struct ending e = {c, id};
    if (kmsd_grants_find(k->grants, id) == NULL) return refuse_missing(c, id);
    TRY(kmsd_check_dry_run(c));
    return kmsd_change_state(c, k, edit_end, &e, NULL);
}

static struct result check_grant_id(struct kmsd_call *c, const char *id) {
    size_t len = strlen(id);
    bool good = len == KMSD_GRANT_ID_CHARS;
    for (size_t i = 0; i < len && good; i++)
        good = isxdigit((unsigned char)id[i]) && !isupper((unsigned char)id[i]);
    if (!good) REFUSE(c, INVALID_GRANT_ID, "Invalid grant id '%.128s'", id);
    return OK;
}

struct result kmsd_revoke_grant(struct kmsd_call *c) {
    const char *key_id = NULL, *id = NULL;
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(kmsd_get_str(c, "KeyId", 1, KEY_ID_MAX, &key_id));
    TRY(kmsd_get_str(c, "GrantId", 1, 128, &id));
    TRY(check_grant_id(c, id));
    TRY(kmsd_find_authorized(c, key_id, KMSD_CROSS_ACCOUNT, NULL, &k));
    return end_grant(c, k, id);
}

struct result kmsd_retire_grant(struct kmsd_call *c) {
    const char *key_id = NULL, *id = NULL, *text = NULL;
    struct kmsd_grant_token token;
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(kmsd_opt_str(c, "GrantToken", 1, TOKEN_MAX, &text));
    TRY(kmsd_opt_str(c, "KeyId", 1, KEY_ID_MAX, &key_id));
    TRY(kmsd_opt_str(c, "GrantId", 1, 128, &id));
    if (text != NULL ? key_id != NULL || id != NULL : key_id == NULL || id == NULL)
        REFUSE(c, VALIDATION, "You must specify either a GrantToken, or a KeyId and a GrantId.");
    if (text != NULL && !kmsd_grant_token_read(text, &token)) REFUSE(c, INVALID_GRANT_TOKEN, NULL);
    if (text != NULL) id = token.grant_id;
    TRY(check_grant_id(c, id));
    struct result found = text != NULL ? kmsd_store_find(c->store, token.key_id, c->now_ms, &k)
                                       : kmsd_find_key(c, key_id, KMSD_CROSS_ACCOUNT, &k);
    if (text != NULL && found.code == ERR_NOT_FOUND) REFUSE(c, INVALID_GRANT_TOKEN, NULL);
    TRY(found);
    AUTO_FREE char *arn = str_dup(k->arn);
    c->grant_id = id;
    k = kmsd_key_unref(k);
    TRY(kmsd_find_authorized(c, arn, KMSD_CROSS_ACCOUNT, NULL, &k));
    return end_grant(c, k, id);
}

/* --- Lists. --- */

static json_t *grant_entry(const struct kmsd_key *k, const json_t *grant) {
    static const struct {
        const char *stored, *wire;
    } members[] = {{"id", "GrantId"},
                   {"name", "Name"},
                   {"grantee", "GranteePrincipal"},
                   {"retiring", "RetiringPrincipal"},
                   {"issuing_account", "IssuingAccount"},
                   {"operations", "Operations"},
                   {"constraints", "Constraints"}};
    json_t *entry = json_pack("{s:s}", "KeyId", k->arn);
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        const json_t *value = json_object_get(grant, members[i].stored);
        if (value != NULL) json_object_set_new(entry, members[i].wire, json_deep_copy(value));
    }
    double created_ms = (double)json_integer_value(json_object_get(grant, "created_ms"));
    json_object_set_new(entry, "CreationDate", json_real(created_ms / 1000.0));
    return entry;
}

struct listing {
    const char *member, *value; /* grants whose member has this value; NULL: all */
    const char *marker;         /* KEY/GRANT of the last one handed out; "": from the start */
    size_t limit;
    json_t *list;
    char *next;
};

static void list_grants_of(const struct kmsd_key *k, struct listing *l) {
    for (size_t i = 0; i < json_array_size(k->grants) && l->next == NULL; i++) {
        const json_t *grant = json_array_get(k->grants, i);
        const char *has = l->member != NULL ? json_string_value(json_object_get(grant, l->member)) : NULL;
        AUTO_FREE char *place = str_format("%s/%s", k->family.id, json_string_value(json_object_get(grant, "id")));
        if (l->marker[0] != '\0') {
            if (strcmp(place, l->marker) == 0) l->marker = "";
            continue;
        }
        if (l->value != NULL && (has == NULL || strcmp(has, l->value) != 0)) continue;
        if (json_array_size(l->list) == l->limit) {
            const json_t *last = json_array_get(l->list, l->limit - 1);
            const char *key = strrchr(json_string_value(json_object_get(last, "KeyId")), '/') + 1;
            l->next = str_format("%s/%s", key, json_string_value(json_object_get(last, "GrantId")));
        } else {
            json_array_append_new(l->list, grant_entry(k, grant));
        }
    }
}

static struct result answer_listing(struct kmsd_call *c, struct listing *l) {
    AUTO_FREE char *next = l->next;
    if (l->marker[0] != '\0') {
        json_decref(l->list);
        REFUSE(c, INVALID_MARKER, NULL);
    }
    kmsd_answer_page(c, "Grants", l->list, next);
    return OK;
}

struct result kmsd_list_grants(struct kmsd_call *c) {
    const char *key_id = NULL, *id = NULL, *grantee = NULL;
    struct kmsd_page page = {.limit = 50};
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(kmsd_get_str(c, "KeyId", 1, KEY_ID_MAX, &key_id));
    TRY(kmsd_opt_str(c, "GrantId", 1, 128, &id));
    TRY(read_principal(c, "GranteePrincipal", &grantee));
    TRY(kmsd_read_page(c, 100, &page));
    if (id != NULL) TRY(check_grant_id(c, id));
    if (id != NULL && grantee != NULL) REFUSE(c, VALIDATION, "GrantId and GranteePrincipal can't be used together.");
    TRY(kmsd_find_authorized(c, key_id, KMSD_CROSS_ACCOUNT, NULL, &k));
    struct listing l = {.member = id != NULL ? "id" : "grantee",
                        .value = id != NULL ? id : grantee,
                        .marker = page.marker,
                        .limit = page.limit,
                        .list = json_array()};
    list_grants_of(k, &l);
    return answer_listing(c, &l);
}

/* Of the keys of every account here; the caller must belong to the account of the principal. */
struct result kmsd_list_retirable_grants(struct kmsd_call *c) {
    const char *retiring = NULL;
    struct kmsd_page page = {.limit = 50};
    struct arn arn;
    TRY(kmsd_get_str(c, "RetiringPrincipal", 1, PRINCIPAL_MAX, &retiring));
    TRY(read_principal(c, "RetiringPrincipal", &retiring));
    TRY(kmsd_read_page(c, 100, &page));
    bool own = is_ok(arn_parse(slice_str(retiring), &arn)) && slice_is(arn.account, c->caller->account);
    if (!own)
        REFUSE(c, ACCESS_DENIED, "User: %s is not authorized to perform: kms:ListRetirableGrants on this resource",
               c->caller->principal);
    AUTO_FREE struct kmsd_key_id *ids = NULL;
    size_t count = 0;
    bool more = false;
    TRY(kmsd_store_list(c->store, NULL, "", SIZE_MAX, c->now_ms, &ids, &count, &more));
    struct listing l = {
        .member = "retiring", .value = retiring, .marker = page.marker, .limit = page.limit, .list = json_array()};
    for (size_t i = 0; i < count && l.next == NULL; i++) {
        AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
        if (is_ok(kmsd_store_find(c->store, ids[i].text, c->now_ms, &k))) list_grants_of(k, &l);
    }
    return answer_listing(c, &l);
}
