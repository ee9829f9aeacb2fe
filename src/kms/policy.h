/* Key policies and identity policies: read, checked and evaluated. Pure, without a server's state; a parsed policy
 * never changes, so threads may share it.
 *
 * A statement without Action or Resource is accepted in a key policy and does nothing, as in AWS. What AWS documents as
 * not supported is refused, and so is what could only be a mistake here: an unknown condition operator, a condition key
 * of kms: that doesn't exist, a value that its operator can't read.
 * Sources: https://docs.aws.amazon.com/kms/latest/developerguide/key-policies.html,
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html */
#ifndef LOCKSET_KMS_POLICY_H
#define LOCKSET_KMS_POLICY_H

#include "kms/facts.h"

enum { KMSD_POLICY_MAX_BYTES = 32768 };

struct kmsd_policy; /* opaque */

/* Reads a key policy. partition: the key's ("aws"); principals of another one are refused. INVALID, with a detail
 * that says which rule is broken; TOO_LARGE over KMSD_POLICY_MAX_BYTES. The caller frees *ret. */
struct result kmsd_policy_parse(struct slice text, const char *partition, struct kmsd_policy **ret);
/* The same for a policy attached to a user or a role: without principals, and Action and Resource must be there. */
struct result kmsd_policy_parse_identity(const json_t *document, struct kmsd_policy **ret);
struct kmsd_policy *kmsd_policy_free(struct kmsd_policy *p); /* accepts NULL, returns NULL */
static inline void kmsd_policy_free_auto(struct kmsd_policy **p) {
    kmsd_policy_free(*p);
}

/* The identity policies of one principal. */
struct kmsd_policies {
    struct kmsd_policy **list;
    size_t count;
};
void kmsd_policies_done(struct kmsd_policies *p); /* accepts zeroed */

/* What is asked. All borrowed. */
struct kmsd_access {
    const char *principal;           /* ARN of the caller: account root, user, role or session; or "s3.amazonaws.com" */
    const char *account;             /* 12 digits: the caller's account; "" for an AWS service */
    const char *action;              /* "kms:Encrypt" */
    const char *resource;            /* the key's ARN; "*" for an action on no key */
    const struct kmsd_facts *facts;  /* for conditions and policy variables; of the principal, too */
    const struct kmsd_policies *iam; /* the caller's; NULL: may do everything its account may */
    bool has_grant;                  /* a live grant covers this call */
};

enum kmsd_decision {
    KMSD_ALLOWED,
    KMSD_KEY_POLICY_DENIES,  /* explicitly */
    KMSD_IDENTITY_DENIES,    /* explicitly */
    KMSD_KEY_POLICY_SILENT,  /* neither the caller nor its account is allowed */
    KMSD_IDENTITY_SILENT,    /* the account is allowed, the caller's own policies don't allow it */
    KMSD_NOT_ACROSS_ACCOUNTS /* an action that no other account can be allowed */
};

/* May the caller do this with the key? key_account: who owns it. */
enum kmsd_decision kmsd_decide(const struct kmsd_policy *key_policy, const char *key_account,
                               const struct kmsd_access *access);
/* The same for an action that no key policy is asked about (kms:CreateKey, kms:ListKeys). */
enum kmsd_decision kmsd_decide_by_identity(const struct kmsd_access *access);

/* The policy that a key gets when none is given: the account may do everything. */
void kmsd_policy_default(const char *partition, const char *account, struct buf *out);

#endif
