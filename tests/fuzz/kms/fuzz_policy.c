/* Key policies: whatever the text, reading and evaluating it ends, and an explicit Deny of everybody always wins. */
#include <stdlib.h>

#include "kms/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct kmsd_pair pairs[] = {{"Tenant", "b"}, {"tenant", "a"}};

static struct kmsd_access access_of(const char *principal, const char *account, const struct kmsd_context *context) {
    return (struct kmsd_access){.principal = principal,
                                .account = account,
                                .action = "kms:Decrypt",
                                .key_arn =
                                    "arn:aws:kms:us-west-2:111122223333:key/mrk-0123456789abcdef0123456789abcdef",
                                .context = context};
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
    if (is_err(json_write(document, &changed))) abort();
    if (is_err(kmsd_policy_parse(buf_slice(&changed), "aws", &policy))) return; // over the limit now
    struct kmsd_access access = access_of("arn:aws:iam::111122223333:root", "111122223333", NULL);
    if (kmsd_policy_evaluate(policy, &access) != KMSD_DENIED) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    AUTO(kmsd_policy_free_auto) struct kmsd_policy *policy = NULL;
    struct slice text = slice_make(data, size);
    if (is_err(kmsd_policy_parse(text, "aws", &policy))) return 0;
    struct kmsd_context context = {pairs, 2}, empty = {0};
    const struct kmsd_access asked[] = {
        access_of("arn:aws:iam::111122223333:root", "111122223333", NULL),
        access_of("arn:aws:iam::318212636800:user/alice", "318212636800", &context),
        access_of("arn:aws:sts::318212636800:assumed-role/Reader/today", "318212636800", &empty),
    };
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        enum kmsd_verdict first = kmsd_policy_evaluate(policy, &asked[i]);
        if (kmsd_policy_evaluate(policy, &asked[i]) != first) abort();
    }
    check_deny_wins(text);
    return 0;
}
