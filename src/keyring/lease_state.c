#include "keyring/lease_state.h"

#include "base/clock.h"

#define MS(n) ((int64_t)(n)*NS_PER_MS)

const char *lease_phase_name(enum lease_phase phase) {
    static const char *const names[] = {"STARTING", "AVAILABLE", "UNAVAILABLE"};
    return names[phase];
}

const char *lease_cause_name(enum lease_cause cause) {
    static const char *const names[] = {NULL, "DENIED", "DESTROYED", "UNREACHABLE"};
    return names[cause];
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

void lease_machine_init(struct lease_machine *m, const struct lease_times *times, bool was_unavailable, uint64_t seed,
                        int64_t now_ns) {
    *m = (struct lease_machine){
        .times = *times,
        .phase = LEASE_STARTING,
        .generation = 1,
        .started_ns = now_ns,
        .preflight_due_ns = now_ns,
        .passes_needed = was_unavailable ? 2 : 1,
        .random = seed ? seed : 1,
    };
}

static void forget_probes(struct lease_machine *m) {
    for (int i = 0; i < KMS_OPERATION_MAX; i++)
        m->probes[i] = (struct lease_probe_state){0};
    m->generation++;
}

static struct lease_orders end_lease(struct lease_machine *m, enum lease_cause cause, int64_t now_ns) {
    m->phase = LEASE_UNAVAILABLE;
    m->cause = cause;
    m->expiry_ns = 0;
    m->passes = 0;
    m->passes_needed = 2;
    m->preflight_in_flight = false;
    m->preflight_due_ns = now_ns + MS(LEASE_RETRY_MS);
    forget_probes(m);
    return (struct lease_orders){.event = LEASE_ENDED};
}

static struct lease_orders grant(struct lease_machine *m, int64_t sent_ns, int64_t now_ns) {
    forget_probes(m);
    m->phase = LEASE_AVAILABLE;
    m->cause = LEASE_NO_CAUSE;
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
    return (struct lease_orders){.event = LEASE_GRANTED};
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

struct lease_orders lease_tick(struct lease_machine *m, int64_t now_ns) {
    struct lease_orders orders = {0};
    if (m->phase != LEASE_AVAILABLE) {
        if (!m->preflight_in_flight && m->preflight_due_ns <= now_ns) {
            m->preflight_in_flight = true;
            orders.preflight = true;
        }
        return orders;
    }
    /* A lease that ran out among mixed answers ran out because KMS also said no. */
    if (now_ns >= m->expiry_ns) return end_lease(m, lease_is_trusted(m) ? LEASE_UNREACHABLE : LEASE_DENIED, now_ns);
    for (int i = 0; i < KMS_OPERATION_MAX; i++) {
        struct lease_probe_state *p = &m->probes[i];
        if (p->in_flight || p->due_ns > now_ns) continue;
        p->in_flight = true;
        orders.probes |= 1U << i;
    }
    return orders;
}

int64_t lease_wake_ns(const struct lease_machine *m) {
    if (m->phase != LEASE_AVAILABLE) return m->preflight_in_flight ? INT64_MAX : m->preflight_due_ns;
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
    if (generation != m->generation || m->phase != LEASE_AVAILABLE) return (struct lease_orders){0};
    struct lease_probe_state *p = &m->probes[operation];
    p->in_flight = false;
    if (kind == VERDICT_GOOD) return probe_good(m, operation, sent_ns, now_ns);
    if (p->is_confirming) return end_lease(m, is_destroyed ? LEASE_DESTROYED : LEASE_DENIED, now_ns);
    if (kind == VERDICT_REFUSED) {
        p->is_confirming = true;
        p->in_flight = true;
        return (struct lease_orders){.probes = 1U << operation};
    }
    /* Silence tells nothing, but three in a row must be in a row. And with a ride-through shorter than the interval
     * between probes, the first silent one has used it up. */
    if (p->distrust > 0) p->distrust = LEASE_DISTRUST;
    if (operation == KMS_DECRYPT && now_ns - p->last_good_ns >= m->times.ride_through_ns)
        return end_lease(m, lease_is_trusted(m) ? LEASE_UNREACHABLE : LEASE_DENIED, now_ns);
    p->due_ns = now_ns + jittered(m, min_of(interval_of(m, operation), MS(LEASE_RETRY_MS)));
    return (struct lease_orders){0};
}

static struct lease_orders change(struct lease_machine *m, enum lease_cause cause) {
    if (m->phase == LEASE_UNAVAILABLE && m->cause == cause) return (struct lease_orders){0};
    m->phase = LEASE_UNAVAILABLE;
    m->cause = cause;
    return (struct lease_orders){.event = LEASE_CHANGED};
}

struct lease_orders lease_preflighted(struct lease_machine *m, uint32_t generation, enum verdict_kind kind,
                                      bool is_destroyed, int64_t sent_ns, int64_t now_ns) {
    if (generation != m->generation) return (struct lease_orders){0};
    if (m->phase == LEASE_AVAILABLE) {
        if (kind == VERDICT_REFUSED) lease_recheck(m, now_ns); /* the probes decide, with their confirmation */
        return (struct lease_orders){0};
    }
    m->preflight_in_flight = false;
    /* One that took longer than the lease it would grant proves nothing about now. */
    if (kind == VERDICT_GOOD && sent_ns + lease_grant_ns(&m->times) <= now_ns) kind = VERDICT_SILENT;
    if (kind == VERDICT_GOOD) {
        if (++m->passes >= m->passes_needed) return grant(m, sent_ns, now_ns);
        m->preflight_due_ns = now_ns + MS(LEASE_PASS_GAP_MS);
        return (struct lease_orders){0};
    }
    m->passes = 0;
    m->preflight_due_ns = now_ns + MS(LEASE_RETRY_MS);
    if (kind != VERDICT_SILENT) m->passes_needed = 2;
    if (kind == VERDICT_REFUSED) return change(m, is_destroyed ? LEASE_DESTROYED : LEASE_DENIED);
    if (m->phase == LEASE_STARTING) {
        m->preflight_due_ns = now_ns + MS(LEASE_START_RETRY_MS);
        if (now_ns - m->started_ns >= MS(LEASE_START_PATIENCE_MS)) return change(m, LEASE_UNREACHABLE);
    }
    return (struct lease_orders){0};
}

void lease_recheck(struct lease_machine *m, int64_t now_ns) {
    if (m->phase != LEASE_AVAILABLE) {
        /* The gap between the two passes that restore is kept. */
        if (m->passes == 0) m->preflight_due_ns = min_of(m->preflight_due_ns, now_ns);
        return;
    }
    for (int i = 0; i < KMS_OPERATION_MAX; i++)
        m->probes[i].due_ns = min_of(m->probes[i].due_ns, now_ns);
}

bool lease_is_asking(const struct lease_machine *m) {
    if (m->phase != LEASE_AVAILABLE) return m->preflight_in_flight;
    for (int i = 0; i < KMS_OPERATION_MAX; i++)
        if (m->probes[i].in_flight) return true;
    return false;
}
