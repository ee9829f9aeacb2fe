#include "kms/policy_check.h"

#include <string.h>
#include <strings.h>

#include "aws/arn.h"
#include "kms/match.h"
#include "kms/policy_model.h"

/* The actions of KMS that are done with a key by its users. */
static const char *const key_actions[] = {
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:GenerateMac",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
};

/* --- What is known of the calls. --- */

static void add_keys(struct kmsd_facts *f, enum kmsd_certainty certainty, const char *const *keys) {
    for (size_t i = 0; keys[i] != NULL; i++)
        kmsd_facts_add_uncertain(f, keys[i], certainty);
}

static void add_caller(const struct kmsd_check *c, struct kmsd_facts *f) {
    static const char *const has_some[] = {"aws:PrincipalArn", "aws:PrincipalType", NULL};
    static const char *const anyhow[] = {"aws:userid", "aws:UserAgent", "aws:CurrentTime", "aws:EpochTime", NULL};
    static const char *const may_have[] = {"aws:SourceIp",
                                           "aws:SourceVpc",
                                           "aws:SourceVpce",
                                           "aws:SourceVpcArn",
                                           "aws:VpcSourceIp",
                                           "aws:PrincipalOrgID",
                                           "aws:PrincipalOrgPaths",
                                           "aws:TokenIssueTime",
                                           "aws:SourceIdentity",
                                           "aws:FederatedProvider",
                                           "aws:MultiFactorAuthAge",
                                           "aws:MultiFactorAuthPresent",
                                           "aws:ResourceOrgID",
                                           "aws:ResourceOrgPaths",
                                           "aws:VpceAccount",
                                           "aws:VpceOrgID",
                                           "aws:Referer",
                                           "aws:Ec2InstanceSourceVpc",
                                           NULL};
    if (c->principal != NULL) {
        kmsd_facts_add_principal(f, c->principal, c->account);
    } else {
        kmsd_facts_add(f, "kms:CallerAccount", c->account);
        kmsd_facts_add(f, "aws:PrincipalAccount", c->account);
        kmsd_facts_add_bool(f, "aws:PrincipalIsAWSService", false);
        kmsd_facts_add_uncertain(f, "aws:username", KMSD_MAYBE_ABSENT);
        add_keys(f, KMSD_SOME_VALUE, has_some);
    }
    add_keys(f, KMSD_SOME_VALUE, anyhow);
    add_keys(f, KMSD_MAYBE_ABSENT, may_have);
    kmsd_facts_add_bool(f, "aws:SecureTransport", true);
    kmsd_facts_add_bool(f, "aws:ViaAWSService", false);
}

static void add_key(const struct kmsd_check *c, struct kmsd_facts *f) {
    static const char *const has_some[] = {"kms:KeyOrigin", "kms:MultiRegionKeyType", NULL};
    static const char *const spec_keys[] = {"kms:KeySpec", "kms:CustomerMasterKeySpec", NULL};
    static const char *const usage_keys[] = {"kms:KeyUsage", "kms:CustomerMasterKeyUsage", NULL};
    struct arn arn;
    if (c->key_arn != NULL && is_ok(arn_parse(slice_str(c->key_arn), &arn))) {
        AUTO_FREE char *region = slice_to_str(arn.region);
        AUTO_FREE char *account = slice_to_str(arn.account);
        kmsd_facts_add(f, "aws:RequestedRegion", region);
        kmsd_facts_add(f, "aws:ResourceAccount", account);
    } else {
        kmsd_facts_add_uncertain(f, "aws:RequestedRegion", KMSD_SOME_VALUE);
        kmsd_facts_add_uncertain(f, "aws:ResourceAccount", KMSD_SOME_VALUE);
    }
    for (size_t i = 0; i < 2; i++) {
        kmsd_facts_add(f, spec_keys[i], "SYMMETRIC_DEFAULT");
        kmsd_facts_add(f, usage_keys[i], "ENCRYPT_DECRYPT");
    }
    kmsd_facts_add_bool(f, "kms:MultiRegion", true);
    add_keys(f, KMSD_SOME_VALUE, has_some);
}

static void add_context(const struct kmsd_context *context, struct kmsd_facts *f) {
    for (size_t i = 0; i < context->count; i++) {
        AUTO_FREE char *key = str_format("kms:EncryptionContext:%s", context->pairs[i].name);
        if (strcmp(context->pairs[i].value, "*") == 0)
            kmsd_facts_add_uncertain(f, key, KMSD_SOME_VALUE);
        else
            kmsd_facts_add(f, key, context->pairs[i].value);
        kmsd_facts_add(f, "kms:EncryptionContextKeys", context->pairs[i].name);
    }
    kmsd_facts_add(f, "kms:EncryptionAlgorithm", "SYMMETRIC_DEFAULT");
}

/* Tags are known only to who set them. */
static void add_tags(const struct kmsd_policy *p, struct kmsd_facts *f) {
    static const char *const prefixes[] = {"aws:PrincipalTag/", "aws:ResourceTag/"};
    for (size_t i = 0; i < p->count; i++)
        for (size_t j = 0; j < p->statements[i].condition_count; j++) {
            const char *key = p->statements[i].conditions[j].key;
            for (size_t k = 0; k < ARRAY_LEN(prefixes); k++)
                if (strncasecmp(key, prefixes[k], strlen(prefixes[k])) == 0 && kmsd_facts_find(f, key) == NULL)
                    kmsd_facts_add_uncertain(f, key, KMSD_MAYBE_ABSENT);
        }
}

/* --- One statement and one call. --- */

static bool concerns_account(const struct kmsd_principals *p, const char *account) {
    for (size_t i = 0; i < p->aws.count; i++) {
        const char *at = strstr(p->aws.items[i], "::");
        if (at != NULL && strncmp(at + 2, account, 12) == 0) return true;
    }
    return false;
}

static bool names_account(const struct kmsd_principals *p, const char *account) {
    for (size_t i = 0; i < p->aws.count; i++)
        if (strcmp(p->aws.items[i], account) == 0) return true;
    return false;
}

static enum kmsd_truth reaches(const struct kmsd_policy *p, const struct kmsd_statement *s, const struct kmsd_check *c,
                               const struct kmsd_access *access) {
    if (c->principal != NULL) return kmsd_statement_reach(p, s, access) == KMSD_NOT_REACHED ? KMSD_NO : KMSD_YES;
    if (s->not_principal && s->principals.anyone) return KMSD_NO;
    if (s->not_principal) return names_account(&s->principals, c->account) ? KMSD_UNKNOWN : KMSD_YES;
    if (s->principals.anyone || names_account(&s->principals, c->account)) return KMSD_YES;
    return concerns_account(&s->principals, c->account) ? KMSD_UNKNOWN : KMSD_NO;
}

static enum kmsd_truth has_resource(const struct kmsd_policy *p, const struct kmsd_statement *s,
                                    const struct kmsd_check *c, const struct kmsd_access *access) {
    if (s->resources.count == 0) return KMSD_NO;
    if (c->key_arn != NULL) return kmsd_statement_has_resource(p, s, access);
    for (size_t i = 0; i < s->resources.count; i++)
        if (strcmp(s->resources.items[i], "*") == 0) return s->not_resource ? KMSD_NO : KMSD_YES;
    return KMSD_UNKNOWN;
}

/* How far a statement gets: the first thing that keeps it from applying for sure. */
struct reading {
    enum kmsd_truth applies;
    enum { BY_NOTHING, BY_PRINCIPAL, BY_RESOURCE, BY_CONDITION } kept;
    const struct kmsd_condition *condition;
};

static struct reading read_statement(const struct kmsd_policy *p, const struct kmsd_statement *s,
                                     const struct kmsd_check *c, const struct kmsd_access *access) {
    struct reading r = {.applies = reaches(p, s, c, access)};
    if (r.applies != KMSD_YES) r.kept = BY_PRINCIPAL;
    if (r.applies == KMSD_NO) return r;
    enum kmsd_truth resource = has_resource(p, s, c, access);
    if (resource != KMSD_YES) r = (struct reading){.applies = resource, .kept = BY_RESOURCE};
    if (resource == KMSD_NO) return r;
    for (size_t i = 0; i < s->condition_count; i++) {
        enum kmsd_truth holds = kmsd_condition_holds(&s->conditions[i], access->facts, p->variables, s->allows);
        if (holds == KMSD_YES) continue;
        r = (struct reading){holds, BY_CONDITION, &s->conditions[i]};
        if (holds == KMSD_NO) return r;
    }
    return r;
}

/* --- In words. --- */

static char *statement_name(const struct kmsd_statement *s) {
    if (s->sid == NULL) return str_format("statement %zu", s->order);
    return str_format("statement %zu (\"%.120s\")", s->order, s->sid);
}

static char *why_condition(const struct kmsd_condition *c, const struct kmsd_facts *facts, bool is_deny) {
    const struct kmsd_fact *fact = kmsd_facts_find(facts, c->key);
    AUTO_FREE char *because = NULL;
    if (fact == NULL)
        because = str_dup("the service's calls don't carry that key");
    else if (fact->certainty == KMSD_KNOWN && !is_deny)
        because = str_format("the service's calls have \"%.120s\" there", fact->value);
    else if (fact->certainty == KMSD_KNOWN)
        because = str_dup("it holds for the service's calls");
    else
        because = str_dup("what the service's calls have there can't be told beforehand");
    return str_format("its condition %.60s on %.120s: %s", c->label, c->key, because);
}

static void blame(struct kmsd_need *n, const struct kmsd_statement *s, const struct kmsd_condition *c, char *reason) {
    mem_free(n->reason);
    mem_free(n->sid);
    mem_free(n->condition);
    n->reason = reason;
    n->statement = s->order;
    n->sid = str_dup(s->sid);
    n->condition = c != NULL ? str_format("%s %s", c->label, c->key) : NULL;
}

static void blame_deny(struct kmsd_need *n, const struct kmsd_statement *s, const struct reading *r,
                       const struct kmsd_access *access) {
    AUTO_FREE char *name = statement_name(s);
    if (r->applies == KMSD_YES) {
        blame(n, s, s->condition_count > 0 ? &s->conditions[0] : NULL,
              str_format("%s denies it, and a Deny wins over every Allow", name));
        return;
    }
    if (r->kept == BY_CONDITION) {
        AUTO_FREE char *why = why_condition(r->condition, access->facts, true);
        blame(n, s, r->condition, str_format("%s may deny it: %s", name, why));
    } else {
        blame(n, s, NULL,
              str_format(r->kept == BY_PRINCIPAL ? "%s denies it to some principals of account %s"
                                                 : "%s may deny it: whether its Resource is this key can't be told "
                                                   "without the key's ARN (account %s)",
                         name, access->account));
    }
}

static void blame_allow(struct kmsd_need *n, const struct kmsd_statement *s, const struct reading *r,
                        const struct kmsd_access *access) {
    AUTO_FREE char *name = statement_name(s);
    if (r->kept == BY_CONDITION) {
        AUTO_FREE char *why = why_condition(r->condition, access->facts, false);
        blame(n, s, r->condition, str_format("%s would allow it, but for %s", name, why));
    } else if (r->kept == BY_RESOURCE) {
        blame(n, s, NULL,
              str_format("%s would allow it, but its Resource is %s: in a key policy \"*\" means the key itself", name,
                         s->resources.count == 0              ? "missing"
                         : strcmp(access->resource, "*") == 0 ? "not known to be this key"
                                                              : "not this key"));
    } else {
        blame(n, s, NULL,
              str_format("%s allows it only to certain principals of account %s; the service needs it for the account "
                         "(arn:aws:iam::%s:root)",
                         name, access->account, access->account));
    }
}

/* --- One action. --- */

static bool is_allowed(const struct kmsd_policy *p, const struct kmsd_check *c, const struct kmsd_access *access,
                       struct kmsd_need *need) {
    bool allowed = false, blamed = false;
    for (size_t i = 0; i < p->count; i++) {
        const struct kmsd_statement *s = &p->statements[i];
        if (!kmsd_statement_has_action(s, access->action)) continue;
        struct reading r = read_statement(p, s, c, access);
        if (!s->allows && r.applies != KMSD_NO) {
            blame_deny(need, s, &r, access);
            return false;
        }
        if (s->allows && r.applies == KMSD_YES) allowed = true;
        bool is_near = s->allows && r.applies != KMSD_YES && !(r.kept == BY_PRINCIPAL && r.applies == KMSD_NO);
        if (is_near && !blamed) {
            blame_allow(need, s, &r, access);
            blamed = true;
        }
    }
    if (allowed || blamed) return allowed;
    mem_free(need->reason);
    need->reason = str_format("no statement allows it to account %s", access->account);
    return false;
}

static void forget_blame(struct kmsd_need *n) {
    mem_free(n->reason);
    mem_free(n->sid);
    mem_free(n->condition);
    *n = (struct kmsd_need){.action = n->action, .allowed = n->allowed};
}

/* A call: the action, with one of the encryption contexts. */
static bool call_is_allowed(const struct kmsd_policy *p, const struct kmsd_check *c, const struct kmsd_context *context,
                            struct kmsd_need *need) {
    AUTO(kmsd_facts_done) struct kmsd_facts facts = {0};
    add_caller(c, &facts);
    add_key(c, &facts);
    add_tags(p, &facts);
    if (context != NULL) add_context(context, &facts);
    AUTO_FREE char *some = str_format("arn:aws:iam::%s:root", c->account);
    struct kmsd_access access = {.principal = c->principal != NULL ? c->principal : some,
                                 .account = c->account,
                                 .action = need->action,
                                 .resource = c->key_arn != NULL ? c->key_arn : "*",
                                 .facts = &facts};
    forget_blame(need);
    bool allowed = is_allowed(p, c, &access, need);
    if (allowed) forget_blame(need);
    return allowed;
}

static void check_action(const struct kmsd_policy *p, const struct kmsd_check *c, const struct kmsd_context *contexts,
                         size_t context_count, const char *action, struct kmsd_needs *into) {
    struct kmsd_need need = {.action = str_dup(action), .allowed = true};
    bool has_context = strcmp(action, "kms:DescribeKey") != 0;
    if (!has_context) need.allowed = call_is_allowed(p, c, NULL, &need);
    for (size_t i = 0; has_context && i < context_count && need.allowed; i++)
        need.allowed = call_is_allowed(p, c, &contexts[i], &need);
    into->items = mem_resize(into->items, (into->count + 1) * sizeof *into->items);
    into->items[into->count++] = need;
    into->all_allowed = into->all_allowed && need.allowed;
}

void kmsd_policy_check(const struct kmsd_policy *policy, const struct kmsd_check *check,
                       const struct kmsd_context *contexts, size_t context_count, struct kmsd_needs *ret) {
    *ret = (struct kmsd_needs){.all_allowed = true};
    for (const char *const *wanted = check->actions; *wanted != NULL; wanted++)
        for (size_t i = 0; i < ARRAY_LEN(key_actions); i++)
            if (kmsd_match(*wanted, key_actions[i], false))
                check_action(policy, check, contexts, context_count, key_actions[i], ret);
}

void kmsd_needs_done(struct kmsd_needs *n) {
    for (size_t i = 0; i < n->count; i++) {
        forget_blame(&n->items[i]);
        mem_free(n->items[i].action);
    }
    mem_free(n->items);
    *n = (struct kmsd_needs){0};
}
