/* From a KeyId and a caller to a key that may be used: lookup, then the key's policy. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "kms/grants.h"
#include "kms/request_facts.h"

/* The one answer that a caller of another account gets for a missing key, a silent policy and an explicit Deny. */
static struct result refuse_foreign(struct kmsd_call *c, const char *resource) {
    REFUSE(c, ACCESS_DENIED,
           "User: %s is not authorized to perform: kms:%s on %s because the resource does not exist in this Region, no "
           "resource-based policies allow access, or a resource-based policy explicitly denies access",
           c->caller->principal, c->operation, resource);
}

static enum kmsd_decision decide(const struct kmsd_call *c, const char *action_name, const struct kmsd_policy *policy,
                                 const struct kmsd_key *k, const char *key_arn, const char *key_account,
                                 const struct kmsd_context *context) {
    AUTO_FREE char *action = str_format("kms:%s", action_name);
    AUTO(kmsd_facts_done) struct kmsd_facts facts = {0};
    kmsd_request_facts(c, k, context, &facts);
    struct kmsd_access access = {.principal = c->caller->principal,
                                 .account = c->caller->account,
                                 .action = action,
                                 .resource = key_arn,
                                 .facts = &facts,
                                 .iam = c->caller->has_policies ? &c->caller->policies : NULL};
    if (policy == NULL) return kmsd_decide_by_identity(&access);
    enum kmsd_decision decision = kmsd_decide(policy, key_account, &access);
    bool silent = decision == KMSD_KEY_POLICY_SILENT || decision == KMSD_IDENTITY_SILENT;
    if (!silent || k == NULL || !kmsd_grants_permit(c, k, context, &access)) return decision;
    access.has_grant = true;
    return kmsd_decide(policy, key_account, &access);
}

static enum kmsd_decision ask(const struct kmsd_call *c, const struct kmsd_key *k, const struct kmsd_context *context) {
    return decide(c, c->operation, k->policy, k, k->arn, k->family.account, context);
}

/* The ends of AWS's sentences. */
static struct result refuse_decision(struct kmsd_call *c, const char *action, const char *resource,
                                     enum kmsd_decision decision) {
    const char *principal = c->caller->principal;
    switch (decision) {
    case KMSD_KEY_POLICY_DENIES:
        REFUSE(c, ACCESS_DENIED,
               "User: %s is not authorized to perform: kms:%s on resource: %s with an explicit deny in a "
               "resource-based policy",
               principal, action, resource);
    case KMSD_IDENTITY_DENIES:
        REFUSE(c, ACCESS_DENIED,
               "User: %s is not authorized to perform: kms:%s on resource: %s with an explicit deny in an "
               "identity-based policy",
               principal, action, resource);
    case KMSD_IDENTITY_SILENT:
        REFUSE(c, ACCESS_DENIED,
               "User: %s is not authorized to perform: kms:%s on resource: %s because no identity-based policy allows "
               "the kms:%s action",
               principal, action, resource, action);
    case KMSD_ALLOWED:
    case KMSD_KEY_POLICY_SILENT:
    case KMSD_NOT_ACROSS_ACCOUNTS:
        break;
    }
    REFUSE(c, ACCESS_DENIED,
           "User: %s is not authorized to perform: kms:%s on resource: %s because no resource-based policy allows the "
           "kms:%s action",
           principal, action, resource, action);
}

struct result kmsd_check_identity(struct kmsd_call *c, const char *action, const char *resource) {
    enum kmsd_decision decision = decide(c, action, NULL, NULL, resource, "", NULL);
    return decision == KMSD_ALLOWED ? OK : refuse_decision(c, action, resource, decision);
}

static bool is_foreign(const struct kmsd_call *c, const char *account) {
    return strcmp(account, c->caller->account) != 0;
}

/* What a KeyId says. */
struct named {
    char account[ARN_ACCOUNT_BYTES];
    const char *id, *alias; /* one of both; borrowed from the text */
};

static struct result read_arn(struct kmsd_call *c, const char *text, struct named *ret) {
    struct arn arn;
    if (is_err(arn_parse(slice_str(text), &arn))) REFUSE(c, NOT_FOUND, "Invalid arn %.2048s", text);
    const char *region = kmsd_store_region(c->store);
    if (!slice_is(arn.service, "kms") || !slice_is(arn.partition, arn_partition_of_region(slice_str(region))) ||
        !arn_is_account(arn.account))
        REFUSE(c, NOT_FOUND, "Invalid arn %.2048s", text);
    if (!slice_is(arn.region, region))
        REFUSE(c, NOT_FOUND, "Invalid arn %.*s", (int)arn.region.len, (const char *)arn.region.data);
    snprintf(ret->account, sizeof ret->account, "%.12s", (const char *)arn.account.data);
    const char *resource = (const char *)arn.resource.data; // the text's end
    if (strncmp(resource, "key/", 4) == 0)
        ret->id = resource + 4;
    else if (strncmp(resource, "alias/", 6) == 0)
        ret->alias = resource;
    else
        REFUSE(c, NOT_FOUND, "Invalid arn %.2048s", text);
    return OK;
}

static struct result read_key_id(struct kmsd_call *c, const char *text, unsigned flags, struct named *ret) {
    struct named n = {0};
    if (strncmp(text, "arn:", 4) == 0) {
        TRY(read_arn(c, text, &n));
    } else {
        snprintf(n.account, sizeof n.account, "%s", c->caller->account);
        if (strncmp(text, "alias/", 6) == 0)
            n.alias = text;
        else
            n.id = text;
    }
    bool malformed = n.alias != NULL ? (flags & KMSD_TAKES_ALIAS) == 0 : !kmsd_is_key_id(n.id);
    if (malformed) REFUSE(c, NOT_FOUND, "Invalid keyId '%.2048s'", n.alias != NULL ? text : n.id);
    *ret = n;
    return OK;
}

static struct result refuse_missing(struct kmsd_call *c, const struct named *n) {
    if (is_foreign(c, n->account)) return refuse_foreign(c, "this resource");
    const char *region = kmsd_store_region(c->store), *partition = arn_partition_of_region(slice_str(region));
    if (n->alias != NULL)
        REFUSE(c, NOT_FOUND, "Alias arn:%s:kms:%s:%s:%.2048s is not found.", partition, region, n->account, n->alias);
    REFUSE(c, NOT_FOUND, "Key 'arn:%s:kms:%s:%s:key/%s' does not exist", partition, region, n->account, n->id);
}

struct result kmsd_find_key(struct kmsd_call *c, const char *key_id, unsigned flags, struct kmsd_key **ret) {
    struct named n = {0};
    TRY(read_key_id(c, key_id, flags, &n));
    struct kmsd_alias alias;
    if (n.alias != NULL) {
        if (is_err(kmsd_aliases_find(kmsd_store_aliases(c->store), n.account, n.alias, &alias)))
            return refuse_missing(c, &n);
        n.id = alias.key_id;
    }
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    struct result found = kmsd_store_find(c->store, n.id, c->now_ms, &k);
    if (is_err(found) && found.code != ERR_NOT_FOUND) return found;
    if (k == NULL || strcmp(k->family.account, n.account) != 0) return refuse_missing(c, &n);
    *ret = TAKE(k);
    return OK;
}

struct result kmsd_find_authorized(struct kmsd_call *c, const char *key_id, unsigned flags,
                                   const struct kmsd_context *context, struct kmsd_key **ret) {
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(kmsd_find_key(c, key_id, flags, &k));
    assert(k != NULL);
    enum kmsd_decision decision = (flags & KMSD_IAM_ONLY) != 0 ? KMSD_ALLOWED : ask(c, k, context);
    /* Another account's caller learns of its own policies, never of the key's. */
    bool by_identity = decision == KMSD_IDENTITY_SILENT || decision == KMSD_IDENTITY_DENIES;
    if (is_foreign(c, k->family.account) && (flags & KMSD_CROSS_ACCOUNT) == 0)
        return refuse_foreign(c, "this resource");
    if (is_foreign(c, k->family.account) && decision != KMSD_ALLOWED && !by_identity)
        return refuse_foreign(c, "this resource");
    if (decision != KMSD_ALLOWED) return refuse_decision(c, c->operation, k->arn, decision);
    *ret = TAKE(k);
    return OK;
}

struct result kmsd_find_by_ciphertext(struct kmsd_call *c, const struct kmsd_blob *blob,
                                      const struct kmsd_context *context, struct kmsd_key **ret) {
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    struct result found = kmsd_store_find(c->store, blob->key_id, c->now_ms, &k);
    if (is_err(found) && found.code != ERR_NOT_FOUND) return found;
    if (k == NULL || ask(c, k, context) != KMSD_ALLOWED)
        return refuse_foreign(c, "the resource associated with this ciphertext");
    *ret = TAKE(k);
    return OK;
}

struct result kmsd_refuse_state(struct kmsd_call *c, const struct kmsd_key *k) {
    switch (kmsd_key_state_at(k, c->now_ms)) {
    case KMSD_STATE_DISABLED:
        REFUSE(c, DISABLED, "%s is disabled.", k->arn);
    case KMSD_STATE_CREATING:
        REFUSE(c, INVALID_STATE, "%s is creating.", k->arn);
    case KMSD_STATE_UPDATING:
        REFUSE(c, INVALID_STATE, "%s is updating.", k->arn);
    case KMSD_STATE_PENDING_DELETION:
        REFUSE(c, INVALID_STATE, "%s is pending deletion.", k->arn);
    case KMSD_STATE_PENDING_REPLICA_DELETION:
        REFUSE(c, INVALID_STATE, "%s is pending replica deletion.", k->arn);
    case KMSD_STATE_ENABLED:
        break;
    }
    REFUSE(c, INVALID_STATE, "%s is enabled.", k->arn);
}

struct result kmsd_check_enabled(struct kmsd_call *c, const struct kmsd_key *k) {
    enum kmsd_key_state state = kmsd_key_state_at(k, c->now_ms);
    if (state == KMSD_STATE_UPDATING && !k->state.enabled) REFUSE(c, DISABLED, "%s is disabled.", k->arn);
    return state == KMSD_STATE_ENABLED || state == KMSD_STATE_UPDATING ? OK : kmsd_refuse_state(c, k);
}

struct result kmsd_check_not_pending(struct kmsd_call *c, const struct kmsd_key *k) {
    return k->state.pending_days == 0 ? OK : kmsd_refuse_state(c, k);
}

struct result kmsd_check_not_transient(struct kmsd_call *c, const struct kmsd_key *k) {
    enum kmsd_key_state state = kmsd_key_state_at(k, c->now_ms);
    return state == KMSD_STATE_ENABLED || state == KMSD_STATE_DISABLED ? OK : kmsd_refuse_state(c, k);
}

/* AWS's pattern for a policy: tab, line feed, carriage return, U+0020 to U+00FF. */
static bool has_policy_characters(const char *text) {
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        if (*p == 0xC2 || *p == 0xC3)
            p++; // JSON is checked UTF-8: one more byte follows
        else if (*p >= 0x80 || (*p < 0x20 && *p != '\t' && *p != '\n' && *p != '\r'))
            return false;
    }
    return true;
}

struct result kmsd_check_policy(struct kmsd_call *c, const char *policy, const char *key_arn, const char *region) {
    if (!has_policy_characters(policy))
        REFUSE(
            c, VALIDATION,
            "1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must satisfy regular "
            "expression pattern: [\\u0009\\u000A\\u000D\\u0020-\\u00FF]+");
    AUTO(kmsd_policy_free_auto) struct kmsd_policy *parsed = NULL;
    struct result r = kmsd_policy_parse(slice_str(policy), arn_partition_of_region(slice_str(region)), &parsed);
    if (r.code == ERR_TOO_LARGE)
        REFUSE(c, LIMIT_EXCEEDED, "The policy is over the limit of %d bytes.", KMSD_POLICY_MAX_BYTES);
    if (is_err(r)) {
        AUTO_FREE char *why = str_dup(err_detail());
        REFUSE(c, MALFORMED_POLICY, "%s", why);
    }
    bool bypass = false;
    TRY(kmsd_opt_bool(c, "BypassPolicyLockoutSafetyCheck", &bypass));
    if (bypass) return OK;
    enum kmsd_decision later = decide(c, "PutKeyPolicy", parsed, NULL, key_arn, c->caller->account, NULL);
    if (later != KMSD_ALLOWED)
        REFUSE(c, MALFORMED_POLICY, "The new key policy will not allow you to update the key policy in the future.");
    return OK;
}
