#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "kms/policy_model.h"

static const char context_prefix[] = "kms:EncryptionContext:";

/* The condition keys of kms: itself. One that isn't here can only be a mistake. */
static const char *const kms_keys[] = {
    "kms:BypassPolicyLockoutSafetyCheck",
    "kms:CallerAccount",
    "kms:CustomerMasterKeySpec",
    "kms:CustomerMasterKeyUsage",
    "kms:DataKeyPairSpec",
    "kms:EncryptionAlgorithm",
    "kms:EncryptionContextKeys",
    "kms:ExpirationModel",
    "kms:GrantConstraintType",
    "kms:GrantIsForAWSResource",
    "kms:GrantOperations",
    "kms:GranteePrincipal",
    "kms:KeyAgreementAlgorithm",
    "kms:KeyOrigin",
    "kms:KeySpec",
    "kms:KeyUsage",
    "kms:MacAlgorithm",
    "kms:MessageType",
    "kms:MultiRegion",
    "kms:MultiRegionKeyType",
    "kms:PrimaryRegion",
    "kms:ReEncryptOnSameKey",
    "kms:RecipientAttestation:ImageSha384",
    "kms:ReplicaRegion",
    "kms:RequestAlias",
    "kms:ResourceAliases",
    "kms:RetiringPrincipal",
    "kms:RotationPeriodInDays",
    "kms:ScheduleKeyDeletionPendingWindowInDays",
    "kms:SigningAlgorithm",
    "kms:ValidTo",
    "kms:ViaService",
    "kms:WrappingAlgorithm",
    "kms:WrappingKeySpec",
};

static bool cut_prefix(struct slice *s, const char *prefix) {
    if (!slice_starts_with(*s, prefix)) return false;
    *s = slice_make(s->data + strlen(prefix), s->len - strlen(prefix));
    return true;
}

/* ForAllValues: or ForAnyValue:, the operator, IfExists; Null has neither. */
static struct result parse_operator(const char *text, struct kmsd_condition *into) {
    static const char suffix[] = "IfExists";
    struct slice name = slice_str(text);
    into->label = str_dup(text);
    into->set = cut_prefix(&name, "ForAllValues:")  ? KMSD_FOR_ALL_VALUES
                : cut_prefix(&name, "ForAnyValue:") ? KMSD_FOR_ANY_VALUE
                                                    : KMSD_SINGLE;
    size_t suffix_len = sizeof suffix - 1;
    if (name.len > suffix_len && strncmp((const char *)name.data + name.len - suffix_len, suffix, suffix_len) == 0) {
        into->if_exists = true;
        name.len -= suffix_len;
    }
    into->op = kmsd_condition_operator_find(name);
    CHECK(into->op != NULL, ERR_INVALID, "Invalid Condition type : %.60s", text);
    CHECK(!into->op->is_null || (!into->if_exists && into->set == KMSD_SINGLE), ERR_INVALID,
          "Invalid Condition type : %.60s", text);
    return OK;
}

static bool is_kms_key(const char *name) {
    size_t prefix_len = sizeof context_prefix - 1;
    if (strncasecmp(name, context_prefix, prefix_len) == 0) return name[prefix_len] != '\0';
    static const char *const registers[] = {"kms:RecipientAttestation:PCR", "kms:RecipientAttestation:NitroTPMPCR"};
    for (size_t i = 0; i < ARRAY_LEN(registers); i++)
        if (strncasecmp(name, registers[i], strlen(registers[i])) == 0) return true;
    for (size_t i = 0; i < ARRAY_LEN(kms_keys); i++)
        if (strcasecmp(kms_keys[i], name) == 0) return true;
    return false;
}

/* Keys of aws: and of other services that no request here carries count as absent, as they are. */
static struct result parse_key(const char *name, struct kmsd_condition *into) {
    const char *colon = strchr(name, ':');
    CHECK(colon != NULL && colon != name && colon[1] != '\0' && strlen(name) < 4096, ERR_INVALID,
          "Policy has an invalid condition key: %.60s", name);
    CHECK(strncasecmp(name, "kms:", 4) != 0 || is_kms_key(name), ERR_INVALID,
          "Policy has an invalid condition key: %.60s", name);
    CHECK(into->set != KMSD_FOR_ALL_VALUES || (strncasecmp(name, context_prefix, sizeof context_prefix - 1) != 0 &&
                                               strncasecmp(name, "aws:RequestTag/", strlen("aws:RequestTag/")) != 0),
          ERR_INVALID,
          "OverlyPermissiveCondition: ForAllValues with the single-valued condition key %.60s also matches requests "
          "without it. To fix, remove ForAllValues.",
          name);
    into->key = str_dup(name);
    return OK;
}

/* AWS takes numbers and booleans in place of their text. */
static struct result add_value(const json_t *value, struct kmsd_condition *into) {
    if (json_is_boolean(value)) {
        kmsd_strings_add(&into->values, json_is_true(value) ? "true" : "false");
    } else if (json_is_integer(value)) {
        AUTO_FREE char *text = str_format("%" JSON_INTEGER_FORMAT, json_integer_value(value));
        kmsd_strings_add(&into->values, text);
    } else {
        CHECK(json_is_string(value), ERR_INVALID, "Condition values must be strings");
        TRY(kmsd_strings_from_json(value, "Condition", &into->values));
    }
    return OK;
}

static struct result parse_values(const json_t *values, bool variables, struct kmsd_condition *into) {
    if (!json_is_array(values)) {
        TRY(add_value(values, into));
    } else {
        CHECK(json_array_size(values) > 0, ERR_INVALID, "A condition has an empty list of values");
        for (size_t i = 0; i < json_array_size(values); i++)
            TRY(add_value(json_array_get(values, i), into));
    }
    for (size_t i = 0; i < into->values.count; i++) {
        const char *text = into->values.items[i];
        // in strings and ARNs only: elsewhere AWS replaces none
        bool is_variable = variables && into->op->is_value == NULL && strstr(text, "${") != NULL;
        CHECK(!is_variable || kmsd_variables_are_well_formed(text), ERR_INVALID,
              "A condition value holds a policy variable that is not of the form ${key} or ${key, 'default'}");
        CHECK(is_variable || into->op->is_value == NULL || into->op->is_value(text), ERR_INVALID,
              "Invalid value for condition %.40s: %.60s", into->label, text);
    }
    return OK;
}

struct result kmsd_condition_parse(json_t *element, bool variables, struct kmsd_statement *into) {
    CHECK(json_is_object(element), ERR_INVALID, "Condition must be an object");
    const char *operator_name, *key_name;
    json_t *block, *values;
    json_object_foreach(element, operator_name, block) {
        CHECK(json_is_object(block) && json_object_size(block) > 0, ERR_INVALID,
              "Condition operator %.40s must hold an object with at least one key", operator_name);
        json_object_foreach(block, key_name, values) {
            into->conditions = mem_resize(into->conditions, (into->condition_count + 1) * sizeof *into->conditions);
            struct kmsd_condition *c = &into->conditions[into->condition_count++];
            *c = (struct kmsd_condition){0};
            TRY(parse_operator(operator_name, c));
            TRY(parse_key(key_name, c));
            TRY(parse_values(values, variables, c));
        }
    }
    return OK;
}

void kmsd_condition_done(struct kmsd_condition *c) {
    mem_free(c->label);
    mem_free(c->key);
    kmsd_strings_done(&c->values);
    *c = (struct kmsd_condition){0};
}

static enum kmsd_truth negate(enum kmsd_truth t) {
    return t == KMSD_UNKNOWN ? t : t == KMSD_YES ? KMSD_NO : KMSD_YES;
}

/* Does one value of the policy match one of the request? *ret_void is set if it can't, because a variable has no value.
 */
static enum kmsd_truth matches_one(const struct kmsd_condition *c, const char *wanted, const struct kmsd_fact *fact,
                                   const struct kmsd_facts *facts, bool variables, bool *ret_void) {
    if (fact->certainty == KMSD_SOME_VALUE && c->op->takes_patterns && strcmp(wanted, "*") == 0) return KMSD_YES;
    if (fact->certainty != KMSD_KNOWN) return KMSD_UNKNOWN;
    if (!variables || strstr(wanted, "${") == NULL) return c->op->matches(wanted, fact->value) ? KMSD_YES : KMSD_NO;
    AUTO_FREE char *replaced = NULL;
    enum kmsd_truth had = kmsd_variables_replace(wanted, facts, c->op->takes_patterns, &replaced);
    *ret_void = *ret_void || had == KMSD_NO;
    if (had != KMSD_YES) return had;
    return c->op->matches(replaced, fact->value) ? KMSD_YES : KMSD_NO;
}

/* The operator on one value of the request: any of the policy's values, then the negation. A variable without a value
 * makes the statement void, so it isn't a match that a negation could turn. */
static enum kmsd_truth value_holds(const struct kmsd_condition *c, const struct kmsd_fact *fact,
                                   const struct kmsd_facts *facts, bool variables) {
    enum kmsd_truth found = KMSD_NO;
    bool is_void = false;
    for (size_t i = 0; i < c->values.count && found != KMSD_YES; i++) {
        enum kmsd_truth one = matches_one(c, c->values.items[i], fact, facts, variables, &is_void);
        if (one != KMSD_NO) found = one;
    }
    if (is_void && c->op->negated) return KMSD_NO;
    return c->op->negated ? negate(found) : found;
}

struct tally {
    size_t present, holding, unknown;
    bool maybe_absent, only_empty; /* only_empty: each value is "" */
};

static struct tally count(const struct kmsd_condition *c, const struct kmsd_facts *facts, bool variables) {
    struct tally t = {.only_empty = true};
    for (size_t i = 0; i < facts->count; i++) {
        const struct kmsd_fact *fact = &facts->items[i];
        if (strcasecmp(fact->key, c->key) != 0) continue;
        t.present++;
        t.maybe_absent = t.maybe_absent || fact->certainty == KMSD_MAYBE_ABSENT;
        t.only_empty = t.only_empty && fact->certainty == KMSD_KNOWN && fact->value[0] == '\0';
        if (c->op->is_null) continue;
        enum kmsd_truth one = value_holds(c, fact, facts, variables);
        t.holding += one == KMSD_YES;
        t.unknown += one == KMSD_UNKNOWN;
    }
    return t;
}

static enum kmsd_truth null_holds(const struct kmsd_condition *c, const struct tally *t) {
    bool takes_absent = false, takes_present = false;
    for (size_t i = 0; i < c->values.count; i++)
        *(strcasecmp(c->values.items[i], "true") == 0 ? &takes_absent : &takes_present) = true;
    if (takes_absent && takes_present) return KMSD_YES;
    if (t->maybe_absent) return KMSD_UNKNOWN;
    return takes_present == (t->present > 0) ? KMSD_YES : KMSD_NO;
}

static enum kmsd_truth all_hold(const struct tally *t) {
    if (t->holding + t->unknown < t->present) return KMSD_NO;
    return t->unknown > 0 ? KMSD_UNKNOWN : KMSD_YES;
}

static enum kmsd_truth any_holds(const struct tally *t) {
    return t->holding > 0 ? KMSD_YES : t->unknown > 0 ? KMSD_UNKNOWN : KMSD_NO;
}

enum kmsd_truth kmsd_condition_holds(const struct kmsd_condition *c, const struct kmsd_facts *facts, bool variables,
                                     bool for_allow) {
    struct tally t = count(c, facts, variables);
    if (c->op->is_null) return null_holds(c, &t);
    if (t.present > 0 && t.maybe_absent) return KMSD_UNKNOWN;
    switch (c->set) {
    case KMSD_FOR_ALL_VALUES: // a set of empty strings counts as an empty set, as none at all does
        return t.only_empty ? KMSD_YES : all_hold(&t);
    case KMSD_FOR_ANY_VALUE:
        if (t.present == 0 && c->if_exists) return KMSD_YES;
        return t.only_empty ? KMSD_NO : any_holds(&t);
    case KMSD_SINGLE:
        break;
    }
    if (t.present == 0) return c->op->negated || c->if_exists ? KMSD_YES : KMSD_NO;
    return for_allow ? all_hold(&t) : any_holds(&t);
}
