#include <string.h>

#include "kms/match.h"
#include "kms/policy_model.h"

enum kmsd_reach kmsd_statement_reach(const struct kmsd_policy *p, const struct kmsd_statement *s,
                                     const struct kmsd_access *access) {
    if (p->is_identity) return KMSD_DIRECTLY;
    if (s->not_principal) return kmsd_principals_except(&s->principals, access) ? KMSD_NOT_REACHED : KMSD_DIRECTLY;
    return kmsd_principals_reach(&s->principals, access);
}

bool kmsd_statement_has_action(const struct kmsd_statement *s, const char *action) {
    if (s->actions.count == 0) return false;
    bool found = false;
    for (size_t i = 0; i < s->actions.count && !found; i++)
        found = kmsd_match(s->actions.items[i], action, true);
    return found != s->not_action;
}

static enum kmsd_truth resource_matches(const char *pattern, bool variables, const struct kmsd_access *access) {
    if (strcmp(pattern, "*") == 0) return KMSD_YES;
    if (!variables || strstr(pattern, "${") == NULL)
        return kmsd_match_arn(pattern, access->resource) ? KMSD_YES : KMSD_NO;
    AUTO_FREE char *replaced = NULL;
    enum kmsd_truth had = kmsd_variables_replace(pattern, access->facts, true, &replaced);
    if (had != KMSD_YES) return had;
    return kmsd_match_arn(replaced, access->resource) ? KMSD_YES : KMSD_NO;
}

enum kmsd_truth kmsd_statement_has_resource(const struct kmsd_policy *p, const struct kmsd_statement *s,
                                            const struct kmsd_access *access) {
    if (s->resources.count == 0) return KMSD_NO;
    enum kmsd_truth found = KMSD_NO;
    for (size_t i = 0; i < s->resources.count && found != KMSD_YES; i++) {
        enum kmsd_truth one = resource_matches(s->resources.items[i], p->variables, access);
        if (one != KMSD_NO) found = one;
    }
    if (found == KMSD_UNKNOWN) return found;
    return (found == KMSD_YES) != s->not_resource ? KMSD_YES : KMSD_NO;
}

/* What a policy says: an explicit Deny, an Allow for the caller itself, one for its account. */
struct findings {
    bool denied, direct, account;
};

static bool applies(const struct kmsd_policy *p, const struct kmsd_statement *s, const struct kmsd_access *access) {
    if (!kmsd_statement_has_action(s, access->action)) return false;
    if (kmsd_statement_has_resource(p, s, access) != KMSD_YES) return false;
    for (size_t i = 0; i < s->condition_count; i++)
        if (kmsd_condition_holds(&s->conditions[i], access->facts, p->variables, s->allows) != KMSD_YES) return false;
    return true;
}

static void ask(const struct kmsd_policy *p, const struct kmsd_access *access, struct findings *into) {
    for (size_t i = 0; i < p->count; i++) {
        const struct kmsd_statement *s = &p->statements[i];
        enum kmsd_reach reach = kmsd_statement_reach(p, s, access);
        if (reach == KMSD_NOT_REACHED || !applies(p, s, access)) continue;
        if (!s->allows)
            into->denied = true;
        else if (reach == KMSD_DIRECTLY)
            into->direct = true;
        else
            into->account = true;
    }
}

static struct findings ask_identity(const struct kmsd_access *access) {
    struct findings f = {.direct = access->iam == NULL};
    for (size_t i = 0; access->iam != NULL && i < access->iam->count; i++)
        ask(access->iam->list[i], access, &f);
    return f;
}

/* What callers of other accounts can be allowed at all.
 * Source: https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-modifying-external-accounts.html */
static bool works_across_accounts(const char *action) {
    static const char *const actions[] = {
        "kms:CreateGrant",
        "kms:Decrypt",
        "kms:DeriveSharedSecret",
        "kms:DescribeKey",
        "kms:Encrypt",
        "kms:GenerateDataKey",
        "kms:GenerateDataKeyPair",
        "kms:GenerateDataKeyPairWithoutPlaintext",
        "kms:GenerateDataKeyWithoutPlaintext",
        "kms:GenerateMac",
        "kms:GetKeyRotationStatus",
        "kms:GetPublicKey",
        "kms:ListGrants",
        "kms:ReEncryptFrom",
        "kms:ReEncryptTo",
        "kms:RetireGrant",
        "kms:RevokeGrant",
        "kms:Sign",
        "kms:Verify",
        "kms:VerifyMac",
    };
    for (size_t i = 0; i < ARRAY_LEN(actions); i++)
        if (strcmp(actions[i], action) == 0) return true;
    return false;
}

enum kmsd_decision kmsd_decide(const struct kmsd_policy *key_policy, const char *key_account,
                               const struct kmsd_access *access) {
    bool is_service = strncmp(access->principal, "arn:", 4) != 0;
    bool foreign = !is_service && strcmp(access->account, key_account) != 0;
    struct findings key = {0}, iam = ask_identity(access);
    ask(key_policy, access, &key);
    bool key_allows = key.direct || key.account || access->has_grant;
    if (key.denied) return KMSD_KEY_POLICY_DENIES;
    if (foreign && !works_across_accounts(access->action)) return KMSD_NOT_ACROSS_ACCOUNTS;
    /* Before its own Deny: that a key exists at all isn't told to another account that may not use it. */
    if (foreign && !key_allows) return KMSD_KEY_POLICY_SILENT;
    if (iam.denied) return KMSD_IDENTITY_DENIES;
    if (!key_allows) return KMSD_KEY_POLICY_SILENT;
    if (access->has_grant || is_service || (!foreign && key.direct) || (!foreign && kmsd_is_root(access->principal)))
        return KMSD_ALLOWED;
    return iam.direct ? KMSD_ALLOWED : KMSD_IDENTITY_SILENT;
}

enum kmsd_decision kmsd_decide_by_identity(const struct kmsd_access *access) {
    struct findings iam = ask_identity(access);
    return iam.denied ? KMSD_IDENTITY_DENIES : iam.direct ? KMSD_ALLOWED : KMSD_IDENTITY_SILENT;
}
