#include <string.h>

#include "aws/arn.h"
#include "kms/policy_model.h"

static struct result invalid_principal(void) {
    FAIL(ERR_INVALID, "Policy contains a statement with one or more invalid principals.");
}

void kmsd_principals_done(struct kmsd_principals *p) {
    kmsd_strings_done(&p->aws);
    kmsd_strings_done(&p->service);
    *p = (struct kmsd_principals){0};
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

static struct result add_aws(const char *text, const char *partition, struct kmsd_principals *into) {
    if (strcmp(text, "*") == 0) {
        into->anyone = true;
        return OK;
    }
    if (arn_is_account(slice_str(text))) {
        kmsd_strings_add(&into->aws, text);
        return OK;
    }
    struct arn arn;
    if (is_err(arn_parse(slice_str(text), &arn))) return invalid_principal();
    bool fits = slice_is(arn.partition, partition) && arn.region.len == 0 && arn_is_account(arn.account) &&
                (slice_is(arn.service, "iam") || slice_is(arn.service, "sts"));
    if (!fits) return invalid_principal();
    if (slice_is(arn.service, "iam") && slice_is(arn.resource, "root")) {
        AUTO_FREE char *account = slice_to_str(arn.account);
        kmsd_strings_add(&into->aws, account);
        return OK;
    }
    if (!is_principal_resource(arn.service, arn.resource)) return invalid_principal();
    kmsd_strings_add(&into->aws, text);
    return OK;
}

/* "s3.amazonaws.com" */
static struct result add_service(const char *text, struct kmsd_principals *into) {
    const char *dot = strchr(text, '.');
    if (dot == NULL || dot == text || strstr(dot, ".amazonaws.com") == NULL || strpbrk(text, "*?/: ") != NULL)
        return invalid_principal();
    kmsd_strings_add(&into->service, text);
    return OK;
}

struct result kmsd_principals_parse(json_t *element, const char *partition, struct kmsd_principals *into) {
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
        bool is_service = strcmp(kind, "Service") == 0;
        if (!is_service && strcmp(kind, "AWS") != 0) return invalid_principal();
        for (size_t i = 0; i < names.count; i++)
            TRY(is_service ? add_service(names.items[i], into) : add_aws(names.items[i], partition, into));
    }
    return OK;
}

/* Is `caller` a session of the role that `role_arn` names? The session's ARN leaves the role's path out. */
static bool is_session_of(const char *caller, const char *role_arn, const char *account) {
    const char *session = strstr(caller, ":assumed-role/"), *role = strstr(role_arn, ":role/");
    if (session == NULL || role == NULL) return false;
    session += strlen(":assumed-role/");
    role = strrchr(role, '/') + 1;
    size_t len = strcspn(session, "/");
    const char *role_account = strstr(role_arn, ":iam::");
    return role_account != NULL && strncmp(role_account + strlen(":iam::"), account, 12) == 0 && strlen(role) == len &&
           strncmp(session, role, len) == 0;
}

struct matches {
    bool account, itself, role;
};

static struct matches match(const struct kmsd_principals *p, const struct kmsd_access *access) {
    struct matches m = {0};
    if (strncmp(access->principal, "arn:", 4) != 0) {
        for (size_t i = 0; i < p->service.count; i++)
            m.itself = m.itself || strcmp(p->service.items[i], access->principal) == 0;
        return m;
    }
    for (size_t i = 0; i < p->aws.count; i++) {
        m.account = m.account || strcmp(p->aws.items[i], access->account) == 0;
        m.itself = m.itself || strcmp(p->aws.items[i], access->principal) == 0;
        m.role = m.role || is_session_of(access->principal, p->aws.items[i], access->account);
    }
    return m;
}

enum kmsd_reach kmsd_principals_reach(const struct kmsd_principals *p, const struct kmsd_access *access) {
    if (p->anyone) return KMSD_DIRECTLY;
    struct matches m = match(p, access);
    return m.itself || m.role ? KMSD_DIRECTLY : m.account ? KMSD_BY_ACCOUNT : KMSD_NOT_REACHED;
}

bool kmsd_is_root(const char *principal) {
    struct arn arn;
    return is_ok(arn_parse(slice_str(principal), &arn)) && slice_is(arn.service, "iam") &&
           slice_is(arn.resource, "root");
}

bool kmsd_principals_except(const struct kmsd_principals *p, const struct kmsd_access *access) {
    if (p->anyone) return true;
    struct matches m = match(p, access);
    if (strncmp(access->principal, "arn:", 4) != 0) return m.itself;
    bool is_root = kmsd_is_root(access->principal);
    bool is_session = strstr(access->principal, ":assumed-role/") != NULL;
    return m.account && (is_root || (m.itself && (m.role || !is_session)));
}
