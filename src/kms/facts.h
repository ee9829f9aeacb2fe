/* What is known of a request when policies are asked: AWS calls it the request context. Names of condition keys with
 * their values; a key with several values stands there several times. Pure; one owner.
 * Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html and
 * https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html */
#ifndef LOCKSET_KMS_FACTS_H
#define LOCKSET_KMS_FACTS_H

#include "kms/context.h"

/* A service always knows all facts of a request. Who judges a policy without one may know only that there will be a
 * value, or not even that. */
enum kmsd_certainty { KMSD_KNOWN, KMSD_SOME_VALUE, KMSD_MAYBE_ABSENT };

struct kmsd_fact {
    char *key, *value; /* value: NULL unless known */
    enum kmsd_certainty certainty;
};

struct kmsd_facts {
    struct kmsd_fact *items;
    size_t count;
};
void kmsd_facts_done(struct kmsd_facts *f); /* accepts zeroed */
/* Copies both; value NULL adds nothing. */
void kmsd_facts_add(struct kmsd_facts *f, const char *key, const char *value);
void kmsd_facts_add_bool(struct kmsd_facts *f, const char *key, bool value);
void kmsd_facts_add_uncertain(struct kmsd_facts *f, const char *key, enum kmsd_certainty certainty);
/* kms:EncryptionContext:NAME for each pair, and kms:EncryptionContextKeys. */
void kmsd_facts_add_context(struct kmsd_facts *f, const struct kmsd_context *context);
/* What follows from who asks: kms:CallerAccount, aws:PrincipalAccount, aws:PrincipalArn (a session's is its role's),
 * aws:PrincipalType, aws:username, aws:PrincipalIsAWSService. */
void kmsd_facts_add_principal(struct kmsd_facts *f, const char *principal, const char *account);
/* The first value of a key whose name differs at most in case; NULL: none. */
const struct kmsd_fact *kmsd_facts_find(const struct kmsd_facts *f, const char *key);

#endif
