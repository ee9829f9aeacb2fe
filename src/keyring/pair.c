/* The gateway and the engine of a unit while they live: messages, exits, idleness, the end. */
#include <signal.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "keyring/keyring.h"
#include "keys/wire.h"

enum {
    SEND_MS = 5,
    BACKOFF_FIRST_MS = 200,
    FAILURES_MAX = 5,
    HEALTHY_MS = 30000,      /* one that lived so long did not fail at once */
    COOL_MS = 5000,          /* after too many failures */
    RETIRE_QUIET_MS = 30000, /* so long an old engine may wait for a moment without requests; or a tenth of its time */
    RETIRE_WITHDRAWN_MS = 30000, /* so long statements may run on in an engine that gets no new ones */
    IDLE_GRACE_MS = 300000,      /* from telling the api to ask again, to the end of an idle pair */
};

void pair_init(struct pair *p) {
    *p = (struct pair){.gateway = {.fd = -1, .pidfd = -1}, .engine = {.fd = -1, .pidfd = -1}};
}

unsigned pair_drop_keys(struct pair *p) {
    unsigned count = (p->names.data != NULL) + (p->branch.data != NULL);
    secret_done(&p->names);
    secret_done(&p->branch);
    p->has_keys = false;
    return count;
}

/* ---- One process ---- */

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

static void member_close(struct member *m) {
    m->messages = loop_forget(m->messages);
    m->exits = loop_forget(m->exits);
    close_fd(&m->fd);
    close_fd(&m->pidfd);
}

void member_kill(struct member *m) {
    /* ESRCH, when it is gone already, is as good. */
    if (m->pidfd >= 0) (void)!pidfd_send_signal(m->pidfd, SIGKILL, NULL, 0);
    member_close(m);
}

static bool is_gateway_serving(const struct pair *p) {
    return p->gateway.fd >= 0 && p->gateway_serial != 0 && p->gateway_ready == p->gateway_serial;
}

static void gateway_ready(struct unit *u) {
    u->pair.gateway_ready = u->pair.gateway_serial;
    for (struct waiter **place = &u->pair.waiters; *place;) {
        struct waiter *w = *place;
        if (!w->is_for_gateway) {
            place = &w->next;
            continue;
        }
        *place = w->next;
        api_reply(u->k, w->call, NULL);
        mem_free(w);
    }
}

static void take_message(struct unit *u, bool is_gateway, const struct wire_message *m) {
    if (m->type == WIRE_READY) {
        if (is_gateway) gateway_ready(u);
        /* An engine that is ready has its gateway already. */
        if (!is_gateway || !u->k->config->engine_enabled) pair_ready(u);
    } else if (m->type == WIRE_NEED_BRANCH && is_gateway) {
        branch_fetch(u, m->id);
    } else if (m->type == WIRE_KEY_REFUSED && is_gateway) {
        watch_store_refused(u, m->reason);
    } else if (m->type == WIRE_CACHE_USED && is_gateway) {
        u->region->meter->cache_hits += m->cache_hits;
        u->region->meter->cache_misses += m->cache_misses;
    } else {
        log_error("pair.bad_message", KV("org", u->org), KVI("type", m->type));
        member_kill(is_gateway ? &u->pair.gateway : &u->pair.engine);
        is_gateway ? pair_gateway_gone(u, "it broke the protocol") : pair_engine_gone(u, "it broke the protocol");
    }
}

static void on_message(struct unit *u, int fd, bool is_gateway) {
    struct wire_message m = {0};
    struct result r = wire_receive(fd, 0, &m);
    if (is_ok(r)) {
        take_message(u, is_gateway, &m);
        wire_message_done(&m);
        return;
    }
    if (r.code == ERR_TIMEOUT) return;
    /* Gone, or it talks nonsense: in both cases its end is wanted. */
    member_kill(is_gateway ? &u->pair.gateway : &u->pair.engine);
    is_gateway ? pair_gateway_gone(u, "it closed its connection") : pair_engine_gone(u, "it closed its connection");
}

static void on_gateway_message(void *arg, int fd) {
    on_message(arg, fd, true);
}
static void on_engine_message(void *arg, int fd) {
    on_message(arg, fd, false);
}
static void on_gateway_exit(void *arg, int fd) {
    pair_gateway_gone(arg, "it ended");
}
static void on_engine_exit(void *arg, int fd) {
    pair_engine_gone(arg, "it ended");
}

void member_open(struct unit *u, struct member *m, int fd, int pid, bool is_gateway) {
    member_kill(m);
    m->fd = fd;
    /* Fails when it is gone already: then its socket says so. */
    m->pidfd = pidfd_open(pid, 0);
    struct loop *l = u->k->loop;
    struct result r = loop_watch(l, fd, is_gateway ? on_gateway_message : on_engine_message, u, &m->messages);
    if (is_ok(r) && m->pidfd >= 0)
        r = loop_watch(l, m->pidfd, is_gateway ? on_gateway_exit : on_engine_exit, u, &m->exits);
    if (is_err(r)) log_error("pair.not_watched", KV("org", u->org), KV("reason", err_detail()));
}

/* ---- Both ---- */

/* Which engine serves now (NULL: none); where there are none there is nothing to tell. */
static void push_engine(const struct unit *u, const char *engine_socket) {
    if (u->k->config->engine_enabled) api_push_engine(u->k, u, u->pair.epoch, engine_socket);
}

void pair_fail_waiters(struct unit *u, const char *code, const char *message) {
    while (u->pair.waiters) {
        struct waiter *w = u->pair.waiters;
        u->pair.waiters = w->next;
        api_fail(u->k, w->call, code, message, NULL, unit_state(u));
        mem_free(w);
    }
}

static json_t *engine_fields(const struct unit *u) {
    json_t *j = json_object();
    if (u->k->config->engine_enabled) json_object_set_new(j, "engine_socket", json_string(u->pair.engine_socket));
    json_object_set_new(j, "epoch", json_integer(u->pair.epoch));
    return j;
}

void pair_ready(struct unit *u) {
    struct pair *p = &u->pair;
    if (p->phase != PAIR_STARTING || (p->engine.fd < 0 && u->k->config->engine_enabled)) return;
    p->phase = PAIR_RUNNING;
    p->is_withdrawn = false;
    p->engine_since_ns = clock_boottime_ns();
    if (!p->is_replacement) p->last_used_ns = p->engine_since_ns;
    p->is_replacement = false;
    unit_mark(u, MOMENT_READY);
    log_info("pair.ready", KV("org", u->org), KV("region", u->region->name), KVI("epoch", p->epoch),
             KVI("ms", (p->engine_since_ns - p->started_ns) / NS_PER_MS));
    while (p->waiters) {
        struct waiter *w = p->waiters;
        p->waiters = w->next;
        api_reply(u->k, w->call, engine_fields(u));
        mem_free(w);
    }
    push_engine(u, p->engine_socket);
    unit_poke(u);
}

void pair_arm(struct unit *u) {
    struct pair *p = &u->pair;
    int64_t expiry = u->lease.expiry_ns;
    /* One that doesn't listen keeps its older, shorter lease. */
    if (p->gateway.fd >= 0 && p->is_gateway_armed) result_ignore(wire_send_arm(p->gateway.fd, expiry, SEND_MS));
    if (p->engine.fd >= 0) result_ignore(wire_send_arm(p->engine.fd, expiry, SEND_MS));
}

void pair_end(struct unit *u, const char *code, const char *message) {
    struct pair *p = &u->pair;
    if (p->phase == PAIR_NONE && p->gateway.fd < 0 && p->engine.fd < 0) return;
    bool was_running = p->phase == PAIR_RUNNING;
    p->serial++;
    p->phase = PAIR_NONE;
    u->purge.keyring_keys += pair_drop_keys(p);
    bool had_any = p->gateway.fd >= 0 || p->engine.fd >= 0;
    purge_begin(u, message);
    /* A gateway that is told to end reports first: then the supervisor hears of it. */
    if (!had_any && is_err(supervisor_ask(u->k, "end", u, 0)))
        log_warn("supervisor.silent", KV("reason", err_detail()));
    p->is_gateway_armed = false;
    p->restart_ns = 0;
    p->retire = RETIRE_NOT;
    p->is_replacement = false;
    if (was_running) push_engine(u, NULL);
    pair_fail_waiters(u, code, message);
    unit_poke(u);
}

void pair_activate(struct unit *u, struct api_call call, bool is_for_gateway) {
    struct pair *p = &u->pair;
    int64_t now = clock_boottime_ns();
    if (!unit_has_lease(u) || u->ending != ENDING_NONE) {
        api_fail(u->k, call, "NO_LEASE", u->reason, NULL, unit_state(u));
        return;
    }
    p->last_used_ns = now;
    if (is_for_gateway && is_gateway_serving(p)) {
        api_reply(u->k, call, NULL);
        return;
    }
    if (p->phase == PAIR_RUNNING && p->retire != RETIRE_WITHDRAWN) {
        api_reply(u->k, call, engine_fields(u));
        if (p->is_withdrawn) push_engine(u, p->engine_socket);
        p->is_withdrawn = false;
        return;
    }
    if (p->phase == PAIR_NONE && now < p->refuse_until_ns) {
        api_fail(u->k, call, "UNREACHABLE", "the organization's processes keep ending at their start; see the log",
                 NULL, NULL);
        return;
    }
    struct waiter *w = mem_alloc(sizeof *w);
    *w = (struct waiter){.call = call, .is_for_gateway = is_for_gateway, .next = p->waiters};
    p->waiters = w;
    if (p->phase == PAIR_NONE) pair_begin(u);
}

static void start_again(struct unit *u, int64_t at_ns) {
    struct pair *p = &u->pair;
    p->phase = PAIR_STARTING;
    p->serial++;
    pair_drop_keys(p);
    p->restart_ns = at_ns;
    p->deadline_ns = INT64_MAX; /* the next start sets it */
    unit_poke(u);
}

/* A process was lost: start again, a little later each time. */
static void plan_restart(struct unit *u, const char *what, const char *status) {
    struct pair *p = &u->pair;
    int64_t now = clock_boottime_ns();
    bool was_running = p->phase == PAIR_RUNNING;
    if (now - p->started_ns >= HEALTHY_MS * NS_PER_MS) p->failures = 0;
    log_warn("pair.lost", KV("org", u->org), KV("region", u->region->name), KV("which", what), KVI("epoch", p->epoch),
             KV("status", status), KVI("failures", p->failures));
    if (was_running) push_engine(u, NULL);
    if (++p->failures > FAILURES_MAX) {
        p->failures = 0;
        p->refuse_until_ns = now + COOL_MS * NS_PER_MS;
        pair_end(u, "UNREACHABLE", "the organization's processes keep ending at their start; see the log");
        return;
    }
    int64_t delay_ms = p->failures == 1 ? 0 : BACKOFF_FIRST_MS << (p->failures - 2);
    start_again(u, now + delay_ms * NS_PER_MS);
}

/* An old engine has ended: the next one, at once. */
static void replace_engine(struct unit *u, const char *status) {
    struct pair *p = &u->pair;
    int64_t now = clock_boottime_ns();
    log_info("engine.retired", KV("org", u->org), KV("region", u->region->name), KVI("epoch", p->epoch),
             KVI("age_s", (now - p->engine_since_ns) / NS_PER_S), KV("status", status));
    api_push_engine(u->k, u, p->epoch, NULL);
    p->is_replacement = true;
    start_again(u, now);
}

void pair_engine_gone(struct unit *u, const char *status) {
    purge_lost(u, false);
    member_kill(&u->pair.engine);
    if (u->pair.phase == PAIR_NONE || u->pair.restart_ns) return;
    if (u->pair.phase == PAIR_RUNNING && u->pair.retire != RETIRE_NOT)
        replace_engine(u, status);
    else
        plan_restart(u, "engine", status);
}

void pair_gateway_gone(struct unit *u, const char *status) {
    /* An engine without its gateway can do nothing. */
    purge_lost(u, true);
    if (!purge_keeps_engine(u)) member_kill(&u->pair.engine);
    member_kill(&u->pair.gateway);
    u->pair.is_gateway_armed = false;
    if (u->pair.phase != PAIR_NONE && !u->pair.restart_ns) plan_restart(u, "gateway", status);
}

void pair_exited(struct unit *u, int64_t epoch, bool is_gateway, const char *status) {
    struct pair *p = &u->pair;
    log_info("pair.exited", KV("org", u->org), KV("which", is_gateway ? "gateway" : "engine"), KVI("epoch", epoch),
             KV("status", status));
    if (epoch != p->epoch) return;
    if (is_gateway && p->gateway.fd >= 0) pair_gateway_gone(u, status);
    if (!is_gateway && p->engine.fd >= 0) pair_engine_gone(u, status);
}

void pair_kill_engine(struct unit *u, int64_t epoch, struct api_call call) {
    struct pair *p = &u->pair;
    if (p->phase == PAIR_RUNNING && p->epoch == epoch) {
        log_warn("engine.killed", KV("org", u->org), KV("region", u->region->name), KVI("epoch", epoch));
        p->failures = 0; /* not its failure */
        member_kill(&p->engine);
        pair_engine_gone(u, "killed on request");
    }
    api_reply(u->k, call, NULL);
}

/* An idle pair: first the api is told to ask before it uses it again, then, unless it did, the pair ends. */
static int64_t idle_tick(struct unit *u, int64_t now_ns) {
    struct pair *p = &u->pair;
    int64_t idle_at = p->last_used_ns + u->k->config->engine_idle_timeout_ms * NS_PER_MS;
    int64_t end_at = idle_at + IDLE_GRACE_MS * NS_PER_MS;
    if (now_ns < idle_at) return idle_at;
    if (!p->is_withdrawn) {
        p->is_withdrawn = true;
        push_engine(u, NULL);
    }
    if (now_ns < end_at) return end_at;
    log_info("pair.idle", KV("org", u->org), KV("region", u->region->name), KVI("epoch", p->epoch));
    pair_end(u, "UNREACHABLE", "the organization was idle");
    return INT64_MAX;
}

static int64_t age_tick(struct unit *u, int64_t now_ns) {
    struct pair *p = &u->pair;
    int64_t age_ms = u->k->config->engine_max_age_ms;
    if (!u->k->config->engine_enabled) return INT64_MAX;
    if (p->retire == RETIRE_NOT) p->retire_next_ns = p->engine_since_ns + age_ms * NS_PER_MS;
    if (now_ns < p->retire_next_ns) return p->retire_next_ns;
    switch (p->retire) {
    case RETIRE_NOT:
        p->retire = RETIRE_WHEN_QUIET;
        p->retire_next_ns = now_ns + (age_ms / 10 < RETIRE_QUIET_MS ? age_ms / 10 : RETIRE_QUIET_MS) * NS_PER_MS;
        if (is_err(wire_send_retire(p->engine.fd, SEND_MS)))
            log_warn("engine.deaf", KV("org", u->org), KV("reason", err_detail()));
        return p->retire_next_ns;
    case RETIRE_WHEN_QUIET:
        p->retire = RETIRE_WITHDRAWN;
        p->retire_next_ns = now_ns + RETIRE_WITHDRAWN_MS * NS_PER_MS;
        p->is_withdrawn = true;
        api_push_engine(u->k, u, p->epoch, NULL);
        return p->retire_next_ns;
    case RETIRE_WITHDRAWN: /* what still runs is begun again by the api */
        member_kill(&p->engine);
        pair_engine_gone(u, "its time was over");
        return p->restart_ns;
    }
    return INT64_MAX;
}

int64_t pair_tick(struct unit *u, int64_t now_ns) {
    struct pair *p = &u->pair;
    if (p->phase == PAIR_NONE) return INT64_MAX;
    if (p->phase == PAIR_RUNNING) {
        int64_t idle_ns = idle_tick(u, now_ns);
        int64_t age_ns = p->phase == PAIR_RUNNING ? age_tick(u, now_ns) : INT64_MAX;
        return idle_ns < age_ns ? idle_ns : age_ns;
    }
    if (p->restart_ns) {
        if (now_ns < p->restart_ns) return p->restart_ns;
        if (!unit_has_lease(u)) return INT64_MAX; /* its end is under way */
        p->restart_ns = 0;
        if (p->gateway.fd >= 0 && p->is_gateway_armed)
            pair_restart_engine(u);
        else
            pair_begin(u);
        return p->deadline_ns;
    }
    if (now_ns < p->deadline_ns) return p->deadline_ns;
    log_error("pair.start_timed_out", KV("org", u->org), KV("region", u->region->name), KVI("epoch", p->epoch));
    pair_end(u, "TIMEOUT", "the organization's engine did not start in time; try again");
    return INT64_MAX;
}
