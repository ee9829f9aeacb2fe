/* Deleting an organization for good: its processes end, then every wrapped copy of its data keys goes (beside the data
 * first, then in the registry), and with them every way to read what is left; then what is left goes as well. Killed in
 * between, either the organization still exists whole, or the next start removes the rest. */
#include <string.h>

#include "base/log.h"
#include "keyring/keyring.h"

struct delete_job {
    struct job job;
    struct keyring *k;
    struct api_call call;
    char *org, *actor;
    json_t *remains; /* what could not be removed */
    struct result done;
    char *why;
};

/* ---- On workers ---- */

static void end_step(struct delete_job *d, struct result r) {
    d->done = r;
    if (is_err(r)) d->why = str_dup(err_detail());
}

/* With the keys every way to read what is left goes. */
static void keys_run(struct job *j) {
    struct delete_job *d = (struct delete_job *)j;
    for (size_t i = 0; i < d->k->region_count && is_ok(d->done); i++) {
        struct shelf *shelf = d->k->regions[i].shelf;
        end_step(d, shelf->kind->remove_keys(shelf, d->org));
    }
}

static void registry_run(struct job *j) {
    struct delete_job *d = (struct delete_job *)j;
    end_step(d, registry_delete_org(d->k->registry, d->org, d->actor));
}

static void rest_run(struct job *j) {
    struct delete_job *d = (struct delete_job *)j;
    for (size_t i = 0; i < d->k->region_count; i++) {
        struct shelf *shelf = d->k->regions[i].shelf;
        shelf->kind->remove_rest(shelf, d->org, d->remains);
    }
}

/* ---- From one to the next, on the loop ---- */

static void answer(struct delete_job *d) {
    if (is_err(d->done)) {
        log_error("org.not_deleted", KV("org", d->org), KV("reason", d->why));
        api_fail(d->k, d->call, err_name(d->done.code), d->why, NULL, NULL);
    } else {
        log_info("org.deleted", KV("org", d->org), KV("actor", d->actor));
        json_t *fields = json_object();
        json_object_set(fields, "remains", d->remains);
        api_reply(d->k, d->call, fields);
    }
    json_decref(d->remains);
    mem_free(d->org);
    mem_free(d->actor);
    mem_free(d->why);
    mem_free(d);
}

static void step_done(struct job *j);

/* A store may take its time: not on the registry's only worker, which the ends of leases wait for. */
static void submit(struct delete_job *d, void (*run)(struct job *j)) {
    struct keyring *k = d->k;
    d->job = (struct job){.run = run, .done = step_done};
    bool is_store = run != registry_run && k->region_count > 0;
    pool_submit(is_store ? k->regions[0].pool : k->registry_pool, &d->job, true);
}

static void step_done(struct job *j) {
    struct delete_job *d = (struct delete_job *)j;
    if (is_err(d->done) || j->run == rest_run) {
        answer(d);
    } else {
        submit(d, j->run == keys_run ? registry_run : rest_run);
    }
}

/* ---- On the loop ---- */

/* Ends the unit and takes it off the list. Jobs on their way still point to it, so it stays in memory, for ever idle.
 */
static void retire(struct unit *u) {
    struct keyring *k = u->k;
    pair_drop_keys(&u->pair);
    pair_end(u, "NO_LEASE", "the organization is being deleted");
    purge_kill(u);
    unit_retire(u);
    for (size_t i = 0; i < k->unit_count; i++) {
        if (k->units[i] != u) continue;
        k->units[i] = k->units[--k->unit_count];
        return;
    }
}

/* Nothing waits for it: a ledger that can't be written holds no ending up. The ledgers stay when the data goes. */
static void record(struct keyring *k, const char *region, const char *org, const char *action, const char *actor) {
    audit_note(k, region, org, "operator", json_pack("{s:s, s:s}", "action", action, "actor", actor));
}

void delete_org(struct keyring *k, struct api_call call, const char *org, const char *actor) {
    bool found = false;
    for (size_t i = 0; i < k->unit_count;) {
        if (strcmp(k->units[i]->org, org) != 0) {
            i++;
            continue;
        }
        struct unit *u = k->units[i];
        retire(u);
        record(k, u->region->name, u->org, "delete_org", actor);
        found = true;
    }
    /* Without units it may be one whose regions are no longer served, or a deletion that failed half-way. */
    if (!found) {
        log_warn("org.without_regions", KV("org", org));
        if (k->region_count > 0) record(k, k->regions[0].name, org, "delete_org", actor);
    }
    struct delete_job *d = mem_alloc(sizeof *d);
    *d = (struct delete_job){
        .k = k, .call = call, .org = str_dup(org), .actor = str_dup(actor), .remains = json_array()};
    submit(d, keys_run);
}

/* ---- At the start ---- */

struct sweep {
    struct keyring *k;
    struct shelf *shelf;
};

static struct result sweep_org(void *arg, const char *org) {
    struct sweep *s = arg;
    bool is_retired = false;
    if (is_err(registry_is_retired(s->k->registry, org, &is_retired)) || !is_retired) return OK;
    JSON_AUTO(remains);
    remains = json_array();
    struct result keys = s->shelf->kind->remove_keys(s->shelf, org);
    if (is_ok(keys)) s->shelf->kind->remove_rest(s->shelf, org, remains);
    log_warn("org.rest_removed", KV("org", org), KV("store", s->shelf->place),
             KV("outcome", is_ok(keys) ? "ok" : err_detail()), KVI("remains", (int64_t)json_array_size(remains)));
    return OK;
}

void delete_sweep(struct keyring *k) {
    for (size_t i = 0; i < k->region_count; i++) {
        struct sweep s = {.k = k, .shelf = k->regions[i].shelf};
        if (is_err(s.shelf->kind->list_orgs(s.shelf, sweep_org, &s)))
            log_warn("store.not_swept", KV("store", s.shelf->place), KV("reason", err_detail()));
    }
}
