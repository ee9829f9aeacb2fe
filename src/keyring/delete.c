/* Deleting an organization for good: its processes end, then every wrapped copy of its data keys goes (beside the data
 * first, then in the registry), and with them every way to read what is left; then what is left goes as well. Killed in
 * between, either the organization still exists whole, or the next start removes the rest. */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "keyring/keyring.h"

enum { REMOVE_TRIES = 5, REMOVE_WAIT_MS = 200 };

struct delete_job {
    struct job job;
    struct keyring *k;
    struct api_call call;
    char *org, *actor;
    json_t *remains; /* paths that could not be removed */
    struct result done;
    char *why;
};

/* ---- On the registry's worker ---- */

static char *folder_of(const struct region *r, const char *org) {
    return str_format("%s/%s", r->store, org);
}

static struct result remove_keys(struct delete_job *d) {
    for (size_t i = 0; i < d->k->region_count; i++) {
        AUTO_FREE char *folder = folder_of(&d->k->regions[i], d->org);
        AUTO_FREE char *keys = str_format("%s/keys", folder);
        TRY(file_remove_tree(keys));
    }
    return OK;
}

/* A gateway that is just dying may still finish a file. */
static struct result remove_patiently(const char *folder) {
    struct result r = OK;
    for (int i = 0; i < REMOVE_TRIES; i++) {
        r = file_remove_tree(folder);
        if (is_ok(r) && access(folder, F_OK) != 0) return OK;
        clock_sleep_ms(REMOVE_WAIT_MS);
    }
    if (is_ok(r)) r = err_make(ERR_IO, "%s comes back", folder);
    return r;
}

static void delete_run(struct job *j) {
    struct delete_job *d = (struct delete_job *)j;
    d->done = remove_keys(d);
    if (is_ok(d->done)) d->done = registry_delete_org(d->k->registry, d->org, d->actor);
    if (is_err(d->done)) {
        d->why = str_dup(err_detail());
        return;
    }
    for (size_t i = 0; i < d->k->region_count; i++) {
        AUTO_FREE char *folder = folder_of(&d->k->regions[i], d->org);
        if (is_ok(remove_patiently(folder))) continue;
        log_error("org.remains", KV("org", d->org), KV("folder", folder), KV("reason", err_detail()));
        json_array_append_new(d->remains, json_string(folder));
    }
}

static void delete_done(struct job *j) {
    struct delete_job *d = (struct delete_job *)j;
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

/* ---- On the loop ---- */

/* Ends the unit and takes it off the list. Jobs on their way still point to it, so it stays in memory, for ever idle.
 */
static void retire(struct unit *u) {
    struct keyring *k = u->k;
    pair_drop_keys(&u->pair);
    pair_end(u, "NO_LEASE", "the organization is being deleted");
    member_kill(&u->gateway_ending);
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
    *d = (struct delete_job){.job = {.run = delete_run, .done = delete_done},
                             .k = k,
                             .call = call,
                             .org = str_dup(org),
                             .actor = str_dup(actor),
                             .remains = json_array()};
    pool_submit(k->registry_pool, &d->job, true);
}

/* ---- At the start ---- */

static void sweep_region(struct keyring *k, const struct region *r) {
    DIR *dir = opendir(r->store);
    if (!dir) return;
    for (struct dirent *e; (e = readdir(dir));) {
        bool is_retired = false;
        if (e->d_name[0] != 'o' || is_err(registry_is_retired(k->registry, e->d_name, &is_retired)) || !is_retired)
            continue;
        AUTO_FREE char *folder = folder_of(r, e->d_name);
        struct result removed = file_remove_tree(folder);
        log_warn("org.rest_removed", KV("folder", folder), KV("outcome", is_ok(removed) ? "ok" : err_detail()));
    }
    closedir(dir);
}

void delete_sweep(struct keyring *k) {
    for (size_t i = 0; i < k->region_count; i++)
        sweep_region(k, &k->regions[i]);
}
