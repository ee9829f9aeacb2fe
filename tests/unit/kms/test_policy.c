/* The key policy evaluator, as one table: who asks for what under which policy, and what comes of it. */
#include <string.h>

#include "kms/policy.h"
#include "testing.h"

#define ONE(statement) "{\"Version\":\"2012-10-17\",\"Statement\":[" statement "]}"
#define TWO(first, second) ONE(first "," second)
#define STATEMENT(effect, principal, rest) "{\"Effect\":\"" effect "\",\"Principal\":" principal "," rest "}"
#define ALLOW(principal, rest) STATEMENT("Allow", principal, rest)
#define DENY(principal, rest) STATEMENT("Deny", principal, rest)
#define AWS(name) "{\"AWS\":\"" name "\"}"
#define ON_THIS_KEY "\"Resource\":\"*\""
#define MAY(actions) "\"Action\":" actions "," ON_THIS_KEY
#define ALL MAY("\"kms:*\"")
#define IF(condition) ",\"Condition\":{" condition "}"

#define OWNER "arn:aws:iam::111122223333:root"
#define SERVICE "arn:aws:iam::318212636800:root"
#define ALICE "arn:aws:iam::318212636800:user/alice"
#define SESSION "arn:aws:sts::318212636800:assumed-role/Reader/today"
#define KEY "arn:aws:kms:us-west-2:111122223333:key/mrk-0123456789abcdef0123456789abcdef"

enum outcome { SILENT = KMSD_SILENT, ALLOWED = KMSD_ALLOWED, DENIED = KMSD_DENIED, REFUSED };

struct row {
    const char *what, *policy, *who, *action;
    enum outcome outcome;
    const char *context; /* JSON; NULL: none */
    const char *via;     /* ViaService; NULL: a direct call */
};

static const struct row principals[] = {
    {"the account by its root", ONE(ALLOW(AWS(SERVICE), ALL)), SERVICE, "kms:Encrypt", ALLOWED},
    {"the account by its number", ONE(ALLOW(AWS("318212636800"), ALL)), SERVICE, "kms:Encrypt", ALLOWED},
    {"the account reaches its users", ONE(ALLOW(AWS(SERVICE), ALL)), ALICE, "kms:Encrypt", ALLOWED},
    {"another account", ONE(ALLOW(AWS(OWNER), ALL)), SERVICE, "kms:Encrypt", SILENT},
    {"the owner has no rights by itself", ONE(ALLOW(AWS(SERVICE), ALL)), OWNER, "kms:Encrypt", SILENT},
    {"everybody", ONE(ALLOW("\"*\"", ALL)), SERVICE, "kms:Encrypt", ALLOWED},
    {"everybody, the long way", ONE(ALLOW(AWS("*"), ALL)), SERVICE, "kms:Encrypt", ALLOWED},
    {"in a list", ONE(ALLOW("{\"AWS\":[\"" OWNER "\",\"" SERVICE "\"]}", ALL)), SERVICE, "kms:Encrypt", ALLOWED},
    {"not in the list", ONE(ALLOW("{\"AWS\":[\"" OWNER "\",\"444455556666\"]}", ALL)), SERVICE, "kms:Encrypt", SILENT},
    {"the very user", ONE(ALLOW(AWS(ALICE), ALL)), ALICE, "kms:Encrypt", ALLOWED},
    {"another user", ONE(ALLOW(AWS("arn:aws:iam::318212636800:user/bob"), ALL)), ALICE, "kms:Encrypt", SILENT},
    {"users' names have case", ONE(ALLOW(AWS("arn:aws:iam::318212636800:user/Alice"), ALL)), ALICE, "kms:Encrypt",
     SILENT},
    {"a user doesn't cover the root", ONE(ALLOW(AWS(ALICE), ALL)), SERVICE, "kms:Encrypt", SILENT},
    {"a role covers its sessions", ONE(ALLOW(AWS("arn:aws:iam::318212636800:role/Reader"), ALL)), SESSION,
     "kms:Encrypt", ALLOWED},
    {"a role with a path", ONE(ALLOW(AWS("arn:aws:iam::318212636800:role/team/a/Reader"), ALL)), SESSION, "kms:Encrypt",
     ALLOWED},
    {"another role", ONE(ALLOW(AWS("arn:aws:iam::318212636800:role/Read"), ALL)), SESSION, "kms:Encrypt", SILENT},
    {"another account's role of that name", ONE(ALLOW(AWS("arn:aws:iam::444455556666:role/Reader"), ALL)), SESSION,
     "kms:Encrypt", SILENT},
    {"the very session", ONE(ALLOW(AWS(SESSION), ALL)), SESSION, "kms:Encrypt", ALLOWED},
    {"another session", ONE(ALLOW(AWS("arn:aws:sts::318212636800:assumed-role/Reader/now"), ALL)), SESSION,
     "kms:Encrypt", SILENT},
    {"an AWS service is never the caller", ONE(ALLOW("{\"Service\":\"s3.amazonaws.com\"}", ALL)), SERVICE,
     "kms:Encrypt", SILENT},
    {"a service and an account", ONE(ALLOW("{\"Service\":\"s3.amazonaws.com\",\"AWS\":\"318212636800\"}", ALL)),
     SERVICE, "kms:Encrypt", ALLOWED},
    {"no principal", ONE("{\"Effect\":\"Allow\"," ALL "}"), SERVICE, "kms:Encrypt", REFUSED},
    {"NotPrincipal", ONE("{\"Effect\":\"Deny\",\"NotPrincipal\":" AWS(OWNER) "," ALL "}"), SERVICE, "kms:Encrypt",
     REFUSED},
    {"an empty list", ONE(ALLOW("{\"AWS\":[]}", ALL)), SERVICE, "kms:Encrypt", REFUSED},
    {"an empty object", ONE(ALLOW("{}", ALL)), SERVICE, "kms:Encrypt", REFUSED},
    {"a number for the account", ONE(ALLOW("{\"AWS\":318212636800}", ALL)), SERVICE, "kms:Encrypt", REFUSED},
    {"a wildcard inside", ONE(ALLOW(AWS("arn:aws:iam::318212636800:user/*"), ALL)), ALICE, "kms:Encrypt", REFUSED},
    {"11 digits", ONE(ALLOW(AWS("31821263680"), ALL)), SERVICE, "kms:Encrypt", REFUSED},
    {"a group", ONE(ALLOW(AWS("arn:aws:iam::318212636800:group/g"), ALL)), ALICE, "kms:Encrypt", REFUSED},
    {"another partition", ONE(ALLOW(AWS("arn:aws-cn:iam::318212636800:root"), ALL)), SERVICE, "kms:Encrypt", REFUSED},
    {"no ARN", ONE(ALLOW(AWS("alice"), ALL)), ALICE, "kms:Encrypt", REFUSED},
    {"a bare name", ONE(ALLOW("\"318212636800\"", ALL)), SERVICE, "kms:Encrypt", REFUSED},
    {"a federated provider", ONE(ALLOW("{\"Federated\":\"accounts.google.com\"}", ALL)), SERVICE, "kms:Encrypt",
     REFUSED},
};

static const struct row actions[] = {
    {"by name", ONE(ALLOW(AWS(SERVICE), MAY("\"kms:Decrypt\""))), SERVICE, "kms:Decrypt", ALLOWED},
    {"another one", ONE(ALLOW(AWS(SERVICE), MAY("\"kms:Decrypt\""))), SERVICE, "kms:Encrypt", SILENT},
    {"case doesn't matter", ONE(ALLOW(AWS(SERVICE), MAY("\"KMS:dECRYPT\""))), SERVICE, "kms:Decrypt", ALLOWED},
    {"a list", ONE(ALLOW(AWS(SERVICE), MAY("[\"kms:Encrypt\",\"kms:Decrypt\"]"))), SERVICE, "kms:Decrypt", ALLOWED},
    {"a star", ONE(ALLOW(AWS(SERVICE), MAY("\"*\""))), SERVICE, "kms:Decrypt", ALLOWED},
    {"a star at the end", ONE(ALLOW(AWS(SERVICE), MAY("\"kms:GenerateDataKey*\""))), SERVICE,
     "kms:GenerateDataKeyWithoutPlaintext", ALLOWED},
    {"without the star", ONE(ALLOW(AWS(SERVICE), MAY("\"kms:GenerateDataKey\""))), SERVICE,
     "kms:GenerateDataKeyWithoutPlaintext", SILENT},
    {"a question mark", ONE(ALLOW(AWS(SERVICE), MAY("\"kms:??crypt\""))), SERVICE, "kms:Decrypt", ALLOWED},
    {"of another service", ONE(ALLOW(AWS(SERVICE), MAY("\"s3:*\""))), SERVICE, "kms:Decrypt", SILENT},
    {"NotAction", ONE(ALLOW(AWS(SERVICE), "\"NotAction\":\"kms:Put*\"," ON_THIS_KEY)), SERVICE, "kms:Decrypt", ALLOWED},
    {"NotAction names it", ONE(ALLOW(AWS(SERVICE), "\"NotAction\":[\"kms:Put*\",\"kms:decrypt\"]," ON_THIS_KEY)),
     SERVICE, "kms:Decrypt", SILENT},
    {"Deny with NotAction",
     TWO(ALLOW(AWS(SERVICE), ALL), DENY(AWS(SERVICE), "\"NotAction\":\"kms:Encrypt\"," ON_THIS_KEY)), SERVICE,
     "kms:Decrypt", DENIED},
    {"no action does nothing", ONE(ALLOW(AWS(SERVICE), ON_THIS_KEY)), SERVICE, "kms:Decrypt", SILENT},
    {"no resource does nothing", ONE(ALLOW(AWS(SERVICE), "\"Action\":\"kms:*\"")), SERVICE, "kms:Decrypt", SILENT},
    {"no action denies nothing", TWO(ALLOW(AWS(SERVICE), ALL), DENY("\"*\"", ON_THIS_KEY)), SERVICE, "kms:Decrypt",
     ALLOWED},
    {"both kinds", ONE(ALLOW(AWS(SERVICE), "\"NotAction\":\"kms:a\"," ALL)), SERVICE, "kms:Decrypt", REFUSED},
    {"an empty list", ONE(ALLOW(AWS(SERVICE), MAY("[]"))), SERVICE, "kms:Decrypt", REFUSED},
    {"without a service", ONE(ALLOW(AWS(SERVICE), MAY("\"Decrypt\""))), SERVICE, "kms:Decrypt", REFUSED},
    {"a number", ONE(ALLOW(AWS(SERVICE), MAY("7"))), SERVICE, "kms:Decrypt", REFUSED},
};

#define ONLY_ON(resource) "\"Action\":\"kms:*\",\"Resource\":" resource

static const struct row resources[] = {
    {"the key's ARN", ONE(ALLOW(AWS(SERVICE), ONLY_ON("\"" KEY "\""))), SERVICE, "kms:Decrypt", ALLOWED},
    {"another key's",
     ONE(ALLOW(AWS(SERVICE),
               ONLY_ON("\"arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab\""))),
     SERVICE, "kms:Decrypt", SILENT},
    {"the replica's",
     ONE(ALLOW(AWS(SERVICE),
               ONLY_ON("\"arn:aws:kms:us-east-1:111122223333:key/mrk-0123456789abcdef0123456789abcdef\""))),
     SERVICE, "kms:Decrypt", SILENT},
    {"all regions", ONE(ALLOW(AWS(SERVICE), ONLY_ON("\"arn:aws:kms:*:111122223333:key/mrk-*\""))), SERVICE,
     "kms:Decrypt", ALLOWED},
    {"in a list", ONE(ALLOW(AWS(SERVICE), ONLY_ON("[\"arn:aws:kms:a-b-1:111122223333:key/x\",\"*\"]"))), SERVICE,
     "kms:Decrypt", ALLOWED},
    {"a variable", ONE(ALLOW(AWS(SERVICE), ONLY_ON("\"arn:aws:kms:*:${aws:PrincipalAccount}:key/*\""))), SERVICE,
     "kms:Decrypt", REFUSED},
    {"no ARN", ONE(ALLOW(AWS(SERVICE), ONLY_ON("\"mrk-0123456789abcdef0123456789abcdef\""))), SERVICE, "kms:Decrypt",
     REFUSED},
    {"NotResource", ONE(ALLOW(AWS(SERVICE), "\"Action\":\"kms:*\",\"NotResource\":\"arn:a:b:c:d:e\"")), SERVICE,
     "kms:Decrypt", REFUSED},
};

static const struct row effects[] = {
    {"Deny wins, standing last", TWO(ALLOW(AWS(SERVICE), ALL), DENY(AWS(SERVICE), MAY("\"kms:Decrypt\""))), SERVICE,
     "kms:Decrypt", DENIED},
    {"Deny wins, standing first", TWO(DENY(AWS(SERVICE), MAY("\"kms:Decrypt\"")), ALLOW(AWS(SERVICE), ALL)), SERVICE,
     "kms:Decrypt", DENIED},
    {"Deny of another action", TWO(ALLOW(AWS(SERVICE), ALL), DENY(AWS(SERVICE), MAY("\"kms:Decrypt\""))), SERVICE,
     "kms:Encrypt", ALLOWED},
    {"Deny of another principal", TWO(ALLOW(AWS(SERVICE), ALL), DENY(AWS(ALICE), ALL)), SERVICE, "kms:Encrypt",
     ALLOWED},
    {"Deny of one user of the account", TWO(ALLOW(AWS(SERVICE), ALL), DENY(AWS(ALICE), ALL)), ALICE, "kms:Encrypt",
     DENIED},
    {"Deny of everybody", TWO(ALLOW(AWS(OWNER), ALL), DENY("\"*\"", ALL)), OWNER, "kms:PutKeyPolicy", DENIED},
    {"statements add up", TWO(ALLOW(AWS(SERVICE), MAY("\"kms:Encrypt\"")), ALLOW(AWS(SERVICE), MAY("\"kms:Decrypt\""))),
     SERVICE, "kms:Decrypt", ALLOWED},
    {"a single statement", "{\"Statement\":" ALLOW(AWS(SERVICE), ALL) "}", SERVICE, "kms:Decrypt", ALLOWED},
    {"the old version", "{\"Version\":\"2008-10-17\",\"Statement\":" ALLOW(AWS(SERVICE), ALL) "}", SERVICE,
     "kms:Decrypt", ALLOWED},
    {"Sid and Id", "{\"Id\":\"a b\",\"Statement\":" ALLOW(AWS(SERVICE), "\"Sid\":\"c d\"," ALL) "}", SERVICE,
     "kms:Decrypt", ALLOWED},
    {"an effect of another case", ONE(STATEMENT("allow", AWS(SERVICE), ALL)), SERVICE, "kms:Decrypt", REFUSED},
    {"no effect", ONE("{\"Principal\":\"*\"," ALL "}"), SERVICE, "kms:Decrypt", REFUSED},
    {"an unknown element", ONE(ALLOW(AWS(SERVICE), "\"Resources\":\"*\"," ALL)), SERVICE, "kms:Decrypt", REFUSED},
    {"an unknown version", "{\"Version\":\"2020-01-01\",\"Statement\":" ALLOW(AWS(SERVICE), ALL) "}", SERVICE,
     "kms:Decrypt", REFUSED},
    {"an unknown member", "{\"Statements\":[],\"Statement\":" ALLOW(AWS(SERVICE), ALL) "}", SERVICE, "kms:Decrypt",
     REFUSED},
    {"no statement", "{\"Version\":\"2012-10-17\"}", SERVICE, "kms:Decrypt", REFUSED},
    {"no statements", "{\"Statement\":[]}", SERVICE, "kms:Decrypt", REFUSED},
    {"a statement that is none", "{\"Statement\":[7]}", SERVICE, "kms:Decrypt", REFUSED},
    {"an element given twice", ONE("{\"Effect\":\"Deny\",\"Effect\":\"Allow\",\"Principal\":\"*\"," ALL "}"), SERVICE,
     "kms:Decrypt", REFUSED},
    {"no JSON", "Allow everybody", SERVICE, "kms:Decrypt", REFUSED},
    {"a list", "[]", SERVICE, "kms:Decrypt", REFUSED},
    {"nothing", "", SERVICE, "kms:Decrypt", REFUSED},
};

#define ALLOW_IF(condition) ONE(ALLOW("\"*\"", ALL IF(condition)))
#define DENY_IF(condition) TWO(ALLOW("\"*\"", ALL), DENY("\"*\"", ALL IF(condition)))
#define CALLER "\"kms:CallerAccount\":\"318212636800\""
#define VIA "\"kms:ViaService\":\"s3.us-west-2.amazonaws.com\""
#define TENANT(value) "\"kms:EncryptionContext:tenant\":" value
#define S3 "s3.us-west-2.amazonaws.com"

static const struct row conditions[] = {
    {"caller's account", ALLOW_IF("\"StringEquals\":{" CALLER "}"), ALICE, "kms:Encrypt", ALLOWED},
    {"another account", ALLOW_IF("\"StringEquals\":{" CALLER "}"), OWNER, "kms:Encrypt", SILENT},
    {"the key's name has no case", ALLOW_IF("\"StringEquals\":{\"KMS:calleraccount\":\"318212636800\"}"), SERVICE,
     "kms:Encrypt", ALLOWED},
    {"one of several values", ALLOW_IF("\"StringEquals\":{\"aws:PrincipalAccount\":[\"1\",\"318212636800\"]}"), SERVICE,
     "kms:Encrypt", ALLOWED},
    {"an account as a number", ALLOW_IF("\"StringEquals\":{\"aws:PrincipalAccount\":318212636800}"), SERVICE,
     "kms:Encrypt", ALLOWED},
    {"StringLike", ALLOW_IF("\"StringLike\":{\"aws:PrincipalAccount\":\"3182*\"}"), SERVICE, "kms:Encrypt", ALLOWED},
    {"a star is none in StringEquals", ALLOW_IF("\"StringEquals\":{\"aws:PrincipalAccount\":\"3182*\"}"), SERVICE,
     "kms:Encrypt", SILENT},
    {"PrincipalArn of a session is the role's",
     ALLOW_IF("\"StringEquals\":{\"aws:PrincipalArn\":\"arn:aws:iam::318212636800:role/Reader\"}"), SESSION,
     "kms:Encrypt", ALLOWED},
    {"PrincipalArn by ArnLike", ALLOW_IF("\"ArnLike\":{\"aws:PrincipalArn\":\"arn:aws:iam::*:user/al*\"}"), ALICE,
     "kms:Encrypt", ALLOWED},
    {"ArnNotLike denies the others", DENY_IF("\"ArnNotLike\":{\"aws:PrincipalArn\":\"arn:aws:iam::*:user/al*\"}"),
     SERVICE, "kms:Encrypt", DENIED},
    {"ArnEquals doesn't cross colons", ALLOW_IF("\"ArnEquals\":{\"aws:PrincipalArn\":\"arn:aws:*:user/alice\"}"), ALICE,
     "kms:Encrypt", SILENT},
    {"two keys: both must hold", ALLOW_IF("\"StringEquals\":{" CALLER "," VIA "}"), SERVICE, "kms:Encrypt", SILENT},
    {"two keys, both hold", ALLOW_IF("\"StringEquals\":{" CALLER "," VIA "}"), SERVICE, "kms:Encrypt", ALLOWED, NULL,
     S3},
    {"two operators: both must hold", ALLOW_IF("\"StringEquals\":{" CALLER "},\"Null\":{\"kms:ViaService\":\"false\"}"),
     SERVICE, "kms:Encrypt", SILENT},
    {"a direct call has no service", ALLOW_IF("\"StringEquals\":{" VIA "}"), SERVICE, "kms:Encrypt", SILENT},
    {"not through a service: Deny bites", DENY_IF("\"StringNotEquals\":{" VIA "}"), SERVICE, "kms:Encrypt", DENIED},
    {"through the service: it doesn't", DENY_IF("\"StringNotEquals\":{" VIA "}"), SERVICE, "kms:Encrypt", ALLOWED, NULL,
     S3},
    {"IfExists on an absent key", ALLOW_IF("\"StringEqualsIfExists\":{" VIA "}"), SERVICE, "kms:Encrypt", ALLOWED},
    {"IfExists on a present one", ALLOW_IF("\"StringEqualsIfExists\":{\"kms:ViaService\":\"x\"}"), SERVICE,
     "kms:Encrypt", SILENT, NULL, S3},
    {"Null true on an absent key", ALLOW_IF("\"Null\":{\"kms:ViaService\":\"true\"}"), SERVICE, "kms:Encrypt", ALLOWED},
    {"Null as a boolean", ALLOW_IF("\"Null\":{\"kms:ViaService\":true}"), SERVICE, "kms:Encrypt", ALLOWED},
    {"Null true on a present key", ALLOW_IF("\"Null\":{\"kms:ViaService\":\"true\"}"), SERVICE, "kms:Encrypt", SILENT,
     NULL, S3},
    {"Null false on a present key", ALLOW_IF("\"Null\":{\"kms:ViaService\":\"False\"}"), SERVICE, "kms:Encrypt",
     ALLOWED, NULL, S3},
    {"a context's value", ALLOW_IF("\"StringEquals\":{" TENANT("\"a\"") "}"), SERVICE, "kms:Encrypt", ALLOWED,
     "{\"tenant\":\"a\"}"},
    {"values have case", ALLOW_IF("\"StringEquals\":{" TENANT("\"a\"") "}"), SERVICE, "kms:Encrypt", SILENT,
     "{\"tenant\":\"A\"}"},
    {"unless told otherwise", ALLOW_IF("\"StringEqualsIgnoreCase\":{" TENANT("\"a\"") "}"), SERVICE, "kms:Encrypt",
     ALLOWED, "{\"tenant\":\"A\"}"},
    {"names have none", ALLOW_IF("\"StringEquals\":{" TENANT("\"a\"") "}"), SERVICE, "kms:Encrypt", ALLOWED,
     "{\"TENANT\":\"a\"}"},
    {"the context lacks it", ALLOW_IF("\"StringEquals\":{" TENANT("\"a\"") "}"), SERVICE, "kms:Encrypt", SILENT,
     "{\"other\":\"a\"}"},
    {"no context, so never DescribeKey", ALLOW_IF("\"StringLike\":{" TENANT("\"*\"") "}"), SERVICE, "kms:DescribeKey",
     SILENT},
    {"Deny without the right context", DENY_IF("\"StringNotEquals\":{" TENANT("\"a\"") "}"), SERVICE, "kms:Encrypt",
     DENIED, "{}"},
    {"Deny with the wrong one", DENY_IF("\"StringNotEquals\":{" TENANT("[\"a\",\"b\"]") "}"), SERVICE, "kms:Encrypt",
     DENIED, "{\"tenant\":\"c\"}"},
    {"no Deny with the right one", DENY_IF("\"StringNotEquals\":{" TENANT("[\"a\",\"b\"]") "}"), SERVICE, "kms:Encrypt",
     ALLOWED, "{\"tenant\":\"b\"}"},
    {"a context is required", ALLOW_IF("\"Null\":{" TENANT("\"false\"") "}"), SERVICE, "kms:Encrypt", SILENT, "{}"},
    {"names differing in case: Allow needs both", ALLOW_IF("\"StringEquals\":{" TENANT("\"a\"") "}"), SERVICE,
     "kms:Encrypt", SILENT, "{\"tenant\":\"a\",\"Tenant\":\"b\"}"},
    {"names differing in case: Deny takes one", DENY_IF("\"StringEquals\":{" TENANT("\"a\"") "}"), SERVICE,
     "kms:Encrypt", DENIED, "{\"tenant\":\"a\",\"Tenant\":\"b\"}"},
    {"a colon in the name", ALLOW_IF("\"StringLike\":{\"kms:EncryptionContext:aws:s3:arn\":\"arn:aws:s3:::b*\"}"),
     SERVICE, "kms:Encrypt", ALLOWED, "{\"aws:s3:arn\":\"arn:aws:s3:::b/c\"}"},
    {"Bool", ALLOW_IF("\"Bool\":{" TENANT("\"TRUE\"") "}"), SERVICE, "kms:Encrypt", ALLOWED, "{\"tenant\":\"true\"}"},
    {"Bool of another value", ALLOW_IF("\"Bool\":{" TENANT("\"true\"") "}"), SERVICE, "kms:Encrypt", SILENT,
     "{\"tenant\":\"yes\"}"},
    {"no condition at all", ONE(ALLOW("\"*\"", ALL ",\"Condition\":{}")), SERVICE, "kms:Encrypt", ALLOWED},
    {"an unknown operator", ALLOW_IF("\"IpAddress\":{\"aws:SourceIp\":\"10.0.0.0/8\"}"), SERVICE, "kms:Encrypt",
     REFUSED},
    {"an unknown operator in a Deny", DENY_IF("\"DateLessThan\":{\"aws:CurrentTime\":\"2020-01-01\"}"), SERVICE,
     "kms:Encrypt", REFUSED},
    {"an operator for sets", ALLOW_IF("\"ForAllValues:StringEquals\":{\"kms:EncryptionContextKeys\":\"a\"}"), SERVICE,
     "kms:Encrypt", REFUSED},
    {"an operator of another case", ALLOW_IF("\"stringequals\":{" CALLER "}"), SERVICE, "kms:Encrypt", REFUSED},
    {"an unknown key", ALLOW_IF("\"StringEquals\":{\"aws:SourceVpce\":\"vpce-1\"}"), SERVICE, "kms:Encrypt", REFUSED},
    {"an unknown key with IfExists", ALLOW_IF("\"StringEqualsIfExists\":{\"aws:PrincipalOrgID\":\"o-1\"}"), SERVICE,
     "kms:Encrypt", REFUSED},
    {"a context without a name", ALLOW_IF("\"StringEquals\":{\"kms:EncryptionContext:\":\"a\"}"), SERVICE,
     "kms:Encrypt", REFUSED},
    {"NullIfExists", ALLOW_IF("\"NullIfExists\":{\"kms:ViaService\":\"true\"}"), SERVICE, "kms:Encrypt", REFUSED},
    {"Null of neither", ALLOW_IF("\"Null\":{\"kms:ViaService\":\"maybe\"}"), SERVICE, "kms:Encrypt", REFUSED},
    {"a policy variable", ALLOW_IF("\"StringEquals\":{" TENANT("\"${aws:username}\"") "}"), SERVICE, "kms:Encrypt",
     REFUSED},
    {"no values", ALLOW_IF("\"StringNotEquals\":{" TENANT("[]") "}"), SERVICE, "kms:Encrypt", REFUSED},
    {"a value that is an object", ALLOW_IF("\"StringEquals\":{" TENANT("{}") "}"), SERVICE, "kms:Encrypt", REFUSED},
    {"an empty operator", ALLOW_IF("\"StringEquals\":{}"), SERVICE, "kms:Encrypt", REFUSED},
    {"a condition that is a list", ONE(ALLOW("\"*\"", ALL ",\"Condition\":[]")), SERVICE, "kms:Encrypt", REFUSED},
};

static const char *const outcome_names[] = {"silent", "allowed", "denied", "refused"};

static enum outcome evaluate(const struct row *row) {
    AUTO(kmsd_policy_free_auto) struct kmsd_policy *policy = NULL;
    err_forget();
    struct result parsed = kmsd_policy_parse(slice_str(row->policy), "aws", &policy);
    if (is_err(parsed)) {
        assert_int_equal(parsed.code, ERR_INVALID);
        assert_null(policy);
        assert_true(err_detail()[0] != '\0');
        return REFUSED;
    }
    JSON_AUTO(pairs);
    AUTO(kmsd_context_done) struct kmsd_context context = {0};
    if (row->context != NULL) {
        ASSERT_OK(json_parse_object(slice_str(row->context), &pairs));
        ASSERT_OK(kmsd_context_from_json(pairs, &context));
    }
    AUTO_FREE char *account = str_ndup(strstr(row->who, "::") + 2, 12);
    struct kmsd_access access = {.principal = row->who,
                                 .account = account,
                                 .action = row->action,
                                 .key_arn = KEY,
                                 .via_service = row->via,
                                 .context = row->context != NULL ? &context : NULL};
    return (enum outcome)kmsd_policy_evaluate(policy, &access);
}

static void check(const struct row *rows, size_t count) {
    for (size_t i = 0; i < count; i++) {
        enum outcome outcome = evaluate(&rows[i]);
        if (outcome != rows[i].outcome)
            fail_msg("%s: wanted %s, got %s\n%s", rows[i].what, outcome_names[rows[i].outcome], outcome_names[outcome],
                     rows[i].policy);
    }
}

static void who(void **state) {
    check(principals, ARRAY_LEN(principals));
}
static void what(void **state) {
    check(actions, ARRAY_LEN(actions));
}
static void which(void **state) {
    check(resources, ARRAY_LEN(resources));
}
static void how(void **state) {
    check(effects, ARRAY_LEN(effects));
}
static void when(void **state) {
    check(conditions, ARRAY_LEN(conditions));
}

/* The default policy gives everything to the account and nothing to others. */
static void by_default(void **state) {
    BUF_AUTO(text, 1024);
    kmsd_policy_default("aws", "111122223333", &text);
    struct row owner = {"owner", buf_str(&text), OWNER, "kms:PutKeyPolicy", ALLOWED};
    struct row other = {"other", buf_str(&text), SERVICE, "kms:DescribeKey", SILENT};
    check(&owner, 1);
    check(&other, 1);
}

static void over_the_limit(void **state) {
    BUF_AUTO(text, 2 * KMSD_POLICY_MAX_BYTES);
    buf_append_str(&text, ONE(ALLOW("\"*\"", ALL)));
    while (text.len < KMSD_POLICY_MAX_BYTES)
        buf_append_byte(&text, ' ');
    AUTO(kmsd_policy_free_auto) struct kmsd_policy *policy = NULL;
    ASSERT_OK(kmsd_policy_parse(buf_slice(&text), "aws", &policy));
    buf_append_byte(&text, ' ');
    struct kmsd_policy *none = NULL;
    ASSERT_ERR(TOO_LARGE, kmsd_policy_parse(buf_slice(&text), "aws", &none));
    assert_null(none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who),  cmocka_unit_test(what),       cmocka_unit_test(which),         cmocka_unit_test(how),
        cmocka_unit_test(when), cmocka_unit_test(by_default), cmocka_unit_test(over_the_limit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
