/* Deleting an organization for good (crypto-shredding). */
#include <string.h>

#include "api/call.h"
#include "base/log.h"

enum { ASK_MS = 120000 };

/* What its sources hold outside (replication slots, say) is given back as far as can be; the rest is told. */
static void leave_sources(struct call *c, const char *org, json_t *remains) {
    AUTO(registry_collections_done) struct registry_collections rows = {0};
    if (is_err(registry_list_collections(c->api->registry, org, c->api->region, NULL, &rows))) return;
    for (size_t i = 0; i < rows.count; i++) {
        REFUSAL_AUTO(why);
        const struct registry_collection *row = &rows.items[i];
        if (is_ok(sources_leave_collection(c->api->sources, row, &why))) continue;
        AUTO_FREE char *text = str_format("what the sources of %s.%s hold outside (%s)", row->workspace, row->name,
                                          why.message ? why.message : err_detail());
        json_array_append_new(remains, json_string(text));
    }
}

struct result admin_delete_org(struct call *c) {
    static const char *const members[] = {NULL};
    AUTO(registry_org_done) struct registry_org org = {0};
    JSON_AUTO(body);
    JSON_AUTO(answer);
    JSON_AUTO(remains);
    TRY(admin_find_org(c, &org));
    TRY(call_body(c, members, false, &body));
    remains = json_array();
    leave_sources(c, org.id, remains);
    json_t *request = json_pack("{s:s, s:s, s:s}", "op", "delete_org", "org", org.id, "actor", "operator");
    TRY(admin_ask_keyring(c, request, ASK_MS, &answer));
    json_array_extend(remains, json_object_get(answer, "remains"));
    json_t *data = json_pack("{s:s, s:s, s:b, s:O}", "id", org.id, "name", org.name, "deleted", 1, "remains", remains);
    answer_json(c->http, 200, json_pack("{s:o}", "data", data));
    return OK;
}
