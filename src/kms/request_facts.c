#include "kms/request_facts.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "kms/aliases.h"

enum { ALIASES_MAX = 50 };

static const char *text(const struct kmsd_call *c, const char *name, const char *otherwise) {
    const char *value = json_string_value(json_object_get(c->input, name));
    return value != NULL ? value : otherwise;
}

/* An integer of the request as conditions see it. */
static void add_number(struct kmsd_facts *f, const char *key, const struct kmsd_call *c, const char *name,
                       json_int_t otherwise) {
    const json_t *value = json_object_get(c->input, name);
    AUTO_FREE char *number =
        str_format("%" JSON_INTEGER_FORMAT, json_is_integer(value) ? json_integer_value(value) : otherwise);
    kmsd_facts_add(f, key, number);
}

/* --- What holds for every call. A call that an AWS service makes for somebody doesn't happen here, and AWS's own
 * endpoint is reached by TLS alone. --- */

static void add_call(const struct kmsd_call *c, struct kmsd_facts *f) {
    char now[CLOCK_ISO_BYTES];
    clock_format_iso(c->now_ms, now);
    AUTO_FREE char *epoch = str_format("%lld", (long long)(c->now_ms / 1000));
    kmsd_facts_add_principal(f, c->caller->principal, c->caller->account);
    kmsd_facts_add(f, "aws:SourceIp", c->source_ip);
    kmsd_facts_add(f, "aws:UserAgent", c->user_agent);
    kmsd_facts_add(f, "aws:RequestedRegion", kmsd_store_region(c->store));
    kmsd_facts_add(f, "aws:CurrentTime", now);
    kmsd_facts_add(f, "aws:EpochTime", epoch);
    kmsd_facts_add_bool(f, "aws:SecureTransport", true);
    kmsd_facts_add_bool(f, "aws:ViaAWSService", false);
}

/* --- What holds for the key. --- */

static void add_tags(struct kmsd_facts *f, const char *prefix, const json_t *tags) {
    for (size_t i = 0; i < json_array_size(tags); i++) {
        const json_t *tag = json_array_get(tags, i);
        const char *name = json_string_value(json_object_get(tag, "TagKey"));
        if (name == NULL) continue;
        AUTO_FREE char *key = str_format("%s%s", prefix, name);
        kmsd_facts_add(f, key, json_string_value(json_object_get(tag, "TagValue")));
    }
}

static void add_kind(struct kmsd_facts *f, const char *spec, const char *usage, const char *origin, bool multi_region) {
    kmsd_facts_add(f, "kms:KeySpec", spec);
    kmsd_facts_add(f, "kms:CustomerMasterKeySpec", spec);
    kmsd_facts_add(f, "kms:KeyUsage", usage);
    kmsd_facts_add(f, "kms:CustomerMasterKeyUsage", usage);
    kmsd_facts_add(f, "kms:KeyOrigin", origin);
    kmsd_facts_add_bool(f, "kms:MultiRegion", multi_region);
}

static void add_key(const struct kmsd_key *k, struct kmsd_facts *f) {
    add_kind(f, k->family.kind->spec, k->family.kind->usage, "AWS_KMS", k->family.multi_region);
    if (k->family.multi_region)
        kmsd_facts_add(f, "kms:MultiRegionKeyType", kmsd_key_is_primary(k) ? "PRIMARY" : "REPLICA");
    kmsd_facts_add(f, "aws:ResourceAccount", k->family.account);
    JSON_AUTO(tags);
    if (k->state.tags != NULL && is_ok(json_parse(slice_str(k->state.tags), &tags)))
        add_tags(f, "aws:ResourceTag/", tags);
}

/* --- What the request says. --- */

static void add_new_key(const struct kmsd_call *c, struct kmsd_facts *f) {
    const char *spec = text(c, "KeySpec", text(c, "CustomerMasterKeySpec", "SYMMETRIC_DEFAULT"));
    add_kind(f, spec, text(c, "KeyUsage", "ENCRYPT_DECRYPT"), text(c, "Origin", "AWS_KMS"),
             json_is_true(json_object_get(c->input, "MultiRegion")));
    if (json_is_true(json_object_get(c->input, "MultiRegion"))) kmsd_facts_add(f, "kms:MultiRegionKeyType", "PRIMARY");
}

/* The member that names the key this permission is about. */
static const char *key_member(const struct kmsd_call *c) {
    if (strcmp(c->operation, "ReEncryptFrom") == 0) return "SourceKeyId";
    return strcmp(c->operation, "ReEncryptTo") == 0 ? "DestinationKeyId" : "KeyId";
}

static const char *alias_in(const char *key_id) {
    const char *alias = strstr(key_id, "alias/");
    return alias != NULL && (alias == key_id || alias[-1] == ':') ? alias : NULL;
}

/* Is the other key of a ReEncrypt the same one? Not told where it is named by an alias. */
static void add_same_key(const struct kmsd_call *c, const struct kmsd_key *k, struct kmsd_facts *f) {
    bool is_source = strcmp(c->operation, "ReEncryptFrom") == 0;
    const char *other = text(c, is_source ? "DestinationKeyId" : "SourceKeyId", NULL);
    struct kmsd_blob blob = {0};
    BUF_AUTO(ciphertext, KMSD_BLOB_MAX_BYTES + 1);
    if (other == NULL && is_ok(base64_decode(slice_str(text(c, "CiphertextBlob", "")), &ciphertext)) &&
        is_ok(kmsd_blob_parse(buf_slice(&ciphertext), &blob)))
        other = blob.key_id;
    if (other == NULL || alias_in(other) != NULL) return;
    const char *slash = strrchr(other, '/');
    kmsd_facts_add_bool(f, "kms:ReEncryptOnSameKey", strcmp(slash != NULL ? slash + 1 : other, k->family.id) == 0);
}

/* Only identity policies may ask for a key's aliases. */
static void add_aliases(const struct kmsd_call *c, const struct kmsd_key *k, struct kmsd_facts *f) {
    struct kmsd_alias *list = NULL;
    size_t count = 0;
    bool more = false;
    if (!c->caller->has_policies) return;
    kmsd_aliases_list(kmsd_store_aliases(c->store), k->family.account, k->family.id, "", ALIASES_MAX, &list, &count,
                      &more);
    for (size_t i = 0; i < count; i++)
        kmsd_facts_add(f, "kms:ResourceAliases", list[i].name);
    mem_free(list);
}

static void add_constraint(const struct kmsd_call *c, const char *name, struct kmsd_facts *f) {
    AUTO(kmsd_context_done) struct kmsd_context context = {0};
    json_t *pairs = json_object_get(json_object_get(c->input, "Constraints"), name);
    if (!json_is_object(pairs)) return;
    kmsd_facts_add(f, "kms:GrantConstraintType", name);
    if (is_ok(kmsd_context_from_json(pairs, &context))) kmsd_facts_add_context(f, &context);
}

static void add_grant(const struct kmsd_call *c, struct kmsd_facts *f) {
    const json_t *operations = json_object_get(c->input, "Operations");
    kmsd_facts_add(f, "kms:GranteePrincipal", text(c, "GranteePrincipal", NULL));
    kmsd_facts_add(f, "kms:RetiringPrincipal", text(c, "RetiringPrincipal", NULL));
    for (size_t i = 0; i < json_array_size(operations); i++)
        kmsd_facts_add(f, "kms:GrantOperations", json_string_value(json_array_get(operations, i)));
    add_constraint(c, "EncryptionContextEquals", f);
    add_constraint(c, "EncryptionContextSubset", f);
    kmsd_facts_add_bool(f, "kms:GrantIsForAWSResource", false);
}

static void add_request(const struct kmsd_call *c, struct kmsd_facts *f) {
    const char *operation = c->operation;
    bool sets_policy = strcmp(operation, "CreateKey") == 0 || strcmp(operation, "ReplicateKey") == 0 ||
                       strcmp(operation, "PutKeyPolicy") == 0;
    kmsd_facts_add(f, "kms:RequestAlias", alias_in(text(c, key_member(c), "")));
    if (strcmp(operation, "CreateKey") == 0) add_new_key(c, f);
    if (sets_policy)
        kmsd_facts_add_bool(f, "kms:BypassPolicyLockoutSafetyCheck",
                            json_is_true(json_object_get(c->input, "BypassPolicyLockoutSafetyCheck")));
    if (strcmp(operation, "ReplicateKey") == 0) kmsd_facts_add(f, "kms:ReplicaRegion", text(c, "ReplicaRegion", NULL));
    if (strcmp(operation, "UpdatePrimaryRegion") == 0)
        kmsd_facts_add(f, "kms:PrimaryRegion", text(c, "PrimaryRegion", NULL));
    if (strcmp(operation, "ScheduleKeyDeletion") == 0)
        add_number(f, "kms:ScheduleKeyDeletionPendingWindowInDays", c, "PendingWindowInDays", 30);
    if (strcmp(operation, "EnableKeyRotation") == 0)
        add_number(f, "kms:RotationPeriodInDays", c, "RotationPeriodInDays", 365);
    if (strcmp(operation, "CreateGrant") == 0) add_grant(c, f);
    if (strcmp(operation, "ListGrants") == 0 || strcmp(operation, "RevokeGrant") == 0)
        kmsd_facts_add_bool(f, "kms:GrantIsForAWSResource", false);
    const json_t *tags = json_object_get(c->input, "Tags"), *names = json_object_get(c->input, "TagKeys");
    add_tags(f, "aws:RequestTag/", tags);
    for (size_t i = 0; i < json_array_size(tags); i++)
        kmsd_facts_add(f, "aws:TagKeys", json_string_value(json_object_get(json_array_get(tags, i), "TagKey")));
    for (size_t i = 0; i < json_array_size(names); i++)
        kmsd_facts_add(f, "aws:TagKeys", json_string_value(json_array_get(names, i)));
}

void kmsd_request_facts(const struct kmsd_call *c, const struct kmsd_key *k, const struct kmsd_context *context,
                        struct kmsd_facts *ret) {
    add_call(c, ret);
    if (k != NULL) add_key(k, ret);
    if (k != NULL) add_aliases(c, k, ret);
    add_request(c, ret);
    bool is_source = strcmp(c->operation, "ReEncryptFrom") == 0,
         is_destination = strcmp(c->operation, "ReEncryptTo") == 0;
    if (k != NULL && (is_source || is_destination)) add_same_key(c, k, ret);
    if (context == NULL) return;
    kmsd_facts_add_context(ret, context);
    const char *algorithm = is_source        ? "SourceEncryptionAlgorithm"
                            : is_destination ? "DestinationEncryptionAlgorithm"
                                             : "EncryptionAlgorithm";
    kmsd_facts_add(ret, "kms:EncryptionAlgorithm", text(c, algorithm, "SYMMETRIC_DEFAULT"));
}
