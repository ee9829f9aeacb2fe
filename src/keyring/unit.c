/* An organization in a region: its state, what is persisted and told about it, and the order in which access ends. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "keyring/keyring.h"
#include "keyring/reason.h"

enum {
    RECHECK_MS = 6000,
    PERSIST_RETRY_MS = 5000,
    IDLE_PUSH_SLACK_MS = 30000,
    ROTATE_RETRY_MS = 20000,
    NOTE_MIN_MS = 500,
    NOTE_MAX_MS = 60000
};

bool unit_has_lease(const struct unit *u) {
    return lease_is_granted(&u->lease) && u->lease.expiry_ns > clock_boottime_ns();
}

static void set_text(char **place, const char *text) {
    char *fresh = text && *text ? str_dup(text) : NULL;
    mem_free(*place);
    *place = fresh;
}

json_t *unit_state(const struct unit *u) {
    const struct lease_machine *m = &u->lease;
    const char *cause = lease_cause_name(m->cause);
    json_t *j = json_object();
    json_object_set_new(j, "org", json_string(u->org));
    json_object_set_new(j, "region", json_string(u->region->name));
    json_object_set_new(j, "kms_key_arn", json_string(u->kms_key_arn));
    json_object_set_new(j, "kind", json_string(registry_kind_name(u->kind)));
    json_object_set_new(j, "state", json_string(lease_phase_name(m->phase)));
    json_object_set_new(j, "cause", cause ? json_string(cause) : json_null());
    json_object_set_new(j, "reason", json_string(u->reason ? u->reason : ""));
    json_object_set_new(j, "aws_error", u->aws_error ? json_string(u->aws_error) : json_null());
    json_object_set_new(j, "since_ms", json_integer(u->since_ms));
    json_object_set_new(j, "last_success_ms", json_integer(u->last_success_ms));
    if (u->is_retired) json_object_set_new(j, "deleted", json_true());
    json_object_set_new(j, "unavailable_ms", json_integer(m->unavailable_ns / NS_PER_MS));
    json_object_set_new(j, "lease_expiry_boottime_ns", json_integer(m->expiry_ns));
    return j;
}

void unit_mark(struct unit *u, enum moment m) {
    if (u->moments[m] == 0) u->moments[m] = clock_boottime_ns();
}

json_t *unit_moments(const struct unit *u) {
    static const char *const names[MOMENT_MAX] = {
        [MOMENT_REFUSED] = "kms_refused",         [MOMENT_LEASE_ENDED] = "lease_ended",
        [MOMENT_KEYS_WIPED] = "keys_wiped",       [MOMENT_API_REFUSES] = "api_refuses",
        [MOMENT_KILLED] = "processes_killed",     [MOMENT_ENGINE_GONE] = "engine_gone",
        [MOMENT_GATEWAY_WIPED] = "gateway_wiped", [MOMENT_GATEWAY_GONE] = "gateway_gone",
        [MOMENT_GRANTED] = "lease_granted",       [MOMENT_READY] = "engine_ready",
    };
    json_t *j = json_pack("{s:I}", "now", (json_int_t)clock_boottime_ns());
    for (size_t i = 0; i < MOMENT_MAX; i++)
        json_object_set_new(j, names[i], u->moments[i] ? json_integer(u->moments[i]) : json_null());
    return j;
}

/* A lease ended at `at_ns`. */
static void restart_moments(struct unit *u, int64_t at_ns) {
    /* No probe was refused before the one that ended it: a gateway's store had been. */
    if (u->moments[MOMENT_REFUSED] <= u->moments[MOMENT_GRANTED] && u->lease.cause != LEASE_UNREACHABLE)
        u->moments[MOMENT_REFUSED] = at_ns;
    for (size_t i = MOMENT_LEASE_ENDED; i < MOMENT_MAX; i++)
        u->moments[i] = 0;
    u->moments[MOMENT_LEASE_ENDED] = at_ns;
}

bool unit_is_destroyed(const struct unit *u) {
    return u->deletion_ms > 0 && u->deletion_ms <= clock_unix_ms();
}

void unit_note(struct unit *u, const struct verdict *v) {
    if (v->knows_deletion) u->deletion_ms = v->has_deletion ? v->deletion_unix_ms : 0;
    if (v->kind == VERDICT_GOOD) {
        u->last_success_ms = clock_unix_ms();
        return;
    }
    /* While a refusal stands, silence does not hide its reason. */
    bool stands = lease_is_granted(&u->lease) ? !lease_is_trusted(&u->lease) : u->lease.cause != LEASE_UNREACHABLE;
    bool hides = stands && u->verdict.kind == VERDICT_REFUSED && v->kind != VERDICT_REFUSED;
    if (!hides) u->verdict = *v;
    u->verdict.deletion_unix_ms = u->deletion_ms;
}

/* ---- Persisting ---- */

struct persist_job {
    struct job job;
    struct unit *u;
    struct registry *registry;
    char *cause, *reason, *aws_error, *actor;
    struct registry_state_change change;
    struct result done;
    char *why;
};

static void persist_run(struct job *j) {
    struct persist_job *p = (struct persist_job *)j;
    p->done = registry_set_state(p->registry, &p->change);
    if (is_err(p->done)) p->why = str_dup(err_detail());
}

static void ending_push(struct unit *u);

static void persist_done(struct job *j) {
    struct persist_job *p = (struct persist_job *)j;
    struct unit *u = p->u;
    u->persist_in_flight = false;
    if (is_err(p->done)) {
        log_error("state.not_persisted", KV("org", u->org), KV("region", u->region->name), KV("reason", p->why));
        u->persist_retry_ns = clock_boottime_ns() + PERSIST_RETRY_MS * NS_PER_MS;
    }
    bool again = u->persist_again;
    u->persist_again = false;
    if (again)
        unit_persist(u, u->ending == ENDING_PERSIST);
    else if (u->ending == ENDING_PERSIST)
        ending_push(u);
    mem_free(p->cause);
    mem_free(p->reason);
    mem_free(p->aws_error);
    mem_free(p->actor);
    mem_free(p->why);
    mem_free(p);
    unit_poke(u);
}

void unit_persist(struct unit *u, bool is_urgent) {
    if (u->is_retired) return;
    if (u->persist_in_flight) {
        u->persist_again = true;
        return;
    }
    struct persist_job *p = mem_alloc(sizeof *p);
    p->job = (struct job){.run = persist_run, .done = persist_done};
    p->u = u;
    p->registry = u->k->registry;
    p->cause = str_dup(lease_cause_name(u->lease.cause));
    p->reason = str_dup(u->reason ? u->reason : "");
    p->aws_error = str_dup(u->aws_error);
    p->actor = u->actor ? TAKE(u->actor) : str_dup("keyring");
    p->change = (struct registry_state_change){
        .org = u->org,
        .region = u->region->name,
        .state = lease_phase_name(u->lease.phase),
        .cause = p->cause,
        .reason = p->reason,
        .aws_error = p->aws_error,
        .since_ms = u->since_ms,
        .last_success_ms = u->last_success_ms,
        .unavailable_ms = u->lease.unavailable_ns / NS_PER_MS,
        .deletion_ms = u->deletion_ms,
        .actor = p->actor,
    };
    u->noted_unavailable_ms = p->change.unavailable_ms;
    u->persist_in_flight = true;
    u->persist_retry_ns = 0;
    pool_submit(u->k->registry_pool, &p->job, is_urgent);
}

/* ---- Ending a lease: persist, tell the api, end the processes; each step bounded ---- */

static void ending_kill(struct unit *u) {
    if (u->ending == ENDING_ACKS) u->k->acks_awaited--;
    u->ending = ENDING_NONE;
    u->resume = u->pair.phase != PAIR_NONE;
    if (!u->resume && !u->purge.is_open) purge_begin(u, u->reason); /* nothing ran: that is told */
    unit_mark(u, MOMENT_KILLED);
    pair_end(u, "NO_LEASE", u->reason);
    audit_lease(u, "processes_ended");
    log_warn("lease.ended", KV("org", u->org), KV("region", u->region->name),
             KV("cause", lease_cause_name(u->lease.cause)), KV("aws_error", u->aws_error ? u->aws_error : ""));
}

static void ending_push(struct unit *u) {
    u->ending_seq = api_push_state(u->k, u);
    if (api_has_acked(u->k, u->ending_seq)) {
        unit_mark(u, MOMENT_API_REFUSES);
        ending_kill(u);
        return;
    }
    u->ending = ENDING_ACKS;
    u->k->acks_awaited++;
    u->ending_deadline_ns = clock_boottime_ns() + LIMITS_ACK_MS * NS_PER_MS;
    unit_poke(u);
}

void unit_acked(struct unit *u) {
    if (u->ending != ENDING_ACKS || !api_has_acked(u->k, u->ending_seq)) return;
    unit_mark(u, MOMENT_API_REFUSES);
    ending_kill(u);
}

static void ending_begin(struct unit *u) {
    unit_persist(u, true);
    u->ending = ENDING_PERSIST;
    u->ending_deadline_ns = clock_boottime_ns() + LIMITS_PERSIST_MS * NS_PER_MS;
    unit_poke(u);
}

static void ending_tick(struct unit *u, int64_t now_ns) {
    if (u->ending != ENDING_NONE && now_ns >= u->ending_deadline_ns) {
        if (u->ending == ENDING_PERSIST)
            ending_push(u); /* a registry that can't be written holds nothing up */
        else
            ending_kill(u);
    }
}

/* ---- Changes of state ---- */

static void describe_state(struct unit *u) {
    char text[REASON_BYTES];
    bool is_paused = u->lease.phase == LEASE_PAUSED, is_trouble = u->lease.phase == LEASE_UNAVAILABLE || is_paused;
    if (is_paused)
        reason_write_paused(u->org, u->kms_key_arn, u->region->name, &u->verdict, u->lease.unavailable_ns / NS_PER_MS,
                            u->lease.is_key_back, text);
    else
        reason_write(u->lease.phase, u->lease.cause, u->kms_key_arn, u->region->name, u->kind == REGISTRY_SERVICE,
                     is_trouble ? &u->verdict : NULL, text);
    set_text(&u->reason, text);
    set_text(&u->aws_error, is_trouble ? u->verdict.aws_error : NULL);
}

static void state_changed(struct unit *u) {
    u->since_ms = clock_unix_ms();
    describe_state(u);
    log_info("state", KV("org", u->org), KV("region", u->region->name), KV("state", lease_phase_name(u->lease.phase)),
             KV("cause", lease_cause_name(u->lease.cause)), KV("aws_error", u->aws_error ? u->aws_error : ""));
}

static void on_granted(struct unit *u) {
    /* A lease that comes back before the last one's processes were ended: they go first. */
    if (u->ending != ENDING_NONE) ending_kill(u);
    u->verdict = (struct verdict){0};
    unit_mark(u, MOMENT_GRANTED);
    if (u->lease.phase != LEASE_RECOVERING) { /* that began when it was asked for */
        state_changed(u);
        unit_persist(u, false);
    }
    u->pushed_expiry_ns = u->lease.expiry_ns;
    api_push_state(u->k, u);
    if (u->resume) {
        u->resume = false;
        pair_begin(u);
    }
}

static void on_extended(struct unit *u) {
    pair_arm(u);
    /* Idle ones are told rarely: nobody is waiting for their expiry. */
    int64_t slack = u->pair.phase == PAIR_NONE ? IDLE_PUSH_SLACK_MS * NS_PER_MS : 0;
    if (u->lease.expiry_ns - u->pushed_expiry_ns <= slack) return;
    u->pushed_expiry_ns = u->lease.expiry_ns;
    api_push_state(u->k, u);
}

static void on_changed(struct unit *u) {
    state_changed(u);
    unit_persist(u, false);
    api_push_state(u->k, u);
    /* After a restart of the keyring, processes of the time before may still run. Silence leaves them to their timers,
     * which a lease of that time armed; a refusal does not. */
    if (u->lease.cause == LEASE_UNREACHABLE) return;
    if (is_err(supervisor_ask(u->k, "end", u, 0))) log_warn("supervisor.silent", KV("reason", err_detail()));
}

/* The cap began to hold, or no longer does: said once each. */
static void tell_capped(struct unit *u, bool is_capped) {
    if (u->cost.is_capped == is_capped) return;
    u->cost.is_capped = is_capped;
    if (is_capped) u->cost.capped++;
    if (is_capped && u->verdict.kind != VERDICT_REFUSED) {
        u->verdict = (struct verdict){.kind = VERDICT_SILENT};
        snprintf(u->verdict.text, sizeof u->verdict.text,
                 "KMS is asked less often than it should be, because key.max_calls_per_hour is reached");
    }
    const char *what = is_capped ? "capped" : "uncapped";
    log_warn("key.calls", KV("org", u->org), KV("region", u->region->name), KV("calls", what),
             KVI("max_calls_per_hour", u->k->max_calls_per_hour));
    audit_note(u->k, u->region->name, u->org, "cost",
               json_pack("{s:s, s:I, s:I}", "event", what, "max_calls_per_hour", (json_int_t)u->k->max_calls_per_hour,
                         "calls", (json_int_t)atomic_load(&u->cost.all)));
}

/* Asks, unless the cap stands in the way: then later, while the lease runs on to its end. What confirms a refusal is
 * always asked: it can only end access. */
static void carry_out(struct unit *u, struct lease_orders orders) {
    if (!orders.probes && !orders.preflight) return;
    int64_t now_ns = clock_boottime_ns(), wait_ns = cost_wait_ns(&u->cost, now_ns);
    /* Not before there is room for a few: else it would be said at each call. */
    if (wait_ns > 0 || u->cost.tokens >= u->cost.most / 2) tell_capped(u, wait_ns > 0);
    for (int i = 0; i < KMS_OPERATION_MAX; i++) {
        if (!(orders.probes & (1U << i))) continue;
        bool confirms = u->lease.probes[i].is_confirming;
        if (wait_ns > 0 && !confirms)
            lease_postpone_probe(&u->lease, (enum kms_operation)i, now_ns + wait_ns);
        else
            watch_probe(u, (enum kms_operation)i, confirms || u->pair.phase != PAIR_NONE);
    }
    if (orders.preflight && wait_ns > 0)
        lease_postpone_preflight(&u->lease, now_ns + wait_ns);
    else if (orders.preflight)
        watch_preflight(u);
}

void unit_obey(struct unit *u, struct lease_orders orders) {
    if (u->is_retired) return;
    switch (orders.event) {
    case LEASE_SAME:
        break;
    case LEASE_EXTENDED:
        on_extended(u);
        break;
    case LEASE_GRANTED:
        on_granted(u);
        break;
    case LEASE_ENDED:
        restart_moments(u, clock_boottime_ns());
        purge_lease_ended(u, pair_drop_keys(&u->pair));
        unit_mark(u, MOMENT_KEYS_WIPED);
        state_changed(u);
        ending_begin(u);
        break;
    case LEASE_CHANGED:
        on_changed(u);
        break;
    case LEASE_NOTED:
        describe_state(u);
        log_info("key.noted", KV("org", u->org), KV("region", u->region->name), KV("reason", u->reason));
        unit_persist(u, false);
        api_push_state(u->k, u);
        break;
    case LEASE_RESUMED:
        state_changed(u);
        unit_persist(u, true);
        api_push_state(u->k, u);
        break;
    }
    static const char *const events[] = {
        [LEASE_GRANTED] = "granted", [LEASE_ENDED] = "ended",     [LEASE_CHANGED] = "changed",
        [LEASE_NOTED] = "noted",     [LEASE_RESUMED] = "resumed",
    };
    if (events[orders.event]) audit_lease(u, events[orders.event]);
    u->region->meter->granted += orders.event == LEASE_GRANTED;
    u->region->meter->ended += orders.event == LEASE_ENDED;
    u->region->meter->recovered += orders.event == LEASE_RESUMED;
    carry_out(u, orders);
    unit_poke(u);
}

void unit_grant(struct unit *u, int64_t sent_ns) {
    u->last_success_ms = clock_unix_ms();
    struct lease_orders orders =
        lease_preflighted(&u->lease, u->lease.generation, VERDICT_GOOD, false, sent_ns, clock_boottime_ns());
    state_changed(u);
    audit_lease(u, "granted");
    u->region->meter->granted += orders.event == LEASE_GRANTED;
    u->pushed_expiry_ns = u->lease.expiry_ns;
    api_push_state(u->k, u);
    /* The registry says AVAILABLE already; and if the preflight took too long, the watch asks again. */
    if (orders.event != LEASE_GRANTED) unit_persist(u, false);
    unit_poke(u);
}

/* ---- Re-check on demand ---- */

static struct recheck *add_recheck(struct unit *u, struct api_call call) {
    struct recheck *r = mem_alloc(sizeof *r);
    int64_t bound_ms = 2 * u->k->config->key_kms_timeout_ms;
    r->call = call;
    r->deadline_ns = clock_boottime_ns() + (bound_ms > RECHECK_MS ? bound_ms : RECHECK_MS) * NS_PER_MS;
    r->next = u->rechecks;
    u->rechecks = r;
    return r;
}

void unit_recheck(struct unit *u, struct api_call call) {
    struct recheck *r = add_recheck(u, call);
    lease_recheck(&u->lease, clock_boottime_ns());
    watch_recheck(u, r);
    unit_poke(u);
}

/* ---- Recovery ---- */

struct result unit_recover(struct unit *u, struct api_call call, const char *actor) {
    enum lease_phase phase = u->lease.phase;
    CHECK(phase == LEASE_PAUSED || phase == LEASE_RECOVERING, ERR_CONFLICT,
          "nothing is paused here: the state is %s (%.600s)", lease_phase_name(phase), u->reason);
    if (phase == LEASE_PAUSED) {
        set_text(&u->actor, actor);
        unit_obey(u, lease_recover(&u->lease, clock_boottime_ns()));
    }
    struct recheck *r = add_recheck(u, call);
    r->is_recovery = true;
    watch_recheck(u, r);
    unit_poke(u);
    return OK;
}

struct result unit_recovered(struct unit *u, const char *actor) {
    CHECK(u->lease.phase == LEASE_RECOVERING && unit_has_lease(u), ERR_CONFLICT,
          "no recovery is under way here: the state is %s (%.600s)", lease_phase_name(u->lease.phase), u->reason);
    set_text(&u->actor, actor);
    unit_obey(u, lease_recovered(&u->lease, clock_boottime_ns()));
    return OK;
}

/* Does the state fit what the checks showed, or can no more be expected? */
static bool is_settled(const struct unit *u, const struct recheck *r, int64_t now_ns) {
    if (!r->is_answered) return false; /* bounded by KMS's own time-outs */
    if (now_ns >= r->deadline_ns) return true;
    bool is_available = lease_is_granted(&u->lease);
    if (r->is_recovery && u->lease.phase == LEASE_RECOVERING) return is_available;
    if (u->lease.phase == LEASE_PAUSED) return true;
    return r->passed ? is_available : !is_available || !lease_is_asking(&u->lease);
}

static void answer_recheck(struct unit *u, struct recheck *r) {
    json_t *checks = r->checks ? r->checks : json_array();
    if (r->is_recovery && !unit_has_lease(u)) {
        AUTO_FREE char *message = str_format("recovery is not possible yet: %s", u->reason);
        api_fail(u->k, r->call, "PREFLIGHT", message, checks, unit_state(u));
        return;
    }
    json_t *fields = json_object();
    json_object_set_new(fields, "state", unit_state(u));
    json_object_set_new(fields, "checks", checks);
    json_object_set_new(fields, "passed", json_boolean(r->passed));
    api_reply(u->k, r->call, fields);
}

static int64_t rechecks_tick(struct unit *u, int64_t now_ns) {
    int64_t wake = INT64_MAX;
    struct recheck **place = &u->rechecks;
    while (*place) {
        struct recheck *r = *place;
        if (!is_settled(u, r, now_ns)) {
            if (r->is_answered && r->deadline_ns < wake) wake = r->deadline_ns;
            place = &r->next;
            continue;
        }
        *place = r->next;
        answer_recheck(u, r);
        mem_free(r);
    }
    return wake;
}

void unit_retire(struct unit *u) {
    if (u->ending == ENDING_ACKS) u->k->acks_awaited--;
    u->ending = ENDING_NONE;
    u->resume = false;
    /* Only the texts and the lease: what is on its way finds a unit that does nothing any more. */
    u->lease.phase = LEASE_UNAVAILABLE;
    u->lease.cause = LEASE_DESTROYED;
    u->lease.expiry_ns = 0;
    u->lease.generation++;
    set_text(&u->reason, "the organization was deleted");
    u->since_ms = clock_unix_ms();
    u->is_retired = true;
    api_push_state(u->k, u);
    while (u->rechecks) {
        struct recheck *r = u->rechecks;
        u->rechecks = r->next;
        api_fail(u->k, r->call, "NOT_FOUND", u->reason, r->checks, NULL);
        if (r->is_answered) mem_free(r); /* else its job still writes to it */
    }
}

/* ---- The clock ---- */

void unit_poke(struct unit *u) {
    u->wake_ns = 0;
    u->k->wake_ns = 0;
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* The pause's clock must survive a restart. Written beside the state, without an event. */
struct unavailable_job {
    struct job job;
    struct registry *registry;
    const char *org, *region;
    int64_t ms;
};

static void unavailable_run(struct job *j) {
    struct unavailable_job *n = (struct unavailable_job *)j;
    if (is_err(registry_note_unavailable(n->registry, n->org, n->region, n->ms)))
        log_warn("unavailable.not_persisted", KV("org", n->org), KV("reason", err_detail()));
}

static void unavailable_done(struct job *j) {
    mem_free(j);
}

static void note_unavailable(struct unit *u) {
    int64_t ms = u->lease.unavailable_ns / NS_PER_MS, every = u->k->config->key_pause_after_ms / 20;
    if (every < NOTE_MIN_MS) every = NOTE_MIN_MS;
    if (every > NOTE_MAX_MS) every = NOTE_MAX_MS;
    if (u->lease.phase != LEASE_UNAVAILABLE || ms - u->noted_unavailable_ms < every || u->persist_in_flight) return;
    u->noted_unavailable_ms = ms;
    struct unavailable_job *n = mem_alloc(sizeof *n);
    *n = (struct unavailable_job){.job = {.run = unavailable_run, .done = unavailable_done},
                                  .registry = u->k->registry,
                                  .org = u->org,
                                  .region = u->region->name,
                                  .ms = ms};
    pool_submit(u->k->registry_pool, &n->job, false);
}

void unit_tick(struct unit *u, int64_t now_ns) {
    u->wake_ns = INT64_MAX;
    ending_tick(u, now_ns);
    struct lease_orders orders = lease_tick(&u->lease, now_ns);
    if (orders.event != LEASE_SAME || orders.probes || orders.preflight) unit_obey(u, orders);
    if (u->persist_retry_ns && now_ns >= u->persist_retry_ns) unit_persist(u, false);
    note_unavailable(u);
    bool may_rotate = u->pair.phase == PAIR_RUNNING && !u->is_rotating && now_ns >= u->rotate_retry_ns;
    if (may_rotate && unit_has_lease(u) && branch_is_old(u)) {
        u->rotate_retry_ns = now_ns + ROTATE_RETRY_MS * NS_PER_MS;
        branch_rotate(u);
    }
    int64_t wake = least(lease_wake_ns(&u->lease), pair_tick(u, now_ns));
    wake = least(wake, rechecks_tick(u, now_ns));
    if (u->ending != ENDING_NONE) wake = least(wake, u->ending_deadline_ns);
    wake = least(wake, purge_tick(u, now_ns));
    if (u->persist_retry_ns) wake = least(wake, u->persist_retry_ns);
    u->wake_ns = least(u->wake_ns, wake);
}
