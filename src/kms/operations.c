#include "kms/operations.h"

#include <string.h>

static const struct kmsd_operation served[] = {
    {"CancelKeyDeletion", kmsd_cancel_key_deletion},
    {"CreateKey", kmsd_create_key},
    {"Decrypt", kmsd_decrypt},
    {"DescribeKey", kmsd_describe_key},
    {"DisableKey", kmsd_disable_key},
    {"EnableKey", kmsd_enable_key},
    {"Encrypt", kmsd_encrypt},
    {"GenerateDataKey", kmsd_generate_data_key},
    {"GenerateDataKeyWithoutPlaintext", kmsd_generate_data_key_without_plaintext},
    {"GetKeyPolicy", kmsd_get_key_policy},
    {"ListKeys", kmsd_list_keys},
    {"PutKeyPolicy", kmsd_put_key_policy},
    {"ReplicateKey", kmsd_replicate_key},
    {"ScheduleKeyDeletion", kmsd_schedule_key_deletion},
};

const struct kmsd_operation *kmsd_operation_find(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(served); i++)
        if (strcmp(served[i].name, name) == 0) return &served[i];
    return NULL;
}
