#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/data.h"
#include "cli/table.h"

/* One call as the operator; takes `body` over (NULL: none). Prints the answer as JSON if that was asked for. */
static struct result ask(const struct args *a, const char *method, const char *path, json_t *body,
                         struct client_answer *answer, bool *printed) {
    AUTO(json_unref) json_t *body_owner = body;
    AUTO(client_done) struct client c = {0};
    TRY(client_init(&c, a, CLIENT_OPERATOR));
    BUF_AUTO(text, 1 << 20);
    if (body) TRY(json_write(body, &text));
    TRY(buf_check(&text));
    TRY(client_expect(&c, method, path, buf_slice(&text), answer));
    *printed = args_has(a, "--json");
    if (*printed) client_print_json(answer->body);
    return OK;
}

static void print_members(const json_t *object) {
    const char *name;
    json_t *value;
    json_t *walked = mem_unconst(object);
    json_object_foreach(walked, name, value) {
        if (json_is_string(value)) {
            printf("%-18s %s\n", name, json_string_value(value));
        } else if (!json_is_object(value) && !json_is_array(value)) {
            char *text = json_dumps(value, JSON_ENCODE_ANY);
            printf("%-18s %s\n", name, text);
            mem_free(text);
        }
    }
}

/* Fills $1 and $2 of a path with percent-encoded words. The caller frees it. */
static char *path_of(const char *pattern, const char *first, const char *second) {
    BUF_AUTO(one, 4096);
    BUF_AUTO(two, 4096);
    percent_encode(slice_str(first), false, &one);
    percent_encode(slice_str(second), false, &two);
    BUF_AUTO(path, 16384);
    for (const char *p = pattern; *p; p++) {
        if (*p != '$') {
            buf_append_byte(&path, (uint8_t)*p);
        } else {
            p++;
            buf_append_slice(&path, buf_slice(*p == '1' ? &one : &two));
        }
    }
    return buf_take_str(&path);
}

static struct result run_org_create(const struct args *a) {
    json_t *body = json_pack("{s:s,s:s}", "name", a->positional[0], "region",
                             args_has(a, "--region") ? args_get(a, "--region") : "us-west-2");
    CHECK(body, ERR_INVALID, "the name is not valid UTF-8");
    /* An ARN that got lost on the way would make an organization under the service's key. */
    struct result r = OK;
    if (args_has(a, "--key-arn")) r = client_set(body, "kms_key_arn", args_get(a, "--key-arn"), "--key-arn");
    if (is_ok(r) && args_has(a, "--display-name"))
        r = client_set(body, "display_name", args_get(a, "--display-name"), "--display-name");
    if (is_err(r)) {
        json_decref(body);
        return r;
    }
    AUTO(client_answer_done) struct client_answer answer = {0};
    bool printed;
    TRY(ask(a, "POST", "/v1/admin/orgs", body, &answer, &printed));
    if (printed) return OK;
    print_members(json_object_get(answer.body, "data"));
    fprintf(stderr, "Keep the API key: it is not shown again.\n");
    return OK;
}

static struct result print_list(const struct args *a, const char *path, const char *const *columns) {
    AUTO(client_answer_done) struct client_answer answer = {0};
    bool printed;
    TRY(ask(a, "GET", path, NULL, &answer, &printed));
    if (!printed) table_print(json_object_get(answer.body, "data"), columns);
    return OK;
}

static struct result print_one(const struct args *a, const char *method, const char *path) {
    AUTO(client_answer_done) struct client_answer answer = {0};
    bool printed;
    TRY(ask(a, method, path, NULL, &answer, &printed));
    if (printed) return OK;
    const json_t *data = json_object_get(answer.body, "data");
    print_members(data);
    const json_t *regions = json_object_get(data, "regions");
    if (json_array_size(regions) > 0) {
        printf("\n");
        table_print(regions,
                    (const char *const[]){"region", "state", "cause", "since", "last_success", "reason", NULL});
    }
    const json_t *checks = json_object_get(data, "checks");
    if (json_array_size(checks) > 0) {
        printf("\n");
        table_print(checks, (const char *const[]){"check", "ok", "detail", "mend", NULL});
    }
    return OK;
}

static struct result run_org_list(const struct args *a) {
    return print_list(a, "/v1/admin/orgs", (const char *const[]){"name", "id", "display_name", "kms_key_arn", NULL});
}

static struct result run_org_show(const struct args *a) {
    AUTO_FREE char *path = path_of("/v1/admin/orgs/$1", a->positional[0], "");
    return print_one(a, "GET", path);
}

static struct result run_org_delete(const struct args *a) {
    const char *name = a->positional[0], *confirmed = args_get(a, "--confirm");
    CHECK(confirmed && strcmp(confirmed, name) == 0, ERR_INVALID,
          "this deletes every data key of '%s', and with them all of its data, for ever; repeat its name: --confirm %s",
          name, name);
    AUTO_FREE char *path = path_of("/v1/admin/orgs/$1", name, "");
    AUTO(client_answer_done) struct client_answer answer = {0};
    bool printed;
    TRY(ask(a, "DELETE", path, NULL, &answer, &printed));
    if (printed) return OK;
    const json_t *remains = json_object_get(json_object_get(answer.body, "data"), "remains");
    printf("deleted: %s\n", name);
    size_t i;
    json_t *what;
    json_array_foreach(remains, i, what) printf("remains: %s\n", json_string_value(what));
    return OK;
}

static struct result run_org_api_key(const struct args *a) {
    AUTO_FREE char *path = path_of("/v1/admin/orgs/$1/api-keys", a->positional[0], "");
    return print_one(a, "POST", path);
}

static struct result run_org_events(const struct args *a) {
    AUTO_FREE char *path = path_of("/v1/admin/orgs/$1/events", a->positional[0], "");
    return print_list(a, path,
                      (const char *const[]){"seq", "at", "region", "kind", "from_state", "to_state", "cause", "actor",
                                            "aws_error", "reason", NULL});
}

static struct result run_region_list(const struct args *a) {
    AUTO_FREE char *path = path_of("/v1/admin/orgs/$1/regions", a->positional[0], "");
    return print_list(a, path,
                      (const char *const[]){"region", "state", "cause", "since", "last_success", "kms_key_arn", NULL});
}

static struct result run_region_add(const struct args *a) {
    AUTO_FREE char *path = path_of("/v1/admin/orgs/$1/regions", a->positional[0], "");
    json_t *body = json_pack("{s:s}", "region", a->positional[1]);
    CHECK(body, ERR_INVALID, "the region is not valid UTF-8");
    AUTO(client_answer_done) struct client_answer answer = {0};
    bool printed;
    TRY(ask(a, "POST", path, body, &answer, &printed));
    if (!printed) print_members(json_object_get(answer.body, "data"));
    return OK;
}

static struct result run_region_show(const struct args *a) {
    AUTO_FREE char *path = path_of("/v1/admin/orgs/$1/regions/$2", a->positional[0], a->positional[1]);
    return print_one(a, "GET", path);
}

static struct result run_region_check(const struct args *a) {
    AUTO_FREE char *path = path_of("/v1/admin/orgs/$1/regions/$2/check", a->positional[0], a->positional[1]);
    return print_one(a, "POST", path);
}

static struct result run_region_recover(const struct args *a) {
    AUTO_FREE char *path = path_of("/v1/admin/orgs/$1/regions/$2/recover", a->positional[0], a->positional[1]);
    AUTO(client_done) struct client c = {0};
    TRY(client_init_in(&c, a, CLIENT_OPERATOR, a->positional[1])); /* each region's own API recovers it */
    AUTO(client_answer_done) struct client_answer answer = {0};
    struct slice body = slice_str(args_has(a, "--keep-readable") ? "{\"keep_readable\":true}" : "{}");
    TRY(client_expect(&c, "POST", path, body, &answer));
    if (args_has(a, "--json")) {
        client_print_json(answer.body);
        return OK;
    }
    const json_t *list = json_object_get(json_object_get(answer.body, "data"), "collections");
    if (json_array_size(list) == 0) printf("There were no collections to recover; the organization operates again.\n");
    table_print(list, (const char *const[]){"collection", "recovered", "readable", "reason", NULL});
    return OK;
}

static struct result run_key_check(const struct args *a) {
    json_t *body = json_pack("{s:s,s:s}", "kms_key_arn", a->positional[0], "region",
                             args_has(a, "--region") ? args_get(a, "--region") : "us-west-2");
    CHECK(body, ERR_INVALID, "the ARN is not valid UTF-8");
    AUTO(client_answer_done) struct client_answer answer = {0};
    bool printed;
    TRY(ask(a, "POST", "/v1/admin/keys/check", body, &answer, &printed));
    const json_t *data = json_object_get(answer.body, "data");
    bool passed = json_is_true(json_object_get(data, "passed"));
    const json_t *checks = json_object_get(data, "checks");
    if (!passed) {
        if (!printed) client_print_checks(checks);
        return client_fail(str_format("the key did not pass; nothing was created"));
    }
    if (!printed) table_print(checks, (const char *const[]){"check", "ok", "detail", NULL});
    return OK;
}

static struct result run_key_cost(const struct args *a) {
    AUTO_FREE char *path =
        a->positional[0] ? path_of("/v1/admin/orgs/$1/cost", a->positional[0], "") : str_dup("/v1/admin/cost");
    AUTO(client_answer_done) struct client_answer answer = {0};
    bool printed;
    TRY(ask(a, "GET", path, NULL, &answer, &printed));
    if (printed) return OK;
    const json_t *data = json_object_get(answer.body, "data");
    table_print(json_object_get(data, "regions"),
                (const char *const[]){"org", "region", "calls_a_month", "usd_a_month", "calls_counted",
                                      "measured_calls_a_month", "measured_usd_a_month", NULL});
    printf("\nall together, after the free requests:\n");
    print_members(json_object_get(data, "total"));
    return OK;
}

/* Prints the document as it is: what a customer pastes into a key's policy. */
static struct result run_key_policy(const struct args *a) {
    const char *format = args_has(a, "--format") ? args_get(a, "--format") : "policy";
    const char *account = args_get(a, "--account");
    AUTO_FREE char *path =
        path_of(account ? "/v1/admin/key-policy?format=$1&account=$2" : "/v1/admin/key-policy?format=$1", format,
                account ? account : "");
    AUTO(client_answer_done) struct client_answer answer = {0};
    bool printed;
    TRY(ask(a, "GET", path, NULL, &answer, &printed));
    if (printed) return OK;
    const json_t *document = json_object_get(answer.body, "data");
    const json_t *inner = json_object_get(document, format);
    if (json_is_string(inner)) { // Terraform
        fputs(json_string_value(inner), stdout);
        return OK;
    }
    client_print_json(inner ? inner : document ? document : answer.body);
    return OK;
}

/* Exit code 1 unless the policy gives all that is needed. */
static struct result run_key_check_policy(const struct args *a) {
    json_t *policy = NULL;
    TRY(data_read_object(a->positional[0], &policy));
    json_t *body = json_pack("{s:o}", "policy", policy);
    struct result r = OK;
    if (args_has(a, "--key-arn")) r = client_set(body, "kms_key_arn", args_get(a, "--key-arn"), "--key-arn");
    if (is_ok(r) && args_has(a, "--principal"))
        r = client_set(body, "principal", args_get(a, "--principal"), "--principal");
    if (is_err(r)) {
        json_decref(body);
        return r;
    }
    AUTO(client_answer_done) struct client_answer answer = {0};
    bool printed;
    TRY(ask(a, "POST", "/v1/admin/key-policy/check", body, &answer, &printed));
    const json_t *data = json_object_get(answer.body, "data");
    if (!printed)
        table_print(json_object_get(data, "actions"), (const char *const[]){"action", "allowed", "reason", NULL});
    if (json_is_true(json_object_get(data, "equivalent"))) return OK;
    return client_fail(str_format("this policy does not give Lockset what it needs"));
}

#define REGION_OPTION                                                                                                  \
    { "--region", "REGION", "the region", "us-west-2" }
#define END                                                                                                            \
    { NULL, NULL, NULL, NULL }
#define NONE                                                                                                           \
    (const struct args_option[]) {                                                                                     \
        END                                                                                                            \
    }

const struct command admin_commands[] = {
    {"org create", "NAME",
     "Creates an organization. With --key-arn it is encrypted under the customer's KMS key, for ever.",
     (const struct args_option[]){{"--key-arn", "ARN", "full ARN of the customer's Multi-Region KMS key", NULL},
                                  REGION_OPTION,
                                  {"--display-name", "TEXT", "a name for people", NULL},
                                  END},
     false, run_org_create},
    {"org list", "", "Lists the organizations.", NONE, false, run_org_list},
    {"org show", "NAME", "Shows an organization with the state of its key in each region.", NONE, false, run_org_show},
    {"org delete", "NAME",
     "Deletes an organization for good: its data keys first (what was encrypted can then never be read again), then "
     "the rest.",
     (const struct args_option[]){{"--confirm", "NAME", "the name once more", NULL}, END}, false, run_org_delete},
    {"org api-key", "NAME", "Makes a further API key for an organization.", NONE, false, run_org_api_key},
    {"org events", "NAME", "Lists what happened to an organization's key, newest first.", NONE, false, run_org_events},
    {"region list", "ORG", "Lists the regions of an organization with the state of its key there.", NONE, false,
     run_region_list},
    {"region add", "ORG REGION",
     "Lets an organization operate in a further region. Its key must have a replica there that passes all checks.",
     NONE, false, run_region_add},
    {"region show", "ORG REGION", "Shows the state of an organization's key in a region.", NONE, false,
     run_region_show},
    {"region check", "ORG REGION", "Checks an organization's key now.", NONE, false, run_region_check},
    {"region recover", "ORG REGION",
     "Recovers an organization's paused collections in a region. Each is found recovered, or unrecoverable with the "
     "reason.",
     (const struct args_option[]){
         {"--keep-readable", NULL, "data of unrecoverable collections, until the pause, can still be queried", NULL},
         END},
     false, run_region_recover},
    {"key check", "ARN", "Runs all checks on a customer's key and creates nothing.",
     (const struct args_option[]){REGION_OPTION, END}, false, run_key_check},
    {"key cost", "[ORG]", "Shows what a key's calls of KMS cost in a month: by the settings, and as counted.", NONE,
     false, run_key_cost},
    {"key policy", "", "Prints the key policy that a customer grants to this service.",
     (const struct args_option[]){
         {"--format", "FORMAT", "statement, policy, cloudformation or terraform", "policy"},
         {"--account", "ID", "the customer's account, so that the policy keeps the key in its hands", NULL},
         END},
     false, run_key_policy},
    {"key check-policy", "FILE",
     "Tells whether a key policy, a JSON file, gives this service what it needs, and if not what stands in the way.",
     (const struct args_option[]){
         {"--key-arn", "ARN", "the key it is for, if the policy names it", NULL},
         {"--principal", "ARN", "the principal that the service calls as, if the policy names just that one", NULL},
         END},
     false, run_key_check_policy},
    {NULL, NULL, NULL, NULL, false, NULL},
};
