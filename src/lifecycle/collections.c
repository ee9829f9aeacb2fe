#include "lifecycle/collections.h"

#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "lifecycle/hidden.h"
#include "lifecycle/mapping.h"

enum { CREATE_MS = 25000, TRIES = 5, RETRY_AFTER_S = 1 };

static bool is_name_byte(char c, bool first) {
    bool alphanumeric = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    return alphanumeric || (!first && (c == '_' || c == '-'));
}

struct result collection_check_name(const char *name) {
    size_t n = strlen(name);
    bool good = n >= 1 && n <= COLLECTION_NAME_MAX;
    for (size_t i = 0; i < n && good; i++)
        good = is_name_byte(name[i], i == 0);
    CHECK(good, ERR_INVALID,
          "'%.60s' is no good name: a letter or digit first, then letters, digits, '-' and '_', at most %d in all",
          name, COLLECTION_NAME_MAX);
    return OK;
}

struct result workspace_check_name(const char *name) {
    static const char *const reserved[] = {"system", "default", "information_schema", "lockset_data"};
    TRY(collection_check_name(name));
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
        CHECK(strcasecmp(name, reserved[i]) != 0, ERR_INVALID,
              "'%s' is the name of one of the engine's own databases: take another", name);
    return OK;
}

/* The registry's words for a failure. */
static struct result refuse_registry(struct refusal *why, struct result r, const struct registry_collection *c) {
    AUTO_FREE char *detail = str_dup(err_detail());
    if (r.code == ERR_EXISTS)
        return refuse(why, r.code, 409, "ALREADYEXISTS", 0, "Collection '%s.%s' exists already.", c->workspace,
                      c->name);
    if (r.code == ERR_NOT_FOUND)
        return refuse(why, r.code, 404, "NOTFOUND", 0, "Workspace '%s' doesn't exist: create it first.", c->workspace);
    return refuse(why, r.code, err_http_status(r.code), "INTERNALERROR", 0, "%s", detail);
}

/* Runs `step` on an engine, and on the next one if that goes away. */
static struct result on_engine(struct tenant *t, struct collection *c, struct refusal *why,
                               struct result (*step)(struct tenant *, const struct keylink_engine *,
                                                     struct collection *)) {
    int64_t deadline = clock_boottime_ns() + CREATE_MS * NS_PER_MS;
    for (int i = 0; i < TRIES; i++) {
        struct keylink_engine engine;
        TRY(tenant_engine(t, KEYLINK_WRITE, deadline, &engine, why));
        struct result r = step(t, &engine, c);
        if (is_ok(r)) return OK;
        log_warn("collection.step", KV("collection", c->id), KV("why", err_detail()));
        if (r.code == ERR_PEER)
            return refuse(why, r.code, 500, "INTERNALERROR", 0, "The engine refused to set the collection up.");
        TRY(tenant_broken(t, &engine, r.code == ERR_TIMEOUT, KEYLINK_WRITE, why));
    }
    return refuse(why, ERR_UNREACHABLE, 503, "SERVICEUNAVAILABLE", RETRY_AFTER_S,
                  "The engine is being restarted again and again. Nothing was changed; try again.");
}

struct result collection_create(struct tenant *t, struct registry_collection *c, struct refusal *why) {
    struct registry *registry = tenants_registry(tenant_all(t));
    TRY(keylink_check(tenants_keylink(tenant_all(t)), c->org, KEYLINK_WRITE, why));
    char id[REGISTRY_ID_BYTES];
    struct result r = registry_new_id('c', id);
    if (is_ok(r)) {
        mem_free(c->id);
        mem_free(c->status);
        c->id = str_dup(id);
        c->status = str_dup("CREATED");
        c->created_at_ms = clock_unix_ms();
        r = registry_create_collection(registry, c);
    }
    if (is_err(r)) return refuse_registry(why, r, c);
    r = on_engine(t, tenant_collection(t, c), why, collection_attach);
    if (is_err(r)) {
        /* Nothing was stored in it, so nothing but the row is to be taken back. */
        result_ignore(registry_delete_collection(registry, c->id));
        return r;
    }
    r = registry_set_collection_status(registry, c->id, "READY");
    return is_ok(r) ? OK : refuse_registry(why, r, c);
}

static struct result attach_and_drop(struct tenant *t, const struct keylink_engine *engine, struct collection *c) {
    TRY(collection_attach(t, engine, c));
    return collection_drop(t, engine, c);
}

static struct result delete_held(struct tenant *t, const struct registry_collection *c, struct collection *own,
                                 struct refusal *why) {
    struct registry *registry = tenants_registry(tenant_all(t));
    struct result r = registry_set_collection_status(registry, c->id, "DELETED");
    if (is_err(r)) return refuse_registry(why, r, c);
    /* From here on it goes: what is cut off now, the next engine finishes before anything else. */
    TRY(on_engine(t, own, why, attach_and_drop));
    r = registry_delete_collection(registry, c->id);
    return is_ok(r) || r.code == ERR_NOT_FOUND ? OK : refuse_registry(why, r, c);
}

struct result collection_delete(struct tenant *t, const struct registry_collection *c, struct refusal *why) {
    TRY(keylink_check(tenants_keylink(tenant_all(t)), c->org, KEYLINK_WRITE, why));
    struct collection *own = tenant_collection(t, c);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += CREATE_MS / 1000;
    if (pthread_rwlock_timedwrlock(&own->writes, &until) != 0)
        return refuse(why, ERR_BUSY, 503, "SERVICEUNAVAILABLE", RETRY_AFTER_S,
                      "Writes to this collection don't end; try again.");
    struct result r = delete_held(t, c, own, why);
    pthread_rwlock_unlock(&own->writes);
    return r;
}

bool collection_is_system(const char *workspace) {
    return strcmp(workspace, COLLECTION_SYSTEM_WORKSPACE) == 0;
}

static struct result find_integrations(struct tenant *t, struct registry_collection *ret) {
    struct tenants *all = tenant_all(t);
    return registry_get_collection(tenants_registry(all), tenant_org(t), tenants_region(all),
                                   COLLECTION_SYSTEM_WORKSPACE, "integrations", ret);
}

static struct result make_integrations(struct tenant *t, struct refusal *why) {
    struct tenants *all = tenant_all(t);
    struct registry_workspace w = {.org = mem_unconst(tenant_org(t)),
                                   .name = mem_unconst(COLLECTION_SYSTEM_WORKSPACE),
                                   .description = mem_unconst("Lockset's own"),
                                   .created_by = mem_unconst("lockset")};
    struct result r = registry_create_workspace(tenants_registry(all), &w);
    AUTO(registry_collection_done)
    struct registry_collection c = {.org = str_dup(tenant_org(t)),
                                    .region = str_dup(tenants_region(all)),
                                    .workspace = str_dup(COLLECTION_SYSTEM_WORKSPACE),
                                    .name = str_dup("integrations"),
                                    .description = str_dup("Lockset's own: integrations, sealed"),
                                    .created_by = str_dup("lockset")};
    if (is_err(r) && r.code != ERR_EXISTS) return refuse_registry(why, r, &c);
    r = collection_create(t, &c, why);
    if (r.code != ERR_EXISTS) return r;
    refusal_done(why); /* another request was faster */
    return OK;
}

struct result collection_integrations(struct tenant *t, bool make, struct registry_collection *ret,
                                      struct refusal *why) {
    struct result r = find_integrations(t, ret);
    if (r.code != ERR_NOT_FOUND || !make) return r;
    TRY(make_integrations(t, why));
    return find_integrations(t, ret);
}

/* ---- field mapping ---- */

struct result collection_mapping(struct tenant *t, const struct registry_collection *c, enum keylink_use use,
                                 int64_t deadline_ns, char **ret, struct refusal *why) {
    struct collection *own = tenant_collection(t, c);
    struct keylink_engine engine;
    while (true) {
        TRY(tenant_engine(t, use, deadline_ns, &engine, why));
        pthread_mutex_lock(&own->lock);
        bool known = own->epoch != 0;
        *ret = known ? str_dup(own->mapping) : NULL;
        pthread_mutex_unlock(&own->lock);
        if (known) return OK;
        struct result r = collection_attach(t, &engine, own);
        if (is_ok(r)) continue;
        if (r.code == ERR_PEER || clock_boottime_ns() > deadline_ns)
            return refuse(why, r.code, 503, "SERVICEUNAVAILABLE", RETRY_AFTER_S, "The collection can't be opened now.");
        TRY(tenant_broken(t, &engine, r.code == ERR_TIMEOUT, use, why));
    }
}

struct result collection_set_mapping(struct tenant *t, const struct registry_collection *c, const char *sql,
                                     struct refusal *why) {
    struct write_hidden row = {slice_make("\0" MAPPING_HIDDEN_ID, sizeof MAPPING_HIDDEN_ID), slice_str(sql)};
    TRY(hidden_write(t, c, KEYLINK_WRITE, &row, 1, why));
    struct collection *own = tenant_collection(t, c);
    pthread_mutex_lock(&own->lock);
    mem_free(own->mapping);
    own->mapping = sql && *sql ? str_dup(sql) : NULL;
    pthread_mutex_unlock(&own->lock);
    return OK;
}
