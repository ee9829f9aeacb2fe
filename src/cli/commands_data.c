#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/data.h"
#include "cli/ingest.h"
#include "cli/table.h"

static const char *const workspace_columns[] = {"name", "description", "collection_count", "created_at", NULL};
static const char *const collection_columns[] = {"workspace", "name", "status", "description", "created_at", NULL};

static struct result run_workspace_list(const struct args *a) {
    return data_show(a, "GET", "/v1/orgs/self/ws", NULL, workspace_columns);
}

static struct result run_workspace_create(const struct args *a) {
    json_t *body = json_pack("{s:s}", "name", a->positional[0]);
    CHECK(body, ERR_INVALID, "the name is not valid UTF-8");
    return data_show(a, "POST", "/v1/orgs/self/ws", body, workspace_columns);
}

static struct result run_collection_list(const struct args *a) {
    return data_show(a, "GET", "/v1/orgs/self/collections", NULL, collection_columns);
}

/* --retention, --mapping, --source FILE... */
static struct result add_collection_options(const struct args *a, json_t *body) {
    const char *retention = args_get(a, "--retention"), *mapping = args_get(a, "--mapping");
    if (retention) {
        uint64_t seconds;
        if (is_err(slice_to_u64(slice_str(retention), 1000000000, &seconds)))
            FAIL(ERR_INVALID, "--retention must be a whole number of seconds, not '%.40s'", retention);
        json_object_set_new(body, "retention_secs", json_integer((json_int_t)seconds));
    }
    if (mapping) {
        json_t *query = json_pack("{s:s}", "sql", mapping);
        CHECK(query, ERR_INVALID, "--mapping is not valid UTF-8");
        json_object_set_new(body, "field_mapping_query", query);
    }
    json_t *sources = json_array();
    json_object_set_new(body, "sources", sources);
    for (size_t i = 0; i < a->given_count; i++) {
        json_t *source;
        if (strcmp(a->given[i].name, "--source") != 0) continue;
        TRY(data_read_object(a->given[i].value, &source));
        json_array_append_new(sources, source);
    }
    return OK;
}

static struct result run_collection_create(const struct args *a) {
    AUTO_FREE char *workspace = NULL;
    AUTO_FREE char *collection = NULL;
    TRY(data_split_name(a->positional[0], &workspace, &collection));
    AUTO_FREE char *path = data_collection_path(workspace, NULL);
    JSON_AUTO(body);
    body = json_object();
    TRY(client_set(body, "name", collection, "the name"));
    if (args_has(a, "--description"))
        TRY(client_set(body, "description", args_get(a, "--description"), "--description"));
    TRY(add_collection_options(a, body));
    return data_show(a, "POST", path, json_incref(body), collection_columns);
}

static struct result with_collection(const struct args *a, const char *method) {
    AUTO_FREE char *workspace = NULL;
    AUTO_FREE char *collection = NULL;
    TRY(data_split_name(a->positional[0], &workspace, &collection));
    AUTO_FREE char *path = data_collection_path(workspace, collection);
    return data_show(a, method, path, NULL, collection_columns);
}

static struct result run_collection_show(const struct args *a) {
    return with_collection(a, "GET");
}
static struct result run_collection_delete(const struct args *a) {
    return with_collection(a, "DELETE");
}

static struct result run_key_state(const struct args *a) {
    AUTO(client_answer_done) struct client_answer answer = {0};
    TRY(data_ask(a, "GET", "/v1/orgs/self/encryption", NULL, &answer));
    if (args_has(a, "--json")) {
        client_print_json(answer.body);
        return OK;
    }
    const json_t *data = json_object_get(answer.body, "data");
    const char *arn = json_string_value(json_object_get(data, "kms_key_arn"));
    printf("%s key %s\n\n", json_string_value(json_object_get(data, "kind")), arn ? arn : "");
    table_print(json_object_get(data, "regions"),
                (const char *const[]){"region", "state", "cause", "since", "last_success", "lease_expires_in_ms",
                                      "reason", NULL});
    return OK;
}

/* --param NAME=VALUE, or NAME:TYPE=VALUE. */
static struct result add_parameters(const struct args *a, json_t *sql) {
    json_t *list = json_array();
    json_object_set_new(sql, "parameters", list);
    for (size_t i = 0; i < a->given_count; i++) {
        if (strcmp(a->given[i].name, "--param") != 0) continue;
        struct slice left, value, name, type;
        CHECK(slice_cut(slice_str(a->given[i].value), '=', &left, &value), ERR_INVALID,
              "--param wants NAME=VALUE or NAME:TYPE=VALUE, not '%.64s'", a->given[i].value);
        bool typed = slice_cut(left, ':', &name, &type);
        if (!typed) {
            name = left;
            type = slice_str("string");
        }
        json_t *one = json_pack("{s:s%,s:s%,s:s%}", "name", name.data, name.len, "type", type.data, type.len, "value",
                                value.data ? (const char *)value.data : "", value.len);
        CHECK(one, ERR_INVALID, "--param is not valid UTF-8");
        json_array_append_new(list, one);
    }
    return OK;
}

static struct result run_query(const struct args *a) {
    json_t *sql = json_pack("{s:s}", "query", a->positional[0]);
    CHECK(sql, ERR_INVALID, "the SQL text is not valid UTF-8");
    JSON_AUTO(body);
    body = json_pack("{s:o}", "sql", sql);
    TRY(add_parameters(a, sql));
    if (args_has(a, "--limit")) {
        uint64_t limit = 0;
        TRY(client_number(a, "--limit", 1000000000, &limit));
        json_object_set_new(sql, "default_row_limit", json_integer((json_int_t)limit));
    }
    AUTO(client_answer_done) struct client_answer answer = {0};
    TRY(data_ask(a, "POST", "/v1/orgs/self/queries", json_incref(body), &answer));
    if (args_has(a, "--json")) {
        client_print_json(answer.body);
        return OK;
    }
    const json_t *results = json_object_get(answer.body, "results");
    table_print(results, NULL);
    json_int_t ms = json_integer_value(json_object_get(json_object_get(answer.body, "stats"), "elapsed_time_ms"));
    fprintf(stderr, "%zu row%s in %lld ms\n", json_array_size(results), json_array_size(results) == 1 ? "" : "s",
            (long long)ms);
    return OK;
}

static struct result run_ingest(const struct args *a) {
    AUTO_FREE char *workspace = NULL;
    AUTO_FREE char *collection = NULL;
    TRY(data_split_name(a->positional[0], &workspace, &collection));
    AUTO_FREE char *path = data_collection_path(workspace, collection);
    struct ingest_options options = {
        .file = a->positional[1],
        .docs_path = str_format("%s/docs", path),
        .id_prefix = args_get(a, "--id-prefix"),
        .batch = 2000,
        .max_wait_s = 600,
        .is_quiet = args_has(a, "--quiet"),
    };
    AUTO_FREE char *docs_path = options.docs_path;
    TRY(client_number(a, "--batch", 20000, &options.batch));
    TRY(client_number(a, "--max-wait", 86400, &options.max_wait_s));
    CHECK(options.batch > 0, ERR_INVALID, "--batch must be at least 1");
    AUTO(client_done) struct client c = {0};
    TRY(client_init(&c, a, CLIENT_ORGANIZATION));
    return ingest_run(&c, &options);
}

#define END                                                                                                            \
    { NULL, NULL, NULL, NULL }
#define NONE                                                                                                           \
    (const struct args_option[]) {                                                                                     \
        END                                                                                                            \
    }

const struct command data_commands[] = {
    {"workspace list", "", "Lists the workspaces.", NONE, false, run_workspace_list},
    {"workspace create", "NAME", "Creates a workspace.", NONE, false, run_workspace_create},
    {"collection list", "", "Lists the collections.", NONE, false, run_collection_list},
    {"collection create", "WORKSPACE.NAME", "Creates a collection; without a workspace in 'commons'.",
     (const struct args_option[]){
         {"--description", "TEXT", "what it holds", NULL},
         {"--retention", "SECONDS", "purge documents that are older", "kept for ever"},
         {"--mapping", "SQL", "a SELECT over _input that documents go through", NULL},
         {"--source", "FILE", "a JSON object: a data source to read from; may be repeated", NULL},
         END},
     false, run_collection_create},
    {"collection show", "WORKSPACE.NAME", "Shows a collection.", NONE, false, run_collection_show},
    {"collection delete", "WORKSPACE.NAME", "Deletes a collection with its documents.", NONE, false,
     run_collection_delete},
    {"key state", "", "Shows the organization's key and its state in each region.", NONE, false, run_key_state},
    {"query", "SQL", "Runs a query.",
     (const struct args_option[]){
         {"--param", "NAME[:TYPE]=VALUE", "a value for :NAME in the SQL; may be repeated", NULL},
         {"--limit", "N", "at most N rows, where the SQL has no LIMIT", NULL},
         END},
     false, run_query},
    {"ingest", "WORKSPACE.NAME FILE",
     "Adds the documents of a file: a JSON array of objects, or one object a line. While the API answers that it isn't "
     "ready "
     "(429, 503) or can't be reached, the same batch is sent again.",
     (const struct args_option[]){
         {"--id-prefix", "TEXT",
          "give each document the _id TEXT-<number in the file>: sending twice then changes nothing", NULL},
         {"--batch", "N", "documents a request", "2000"},
         {"--max-wait", "SECONDS", "give up when a batch was refused for so long", "600"},
         {"--quiet", NULL, "no progress", NULL},
         END},
     false, run_ingest},
    {NULL, NULL, NULL, NULL, false, NULL},
};
