#include "lifecycle/recovery.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "lifecycle/hidden.h"

enum { VIEW_MS = 20000, DETAIL_MS = 5000, RETRY_AFTER_S = 30 };

static const char detail_id[] = "\0recovery";

static bool is_readable(const struct registry_recovery *v) {
    return v->verdict == REGISTRY_RECOVERED || v->is_readable;
}

/* reason NULL: the one that is remembered. */
static json_t *shape(const struct registry_collection *c, const struct registry_recovery *v, const char *reason) {
    AUTO_FREE char *path = str_format("%s.%s", c->workspace, c->name);
    return json_pack("{s:s, s:b, s:s, s:b}", "collection", path, "recovered", v->verdict == REGISTRY_RECOVERED,
                     "reason", reason ? reason : v->reason, "readable", is_readable(v));
}

static bool is_hidden(const struct registry_collection *c) {
    return strcmp(c->status, "DELETED") == 0 || c->workspace[0] == '_'; /* Lockset's own, not people's */
}

/* Was it decided in this recovery, or is it lost for good? Then *ret is what was decided. */
static struct result find_decided(const struct recovery *o, const struct registry_collection *c, bool *ret_found,
                                  struct registry_recovery *ret) {
    struct registry *r = tenants_registry(o->tenants);
    AUTO(registry_recovery_done) struct registry_recovery v = {0};
    *ret_found = false;
    struct result found = registry_get_recovery(r, c->id, &v);
    if (found.code == ERR_NOT_FOUND) return OK;
    TRY(found);
    *ret_found = v.verdict == REGISTRY_LOST || (v.verdict == REGISTRY_RECOVERED && v.at_ms >= o->since_ms);
    if (!*ret_found) return OK;
    if (v.verdict == REGISTRY_LOST && o->keeps_readable && !v.is_readable) {
        v.is_readable = true;
        TRY(registry_set_recovery(r, c->id, &v));
    }
    *ret = v;
    v = (struct registry_recovery){0};
    return OK;
}

/* What exactly is missing names the customer's topics, buckets and tables: it is kept sealed, in the collection's own
 * table. A failure costs the detail, not the decision. */
static void keep_detail(const struct recovery *o, const struct registry_collection *c, const char *detail) {
    REFUSAL_AUTO(why);
    struct write_hidden row = {.id = slice_make(detail_id, sizeof detail_id - 1), .raw = slice_str(detail)};
    struct result r = hidden_write(tenants_get(o->tenants, o->org), c, KEYLINK_RECOVER, &row, 1, &why);
    if (is_err(r)) log_warn("recovery.detail_not_kept", KV("collection", c->id), KV("code", err_name(r.code)));
}

char *recovery_detail(struct tenants *tenants, const struct registry_collection *c) {
    REFUSAL_AUTO(why);
    AUTO(hidden_rows_done) struct hidden_rows rows = {0};
    int64_t deadline_ns = clock_boottime_ns() + DETAIL_MS * NS_PER_MS;
    struct result r =
        hidden_read(tenants_get(tenants, c->org), c, KEYLINK_RECOVER, detail_id + 1, deadline_ns, &rows, &why);
    return is_ok(r) && rows.count ? str_dup(buf_str(&rows.items[0].text)) : NULL;
}

/* *ret_detail (owned): what exactly is missing, or why it can't be said; NULL: nothing is. */
static struct result decide(const struct recovery *o, const struct registry_collection *c,
                            struct registry_recovery *ret, char **ret_detail) {
    static const char *const reasons[] = {
        [REGISTRY_LOST] = "a source no longer has what was missed",
        [REGISTRY_RECOVERED] = "nothing is missing",
        [REGISTRY_UNDECIDED] =
            "a source could not be asked whether it still has what was missed: ask for recovery again",
    };
    REFUSAL_AUTO(unsaid);
    bool has_everything = true;
    struct result r = o->decide(o->arg, c, &has_everything, ret_detail, &unsaid);
    enum registry_verdict verdict = is_err(r)        ? REGISTRY_UNDECIDED
                                    : has_everything ? REGISTRY_RECOVERED
                                                     : REGISTRY_LOST;
    if (is_err(r) && !*ret_detail) *ret_detail = str_dup(unsaid.message ? unsaid.message : err_detail());
    *ret = (struct registry_recovery){.verdict = verdict,
                                      .is_readable = verdict == REGISTRY_RECOVERED || o->keeps_readable,
                                      .reason = str_dup(reasons[verdict]),
                                      .at_ms = clock_unix_ms()};
    log_info("recovery.decided", KV("org", o->org), KV("collection", c->id), KV("verdict", ret->reason));
    if (verdict == REGISTRY_LOST && *ret_detail) keep_detail(o, c, *ret_detail);
    r = registry_set_recovery(tenants_registry(o->tenants), c->id, ret);
    return r.code == ERR_NOT_FOUND ? OK : r; /* deleted meanwhile */
}

static struct result find_engine(const struct recovery *o, struct keylink_engine *ret, struct refusal *why) {
    struct tenant *t = tenants_get(o->tenants, o->org);
    return tenant_engine(t, KEYLINK_RECOVER, clock_boottime_ns() + VIEW_MS * NS_PER_MS, ret, why);
}

static struct result hide(const struct recovery *o, const struct registry_collection *c, struct refusal *why) {
    struct tenant *t = tenants_get(o->tenants, o->org);
    struct keylink_engine engine;
    TRY(find_engine(o, &engine, why));
    return collection_hide(t, &engine, tenant_collection(t, c));
}

static struct result show(const struct recovery *o, const struct registry_collection *c, struct refusal *why) {
    struct tenant *t = tenants_get(o->tenants, o->org);
    struct keylink_engine engine;
    TRY(find_engine(o, &engine, why));
    return collection_show(t, &engine, tenant_collection(t, c));
}

static struct result run_one(const struct recovery *o, const struct registry_collection *c, json_t *list,
                             struct refusal *why) {
    AUTO(registry_recovery_done) struct registry_recovery v = {0};
    AUTO_FREE char *detail = NULL;
    bool is_decided;
    TRY(find_decided(o, c, &is_decided, &v));
    if (!is_decided) TRY(decide(o, c, &v, &detail));
    /* The engine may be one that was started for the recovery, or have run since: its views follow. */
    TRY(is_readable(&v) ? show(o, c, why) : hide(o, c, why));
    if (v.verdict == REGISTRY_LOST && !detail) detail = recovery_detail(o->tenants, c);
    json_array_append_new(list, shape(c, &v, detail));
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

struct result recovery_happened(struct tenants *t, const char *org, bool *ret) {
    AUTO(registry_collections_done) struct registry_collections rows = {0};
    TRY(registry_list_collections(tenants_registry(t), org, tenants_region(t), NULL, &rows));
    *ret = false;
    for (size_t i = 0; i < rows.count && !*ret; i++) {
        AUTO(registry_recovery_done) struct registry_recovery v = {0};
        struct result r = registry_get_recovery(tenants_registry(t), rows.items[i].id, &v);
        if (is_err(r) && r.code != ERR_NOT_FOUND) return r;
        *ret = is_ok(r) && !is_hidden(&rows.items[i]);
    }
    return OK;
}

struct result recovery_check(struct registry *r, const struct registry_collection *c, enum keylink_use use,
                             struct refusal *why) {
    if (strcmp(c->status, "PAUSED") != 0) return OK;
    AUTO(registry_recovery_done) struct registry_recovery v = {0};
    TRY(registry_get_recovery(r, c->id, &v));
    if (use == KEYLINK_READ && v.is_readable) return OK;
    if (v.verdict == REGISTRY_UNDECIDED)
        return refuse(why, ERR_UNREACHABLE, use == KEYLINK_READ ? 403 : 503,
                      use == KEYLINK_READ ? "FORBIDDEN" : "NOT_READY", use == KEYLINK_READ ? 0 : RETRY_AFTER_S,
                      "Collection '%s.%s' is still paused: %s.", c->workspace, c->name, v.reason);
    return refuse(
        why, ERR_FORBIDDEN, 403, "FORBIDDEN", 0,
        "Collection '%s.%s' could not be recovered after a pause: %s. Delete it and create it anew; the operator "
        "can make its data until the pause readable (lockset region recover --keep-readable).",
        c->workspace, c->name, v.reason);
}
