/* The key policy that customers are asked for, and whether one they have is as good. */
#include <string.h>

#include "api/call.h"
#include "aws/arn.h"
#include "aws/key_policy.h"
#include "kms/policy_check.h"

enum { MAX_POLICY_BYTES = 65536, MAX_ARN = 2048 };

static const struct {
    const char *name;
    struct result (*write)(const struct key_policy_grant *g, struct buf *out);
    bool is_json;
} formats[] = {
    {"statement", key_policy_statement, true},
    {"policy", key_policy_document, true},
    {"cloudformation", key_policy_cloudformation, true},
    {"terraform", key_policy_terraform, false},
};

/* The document under its own name beside its parts: {"data":{"format","statement"|"policy"|...}}. Terraform's is a
 * string. */
struct result admin_key_policy(struct call *c) {
    const char *format = http_query_param(c->http, "format"), *account = http_query_param(c->http, "account");
    if (!format) format = "policy";
    size_t which = 0;
    while (which < ARRAY_LEN(formats) && strcmp(formats[which].name, format) != 0)
        which++;
    CHECK(which < ARRAY_LEN(formats), ERR_INVALID, "'format' must be statement, policy, cloudformation or terraform");
    CHECK(!account || arn_is_account(slice_str(account)), ERR_INVALID,
          "'account' must be 12 digits: the customer's AWS account");
    struct key_policy_grant grant = {.service_account_id = c->api->config->service_account_id,
                                     .customer_account_id = account,
                                     .partition = arn_partition_of_region(slice_str(c->api->region))};
    BUF_AUTO(text, MAX_POLICY_BYTES);
    TRY(formats[which].write(&grant, &text));
    json_t *document = NULL;
    if (formats[which].is_json)
        TRY(json_parse_object(buf_slice(&text), &document));
    else
        document = json_string(buf_str(&text));
    answer_json(c->http, 200,
                json_pack("{s:{s:s, s:s, s:o}}", "data", "format", format, "service_account_id",
                          c->api->config->service_account_id, format, document));
    return OK;
}

/* Every encryption context that the service uses a customer's key with; "*": differs from call to call. */
static struct kmsd_pair branch_pairs[] = {{"lockset:branch", "*"}, {"lockset:org", "*"}, {"lockset:region", "*"}};
static struct kmsd_pair names_pairs[] = {{"lockset:names", "*"}, {"lockset:org", "*"}, {"lockset:region", "*"}};
static const struct kmsd_context contexts[] = {{branch_pairs, 3}, {names_pairs, 3}};

static json_t *shape_need(const struct kmsd_need *n) {
    json_t *o = json_pack("{s:s, s:b}", "action", n->action, "allowed", n->allowed);
    if (n->allowed) return o;
    json_object_set_new(o, "reason", json_string(n->reason));
    json_object_set_new(o, "statement", n->statement > 0 ? json_integer((json_int_t)n->statement) : json_null());
    json_object_set_new(o, "sid", n->sid ? json_string(n->sid) : json_null());
    json_object_set_new(o, "condition", n->condition ? json_string(n->condition) : json_null());
    return o;
}

/* The policy as it would be put: an object, or its text. */
static struct result read_policy(const json_t *body, const char *partition, struct kmsd_policy **ret) {
    const json_t *given = json_object_get(body, "policy");
    CHECK(given, ERR_INVALID, "'policy' is missing");
    BUF_AUTO(text, MAX_POLICY_BYTES);
    if (json_is_string(given))
        buf_append_str(&text, json_string_value(given));
    else
        TRY(json_write(given, &text));
    TRY(buf_check(&text));
    struct result r = kmsd_policy_parse(buf_slice(&text), partition, ret);
    if (is_ok(r)) return OK;
    AUTO_FREE char *why = str_dup(err_detail());
    FAIL(r.code, "AWS KMS would refuse this policy: %.180s", why);
}

/* POST {"policy": {...}, "kms_key_arn"?, "principal"?}: {"data":{"equivalent","actions":[{"action","allowed",...}]}}.
 */
struct result admin_check_policy(struct call *c) {
    static const char *const members[] = {"policy", "kms_key_arn", "principal", NULL};
    JSON_AUTO(body);
    const char *arn = NULL, *principal = NULL;
    AUTO(kmsd_policy_free_auto) struct kmsd_policy *policy = NULL;
    AUTO(kmsd_needs_done) struct kmsd_needs needs = {0};
    TRY(call_body(c, members, true, &body));
    TRY(call_opt_text(body, "kms_key_arn", MAX_ARN, &arn));
    TRY(call_opt_text(body, "principal", MAX_ARN, &principal));
    struct arn_kms_key key;
    if (arn) TRY(arn_parse_kms_key(slice_str(arn), &key));
    struct arn caller;
    CHECK(!principal || (is_ok(arn_parse(slice_str(principal), &caller)) && arn_is_account(caller.account)),
          ERR_INVALID, "'principal' must be the ARN of the principal that the service calls as");
    AUTO_FREE char *account = principal ? slice_to_str(caller.account) : str_dup(c->api->config->service_account_id);
    TRY(read_policy(body, arn_partition_of_region(slice_str(c->api->region)), &policy));
    struct kmsd_check check = {
        .account = account, .principal = principal, .key_arn = arn, .actions = key_policy_actions};
    kmsd_policy_check(policy, &check, contexts, ARRAY_LEN(contexts), &needs);
    json_t *actions = json_array();
    for (size_t i = 0; i < needs.count; i++)
        json_array_append_new(actions, shape_need(&needs.items[i]));
    answer_json(c->http, 200,
                json_pack("{s:{s:b, s:s, s:o}}", "data", "equivalent", needs.all_allowed, "service_account_id", account,
                          "actions", actions));
    return OK;
}
