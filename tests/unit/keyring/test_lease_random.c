/* Long random lives of the state machine: a KMS whose answers, delays and moods are drawn by lot, and after each event
 * the rules that must hold whatever happens. */
#include "testing.h"

#include "base/clock.h"
#include "keyring/lease_state.h"

#define MS(n) ((int64_t)(n)*NS_PER_MS)

enum { LIVES = 2000, STEPS = 3000, PREFLIGHT = KMS_OPERATION_MAX };

/* A question on its way; the answer comes at `at`. */
struct question {
    bool is_open;
    uint32_t generation;
    int64_t sent, at;
};

struct life {
    struct lease_machine m;
    uint64_t random;
    int64_t now;
    struct question asked[KMS_OPERATION_MAX + 1];
    enum verdict_kind mood; /* what KMS mostly says at present */
    /* What the rules need. */
    int64_t last_good_decrypt, last_refusal, first_pass;
    unsigned good_preflights;
    bool was_refused[KMS_OPERATION_MAX]; /* its latest answer */
    unsigned grants, ends;
};

static uint64_t draw(struct life *l, uint64_t below) {
    l->random ^= l->random << 13;
    l->random ^= l->random >> 7;
    l->random ^= l->random << 17;
    return l->random % below;
}

static enum verdict_kind draw_verdict(struct life *l) {
    if (draw(l, 60) == 0) l->mood = (enum verdict_kind)draw(l, VERDICT_MAX);
    return draw(l, 12) == 0 ? (enum verdict_kind)draw(l, VERDICT_MAX) : l->mood;
}

static void ask(struct life *l, int which) {
    if (l->asked[which].is_open) fail_msg("question %d is asked twice at a time", which);
    l->asked[which] = (struct question){
        .is_open = true, .generation = l->m.generation, .sent = l->now, .at = l->now + MS(1 + draw(l, 5000))};
}

static void check(struct life *l, struct lease_orders orders, const struct lease_machine *before) {
    const struct lease_machine *m = &l->m;
    bool had = before->phase == LEASE_AVAILABLE, has = m->phase == LEASE_AVAILABLE;
    if (has && m->expiry_ns > l->last_good_decrypt + lease_grant_ns(&m->times))
        fail_msg("a lease longer than its last good Decrypt gives");
    if (had && has && m->expiry_ns < before->expiry_ns) fail_msg("a lease was shortened");
    if (!has && m->expiry_ns != 0) fail_msg("no lease, and an end of one");
    if ((orders.event == LEASE_GRANTED) != (!had && has)) fail_msg("LEASE_GRANTED is not told truly");
    if ((orders.event == LEASE_ENDED) != (had && !has)) fail_msg("LEASE_ENDED is not told truly");
    if ((orders.event == LEASE_EXTENDED) != (had && has && m->expiry_ns > before->expiry_ns))
        fail_msg("LEASE_EXTENDED is not told truly");
    if (had != has && m->generation == before->generation) fail_msg("another lease of the same generation");
    if (orders.event == LEASE_GRANTED && l->ends > 0 &&
        (l->good_preflights < 2 || l->first_pass - l->last_refusal <= 0 ||
         l->now - l->first_pass < MS(LEASE_PASS_GAP_MS)))
        fail_msg("a lease came back without two good preflights apart");
    l->grants += orders.event == LEASE_GRANTED;
    l->ends += orders.event == LEASE_ENDED;
    /* What was asked for an earlier lease will be answered still, but is no longer waited for. */
    if (m->generation != before->generation)
        for (size_t i = 0; i < ARRAY_LEN(l->asked); i++)
            l->asked[i].is_open = false;
    for (int i = 0; i < KMS_OPERATION_MAX; i++)
        if (orders.probes & (1U << i)) ask(l, i);
    if (orders.preflight) ask(l, PREFLIGHT);
}

static void answer_probe(struct life *l, int i) {
    struct question q = l->asked[i];
    l->asked[i].is_open = false;
    struct lease_machine before = l->m;
    enum verdict_kind kind = draw_verdict(l);
    bool second_no = l->m.probes[i].is_confirming && kind != VERDICT_GOOD;
    if (kind == VERDICT_GOOD && i == KMS_DECRYPT && q.sent > l->last_good_decrypt) l->last_good_decrypt = q.sent;
    if (kind == VERDICT_REFUSED) l->last_refusal = l->now;
    struct lease_orders orders =
        lease_probed(&l->m, q.generation, (enum kms_operation)i, kind, draw(l, 9) == 0, q.sent, l->now);
    if (second_no && l->m.phase == LEASE_AVAILABLE) fail_msg("a refusal that was confirmed has not ended the lease");
    if (!lease_is_trusted(&l->m) && orders.event == LEASE_EXTENDED) fail_msg("a lease was extended under distrust");
    check(l, orders, &before);
}

static void answer_preflight(struct life *l) {
    struct question q = l->asked[PREFLIGHT];
    l->asked[PREFLIGHT].is_open = false;
    struct lease_machine before = l->m;
    enum verdict_kind kind = draw_verdict(l);
    if (kind == VERDICT_GOOD) {
        if (l->good_preflights++ == 0) l->first_pass = l->now;
        if (q.sent > l->last_good_decrypt) l->last_good_decrypt = q.sent;
    } else {
        l->good_preflights = 0;
    }
    if (kind == VERDICT_REFUSED) l->last_refusal = l->now;
    check(l, lease_preflighted(&l->m, q.generation, kind, draw(l, 9) == 0, q.sent, l->now), &before);
    if (l->m.phase == LEASE_AVAILABLE) l->good_preflights = 0;
}

static void step(struct life *l) {
    /* To the next thing that happens: an answer, or the machine's own time; sometimes late, as on a busy machine. */
    int next = -1;
    int64_t at = lease_wake_ns(&l->m);
    for (int i = 0; i <= PREFLIGHT; i++) {
        if (!l->asked[i].is_open || l->asked[i].at >= at) continue;
        next = i;
        at = l->asked[i].at;
    }
    assert_int_not_equal(at, INT64_MAX); /* the machine never waits for nothing */
    if (at > l->now) l->now = at;
    if (draw(l, 20) == 0) l->now += MS(draw(l, 3000));
    if (draw(l, 100) == 0) lease_recheck(&l->m, l->now);
    if (next == PREFLIGHT) {
        answer_preflight(l);
    } else if (next >= 0) {
        answer_probe(l, next);
    }
    struct lease_machine before = l->m;
    struct lease_orders orders = lease_tick(&l->m, l->now);
    if (l->m.phase == LEASE_AVAILABLE && l->now >= l->m.expiry_ns) fail_msg("a lease lives on after its end");
    check(l, orders, &before);
}

static void rules_hold_whatever_happens(void **state) {
    unsigned grants = 0, ends = 0;
    for (uint64_t seed = 1; seed <= LIVES; seed++) {
        struct life l = {.random = seed * 0x9e3779b97f4a7c15ULL, .now = MS(1000000)};
        struct lease_times times = {.probe_interval_ns = MS(1000 + draw(&l, 30000)),
                                    .full_check_interval_ns = MS(1000 + draw(&l, 60000)),
                                    .ride_through_ns = MS(draw(&l, 300000)),
                                    .kms_timeout_ns = MS(5000)};
        struct lease_past past = {.phase = draw(&l, 2) == 0 ? LEASE_UNAVAILABLE : LEASE_AVAILABLE};
        lease_machine_init(&l.m, &times, &past, seed, l.now);
        for (int i = 0; i < STEPS; i++)
            step(&l);
        grants += l.grants;
        ends += l.ends;
    }
    assert_true(grants > LIVES && ends > LIVES / 2); /* there were enough lives worth the name */
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(rules_hold_whatever_happens)};

TEST_MAIN(tests)
