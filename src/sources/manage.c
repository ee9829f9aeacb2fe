/* Sources and integrations as the REST interface sees and changes them. */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "lifecycle/collections.h"
#include "sources/sources_priv.h"

enum { FORGET_MS = 10000 };

/* One change of an organization's lists at a time. */
static void unlock(struct keeper **k) {
    keeper_unlock_catalog(*k);
}
#define CATALOG_HELD(k)                                                                                                \
    keeper_lock_catalog(k);                                                                                            \
    AUTO(unlock) __attribute__((unused)) struct keeper *held_##k = (k)

static struct result keeper_of(struct sources *s, const char *org, struct keeper **ret) {
    *ret = sources_keeper(s, org);
    CHECK(*ret, ERR_INTERNAL, "no thread for the organization's sources");
    return OK;
}

static struct tenant *tenant_of(struct sources *s, const char *org) {
    return tenants_get(sources_tenants(s), org);
}

static const char *id_of(const json_t *source) {
    return json_string_value(json_object_get(source, "id"));
}

/* ---- answers ---- */

static const char *state_of(const struct run_status *s, bool is_attached) {
    if (!is_attached || s->phase == RUN_STARTING) return "INITIALIZING";
    if (s->phase == RUN_FAILING) return "ERROR";
    static const char *const names[] = {
        [SOURCE_INITIALIZING] = "INITIALIZING", [SOURCE_SCANNING] = "PROCESSING", [SOURCE_WATCHING] = "WATCHING"};
    return names[s->progress.state];
}

static void put_time(json_t *o, const char *name, int64_t ms) {
    char text[CLOCK_ISO_BYTES];
    if (ms) clock_format_iso(ms, text);
    json_object_set_new(o, name, ms ? json_string(text) : json_null());
}

static json_t *shape_status(const char *state, const struct run_status *s) {
    json_t *o = json_object();
    json_object_set_new(o, "state", json_string(state));
    json_object_set_new(o, "message", s->message ? json_string(s->message) : json_null());
    put_time(o, "last_processed_at", s->kept.stored_at_ms);
    json_object_set_new(o, "last_processed_item", s->kept.last_item ? json_string(s->kept.last_item) : json_null());
    json_object_set_new(o, "total_processed_items", json_integer(s->kept.items));
    json_object_set_new(o, "detected_size_bytes",
                        s->progress.total_bytes >= 0 ? json_integer(s->progress.total_bytes) : json_null());
    json_object_set_new(o, "error_count", json_integer(s->kept.errors));
    json_object_set_new(o, "lag", s->progress.lag >= 0 ? json_integer(s->progress.lag) : json_null());
    return o;
}

/* How much of the initial load is done. */
static double progress_of(const struct run_status *s) {
    if (s->kept.has_snapshot) return 1;
    if (s->progress.total_items <= 0) return 0;
    double part = (double)s->progress.done_items / (double)s->progress.total_items;
    return part < 0 ? 0 : part > 0.99 ? 0.99 : part;
}

static struct result shape_source(struct keeper *k, const struct catalog *catalog, const json_t *source, json_t **ret,
                                  double *ret_progress) {
    AUTO(run_status_done) struct run_status status = {0};
    bool attached = keeper_status(k, id_of(source), &status);
    if (!attached) {
        status.progress.total_bytes = status.progress.lag = -1;
        TRY(kept_find(&catalog->rows, id_of(source), &status.kept));
    }
    bool suspended = config_is_suspended(source, clock_unix_ms());
    json_t *o = config_shape_source(source);
    json_object_set_new(o, "status", shape_status(suspended ? "SUSPENDED" : state_of(&status, attached), &status));
    json_t *config = json_object_get(o, "kafka");
    if (config && status.progress.partitions) {
        json_t *own = json_pack("{s:s, s:O}", "state", status.kept.items ? "ACTIVE" : "NO_DOCS_YET", "kafka_partitions",
                                status.progress.partitions);
        json_object_set_new(config, "status", own);
    }
    *ret_progress = progress_of(&status);
    *ret = o;
    return OK;
}

static struct result no_source(struct refusal *why, const struct registry_collection *c, const char *id) {
    return refuse(why, ERR_NOT_FOUND, 404, "NOTFOUND", 0, "Collection '%s.%s' has no source '%.64s'.", c->workspace,
                  c->name, id);
}

static json_t *find_source(const json_t *sources, const char *id) {
    size_t i;
    json_t *one;
    json_array_foreach(sources, i, one) if (id_of(one) && strcmp(id_of(one), id) == 0) return one;
    return NULL;
}

struct result source_list(struct sources *s, const struct registry_collection *c, json_t **ret, double *ret_progress,
                          struct refusal *why) {
    struct keeper *k;
    TRY(keeper_of(s, c->org, &k));
    AUTO(catalog_done) struct catalog catalog = {0};
    TRY(catalog_read(tenant_of(s, c->org), c, KEYLINK_READ, &catalog, why));
    JSON_AUTO(list);
    list = json_array();
    double sum = 0;
    size_t i;
    json_t *source;
    json_array_foreach(catalog.sources, i, source) {
        json_t *one;
        double part;
        TRY(shape_source(k, &catalog, source, &one, &part));
        json_array_append_new(list, one);
        sum += part;
    }
    *ret_progress = json_array_size(list) ? sum / (double)json_array_size(list) : 1;
    *ret = TAKE(list);
    return OK;
}

struct result source_get(struct sources *s, const struct registry_collection *c, const char *id, json_t **ret,
                         struct refusal *why) {
    JSON_AUTO(list);
    double progress;
    TRY(source_list(s, c, &list, &progress, why));
    json_t *one = find_source(list, id);
    if (!one) return no_source(why, c, id);
    *ret = json_incref(one);
    return OK;
}

struct result source_errors(struct sources *s, const struct registry_collection *c, const char *id, size_t limit,
                            json_t **ret, struct refusal *why) {
    AUTO(catalog_done) struct catalog catalog = {0};
    struct tenant *t = tenant_of(s, c->org);
    TRY(catalog_read(t, c, KEYLINK_READ, &catalog, why));
    if (!find_source(catalog.sources, id)) return no_source(why, c, id);
    AUTO_FREE char *prefix = kept_error_prefix(id);
    AUTO(hidden_rows_done) struct hidden_rows rows = {0};
    TRY(hidden_read(t, c, KEYLINK_READ, prefix, clock_boottime_ns() + (int64_t)CATALOG_MS * NS_PER_MS, &rows, why));
    *ret = kept_errors(&rows, limit);
    return OK;
}

/* ---- changes ---- */

static struct result write_sources(struct sources *s, const struct registry_collection *c, const json_t *sources,
                                   struct kept_rows *more, struct refusal *why) {
    BUF_AUTO(text, KEPT_MAX_BYTES);
    text.wipes = true;
    TRY(json_write(sources, &text));
    TRY(buf_check(&text));
    kept_rows_add(more, KEPT_SOURCES_ID, buf_slice(&text));
    return hidden_write(tenant_of(s, c->org), c, KEYLINK_WRITE, more->items, more->count, why);
}

struct result source_prepare(struct sources *s, const char *org, const json_t *asked, json_t **ret,
                             struct refusal *why) {
    JSON_AUTO(integrations);
    JSON_AUTO(made);
    TRY(keylink_check(tenants_keylink(sources_tenants(s)), org, KEYLINK_WRITE, why));
    TRY(catalog_integrations(tenant_of(s, org), KEYLINK_WRITE, &integrations, why));
    CHECK(json_array_size(asked) <= CONFIG_MAX_SOURCES, ERR_INVALID, "a collection has at most %d sources",
          CONFIG_MAX_SOURCES);
    made = json_array();
    size_t i;
    json_t *one;
    json_array_foreach(asked, i, one) {
        char id[REGISTRY_ID_BYTES];
        json_t *source;
        TRY(registry_new_id('s', id));
        TRY(config_make_source(one, integrations, id, clock_unix_ms(), &source));
        json_array_append_new(made, source);
    }
    *ret = TAKE(made);
    return OK;
}

struct result source_add(struct sources *s, const struct registry_collection *c, const json_t *prepared,
                         struct refusal *why) {
    struct keeper *k;
    TRY(keeper_of(s, c->org, &k));
    CATALOG_HELD(k);
    /* Its being there lets a fresh process find the sources. */
    AUTO(registry_collection_done) struct registry_collection mark = {0};
    TRY(collection_integrations(tenant_of(s, c->org), true, &mark, why));
    AUTO(catalog_done) struct catalog catalog = {0};
    TRY(catalog_read(tenant_of(s, c->org), c, KEYLINK_WRITE, &catalog, why));
    CHECK(json_array_size(catalog.sources) + json_array_size(prepared) <= CONFIG_MAX_SOURCES, ERR_INVALID,
          "a collection has at most %d sources", CONFIG_MAX_SOURCES);
    json_array_extend(catalog.sources, mem_unconst(prepared));
    AUTO(kept_rows_done) struct kept_rows rows = {0};
    TRY(write_sources(s, c, catalog.sources, &rows, why));
    keeper_reload(k);
    return OK;
}

/* Gives back what it holds outside. That the outside can't be reached must not keep anybody from deleting. */
static void forget(struct sources *s, const struct registry_collection *c, const struct catalog *catalog,
                   const json_t *source, const json_t *integrations) {
    const struct source_driver *driver = config_driver(source);
    AUTO(kept_done) struct kept kept = {0};
    if (!driver || !driver->forget || is_err(kept_find(&catalog->rows, id_of(source), &kept))) return;
    static const _Atomic bool never = false;
    struct source_spec spec;
    run_fill_spec(&spec, c->region, source, catalog_integration_of(source, integrations), &never);
    struct result r = driver->forget(&spec, kept.position);
    if (is_err(r)) log_warn("source.not_forgotten", KV("source", spec.source_id), KV("code", err_name(r.code)));
}

/* Empty rows stand for none. */
static struct result empty_rows(struct sources *s, const struct registry_collection *c, const char *id,
                                struct kept_rows *rows, struct refusal *why) {
    AUTO_FREE char *position = kept_position_id(id);
    AUTO_FREE char *prefix = kept_error_prefix(id);
    AUTO(hidden_rows_done) struct hidden_rows errors = {0};
    TRY(hidden_read(tenant_of(s, c->org), c, KEYLINK_WRITE, prefix,
                    clock_boottime_ns() + (int64_t)CATALOG_MS * NS_PER_MS, &errors, why));
    kept_rows_add(rows, position, (struct slice){0});
    for (size_t i = 0; i < errors.count; i++)
        kept_rows_add(rows, errors.items[i].id, (struct slice){0});
    return OK;
}

static struct result delete_held(struct sources *s, struct keeper *k, const struct registry_collection *c,
                                 const char *id, json_t **ret, struct refusal *why) {
    struct tenant *t = tenant_of(s, c->org);
    AUTO(catalog_done) struct catalog catalog = {0};
    JSON_AUTO(integrations);
    TRY(catalog_read(t, c, KEYLINK_WRITE, &catalog, why));
    TRY(catalog_integrations(t, KEYLINK_WRITE, &integrations, why));
    json_t *source = find_source(catalog.sources, id);
    if (!source) return no_source(why, c, id);
    keeper_detach_source(k, id);
    JSON_AUTO(gone);
    gone = json_deep_copy(source);
    for (size_t i = 0; i < json_array_size(catalog.sources); i++)
        if (json_array_get(catalog.sources, i) == source) json_array_remove(catalog.sources, i);
    AUTO(kept_rows_done) struct kept_rows rows = {0};
    TRY(empty_rows(s, c, id, &rows, why));
    TRY(write_sources(s, c, catalog.sources, &rows, why));
    forget(s, c, &catalog, gone, integrations);
    *ret = config_shape_source(gone);
    return OK;
}

struct result source_delete(struct sources *s, const struct registry_collection *c, const char *id, json_t **ret,
                            struct refusal *why) {
    struct keeper *k;
    TRY(keeper_of(s, c->org, &k));
    CATALOG_HELD(k);
    struct result r = delete_held(s, k, c, id, ret, why);
    keeper_reload(k);
    return r;
}

static struct result change_suspension(struct sources *s, const struct registry_collection *c, const char *id,
                                       int64_t suspended_at_ms, int64_t resume_at_ms, struct refusal *why) {
    struct keeper *k;
    TRY(keeper_of(s, c->org, &k));
    CATALOG_HELD(k);
    AUTO(catalog_done) struct catalog catalog = {0};
    TRY(catalog_read(tenant_of(s, c->org), c, KEYLINK_WRITE, &catalog, why));
    json_t *source = find_source(catalog.sources, id);
    if (!source) return no_source(why, c, id);
    json_object_set_new(source, "suspended_at_ms", json_integer(suspended_at_ms));
    json_object_set_new(source, "resume_at_ms", json_integer(resume_at_ms));
    AUTO(kept_rows_done) struct kept_rows rows = {0};
    TRY(write_sources(s, c, catalog.sources, &rows, why));
    if (suspended_at_ms) keeper_detach_source(k, id);
    keeper_reload(k);
    return OK;
}

struct result source_suspend(struct sources *s, const struct registry_collection *c, const char *id,
                             int64_t resume_at_ms, json_t **ret, struct refusal *why) {
    TRY(change_suspension(s, c, id, clock_unix_ms(), resume_at_ms, why));
    return source_get(s, c, id, ret, why);
}

struct result source_resume(struct sources *s, const struct registry_collection *c, const char *id, json_t **ret,
                            struct refusal *why) {
    TRY(change_suspension(s, c, id, 0, 0, why));
    return source_get(s, c, id, ret, why);
}

struct result sources_leave_collection(struct sources *s, const struct registry_collection *c, struct refusal *why) {
    struct tenant *t = tenant_of(s, c->org);
    AUTO(registry_collection_done) struct registry_collection mark = {0};
    struct result r = collection_integrations(t, false, &mark, why);
    if (r.code == ERR_NOT_FOUND) return OK; /* there never was a source */
    TRY(r);
    struct keeper *k;
    TRY(keeper_of(s, c->org, &k));
    AUTO(catalog_done) struct catalog catalog = {0};
    JSON_AUTO(integrations);
    TRY(catalog_read(t, c, KEYLINK_WRITE, &catalog, why));
    TRY(catalog_integrations(t, KEYLINK_WRITE, &integrations, why));
    keeper_detach(k, c->id);
    size_t i;
    json_t *source;
    json_array_foreach(catalog.sources, i, source) forget(s, c, &catalog, source, integrations);
    return OK;
}

/* ---- integrations ---- */

/* name of an integration -> ["workspace.name", ...] of the collections whose sources use it. */
static struct result find_uses(struct sources *s, const char *org, json_t **ret, struct refusal *why) {
    struct tenants *all = sources_tenants(s);
    AUTO(registry_collections_done) struct registry_collections list = {0};
    TRY(registry_list_collections(tenants_registry(all), org, tenants_region(all), NULL, &list));
    JSON_AUTO(uses);
    uses = json_object();
    for (size_t i = 0; i < list.count; i++) {
        const struct registry_collection *c = &list.items[i];
        if (collection_is_system(c->workspace) || strcmp(c->status, "DELETED") == 0) continue;
        AUTO(catalog_done) struct catalog catalog = {0};
        TRY(catalog_read(tenant_of(s, org), c, KEYLINK_READ, &catalog, why));
        AUTO_FREE char *path = str_format("%s.%s", c->workspace, c->name);
        size_t n;
        json_t *source;
        json_array_foreach(catalog.sources, n, source) {
            const char *name = json_string_value(json_object_get(source, "integration_name"));
            if (!name) continue;
            if (!json_object_get(uses, name)) json_object_set_new(uses, name, json_array());
            json_array_append_new(json_object_get(uses, name), json_string(path));
        }
    }
    *ret = TAKE(uses);
    return OK;
}

static json_t *shape_integration(const json_t *one, const json_t *uses) {
    const char *name = json_string_value(json_object_get(one, "name"));
    json_t *paths = name ? json_object_get(uses, name) : NULL, *collections = json_array(), *path;
    size_t i;
    json_array_foreach(paths, i, path) json_array_append_new(collections, json_pack("{s:O}", "path", path));
    return config_shape_integration(one, collections);
}

struct result integration_list(struct sources *s, const char *org, json_t **ret, struct refusal *why) {
    JSON_AUTO(all);
    JSON_AUTO(uses);
    TRY(catalog_integrations(tenant_of(s, org), KEYLINK_READ, &all, why));
    if (json_object_size(all)) TRY(find_uses(s, org, &uses, why));
    json_t *list = json_array(), *one;
    const char *name;
    json_object_foreach(all, name, one) json_array_append_new(list, shape_integration(one, uses));
    *ret = list;
    return OK;
}

static struct result no_integration(struct refusal *why, const char *name) {
    return refuse(why, ERR_NOT_FOUND, 404, "NOTFOUND", 0, "Integration '%.128s' does not exist.", name);
}

struct result integration_get(struct sources *s, const char *org, const char *name, json_t **ret, struct refusal *why) {
    JSON_AUTO(all);
    JSON_AUTO(uses);
    TRY(catalog_integrations(tenant_of(s, org), KEYLINK_READ, &all, why));
    const json_t *one = json_object_get(all, name);
    if (!one) return no_integration(why, name);
    TRY(find_uses(s, org, &uses, why));
    *ret = shape_integration(one, uses);
    return OK;
}

static struct result write_integration(struct sources *s, const char *org, const char *name, struct slice text,
                                       struct refusal *why) {
    AUTO(registry_collection_done) struct registry_collection c = {0};
    TRY(collection_integrations(tenant_of(s, org), true, &c, why));
    AUTO_FREE char *id = str_format("integration:%s", name);
    AUTO(kept_rows_done) struct kept_rows rows = {0};
    kept_rows_add(&rows, id, text);
    return hidden_write(tenant_of(s, org), &c, KEYLINK_WRITE, rows.items, rows.count, why);
}

static struct result store_integration(struct sources *s, const char *org, const json_t *made, struct refusal *why) {
    BUF_AUTO(text, CONFIG_MAX_BYTES * 2);
    text.wipes = true;
    TRY(json_write(made, &text));
    TRY(buf_check(&text));
    return write_integration(s, org, json_string_value(json_object_get(made, "name")), buf_slice(&text), why);
}

struct result integration_update(struct sources *s, const char *org, const char *name, const json_t *asked,
                                 json_t **ret, struct refusal *why) {
    JSON_AUTO(all);
    JSON_AUTO(uses);
    JSON_AUTO(named);
    JSON_AUTO(made);
    struct keeper *k;
    TRY(keeper_of(s, org, &k));
    CATALOG_HELD(k);
    TRY(catalog_integrations(tenant_of(s, org), KEYLINK_WRITE, &all, why));
    const json_t *before = json_object_get(all, name);
    if (!before) return no_integration(why, name);
    named = json_copy(mem_unconst(asked));
    CHECK(!json_object_get(named, "name") && json_object_set_new(named, "name", json_string(name)) == 0, ERR_INVALID,
          "the name of an integration can't change: leave it out");
    const char *created_by = json_string_value(json_object_get(before, "created_by"));
    TRY(config_make_integration(named, created_by ? created_by : "", clock_unix_ms(), &made));
    CHECK(json_equal(json_object_get(made, "kind"), json_object_get(before, "kind")), ERR_INVALID,
          "the kind of an integration can't change: make another one");
    json_object_set(made, "created_at_ms", json_object_get(before, "created_at_ms"));
    TRY(find_uses(s, org, &uses, why));
    TRY(store_integration(s, org, made, why));
    keeper_reload(k);
    *ret = shape_integration(made, uses);
    return OK;
}

struct result integration_create(struct sources *s, const char *org, const json_t *asked, const char *created_by,
                                 json_t **ret, struct refusal *why) {
    JSON_AUTO(made);
    JSON_AUTO(all);
    struct keeper *k;
    TRY(config_make_integration(asked, created_by, clock_unix_ms(), &made));
    TRY(keeper_of(s, org, &k));
    CATALOG_HELD(k);
    const char *name = json_string_value(json_object_get(made, "name"));
    TRY(catalog_integrations(tenant_of(s, org), KEYLINK_WRITE, &all, why));
    if (json_object_get(all, name))
        return refuse(why, ERR_EXISTS, 409, "ALREADYEXISTS", 0, "Integration '%s' exists already.", name);
    TRY(store_integration(s, org, made, why));
    *ret = config_shape_integration(made, json_array());
    return OK;
}

struct result integration_delete(struct sources *s, const char *org, const char *name, json_t **ret,
                                 struct refusal *why) {
    JSON_AUTO(all);
    JSON_AUTO(uses);
    struct keeper *k;
    TRY(keeper_of(s, org, &k));
    CATALOG_HELD(k);
    TRY(catalog_integrations(tenant_of(s, org), KEYLINK_WRITE, &all, why));
    const json_t *one = json_object_get(all, name);
    if (!one) return no_integration(why, name);
    TRY(find_uses(s, org, &uses, why));
    const json_t *paths = json_object_get(uses, name);
    if (json_array_size(paths))
        return refuse(why, ERR_CONFLICT, 409, "DEPENDENTRESOURCES", 0,
                      "Integration '%s' is used by %zu source(s), the first in collection '%s': delete them first.",
                      name, json_array_size(paths), json_string_value(json_array_get(paths, 0)));
    TRY(write_integration(s, org, name, (struct slice){0}, why));
    *ret = shape_integration(one, NULL);
    return OK;
}
