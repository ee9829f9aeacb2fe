#include <string.h>

#include "base/clock.h"
#include "lifecycle/collections.h"
#include "sources/sources_priv.h"

static int64_t deadline(void) {
    return clock_boottime_ns() + (int64_t)CATALOG_MS * NS_PER_MS;
}

static struct result refuse_damaged(struct refusal *why) {
    return refuse(why, ERR_CORRUPT, 500, "INTERNALERROR", 0, "What is kept of the data sources can't be read.");
}

struct result catalog_integrations(struct tenant *t, enum keylink_use use, json_t **ret, struct refusal *why) {
    JSON_AUTO(all);
    all = json_object();
    AUTO(registry_collection_done) struct registry_collection c = {0};
    struct result r = collection_integrations(t, false, &c, why);
    if (is_err(r) && r.code != ERR_NOT_FOUND) return r;
    AUTO(hidden_rows_done) struct hidden_rows rows = {0};
    if (is_ok(r)) TRY(hidden_read(t, &c, use, "integration:", deadline(), &rows, why));
    for (size_t i = 0; i < rows.count; i++) {
        json_t *one = NULL;
        if (is_err(json_parse_object(buf_slice(&rows.items[i].text), &one))) return refuse_damaged(why);
        json_object_set_new(all, rows.items[i].id + strlen("integration:"), one);
    }
    *ret = TAKE(all);
    return OK;
}

void catalog_done(struct catalog *c) {
    json_decref(c->sources);
    hidden_rows_done(&c->rows);
    *c = (struct catalog){0};
}

struct result catalog_read(struct tenant *t, const struct registry_collection *c, enum keylink_use use,
                           struct catalog *ret, struct refusal *why) {
    AUTO(catalog_done) struct catalog found = {0};
    TRY(hidden_read(t, c, use, "source", deadline(), &found.rows, why));
    for (size_t i = 0; i < found.rows.count; i++) {
        if (strcmp(found.rows.items[i].id, KEPT_SOURCES_ID) != 0) continue;
        struct result r = json_parse(buf_slice(&found.rows.items[i].text), &found.sources);
        if (is_err(r) || !json_is_array(found.sources)) return refuse_damaged(why);
    }
    if (!found.sources) found.sources = json_array();
    *ret = found;
    found = (struct catalog){0};
    return OK;
}

const json_t *catalog_integration_of(const json_t *source, const json_t *integrations) {
    const char *name = json_string_value(json_object_get(source, "integration_name"));
    return name ? json_object_get(integrations, name) : NULL;
}
