#include <string.h>

#include "kms/call.h"

static json_t *seconds(int64_t unix_ms) {
    return json_real((double)unix_ms / 1000.0);
}

static json_t *region_entry(const struct kmsd_family *f, const char *region) {
    char arn[ARN_KMS_KEY_BYTES];
    kmsd_key_arn_in(f, region, arn);
    return json_pack("{s:s, s:s}", "Arn", arn, "Region", region);
}

static json_t *multi_region_configuration(const struct kmsd_key *k) {
    json_t *replicas = json_array();
    for (size_t i = 0; i < k->family.related_count; i++)
        if (strcmp(k->family.related[i].region, k->family.primary_region) != 0)
            json_array_append_new(replicas, region_entry(&k->family, k->family.related[i].region));
    return json_pack("{s:s, s:o, s:o}", "MultiRegionKeyType", kmsd_key_is_primary(k) ? "PRIMARY" : "REPLICA",
                     "PrimaryKey", region_entry(&k->family, k->family.primary_region), "ReplicaKeys", replicas);
}

json_t *kmsd_metadata(struct kmsd_call *c, const struct kmsd_key *k) {
    enum kmsd_key_state state = kmsd_key_state_at(k, c->now_ms);
    const struct kmsd_kind *kind = k->family.kind;
    json_t *m =
        json_pack("{s:s, s:s, s:s, s:o, s:b, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b}", "AWSAccountId",
                  k->family.account, "KeyId", k->family.id, "Arn", k->arn, "CreationDate", seconds(k->state.created_ms),
                  "Enabled", state == KMSD_STATE_ENABLED, "Description", k->state.description, "KeyUsage", kind->usage,
                  "KeyState", kmsd_key_state_name(state), "Origin", "AWS_KMS", "KeyManager", "CUSTOMER",
                  "CustomerMasterKeySpec", kind->spec, "KeySpec", kind->spec, "MultiRegion", k->family.multi_region);
    json_t *algorithms = json_array();
    for (const char *const *a = kind->algorithms; *a != NULL; a++)
        json_array_append_new(algorithms, json_string(*a));
    json_object_set_new(m, kind->algorithms_name, algorithms);
    if (k->family.multi_region) json_object_set_new(m, "MultiRegionConfiguration", multi_region_configuration(k));
    if (state == KMSD_STATE_PENDING_DELETION)
        json_object_set_new(m, "DeletionDate", seconds(kmsd_key_deletion_ms(k, kmsd_store_day_ms(c->store))));
    if (state == KMSD_STATE_PENDING_REPLICA_DELETION)
        json_object_set_new(m, "PendingDeletionWindowInDays", json_integer(k->state.pending_days));
    if (state != KMSD_STATE_CREATING && kmsd_kind_is_symmetric(kind))
        json_object_set_new(m, "CurrentKeyMaterialId", json_string(kmsd_key_current(k)->id));
    return m;
}
