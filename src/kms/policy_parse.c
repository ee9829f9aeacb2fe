#include <string.h>
#include <strings.h>

#include "aws/arn.h"
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

struct result kmsd_strings_from_json(const json_t *value, const char *what, struct kmsd_strings *into) {
    if (json_is_string(value)) {
        kmsd_strings_add(into, json_string_value(value));
        return OK;
    }
    CHECK(json_is_array(value) && json_array_size(value) > 0, ERR_INVALID,
          "%s must be a string or a list of strings that is not empty", what);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        CHECK(json_is_string(item), ERR_INVALID, "%s holds something that is not a string", what);
        kmsd_strings_add(into, json_string_value(item));
    }
    return OK;
}

static struct result invalid_principal(void) {
    FAIL(ERR_INVALID, "Policy contains a statement with one or more invalid principals.");
}

/* The forms AWS names; no wildcards inside, no groups, no unique ids. */
static bool is_principal_resource(struct slice service, struct slice resource) {
    struct slice kind, name;
    if (!slice_cut(resource, '/', &kind, &name) || name.len == 0) return false;
    for (size_t i = 0; i < name.len; i++)
        if (name.data[i] == '*' || name.data[i] == '?') return false;
    if (slice_is(service, "iam")) return slice_is(kind, "user") || slice_is(kind, "role");
    if (slice_is(kind, "federated-user")) return true;
    struct slice role, session;
    return slice_is(kind, "assumed-role") && slice_cut(name, '/', &role, &session) && role.len > 0 && session.len > 0;
}

static struct result add_aws_principal(const char *text, const char *partition, struct kmsd_statement *into) {
    if (strcmp(text, "*") == 0) {
        into->anyone = true;
        return OK;
    }
    if (arn_is_account(slice_str(text))) {
        kmsd_strings_add(&into->principals, text);
        return OK;
    }
    struct arn arn;
    if (is_err(arn_parse(slice_str(text), &arn))) return invalid_principal();
    bool fits = slice_is(arn.partition, partition) && arn.region.len == 0 && arn_is_account(arn.account) &&
                (slice_is(arn.service, "iam") || slice_is(arn.service, "sts"));
    if (!fits) return invalid_principal();
    if (slice_is(arn.service, "iam") && slice_is(arn.resource, "root")) {
        AUTO_FREE char *account = slice_to_str(arn.account);
        kmsd_strings_add(&into->principals, account);
        return OK;
    }
    if (!is_principal_resource(arn.service, arn.resource)) return invalid_principal();
    kmsd_strings_add(&into->principals, text);
    return OK;
}

static struct result parse_principal(json_t *element, const char *partition, struct kmsd_statement *into) {
    if (json_is_string(element)) {
        if (strcmp(json_string_value(element), "*") != 0) return invalid_principal();
        into->anyone = true;
        return OK;
    }
    CHECK(json_is_object(element) && json_object_size(element) > 0, ERR_INVALID,
          "Principal must be \"*\" or an object such as {\"AWS\": ...}");
    const char *kind;
    json_t *value;
    json_object_foreach(element, kind, value) {
        AUTO(kmsd_strings_done) struct kmsd_strings names = {0};
        TRY(kmsd_strings_from_json(value, "Principal", &names));
        if (strcmp(kind, "Service") == 0) continue; // no caller here is ever an AWS service
        if (strcmp(kind, "AWS") != 0) return invalid_principal();
        for (size_t i = 0; i < names.count; i++)
            TRY(add_aws_principal(names.items[i], partition, into));
    }
    return OK;
}

static struct result parse_actions(const json_t *statement, struct kmsd_statement *into) {
    const json_t *action = json_object_get(statement, "Action"), *not_action = json_object_get(statement, "NotAction");
    CHECK(action == NULL || not_action == NULL, ERR_INVALID, "A statement has both Action and NotAction");
    if (action == NULL && not_action == NULL) return OK;
    into->not_action = not_action != NULL;
    TRY(kmsd_strings_from_json(action != NULL ? action : not_action, "Action", &into->actions));
    for (size_t i = 0; i < into->actions.count; i++)
        CHECK(strcmp(into->actions.items[i], "*") == 0 || strchr(into->actions.items[i], ':') != NULL, ERR_INVALID,
              "Actions must be of the form kms:Action or \"*\"");
    return OK;
}

static struct result parse_resources(const json_t *statement, struct kmsd_statement *into) {
    const json_t *resource = json_object_get(statement, "Resource");
    if (resource == NULL) return OK;
    TRY(kmsd_strings_from_json(resource, "Resource", &into->resources));
    for (size_t i = 0; i < into->resources.count; i++) {
        const char *text = into->resources.items[i];
        CHECK(strstr(text, "${") == NULL, ERR_INVALID, "Policy variables (${...}) are not evaluated by the local KMS");
        CHECK(strcmp(text, "*") == 0 || strncmp(text, "arn:", 4) == 0, ERR_INVALID,
              "Resource must be \"*\" or the key's ARN");
    }
    return OK;
}

static struct result parse_statement(const json_t *element, const char *partition, struct kmsd_statement *into) {
    CHECK(json_is_object(element), ERR_INVALID, "A statement must be an object");
    CHECK(json_object_get(element, "NotPrincipal") == NULL, ERR_INVALID,
          "NotPrincipal is not evaluated by the local KMS: name the principals");
    CHECK(json_object_get(element, "NotResource") == NULL, ERR_INVALID,
          "NotResource is not evaluated by the local KMS: use Resource \"*\"");
    static const char *const known[] = {"Sid",       "Effect",   "Principal", "Action",
                                        "NotAction", "Resource", "Condition", NULL};
    TRY(json_only(element, known));
    const char *effect = NULL, *sid = NULL;
    TRY(json_opt_str(element, "Sid", &sid));
    TRY(json_get_str(element, "Effect", &effect));
    into->allows = strcmp(effect, "Allow") == 0;
    CHECK(into->allows || strcmp(effect, "Deny") == 0, ERR_INVALID, "Effect must be Allow or Deny");
    json_t *principal = json_object_get(element, "Principal");
    CHECK(principal != NULL, ERR_INVALID, "A statement has no Principal");
    TRY(parse_principal(principal, partition, into));
    TRY(parse_actions(element, into));
    TRY(parse_resources(element, into));
    json_t *condition = json_object_get(element, "Condition");
    return condition == NULL ? OK : kmsd_condition_parse(condition, into);
}

static struct result check_head(const json_t *document) {
    static const char *const known[] = {"Version", "Id", "Statement", NULL};
    TRY(json_only(document, known));
    const char *version = NULL, *id = NULL;
    TRY(json_opt_str(document, "Id", &id));
    TRY(json_opt_str(document, "Version", &version));
    CHECK(version == NULL || strcmp(version, "2012-10-17") == 0 || strcmp(version, "2008-10-17") == 0, ERR_INVALID,
          "Version must be 2012-10-17 or 2008-10-17");
    return OK;
}

struct result kmsd_policy_parse(struct slice text, const char *partition, struct kmsd_policy **ret) {
    CHECK(text.len <= KMSD_POLICY_MAX_BYTES, ERR_TOO_LARGE, "The policy is larger than %d bytes",
          KMSD_POLICY_MAX_BYTES);
    JSON_AUTO(document);
    TRY(json_parse_object(text, &document));
    TRY(check_head(document));
    const json_t *statements = json_object_get(document, "Statement");
    bool is_list = json_is_array(statements);
    CHECK(json_is_object(statements) || (is_list && json_array_size(statements) > 0), ERR_INVALID,
          "Statement must be an object or a list of objects that is not empty");
    size_t count = is_list ? json_array_size(statements) : 1;
    AUTO(kmsd_policy_free_auto) struct kmsd_policy *p = mem_alloc(sizeof *p);
    p->statements = mem_alloc_array(count, sizeof *p->statements);
    for (size_t i = 0; i < count; i++) {
        p->count++;
        TRY(parse_statement(is_list ? json_array_get(statements, i) : statements, partition, &p->statements[i]));
    }
    *ret = TAKE(p);
    return OK;
}

struct kmsd_policy *kmsd_policy_free(struct kmsd_policy *p) {
    for (size_t i = 0; p != NULL && i < p->count; i++) {
        struct kmsd_statement *s = &p->statements[i];
        kmsd_strings_done(&s->principals);
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

void kmsd_policy_default(const char *partition, const char *account, struct buf *out) {
    buf_printf(out,
               "{\n  \"Version\" : \"2012-10-17\",\n  \"Id\" : \"key-default-1\",\n  \"Statement\" : [ {\n"
               "    \"Sid\" : \"Enable IAM User Permissions\",\n    \"Effect\" : \"Allow\",\n"
               "    \"Principal\" : {\n      \"AWS\" : \"arn:%s:iam::%s:root\"\n    },\n"
               "    \"Action\" : \"kms:*\",\n    \"Resource\" : \"*\"\n  } ]\n}",
               partition, account);
}
