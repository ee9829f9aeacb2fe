/* How a pair starts: a new epoch (durable first), the keys unwrapped, and the processes, side by side. */
#include "base/clock.h"
#include "base/log.h"
#include "keyring/keyring.h"
#include "keys/wire.h"

enum { START_MS = 60000, SEND_MS = 50 };

/* ---- The epoch ---- */

struct epoch_job {
    struct job job;
    struct unit *u;
    struct registry *registry;
    const char *org, *region;
    uint32_t serial;
    bool engine_only;
    int64_t epoch;
    struct result done;
    char *why;
};

static void epoch_run(struct job *j) {
    struct epoch_job *e = (struct epoch_job *)j;
    e->done = registry_next_epoch(e->registry, e->org, e->region, &e->epoch);
    if (is_err(e->done)) e->why = str_dup(err_detail());
}

static void epoch_done(struct job *j) {
    struct epoch_job *e = (struct epoch_job *)j;
    struct unit *u = e->u;
    if (e->serial == u->pair.serial && u->pair.phase == PAIR_STARTING) {
        if (is_err(e->done)) {
            log_error("epoch.not_given", KV("org", u->org), KV("reason", e->why));
            pair_end(u, "UNREACHABLE", "the registry can't be written, so that no engine can start");
        } else {
            u->pair.epoch = e->epoch;
            struct result asked = supervisor_ask(u->k, e->engine_only ? "restart_engine" : "start", u, e->epoch);
            if (is_err(asked)) pair_end(u, "UNREACHABLE", "the supervisor does not listen");
        }
    }
    mem_free(e->why);
    mem_free(e);
}

static void ask_epoch(struct unit *u, bool engine_only) {
    struct epoch_job *e = mem_alloc(sizeof *e);
    *e = (struct epoch_job){.job = {.run = epoch_run, .done = epoch_done},
                            .u = u,
                            .registry = u->k->registry,
                            .org = u->org,
                            .region = u->region->name,
                            .serial = u->pair.serial,
                            .engine_only = engine_only};
    pool_submit(u->k->registry_pool, &e->job, true);
}

/* ---- The keys ---- */

struct keys_job {
    struct job job;
    struct unit *u;
    struct ring_place place;
    uint32_t serial, generation;
    bool wants_new; /* a new branch first, because the active one is old */
    struct registry_wrapped_key branch, fresh, names;
    struct secret branch_key, names_key;
    struct verdict verdict;
    struct result done;
    char *why, *why_old;
};

static void keys_run(struct job *j) {
    struct keys_job *k = (struct keys_job *)j;
    struct verdict verdict;
    /* If no new one can be made, the old one serves; the unit tries again later. */
    if (k->wants_new && is_err(ring_new_branch(&k->place, &k->fresh, &verdict))) k->why_old = str_dup(err_detail());
    k->done = ring_unwrap(&k->place, &k->names, &k->names_key, &k->verdict);
    if (is_ok(k->done))
        k->done = ring_unwrap(&k->place, k->fresh.id ? &k->fresh : &k->branch, &k->branch_key, &k->verdict);
    if (is_err(k->done)) k->why = str_dup(err_detail());
}

static void keys_failed(struct unit *u, const struct keys_job *k) {
    log_warn("keys.not_unwrapped", KV("org", u->org), KV("region", u->region->name), KV("reason", k->why));
    /* A refusal is not acted on here: the probes find out at once, with their confirmation. */
    if (k->verdict.kind == VERDICT_REFUSED) lease_recheck(&u->lease, clock_boottime_ns());
    AUTO_FREE char *message = str_format("the organization's keys could not be unwrapped: %.200s", k->why);
    pair_end(u, "UNREACHABLE", message);
}

static void keys_done(struct job *j) {
    struct keys_job *k = (struct keys_job *)j;
    struct unit *u = k->u;
    struct pair *p = &u->pair;
    if (k->why_old) log_warn("branch.not_made", KV("org", u->org), KV("reason", k->why_old));
    if (k->fresh.id) branch_adopt(u, &k->fresh);
    bool is_current = k->serial == p->serial && p->phase == PAIR_STARTING && k->generation == u->lease.generation;
    if (is_current && is_err(k->done)) {
        keys_failed(u, k);
    } else if (is_current && unit_has_lease(u) && branch_id_bytes(u->ring.branch.id, p->branch_id)) {
        pair_drop_keys(p);
        p->names = k->names_key;
        p->branch = k->branch_key;
        k->names_key = k->branch_key = (struct secret){0};
        p->has_keys = true;
        pair_send_keys(u);
    }
    secret_done(&k->branch_key);
    secret_done(&k->names_key);
    registry_wrapped_key_done(&k->branch);
    registry_wrapped_key_done(&k->fresh);
    registry_wrapped_key_done(&k->names);
    mem_free(k->why);
    mem_free(k->why_old);
    mem_free(k);
}

static void ask_keys(struct unit *u) {
    struct keys_job *k = mem_alloc(sizeof *k);
    *k = (struct keys_job){.job = {.run = keys_run, .done = keys_done},
                           .u = u,
                           .place = u->place,
                           .serial = u->pair.serial,
                           .generation = u->lease.generation,
                           .wants_new = branch_is_old(u)};
    branch_copy(&u->ring.branch, &k->branch);
    branch_copy(&u->ring.names, &k->names);
    pool_submit(u->region->pool, &k->job, true);
}

/* Once both the gateway and its keys are there. */
void pair_send_keys(struct unit *u) {
    struct pair *p = &u->pair;
    if (!p->has_keys || p->gateway.fd < 0) return;
    int fd = p->gateway.fd;
    struct result r = wire_send_names(fd, secret_view(&p->names), SEND_MS);
    if (is_ok(r)) r = wire_send_branch(fd, p->branch_id, secret_view(&p->branch), SEND_MS);
    if (is_ok(r)) r = wire_send_active(fd, p->branch_id, SEND_MS);
    if (is_ok(r)) r = wire_send_arm(fd, u->lease.expiry_ns, SEND_MS);
    pair_drop_keys(p);
    p->is_gateway_armed = is_ok(r);
    if (is_err(r)) log_warn("gateway.deaf", KV("org", u->org), KV("reason", err_detail()));
}

/* ---- The processes ---- */

static void begin(struct unit *u) {
    struct pair *p = &u->pair;
    p->phase = PAIR_STARTING;
    p->serial++;
    p->epoch = 0; /* until the new one is known, nothing that comes is for it */
    p->restart_ns = 0;
    p->retire = RETIRE_NOT;
    p->started_ns = clock_boottime_ns();
    p->deadline_ns = p->started_ns + START_MS * NS_PER_MS;
    if (!p->last_used_ns) p->last_used_ns = p->started_ns;
    unit_poke(u);
}

void pair_begin(struct unit *u) {
    begin(u);
    member_kill(&u->pair.engine);
    member_kill(&u->pair.gateway);
    u->pair.gateway_serial++;
    u->pair.is_gateway_armed = false;
    pair_drop_keys(&u->pair);
    ask_epoch(u, false);
    ask_keys(u);
}

void pair_restart_engine(struct unit *u) {
    begin(u);
    member_kill(&u->pair.engine);
    ask_epoch(u, true);
}

static void set_socket(struct pair *p, const char *engine_socket) {
    mem_free(p->engine_socket);
    p->engine_socket = str_dup(engine_socket);
}

static bool is_awaited(const struct unit *u, int64_t epoch) {
    return u->pair.phase == PAIR_STARTING && u->pair.epoch == epoch && unit_has_lease(u) && !u->pair.restart_ns;
}

static void kill_stray(struct unit *u, int pid, int fd) {
    struct member stray = {.fd = -1, .pidfd = -1};
    member_open(u, &stray, fd, pid, false);
    member_kill(&stray);
}

static void arm_engine(struct unit *u) {
    if (is_err(wire_send_arm(u->pair.engine.fd, u->lease.expiry_ns, SEND_MS)))
        log_warn("engine.deaf", KV("org", u->org), KV("reason", err_detail()));
}

void pair_started(struct unit *u, int64_t epoch, int gateway_pid, int engine_pid, const char *engine_socket,
                  int gateway_fd, int engine_fd) {
    struct pair *p = &u->pair;
    if (!is_awaited(u, epoch)) {
        /* The lease ended meanwhile; the "end" that was sent then may have come before these. */
        kill_stray(u, gateway_pid, gateway_fd);
        if (engine_fd >= 0) kill_stray(u, engine_pid, engine_fd);
        return;
    }
    set_socket(p, engine_socket);
    member_open(u, &p->gateway, gateway_fd, gateway_pid, true);
    if (engine_fd >= 0) {
        member_open(u, &p->engine, engine_fd, engine_pid, false);
        arm_engine(u);
    }
    pair_send_keys(u);
}

void pair_engine_started(struct unit *u, int64_t epoch, int engine_pid, const char *engine_socket, int engine_fd) {
    if (!is_awaited(u, epoch)) {
        kill_stray(u, engine_pid, engine_fd);
        return;
    }
    set_socket(&u->pair, engine_socket);
    member_open(u, &u->pair.engine, engine_fd, engine_pid, false);
    arm_engine(u);
}

void pair_start_failed(struct unit *u, int64_t epoch, const char *reason) {
    if (!is_awaited(u, epoch)) return;
    log_error("pair.start_failed", KV("org", u->org), KV("region", u->region->name), KV("reason", reason));
    AUTO_FREE char *message = str_format("the organization's processes could not be started: %.200s", reason);
    pair_end(u, "UNREACHABLE", message);
}
