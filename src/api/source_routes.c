#include <string.h>

#include "api/call.h"
#include "base/clock.h"

enum {
    DEFAULT_RESUME_S = 3600, /* as Rockset's */
    MAX_RESUME_S = 365 * 86400,
    DEFAULT_ERRORS = 100,
    MAX_ERRORS = 1000,
};

static struct result answer_data(struct call *c, json_t *data) {
    answer_json(c->http, 200, json_pack("{s:o}", "data", data));
    return OK;
}

struct result sources_list(struct call *c) {
    AUTO(registry_collection_done) struct registry_collection row = {0};
    TRY(call_collection(c, &row));
    json_t *list;
    double progress;
    TRY(source_list(c->api->sources, &row, &list, &progress, &c->why));
    return answer_data(c, list);
}

struct result sources_get(struct call *c) {
    AUTO(registry_collection_done) struct registry_collection row = {0};
    TRY(call_collection(c, &row));
    json_t *one;
    TRY(source_get(c->api->sources, &row, call_param(c, 2), &one, &c->why));
    return answer_data(c, one);
}

static struct result read_body(struct call *c, json_t **ret) {
    struct slice text = http_body(c->http);
    CHECK(text.len > 0, ERR_INVALID, "the body is empty: send a JSON object");
    return json_parse_object(text, ret);
}

struct result sources_create(struct call *c) {
    AUTO(registry_collection_done) struct registry_collection row = {0};
    TRY(call_collection(c, &row));
    JSON_AUTO(body);
    JSON_AUTO(asked);
    JSON_AUTO(prepared);
    TRY(read_body(c, &body));
    asked = json_pack("[O]", body);
    TRY(source_prepare(c->api->sources, call_org(c), asked, &prepared, &c->why));
    TRY(source_add(c->api->sources, &row, prepared, &c->why));
    const char *id = json_string_value(json_object_get(json_array_get(prepared, 0), "id"));
    json_t *one;
    TRY(source_get(c->api->sources, &row, id, &one, &c->why));
    return answer_data(c, one);
}

struct result sources_delete(struct call *c) {
    AUTO(registry_collection_done) struct registry_collection row = {0};
    TRY(call_collection(c, &row));
    json_t *one;
    TRY(source_delete(c->api->sources, &row, call_param(c, 2), &one, &c->why));
    return answer_data(c, one);
}

/* "PT1H30M", "P2D", "5400": whole seconds. */
static bool parse_duration(const char *text, int64_t *ret_s) {
    uint64_t plain;
    if (is_ok(slice_to_u64(slice_str(text), MAX_RESUME_S, &plain))) {
        *ret_s = (int64_t)plain;
        return true;
    }
    if (*text++ != 'P') return false;
    bool in_time = false;
    int64_t sum = 0, number = -1;
    for (; *text; text++) {
        if (*text >= '0' && *text <= '9') {
            number = (number < 0 ? 0 : number) * 10 + (*text - '0');
            if (number > MAX_RESUME_S) return false;
            continue;
        }
        int64_t unit = in_time ? (*text == 'H' ? 3600 : *text == 'M' ? 60 : *text == 'S') : *text == 'D' ? 86400 : 0;
        if (*text == 'T' && !in_time && number < 0) {
            in_time = true;
            continue;
        }
        if (unit == 0 || number < 0) return false;
        sum += number * unit;
        number = -1;
    }
    *ret_s = sum;
    return number < 0 && sum <= MAX_RESUME_S;
}

struct result sources_suspend(struct call *c) {
    static const char *const members[] = {"resume_after_duration", NULL};
    AUTO(registry_collection_done) struct registry_collection row = {0};
    TRY(call_collection(c, &row));
    JSON_AUTO(body);
    TRY(call_body(c, members, false, &body));
    const char *duration = NULL;
    int64_t seconds = DEFAULT_RESUME_S;
    TRY(call_opt_text(body, "resume_after_duration", 64, &duration));
    CHECK(!duration || (parse_duration(duration, &seconds) && seconds > 0), ERR_INVALID,
          "'resume_after_duration' is a duration of ISO 8601 such as \"PT1H\", at most 365 days");
    json_t *one;
    TRY(source_suspend(c->api->sources, &row, call_param(c, 2), clock_unix_ms() + seconds * 1000, &one, &c->why));
    return answer_data(c, one);
}

struct result sources_resume(struct call *c) {
    AUTO(registry_collection_done) struct registry_collection row = {0};
    TRY(call_collection(c, &row));
    json_t *one;
    TRY(source_resume(c->api->sources, &row, call_param(c, 2), &one, &c->why));
    return answer_data(c, one);
}

/* The value of ?limit=. */
static struct result read_limit(struct call *c, uint64_t *ret) {
    struct slice rest = http_query(c->http), field, name, value;
    while (rest.len) {
        slice_cut(rest, '&', &field, &rest);
        slice_cut(field, '=', &name, &value);
        if (slice_is(name, "limit") && is_err(slice_to_u64(value, MAX_ERRORS, ret)))
            FAIL(ERR_INVALID, "'limit' is a number up to %d", MAX_ERRORS);
    }
    return OK;
}

struct result sources_errors(struct call *c) {
    AUTO(registry_collection_done) struct registry_collection row = {0};
    TRY(call_collection(c, &row));
    uint64_t limit = DEFAULT_ERRORS;
    TRY(read_limit(c, &limit));
    json_t *list;
    TRY(source_errors(c->api->sources, &row, call_param(c, 2), (size_t)limit, &list, &c->why));
    return answer_data(c, list);
}

/* ---- integrations ---- */

struct result integrations_list(struct call *c) {
    json_t *list;
    TRY(integration_list(c->api->sources, call_org(c), &list, &c->why));
    return answer_data(c, list);
}

struct result integrations_create(struct call *c) {
    JSON_AUTO(body);
    TRY(read_body(c, &body));
    json_t *one;
    TRY(integration_create(c->api->sources, call_org(c), body, c->key.name, &one, &c->why));
    return answer_data(c, one);
}

struct result integrations_get(struct call *c) {
    json_t *one;
    TRY(integration_get(c->api->sources, call_org(c), call_param(c, 0), &one, &c->why));
    return answer_data(c, one);
}

struct result integrations_update(struct call *c) {
    JSON_AUTO(body);
    json_t *one;
    TRY(read_body(c, &body));
    TRY(integration_update(c->api->sources, call_org(c), call_param(c, 0), body, &one, &c->why));
    return answer_data(c, one);
}

struct result integrations_delete(struct call *c) {
    json_t *one;
    TRY(integration_delete(c->api->sources, call_org(c), call_param(c, 0), &one, &c->why));
    return answer_data(c, one);
}
