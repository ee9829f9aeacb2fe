#include "keyring/lease_state.h"

#include <string.h>

#include "base/clock.h"

#define MS(n) ((int64_t)(n)*NS_PER_MS)

const char *lease_cause_name(enum lease_cause cause) {
    static const char *const names[] = {NULL, "DENIED", "DESTROYED", "UNREACHABLE"};
    return names[cause];
}

enum lease_cause lease_cause_of(const char *name) {
    for (int i = LEASE_DENIED; name && i <= LEASE_UNREACHABLE; i++)
        if (strcmp(name, lease_cause_name((enum lease_cause)i)) == 0) return (enum lease_cause)i;
    return LEASE_NO_CAUSE;
}

int64_t lease_grant_ns(const struct lease_times *t) {
    int64_t grant = t->probe_interval_ns + t->kms_timeout_ns + MS(LEASE_MARGIN_MS);
    if (grant < t->ride_through_ns) grant = t->ride_through_ns;
    if (grant > MS(LEASE_HARD_CAP_MS)) grant = MS(LEASE_HARD_CAP_MS);
    return grant;
}

static int64_t min_of(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static int64_t max_of(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* xorshift64*: only for jitter. */
static uint64_t next_random(struct lease_machine *m) {
    m->random ^= m->random >> 12;
    m->random ^= m->random << 25;
    m->random ^= m->random >> 27;
    return m->random * 0x2545f4914f6cdd1dULL;
}

/* The interval, shortened by up to a fifth. */
static int64_t jittered(struct lease_machine *m, int64_t interval_ns) {
    return interval_ns - (int64_t)(next_random(m) % (uint64_t)(interval_ns / 5 + 1));
}

static int64_t interval_of(const struct lease_machine *m, enum kms_operation operation) {
    return operation == KMS_DECRYPT ? m->times.probe_interval_ns : m->times.full_check_interval_ns;
}

void lease_machine_init(struct lease_machine *m, const struct lease_times *times, const struct lease_past *past,
                        uint64_t seed, int64_t now_ns) {
    static const struct lease_past none = {.phase = LEASE_AVAILABLE};
    if (!past) past = &none;
    bool stays = past->phase == LEASE_PAUSED || past->phase == LEASE_RECOVERING;
    *m = (struct lease_machine){
        .times = *times,
        .phase = stays ? past->phase : LEASE_STARTING,
        .cause = stays ? past->cause : LEASE_NO_CAUSE,
        .generation = 1,
        .started_ns = now_ns,
        .preflight_due_ns = now_ns,
        .passes_needed = past->phase == LEASE_AVAILABLE ? 1 : 2,
        .unavailable_ns = past->phase == LEASE_AVAILABLE ? 0 : past->unavailable_ns,
        .observed_at_ns = now_ns,
        .random = seed ? seed : 1,
    };
}

static void forget_probes(struct lease_machine *m) {
    for (int i = 0; i < KMS_OPERATION_MAX; i++)
        m->probes[i] = (struct lease_probe_state){0};
    m->generation++;
}

static int64_t retry_ns(const struct lease_machine *m) {
    if (m->phase != LEASE_PAUSED) return MS(LEASE_RETRY_MS);
    return min_of(max_of(m->times.full_check_interval_ns, MS(LEASE_RETRY_MS)), MS(LEASE_PAUSED_RETRY_MS));
}

static void drop_lease(struct lease_machine *m, int64_t now_ns) {
    m->expiry_ns = 0;
    m->passes = 0;
    m->passes_needed = 2;
    m->preflight_in_flight = false;
    m->preflight_due_ns = now_ns + retry_ns(m);
    forget_probes(m);
}

static void begin_lease(struct lease_machine *m, int64_t sent_ns, int64_t now_ns) {
    forget_probes(m);
    m->passes = 0;
    m->passes_needed = 2;
    m->expiry_ns = sent_ns + lease_grant_ns(&m->times);
    for (int i = 0; i < KMS_OPERATION_MAX; i++) {
        /* Spread out, so that a refusal of all of them is seen sooner than any interval. */
        int64_t interval = interval_of(m, (enum kms_operation)i);
        int64_t first = i == KMS_DECRYPT ? interval : interval * (i + 1) / (KMS_OPERATION_MAX + 1);
        m->probes[i].last_good_ns = sent_ns;
        m->probes[i].due_ns = max_of(now_ns, sent_ns + jittered(m, first));
    }
}

/* Carries a rule of lifecycle.def out. cause: of an event that takes access away. */
static struct lease_orders step(struct lease_machine *m, enum life_event event, enum lease_cause cause, int64_t sent_ns,
                                int64_t now_ns) {
    const struct life_rule *rule = life_find(m->phase, event);
    if (!rule) return (struct lease_orders){0};
    bool had_lease = lease_is_granted(m), is_other_phase = rule->to != m->phase;
    enum lease_cause new_cause = rule->to == LEASE_UNAVAILABLE || rule->to == LEASE_PAUSED ? cause : LEASE_NO_CAUSE;
    bool is_other_cause = new_cause != m->cause;
    m->phase = rule->to;
    m->cause = new_cause;
    if (is_other_phase) m->is_key_back = false;
    if (m->phase == LEASE_AVAILABLE) m->unavailable_ns = 0;
    switch (rule->effect) {
    case LIFE_GRANT:
        begin_lease(m, sent_ns, now_ns);
        return (struct lease_orders){.event = LEASE_GRANTED};
    case LIFE_KEEP:
        return (struct lease_orders){.event = LEASE_RESUMED};
    case LIFE_END:
        /* From STARTING to UNAVAILABLE nothing was dropped: the questions go on as they were. */
        if (had_lease || (is_other_phase && rule->to != LEASE_UNAVAILABLE)) drop_lease(m, now_ns);
        if (is_other_phase) m->observed_at_ns = now_ns;
        if (had_lease) return (struct lease_orders){.event = LEASE_ENDED};
        return (struct lease_orders){.event = is_other_phase || is_other_cause ? LEASE_CHANGED : LEASE_SAME};
    case LIFE_NOTE: {
        bool is_back = event == LIFE_PASSED, is_other = is_back != m->is_key_back || is_other_cause;
        m->is_key_back = is_back;
        return (struct lease_orders){.event = is_other ? LEASE_NOTED : LEASE_SAME};
    }
    }
    return (struct lease_orders){0};
}

static struct lease_orders refused(struct lease_machine *m, bool is_destroyed, int64_t now_ns) {
    return step(m, LIFE_REFUSED, is_destroyed ? LEASE_DESTROYED : LEASE_DENIED, 0, now_ns);
}

bool lease_is_trusted(const struct lease_machine *m) {
    for (int i = 0; i < KMS_OPERATION_MAX; i++) {
        if (m->probes[i].is_confirming || m->probes[i].distrust > 0) return false;
    }
    return true;
}

static enum lease_event extend(struct lease_machine *m) {
    if (!lease_is_trusted(m)) return LEASE_SAME;
    int64_t granted = lease_grant_ns(&m->times);
    int64_t expiry = m->probes[KMS_DECRYPT].last_good_ns + granted;
    for (int i = 0; i < KMS_OPERATION_MAX; i++)
        if (i != KMS_DECRYPT)
            expiry = min_of(expiry, m->probes[i].last_good_ns + m->times.full_check_interval_ns + granted);
    if (expiry <= m->expiry_ns) return LEASE_SAME;
    m->expiry_ns = expiry;
    return LEASE_EXTENDED;
}

/* No usable answer for too long; among mixed answers, because KMS also said no. */
static struct lease_orders ran_out(struct lease_machine *m, int64_t now_ns) {
    if (lease_is_trusted(m)) return step(m, LIFE_SILENT, LEASE_UNREACHABLE, 0, now_ns);
    return refused(m, false, now_ns);
}

/* Moves the pause's clock; is the pause due? */
static bool observe(struct lease_machine *m, int64_t now_ns) {
    int64_t passed = now_ns - m->observed_at_ns;
    m->observed_at_ns = now_ns;
    /* A key that is passing its checks right now is on its way back. */
    if (m->phase != LEASE_UNAVAILABLE || m->passes > 0 || passed <= 0) return false;
    m->unavailable_ns += min_of(passed, MS(2 * LEASE_OBSERVE_MS));
    return m->times.pause_after_ns > 0 && m->unavailable_ns >= m->times.pause_after_ns;
}

/* When the pause's clock must be looked at next. */
static int64_t observe_wake_ns(const struct lease_machine *m) {
    if (m->phase != LEASE_UNAVAILABLE || m->times.pause_after_ns == 0) return INT64_MAX;
    int64_t left = m->times.pause_after_ns - m->unavailable_ns;
    return m->observed_at_ns + min_of(max_of(left, 0), MS(LEASE_OBSERVE_MS));
}

struct lease_orders lease_tick(struct lease_machine *m, int64_t now_ns) {
    struct lease_orders orders = {0};
    if (observe(m, now_ns)) return step(m, LIFE_PAUSE_DUE, m->cause, 0, now_ns);
    if (!lease_is_granted(m)) {
        if (!m->preflight_in_flight && m->preflight_due_ns <= now_ns) {
            m->preflight_in_flight = true;
            orders.preflight = true;
        }
        return orders;
    }
    if (now_ns >= m->expiry_ns) return ran_out(m, now_ns);
    for (int i = 0; i < KMS_OPERATION_MAX; i++) {
        struct lease_probe_state *p = &m->probes[i];
        if (p->in_flight || p->due_ns > now_ns) continue;
        p->in_flight = true;
        orders.probes |= 1U << i;
    }
    return orders;
}

int64_t lease_wake_ns(const struct lease_machine *m) {
    if (!lease_is_granted(m))
        return min_of(observe_wake_ns(m), m->preflight_in_flight ? INT64_MAX : m->preflight_due_ns);
    int64_t wake = m->expiry_ns;
    for (int i = 0; i < KMS_OPERATION_MAX; i++)
        if (!m->probes[i].in_flight) wake = min_of(wake, m->probes[i].due_ns);
    return wake;
}

static struct lease_orders probe_good(struct lease_machine *m, enum kms_operation operation, int64_t sent_ns,
                                      int64_t now_ns) {
    struct lease_probe_state *p = &m->probes[operation];
    int64_t interval = interval_of(m, operation);
    p->last_good_ns = max_of(p->last_good_ns, sent_ns);
    if (p->is_confirming) {
        p->is_confirming = false;
        p->distrust = LEASE_DISTRUST;
    } else if (p->distrust > 0) {
        p->distrust--;
    }
    if (p->distrust > 0) interval = min_of(interval, MS(LEASE_RETRY_MS));
    p->due_ns = max_of(now_ns, sent_ns + jittered(m, interval));
    return (struct lease_orders){.event = extend(m)};
}

struct lease_orders lease_probed(struct lease_machine *m, uint32_t generation, enum kms_operation operation,
                                 enum verdict_kind kind, bool is_destroyed, int64_t sent_ns, int64_t now_ns) {
    if (generation != m->generation || !lease_is_granted(m)) return (struct lease_orders){0};
    struct lease_probe_state *p = &m->probes[operation];
    p->in_flight = false;
    if (kind == VERDICT_GOOD) return probe_good(m, operation, sent_ns, now_ns);
    if (p->is_confirming) return refused(m, is_destroyed, now_ns);
    if (kind == VERDICT_REFUSED) {
        p->is_confirming = true;
        p->in_flight = true;
        return (struct lease_orders){.probes = 1U << operation};
    }
    /* Silence tells nothing, but three in a row must be in a row. And with a ride-through shorter than the interval
     * between probes, the first silent one has used it up. */
    if (p->distrust > 0) p->distrust = LEASE_DISTRUST;
    if (operation == KMS_DECRYPT && now_ns - p->last_good_ns >= m->times.ride_through_ns) return ran_out(m, now_ns);
    p->due_ns = now_ns + jittered(m, min_of(interval_of(m, operation), MS(LEASE_RETRY_MS)));
    return (struct lease_orders){0};
}

struct lease_orders lease_refused_to_store(struct lease_machine *m, int64_t now_ns) {
    struct lease_probe_state *p = &m->probes[KMS_DECRYPT];
    if (!lease_is_granted(m) || p->is_confirming) return (struct lease_orders){0};
    lease_recheck(m, now_ns);
    p->is_confirming = true;
    /* One that is on its way confirms, too: KMS may have answered it before, but then three more must be good. */
    bool must_ask = !p->in_flight;
    p->in_flight = true;
    return (struct lease_orders){.probes = must_ask ? 1U << KMS_DECRYPT : 0};
}

struct lease_orders lease_preflighted(struct lease_machine *m, uint32_t generation, enum verdict_kind kind,
                                      bool is_destroyed, int64_t sent_ns, int64_t now_ns) {
    if (generation != m->generation) return (struct lease_orders){0};
    if (lease_is_granted(m)) {
        if (kind == VERDICT_REFUSED) lease_recheck(m, now_ns); /* the probes decide, with their confirmation */
        return (struct lease_orders){0};
    }
    m->preflight_in_flight = false;
    /* One that took longer than the lease it would grant proves nothing about now. */
    if (kind == VERDICT_GOOD && sent_ns + lease_grant_ns(&m->times) <= now_ns) kind = VERDICT_SILENT;
    if (kind == VERDICT_GOOD) {
        m->preflight_due_ns = now_ns + MS(LEASE_PASS_STEP_MS);
        if (m->passes++ == 0) m->first_pass_ns = now_ns;
        bool is_enough = m->passes_needed <= 1 || now_ns - m->first_pass_ns >= MS(LEASE_PASS_GAP_MS);
        if (!is_enough) return (struct lease_orders){0};
        if (m->phase == LEASE_PAUSED) {
            m->passes = 0;
            m->preflight_due_ns = now_ns + retry_ns(m);
        }
        return step(m, LIFE_PASSED, m->cause, sent_ns, now_ns);
    }
    m->passes = 0;
    m->preflight_due_ns = now_ns + retry_ns(m);
    if (kind != VERDICT_SILENT) m->passes_needed = 2;
    if (kind == VERDICT_REFUSED) return refused(m, is_destroyed, now_ns);
    if (m->phase != LEASE_STARTING && m->phase != LEASE_RECOVERING) return (struct lease_orders){0};
    m->preflight_due_ns = now_ns + MS(LEASE_START_RETRY_MS);
    bool is_patient = now_ns - m->started_ns < MS(LEASE_START_PATIENCE_MS);
    return is_patient ? (struct lease_orders){0} : step(m, LIFE_SILENT, LEASE_UNREACHABLE, 0, now_ns);
}

struct lease_orders lease_recover(struct lease_machine *m, int64_t now_ns) {
    struct lease_orders orders = step(m, LIFE_RECOVER, LEASE_NO_CAUSE, 0, now_ns);
    if (orders.event == LEASE_SAME) return orders;
    m->started_ns = now_ns;
    m->preflight_due_ns = now_ns;
    return orders;
}

struct lease_orders lease_recovered(struct lease_machine *m, int64_t now_ns) {
    if (!lease_is_granted(m)) return (struct lease_orders){0};
    return step(m, LIFE_RECOVERED, LEASE_NO_CAUSE, 0, now_ns);
}

void lease_recheck(struct lease_machine *m, int64_t now_ns) {
    if (!lease_is_granted(m)) {
        /* The gap between the two passes that restore is kept. */
        if (m->passes == 0) m->preflight_due_ns = min_of(m->preflight_due_ns, now_ns);
        return;
    }
    for (int i = 0; i < KMS_OPERATION_MAX; i++)
        m->probes[i].due_ns = min_of(m->probes[i].due_ns, now_ns);
}

void lease_postpone_probe(struct lease_machine *m, enum kms_operation operation, int64_t until_ns) {
    m->probes[operation].in_flight = false;
    m->probes[operation].due_ns = until_ns;
}

void lease_postpone_preflight(struct lease_machine *m, int64_t until_ns) {
    m->preflight_in_flight = false;
    m->preflight_due_ns = until_ns;
}

bool lease_is_asking(const struct lease_machine *m) {
    if (!lease_is_granted(m)) return m->preflight_in_flight;
    for (int i = 0; i < KMS_OPERATION_MAX; i++)
        if (m->probes[i].in_flight) return true;
    return false;
}
