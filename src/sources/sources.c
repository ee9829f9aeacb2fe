#include "sources/sources.h"

#include <string.h>

#include "base/log.h"
#include "lifecycle/collections.h"
#include "sources/sources_priv.h"

struct sources {
    struct tenants *tenants;
    pthread_mutex_t lock;
    struct keeper **keepers;
    size_t count;
};

struct tenants *sources_tenants(const struct sources *s) {
    return s->tenants;
}

struct result sources_new(struct tenants *tenants, struct sources **ret) {
    struct sources *s = mem_alloc(sizeof *s);
    s->tenants = tenants;
    pthread_mutex_init(&s->lock, NULL);
    *ret = s;
    return OK;
}

struct sources *sources_free(struct sources *s) {
    if (!s) return NULL;
    for (size_t i = 0; i < s->count; i++)
        keeper_free(s->keepers[i]);
    mem_free(s->keepers);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
    return NULL;
}

/* NULL: there is none. */
static struct keeper *find_keeper(struct sources *s, const char *org, bool make) {
    pthread_mutex_lock(&s->lock);
    struct keeper *found = NULL;
    for (size_t i = 0; i < s->count && !found; i++)
        if (strcmp(keeper_org(s->keepers[i]), org) == 0) found = s->keepers[i];
    if (!found && make) {
        if (is_ok(keeper_new(s->tenants, org, &found))) {
            s->keepers = mem_resize(s->keepers, (s->count + 1) * sizeof(struct keeper *));
            s->keepers[s->count++] = found;
        } else {
            log_error("sources.no_keeper", KV("org", org), KV("why", err_detail()));
        }
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

struct keeper *sources_keeper(struct sources *s, const char *org) {
    return find_keeper(s, org, true);
}

struct result sources_start_all(struct sources *s) {
    AUTO(registry_orgs_done) struct registry_orgs orgs = {0};
    TRY(registry_list_orgs(tenants_registry(s->tenants), &orgs));
    for (size_t i = 0; i < orgs.count; i++) {
        AUTO(registry_collection_done) struct registry_collection c = {0};
        REFUSAL_AUTO(why);
        struct result r = collection_integrations(tenants_get(s->tenants, orgs.items[i].id), false, &c, &why);
        if (r.code == ERR_NOT_FOUND) continue;
        TRY(r);
        struct keeper *k = find_keeper(s, orgs.items[i].id, true);
        if (k) keeper_attach(k, NULL);
    }
    return OK;
}

void sources_start(struct sources *s, const char *org, const char *collection_id) {
    struct keeper *k = find_keeper(s, org, true);
    if (k) keeper_attach(k, collection_id);
}

void sources_stop(struct sources *s, const char *org, const char *collection_id) {
    struct keeper *k = find_keeper(s, org, true);
    if (k) keeper_detach(k, collection_id);
}

/* ---- metrics ---- */

struct metric {
    const char *name, *type, *help;
    void (*put)(const struct run_status *s, struct buf *out);
};

static void put_number(struct buf *out, int64_t n) {
    buf_printf(out, "%lld", (long long)n);
}
static void put_records(const struct run_status *s, struct buf *out) {
    put_number(out, s->kept.items);
}
static void put_bytes(const struct run_status *s, struct buf *out) {
    put_number(out, s->kept.bytes);
}
static void put_errors(const struct run_status *s, struct buf *out) {
    put_number(out, s->kept.errors);
}
static void put_lag(const struct run_status *s, struct buf *out) {
    put_number(out, s->progress.lag);
}
static void put_stored(const struct run_status *s, struct buf *out) {
    buf_printf(out, "%lld.%03d", (long long)(s->kept.stored_at_ms / 1000), (int)(s->kept.stored_at_ms % 1000));
}
static void put_failing(const struct run_status *s, struct buf *out) {
    put_number(out, s->phase == RUN_FAILING);
}

static const struct metric metrics[] = {
    {"records_total", "counter", "Records of a source that were stored, deletions too.", put_records},
    {"bytes_total", "counter", "Bytes of these records.", put_bytes},
    {"errors_total", "counter", "Records of a source that are no documents.", put_errors},
    {"lag", "gauge", "What the source is ahead, in its own unit; -1: not known.", put_lag},
    {"last_stored_timestamp", "gauge", "When something of the source was last stored, in seconds since 1970; 0: never.",
     put_stored},
    {"failing", "gauge", "Is the source failing?", put_failing},
};

struct put {
    const struct metric *metric;
    struct buf *out;
};

static void put_one(void *arg, struct run *r) {
    struct put *p = arg;
    AUTO(run_status_done) struct run_status status = {0};
    run_read_status(r, &status);
    const struct registry_collection *c = run_collection(r);
    /* Ids, no names: nobody is asked who reads the metrics. */
    buf_printf(p->out, "lockset_source_%s{org=\"%s\",collection=\"%s\",source=\"%s\",kind=\"%s\"} ", p->metric->name,
               c->org, c->id, json_string_value(json_object_get(run_source(r), "id")),
               json_string_value(json_object_get(run_source(r), "kind")));
    p->metric->put(&status, p->out);
    buf_append_byte(p->out, '\n');
}

void sources_metrics(struct sources *s, struct buf *out) {
    for (size_t m = 0; m < ARRAY_LEN(metrics); m++) {
        struct put p = {&metrics[m], out};
        buf_printf(out, "# HELP lockset_source_%s %s\n# TYPE lockset_source_%s %s\n", p.metric->name, p.metric->help,
                   p.metric->name, p.metric->type);
        pthread_mutex_lock(&s->lock);
        for (size_t i = 0; i < s->count; i++)
            keeper_each(s->keepers[i], put_one, &p);
        pthread_mutex_unlock(&s->lock);
    }
}
