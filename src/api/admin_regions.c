/* The operator's view of an organization's regions. */
#include <string.h>

#include "api/call.h"

enum { ASK_MS = 60000, MAX_ARN = 8192 };

static struct result wrap_data(struct call *c, int status, json_t *data) {
    answer_json(c->http, status, json_pack("{s:o}", "data", data));
    return OK;
}

struct result admin_check_region_name(struct call *c, const char *region) {
    if (config_find_region(c->api->config, region)) return OK;
    BUF_AUTO(names, 1024);
    for (size_t i = 0; i < c->api->config->region_count; i++)
        buf_printf(&names, "%s%s", i ? ", " : "", c->api->config->regions[i].name);
    FAIL(ERR_INVALID, "region '%.60s' is not served here: this deployment has %s", region, buf_str(&names));
}

static struct result find_region(struct call *c, struct registry_org *org, json_t **ret) {
    TRY(admin_find_org(c, org));
    struct result r = shape_region(c->api, org->id, call_param(c, 1), ret);
    if (r.code == ERR_NOT_FOUND)
        return refuse(&c->why, r.code, 404, "NOTFOUND", 0, "Organization '%s' has no region '%s'.", org->name,
                      call_param(c, 1));
    return r;
}

struct result admin_get_region(struct call *c) {
    AUTO(registry_org_done) struct registry_org org = {0};
    json_t *data;
    TRY(find_region(c, &org, &data));
    return wrap_data(c, 200, data);
}

struct result admin_check_region(struct call *c) {
    AUTO(registry_org_done) struct registry_org org = {0};
    JSON_AUTO(before);
    JSON_AUTO(body);
    static const char *const members[] = {NULL};
    TRY(call_body(c, members, false, &body));
    TRY(find_region(c, &org, &before));
    JSON_AUTO(answer);
    json_t *request = json_pack("{s:s, s:s, s:s}", "op", "recheck", "org", org.id, "region", call_param(c, 1));
    TRY(admin_ask_keyring(c, request, ASK_MS, &answer));
    json_t *data;
    TRY(shape_region(c->api, org.id, call_param(c, 1), &data));
    json_object_set(data, "checks", json_object_get(answer, "checks"));
    return wrap_data(c, 200, data);
}

struct result region_add(struct call *c, const char *org, const char *region, const char *arn, const char *actor) {
    JSON_AUTO(answer);
    json_t *request =
        json_pack("{s:s, s:s, s:s, s:s}", "op", "add_region", "org", org, "region", region, "created_by", actor);
    if (arn) json_object_set_new(request, "arn", json_string(arn));
    return admin_ask_keyring(c, request, ASK_MS, &answer);
}

struct result admin_add_region(struct call *c) {
    static const char *const members[] = {"region", "kms_key_arn", NULL};
    AUTO(registry_org_done) struct registry_org org = {0};
    JSON_AUTO(body);
    const char *region, *arn = NULL;
    TRY(admin_find_org(c, &org));
    TRY(call_body(c, members, true, &body));
    TRY(json_get_str(body, "region", &region));
    TRY(call_opt_text(body, "kms_key_arn", MAX_ARN, &arn));
    TRY(admin_check_region_name(c, region));
    TRY(region_add(c, org.id, region, arn, "operator"));
    json_t *data;
    TRY(shape_region(c->api, org.id, region, &data));
    return wrap_data(c, 201, data);
}

struct result admin_list_regions(struct call *c) {
    AUTO(registry_org_done) struct registry_org org = {0};
    TRY(admin_find_org(c, &org));
    JSON_AUTO(encryption);
    TRY(shape_encryption(c->api, &org, &encryption));
    return wrap_data(c, 200, json_incref(json_object_get(encryption, "regions")));
}
