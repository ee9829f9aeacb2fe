#include "lifecycle/tenant.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

enum { NEWS_MS = 1000, PING_MS = 2000, AGAIN_MS = 100, WATCH_MS = 2000, WATCH_STRIKES = 2 };

struct tenant {
    struct tenants *all;
    char *org;
    pthread_mutex_t attaching; /* held while an engine is found and attached */
    pthread_mutex_t lock;      /* everything below */
    uint64_t attached_epoch;
    struct collection **collections;
    size_t collection_count;
    unsigned calls;    /* under way: only then is the engine watched */
    unsigned strikes;  /* pings in a row that got no answer */
    size_t body_bytes; /* the api's */
};

struct tenants {
    struct tenants_options o;
    char *region;
    pthread_mutex_t lock;
    struct tenant **items;
    size_t count;
    pthread_t watch;
    bool has_watch, stopping;
};

const char *tenants_region(const struct tenants *t) {
    return t->region;
}

struct registry *tenants_registry(const struct tenants *t) {
    return t->o.registry;
}

struct keylink *tenants_keylink(const struct tenants *t) {
    return t->o.keylink;
}

const char *tenant_org(const struct tenant *t) {
    return t->org;
}

size_t *tenant_body_bytes(struct tenant *t) {
    return &t->body_bytes;
}

struct tenants *tenant_all(const struct tenant *t) {
    return t->all;
}

struct tenant *tenants_get(struct tenants *all, const char *org) {
    pthread_mutex_lock(&all->lock);
    struct tenant *found = NULL;
    for (size_t i = 0; i < all->count && !found; i++)
        if (strcmp(all->items[i]->org, org) == 0) found = all->items[i];
    if (!found) {
        found = mem_alloc(sizeof *found);
        found->all = all;
        found->org = str_dup(org);
        pthread_mutex_init(&found->attaching, NULL);
        pthread_mutex_init(&found->lock, NULL);
        all->items = mem_resize(all->items, (all->count + 1) * sizeof(struct tenant *));
        all->items[all->count++] = found;
    }
    pthread_mutex_unlock(&all->lock);
    return found;
}

/* ---- frozen engines ---- */

static void kill_engine(struct tenant *t, uint64_t epoch, const char *why) {
    log_warn("engine.kill", KV("org", t->org), KVI("epoch", epoch), KV("why", why));
    JSON_AUTO(request);
    JSON_AUTO(answer);
    request = json_pack("{s:s, s:s, s:s, s:I}", "op", "kill_engine", "org", t->org, "region", t->all->region, "epoch",
                        (json_int_t)epoch);
    /* If the keyring is gone too, the engine's own timer ends it. */
    result_ignore(keylink_call(t->all->o.keylink, request, PING_MS, &answer));
}

/* An engine that was stopped in its tracks answers no ping. */
static bool engine_answers(struct tenant *t, const struct keylink_engine *engine) {
    uint64_t epoch;
    return is_ok(engine_ping(t->all->o.engine, engine->socket_path, PING_MS, &epoch));
}

static void watch_one(struct tenant *t) {
    pthread_mutex_lock(&t->lock);
    bool busy = t->calls > 0 && t->attached_epoch;
    uint64_t epoch = t->attached_epoch;
    pthread_mutex_unlock(&t->lock);
    struct keylink_engine engine;
    if (!busy || !keylink_engine(t->all->o.keylink, t->org, &engine) || engine.epoch != epoch) {
        t->strikes = 0;
        return;
    }
    uint64_t answered;
    struct result r = engine_ping(t->all->o.engine, engine.socket_path, PING_MS, &answered);
    t->strikes = r.code == ERR_TIMEOUT ? t->strikes + 1 : 0;
    if (t->strikes < WATCH_STRIKES) return;
    t->strikes = 0;
    kill_engine(t, epoch, "it answers no ping");
}

static bool is_stopping(struct tenants *all) {
    pthread_mutex_lock(&all->lock);
    bool stopping = all->stopping;
    pthread_mutex_unlock(&all->lock);
    return stopping;
}

static void *watch_run(void *arg) {
    struct tenants *all = arg;
    for (int64_t tick = 0; !is_stopping(all); tick += AGAIN_MS) {
        clock_sleep_ms(AGAIN_MS);
        if (tick % WATCH_MS != 0) continue;
        for (size_t i = 0;; i++) {
            pthread_mutex_lock(&all->lock);
            struct tenant *t = i < all->count ? all->items[i] : NULL;
            pthread_mutex_unlock(&all->lock);
            if (!t) break;
            watch_one(t);
        }
    }
    return NULL;
}

struct result tenants_new(const struct tenants_options *options, struct tenants **ret) {
    struct tenants *all = mem_alloc(sizeof *all);
    all->o = *options;
    all->region = str_dup(options->region);
    pthread_mutex_init(&all->lock, NULL);
    all->has_watch = pthread_create(&all->watch, NULL, watch_run, all) == 0;
    if (!all->has_watch) {
        tenants_free(all);
        FAIL(ERR_IO, "no thread to watch engines");
    }
    *ret = all;
    return OK;
}

static void collection_free(struct collection *c) {
    schema_done(&c->schema);
    pthread_rwlock_destroy(&c->writes);
    pthread_mutex_destroy(&c->lock);
    mem_free(c->mapping);
    mem_free(c->workspace);
    mem_free(c->name);
    mem_free(c);
}

static void tenant_free(struct tenant *t) {
    for (size_t i = 0; i < t->collection_count; i++)
        collection_free(t->collections[i]);
    mem_free(t->collections);
    pthread_mutex_destroy(&t->attaching);
    pthread_mutex_destroy(&t->lock);
    mem_free(t->org);
    mem_free(t);
}

struct tenants *tenants_free(struct tenants *all) {
    if (!all) return NULL;
    pthread_mutex_lock(&all->lock);
    all->stopping = true;
    pthread_mutex_unlock(&all->lock);
    if (all->has_watch) pthread_join(all->watch, NULL);
    for (size_t i = 0; i < all->count; i++)
        tenant_free(all->items[i]);
    mem_free(all->items);
    pthread_mutex_destroy(&all->lock);
    mem_free(all->region);
    mem_free(all);
    return NULL;
}

/* ---- collections ---- */

static struct collection *collection_new(const struct registry_collection *from) {
    struct collection *c = mem_alloc(sizeof *c);
    snprintf(c->id, sizeof c->id, "%s", from->id);
    c->workspace = str_dup(from->workspace);
    c->name = str_dup(from->name);
    c->retention_secs = from->retention_secs;
    schema_init(&c->schema);
    pthread_mutex_init(&c->lock, NULL);
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    /* Patches wait for no endless stream of adds. */
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&c->writes, &attributes);
    pthread_rwlockattr_destroy(&attributes);
    return c;
}

struct collection *tenant_collection(struct tenant *t, const struct registry_collection *from) {
    pthread_mutex_lock(&t->lock);
    struct collection *found = NULL;
    for (size_t i = 0; i < t->collection_count && !found; i++)
        if (strcmp(t->collections[i]->id, from->id) == 0) found = t->collections[i];
    if (!found) {
        found = collection_new(from);
        t->collections = mem_resize(t->collections, (t->collection_count + 1) * sizeof(struct collection *));
        t->collections[t->collection_count++] = found;
    }
    pthread_mutex_unlock(&t->lock);
    return found;
}

/* ---- the engine ---- */

static bool is_attached(struct tenant *t, uint64_t epoch) {
    pthread_mutex_lock(&t->lock);
    bool attached = t->attached_epoch == epoch;
    pthread_mutex_unlock(&t->lock);
    return attached;
}

static void set_attached(struct tenant *t, uint64_t epoch) {
    pthread_mutex_lock(&t->lock);
    t->attached_epoch = epoch;
    pthread_mutex_unlock(&t->lock);
}

static unsigned left_ms(int64_t deadline_ns) {
    int64_t ms = (deadline_ns - clock_boottime_ns()) / NS_PER_MS;
    return ms < 1 ? 1 : ms > 600000 ? 600000 : (unsigned)ms;
}

/* Asks the keyring to start one, or to name the one that runs. */
static struct result activate(struct tenant *t, int64_t deadline_ns, struct keylink_engine *ret, json_t **ret_state) {
    JSON_AUTO(request);
    JSON_AUTO(answer);
    request = json_pack("{s:s, s:s, s:s}", "op", "activate", "org", t->org, "region", t->all->region);
    TRY(keylink_call(t->all->o.keylink, request, left_ms(deadline_ns), &answer));
    if (!json_is_true(json_object_get(answer, "ok"))) {
        *ret_state = json_incref(json_object_get(answer, "state"));
        const char *message = json_string_value(json_object_get(answer, "message"));
        FAIL(*ret_state ? ERR_NO_LEASE : ERR_UNREACHABLE, "%s", message ? message : "the engine can't be started");
    }
    const char *socket;
    int64_t epoch;
    TRY(json_get_str(answer, "engine_socket", &socket));
    TRY(json_get_int(answer, "epoch", 1, INT64_MAX, &epoch));
    CHECK(strlen(socket) < sizeof ret->socket_path, ERR_PEER, "the engine's socket has too long a path");
    snprintf(ret->socket_path, sizeof ret->socket_path, "%s", socket);
    ret->epoch = (uint64_t)epoch;
    return OK;
}

/* Finds an engine and attaches what isn't; `attaching` is held. UNREACHABLE: try again. */
static struct result find_engine(struct tenant *t, enum keylink_use use, int64_t deadline_ns,
                                 struct keylink_engine *ret, struct refusal *why) {
    struct keylink_engine engine;
    if (!keylink_engine(t->all->o.keylink, t->org, &engine)) {
        JSON_AUTO(state);
        struct result r = activate(t, deadline_ns, &engine, &state);
        if (state) TRY(keylink_judge(state, use, why));
        TRY(r);
    }
    if (!is_attached(t, engine.epoch)) {
        int64_t begun = clock_boottime_ns();
        struct result r = tenant_attach(t, &engine);
        if (is_err(r)) {
            log_warn("tenant.attach", KV("org", t->org), KVI("epoch", engine.epoch), KV("code", err_name(r.code)),
                     KV("why", err_detail()));
            keylink_forget_engine(t->all->o.keylink, t->org, engine.epoch);
        }
        TRY(r);
        set_attached(t, engine.epoch);
        keylink_note_engine(t->all->o.keylink, t->org, &engine);
        log_info("tenant.attached", KV("org", t->org), KVI("epoch", engine.epoch),
                 KVI("ms", (clock_boottime_ns() - begun) / NS_PER_MS));
    }
    *ret = engine;
    return OK;
}

static struct result no_engine(struct refusal *why, const char *detail) {
    return refuse(why, ERR_UNREACHABLE, 503, "NOT_READY", 1,
                  "The organization's engine is being started and isn't ready yet (%s). Nothing is lost; try again.",
                  detail);
}

struct result tenant_engine(struct tenant *t, enum keylink_use use, int64_t deadline_ns, struct keylink_engine *ret,
                            struct refusal *why) {
    while (true) {
        TRY(keylink_check(t->all->o.keylink, t->org, use, why));
        struct keylink_engine engine;
        if (keylink_engine(t->all->o.keylink, t->org, &engine) && is_attached(t, engine.epoch)) {
            *ret = engine;
            return OK;
        }
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += left_ms(deadline_ns) / 1000 + 1;
        if (pthread_mutex_timedlock(&t->attaching, &until) != 0) return no_engine(why, "others are waiting for it");
        struct result r = find_engine(t, use, deadline_ns, ret, why);
        pthread_mutex_unlock(&t->attaching);
        if (is_ok(r) || why->status) return r;
        if (clock_boottime_ns() > deadline_ns) {
            AUTO_FREE char *detail = str_dup(err_detail());
            return no_engine(why, detail);
        }
        clock_sleep_ms(AGAIN_MS);
    }
}

void tenants_each_attached(struct tenants *all,
                           void (*each)(void *arg, struct tenant *t, const struct keylink_engine *engine), void *arg) {
    for (size_t i = 0;; i++) {
        pthread_mutex_lock(&all->lock);
        struct tenant *t = i < all->count ? all->items[i] : NULL;
        pthread_mutex_unlock(&all->lock);
        if (!t) return;
        struct keylink_engine engine;
        REFUSAL_AUTO(why);
        if (is_ok(keylink_check(all->o.keylink, t->org, KEYLINK_WRITE, &why)) &&
            keylink_engine(all->o.keylink, t->org, &engine) && is_attached(t, engine.epoch))
            each(arg, t, &engine);
    }
}

static void count_call(struct tenant *t, int by) {
    pthread_mutex_lock(&t->lock);
    t->calls += (unsigned)by;
    pthread_mutex_unlock(&t->lock);
}

struct result tenant_call(struct tenant *t, const struct keylink_engine *engine, struct engine_call *call,
                          struct engine_reply *ret) {
    call->socket_path = engine->socket_path;
    AUTO(engine_reply_done) struct engine_reply reply = {0};
    count_call(t, 1);
    struct result r = engine_call(t->all->o.engine, call, &reply);
    count_call(t, -1);
    TRY(r);
    CHECK(reply.epoch == engine->epoch, ERR_UNREACHABLE, "the engine was replaced by a new one");
    CHECK(reply.exception_code != ENGINE_S3_ERROR, ERR_UNREACHABLE, "the engine can't reach its store");
    *ret = reply;
    reply = (struct engine_reply){0};
    return OK;
}

struct result tenant_broken(struct tenant *t, const struct keylink_engine *engine, bool timed_out, enum keylink_use use,
                            struct refusal *why) {
    if (timed_out) {
        if (engine_answers(t, engine)) return keylink_check(t->all->o.keylink, t->org, use, why);
        kill_engine(t, engine->epoch, "a statement timed out and it answers no ping");
    }
    keylink_wait_news(t->all->o.keylink, t->org, engine->epoch, NEWS_MS);
    keylink_forget_engine(t->all->o.keylink, t->org, engine->epoch);
    return keylink_check(t->all->o.keylink, t->org, use, why);
}
