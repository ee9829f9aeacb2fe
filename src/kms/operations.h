/* The operations. Each reads c->input and sets c->output (none: an empty body) or refuses; a failure without a refusal
 * is an internal one.
 * Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_Operations.html */
#ifndef LOCKSET_KMS_OPERATIONS_H
#define LOCKSET_KMS_OPERATIONS_H

#include "kms/call.h"

struct kmsd_operation {
    const char *name;
    struct result (*run)(struct kmsd_call *c);
};
/* NULL if it isn't served. */
const struct kmsd_operation *kmsd_operation_find(const char *name);

struct result kmsd_create_key(struct kmsd_call *c);
struct result kmsd_replicate_key(struct kmsd_call *c);
struct result kmsd_describe_key(struct kmsd_call *c);
struct result kmsd_enable_key(struct kmsd_call *c);
struct result kmsd_disable_key(struct kmsd_call *c);
struct result kmsd_schedule_key_deletion(struct kmsd_call *c);
struct result kmsd_cancel_key_deletion(struct kmsd_call *c);
struct result kmsd_put_key_policy(struct kmsd_call *c);
struct result kmsd_get_key_policy(struct kmsd_call *c);
struct result kmsd_list_keys(struct kmsd_call *c);
struct result kmsd_encrypt(struct kmsd_call *c);
struct result kmsd_decrypt(struct kmsd_call *c);
struct result kmsd_generate_data_key(struct kmsd_call *c);
struct result kmsd_generate_data_key_without_plaintext(struct kmsd_call *c);
struct result kmsd_enable_key_rotation(struct kmsd_call *c);
struct result kmsd_disable_key_rotation(struct kmsd_call *c);
struct result kmsd_get_key_rotation_status(struct kmsd_call *c);
struct result kmsd_rotate_key_on_demand(struct kmsd_call *c);
struct result kmsd_list_key_rotations(struct kmsd_call *c);
struct result kmsd_create_alias(struct kmsd_call *c);
struct result kmsd_update_alias(struct kmsd_call *c);
struct result kmsd_delete_alias(struct kmsd_call *c);
struct result kmsd_list_aliases(struct kmsd_call *c);
struct result kmsd_tag_resource(struct kmsd_call *c);
struct result kmsd_untag_resource(struct kmsd_call *c);
struct result kmsd_list_resource_tags(struct kmsd_call *c);
struct result kmsd_update_key_description(struct kmsd_call *c);
struct result kmsd_generate_random(struct kmsd_call *c);
struct result kmsd_list_key_policies(struct kmsd_call *c);
struct result kmsd_re_encrypt(struct kmsd_call *c);
struct result kmsd_update_primary_region(struct kmsd_call *c);
struct result kmsd_create_grant(struct kmsd_call *c);
struct result kmsd_list_grants(struct kmsd_call *c);
struct result kmsd_list_retirable_grants(struct kmsd_call *c);
struct result kmsd_retire_grant(struct kmsd_call *c);
struct result kmsd_revoke_grant(struct kmsd_call *c);
struct result kmsd_get_key_last_usage(struct kmsd_call *c);

#endif
