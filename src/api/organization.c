#include <string.h>

#include "api/call.h"
#include "lifecycle/collections.h"

static struct result answer_data(struct call *c, json_t *data) {
    answer_json(c->http, 200, json_pack("{s:o}", "data", data));
    return OK;
}

/* The organization of the API key. */
static struct result own_org(struct call *c, struct registry_org *ret) {
    struct result r = registry_get_org(c->api->registry, call_org(c), ret);
    if (r.code == ERR_NOT_FOUND) FAIL(ERR_UNAUTHENTICATED, "this API key is not known");
    return r;
}

struct result self_get(struct call *c) {
    AUTO(registry_org_done) struct registry_org org = {0};
    TRY(own_org(c, &org));
    const char *host = http_header(c->http, "Host");
    AUTO_FREE char *user = str_format("arn:aws:iam::%s:root", c->api->config->service_account_id);
    AUTO_FREE char *url =
        str_format("%s://%s", c->api->config->api_tls_cert ? "https" : "http", host ? host : "localhost");
    json_t *cluster = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "id", c->api->region, "cluster_type", "PRIVATE",
                                "aws_region", c->api->region, "domain", host ? host : "localhost", "top_level_domain",
                                host ? host : "localhost", "apiserver_url", url);
    json_t *data = json_pack("{s:s, s:s, s:s, s:s, s:[o]}", "id", org.id, "display_name", org.display_name,
                             "external_id", org.id, "rockset_user", user, "clusters", cluster);
    json_object_set_new(data, "created_at", shape_time(org.created_at_ms));
    return answer_data(c, data);
}

struct result self_encryption(struct call *c) {
    AUTO(registry_org_done) struct registry_org org = {0};
    TRY(own_org(c, &org));
    json_t *data;
    TRY(shape_encryption(c->api, &org, &data));
    return answer_data(c, data);
}

/* ---- workspaces ---- */

static json_t *shape_workspace(const struct registry_workspace *w) {
    json_t *o = json_pack("{s:s, s:s, s:s, s:I}", "name", w->name, "description", w->description ? w->description : "",
                          "created_by", w->created_by ? w->created_by : "", "collection_count",
                          (json_int_t)w->collection_count);
    json_object_set_new(o, "created_at", shape_time(w->created_at_ms));
    return o;
}

static struct result no_workspace(struct call *c, const char *name) {
    return refuse(&c->why, ERR_NOT_FOUND, 404, "NOTFOUND", 0, "Workspace '%s' does not exist.", name);
}

static struct result get_workspace(struct call *c, const char *name, struct registry_workspace *ret) {
    if (collection_is_system(name)) return no_workspace(c, name);
    struct result r = registry_get_workspace(c->api->registry, call_org(c), name, ret);
    return r.code == ERR_NOT_FOUND ? no_workspace(c, name) : r;
}

struct result workspace_list(struct call *c) {
    AUTO(registry_workspaces_done) struct registry_workspaces list = {0};
    TRY(registry_list_workspaces(c->api->registry, call_org(c), &list));
    json_t *data = json_array();
    for (size_t i = 0; i < list.count; i++)
        if (!collection_is_system(list.items[i].name)) json_array_append_new(data, shape_workspace(&list.items[i]));
    return answer_data(c, data);
}

struct result workspace_get(struct call *c) {
    AUTO(registry_workspace_done) struct registry_workspace w = {0};
    TRY(get_workspace(c, call_param(c, 0), &w));
    return answer_data(c, shape_workspace(&w));
}

struct result workspace_create(struct call *c) {
    static const char *const members[] = {"name", "description", NULL};
    JSON_AUTO(body);
    const char *name, *description = "";
    TRY(call_body(c, members, true, &body));
    TRY(json_get_str(body, "name", &name));
    TRY(call_opt_text(body, "description", COLLECTION_MAX_DESCRIPTION, &description));
    TRY(workspace_check_name(name));
    AUTO(registry_workspace_done)
    struct registry_workspace w = {.org = str_dup(call_org(c)),
                                   .name = str_dup(name),
                                   .description = str_dup(description),
                                   .created_by = str_dup(c->key.name)};
    struct result r = registry_create_workspace(c->api->registry, &w);
    if (r.code == ERR_EXISTS)
        return refuse(&c->why, r.code, 409, "ALREADYEXISTS", 0, "Workspace '%s' exists already.", name);
    TRY(r);
    AUTO(registry_workspace_done) struct registry_workspace made = {0};
    TRY(get_workspace(c, name, &made));
    return answer_data(c, shape_workspace(&made));
}

struct result workspace_delete(struct call *c) {
    static const char *const members[] = {NULL};
    const char *name = call_param(c, 0);
    JSON_AUTO(body);
    TRY(call_body(c, members, false, &body));
    AUTO(registry_workspace_done) struct registry_workspace w = {0};
    TRY(get_workspace(c, name, &w));
    CHECK(strcmp(name, "commons") != 0, ERR_INVALID, "the workspace 'commons' always exists and can't be deleted");
    struct result r = registry_delete_workspace(c->api->registry, call_org(c), name);
    if (r.code == ERR_NOT_FOUND) return no_workspace(c, name);
    if (r.code == ERR_CONFLICT)
        return refuse(&c->why, r.code, 409, "DEPENDENTRESOURCES", 0,
                      "Workspace '%s' still holds collections: delete them first.", name);
    TRY(r);
    return answer_data(c, shape_workspace(&w));
}
