/* What is destroyed when a pair ends, as the ledger tells it: one record for each pair, once both processes are gone.
 * A gateway that is told to end reports what it wiped; of one that is killed only its end can be told, which the
 * kernel's pidfd shows, and which is the end of everything it held. */
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "keyring/keyring.h"
#include "keys/wire.h"

enum { GIVE_UP_MS = 10000 };

static struct purge_stamp stamp_now(void) {
    return (struct purge_stamp){clock_unix_ms(), clock_boottime_ns()};
}

void purge_init(struct purge *p) {
    *p = (struct purge){.gateway = {.fd = -1, .pidfd = -1}, .engine = {.fd = -1, .pidfd = -1}};
}

void purge_lease_ended(struct unit *u, unsigned keys) {
    u->purge.lease_ended = stamp_now();
    u->purge.keyring_keys += keys;
}

static json_t *stamp_json(struct purge_stamp s) {
    if (!s.unix_ms) return json_null();
    char time[CLOCK_ISO_BYTES];
    clock_format_iso(s.unix_ms, time);
    return json_pack("{s:s, s:I}", "time", time, "boottime_ns", (json_int_t)s.boottime_ns);
}

static json_t *wiped_json(const struct purge *p) {
    const struct wire_wiped *w = &p->wiped;
    if (!p->has_report) return json_null();
    json_t *j = stamp_json((struct purge_stamp){w->unix_ms, w->boottime_ns});
    json_object_set_new(j, "branch_keys", json_integer(w->branch_keys));
    json_object_set_new(j, "name_keys", json_integer(w->name_keys + w->namers));
    json_object_set_new(j, "cache_epoch_keys", json_integer(w->epoch_keys));
    json_object_set_new(j, "streams_cut", json_integer(w->streams));
    return j;
}

/* Of a lease that ended: a drill asks for it. */
static void keep_moments(struct unit *u) {
    const struct purge *p = &u->purge;
    if (!p->lease_ended.boottime_ns) return;
    u->moments[MOMENT_GATEWAY_WIPED] = p->has_report ? p->wiped.boottime_ns : 0;
    u->moments[MOMENT_GATEWAY_GONE] = p->gateway_gone.boottime_ns;
    u->moments[MOMENT_ENGINE_GONE] = p->engine_gone.boottime_ns;
}

static void tell(struct unit *u) {
    const struct purge *p = &u->purge;
    keep_moments(u);
    json_t *j = json_object();
    json_object_set_new(j, "event", json_string("destroyed"));
    const char *cause = lease_is_granted(&u->lease) ? NULL : lease_cause_name(u->lease.cause);
    json_object_set_new(j, "cause", cause ? json_string(cause) : json_null());
    json_object_set_new(j, "reason", json_string(p->reason));
    json_object_set_new(j, "epoch", json_integer(p->epoch));
    json_object_set_new(j, "lease_ended", stamp_json(p->lease_ended));
    json_object_set_new(j, "keyring",
                        json_pack("{s:i, s:o}", "keys", (int)p->keyring_keys, "gone", stamp_json(p->began)));
    if (p->had_gateway) {
        json_object_set_new(j, "gateway",
                            json_pack("{s:o, s:o, s:o, s:o}", "told", stamp_json(p->began), "wiped", wiped_json(p),
                                      "killed", stamp_json(p->killed), "gone", stamp_json(p->gateway_gone)));
        u->region->meter->streams_cut += p->wiped.streams;
    }
    if (p->had_engine)
        json_object_set_new(
            j, "engine", json_pack("{s:o, s:o}", "killed", stamp_json(p->began), "gone", stamp_json(p->engine_gone)));
    u->region->meter->purges++;
    audit_note(u->k, u->region->name, u->org, "purge", j);
}

/* Once, and not when a new pair was begun meanwhile: that ends the old one first. */
static void tell_supervisor(struct unit *u) {
    bool owes = u->purge.owes_end && u->pair.phase == PAIR_NONE;
    u->purge.owes_end = false;
    if (owes && is_err(supervisor_ask(u->k, "end", u, 0))) log_warn("supervisor.silent", KV("reason", err_detail()));
}

/* Everything is gone, or what isn't by now was killed long ago and hangs in the kernel: the record says which. */
static void finish(struct unit *u) {
    struct purge *p = &u->purge;
    if (!p->is_open) return;
    member_kill(&p->gateway);
    member_kill(&p->engine);
    tell(u);
    tell_supervisor(u);
    purge_init(p);
}

static void finish_if_gone(struct unit *u) {
    const struct purge *p = &u->purge;
    if (p->gateway.pidfd < 0 && p->engine.pidfd < 0) finish(u);
}

/* ---- The gateway ---- */

/* Reads what there is; false at the end of it for ever. */
static bool read_report(struct purge *p) {
    for (;;) {
        AUTO(wire_message_done) struct wire_message m = {0};
        struct result r = wire_receive(p->gateway.fd, 0, &m);
        if (r.code == ERR_TIMEOUT) return true;
        if (is_err(r)) return false;
        if (m.type != WIRE_ENDED) continue; /* it asked for a key a moment before */
        p->wiped = m.wiped;
        p->has_report = true;
    }
}

static void on_gateway_message(void *arg, int fd) {
    struct unit *u = arg;
    if (!read_report(&u->purge)) u->purge.gateway.messages = loop_forget(u->purge.gateway.messages);
}

static void on_gateway_exit(void *arg, int fd) {
    struct unit *u = arg;
    struct purge *p = &u->purge;
    p->gateway_gone = stamp_now();
    if (p->gateway.fd >= 0) read_report(p);
    member_kill(&p->gateway);
    finish_if_gone(u);
}

static void on_engine_exit(void *arg, int fd) {
    struct unit *u = arg;
    u->purge.engine_gone = stamp_now();
    member_kill(&u->purge.engine);
    finish_if_gone(u);
}

/* Watches a process that was the pair's; false when it is gone already. */
static bool take_over(struct unit *u, struct member *to, struct member *from, void (*on_exit)(void *, int)) {
    from->messages = loop_forget(from->messages);
    from->exits = loop_forget(from->exits);
    *to = *from;
    *from = (struct member){.fd = -1, .pidfd = -1};
    if (to->pidfd >= 0 && is_ok(loop_watch(u->k->loop, to->pidfd, on_exit, u, &to->exits))) return true;
    member_kill(to);
    return false;
}

void purge_lost(struct unit *u, bool is_gateway) {
    struct purge *p = &u->purge;
    if (p->is_open || unit_has_lease(u)) return;
    *(is_gateway ? &p->had_gateway : &p->had_engine) = true;
    *(is_gateway ? &p->gateway_gone : &p->engine_gone) = stamp_now();
}

bool purge_keeps_engine(struct unit *u) {
    const struct member *engine = &u->pair.engine;
    if (u->purge.is_open || unit_has_lease(u) || engine->pidfd < 0) return false;
    (void)!pidfd_send_signal(engine->pidfd, SIGKILL, NULL, 0);
    return true;
}

void purge_begin(struct unit *u, const char *reason) {
    struct purge *p = &u->purge;
    struct purge fresh;
    purge_init(&fresh);
    if (!p->is_open) fresh = *p; /* what has gone already */
    fresh.lease_ended = p->lease_ended;
    fresh.keyring_keys = p->keyring_keys;
    finish(u); /* a previous one's grace ends here */
    *p = fresh;
    p->is_open = true;
    p->began = stamp_now();
    snprintf(p->reason, sizeof p->reason, "%s", reason);
    p->epoch = u->pair.epoch;
    p->kill_ns = p->began.boottime_ns + LIMITS_GRACE_MS * NS_PER_MS;
    bool has_engine = u->pair.engine.fd >= 0, has_gateway = u->pair.gateway.fd >= 0;
    p->had_engine = p->had_engine || has_engine;
    p->had_gateway = p->had_gateway || has_gateway;
    p->owes_end = has_engine || has_gateway;
    if (has_engine) {
        if (u->pair.engine.pidfd >= 0) (void)!pidfd_send_signal(u->pair.engine.pidfd, SIGKILL, NULL, 0);
        if (!take_over(u, &p->engine, &u->pair.engine, on_engine_exit)) p->engine_gone = stamp_now();
    }
    if (has_gateway) {
        /* It wipes its keys and leaves; if it can't, it is killed. */
        result_ignore(wire_send_end(u->pair.gateway.fd, 0));
        bool lives = take_over(u, &p->gateway, &u->pair.gateway, on_gateway_exit);
        if (!lives) p->gateway_gone = stamp_now();
        if (lives && is_err(loop_watch(u->k->loop, p->gateway.fd, on_gateway_message, u, &p->gateway.messages)))
            log_warn("purge.not_heard", KV("org", u->org), KV("reason", err_detail()));
    }
    finish_if_gone(u);
}

void purge_kill(struct unit *u) {
    struct purge *p = &u->purge;
    p->kill_ns = 0;
    if (p->gateway.pidfd < 0) return;
    (void)!pidfd_send_signal(p->gateway.pidfd, SIGKILL, NULL, 0);
    p->killed = stamp_now();
}

int64_t purge_tick(struct unit *u, int64_t now_ns) {
    struct purge *p = &u->purge;
    if (!p->is_open) return INT64_MAX;
    if (p->kill_ns && now_ns >= p->kill_ns) {
        purge_kill(u);
        /* The supervisor sees to the rest, whatever happens here. */
        tell_supervisor(u);
    }
    int64_t give_up_ns = p->began.boottime_ns + GIVE_UP_MS * NS_PER_MS;
    if (now_ns >= give_up_ns) {
        finish(u);
        return INT64_MAX;
    }
    return p->kill_ns ? p->kill_ns : give_up_ns;
}
