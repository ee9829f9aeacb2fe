/* A parsed key policy, as its parser and its evaluator share it. Private to policy*.c. */
#ifndef LOCKSET_KMS_POLICY_MODEL_H
#define LOCKSET_KMS_POLICY_MODEL_H

#include "kms/policy.h"

struct kmsd_strings {
    char **items;
    size_t count;
};
void kmsd_strings_add(struct kmsd_strings *s, const char *text);
void kmsd_strings_done(struct kmsd_strings *s);

enum kmsd_compare { KMSD_EQUALS, KMSD_EQUALS_IGNORE_CASE, KMSD_LIKE, KMSD_ARN_LIKE, KMSD_BOOL, KMSD_NULL };

enum kmsd_condition_key {
    KMSD_CALLER_ACCOUNT,
    KMSD_VIA_SERVICE,
    KMSD_PRINCIPAL_ACCOUNT,
    KMSD_PRINCIPAL_ARN,
    KMSD_ENCRYPTION_CONTEXT
};

struct kmsd_condition {
    enum kmsd_compare compare;
    bool negated, if_exists;
    enum kmsd_condition_key key;
    char *context_name; /* KMSD_ENCRYPTION_CONTEXT only */
    struct kmsd_strings values;
};

struct kmsd_statement {
    bool allows;
    bool anyone;                    /* Principal "*" or {"AWS": "*"} */
    struct kmsd_strings principals; /* accounts as 12 digits, other principals as ARNs */
    bool not_action;
    struct kmsd_strings actions, resources; /* patterns; either empty: the statement does nothing */
    struct kmsd_condition *conditions;
    size_t condition_count;
};

struct kmsd_policy {
    struct kmsd_statement *statements;
    size_t count;
};

/* Reads one statement's Condition element into it. INVALID for what can't be evaluated. */
struct result kmsd_condition_parse(json_t *element, struct kmsd_statement *into);
void kmsd_condition_done(struct kmsd_condition *c);
/* Does it hold? for_allow decides a case AWS leaves open, an encryption context with names that differ only in case:
 * an Allow needs all of their values to match, a Deny one. */
bool kmsd_condition_holds(const struct kmsd_condition *c, const struct kmsd_access *access, bool for_allow);
/* A string, or an array of strings (never empty), as a list. `what` names the element in the detail. */
struct result kmsd_strings_from_json(const json_t *value, const char *what, struct kmsd_strings *into);

#endif
