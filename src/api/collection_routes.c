#include <string.h>

#include "api/call.h"
#include "base/clock.h"
#include "lifecycle/collections.h"
#include "lifecycle/mapping.h"
#include "lifecycle/recovery.h"

enum { MAX_RETENTION_S = 315360000, MAPPING_MS = 20000 };

/* What clients may wait for: READY, unless the key is away. */
static const char *status_of(struct call *c, const struct registry_collection *row) {
    JSON_AUTO(state);
    state = keylink_state(c->api->keylink, row->org);
    const char *name = json_string_value(json_object_get(state, "state"));
    if (name && strcmp(name, "UNAVAILABLE") == 0) return "ENCRYPTION_KEY_ERROR";
    if (name && (strcmp(name, "PAUSED") == 0 || strcmp(name, "RECOVERING") == 0)) return "PAUSED";
    return row->status;
}

static json_t *shape_collection(struct call *c, const struct registry_collection *row, const char *status) {
    AUTO_FREE char *rrn = str_format("rrn:col:%s:%s", row->region, row->id);
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:[], s:[]}", "name", row->name, "workspace",
                          row->workspace, "description", row->description ? row->description : "", "status",
                          status ? status : status_of(c, row), "created_by", row->created_by ? row->created_by : "",
                          "rrn", rrn, "insert_only", 0, "read_only", 0, "sources", "aliases");
    json_object_set_new(o, "created_at", shape_time(row->created_at_ms));
    json_object_set_new(o, "retention_secs", row->retention_secs ? json_integer(row->retention_secs) : json_null());
    AUTO(registry_recovery_done) struct registry_recovery v = {0};
    if (is_ok(registry_get_recovery(c->api->registry, row->id, &v))) {
        json_t *recovery = json_pack("{s:b, s:s, s:b}", "recovered", v.verdict == REGISTRY_RECOVERED, "reason",
                                     v.reason, "readable", v.verdict == REGISTRY_RECOVERED || v.is_readable);
        json_object_set_new(recovery, "at", shape_time(v.at_ms));
        json_object_set_new(o, "lockset_recovery", recovery);
    }
    return o;
}

static bool is_going(const struct registry_collection *row) {
    return strcmp(row->status, "DELETED") == 0;
}

/* Has the organization had sources or field mappings, here? Then what is sealed is looked at; otherwise no engine is
 * started for it. */
static bool has_sealed(struct call *c) {
    AUTO(registry_collection_done) struct registry_collection mark = {0};
    REFUSAL_AUTO(why);
    return is_ok(collection_integrations(call_tenant(c), false, &mark, &why));
}

/* Why exactly it could not be recovered. */
static void add_recovery_detail(struct call *c, const struct registry_collection *row, json_t *o) {
    json_t *recovery = json_object_get(o, "lockset_recovery");
    REFUSAL_AUTO(why);
    if (!recovery || !row->status || strcmp(row->status, "PAUSED") != 0 ||
        is_err(keylink_check(c->api->keylink, row->org, KEYLINK_READ, &why)))
        return;
    AUTO_FREE char *detail = recovery_detail(c->api->tenants, row);
    if (detail) json_object_set_new(recovery, "reason", json_string(detail));
}

/* What is sealed is left out while the key is away. */
static void add_sealed(struct call *c, const struct registry_collection *row, json_t *o) {
    REFUSAL_AUTO(why);
    json_t *list;
    double progress;
    AUTO_FREE char *mapping = NULL;
    int64_t deadline_ns = clock_boottime_ns() + (int64_t)MAPPING_MS * NS_PER_MS;
    if (is_err(keylink_check(c->api->keylink, row->org, KEYLINK_READ, &why)) ||
        is_err(source_list(c->api->sources, row, &list, &progress, &why)))
        return;
    json_object_set_new(o, "sources", list);
    json_object_set_new(o, "stats", json_pack("{s:f}", "fill_progress", progress));
    if (is_ok(collection_mapping(call_tenant(c), row, KEYLINK_READ, deadline_ns, &mapping, &why)) && mapping)
        json_object_set_new(o, "field_mapping_query", json_pack("{s:s}", "sql", mapping));
}

struct result call_collection(struct call *c, struct registry_collection *ret) {
    const char *workspace = call_param(c, 0), *name = call_param(c, 1);
    struct result r = collection_is_system(workspace) ? err_make(ERR_NOT_FOUND, "there is no such workspace")
                                                      : registry_get_collection(c->api->registry, call_org(c),
                                                                                c->api->region, workspace, name, ret);
    bool gone = is_ok(r) && is_going(ret);
    if (gone) registry_collection_done(ret);
    if (gone || r.code == ERR_NOT_FOUND)
        return refuse(&c->why, ERR_NOT_FOUND, 404, "NOTFOUND", 0, "Collection '%s' does not exist in workspace '%s'.",
                      name, workspace);
    return r;
}

static struct result list(struct call *c, const char *workspace) {
    AUTO(registry_collections_done) struct registry_collections rows = {0};
    TRY(registry_list_collections(c->api->registry, call_org(c), c->api->region, workspace, &rows));
    json_t *data = json_array();
    bool sourced = has_sealed(c);
    for (size_t i = 0; i < rows.count; i++) {
        const struct registry_collection *row = &rows.items[i];
        if (is_going(row) || collection_is_system(row->workspace)) continue;
        json_t *one = shape_collection(c, row, NULL);
        if (sourced) add_sealed(c, row, one);
        json_array_append_new(data, one);
    }
    answer_json(c->http, 200, json_pack("{s:o}", "data", data));
    return OK;
}

struct result collections_list_all(struct call *c) {
    return list(c, NULL);
}

struct result collections_list(struct call *c) {
    AUTO(registry_workspace_done) struct registry_workspace w = {0};
    struct result r = registry_get_workspace(c->api->registry, call_org(c), call_param(c, 0), &w);
    if (r.code == ERR_NOT_FOUND)
        return refuse(&c->why, r.code, 404, "NOTFOUND", 0, "Workspace '%s' does not exist.", call_param(c, 0));
    TRY(r);
    return list(c, call_param(c, 0));
}

struct result collections_get(struct call *c) {
    AUTO(registry_collection_done) struct registry_collection row = {0};
    TRY(call_collection(c, &row));
    json_t *data = shape_collection(c, &row, NULL);
    if (has_sealed(c)) add_sealed(c, &row, data);
    add_recovery_detail(c, &row, data);
    answer_json(c->http, 200, json_pack("{s:o}", "data", data));
    return OK;
}

/* Known to Rockset, and deliberately not served: to ignore them would change what is stored. */
static struct result refuse_unserved(struct call *c, const json_t *body) {
    static const char *const unserved[] = {"clustering_key", "event_time_info", "field_mappings", NULL};
    for (size_t i = 0; unserved[i]; i++) {
        const json_t *v = json_object_get(body, unserved[i]);
        bool is_empty = !v || json_is_null(v) || (json_is_array(v) && json_array_size(v) == 0);
        if (!is_empty)
            return refuse(&c->why, ERR_UNSUPPORTED, 501, "NOTIMPLEMENTEDYET", 0,
                          "'%s' is not served: leave it out, and send the documents through the docs endpoint.",
                          unserved[i]);
    }
    return OK;
}

static struct result read_new(struct call *c, const json_t *body, struct registry_collection *ret) {
    const char *name, *description = "";
    int64_t retention = 0;
    TRY(json_get_str(body, "name", &name));
    TRY(collection_check_name(name));
    TRY(call_opt_text(body, "description", COLLECTION_MAX_DESCRIPTION, &description));
    const json_t *r = json_object_get(body, "retention_secs");
    if (r && !json_is_null(r))
        TRY(json_get_int(body, "retention_secs", COLLECTION_MIN_RETENTION_S, MAX_RETENTION_S, &retention));
    TRY(refuse_unserved(c, body));
    *ret = (struct registry_collection){.org = str_dup(call_org(c)),
                                        .region = str_dup(c->api->region),
                                        .workspace = str_dup(call_param(c, 0)),
                                        .name = str_dup(name),
                                        .description = str_dup(description),
                                        .created_by = str_dup(c->key.name),
                                        .retention_secs = retention};
    return OK;
}

static struct result prepare_sources(struct call *c, const json_t *body, json_t **ret) {
    const json_t *asked = json_object_get(body, "sources");
    if (!asked || json_is_null(asked)) return OK;
    CHECK(json_is_array(asked), ERR_INVALID, "'sources' must be an array of Source objects");
    if (json_array_size(asked) == 0) return OK;
    return source_prepare(c->api->sources, call_org(c), asked, ret, &c->why);
}

/* {"sql": "SELECT ..."}: *ret is borrowed; NULL: none. Checked by the engine. */
static struct result read_mapping(struct call *c, const json_t *body, const char **ret) {
    static const char *const members[] = {"sql", NULL};
    *ret = NULL;
    const json_t *v = json_object_get(body, "field_mapping_query");
    if (!v || json_is_null(v)) return OK;
    json_t *query;
    TRY(json_get_object(body, "field_mapping_query", &query));
    TRY(json_only(query, members));
    TRY(json_get_str(query, "sql", ret));
    if (!**ret) *ret = NULL;
    if (!*ret) return OK;
    TRY(keylink_check(c->api->keylink, call_org(c), KEYLINK_WRITE, &c->why));
    return mapping_check(call_tenant(c), *ret, &c->why);
}

static struct result set_mapping(struct call *c, const struct registry_collection *row, const char *sql) {
    /* Its being there tells that something sealed is to be shown. */
    AUTO(registry_collection_done) struct registry_collection mark = {0};
    TRY(collection_integrations(call_tenant(c), true, &mark, &c->why));
    return collection_set_mapping(call_tenant(c), row, sql, &c->why);
}

/* All or nothing: without them the collection isn't what was asked for. */
static struct result set_up(struct call *c, const struct registry_collection *row, const char *mapping,
                            const json_t *sources) {
    struct result r = mapping ? set_mapping(c, row, mapping) : OK;
    if (is_ok(r) && sources) r = source_add(c->api->sources, row, sources, &c->why);
    if (is_ok(r)) return OK;
    AUTO_FREE char *detail = str_dup(err_detail());
    REFUSAL_AUTO(why);
    result_ignore(collection_delete(call_tenant(c), row, &why));
    err_note("%s", detail);
    return r;
}

struct result collections_create(struct call *c) {
    static const char *const members[] = {"name",
                                          "description",
                                          "retention_secs",
                                          "field_mapping_query",
                                          "sources",
                                          "storage_compression_type",
                                          "clustering_key",
                                          "event_time_info",
                                          "field_mappings",
                                          "source_download_soft_limit_bytes",
                                          NULL};
    JSON_AUTO(body);
    TRY(call_body(c, members, true, &body));
    AUTO(registry_collection_done) struct registry_collection row = {0};
    TRY(read_new(c, body, &row));
    JSON_AUTO(sources);
    const char *mapping;
    TRY(prepare_sources(c, body, &sources));
    TRY(read_mapping(c, body, &mapping));
    TRY(collection_create(call_tenant(c), &row, &c->why));
    TRY(set_up(c, &row, mapping, sources));
    json_t *data = shape_collection(c, &row, "CREATED");
    if (sources || mapping) add_sealed(c, &row, data);
    answer_json(c->http, 200, json_pack("{s:o}", "data", data));
    return OK;
}

/* Description and field mapping; nothing else of a collection can change. */
struct result collections_update(struct call *c) {
    static const char *const members[] = {"description", "field_mapping_query", NULL};
    AUTO(registry_collection_done) struct registry_collection row = {0};
    JSON_AUTO(body);
    const char *description = NULL, *mapping;
    TRY(call_body(c, members, true, &body));
    TRY(call_opt_text(body, "description", COLLECTION_MAX_DESCRIPTION, &description));
    TRY(call_collection(c, &row));
    TRY(read_mapping(c, body, &mapping));
    if (json_object_get(body, "field_mapping_query")) TRY(set_mapping(c, &row, mapping));
    if (description) TRY(registry_set_collection_description(c->api->registry, row.id, description));
    AUTO(registry_collection_done) struct registry_collection changed = {0};
    TRY(call_collection(c, &changed));
    json_t *data = shape_collection(c, &changed, NULL);
    if (has_sealed(c)) add_sealed(c, &changed, data);
    answer_json(c->http, 200, json_pack("{s:o}", "data", data));
    return OK;
}

/* A body means documents, and that the end of the path was forgotten. */
static struct result refuse_documents(struct call *c) {
    static const char *const members[] = {NULL};
    JSON_AUTO(body);
    if (is_ok(call_body(c, members, false, &body))) return OK;
    return refuse(
        &c->why, ERR_INVALID, 400, "INVALIDINPUT", 0,
        "Nothing was deleted: this path deletes the whole collection and takes no body. Documents are deleted "
        "at %s/docs.",
        call_param(c, 1));
}

struct result collections_delete(struct call *c) {
    TRY(refuse_documents(c));
    AUTO(registry_collection_done) struct registry_collection row = {0};
    TRY(call_collection(c, &row));
    TRY(sources_leave_collection(c->api->sources, &row, &c->why));
    struct result r = collection_delete(call_tenant(c), &row, &c->why);
    if (is_err(r)) sources_start(c->api->sources, row.org, row.id); /* it is still there, and goes on */
    TRY(r);
    answer_json(c->http, 200, json_pack("{s:o}", "data", shape_collection(c, &row, "DELETED")));
    return OK;
}
