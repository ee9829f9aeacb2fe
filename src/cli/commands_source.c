#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/data.h"
#include "cli/table.h"

/* .../sources, .../sources/ID, .../sources/ID/VERB: the collection and the id are the first words given. */
static struct result source_path(const struct args *a, const char *verb, char **ret) {
    AUTO_FREE char *workspace = NULL;
    AUTO_FREE char *collection = NULL;
    TRY(data_split_name(a->positional[0], &workspace, &collection));
    AUTO_FREE char *path = data_collection_path(workspace, collection);
    BUF_AUTO(out, 8192);
    buf_printf(&out, "%s/sources", path);
    if (verb) {
        buf_append_str(&out, "/");
        percent_encode(slice_str(a->positional[1]), false, &out);
        buf_append_str(&out, verb);
    }
    TRY(buf_check(&out));
    *ret = buf_take_str(&out);
    return OK;
}

static const char *kind_of(const json_t *source) {
    static const char *const kinds[] = {"s3", "kafka", "postgres"};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (json_object_get(source, kinds[i])) return kinds[i];
    return "";
}

/* A source as one row. */
static json_t *flat(const json_t *source) {
    static const char *const shown[] = {"state", "total_processed_items", "error_count",
                                        "lag",   "last_processed_item",   "message"};
    json_t *row = json_object();
    const json_t *status = json_object_get(source, "status");
    json_object_set(row, "id", json_object_get(source, "id"));
    json_object_set_new(row, "kind", json_string(kind_of(source)));
    json_object_set(row, "integration_name", json_object_get(source, "integration_name"));
    for (size_t i = 0; i < ARRAY_LEN(shown); i++)
        json_object_set(row, shown[i], json_object_get(status, shown[i]));
    return row;
}

static struct result show_sources(const struct args *a, const char *method, const char *path, json_t *body) {
    AUTO(client_answer_done) struct client_answer answer = {0};
    TRY(data_ask(a, method, path, body, &answer));
    if (args_has(a, "--json")) {
        client_print_json(answer.body);
        return OK;
    }
    const json_t *data = json_object_get(answer.body, "data");
    JSON_AUTO(rows);
    rows = json_array();
    size_t i;
    json_t *one;
    json_array_foreach(data, i, one) json_array_append_new(rows, flat(one));
    if (json_is_object(data)) json_array_append_new(rows, flat(data));
    table_print(rows, NULL);
    return OK;
}

static struct result run_source_list(const struct args *a) {
    AUTO_FREE char *path = NULL;
    TRY(source_path(a, NULL, &path));
    return show_sources(a, "GET", path, NULL);
}

static struct result run_source_create(const struct args *a) {
    AUTO_FREE char *path = NULL;
    json_t *body = NULL;
    TRY(source_path(a, NULL, &path));
    TRY(data_read_object(a->positional[1], &body));
    return show_sources(a, "POST", path, body);
}

static struct result run_source_delete(const struct args *a) {
    AUTO_FREE char *path = NULL;
    TRY(source_path(a, "", &path));
    return show_sources(a, "DELETE", path, NULL);
}

static struct result run_source_suspend(const struct args *a) {
    AUTO_FREE char *path = NULL;
    TRY(source_path(a, "/suspend", &path));
    const char *duration = args_get(a, "--for");
    json_t *body = json_object();
    if (duration) json_object_set_new(body, "resume_after_duration", json_string(duration));
    return show_sources(a, "POST", path, body);
}

static struct result run_source_resume(const struct args *a) {
    AUTO_FREE char *path = NULL;
    TRY(source_path(a, "/resume", &path));
    return show_sources(a, "POST", path, NULL);
}

static struct result run_source_errors(const struct args *a) {
    AUTO_FREE char *path = NULL;
    uint64_t limit = 100;
    const char *given = args_get(a, "--limit");
    if (given && is_err(slice_to_u64(slice_str(given), 1000, &limit)))
        FAIL(ERR_INVALID, "--limit must be a whole number up to 1000, not '%.40s'", given);
    TRY(source_path(a, "/errors", &path));
    AUTO_FREE char *limited = str_format("%s?limit=%llu", path, (unsigned long long)limit);
    return data_show(a, "GET", limited, NULL, (const char *const[]){"at", "origin", "reason", "record", NULL});
}

/* ---- integrations ---- */

static const char *const integration_columns[] = {"name", "description", "created_by", "created_at", NULL};

static struct result run_integration_list(const struct args *a) {
    return data_show(a, "GET", "/v1/orgs/self/integrations", NULL, integration_columns);
}

static struct result run_integration_create(const struct args *a) {
    JSON_AUTO(body);
    TRY(data_read_object(a->positional[1], &body));
    CHECK(json_object_set_new(body, "name", json_string(a->positional[0])) == 0, ERR_INVALID,
          "the name is not valid UTF-8");
    return data_show(a, "POST", "/v1/orgs/self/integrations", json_incref(body), integration_columns);
}

static struct result run_integration_delete(const struct args *a) {
    BUF_AUTO(path, 4096);
    buf_append_str(&path, "/v1/orgs/self/integrations/");
    percent_encode(slice_str(a->positional[0]), false, &path);
    TRY(buf_check(&path));
    return data_show(a, "DELETE", buf_str(&path), NULL, integration_columns);
}

#define END                                                                                                            \
    { NULL, NULL, NULL, NULL }
#define NONE                                                                                                           \
    (const struct args_option[]) {                                                                                     \
        END                                                                                                            \
    }

const struct command source_commands[] = {
    {"integration list", "", "Lists the integrations: addresses and credentials of data sources.", NONE, false,
     run_integration_list},
    {"integration create", "NAME FILE",
     "Creates an integration. FILE holds a JSON object such as {\"s3\": {\"aws_access_key\": "
     "{\"aws_access_key_id\": \"...\", \"aws_secret_access_key\": \"...\"}}}. FILE may be '-': then no secret is "
     "left on the disk or in the shell's history.",
     NONE, false, run_integration_create},
    {"integration delete", "NAME", "Deletes an integration that no source uses.", NONE, false, run_integration_delete},
    {"source list", "WORKSPACE.NAME", "Lists the data sources of a collection with their status.", NONE, false,
     run_source_list},
    {"source create", "WORKSPACE.NAME FILE",
     "Adds a data source to a collection. FILE ('-': standard input) holds a JSON object such as "
     "{\"integration_name\": "
     "\"lake\", \"s3\": {\"bucket\": \"logs\", \"prefix\": \"2026/\"}}.",
     NONE, false, run_source_create},
    {"source delete", "WORKSPACE.NAME ID", "Removes a source; the documents that came from it stay.", NONE, false,
     run_source_delete},
    {"source suspend", "WORKSPACE.NAME ID", "Detaches a source for a time.",
     (const struct args_option[]){
         {"--for", "DURATION", "goes on by itself after so long, as ISO 8601 (PT30M, P2D)", "PT1H"}, END},
     false, run_source_suspend},
    {"source resume", "WORKSPACE.NAME ID", "Lets a suspended source go on.", NONE, false, run_source_resume},
    {"source errors", "WORKSPACE.NAME ID", "Shows the newest records of a source that could not be stored, and why.",
     (const struct args_option[]){{"--limit", "N", "at most so many, up to 1000", "100"}, END}, false,
     run_source_errors},
    {NULL, NULL, NULL, NULL, false, NULL},
};
