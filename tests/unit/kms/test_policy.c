/* The policy evaluator against the table policy_cases.json: who asks for what under which key policy, and what comes of
 * it. */
#include <string.h>

#include "base/file.h"
#include "kms/policy.h"
#include "testing.h"

#define KEY "arn:aws:kms:us-west-2:111122223333:key/mrk-0123456789abcdef0123456789abcdef"
enum { TABLE_MAX_BYTES = 1 << 20 };

static const char *const decisions[] = {
    [KMSD_ALLOWED] = "allowed",
    [KMSD_KEY_POLICY_DENIES] = "key policy denies",
    [KMSD_IDENTITY_DENIES] = "identity denies",
    [KMSD_KEY_POLICY_SILENT] = "key policy silent",
    [KMSD_IDENTITY_SILENT] = "identity silent",
    [KMSD_NOT_ACROSS_ACCOUNTS] = "not across accounts",
};

static json_t *table;

static void must(struct result r) {
    if (is_err(r)) fail_msg("%s", err_detail());
}

static const char *text_of(const json_t *object, const char *name) {
    return json_string_value(json_object_get(object, name));
}

/* The case's key policy as the text that PutKeyPolicy would get. */
static void write_policy(const json_t *c, struct buf *out) {
    const char *text = text_of(c, "text");
    const json_t *whole = json_object_get(c, "policy"), *statement = json_object_get(c, "statement");
    const json_t *allow_if = json_object_get(c, "allow_if"), *deny_if = json_object_get(c, "deny_if");
    static const char everybody[] = "{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"kms:*\",\"Resource\":\"*\"";
    if (text != NULL) {
        buf_append_str(out, text);
        return;
    }
    if (whole != NULL) {
        must(json_write(whole, out));
        return;
    }
    buf_append_str(out, "{\"Version\":\"2012-10-17\",\"Statement\":");
    if (statement != NULL) {
        must(json_write(statement, out));
    } else {
        buf_printf(out, "[%s", everybody);
        if (deny_if != NULL)
            buf_append_str(out, "},{\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"kms:*\",\"Resource\":\"*\"");
        buf_append_str(out, ",\"Condition\":");
        must(json_write(deny_if != NULL ? deny_if : allow_if, out));
        buf_append_str(out, "}]");
    }
    buf_append_byte(out, '}');
}

static void add_given(json_t *given, struct kmsd_facts *facts) {
    const char *key;
    json_t *value;
    json_object_foreach(given, key, value) {
        kmsd_facts_add(facts, key, json_string_value(value));
        for (size_t i = 0; i < json_array_size(value); i++)
            kmsd_facts_add(facts, key, json_string_value(json_array_get(value, i)));
    }
}

static void read_identity(const json_t *caller, struct kmsd_policies *ret) {
    const json_t *list = json_object_get(caller, "identity_policies");
    ret->list = mem_alloc_array(json_array_size(list), sizeof *ret->list);
    for (size_t i = 0; i < json_array_size(list); i++) {
        must(kmsd_policy_parse_identity(json_array_get(list, i), &ret->list[i]));
        ret->count++;
    }
}

/* What comes of a case; of a refused document: "refused". */
static const char *outcome(const json_t *c, const struct kmsd_policy *policy) {
    const json_t *caller = json_object_get(json_object_get(table, "callers"), text_of(c, "caller"));
    const char *principal = text_of(caller, "principal"), *colons = strstr(principal, "::");
    json_t *pairs = json_object_get(c, "context");
    AUTO_FREE char *account = str_ndup(colons != NULL ? colons + 2 : "", 12);
    AUTO(kmsd_facts_done) struct kmsd_facts facts = {0};
    AUTO(kmsd_context_done) struct kmsd_context context = {0};
    AUTO(kmsd_policies_done) struct kmsd_policies identity = {0};
    must(kmsd_context_from_json(pairs, &context));
    read_identity(caller, &identity);
    kmsd_facts_add_principal(&facts, principal, account);
    kmsd_facts_add_context(&facts, &context);
    add_given(json_object_get(c, "given"), &facts);
    struct kmsd_access access = {.principal = principal,
                                 .account = account,
                                 .action = text_of(c, "action"),
                                 .resource = policy != NULL ? KEY : "*",
                                 .facts = &facts,
                                 .iam = json_object_get(caller, "identity_policies") != NULL ? &identity : NULL,
                                 .has_grant = json_is_true(json_object_get(c, "granted"))};
    if (policy == NULL) return decisions[kmsd_decide_by_identity(&access)];
    return decisions[kmsd_decide(policy, "111122223333", &access)];
}

static const char *judge(const json_t *c) {
    if (json_is_true(json_object_get(c, "identity_only"))) return outcome(c, NULL);
    AUTO(kmsd_policy_free_auto) struct kmsd_policy *policy = NULL;
    BUF_AUTO(text, KMSD_POLICY_MAX_BYTES);
    write_policy(c, &text);
    err_forget();
    struct result parsed = kmsd_policy_parse(buf_slice(&text), "aws", &policy);
    if (is_ok(parsed)) return outcome(c, policy);
    assert_int_equal(parsed.code, ERR_INVALID);
    assert_null(policy);
    assert_true(err_detail()[0] != '\0');
    return "refused";
}

/* Prints every row that doesn't hold, then fails. */
static void the_table(void **state) {
    size_t rows = 0, wrong = 0;
    const json_t *sections = json_object_get(table, "sections");
    for (size_t i = 0; i < json_array_size(sections); i++) {
        const json_t *section = json_array_get(sections, i), *cases = json_object_get(section, "cases");
        for (size_t j = 0; j < json_array_size(cases); j++) {
            const json_t *c = json_array_get(cases, j);
            const char *found = judge(c), *wanted = text_of(c, "expect"), *because = text_of(c, "because");
            bool right = strcmp(found, wanted) == 0 && (because == NULL || strstr(err_detail(), because) != NULL);
            rows++;
            wrong += !right;
            if (!right)
                print_error("%s: %s: wanted %s (%s), got %s (%s)\n", text_of(section, "section"), text_of(c, "case"),
                            wanted, because != NULL ? because : "", found, err_detail());
        }
    }
    assert_int_equal(wrong, 0);
    assert_true(rows >= 400);
}

/* The default policy gives everything to the account and nothing to others. */
static void by_default(void **state) {
    BUF_AUTO(text, 1024);
    kmsd_policy_default("aws", "111122223333", &text);
    AUTO(kmsd_policy_free_auto) struct kmsd_policy *policy = NULL;
    ASSERT_OK(kmsd_policy_parse(buf_slice(&text), "aws", &policy));
    struct kmsd_facts none = {0};
    struct kmsd_access access = {.principal = "arn:aws:iam::111122223333:root",
                                 .account = "111122223333",
                                 .action = "kms:PutKeyPolicy",
                                 .resource = KEY,
                                 .facts = &none};
    assert_int_equal(kmsd_decide(policy, "111122223333", &access), KMSD_ALLOWED);
    access.principal = "arn:aws:iam::318212636800:root";
    access.account = "318212636800";
    access.action = "kms:DescribeKey";
    assert_int_equal(kmsd_decide(policy, "111122223333", &access), KMSD_KEY_POLICY_SILENT);
}

static void over_the_limit(void **state) {
    BUF_AUTO(text, 2 * KMSD_POLICY_MAX_BYTES);
    kmsd_policy_default("aws", "111122223333", &text);
    while (text.len < KMSD_POLICY_MAX_BYTES)
        buf_append_byte(&text, ' ');
    AUTO(kmsd_policy_free_auto) struct kmsd_policy *policy = NULL;
    ASSERT_OK(kmsd_policy_parse(buf_slice(&text), "aws", &policy));
    buf_append_byte(&text, ' ');
    struct kmsd_policy *none = NULL;
    ASSERT_ERR(TOO_LARGE, kmsd_policy_parse(buf_slice(&text), "aws", &none));
    assert_null(none);
}

/* What an identity policy may not be. */
static void identity_documents(void **state) {
    static const char *const refused[] = {
        "{}",
        "{\"Statement\":[]}",
        "{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"*\"}}",
        "{\"Statement\":{\"Effect\":\"Allow\",\"Resource\":\"*\"}}",
        "{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"*\",\"Resource\":\"*\"}}",
        "{\"Statement\":{\"Effect\":\"Deny\",\"NotPrincipal\":\"*\",\"Action\":\"*\",\"Resource\":\"*\"}}",
    };
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        JSON_AUTO(document);
        struct kmsd_policy *policy = NULL;
        ASSERT_OK(json_parse_object(slice_str(refused[i]), &document));
        ASSERT_ERR(INVALID, kmsd_policy_parse_identity(document, &policy));
        assert_null(policy);
    }
}

static int read_table(void **state) {
    BUF_AUTO(text, TABLE_MAX_BYTES);
    must(file_read(POLICY_CASES, TABLE_MAX_BYTES, &text));
    must(json_parse_object(buf_slice(&text), &table));
    return 0;
}

static int drop_table(void **state) {
    json_decref(table);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_table), cmocka_unit_test(by_default),
                                       cmocka_unit_test(over_the_limit), cmocka_unit_test(identity_documents)};
    return cmocka_run_group_tests(tests, read_table, drop_table);
}
