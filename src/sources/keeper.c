#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "lifecycle/collections.h"
#include "sources/sources_priv.h"

enum { TICK_MS = 100, RETRY_MS = 1000, MAX_WAIT_S = 30 };

struct name_set {
    char **items;
    size_t count;
};

struct keeper {
    struct tenant *tenant;
    char *org;
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t catalog;
    pthread_mutex_t lock;   /* everything below */
    pthread_cond_t changed; /* anything of it */
    bool stopping, is_loaded;
    uint64_t wanted, loaded; /* counts requests to look again, and the last one that was met */
    struct name_set detached_collections, detached_sources;
    struct run **runs;
    size_t run_count, ending; /* ending: cancelled, and not in `runs` any more, but not over yet */
    int64_t next_resume_ms;   /* when a suspended source is to go on; 0: none */
};

const char *keeper_org(const struct keeper *k) {
    return k->org;
}

static void name_set_done(struct name_set *s) {
    for (size_t i = 0; i < s->count; i++)
        mem_free(s->items[i]);
    mem_free(s->items);
    *s = (struct name_set){0};
}

static bool name_set_has(const struct name_set *s, const char *name) {
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->items[i], name) == 0) return true;
    return false;
}

static void name_set_add(struct name_set *s, const char *name) {
    if (name_set_has(s, name)) return;
    s->items = mem_resize(s->items, (s->count + 1) * sizeof(char *));
    s->items[s->count++] = str_dup(name);
}

static void name_set_remove(struct name_set *s, const char *name) {
    for (size_t i = 0; i < s->count; i++) {
        if (strcmp(s->items[i], name) != 0) continue;
        mem_free(s->items[i]);
        s->items[i] = s->items[--s->count];
        return;
    }
}

static const char *id_of(const struct run *r) {
    return json_string_value(json_object_get(run_source(r), "id"));
}

/* Waits for a change, at most so long. The lock is held. */
static void wait_ms(struct keeper *k, int64_t ms) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + ms * NS_PER_MS;
    until.tv_sec += ns / NS_PER_S;
    until.tv_nsec = ns % NS_PER_S;
    pthread_cond_timedwait(&k->changed, &k->lock, &until);
}

/* ---- ending runs ---- */

/* Takes out of the list what `ends` names, and ends it. The lock is held, and given up meanwhile. */
static void end_runs(struct keeper *k, bool (*ends)(const struct keeper *k, const struct run *r, const void *arg),
                     const void *arg) {
    AUTO_FREE struct run **going = mem_alloc_array(k->run_count + 1, sizeof(struct run *));
    size_t count = 0, kept = 0;
    for (size_t i = 0; i < k->run_count; i++) {
        if (ends(k, k->runs[i], arg))
            going[count++] = k->runs[i];
        else
            k->runs[kept++] = k->runs[i];
    }
    if (count == 0) return;
    k->run_count = kept;
    k->ending += count;
    for (size_t i = 0; i < count; i++)
        run_cancel(going[i]);
    pthread_mutex_unlock(&k->lock);
    for (size_t i = 0; i < count; i++)
        run_free(going[i]);
    pthread_mutex_lock(&k->lock);
    k->ending -= count;
    pthread_cond_broadcast(&k->changed);
}

static bool ends_all(const struct keeper *k, const struct run *r, const void *arg) {
    return true;
}

static bool is_detached(const struct keeper *k, const struct run *r) {
    return name_set_has(&k->detached_collections, run_collection(r)->id) ||
           name_set_has(&k->detached_sources, id_of(r));
}

static bool ends_detached(const struct keeper *k, const struct run *r, const void *arg) {
    return is_detached(k, r);
}

/* ---- what is stored ---- */

/* One source as it should run. */
struct wanted {
    struct registry_collection collection;
    json_t *source, *integration;
};

struct plan {
    struct wanted *items;
    size_t count;
    int64_t next_resume_ms;
};

static void plan_done(struct plan *p) {
    for (size_t i = 0; i < p->count; i++) {
        registry_collection_done(&p->items[i].collection);
        json_decref(p->items[i].source);
        json_decref(p->items[i].integration);
    }
    mem_free(p->items);
    *p = (struct plan){0};
}

static void plan_add(struct plan *p, const struct registry_collection *c, json_t *source, const json_t *integrations) {
    int64_t now = clock_unix_ms();
    if (config_is_suspended(source, now)) {
        int64_t resume = json_integer_value(json_object_get(source, "resume_at_ms"));
        if (resume && (!p->next_resume_ms || resume < p->next_resume_ms)) p->next_resume_ms = resume;
        return;
    }
    p->items = mem_resize(p->items, (p->count + 1) * sizeof *p->items);
    struct wanted *w = &p->items[p->count++];
    *w = (struct wanted){.source = json_incref(source)};
    w->integration = json_deep_copy(catalog_integration_of(source, integrations));
    run_copy_collection(c, &w->collection);
}

static bool is_usable(const struct registry_collection *c) {
    return !collection_is_system(c->workspace) &&
           (strcmp(c->status, "READY") == 0 || strcmp(c->status, "CREATED") == 0);
}

static struct result read_plan(struct keeper *k, struct plan *ret) {
    struct tenants *all = tenant_all(k->tenant);
    AUTO(registry_collections_done) struct registry_collections list = {0};
    REFUSAL_AUTO(why);
    JSON_AUTO(integrations);
    TRY(registry_list_collections(tenants_registry(all), k->org, tenants_region(all), NULL, &list));
    TRY(catalog_integrations(k->tenant, KEYLINK_WRITE, &integrations, &why));
    for (size_t i = 0; i < list.count; i++) {
        if (!is_usable(&list.items[i])) continue;
        AUTO(catalog_done) struct catalog found = {0};
        struct result r = catalog_read(k->tenant, &list.items[i], KEYLINK_WRITE, &found, &why);
        /* One damaged collection must not keep the others' sources from running. */
        if (r.code == ERR_INTERNAL || r.code == ERR_CORRUPT) {
            log_error("sources.unreadable", KV("collection", list.items[i].id), KV("why", err_detail()));
            continue;
        }
        TRY(r);
        size_t n;
        json_t *source;
        json_array_foreach(found.sources, n, source) plan_add(ret, &list.items[i], source, integrations);
    }
    return OK;
}

static const struct wanted *find_wanted(const struct plan *p, const struct run *r) {
    for (size_t i = 0; i < p->count; i++)
        if (run_is_of(r, p->items[i].source, p->items[i].integration)) return &p->items[i];
    return NULL;
}

static bool ends_unwanted(const struct keeper *k, const struct run *r, const void *arg) {
    return is_detached(k, r) || !find_wanted(arg, r);
}

static bool is_running(const struct keeper *k, const struct wanted *w) {
    for (size_t i = 0; i < k->run_count; i++)
        if (run_is_of(k->runs[i], w->source, w->integration)) return true;
    return false;
}

/* The lock is held. */
static void start_wanted(struct keeper *k, const struct plan *p) {
    for (size_t i = 0; i < p->count; i++) {
        const struct wanted *w = &p->items[i];
        const char *id = json_string_value(json_object_get(w->source, "id"));
        if (!id || is_running(k, w) || name_set_has(&k->detached_collections, w->collection.id) ||
            name_set_has(&k->detached_sources, id))
            continue;
        struct run_options o = {k->tenant, &w->collection, w->source, w->integration};
        struct run *r;
        if (is_err(run_new(&o, &r))) {
            log_error("source.not_started", KV("source", id), KV("why", err_detail()));
            continue;
        }
        k->runs = mem_resize(k->runs, (k->run_count + 1) * sizeof(struct run *));
        k->runs[k->run_count++] = r;
    }
}

/* ---- the thread ---- */

static bool is_available(struct keeper *k) {
    JSON_AUTO(state);
    state = keylink_state(tenants_keylink(tenant_all(k->tenant)), k->org);
    const char *name = json_string_value(json_object_get(state, "state"));
    return name && strcmp(name, "AVAILABLE") == 0;
}

/* The lock is held, and given up meanwhile. */
static void load(struct keeper *k) {
    uint64_t wanted = k->wanted;
    pthread_mutex_unlock(&k->lock);
    AUTO(plan_done) struct plan plan = {0};
    struct result r = read_plan(k, &plan);
    if (is_err(r)) log_warn("sources.not_loaded", KV("org", k->org), KV("why", err_detail()));
    pthread_mutex_lock(&k->lock);
    if (is_err(r)) {
        wait_ms(k, RETRY_MS);
        return;
    }
    end_runs(k, ends_unwanted, &plan);
    if (k->stopping || !is_available(k)) return;
    start_wanted(k, &plan);
    k->next_resume_ms = plan.next_resume_ms;
    k->loaded = wanted;
    k->is_loaded = true;
    pthread_cond_broadcast(&k->changed);
}

static void tick(struct keeper *k) {
    end_runs(k, ends_detached, NULL);
    if (!is_available(k)) {
        if (k->run_count) log_info("sources.detached", KV("org", k->org), KVI("count", k->run_count));
        end_runs(k, ends_all, NULL);
        k->is_loaded = false;
        wait_ms(k, TICK_MS);
        return;
    }
    if (k->next_resume_ms && clock_unix_ms() >= k->next_resume_ms) k->is_loaded = false;
    if (!k->is_loaded || k->loaded != k->wanted)
        load(k);
    else
        wait_ms(k, TICK_MS);
}

static void *keeper_main(void *arg) {
    struct keeper *k = arg;
    pthread_mutex_lock(&k->lock);
    while (!k->stopping)
        tick(k);
    end_runs(k, ends_all, NULL);
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

/* ---- from outside ---- */

struct result keeper_new(struct tenants *tenants, const char *org, struct keeper **ret) {
    struct keeper *k = mem_alloc(sizeof *k);
    k->tenant = tenants_get(tenants, org);
    k->org = str_dup(org);
    pthread_mutex_init(&k->lock, NULL);
    pthread_mutex_init(&k->catalog, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&k->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    k->has_thread = pthread_create(&k->thread, NULL, keeper_main, k) == 0;
    if (!k->has_thread) {
        keeper_free(k);
        FAIL(ERR_IO, "no thread for an organization's sources");
    }
    *ret = k;
    return OK;
}

struct keeper *keeper_free(struct keeper *k) {
    if (!k) return NULL;
    pthread_mutex_lock(&k->lock);
    k->stopping = true;
    for (size_t i = 0; i < k->run_count; i++)
        run_cancel(k->runs[i]);
    pthread_cond_broadcast(&k->changed);
    pthread_mutex_unlock(&k->lock);
    if (k->has_thread) pthread_join(k->thread, NULL);
    name_set_done(&k->detached_collections);
    name_set_done(&k->detached_sources);
    mem_free(k->runs);
    pthread_cond_destroy(&k->changed);
    pthread_mutex_destroy(&k->lock);
    pthread_mutex_destroy(&k->catalog);
    mem_free(k->org);
    mem_free(k);
    return NULL;
}

void keeper_reload(struct keeper *k) {
    pthread_mutex_lock(&k->lock);
    name_set_done(&k->detached_sources);
    k->wanted++;
    pthread_cond_broadcast(&k->changed);
    pthread_mutex_unlock(&k->lock);
}

/* Cancels what is to be detached, and waits until it is over. The lock is held. */
static void wait_detached(struct keeper *k) {
    while (true) {
        bool attached = k->ending > 0;
        for (size_t i = 0; i < k->run_count; i++) {
            if (!is_detached(k, k->runs[i])) continue;
            run_cancel(k->runs[i]);
            attached = true;
        }
        if (!attached) return;
        pthread_cond_broadcast(&k->changed);
        wait_ms(k, TICK_MS);
    }
}

void keeper_detach(struct keeper *k, const char *collection_id) {
    pthread_mutex_lock(&k->lock);
    name_set_add(&k->detached_collections, collection_id);
    wait_detached(k);
    pthread_mutex_unlock(&k->lock);
}

void keeper_detach_source(struct keeper *k, const char *id) {
    pthread_mutex_lock(&k->lock);
    name_set_add(&k->detached_sources, id);
    wait_detached(k);
    pthread_mutex_unlock(&k->lock);
}

void keeper_attach(struct keeper *k, const char *collection_id) {
    pthread_mutex_lock(&k->lock);
    if (collection_id)
        name_set_remove(&k->detached_collections, collection_id);
    else
        name_set_done(&k->detached_collections);
    k->wanted++;
    pthread_cond_broadcast(&k->changed);
    pthread_mutex_unlock(&k->lock);
}

bool keeper_status(struct keeper *k, const char *id, struct run_status *ret) {
    bool found = false;
    pthread_mutex_lock(&k->lock);
    for (size_t i = 0; i < k->run_count && !found; i++) {
        if (strcmp(id_of(k->runs[i]), id) != 0) continue;
        run_read_status(k->runs[i], ret);
        found = true;
    }
    pthread_mutex_unlock(&k->lock);
    return found;
}

void keeper_each(struct keeper *k, void (*each)(void *arg, struct run *r), void *arg) {
    pthread_mutex_lock(&k->lock);
    for (size_t i = 0; i < k->run_count; i++)
        each(arg, k->runs[i]);
    pthread_mutex_unlock(&k->lock);
}

void keeper_lock_catalog(struct keeper *k) {
    pthread_mutex_lock(&k->catalog);
}

void keeper_unlock_catalog(struct keeper *k) {
    pthread_mutex_unlock(&k->catalog);
}
