/* A parsed policy, as its parser and its evaluator share it. Private to policy*.c. */
#ifndef LOCKSET_KMS_POLICY_MODEL_H
#define LOCKSET_KMS_POLICY_MODEL_H

#include "kms/policy.h"

struct kmsd_strings {
    char **items;
    size_t count;
};
void kmsd_strings_add(struct kmsd_strings *s, const char *text);
void kmsd_strings_done(struct kmsd_strings *s);
/* A string, or an array of strings (never empty), as a list. `what` names the element in the detail. */
struct result kmsd_strings_from_json(const json_t *value, const char *what, struct kmsd_strings *into);

enum kmsd_truth { KMSD_NO, KMSD_YES, KMSD_UNKNOWN };

/* --- Condition operators (policy_operator.c). --- */

struct kmsd_condition_operator {
    const char *name; /* "StringEquals" */
    bool negated, is_null;
    bool takes_patterns;                                    /* '*' and '?' */
    bool (*is_value)(const char *wanted);                   /* NULL: any text will do */
    bool (*matches)(const char *wanted, const char *value); /* without the negation */
};
const struct kmsd_condition_operator *kmsd_condition_operator_find(struct slice name); /* NULL: there is none */

/* --- Conditions (policy_condition.c). --- */

enum kmsd_set { KMSD_SINGLE, KMSD_FOR_ALL_VALUES, KMSD_FOR_ANY_VALUE };

struct kmsd_condition {
    const struct kmsd_condition_operator *op;
    enum kmsd_set set;
    bool if_exists;
    char *label; /* the operator as it was written, for reports */
    char *key;
    struct kmsd_strings values;
};

struct kmsd_statement;
/* Reads a statement's Condition element into it. INVALID for what can't be evaluated. */
struct result kmsd_condition_parse(json_t *element, bool variables, struct kmsd_statement *into);
void kmsd_condition_done(struct kmsd_condition *c);
/* for_allow decides a case AWS leaves open, several values of a key that should have one (an encryption context with
 * names that differ only in case): an Allow needs all of them to match, a Deny one. */
enum kmsd_truth kmsd_condition_holds(const struct kmsd_condition *c, const struct kmsd_facts *facts, bool variables,
                                     bool for_allow);

/* --- Principals (policy_principal.c). --- */

struct kmsd_principals {
    bool anyone;                 /* "*" or {"AWS": "*"} */
    struct kmsd_strings aws;     /* accounts as 12 digits, other principals as ARNs */
    struct kmsd_strings service; /* "s3.amazonaws.com" */
};
void kmsd_principals_done(struct kmsd_principals *p);
struct result kmsd_principals_parse(json_t *element, const char *partition, struct kmsd_principals *into);

/* How a list of principals meets the caller: not; by naming its account; by naming itself (or its role, or anyone). */
enum kmsd_reach { KMSD_NOT_REACHED, KMSD_BY_ACCOUNT, KMSD_DIRECTLY };
enum kmsd_reach kmsd_principals_reach(const struct kmsd_principals *p, const struct kmsd_access *access);
/* Is the caller left out by NotPrincipal? Its account must be listed as well as itself, and a session's role too. */
bool kmsd_principals_except(const struct kmsd_principals *p, const struct kmsd_access *access);

bool kmsd_is_root(const char *principal); /* the ARN of an account's root? */

/* --- Statements and policies. --- */

struct kmsd_statement {
    char *sid;    /* NULL: none */
    size_t order; /* 1: the first */
    bool allows;
    bool not_principal, not_action, not_resource;
    struct kmsd_principals principals;
    struct kmsd_strings actions, resources; /* patterns; either empty: the statement does nothing */
    struct kmsd_condition *conditions;
    size_t condition_count;
};

struct kmsd_policy {
    bool is_identity;
    bool variables; /* ${...} is replaced */
    struct kmsd_statement *statements;
    size_t count;
};

/* The parts of a statement by themselves. */
enum kmsd_reach kmsd_statement_reach(const struct kmsd_policy *p, const struct kmsd_statement *s,
                                     const struct kmsd_access *access);
bool kmsd_statement_has_action(const struct kmsd_statement *s, const char *action);
enum kmsd_truth kmsd_statement_has_resource(const struct kmsd_policy *p, const struct kmsd_statement *s,
                                            const struct kmsd_access *access);

/* Replaces policy variables (${aws:username}, ${key, 'default'}, ${*}, ${?}, ${$}). as_pattern: what is put in counts
 * literally (see kmsd_match). NO: a variable has no value. The caller frees *ret, set with YES only. */
enum kmsd_truth kmsd_variables_replace(const char *text, const struct kmsd_facts *facts, bool as_pattern, char **ret);
bool kmsd_variables_are_well_formed(const char *text);

#endif
