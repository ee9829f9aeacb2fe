/* Questions to KMS about a unit's key, as jobs. */
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "keyring/keyring.h"
#include "keys/wire.h"

/* ---- Probes ---- */

struct probe_job {
    struct job job;
    struct unit *u;
    struct ring_place place;
    struct registry_wrapped_key branch;
    enum kms_operation operation;
    uint32_t generation;
    struct ring_probe answer;
};

static void probe_run(struct job *j) {
    struct probe_job *p = (struct probe_job *)j;
    ring_probe(&p->place, &p->branch, p->operation, &p->answer);
}

static void log_trouble(const struct unit *u, const char *what, const struct verdict *v) {
    if (v->kind == VERDICT_GOOD) return;
    log_write(v->kind == VERDICT_CORRUPT ? LOG_ERROR : LOG_WARN,
              v->kind == VERDICT_CORRUPT ? "key.corruption" : "key.trouble",
              (const struct kv[]){KV("org", u->org),
                                  KV("region", u->region->name),
                                  KV("operation", what),
                                  KV("verdict", verdict_name(v->kind)),
                                  KV("aws_error", v->aws_error),
                                  KV("message", v->text),
                                  {0}});
}

static bool is_confirming(const struct unit *u) {
    for (int i = 0; i < KMS_OPERATION_MAX; i++)
        if (u->lease.probes[i].is_confirming) return true;
    return false;
}

static void probe_done(struct job *j) {
    struct probe_job *p = (struct probe_job *)j;
    struct unit *u = p->u;
    const struct verdict *v = &p->answer.verdict;
    if (p->generation == u->lease.generation) {
        log_trouble(u, kms_operation_name(p->operation), v);
        /* One that was not confirmed is overwritten by the next. */
        if (v->kind == VERDICT_REFUSED && !is_confirming(u)) u->moments[MOMENT_REFUSED] = clock_boottime_ns();
        unit_note(u, v);
        if (p->answer.material_id[0]) snprintf(u->seen_material, sizeof u->seen_material, "%s", p->answer.material_id);
        unit_obey(u, lease_probed(&u->lease, p->generation, p->operation, v->kind, unit_is_destroyed(u),
                                  p->answer.sent_boottime_ns, clock_boottime_ns()));
    }
    registry_wrapped_key_done(&p->branch);
    mem_free(p);
}

void watch_probe(struct unit *u, enum kms_operation operation, bool is_urgent) {
    struct probe_job *p = mem_alloc(sizeof *p);
    *p = (struct probe_job){.job = {.run = probe_run, .done = probe_done},
                            .u = u,
                            .place = u->place,
                            .operation = operation,
                            .generation = u->lease.generation};
    branch_copy(&u->ring.branch, &p->branch);
    pool_submit(u->region->pool, &p->job, is_urgent);
}

void watch_store_refused(struct unit *u, unsigned reason) {
    static const char *const errors[WIRE_REFUSAL_MAX] = {[WIRE_DISABLED] = "DisabledException",
                                                         [WIRE_DENIED] = "AccessDeniedException",
                                                         [WIRE_KEY_NOT_FOUND] = "NotFoundException",
                                                         [WIRE_INVALID_STATE] = "KMSInvalidStateException"};
    if (!unit_has_lease(u)) return;
    struct lease_orders orders = lease_refused_to_store(&u->lease, clock_boottime_ns());
    log_warn("store.key_refused", KV("org", u->org), KV("region", u->region->name), KV("error", errors[reason]));
    audit_note(u->k, u->region->name, u->org, "lease",
               json_pack("{s:s, s:s, s:s}", "event", "store_refused", "key", u->kms_key_arn, "error", errors[reason]));
    unit_obey(u, orders);
    unit_poke(u);
}

/* ---- Preflights: of the machine, and for people ---- */

struct preflight_job {
    struct job job;
    struct unit *u;
    struct ring_place place;
    bool must_load;
    struct result loaded;
    char *why;
    struct ring ring; /* loaded, if must_load */
    size_t healed;
    struct registry_wrapped_key branch;
    uint32_t generation;
    struct recheck *recheck; /* NULL: the machine's */
    int64_t grant_ns;        /* how long the lease would be that a pass begins; 0: none would */
    struct ring_preflight answer;
};

/* That a lease is about to be granted is durable before it is. */
static void record_intent(struct preflight_job *p) {
    struct checks *c = &p->answer.checks;
    if (!c->passed || !p->grant_ns) return;
    int64_t left_ms = (p->answer.sent_boottime_ns + p->grant_ns - clock_boottime_ns()) / NS_PER_MS;
    char until[CLOCK_ISO_BYTES];
    clock_format_iso(clock_unix_ms() + left_ms, until);
    struct result recorded = ledger_append(
        p->place.ledger, "lease",
        json_pack("{s:s, s:s, s:s}", "event", "passed", "key", p->place.kms_key_arn, "may_last_until", until),
        LEDGER_SYNCED);
    if (is_ok(recorded)) return;
    c->passed = false;
    c->verdict = (struct verdict){.kind = VERDICT_SILENT};
    snprintf(c->verdict.text, sizeof c->verdict.text, "%.400s", err_detail());
}

static void preflight_run(struct job *j) {
    struct preflight_job *p = (struct preflight_job *)j;
    if (p->must_load) {
        p->loaded = ring_load(&p->place, &p->ring, &p->healed);
        if (is_err(p->loaded)) p->why = str_dup(err_detail());
    }
    const struct registry_wrapped_key *branch = p->must_load ? &p->ring.branch : &p->branch;
    bool is_quick = p->recheck == NULL;
    /* Without its branch key a unit can get no lease: the machine need not ask, unless for the reason. */
    if (is_quick && is_err(p->loaded) && p->loaded.code != ERR_NO_LEASE) return;
    ring_preflight(&p->place, branch->id ? branch : NULL, is_quick, &p->answer);
    record_intent(p);
}

/* What a store in S3 may fail with says nothing of the wrapped keys. */
static enum verdict_kind kind_of_load(enum err_code code) {
    if (code == ERR_NO_LEASE) return VERDICT_REFUSED;
    bool is_away = code == ERR_UNREACHABLE || code == ERR_TIMEOUT || code == ERR_FORBIDDEN || code == ERR_PEER ||
                   code == ERR_NOT_FOUND || code == ERR_INVALID;
    return is_away ? VERDICT_SILENT : VERDICT_CORRUPT;
}

static void take_ring(struct unit *u, struct preflight_job *p) {
    if (!p->must_load) return;
    if (is_err(p->loaded)) {
        p->answer.checks.passed = false;
        /* A store that was refused the key, where KMS itself says so as well: its words are the better ones. */
        if (p->loaded.code == ERR_NO_LEASE && p->answer.checks.verdict.kind == VERDICT_REFUSED) return;
        p->answer.checks.verdict = (struct verdict){.kind = kind_of_load(p->loaded.code)};
        snprintf(p->answer.checks.verdict.text, sizeof p->answer.checks.verdict.text, "%.400s", p->why);
        return;
    }
    if (p->healed) log_warn("keys.healed", KV("org", u->org), KV("region", u->region->name), KVI("copies", p->healed));
    if (u->is_loaded) return;
    u->ring = p->ring;
    p->ring = (struct ring){0};
    u->is_loaded = true;
}

static void preflight_done(struct job *j) {
    struct preflight_job *p = (struct preflight_job *)j;
    struct unit *u = p->u;
    take_ring(u, p);
    const struct checks *c = &p->answer.checks;
    if (p->recheck) {
        p->recheck->checks = checks_to_json(c);
        p->recheck->passed = c->passed;
        p->recheck->is_answered = true;
        if (c->verdict.kind == VERDICT_REFUSED && lease_is_granted(&u->lease))
            lease_recheck(&u->lease, clock_boottime_ns());
        unit_poke(u);
    } else if (p->generation == u->lease.generation) {
        enum verdict_kind kind = c->passed ? VERDICT_GOOD : c->verdict.kind;
        if (kind == VERDICT_CORRUPT) log_trouble(u, "preflight", &c->verdict);
        unit_note(u, &c->verdict);
        if (p->answer.material_id[0]) snprintf(u->seen_material, sizeof u->seen_material, "%s", p->answer.material_id);
        unit_obey(u, lease_preflighted(&u->lease, p->generation, kind, unit_is_destroyed(u), p->answer.sent_boottime_ns,
                                       clock_boottime_ns()));
    }
    ring_done(&p->ring);
    registry_wrapped_key_done(&p->branch);
    mem_free(p->why);
    mem_free(p);
}

static void submit_preflight(struct unit *u, struct recheck *r) {
    struct preflight_job *p = mem_alloc(sizeof *p);
    *p = (struct preflight_job){.job = {.run = preflight_run, .done = preflight_done},
                                .u = u,
                                .place = u->place,
                                .must_load = !u->is_loaded,
                                .generation = u->lease.generation,
                                .grant_ns = r || u->lease.phase == LEASE_PAUSED ? 0 : lease_grant_ns(&u->lease.times),
                                .recheck = r};
    if (u->is_loaded) branch_copy(&u->ring.branch, &p->branch);
    pool_submit(u->region->pool, &p->job, r != NULL);
}

void watch_preflight(struct unit *u) {
    submit_preflight(u, NULL);
}

void watch_recheck(struct unit *u, struct recheck *r) {
    submit_preflight(u, r);
}
