/* The judgement of a policy, on the bodies that the check endpoint gets: {"policy": object or text, "kms_key_arn",
 * "principal"}. Whatever they hold it ends; what is judged allowed is allowed when that very call is decided; and with
 * a Deny of everybody nothing is. */
#include <stdlib.h>
#include <string.h>

#include "aws/arn.h"
#include "kms/policy_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SERVICE "318212636800"
#define KEY "arn:aws:kms:us-west-2:111122223333:key/mrk-0123456789abcdef0123456789abcdef"
static const char *const actions[] = {"kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey*", "kms:DescribeKey", NULL};
static struct kmsd_pair unknown[] = {{"lockset:org", "*"}, {"lockset:region", "*"}};
static struct kmsd_pair known[] = {{"lockset:org", "acme"}, {"lockset:region", "us-west-2"}};

static const char *text_member(const json_t *body, const char *name) {
    const char *text = json_string_value(json_object_get(body, name));
    return text != NULL && strlen(text) <= 2048 ? text : NULL;
}

/* One real call, of which everything is known. */
static bool decided(const struct kmsd_policy *p, const char *principal, const char *account, const char *action,
                    const char *key_arn) {
    AUTO(kmsd_facts_done) struct kmsd_facts facts = {0};
    struct kmsd_context context = {known, 2};
    bool has_context = strcmp(action, "kms:DescribeKey") != 0;
    kmsd_facts_add_principal(&facts, principal, account);
    kmsd_facts_add(&facts, "aws:SourceIp", "203.0.113.7");
    kmsd_facts_add(&facts, "aws:userid", "AIDA");
    kmsd_facts_add(&facts, "aws:UserAgent", "lockset");
    kmsd_facts_add(&facts, "aws:CurrentTime", "2026-03-01T12:00:00Z");
    kmsd_facts_add(&facts, "aws:EpochTime", "1772366400");
    kmsd_facts_add(&facts, "aws:RequestedRegion", "us-west-2");
    kmsd_facts_add(&facts, "aws:ResourceAccount", "111122223333");
    kmsd_facts_add(&facts, "kms:KeySpec", "SYMMETRIC_DEFAULT");
    kmsd_facts_add(&facts, "kms:CustomerMasterKeySpec", "SYMMETRIC_DEFAULT");
    kmsd_facts_add(&facts, "kms:KeyUsage", "ENCRYPT_DECRYPT");
    kmsd_facts_add(&facts, "kms:CustomerMasterKeyUsage", "ENCRYPT_DECRYPT");
    kmsd_facts_add(&facts, "kms:KeyOrigin", "AWS_KMS");
    kmsd_facts_add(&facts, "kms:MultiRegionKeyType", "PRIMARY");
    kmsd_facts_add_bool(&facts, "kms:MultiRegion", true);
    kmsd_facts_add_bool(&facts, "aws:SecureTransport", true);
    kmsd_facts_add_bool(&facts, "aws:ViaAWSService", false);
    if (has_context) {
        kmsd_facts_add_context(&facts, &context);
        kmsd_facts_add(&facts, "kms:EncryptionAlgorithm", "SYMMETRIC_DEFAULT");
    }
    struct kmsd_access access = {
        .principal = principal, .account = account, .action = action, .resource = key_arn, .facts = &facts};
    return kmsd_decide(p, "111122223333", &access) == KMSD_ALLOWED;
}

static void check(const struct kmsd_policy *p, const struct kmsd_check *c, bool compare) {
    AUTO(kmsd_needs_done) struct kmsd_needs needs = {0};
    struct kmsd_context contexts[] = {{unknown, 2}};
    kmsd_policy_check(p, c, contexts, 1, &needs);
    if (needs.count != 5) abort();
    for (size_t i = 0; i < needs.count; i++) {
        const struct kmsd_need *n = &needs.items[i];
        if (n->allowed != (n->reason == NULL)) abort();
        if (!n->allowed || !compare) continue;
        const char *caller = c->principal != NULL ? c->principal : "arn:aws:iam::" SERVICE ":root";
        if (!decided(p, caller, c->account, n->action, c->key_arn != NULL ? c->key_arn : KEY)) abort();
        if (c->principal == NULL && !decided(p, "arn:aws:sts::" SERVICE ":assumed-role/Lockset/1", c->account,
                                             n->action, c->key_arn != NULL ? c->key_arn : KEY))
            abort();
    }
}

static void check_deny_wins(const json_t *policy, const struct kmsd_check *c) {
    JSON_AUTO(document);
    document = json_deep_copy(policy);
    json_t *statements = json_object_get(document, "Statement"), *list = json_array();
    json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "Effect", "Deny", "Principal", "*", "Action", "kms:*",
                                          "Resource", "*"));
    if (json_is_array(statements))
        json_array_extend(list, statements);
    else
        json_array_append(list, statements);
    json_object_set_new(document, "Statement", list);
    BUF_AUTO(text, 1 << 20);
    AUTO(kmsd_policy_free_auto) struct kmsd_policy *p = NULL;
    AUTO(kmsd_needs_done) struct kmsd_needs needs = {0};
    struct kmsd_context contexts[] = {{unknown, 2}};
    if (is_err(json_write(document, &text)) || is_err(kmsd_policy_parse(buf_slice(&text), "aws", &p))) return;
    kmsd_policy_check(p, c, contexts, 1, &needs);
    for (size_t i = 0; i < needs.count; i++)
        if (needs.items[i].allowed) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    JSON_AUTO(body);
    JSON_AUTO(parsed);
    AUTO(kmsd_policy_free_auto) struct kmsd_policy *p = NULL;
    if (is_err(json_parse_object(slice_make(data, size), &body))) return 0;
    const json_t *policy = json_object_get(body, "policy");
    BUF_AUTO(text, 1 << 17);
    if (json_is_string(policy))
        buf_append_str(&text, json_string_value(policy));
    else if (policy == NULL || is_err(json_write(policy, &text)))
        return 0;
    if (is_err(buf_check(&text)) || is_err(kmsd_policy_parse(buf_slice(&text), "aws", &p))) return 0;
    if (is_err(json_parse_object(buf_slice(&text), &parsed))) abort();
    struct kmsd_check c = {.account = SERVICE,
                           .principal = text_member(body, "principal"),
                           .key_arn = text_member(body, "kms_key_arn"),
                           .actions = actions};
    struct arn_kms_key key;
    struct arn caller;
    if (c.key_arn != NULL && is_err(arn_parse_kms_key(slice_str(c.key_arn), &key))) c.key_arn = NULL;
    AUTO_FREE char *account = NULL;
    if (c.principal != NULL && (is_err(arn_parse(slice_str(c.principal), &caller)) || !arn_is_account(caller.account)))
        c.principal = NULL;
    if (c.principal != NULL) c.account = account = slice_to_str(caller.account);
    bool is_region = c.key_arn == NULL || strstr(c.key_arn, ":us-west-2:111122223333:") != NULL;
    bool is_known = c.principal == NULL || strcmp(c.principal, "arn:aws:iam::" SERVICE ":user/lockset") == 0;
    check(p, &c, is_region && is_known);
    check_deny_wins(parsed, &c);
    return 0;
}
