/* s3-key: access keys for S3 clients, made by the operator (ORG given) or by the organization itself. */
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/table.h"

/* One call; takes `body` over (NULL: none). rest: behind ".../s3-keys", percent-encoded. */
static struct result ask(const struct args *a, const char *method, const char *rest, json_t *body,
                         struct client_answer *answer, bool *printed) {
    AUTO(json_unref) json_t *owner = body;
    AUTO(client_done) struct client c = {0};
    const char *org = args_get(a, "--org");
    TRY(client_init_in(&c, a, org ? CLIENT_OPERATOR : CLIENT_ORGANIZATION, args_get(a, "--region")));
    BUF_AUTO(path, 8192);
    if (org) {
        buf_append_str(&path, "/v1/admin/orgs/");
        percent_encode(slice_str(org), false, &path);
        buf_append_str(&path, "/s3-keys");
    } else {
        buf_append_str(&path, "/v1/orgs/self/s3-keys");
    }
    buf_append_str(&path, rest);
    BUF_AUTO(text, 65536);
    if (body) TRY(json_write(body, &text));
    TRY(buf_check(&text));
    TRY(buf_check(&path));
    TRY(client_expect(&c, method, buf_str(&path), buf_slice(&text), answer));
    *printed = args_has(a, "--json");
    if (*printed) client_print_json(answer->body);
    return OK;
}

static struct result run_create(const struct args *a) {
    json_t *body = json_object();
    struct result r = OK;
    if (args_has(a, "--name")) r = client_set(body, "name", args_get(a, "--name"), "--name");
    if (is_err(r)) {
        json_decref(body);
        return r;
    }
    AUTO(client_answer_done) struct client_answer answer = {0};
    bool printed;
    TRY(ask(a, "POST", "", body, &answer, &printed));
    if (printed) return OK;
    static const char *const shown[] = {"access_key_id", "secret_access_key", "bucket", "region"};
    const json_t *data = json_object_get(answer.body, "data");
    for (size_t i = 0; i < ARRAY_LEN(shown); i++) {
        const char *value = json_string_value(json_object_get(data, shown[i]));
        printf("%-18s %s\n", shown[i], value ? value : "");
    }
    fprintf(stderr, "Keep the secret access key: it is not shown again.\n");
    return OK;
}

static struct result run_list(const struct args *a) {
    AUTO(client_answer_done) struct client_answer answer = {0};
    bool printed;
    TRY(ask(a, "GET", "", NULL, &answer, &printed));
    if (!printed)
        table_print(json_object_get(answer.body, "data"),
                    (const char *const[]){"access_key_id", "name", "bucket", "region", "created_at", NULL});
    return OK;
}

static struct result run_delete(const struct args *a) {
    BUF_AUTO(rest, 4096);
    buf_append_str(&rest, "/");
    percent_encode(slice_str(a->positional[0]), false, &rest);
    TRY(buf_check(&rest));
    AUTO(client_answer_done) struct client_answer answer = {0};
    bool printed;
    TRY(ask(a, "DELETE", buf_str(&rest), NULL, &answer, &printed));
    if (!printed) printf("%s: deleted\n", a->positional[0]);
    return OK;
}

#define OPTIONS                                                                                                        \
    {"--org", "ORG", "as the operator, for this organization; otherwise as the organization of the API key", NULL},    \
        {"--region", "REGION", "the region whose bucket it is for (with --data)", NULL}, {                             \
        NULL, NULL, NULL, NULL                                                                                         \
    }

const struct command s3_commands[] = {
    {"s3-key create", "", "Makes an access key for S3 clients of the organization's bucket.",
     (const struct args_option[]){{"--name", "TEXT", "a name for people", NULL}, OPTIONS}, false, run_create},
    {"s3-key list", "", "Lists the access keys for S3 clients.", (const struct args_option[]){OPTIONS}, false,
     run_list},
    {"s3-key delete", "ACCESS-KEY-ID", "Deletes an access key for S3 clients; it is refused at once.",
     (const struct args_option[]){OPTIONS}, false, run_delete},
    {NULL, NULL, NULL, NULL, false, NULL},
};
