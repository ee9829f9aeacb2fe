#include <string.h>

#include "kms/operations.h"

enum { KEY_ID_MAX = 2048, DESCRIPTION_MAX = 8192, POLICY_MAX = 131072 };

/* What CreateKey and ReplicateKey have in common: description, tags, and the policy, checked for the key's ARN. */
static struct result read_beginning(struct kmsd_call *c, const char *key_arn, const char *region,
                                    struct kmsd_state *ret) {
    AUTO(kmsd_state_done) struct kmsd_state s = {0};
    const char *description = "", *policy = NULL;
    TRY(kmsd_opt_str(c, "Description", 0, DESCRIPTION_MAX, &description));
    TRY(kmsd_opt_str(c, "Policy", 1, POLICY_MAX, &policy));
    TRY(kmsd_read_tags(c, &s.tags));
    s.description = str_dup(description);
    if (policy != NULL) {
        TRY(kmsd_check_policy(c, policy, key_arn, region));
        s.policy = str_dup(policy);
    } else {
        BUF_AUTO(text, 1024);
        kmsd_policy_default(arn_partition_of_region(slice_str(region)), c->caller->account, &text);
        s.policy = buf_take_str(&text);
    }
    *ret = s;
    s = (struct kmsd_state){0};
    return OK;
}

static struct result refuse_spec(struct kmsd_call *c, const char *spec) {
    REFUSE(c, VALIDATION,
           "1 validation error detected: Value '%.64s' at 'keySpec' failed to satisfy constraint: Member must satisfy "
           "enum value set",
           spec);
}

/* Keys of AWS's own origin are all there is here. */
static struct result read_kind(struct kmsd_call *c, const struct kmsd_kind **ret) {
    static const char *const usages[] = {"ENCRYPT_DECRYPT", "SIGN_VERIFY", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT",
                                         NULL};
    static const char *const origins[] = {"AWS_KMS", "EXTERNAL", "AWS_CLOUDHSM", "EXTERNAL_KEY_STORE", NULL};
    const char *usage = NULL, *origin = origins[0], *spec = NULL, *old_spec = NULL, *store = NULL, *xks = NULL;
    TRY(kmsd_opt_enum(c, "KeyUsage", usages, &usage));
    TRY(kmsd_opt_enum(c, "Origin", origins, &origin));
    TRY(kmsd_opt_str(c, "KeySpec", 1, 64, &spec));
    TRY(kmsd_opt_str(c, "CustomerMasterKeySpec", 1, 64, &old_spec));
    TRY(kmsd_opt_str(c, "CustomKeyStoreId", 1, 64, &store));
    TRY(kmsd_opt_str(c, "XksKeyId", 1, 128, &xks));
    if (spec != NULL && old_spec != NULL)
        REFUSE(c, VALIDATION,
               "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. "
               "CustomerMasterKeySpec is deprecated.");
    if (spec == NULL) spec = old_spec != NULL ? old_spec : kmsd_symmetric->spec;
    if (!kmsd_is_spec(spec)) return refuse_spec(c, spec);
    if (strcmp(spec, kmsd_symmetric->spec) != 0 && usage == NULL)
        REFUSE(c, VALIDATION,
               "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.");
    *ret = kmsd_kind_find(spec, usage != NULL ? usage : usages[0]);
    if (*ret == NULL)
        REFUSE(c, VALIDATION, "The specified KeyUsage value: %s is not compatible with KeySpec %s", usage, spec);
    if (origin != origins[0] || store != NULL || xks != NULL)
        REFUSE(c, UNSUPPORTED_OPERATION, "Only keys of origin AWS_KMS are served here.");
    return OK;
}

struct result kmsd_create_key(struct kmsd_call *c) {
    bool multi_region = false;
    const struct kmsd_kind *kind = NULL;
    AUTO(kmsd_state_done) struct kmsd_state state = {0};
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    const char *region = kmsd_store_region(c->store);
    TRY(kmsd_opt_bool(c, "MultiRegion", &multi_region));
    TRY(read_kind(c, &kind));
    // The key's id isn't known yet, to whoever wrote the policy neither: a statement that names one is not this key's.
    AUTO_FREE char *arn = str_format("arn:%s:kms:%s:%s:key/00000000-0000-4000-8000-000000000000",
                                     arn_partition_of_region(slice_str(region)), region, c->caller->account);
    TRY(read_beginning(c, arn, region, &state));
    TRY(kmsd_store_create(c->store, c->caller->account, kind, multi_region, c->now_ms, &state, &k));
    c->output = json_pack("{s:o}", "KeyMetadata", kmsd_metadata(c, k));
    return OK;
}

static struct result check_replica_region(struct kmsd_call *c, const struct kmsd_key *primary, const char *region) {
    const char *partition = arn_partition_of_region(slice_str(region));
    const char *own = arn_partition_of_region(slice_str(primary->region));
    if (!arn_is_region(slice_str(region)))
        REFUSE(c, VALIDATION,
               "1 validation error detected: Value '%s' at 'replicaRegion' failed to satisfy constraint: Member must "
               "satisfy regular expression pattern: ^([a-z]+-){2,3}\\d+$",
               region);
    if (partition == NULL || strcmp(partition, own) != 0)
        REFUSE(c, VALIDATION, "%s is not a region of partition %s.", region, own);
    return OK;
}

struct result kmsd_replicate_key(struct kmsd_call *c) {
    const char *key_id = NULL, *region = NULL;
    AUTO(kmsd_state_done) struct kmsd_state state = {0};
    AUTO(kmsd_key_unref_auto) struct kmsd_key *primary = NULL, *replica = NULL;
    TRY(kmsd_get_str(c, "KeyId", 1, KEY_ID_MAX, &key_id));
    TRY(kmsd_get_str(c, "ReplicaRegion", 1, ARN_REGION_BYTES - 1, &region));
    TRY(kmsd_find_authorized(c, key_id, 0, NULL, &primary));
    enum kmsd_key_state now = kmsd_key_state_at(primary, c->now_ms);
    if (now == KMSD_STATE_CREATING || now == KMSD_STATE_UPDATING) return kmsd_refuse_state(c, primary);
    if (!kmsd_key_is_primary(primary))
        REFUSE(c, UNSUPPORTED_OPERATION, "%s is not a multi-region primary key.", primary->arn);
    TRY(check_replica_region(c, primary, region));
    char arn[ARN_KMS_KEY_BYTES];
    kmsd_key_arn_in(&primary->family, region, arn);
    TRY(read_beginning(c, arn, region, &state));
    TRY(kmsd_check_enabled(c, primary));
    struct result r = kmsd_store_replicate(c->store, primary->family.id, region, c->now_ms, &state, &replica);
    if (r.code == ERR_INVALID) REFUSE(c, UNSUPPORTED_OPERATION, "%s is not a multi-region primary key.", primary->arn);
    if (r.code == ERR_NOT_FOUND) REFUSE(c, NOT_FOUND, "Key '%s' does not exist", primary->arn);
    if (r.code == ERR_EXISTS) REFUSE(c, ALREADY_EXISTS, "Key '%s' already exists.", arn);
    if (r.code == ERR_CONFLICT) REFUSE(c, INVALID_STATE, "%s is pending deletion.", primary->arn);
    TRY(r);
    JSON_AUTO(tags);
    TRY(json_parse(slice_str(replica->state.tags), &tags));
    c->output = json_pack("{s:o, s:s, s:O}", "ReplicaKeyMetadata", kmsd_metadata(c, replica), "ReplicaPolicy",
                          replica->state.policy, "ReplicaTags", tags);
    return OK;
}

struct result kmsd_describe_key(struct kmsd_call *c) {
    const char *key_id = NULL;
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(kmsd_get_str(c, "KeyId", 1, KEY_ID_MAX, &key_id));
    TRY(kmsd_check_grant_tokens(c));
    TRY(kmsd_find_authorized(c, key_id, KMSD_TAKES_ALIAS | KMSD_CROSS_ACCOUNT, NULL, &k));
    c->output = json_pack("{s:o}", "KeyMetadata", kmsd_metadata(c, k));
    return OK;
}

struct result kmsd_list_keys(struct kmsd_call *c) {
    struct kmsd_page page = {.limit = 100};
    bool more = false;
    TRY(kmsd_read_page(c, 1000, &page));
    if (page.marker[0] != '\0' && !kmsd_is_key_id(page.marker)) REFUSE(c, INVALID_MARKER, NULL);
    AUTO_FREE struct kmsd_key_id *ids = NULL;
    size_t count = 0;
    TRY(kmsd_store_list(c->store, c->caller->account, page.marker, page.limit, c->now_ms, &ids, &count, &more));
    const char *region = kmsd_store_region(c->store), *partition = arn_partition_of_region(slice_str(region));
    json_t *keys = json_array();
    for (size_t i = 0; i < count; i++) {
        AUTO_FREE char *arn = str_format("arn:%s:kms:%s:%s:key/%s", partition, region, c->caller->account, ids[i].text);
        json_array_append_new(keys, json_pack("{s:s, s:s}", "KeyId", ids[i].text, "KeyArn", arn));
    }
    kmsd_answer_page(c, "Keys", keys, more ? ids[count - 1].text : NULL);
    return OK;
}
