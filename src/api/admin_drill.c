/* What `lockset drill` asks: when things happened to a lease, by one clock; and that its report is recorded. */
#include <string.h>

#include "api/call.h"
#include "base/crypto.h"

enum { ASK_MS = 5000 };

static struct result find(struct call *c, struct registry_org *org) {
    JSON_AUTO(region);
    TRY(admin_find_org(c, org));
    struct result r = shape_region(c->api, org->id, call_param(c, 1), &region);
    if (r.code == ERR_NOT_FOUND)
        return refuse(&c->why, r.code, 404, "NOTFOUND", 0, "Organization '%s' has no region '%s'.", org->name,
                      call_param(c, 1));
    return r;
}

struct result admin_get_moments(struct call *c) {
    AUTO(registry_org_done) struct registry_org org = {0};
    JSON_AUTO(answer);
    TRY(find(c, &org));
    json_t *request = json_pack("{s:s, s:s, s:s}", "op", "moments", "org", org.id, "region", call_param(c, 1));
    TRY(admin_ask_keyring(c, request, ASK_MS, &answer));
    json_t *data = json_object_get(answer, "moments");
    json_object_set_new(data, "denied_bound_ms", json_integer(c->api->config->key_denied_bound_ms));
    answer_json(c->http, 200, json_pack("{s:O}", "data", data));
    return OK;
}

struct result admin_add_drill(struct call *c) {
    static const char *const members[] = {"report_sha256", "passed", NULL};
    AUTO(registry_org_done) struct registry_org org = {0};
    JSON_AUTO(body);
    TRY(call_body(c, members, true, &body));
    TRY(find(c, &org));
    const char *region = call_param(c, 1), *hash;
    CHECK(strcmp(region, c->api->region) == 0, ERR_INVALID, "this is the API of the region %s", c->api->region);
    bool passed = false;
    TRY(json_get_str(body, "report_sha256", &hash));
    CHECK(json_object_get(body, "passed"), ERR_INVALID, "'passed' is missing");
    TRY(json_opt_bool(body, "passed", &passed));
    CHECK(strlen(hash) == 2 * SHA256_BYTES && strspn(hash, "0123456789abcdef") == 2 * SHA256_BYTES, ERR_INVALID,
          "'report_sha256' must be 64 lower-case hexadecimal digits");
    TRY(admin_audit(c, org.id, "drill", json_pack("{s:s, s:b}", "report_sha256", hash, "passed", passed)));
    answer_json(c->http, 201, json_pack("{s:{s:s, s:b}}", "data", "report_sha256", hash, "passed", passed));
    return OK;
}
