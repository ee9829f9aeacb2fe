#include <string.h>

#include "kms/policy_model.h"

void kmsd_strings_add(struct kmsd_strings *s, const char *text) {
    s->items = mem_resize(s->items, (s->count + 1) * sizeof *s->items);
    s->items[s->count++] = str_dup(text);
}

void kmsd_strings_done(struct kmsd_strings *s) {
    for (size_t i = 0; i < s->count; i++)
        mem_free(s->items[i]);
    mem_free(s->items);
    *s = (struct kmsd_strings){0};
}

/* Control characters are none of AWS's policy characters, and kmsd_match uses one for itself. */
static struct result add_text(const json_t *item, const char *what, struct kmsd_strings *into) {
    CHECK(json_is_string(item), ERR_INVALID, "%s holds something that is not a string", what);
    const char *text = json_string_value(item);
    for (const char *p = text; *p != '\0'; p++)
        CHECK((unsigned char)*p >= 0x20 || *p == '\t' || *p == '\n' || *p == '\r', ERR_INVALID,
              "%s holds a control character", what);
    kmsd_strings_add(into, text);
    return OK;
}

struct result kmsd_strings_from_json(const json_t *value, const char *what, struct kmsd_strings *into) {
    if (json_is_string(value)) return add_text(value, what, into);
    CHECK(json_is_array(value) && json_array_size(value) > 0, ERR_INVALID,
          "%s must be a string or a list of strings that is not empty", what);
    for (size_t i = 0; i < json_array_size(value); i++)
        TRY(add_text(json_array_get(value, i), what, into));
    return OK;
}

static struct result parse_actions(const json_t *statement, struct kmsd_statement *into) {
    const json_t *action = json_object_get(statement, "Action"), *not_action = json_object_get(statement, "NotAction");
    CHECK(action == NULL || not_action == NULL, ERR_INVALID, "A statement has both Action and NotAction");
    if (action == NULL && not_action == NULL) return OK;
    into->not_action = not_action != NULL;
    TRY(kmsd_strings_from_json(action != NULL ? action : not_action, "Action", &into->actions));
    for (size_t i = 0; i < into->actions.count; i++) {
        const char *text = into->actions.items[i], *colon = strchr(text, ':');
        CHECK(strcmp(text, "*") == 0 || (colon != NULL && colon != text && colon[1] != '\0'), ERR_INVALID,
              "Actions/Conditions must be prefaced by a vendor, e.g., kms, iam, sdb, ec2, etc.");
    }
    return OK;
}

/* AWS replaces variables in an ARN's last part only. */
static bool has_early_variable(const char *text) {
    const char *variable = strstr(text, "${");
    size_t colons = 0;
    for (const char *p = text; variable != NULL && p < variable; p++)
        colons += *p == ':';
    return variable != NULL && colons < 5;
}

static struct result parse_resources(const json_t *statement, bool variables, struct kmsd_statement *into) {
    const json_t *is = json_object_get(statement, "Resource"), *is_not = json_object_get(statement, "NotResource");
    CHECK(is == NULL || is_not == NULL, ERR_INVALID, "A statement has both Resource and NotResource");
    if (is == NULL && is_not == NULL) return OK;
    into->not_resource = is_not != NULL;
    TRY(kmsd_strings_from_json(is != NULL ? is : is_not, "Resource", &into->resources));
    for (size_t i = 0; i < into->resources.count; i++) {
        const char *text = into->resources.items[i];
        CHECK(strcmp(text, "*") == 0 || strncmp(text, "arn:", 4) == 0, ERR_INVALID,
              "Resource must be \"*\" or the key's ARN");
        CHECK(!variables || kmsd_variables_are_well_formed(text), ERR_INVALID,
              "Resource holds a policy variable that is not of the form ${key} or ${key, 'default'}");
        CHECK(!variables || !has_early_variable(text), ERR_INVALID,
              "Resource holds a policy variable before the ARN's last part");
    }
    return OK;
}

static struct result parse_principals(const json_t *statement, const char *partition, struct kmsd_statement *into) {
    json_t *is = json_object_get(statement, "Principal"), *is_not = json_object_get(statement, "NotPrincipal");
    CHECK(is != NULL || is_not != NULL, ERR_INVALID, "A statement has no Principal");
    CHECK(is == NULL || is_not == NULL, ERR_INVALID, "A statement has both Principal and NotPrincipal");
    CHECK(is_not == NULL || !into->allows, ERR_INVALID, "Allow with NotPrincipal is not allowed.");
    into->not_principal = is_not != NULL;
    return kmsd_principals_parse(is != NULL ? is : is_not, partition, &into->principals);
}

/* Rules of identity policies: nobody is named, everything else is. */
static struct result check_identity_statement(const json_t *element, const struct kmsd_statement *s) {
    CHECK(json_object_get(element, "Principal") == NULL && json_object_get(element, "NotPrincipal") == NULL,
          ERR_INVALID, "Policy document should not specify a principal.");
    CHECK(s->actions.count > 0, ERR_INVALID, "Policy statement must contain actions.");
    CHECK(s->resources.count > 0, ERR_INVALID, "Policy statement must contain resources.");
    return OK;
}

/* partition NULL: an identity policy's. */
static struct result parse_statement(const json_t *element, bool variables, const char *partition,
                                     struct kmsd_statement *into) {
    CHECK(json_is_object(element), ERR_INVALID, "A statement must be an object");
    static const char *const known[] = {"Sid",       "Effect",   "Principal",   "NotPrincipal", "Action",
                                        "NotAction", "Resource", "NotResource", "Condition",    NULL};
    TRY(json_only(element, known));
    const char *effect = NULL, *sid = NULL;
    TRY(json_opt_str(element, "Sid", &sid));
    into->sid = str_dup(sid);
    TRY(json_get_str(element, "Effect", &effect));
    into->allows = strcmp(effect, "Allow") == 0;
    CHECK(into->allows || strcmp(effect, "Deny") == 0, ERR_INVALID, "Effect must be Allow or Deny");
    TRY(parse_actions(element, into));
    TRY(parse_resources(element, variables, into));
    TRY(partition == NULL ? check_identity_statement(element, into) : parse_principals(element, partition, into));
    json_t *condition = json_object_get(element, "Condition");
    return condition == NULL ? OK : kmsd_condition_parse(condition, variables, into);
}

static struct result check_head(const json_t *document, bool *ret_variables) {
    static const char *const known[] = {"Version", "Id", "Statement", NULL};
    TRY(json_only(document, known));
    const char *version = NULL, *id = NULL;
    TRY(json_opt_str(document, "Id", &id));
    TRY(json_opt_str(document, "Version", &version));
    *ret_variables = version != NULL && strcmp(version, "2012-10-17") == 0;
    CHECK(version == NULL || *ret_variables || strcmp(version, "2008-10-17") == 0, ERR_INVALID,
          "Version must be 2012-10-17 or 2008-10-17");
    return OK;
}

static struct result parse_document(const json_t *document, const char *partition, struct kmsd_policy **ret) {
    AUTO(kmsd_policy_free_auto) struct kmsd_policy *p = mem_alloc(sizeof *p);
    TRY(check_head(document, &p->variables));
    const json_t *statements = json_object_get(document, "Statement");
    bool is_list = json_is_array(statements);
    CHECK(json_is_object(statements) || (is_list && json_array_size(statements) > 0), ERR_INVALID,
          "Statement must be an object or a list of objects that is not empty");
    size_t count = is_list ? json_array_size(statements) : 1;
    p->is_identity = partition == NULL;
    p->statements = mem_alloc_array(count, sizeof *p->statements);
    for (size_t i = 0; i < count; i++) {
        struct kmsd_statement *s = &p->statements[p->count++];
        s->order = p->count;
        TRY(parse_statement(is_list ? json_array_get(statements, i) : statements, p->variables, partition, s));
    }
    *ret = TAKE(p);
    return OK;
}

struct result kmsd_policy_parse(struct slice text, const char *partition, struct kmsd_policy **ret) {
    CHECK(text.len <= KMSD_POLICY_MAX_BYTES, ERR_TOO_LARGE, "The policy is larger than %d bytes",
          KMSD_POLICY_MAX_BYTES);
    JSON_AUTO(document);
    TRY(json_parse_object(text, &document));
    return parse_document(document, partition, ret);
}

struct result kmsd_policy_parse_identity(const json_t *document, struct kmsd_policy **ret) {
    CHECK(json_is_object(document), ERR_INVALID, "an identity policy must be an object");
    return parse_document(document, NULL, ret);
}

struct kmsd_policy *kmsd_policy_free(struct kmsd_policy *p) {
    for (size_t i = 0; p != NULL && i < p->count; i++) {
        struct kmsd_statement *s = &p->statements[i];
        mem_free(s->sid);
        kmsd_principals_done(&s->principals);
        kmsd_strings_done(&s->actions);
        kmsd_strings_done(&s->resources);
        for (size_t j = 0; j < s->condition_count; j++)
            kmsd_condition_done(&s->conditions[j]);
        mem_free(s->conditions);
    }
    if (p != NULL) mem_free(p->statements);
    mem_free(p);
    return NULL;
}

void kmsd_policies_done(struct kmsd_policies *p) {
    for (size_t i = 0; i < p->count; i++)
        kmsd_policy_free(p->list[i]);
    mem_free(p->list);
    *p = (struct kmsd_policies){0};
}

void kmsd_policy_default(const char *partition, const char *account, struct buf *out) {
    buf_printf(out,
               "{\n  \"Version\" : \"2012-10-17\",\n  \"Id\" : \"key-default-1\",\n  \"Statement\" : [ {\n"
               "    \"Sid\" : \"Enable IAM User Permissions\",\n    \"Effect\" : \"Allow\",\n"
               "    \"Principal\" : {\n      \"AWS\" : \"arn:%s:iam::%s:root\"\n    },\n"
               "    \"Action\" : \"kms:*\",\n    \"Resource\" : \"*\"\n  } ]\n}",
               partition, account);
}
