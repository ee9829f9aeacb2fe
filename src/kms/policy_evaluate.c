#include <string.h>

#include "kms/match.h"
#include "kms/policy_model.h"

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

static bool principal_matches(const struct kmsd_statement *s, const struct kmsd_access *access) {
    if (s->anyone) return true;
    for (size_t i = 0; i < s->principals.count; i++) {
        const char *principal = s->principals.items[i];
        if (strcmp(principal, access->account) == 0 || strcmp(principal, access->principal) == 0 ||
            is_session_of(access->principal, principal, access->account))
            return true;
    }
    return false;
}

static bool action_matches(const struct kmsd_statement *s, const char *action) {
    if (s->actions.count == 0) return false;
    bool found = false;
    for (size_t i = 0; i < s->actions.count && !found; i++)
        found = kmsd_match(s->actions.items[i], action, true);
    return found != s->not_action;
}

static bool resource_matches(const struct kmsd_statement *s, const char *key_arn) {
    for (size_t i = 0; i < s->resources.count; i++)
        if (strcmp(s->resources.items[i], "*") == 0 || kmsd_match_arn(s->resources.items[i], key_arn)) return true;
    return false;
}

static bool statement_applies(const struct kmsd_statement *s, const struct kmsd_access *access) {
    if (!principal_matches(s, access) || !action_matches(s, access->action) || !resource_matches(s, access->key_arn))
        return false;
    for (size_t i = 0; i < s->condition_count; i++)
        if (!kmsd_condition_holds(&s->conditions[i], access, s->allows)) return false;
    return true;
}

enum kmsd_verdict kmsd_policy_evaluate(const struct kmsd_policy *p, const struct kmsd_access *access) {
    enum kmsd_verdict verdict = KMSD_SILENT;
    for (size_t i = 0; i < p->count; i++) {
        if (!statement_applies(&p->statements[i], access)) continue;
        if (!p->statements[i].allows) return KMSD_DENIED;
        verdict = KMSD_ALLOWED;
    }
    return verdict;
}
