/* Policies: whatever the text, reading and evaluating it ends, an explicit Deny of everybody always wins, and a caller
 * with fewer identity policies may never do more. */
#include <stdlib.h>

#include "kms/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OWNER "111122223333"
#define KEY "arn:aws:kms:us-west-2:111122223333:key/mrk-0123456789abcdef0123456789abcdef"
static struct kmsd_pair pairs[] = {{"Tenant", "b"}, {"tenant", "a"}};

static const struct {
    const char *principal, *account;
} callers[] = {
    {"arn:aws:iam::111122223333:root", OWNER},
    {"arn:aws:iam::111122223333:user/carol", OWNER},
    {"arn:aws:iam::318212636800:user/alice", "318212636800"},
    {"arn:aws:sts::318212636800:assumed-role/Reader/today", "318212636800"},
    {"s3.amazonaws.com", ""},
};

static void add_facts(struct kmsd_facts *f, size_t who, bool with_context) {
    struct kmsd_context context = {pairs, 2};
    kmsd_facts_add_principal(f, callers[who].principal, callers[who].account);
    kmsd_facts_add(f, "aws:SourceIp", "203.0.113.7");
    kmsd_facts_add(f, "aws:CurrentTime", "2026-03-01T12:00:00Z");
    kmsd_facts_add(f, "aws:x", "QmluYXJ5");
    kmsd_facts_add(f, "kms:ScheduleKeyDeletionPendingWindowInDays", "14");
    kmsd_facts_add_uncertain(f, "aws:PrincipalOrgID", KMSD_MAYBE_ABSENT);
    kmsd_facts_add_uncertain(f, "kms:RequestAlias", KMSD_SOME_VALUE);
    if (with_context) kmsd_facts_add_context(f, &context);
}

static enum kmsd_decision decide(const struct kmsd_policy *policy, size_t who, const struct kmsd_facts *facts,
                                 const struct kmsd_policies *iam) {
    struct kmsd_access access = {.principal = callers[who].principal,
                                 .account = callers[who].account,
                                 .action = "kms:Decrypt",
                                 .resource = KEY,
                                 .facts = facts,
                                 .iam = iam};
    return kmsd_decide(policy, OWNER, &access);
}

/* The same document with one more statement in front. */
static void check_deny_wins(struct slice text) {
    JSON_AUTO(document);
    if (is_err(json_parse_object(text, &document))) abort();
    json_t *statements = json_object_get(document, "Statement");
    json_t *deny =
        json_pack("{s:s, s:s, s:s, s:s}", "Effect", "Deny", "Principal", "*", "Action", "*", "Resource", "*");
    json_t *list = json_array();
    json_array_append_new(list, deny);
    if (json_is_array(statements))
        json_array_extend(list, statements);
    else
        json_array_append(list, statements);
    json_object_set_new(document, "Statement", list);
    BUF_AUTO(changed, 1 << 20);
    AUTO(kmsd_policy_free_auto) struct kmsd_policy *policy = NULL;
    AUTO(kmsd_facts_done) struct kmsd_facts facts = {0};
    if (is_err(json_write(document, &changed))) abort();
    if (is_err(kmsd_policy_parse(buf_slice(&changed), "aws", &policy))) return; // over the limit now
    add_facts(&facts, 0, false);
    if (decide(policy, 0, &facts, NULL) != KMSD_KEY_POLICY_DENIES) abort();
}

/* The same text as somebody's identity policy: read or refused. */
static void check_identity(struct slice text) {
    JSON_AUTO(document);
    AUTO(kmsd_policy_free_auto) struct kmsd_policy *policy = NULL;
    if (is_err(json_parse_object(text, &document)) || is_err(kmsd_policy_parse_identity(document, &policy))) return;
    AUTO(kmsd_facts_done) struct kmsd_facts facts = {0};
    struct kmsd_policies list = {&policy, 1};
    add_facts(&facts, 1, true);
    struct kmsd_access access = {.principal = callers[1].principal,
                                 .account = OWNER,
                                 .action = "kms:ListKeys",
                                 .resource = "*",
                                 .facts = &facts,
                                 .iam = &list};
    enum kmsd_decision first = kmsd_decide_by_identity(&access);
    if (kmsd_decide_by_identity(&access) != first) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    AUTO(kmsd_policy_free_auto) struct kmsd_policy *policy = NULL;
    struct slice text = slice_make(data, size);
    check_identity(text);
    if (is_err(kmsd_policy_parse(text, "aws", &policy))) return 0;
    for (size_t who = 0; who < ARRAY_LEN(callers); who++)
        for (int with_context = 0; with_context < 2; with_context++) {
            AUTO(kmsd_facts_done) struct kmsd_facts facts = {0};
            const struct kmsd_policies none = {0};
            add_facts(&facts, who, with_context != 0);
            enum kmsd_decision first = decide(policy, who, &facts, NULL);
            if (decide(policy, who, &facts, NULL) != first) abort();
            if (first != KMSD_ALLOWED && decide(policy, who, &facts, &none) == KMSD_ALLOWED) abort();
        }
    check_deny_wins(text);
    return 0;
}
