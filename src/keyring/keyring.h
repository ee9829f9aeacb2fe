/* What the keyring's parts share: the process, its regions, and its units (an organization in a region). Everything
 * here belongs to the event loop's thread; jobs on workers get copies. */
#ifndef LOCKSET_KEYRING_KEYRING_H
#define LOCKSET_KEYRING_KEYRING_H

#include "base/json.h"
#include "config/config.h"
#include "keyring/lease_state.h"
#include "keyring/limits.h"
#include "keyring/pool.h"
#include "keyring/purge.h"
#include "keyring/ring.h"
#include "registry/registry.h"

/* Who asked over the api's socket: a connection (by number, so that one that has gone is recognised) and the request.
 */
struct api_call {
    uint64_t connection;
    int64_t id;
};

struct region {
    const char *name, *service_key_arn; /* the config's */
    struct shelf *shelf;
    struct kms_client *kms;
    struct meter *meter;
    struct pool *pool; /* of its own: a KMS that hangs holds up no other region */
};

struct waiter {
    struct api_call call;
    bool is_for_gateway; /* an engine isn't needed */
    struct waiter *next;
};

enum pair_phase { PAIR_NONE, PAIR_STARTING, PAIR_RUNNING };

/* The gateway and the engine of an active unit. */
/* An engine has got old: first it may end when it has nothing to do; if it always has, the api has to wait for the next
 * one, and what runs may end. */
enum retire_phase { RETIRE_NOT, RETIRE_WHEN_QUIET, RETIRE_WITHDRAWN };

struct pair {
    enum pair_phase phase;
    uint32_t serial;         /* of the latest start; answers to an earlier one are stale */
    uint32_t gateway_serial; /* of the latest start of a gateway */
    uint32_t gateway_ready;  /* gateway_serial of the last that said that it serves */
    int64_t epoch;
    struct member gateway, engine;
    char *engine_socket;
    bool has_keys;               /* unwrapped and not yet sent */
    struct secret names, branch; /* only between unwrapping and sending */
    uint8_t branch_id[16];
    bool is_gateway_armed; /* it has its keys and a lease */
    int64_t deadline_ns;   /* of the start */
    int64_t restart_ns;    /* when to start again; 0: no plan */
    int64_t started_ns, last_used_ns, refuse_until_ns;
    bool is_withdrawn; /* idle: the api was told to ask again before it uses the engine */
    enum retire_phase retire;
    bool is_replacement; /* the engine that starts follows an old one: nobody has asked for it */
    int64_t engine_since_ns,
        retire_next_ns; /* when this engine was ready; when the next step of its retirement is due */
    unsigned failures;  /* in quick succession */
    struct waiter *waiters;
};

enum ending_phase { ENDING_NONE, ENDING_PERSIST, ENDING_ACKS };

struct recheck {
    struct api_call call;
    bool is_answered; /* by KMS: checks is there */
    bool passed;
    bool is_recovery; /* it is for a recovery: the answer waits for its lease */
    json_t *checks;
    int64_t deadline_ns;
    struct recheck *next;
};

/* When things last happened (CLOCK_BOOTTIME; 0: not yet). All but the first begin anew when a lease ends. */
enum moment {
    MOMENT_REFUSED, /* KMS's first refusal, which the end of the lease followed */
    MOMENT_LEASE_ENDED,
    MOMENT_KEYS_WIPED,    /* in the keyring */
    MOMENT_API_REFUSES,   /* each api has acknowledged: it gives nothing out any more */
    MOMENT_KILLED,        /* the engine was sent SIGKILL, the gateway told to wipe its keys and leave */
    MOMENT_GATEWAY_WIPED, /* its own report: its keys, those of its cache, and of what it was streaming */
    MOMENT_GATEWAY_GONE,
    MOMENT_ENGINE_GONE,
    MOMENT_GRANTED,
    MOMENT_READY, /* the first engine after that */
    MOMENT_MAX
};

struct unit {
    struct keyring *k;
    struct region *region;
    char *org, *kms_key_arn;
    enum registry_kind kind;
    struct ring_place place;
    struct ring ring;
    bool is_loaded;
    bool is_retired; /* its organization was deleted: whatever still arrives for it changes nothing */
    struct lease_machine lease;

    char *reason, *aws_error; /* aws_error NULL: none */
    char *actor;              /* who caused the change that is persisted next; NULL: the keyring */
    int64_t noted_unavailable_ms;
    struct verdict verdict; /* the last one that was not good */
    int64_t since_ms, last_success_ms, deletion_ms;
    int64_t moments[MOMENT_MAX];
    int64_t ended_epoch;    /* of the processes that went with the last lease */
    char seen_material[65]; /* what KMS says the key's current material is; "" unknown */

    bool persist_in_flight, persist_again;
    int64_t persist_retry_ns; /* 0: none */
    enum ending_phase ending;
    int64_t ending_deadline_ns;
    uint64_t ending_seq;
    struct purge purge;
    struct cost cost;

    struct pair pair;
    bool resume; /* start the pair again when the lease returns */
    bool is_rotating;
    int64_t rotate_retry_ns;
    struct recheck *rechecks;
    int64_t pushed_expiry_ns;
    int64_t wake_ns; /* when unit_tick is needed next */
};

struct api_link;
struct supervisor_link;
struct create_job;

struct keyring {
    const struct config *config;
    struct registry *registry;
    struct loop *loop;
    struct finished *finished;
    struct pool *registry_pool;
    struct ledgers *ledgers;
    struct pool *ledger_pool; /* one worker: records stand in the order of their events */
    struct region *regions;
    size_t region_count;
    struct unit **units;
    size_t unit_count, unit_capacity;
    unsigned acks_awaited; /* units in ENDING_ACKS */
    int64_t wake_ns;       /* the least of the units' */
    struct lease_times customer_times, service_times;
    int64_t max_calls_per_hour;
    struct api_link *api;
    struct supervisor_link *supervisor;
    struct create_job *creating; /* under way */
};

struct region *keyring_find_region(struct keyring *k, const char *name);
struct unit *keyring_find_unit(struct keyring *k, const char *org, const char *region);
/* A unit for a row of the registry; in STARTING. was_unavailable: as it was persisted. */
struct unit *keyring_add_unit(struct keyring *k, struct region *region, const struct registry_region *row);

/* ---- unit.c: states ---- */

bool unit_has_lease(const struct unit *u);
/* The state object of the api's protocol. */
json_t *unit_state(const struct unit *u);
/* {"now": ..., "lease_ended": ...}: nanoseconds of CLOCK_BOOTTIME. */
json_t *unit_moments(const struct unit *u);
/* Notes a moment, unless it has been. */
void unit_mark(struct unit *u, enum moment m);
/* Does what is due and sets wake_ns. */
void unit_tick(struct unit *u, int64_t now_ns);
/* Asks for a tick at once. */
void unit_poke(struct unit *u);
/* Remembers what an answer said, for reasons and for the deletion date. */
void unit_note(struct unit *u, const struct verdict *v);
/* Did DescribeKey show a deletion date that has passed? */
bool unit_is_destroyed(const struct unit *u);
/* Writes the present state to the registry, on its thread. */
void unit_persist(struct unit *u, bool is_urgent);
/* The api acknowledged pushes up to some number. */
void unit_acked(struct unit *u);
void unit_recheck(struct unit *u, struct api_call call);
/* Its organization is being deleted: no lease, and never one again; whoever waits is told. */
void unit_retire(struct unit *u);
/* The operator asks for recovery: answered once there is a lease for it, or the key failed its checks. Asked again
 * meanwhile, it joins. CONFLICT unless PAUSED or RECOVERING; then nothing is answered. */
struct result unit_recover(struct unit *u, struct api_call call, const char *actor);
/* Everything was decided: back to AVAILABLE. CONFLICT unless RECOVERING with a lease. */
struct result unit_recovered(struct unit *u, const char *actor);
/* Ready for a lease at once: for a unit whose preflight has just passed (a new organization). */
void unit_grant(struct unit *u, int64_t sent_ns);

/* ---- watch.c: questions to KMS ---- */

void watch_probe(struct unit *u, enum kms_operation operation, bool is_urgent);
void watch_preflight(struct unit *u);
void watch_recheck(struct unit *u, struct recheck *r);
/* The gateway tells that S3 was refused the key; reason: enum wire_refusal. */
void watch_store_refused(struct unit *u, unsigned reason);
/* Carries out what the state machine ordered. */
void unit_obey(struct unit *u, struct lease_orders orders);

/* ---- pair.c, pair_start.c: processes ---- */

void pair_init(struct pair *p);
/* is_for_gateway: answered as soon as the gateway serves, whatever the engine does. */
void pair_activate(struct unit *u, struct api_call call, bool is_for_gateway);
/* The earliest time at which it needs a tick. */
int64_t pair_tick(struct unit *u, int64_t now_ns);
void pair_begin(struct unit *u);
/* A longer lease for both. */
void pair_arm(struct unit *u);
/* Ends both at once and fails whoever waits. What was destroyed is told the ledger. */
void pair_end(struct unit *u, const char *code, const char *message);
void pair_kill_engine(struct unit *u, int64_t epoch, struct api_call call);
/* engine_fd -1, engine_pid 0: this node runs no engines. */
void pair_started(struct unit *u, int64_t epoch, int gateway_pid, int engine_pid, const char *engine_socket,
                  int gateway_fd, int engine_fd);
void pair_engine_started(struct unit *u, int64_t epoch, int engine_pid, const char *engine_socket, int engine_fd);
void pair_start_failed(struct unit *u, int64_t epoch, const char *reason);
void pair_exited(struct unit *u, int64_t epoch, bool is_gateway, const char *status);
/* Shared by the two files. */
void pair_engine_gone(struct unit *u, const char *status);
void pair_gateway_gone(struct unit *u, const char *status);
void pair_fail_waiters(struct unit *u, const char *code, const char *message);
void pair_ready(struct unit *u);
void pair_restart_engine(struct unit *u);
unsigned pair_drop_keys(struct pair *p); /* how many there were */
void pair_send_keys(struct unit *u);
void member_open(struct unit *u, struct member *m, int fd, int pid, bool is_gateway);
/* Kills the process, if there is one, and closes both descriptors. */
void member_kill(struct member *m);

/* ---- branch.c: new branches, and old ones that a gateway asks for ---- */

/* Is it time for a new branch (its window passed, or the key's material changed)? */
bool branch_is_old(const struct unit *u);
void branch_rotate(struct unit *u);
void branch_fetch(struct unit *u, const uint8_t id[static 16]);
/* A copy of what is needed to ask KMS. The caller calls registry_wrapped_key_done. */
void branch_copy(const struct registry_wrapped_key *from, struct registry_wrapped_key *ret);
/* Takes a new active branch over. */
void branch_adopt(struct unit *u, struct registry_wrapped_key *fresh);
/* "0123..." to 16 bytes; false if it is no such thing. */
bool branch_id_bytes(const char *hex, uint8_t ret[static 16]);

/* ---- s3_key.c ---- */

/* Answers with the secret of a new access key for S3 clients, or why there is none. INVALID: no such id can be; then
 * nothing is answered. */
struct result s3_key_create(struct unit *u, struct api_call call, const char *id);

/* ---- supervisor_link.c: fd 3 ---- */

struct result supervisor_link_new(struct keyring *k, int fd, struct supervisor_link **ret);
/* "start", "restart_engine" or "end". */
struct result supervisor_ask(struct keyring *k, const char *op, const struct unit *u, int64_t epoch);

/* ---- api_link.c: run/keyring.sock ---- */

struct result api_link_new(struct keyring *k, const char *path, struct api_link **ret);
/* Answers; takes `fields` (an object; NULL: none) over. Nothing happens when the connection has gone. */
void api_reply(struct keyring *k, struct api_call call, json_t *fields);
/* A failure; takes checks and state over (NULL: none). */
void api_fail(struct keyring *k, struct api_call call, const char *code, const char *message, json_t *checks,
              json_t *state);
void api_fail_result(struct keyring *k, struct api_call call, struct result failure);
/* Tells every connection; returns the push's number. */
uint64_t api_push_state(struct keyring *k, const struct unit *u);
void api_push_engine(struct keyring *k, const struct unit *u, int64_t epoch, const char *engine_socket);
/* Has every connection acknowledged the push? */
bool api_has_acked(const struct keyring *k, uint64_t seq);

/* ---- requests.c: what the api may ask ---- */

void request_handle(struct keyring *k, uint64_t connection, const json_t *message);

/* ---- create.c ---- */

void create_org(struct keyring *k, struct api_call call, const json_t *message);
/* Is this organization, or a region of it, being created? */
bool create_is_under_way(const struct keyring *k, const char *org);
/* A further region of an organization, under the replica of its key there. */
void create_region(struct keyring *k, struct api_call call, const json_t *message);
void create_check_key(struct keyring *k, struct api_call call, const json_t *message);

/* ---- audit.c ---- */

/* Tells a ledger something; nothing waits for it. fields: taken over; kind: static. */
void audit_note(struct keyring *k, const char *region, const char *org, const char *kind, json_t *fields);
/* The lease's present state, and what has just become of it ("granted", "ended", ...). */
void audit_lease(const struct unit *u, const char *event);
/* Records what the operator asks for, durably, and then does it: `then` may fail as handlers of requests do. When it
 * can't be recorded it isn't done, and the call is told so. message: with "region", and "org" unless it concerns none;
 * `then` must refuse a region that isn't served. */
typedef struct result audit_then(struct keyring *k, struct api_call call, const json_t *message);
struct result audit_first(struct keyring *k, struct api_call call, const json_t *message, audit_then *then);
/* Tells a ledger how far it had come when the registry last heard of it. Before the loop runs. */
void audit_expect(struct keyring *k, const char *region, const char *org);
/* 'o' and 20 hexadecimal digits? */
bool audit_is_org(const char *org);

/* ---- delete.c ---- */

/* Ends an organization for good and answers the call; see the file. */
void delete_org(struct keyring *k, struct api_call call, const char *org, const char *actor);
/* Removes what a deletion that was cut off left in the stores. Before the loop runs. */
void delete_sweep(struct keyring *k);

#endif
