#include <string.h>

#include "api/call.h"
#include "base/clock.h"

json_t *shape_time(int64_t unix_ms) {
    if (unix_ms <= 0) return json_null();
    char text[CLOCK_ISO_BYTES];
    clock_format_iso(unix_ms, text);
    return json_string(text);
}

static json_t *text_or_null(const char *text) {
    return text && *text ? json_string(text) : json_null();
}

/* How long the lease still holds; 0 without one. */
static json_t *lease_left(const json_t *state) {
    const json_t *expiry = json_object_get(state, "lease_expiry_boottime_ns");
    const char *name = json_string_value(json_object_get(state, "state"));
    if (!json_is_integer(expiry) || !name || strcmp(name, "AVAILABLE") != 0) return json_integer(0);
    int64_t left = (json_integer_value(expiry) - clock_boottime_ns()) / NS_PER_MS;
    return json_integer(left > 0 ? left : 0);
}

static json_t *from_state(const json_t *state, const struct registry_region *row) {
    json_t *o = json_object();
    const json_t *cause = json_object_get(state, "cause"), *aws_error = json_object_get(state, "aws_error");
    json_object_set_new(o, "region", json_string(row->region));
    json_object_set_new(o, "kms_key_arn", json_string(row->kms_key_arn));
    json_object_set(o, "state", json_object_get(state, "state"));
    json_object_set_new(o, "cause", text_or_null(json_string_value(cause)));
    json_object_set_new(o, "reason", text_or_null(json_string_value(json_object_get(state, "reason"))));
    json_object_set_new(o, "aws_error", text_or_null(json_string_value(aws_error)));
    json_object_set_new(o, "since", shape_time(json_integer_value(json_object_get(state, "since_ms"))));
    json_object_set_new(o, "last_success", shape_time(json_integer_value(json_object_get(state, "last_success_ms"))));
    json_object_set_new(o, "lease_expires_in_ms", lease_left(state));
    return o;
}

/* The keyring has said nothing (yet): what it wrote down last, without a lease. */
static json_t *from_row(const struct registry_region *row) {
    json_t *o = json_object();
    json_object_set_new(o, "region", json_string(row->region));
    json_object_set_new(o, "kms_key_arn", json_string(row->kms_key_arn));
    json_object_set_new(o, "state", json_string(strcmp(row->state, "AVAILABLE") == 0 ? "STARTING" : row->state));
    json_object_set_new(o, "cause", text_or_null(row->cause));
    json_object_set_new(o, "reason", text_or_null(row->reason));
    json_object_set_new(o, "aws_error", text_or_null(row->aws_error));
    json_object_set_new(o, "since", shape_time(row->since_ms));
    json_object_set_new(o, "last_success", shape_time(row->last_success_ms));
    json_object_set_new(o, "lease_expires_in_ms", json_integer(0));
    return o;
}

static json_t *shape_row(struct api *api, const struct registry_region *row) {
    JSON_AUTO(state);
    state = keylink_state_in(api->keylink, row->org, row->region);
    return state ? from_state(state, row) : from_row(row);
}

struct result shape_region(struct api *api, const char *org, const char *region, json_t **ret) {
    AUTO(registry_region_done) struct registry_region row = {0};
    TRY(registry_get_region(api->registry, org, region, &row));
    *ret = shape_row(api, &row);
    return OK;
}

struct result shape_encryption(struct api *api, const struct registry_org *org, json_t **ret) {
    AUTO(registry_regions_done) struct registry_regions rows = {0};
    TRY(registry_list_regions(api->registry, org->id, &rows));
    json_t *list = json_array();
    for (size_t i = 0; i < rows.count; i++)
        json_array_append_new(list, shape_row(api, &rows.items[i]));
    *ret = json_object();
    json_object_set_new(*ret, "kind", json_string(registry_kind_name(org->kind)));
    json_object_set_new(*ret, "kms_key_arn", text_or_null(org->kms_key_arn));
    json_object_set_new(*ret, "regions", list);
    return OK;
}
