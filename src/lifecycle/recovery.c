#include "lifecycle/recovery.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"

enum { VIEW_MS = 20000 };

static json_t *shape(const struct registry_collection *c, const struct registry_recovery *v) {
    AUTO_FREE char *path = str_format("%s.%s", c->workspace, c->name);
    return json_pack("{s:s, s:b, s:s, s:b}", "collection", path, "recovered", v->is_recovered, "reason", v->reason,
                     "readable", v->is_recovered || v->is_readable);
}

static bool is_hidden(const struct registry_collection *c) {
    return strcmp(c->status, "DELETED") == 0 || c->workspace[0] == '_'; /* Lockset's own, not people's */
}

/* Was it decided in this recovery, or is it lost for good? Then *ret is what was decided. */
static struct result find_decided(const struct recovery *o, const struct registry_collection *c, bool *ret_found,
                                  struct registry_recovery *ret) {
    struct registry *r = tenants_registry(o->tenants);
    AUTO(registry_recovery_done) struct registry_recovery v = {0};
    struct result found = registry_get_recovery(r, c->id, &v);
    *ret_found = is_ok(found) && (!v.is_recovered || v.at_ms >= o->since_ms);
    if (found.code == ERR_NOT_FOUND) return OK;
    TRY(found);
    if (!*ret_found) return OK;
    if (!v.is_recovered && o->keeps_readable && !v.is_readable) {
        v.is_readable = true;
        TRY(registry_set_recovery(r, c->id, &v));
    }
    *ret = v;
    v = (struct registry_recovery){0};
    return OK;
}

static struct result decide(const struct recovery *o, const struct registry_collection *c,
                            struct registry_recovery *ret, struct refusal *why) {
    AUTO_FREE char *missing = NULL;
    bool is_recovered = true;
    TRY(o->decide(o->arg, c, &is_recovered, &missing, why));
    *ret = (struct registry_recovery){
        .is_recovered = is_recovered, .is_readable = is_recovered || o->keeps_readable, .at_ms = clock_unix_ms()};
    ret->reason = str_dup(is_recovered ? "nothing is missing"
                          : missing    ? missing
                                       : "the source no longer has what was missed");
    log_info("recovery.decided", KV("org", o->org), KV("collection", c->id),
             KV("recovered", is_recovered ? "yes" : "no"));
    struct result r = registry_set_recovery(tenants_registry(o->tenants), c->id, ret);
    return r.code == ERR_NOT_FOUND ? OK : r; /* deleted meanwhile */
}

/* What can't be read any more must not stay visible in an engine that was started for the recovery. */
static struct result hide(const struct recovery *o, const struct registry_collection *c, struct refusal *why) {
    struct tenant *t = tenants_get(o->tenants, o->org);
    struct keylink_engine engine;
    TRY(tenant_engine(t, KEYLINK_RECOVER, clock_boottime_ns() + VIEW_MS * NS_PER_MS, &engine, why));
    return collection_hide(t, &engine, tenant_collection(t, c));
}

static struct result run_one(const struct recovery *o, const struct registry_collection *c, json_t *list,
                             struct refusal *why) {
    AUTO(registry_recovery_done) struct registry_recovery v = {0};
    bool is_decided;
    TRY(find_decided(o, c, &is_decided, &v));
    if (!is_decided) TRY(decide(o, c, &v, why));
    if (!v.is_recovered && !v.is_readable) TRY(hide(o, c, why));
    json_array_append_new(list, shape(c, &v));
    return OK;
}

struct result recovery_run(const struct recovery *o, json_t **ret, struct refusal *why) {
    AUTO(registry_collections_done) struct registry_collections rows = {0};
    struct result r =
        registry_list_collections(tenants_registry(o->tenants), o->org, tenants_region(o->tenants), NULL, &rows);
    JSON_AUTO(list);
    list = json_array();
    for (size_t i = 0; i < rows.count && is_ok(r); i++)
        if (!is_hidden(&rows.items[i])) r = run_one(o, &rows.items[i], list, why);
    if (is_err(r) && why->status) return r;
    if (is_err(r)) {
        AUTO_FREE char *detail = str_dup(err_detail());
        return refuse(why, r.code, 503, "NOT_READY", 2,
                      "The recovery is not complete (%s). What was decided stays decided; ask again.", detail);
    }
    *ret = TAKE(list);
    return OK;
}

struct result recovery_list(struct tenants *t, const char *org, json_t **ret) {
    AUTO(registry_collections_done) struct registry_collections rows = {0};
    TRY(registry_list_collections(tenants_registry(t), org, tenants_region(t), NULL, &rows));
    JSON_AUTO(list);
    list = json_array();
    for (size_t i = 0; i < rows.count; i++) {
        AUTO(registry_recovery_done) struct registry_recovery v = {0};
        if (is_hidden(&rows.items[i])) continue;
        struct result r = registry_get_recovery(tenants_registry(t), rows.items[i].id, &v);
        if (r.code == ERR_NOT_FOUND) continue;
        TRY(r);
        json_array_append_new(list, shape(&rows.items[i], &v));
    }
    *ret = TAKE(list);
    return OK;
}

struct result recovery_check(struct registry *r, const struct registry_collection *c, enum keylink_use use,
                             struct refusal *why) {
    if (strcmp(c->status, "PAUSED") != 0) return OK;
    AUTO(registry_recovery_done) struct registry_recovery v = {0};
    TRY(registry_get_recovery(r, c->id, &v));
    if (use == KEYLINK_READ && v.is_readable) return OK;
    return refuse(
        why, ERR_FORBIDDEN, 403, "FORBIDDEN", 0,
        "Collection '%s.%s' could not be recovered after a pause: %s. Delete it and create it anew; the operator "
        "can make its data until the pause readable (lockset region recover --keep-readable).",
        c->workspace, c->name, v.reason);
}

static struct result show(struct tenants *all, const char *org, const struct registry_collection *c,
                          struct refusal *why) {
    struct tenant *t = tenants_get(all, org);
    struct keylink_engine engine;
    TRY(tenant_engine(t, KEYLINK_READ, clock_boottime_ns() + VIEW_MS * NS_PER_MS, &engine, why));
    return collection_show(t, &engine, tenant_collection(t, c));
}

static struct result make_one_readable(struct tenants *t, const char *org, const struct registry_collection *c,
                                       struct refusal *why) {
    AUTO(registry_recovery_done) struct registry_recovery v = {0};
    struct result r = registry_get_recovery(tenants_registry(t), c->id, &v);
    if (r.code == ERR_NOT_FOUND) return OK;
    TRY(r);
    if (v.is_recovered || v.is_readable) return OK;
    v.is_readable = true;
    TRY(registry_set_recovery(tenants_registry(t), c->id, &v));
    return show(t, org, c, why);
}

struct result recovery_make_readable(struct tenants *t, const char *org, json_t **ret, struct refusal *why) {
    AUTO(registry_collections_done) struct registry_collections rows = {0};
    TRY(registry_list_collections(tenants_registry(t), org, tenants_region(t), NULL, &rows));
    for (size_t i = 0; i < rows.count; i++)
        if (!is_hidden(&rows.items[i])) TRY(make_one_readable(t, org, &rows.items[i], why));
    json_decref(*ret);
    *ret = NULL;
    return recovery_list(t, org, ret);
}
