/* Key policies: read, checked and evaluated. Pure; a parsed policy never changes, so threads may share it.
 *
 * What can't be evaluated is refused when a policy is put, never ignored: an unknown condition operator or key, a
 * policy variable, NotPrincipal, NotResource. A statement without Action or Resource is accepted and does nothing, as
 * in AWS. Every caller's identity policies count as "allow everything" (there is no IAM here), so a statement that
 * names an account reaches every principal of that account.
 * Sources: https://docs.aws.amazon.com/kms/latest/developerguide/key-policies.html,
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html */
#ifndef LOCKSET_KMS_POLICY_H
#define LOCKSET_KMS_POLICY_H

#include "kms/context.h"

enum { KMSD_POLICY_MAX_BYTES = 32768 };

struct kmsd_policy; /* opaque */

/* Reads a policy document. partition: the key's ("aws"); principals of another one are refused. INVALID, with a detail
 * that says which rule is broken; TOO_LARGE over KMSD_POLICY_MAX_BYTES. The caller frees *ret. */
struct result kmsd_policy_parse(struct slice text, const char *partition, struct kmsd_policy **ret);
struct kmsd_policy *kmsd_policy_free(struct kmsd_policy *p); /* accepts NULL, returns NULL */
static inline void kmsd_policy_free_auto(struct kmsd_policy **p) {
    kmsd_policy_free(*p);
}

/* What is asked. All borrowed. */
struct kmsd_access {
    const char *principal; /* ARN of the caller: account root, user, role or session */
    const char *account;   /* 12 digits: the caller's account */
    const char *action;    /* "kms:Encrypt" */
    const char *key_arn;
    const char *via_service;            /* "s3.us-west-2.amazonaws.com"; NULL: a direct call */
    const struct kmsd_context *context; /* NULL: an operation without encryption context */
};

enum kmsd_verdict { KMSD_SILENT, KMSD_ALLOWED, KMSD_DENIED };

/* An explicit Deny wins; without an Allow the policy is silent, which refuses too. */
enum kmsd_verdict kmsd_policy_evaluate(const struct kmsd_policy *p, const struct kmsd_access *access);

/* The policy that a key gets when none is given: the account may do everything. */
void kmsd_policy_default(const char *partition, const char *account, struct buf *out);

#endif
