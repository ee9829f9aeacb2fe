#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "kms/match.h"
#include "kms/policy_model.h"

static const struct {
    const char *name;
    enum kmsd_compare compare;
    bool negated;
} operators[] = {
    {"StringEquals", KMSD_EQUALS, false},
    {"StringNotEquals", KMSD_EQUALS, true},
    {"StringEqualsIgnoreCase", KMSD_EQUALS_IGNORE_CASE, false},
    {"StringNotEqualsIgnoreCase", KMSD_EQUALS_IGNORE_CASE, true},
    {"StringLike", KMSD_LIKE, false},
    {"StringNotLike", KMSD_LIKE, true},
    {"ArnEquals", KMSD_ARN_LIKE, false},
    {"ArnNotEquals", KMSD_ARN_LIKE, true},
    {"ArnLike", KMSD_ARN_LIKE, false},
    {"ArnNotLike", KMSD_ARN_LIKE, true},
    {"Bool", KMSD_BOOL, false},
    {"Null", KMSD_NULL, false},
};

static const struct {
    const char *name;
    enum kmsd_condition_key key;
} keys[] = {
    {"kms:CallerAccount", KMSD_CALLER_ACCOUNT},
    {"kms:ViaService", KMSD_VIA_SERVICE},
    {"aws:PrincipalAccount", KMSD_PRINCIPAL_ACCOUNT},
    {"aws:PrincipalArn", KMSD_PRINCIPAL_ARN},
};
static const char context_prefix[] = "kms:EncryptionContext:";

/* Operators that end in IfExists hold when the key is absent; Null has no such form. */
static struct result parse_operator(const char *name, struct kmsd_condition *into) {
    static const char suffix[] = "IfExists";
    size_t len = strlen(name), suffix_len = sizeof suffix - 1;
    if (len > suffix_len && strcmp(name + len - suffix_len, suffix) == 0) {
        into->if_exists = true;
        len -= suffix_len;
    }
    for (size_t i = 0; i < ARRAY_LEN(operators); i++)
        if (strlen(operators[i].name) == len && strncmp(operators[i].name, name, len) == 0) {
            into->compare = operators[i].compare;
            into->negated = operators[i].negated;
            CHECK(into->compare != KMSD_NULL || !into->if_exists, ERR_INVALID, "NullIfExists is no condition operator");
            return OK;
        }
    FAIL(ERR_INVALID, "Condition operator %.40s is not one the local KMS can evaluate", name);
}

static struct result parse_key(const char *name, struct kmsd_condition *into) {
    size_t prefix_len = sizeof context_prefix - 1;
    if (strncasecmp(name, context_prefix, prefix_len) == 0 && name[prefix_len] != '\0') {
        into->key = KMSD_ENCRYPTION_CONTEXT;
        into->context_name = str_dup(name + prefix_len);
        return OK;
    }
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (strcasecmp(keys[i].name, name) == 0) {
            into->key = keys[i].key;
            return OK;
        }
    FAIL(ERR_INVALID, "Condition key %.60s is not one the local KMS can evaluate", name);
}

/* AWS takes numbers and booleans in place of their text. */
static struct result add_value(const json_t *value, struct kmsd_condition *into) {
    if (json_is_string(value)) {
        const char *text = json_string_value(value);
        CHECK(strstr(text, "${") == NULL, ERR_INVALID, "Policy variables (${...}) are not evaluated by the local KMS");
        kmsd_strings_add(&into->values, text);
    } else if (json_is_boolean(value)) {
        kmsd_strings_add(&into->values, json_is_true(value) ? "true" : "false");
    } else if (json_is_integer(value)) {
        AUTO_FREE char *text = str_format("%" JSON_INTEGER_FORMAT, json_integer_value(value));
        kmsd_strings_add(&into->values, text);
    } else {
        FAIL(ERR_INVALID, "Condition values must be strings");
    }
    return OK;
}

static struct result parse_values(const json_t *values, struct kmsd_condition *into) {
    if (!json_is_array(values)) {
        TRY(add_value(values, into));
    } else {
        CHECK(json_array_size(values) > 0, ERR_INVALID, "A condition has an empty list of values");
        for (size_t i = 0; i < json_array_size(values); i++)
            TRY(add_value(json_array_get(values, i), into));
    }
    if (into->compare == KMSD_NULL || into->compare == KMSD_BOOL)
        for (size_t i = 0; i < into->values.count; i++)
            CHECK(strcasecmp(into->values.items[i], "true") == 0 || strcasecmp(into->values.items[i], "false") == 0,
                  ERR_INVALID, "Null and Bool conditions take only \"true\" or \"false\"");
    return OK;
}

struct result kmsd_condition_parse(json_t *element, struct kmsd_statement *into) {
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
            TRY(parse_values(values, c));
        }
    }
    return OK;
}

void kmsd_condition_done(struct kmsd_condition *c) {
    mem_free(c->context_name);
    kmsd_strings_done(&c->values);
    *c = (struct kmsd_condition){0};
}

static bool matches_one(enum kmsd_compare compare, const char *wanted, const char *value) {
    switch (compare) {
    case KMSD_EQUALS:
        return strcmp(wanted, value) == 0;
    case KMSD_EQUALS_IGNORE_CASE:
    case KMSD_BOOL:
        return strcasecmp(wanted, value) == 0;
    case KMSD_LIKE:
        return kmsd_match(wanted, value, false);
    case KMSD_ARN_LIKE:
        return kmsd_match_arn(wanted, value);
    case KMSD_NULL:
        break;
    }
    return false;
}

static bool value_holds(const struct kmsd_condition *c, const char *value) {
    bool found = false;
    for (size_t i = 0; i < c->values.count && !found; i++)
        found = matches_one(c->compare, c->values.items[i], value);
    return found != c->negated;
}

static bool null_holds(const struct kmsd_condition *c, bool present) {
    for (size_t i = 0; i < c->values.count; i++)
        if ((strcasecmp(c->values.items[i], "true") == 0) == !present) return true;
    return false;
}

static bool context_holds(const struct kmsd_condition *c, const struct kmsd_context *context, bool for_allow) {
    size_t present = 0, holding = 0;
    for (size_t i = 0; context != NULL && i < context->count; i++)
        if (strcasecmp(context->pairs[i].name, c->context_name) == 0) {
            present++;
            if (c->compare != KMSD_NULL && value_holds(c, context->pairs[i].value)) holding++;
        }
    if (c->compare == KMSD_NULL) return null_holds(c, present > 0);
    if (present == 0) return c->negated || c->if_exists;
    return for_allow ? holding == present : holding > 0;
}

/* The role's ARN for a session of it, as aws:PrincipalArn has it; any other principal as it is. The caller frees. */
static char *principal_arn(const char *principal) {
    static const char marker[] = ":assumed-role/";
    const char *at = strstr(principal, marker);
    if (at == NULL) return str_dup(principal);
    const char *role = at + sizeof marker - 1;
    int role_len = (int)strcspn(role, "/");
    const char *account = at - 12;
    int partition_len = (int)strcspn(principal + 4, ":");
    return str_format("arn:%.*s:iam::%.12s:role/%.*s", partition_len, principal + 4, account, role_len, role);
}

bool kmsd_condition_holds(const struct kmsd_condition *c, const struct kmsd_access *access, bool for_allow) {
    AUTO_FREE char *arn = NULL;
    const char *value = NULL;
    switch (c->key) {
    case KMSD_ENCRYPTION_CONTEXT:
        return context_holds(c, access->context, for_allow);
    case KMSD_CALLER_ACCOUNT:
    case KMSD_PRINCIPAL_ACCOUNT:
        value = access->account;
        break;
    case KMSD_VIA_SERVICE:
        value = access->via_service;
        break;
    case KMSD_PRINCIPAL_ARN:
        value = arn = principal_arn(access->principal);
        break;
    }
    if (c->compare == KMSD_NULL) return null_holds(c, value != NULL);
    if (value == NULL) return c->negated || c->if_exists;
    return value_holds(c, value);
}
