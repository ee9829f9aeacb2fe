/* Grants: leave to use one key in one region, given to one principal, beside the key's policy. They are kept with what
 * the region decides about the key, as a JSON array, whose elements are:
 *     {"id", "created_ms", "issuing_account", "grantee", "operations": [...], "name"?, "retiring"?, "constraints"?}
 * Pure; a published key's grants never change.
 * Source: https://docs.aws.amazon.com/kms/latest/developerguide/grants.html */
#ifndef LOCKSET_KMS_GRANTS_H
#define LOCKSET_KMS_GRANTS_H

#include "kms/call.h"
#include "kms/policy.h"

enum { KMSD_GRANT_ID_CHARS = 64, KMSD_GRANTS_MAX = 5000 };

/* The places of an ARN where a grant may name a principal: a user, a role, a session, an account's root. */
bool kmsd_grant_is_principal(const char *arn, const char *partition);

/* Does a grant of the key cover this call? access: who asks (its has_grant is what this is for); context: NULL for an
 * operation without one. */
bool kmsd_grants_permit(const struct kmsd_call *c, const struct kmsd_key *k, const struct kmsd_context *context,
                        const struct kmsd_access *access);

/* The grant with that id; NULL: none. Borrowed. */
json_t *kmsd_grants_find(const json_t *grants, const char *id);

/* A token stands for a grant and is of no use without it: base64 of the key's id, the grant's id and random bytes. */
struct kmsd_grant_token {
    char key_id[KMSD_KEY_ID_CHARS + 1], grant_id[KMSD_GRANT_ID_CHARS + 1];
};
struct result kmsd_grant_token_make(const char *key_id, const char *grant_id, struct buf *out);
bool kmsd_grant_token_read(const char *text, struct kmsd_grant_token *ret); /* false: not a token */

#endif
