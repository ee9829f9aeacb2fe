/* The state machine of one organization's key in one region: when to ask KMS, when a lease is granted, extended and
 * ended. Pure: events and the clock go in, orders come out; no I/O. Not thread-safe; one owner.
 *
 * While AVAILABLE each of the five KMS operations is a probe of its own: Decrypt of the active branch key every
 * probe_interval, the four others every full_check_interval; jitter only shortens. A refused probe is repeated at once:
 * refused again, or unanswered, the lease ends; answered well, nothing is extended until three probes of that operation
 * in a row went well. A lease runs until the time the last good Decrypt was *sent* plus ride-through (see
 * lease_grant_ns), never longer than LEASE_HARD_CAP_MS after it, and only while the other operations are heard of too.
 * Without a lease the whole preflight is asked, every 3 s, and must pass (after any trouble: each time for 2 s, asked
 * every 0.5 s).
 *
 * Which phase follows which is lifecycle.def's; this says when its events happen. Two clocks run: the lease's, and
 * the pause's, which adds up the unavailability that was *observed*: time in which nobody looked (a suspended machine,
 * a stopped keyring) doesn't count. */
#ifndef LOCKSET_KEYRING_LEASE_STATE_H
#define LOCKSET_KEYRING_LEASE_STATE_H

#include "keyring/lifecycle.h"
#include "keyring/verdict.h"

enum {
    LEASE_HARD_CAP_MS = 300 * 1000,
    LEASE_RETRY_MS = 3000,           /* between preflights while there is no lease, and after a silent probe */
    LEASE_START_RETRY_MS = 1000,     /* the same in STARTING */
    LEASE_START_PATIENCE_MS = 10000, /* silence in STARTING for so long: UNREACHABLE */
    LEASE_PASS_GAP_MS = 2000,        /* from the first to the last of the preflights that restore ... */
    LEASE_PASS_STEP_MS = 500,        /* ... and between them: a key that flaps is caught at it */
    LEASE_DISTRUST = 3,              /* good probes in a row after a refusal that was not confirmed */
    LEASE_MARGIN_MS = 1000,          /* from an answer to armed timers, with room to spare */
    LEASE_PAUSED_RETRY_MS = 20000,   /* between preflights while PAUSED: the full check's interval, at most this */
    LEASE_OBSERVE_MS = 5000,         /* the pause's clock is moved at least so often, by at most twice as much */
};

enum lease_cause { LEASE_NO_CAUSE, LEASE_DENIED, LEASE_DESTROYED, LEASE_UNREACHABLE };
const char *lease_cause_name(enum lease_cause cause); /* "DENIED"; NULL for none */
enum lease_cause lease_cause_of(const char *name);    /* NULL, or no such cause: none */

struct lease_times {
    int64_t probe_interval_ns, full_check_interval_ns;
    int64_t ride_through_ns; /* service-managed organizations: the hard cap */
    int64_t kms_timeout_ns;
    int64_t pause_after_ns; /* 0: never */
};

/* How long a lease runs from a probe's sending: ride_through, but never less than it takes to hear of the next probe
 * (probe_interval + kms_timeout + margin; a shorter ride-through then ends the lease at the first silent probe), and
 * never more than the hard cap. */
int64_t lease_grant_ns(const struct lease_times *t);

struct lease_probe_state {
    int64_t last_good_ns; /* when the last good one was sent */
    int64_t due_ns;
    bool in_flight, is_confirming;
    unsigned distrust;
};

struct lease_machine {
    struct lease_times times;
    enum lease_phase phase;
    enum lease_cause cause;
    uint32_t generation; /* goes up at each grant and end: what was asked before is then stale */
    int64_t expiry_ns;   /* boot time; 0: no lease */
    struct lease_probe_state probes[KMS_OPERATION_MAX];
    int64_t started_ns, preflight_due_ns;
    bool preflight_in_flight;
    unsigned passes, passes_needed; /* needed: 1, or 2 for "each time for LEASE_PASS_GAP_MS" */
    int64_t first_pass_ns;
    bool is_key_back;       /* PAUSED: the last preflights passed all the same */
    int64_t unavailable_ns; /* observed so far, since it was last AVAILABLE */
    int64_t observed_at_ns; /* up to when */
    uint64_t random;
};

enum lease_event {
    LEASE_SAME,
    LEASE_EXTENDED, /* expiry_ns moved */
    LEASE_GRANTED,  /* now AVAILABLE */
    LEASE_ENDED,    /* AVAILABLE no more: end the processes */
    LEASE_CHANGED,  /* another phase or cause, with no lease before and after */
    LEASE_NOTED,    /* PAUSED still, but the key's own state is another */
    LEASE_RESUMED,  /* RECOVERING to AVAILABLE, with the same lease */
};

struct lease_orders {
    enum lease_event event;
    unsigned probes; /* bits 1 << kms_operation: send these now; with the machine's generation */
    bool preflight;  /* start a preflight now */
};

/* What was persisted last. */
struct lease_past {
    enum lease_phase phase;
    enum lease_cause cause;
    int64_t unavailable_ns;
};

/* PAUSED and RECOVERING go on as they were, without a lease; everything else begins in STARTING. past NULL: none. seed:
 * for jitter. */
void lease_machine_init(struct lease_machine *m, const struct lease_times *times, const struct lease_past *past,
                        uint64_t seed, int64_t now_ns);

/* Is there a lease? (It may have run out this moment: expiry_ns tells.) */
static inline bool lease_is_granted(const struct lease_machine *m) {
    return m->expiry_ns != 0;
}

/* Time went by. */
struct lease_orders lease_tick(struct lease_machine *m, int64_t now_ns);
/* When lease_tick must be called next at the latest. */
int64_t lease_wake_ns(const struct lease_machine *m);

/* A probe's answer. generation: the machine's when it was sent. is_destroyed: DescribeKey showed a deletion date that
 * has passed by now. */
struct lease_orders lease_probed(struct lease_machine *m, uint32_t generation, enum kms_operation operation,
                                 enum verdict_kind kind, bool is_destroyed, int64_t sent_ns, int64_t now_ns);

/* A store that encrypts under the key itself was refused it: as if a Decrypt probe had been. A confirming one is asked
 * at once, the other operations as well. LEASE_SAME without probes while a refusal waits for its confirmation anyway.
 */
struct lease_orders lease_refused_to_store(struct lease_machine *m, int64_t now_ns);

/* A preflight's outcome; sent_ns: when its last question, the Decrypt, was sent. */
struct lease_orders lease_preflighted(struct lease_machine *m, uint32_t generation, enum verdict_kind kind,
                                      bool is_destroyed, int64_t sent_ns, int64_t now_ns);

/* The operator asks for recovery. LEASE_SAME unless it is PAUSED. */
struct lease_orders lease_recover(struct lease_machine *m, int64_t now_ns);
/* It was decided for each collection. LEASE_SAME unless it is RECOVERING, with a lease. */
struct lease_orders lease_recovered(struct lease_machine *m, int64_t now_ns);

/* Somebody wants to know now: every probe, or the preflight, becomes due. */
void lease_recheck(struct lease_machine *m, int64_t now_ns);
/* A question that was ordered is not asked before `until_ns`: nothing is extended meanwhile. */
void lease_postpone_probe(struct lease_machine *m, enum kms_operation operation, int64_t until_ns);
void lease_postpone_preflight(struct lease_machine *m, int64_t until_ns);
/* Is there no refusal that waits for its confirmation, or that was too short ago to be forgotten? */
bool lease_is_trusted(const struct lease_machine *m);
/* Is any probe or its confirmation on the way? */
bool lease_is_asking(const struct lease_machine *m);

#endif
