/* Judges a key policy before it is in force: would a service of another account get what it needs, whoever there calls?
 * It is asked what the policy means, not how it is written: order, wildcards, split statements don't matter. What can't
 * be known beforehand (who within the account calls, from which address) counts against an Allow and for a Deny. Pure.
 */
#ifndef LOCKSET_KMS_POLICY_CHECK_H
#define LOCKSET_KMS_POLICY_CHECK_H

#include "kms/policy.h"

struct kmsd_check {
    const char *account;        /* 12 digits: the service's */
    const char *principal;      /* ARN it calls as; NULL: some principal of its account */
    const char *key_arn;        /* NULL: not known yet */
    const char *const *actions; /* NULL-terminated; "kms:GenerateDataKey*" stands for all actions of that name */
};

struct kmsd_need {
    char *action;
    bool allowed;
    char *reason;     /* NULL if allowed */
    size_t statement; /* which stands in the way, counted from 1; 0: none does, one is missing */
    char *sid;        /* its Sid; NULL: none */
    char *condition;  /* the operator and key that stand in the way; NULL: it isn't a condition */
};

struct kmsd_needs {
    struct kmsd_need *items;
    size_t count;
    bool all_allowed;
};
void kmsd_needs_done(struct kmsd_needs *n); /* accepts zeroed */
/* contexts: the encryption contexts the service uses. A value of "*" is one that isn't known beforehand. */
void kmsd_policy_check(const struct kmsd_policy *policy, const struct kmsd_check *check,
                       const struct kmsd_context *contexts, size_t context_count, struct kmsd_needs *ret);

#endif
