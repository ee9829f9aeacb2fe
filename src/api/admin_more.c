#include <string.h>

#include "api/call.h"

enum { EVENTS_DEFAULT = 100, EVENTS_MAX = 1000 };

static json_t *text_or_null(const char *text) {
    return text && *text ? json_string(text) : json_null();
}

json_t *shape_event(const struct registry_event *e) {
    json_t *o = json_object();
    json_object_set_new(o, "seq", json_integer(e->seq));
    json_object_set_new(o, "at", shape_time(e->at_ms));
    json_object_set_new(o, "region", text_or_null(e->region));
    json_object_set_new(o, "kind", text_or_null(e->kind));
    json_object_set_new(o, "from_state", text_or_null(e->from_state));
    json_object_set_new(o, "to_state", text_or_null(e->to_state));
    json_object_set_new(o, "cause", text_or_null(e->cause));
    json_object_set_new(o, "reason", text_or_null(e->reason));
    json_object_set_new(o, "aws_error", text_or_null(e->aws_error));
    json_object_set_new(o, "actor", text_or_null(e->actor));
    return o;
}

static struct result number_param(struct call *c, const char *name, uint64_t max, uint64_t *ret) {
    const char *text = http_query_param(c->http, name);
    if (!text) return OK;
    if (is_err(slice_to_u64(slice_str(text), max, ret)))
        FAIL(ERR_INVALID, "'%s' must be a whole number, at most %llu", name, (unsigned long long)max);
    return OK;
}

struct result admin_list_events(struct call *c) {
    AUTO(registry_org_done) struct registry_org org = {0};
    const char *word = call_param(c, 0);
    struct result r = registry_find_org(c->api->registry, word, &org);
    if (r.code == ERR_NOT_FOUND) r = registry_get_org(c->api->registry, word, &org);
    if (r.code == ERR_NOT_FOUND)
        return refuse(&c->why, r.code, 404, "NOTFOUND", 0, "There is no organization '%s'.", word);
    TRY(r);
    uint64_t limit = EVENTS_DEFAULT, before = 0;
    TRY(number_param(c, "limit", EVENTS_MAX, &limit));
    TRY(number_param(c, "before", INT64_MAX, &before));
    CHECK(limit > 0, ERR_INVALID, "'limit' must be at least 1");
    AUTO(registry_events_done) struct registry_events list = {0};
    TRY(registry_list_events(c->api->registry, org.id, (int64_t)before, (int)limit, &list));
    json_t *data = json_array();
    for (size_t i = 0; i < list.count; i++)
        json_array_append_new(data, shape_event(&list.items[i]));
    answer_json(c->http, 200, json_pack("{s:o}", "data", data));
    return OK;
}
