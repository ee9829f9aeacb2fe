#include "kms/operations.h"

#include <string.h>

static const struct kmsd_operation served[] = {
    {"CancelKeyDeletion", kmsd_cancel_key_deletion},
    {"CreateAlias", kmsd_create_alias},
    {"CreateGrant", kmsd_create_grant},
    {"CreateKey", kmsd_create_key},
    {"Decrypt", kmsd_decrypt},
    {"DeleteAlias", kmsd_delete_alias},
    {"DescribeKey", kmsd_describe_key},
    {"DisableKey", kmsd_disable_key},
    {"DisableKeyRotation", kmsd_disable_key_rotation},
    {"EnableKey", kmsd_enable_key},
    {"EnableKeyRotation", kmsd_enable_key_rotation},
    {"Encrypt", kmsd_encrypt},
    {"GenerateDataKey", kmsd_generate_data_key},
    {"GenerateDataKeyWithoutPlaintext", kmsd_generate_data_key_without_plaintext},
    {"GenerateRandom", kmsd_generate_random},
    {"GetKeyLastUsage", kmsd_get_key_last_usage},
    {"GetKeyPolicy", kmsd_get_key_policy},
    {"GetKeyRotationStatus", kmsd_get_key_rotation_status},
    {"ListAliases", kmsd_list_aliases},
    {"ListGrants", kmsd_list_grants},
    {"ListKeyPolicies", kmsd_list_key_policies},
    {"ListKeyRotations", kmsd_list_key_rotations},
    {"ListKeys", kmsd_list_keys},
    {"ListResourceTags", kmsd_list_resource_tags},
    {"ListRetirableGrants", kmsd_list_retirable_grants},
    {"PutKeyPolicy", kmsd_put_key_policy},
    {"ReEncrypt", kmsd_re_encrypt},
    {"ReplicateKey", kmsd_replicate_key},
    {"RetireGrant", kmsd_retire_grant},
    {"RevokeGrant", kmsd_revoke_grant},
    {"RotateKeyOnDemand", kmsd_rotate_key_on_demand},
    {"ScheduleKeyDeletion", kmsd_schedule_key_deletion},
    {"TagResource", kmsd_tag_resource},
    {"UntagResource", kmsd_untag_resource},
    {"UpdateAlias", kmsd_update_alias},
    {"UpdateKeyDescription", kmsd_update_key_description},
    {"UpdatePrimaryRegion", kmsd_update_primary_region},
};

const struct kmsd_operation *kmsd_operation_find(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(served); i++)
        if (strcmp(served[i].name, name) == 0) return &served[i];
    return NULL;
}
