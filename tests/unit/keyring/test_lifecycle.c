/* What must hold for the life of a key, whatever happens: for the table of states by looking at all of it, for the
 * machine with its two clocks by long random walks against a KMS that says yes, no, or nothing. */
#include "testing.h"

#include <string.h>

#include "base/clock.h"
#include "keyring/lease_state.h"

/* ---- the table ---- */

/* A state of the table, and whether there is a lease in it. */
struct place {
    enum lease_phase phase;
    bool leased;
};

static bool follow(struct place from, enum life_event event, struct place *ret) {
    const struct life_rule *rule = life_find(from.phase, event);
    if (!rule) return false;
    ret->phase = rule->to;
    ret->leased = rule->effect == LIFE_GRANT || (rule->effect == LIFE_KEEP && from.leased);
    return true;
}

/* Events that can happen at all: probes are sent only with a lease, preflights only without; recovery ends only with
 * one. */
static bool can_happen(struct place p, enum life_event event) {
    if (event == LIFE_PASSED) return !p.leased;
    if (event == LIFE_RECOVERED) return p.leased;
    if (event == LIFE_PAUSE_DUE) return p.phase == LEASE_UNAVAILABLE;
    return true;
}

static void walk_all(bool seen[LEASE_PHASE_MAX][2], struct place p,
                     void (*check)(struct place, enum life_event, struct place)) {
    if (seen[p.phase][p.leased]) return;
    seen[p.phase][p.leased] = true;
    for (int e = 0; e < LIFE_EVENT_MAX; e++) {
        struct place next;
        if (!can_happen(p, (enum life_event)e) || !follow(p, (enum life_event)e, &next)) continue;
        check(p, (enum life_event)e, next);
        walk_all(seen, next, check);
    }
}

static void check_step(struct place from, enum life_event event, struct place to) {
    /* A lease only where one may be, and always while AVAILABLE. */
    if (to.leased) assert_true(to.phase == LEASE_AVAILABLE || to.phase == LEASE_RECOVERING);
    if (to.phase == LEASE_AVAILABLE) assert_true(to.leased);
    /* Only a key that passed its checks brings a lease; every refusal and every silence that counts ends it. */
    if (to.leased && !from.leased) assert_int_equal(event, LIFE_PASSED);
    if (event == LIFE_REFUSED || event == LIFE_SILENT) assert_false(to.leased);
    /* PAUSED is left by the operator alone, and AVAILABLE is reached from there only through a finished recovery. */
    if (from.phase == LEASE_PAUSED && to.phase != LEASE_PAUSED) assert_int_equal(event, LIFE_RECOVER);
    if (from.phase == LEASE_RECOVERING && to.phase == LEASE_AVAILABLE) assert_int_equal(event, LIFE_RECOVERED);
    if (to.phase == LEASE_PAUSED && from.phase != LEASE_PAUSED)
        assert_true(event == LIFE_PAUSE_DUE || from.phase == LEASE_RECOVERING);
}

static void test_every_step(void **state) {
    bool seen[LEASE_PHASE_MAX][2] = {0};
    walk_all(seen, (struct place){LEASE_STARTING, false}, check_step);
    walk_all(seen, (struct place){LEASE_RECOVERING, false}, check_step); /* as a restart may find it */
    for (int p = 0; p < LEASE_PHASE_MAX; p++)
        assert_true(seen[p][0] || seen[p][1]); /* no state that can't be reached */
    assert_false(seen[LEASE_STARTING][1] || seen[LEASE_UNAVAILABLE][1] || seen[LEASE_PAUSED][1]);
    assert_false(seen[LEASE_AVAILABLE][0]);
}

/* From every state there is a way back to AVAILABLE, and a refusal or silence is answered in each. */
static void test_no_dead_end(void **state) {
    for (int p = 0; p < LEASE_PHASE_MAX; p++) {
        bool back[LEASE_PHASE_MAX] = {[LEASE_AVAILABLE] = true};
        for (int round = 0; round < LEASE_PHASE_MAX; round++)
            for (int from = 0; from < LEASE_PHASE_MAX; from++)
                for (int e = 0; e < LIFE_EVENT_MAX; e++) {
                    const struct life_rule *r = life_find((enum lease_phase)from, (enum life_event)e);
                    if (r && back[r->to]) back[from] = true;
                }
        assert_true(back[p]);
        assert_non_null(life_find((enum lease_phase)p, LIFE_REFUSED));
    }
}

static void test_one_rule_each(void **state) {
    size_t count;
    const struct life_rule *rules = life_rules(&count);
    for (size_t i = 0; i < count; i++) {
        assert_ptr_equal(life_find(rules[i].from, rules[i].event), &rules[i]);
        assert_true(strlen(lease_phase_name(rules[i].from)) > 0 && strlen(life_event_name(rules[i].event)) > 0);
    }
    enum lease_phase p;
    assert_true(lease_phase_of("PAUSED", &p));
    assert_int_equal(p, LEASE_PAUSED);
    assert_false(lease_phase_of("paused", &p));
}

/* ---- the machine ---- */

enum mood { MOOD_YES, MOOD_NO, MOOD_SILENT, MOOD_MAX };

enum { QUESTIONS = 8 };

/* What was asked of KMS and not answered yet. */
struct question {
    bool is_used, is_preflight;
    enum kms_operation operation;
    uint32_t generation;
    int64_t sent_ns, answered_ns;
    enum verdict_kind verdict;
};

struct world {
    struct lease_machine m;
    uint64_t random;
    int64_t now_ns;
    enum mood mood;
    bool is_gone; /* deleted for good */
    struct question questions[QUESTIONS];
    /* What an onlooker knows. */
    int64_t last_yes_ns;    /* when the last Decrypt (or preflight) that was answered with yes had been sent */
    int64_t unavailable_ms; /* time seen in UNAVAILABLE, leaps cut to LEASE_OBSERVE_MS * 2 */
    unsigned passes;        /* preflights in a row that passed, since the last thing that wasn't a yes */
    int64_t first_pass_ns;  /* when the first of them was answered */
    bool was_granted, recover_asked, is_first;
    unsigned visited[LEASE_PHASE_MAX];
};

static uint64_t dice(struct world *w, uint64_t sides) {
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random % sides;
}

static void ask(struct world *w, bool is_preflight, enum kms_operation operation) {
    for (int i = 0; i < QUESTIONS; i++) {
        struct question *q = &w->questions[i];
        if (q->is_used) continue;
        enum mood mood = dice(w, 20) == 0 ? (enum mood)dice(w, MOOD_MAX) : w->mood;
        int64_t takes_ms = mood == MOOD_SILENT ? 5000 : (int64_t)dice(w, 400);
        *q = (struct question){.is_used = true,
                               .is_preflight = is_preflight,
                               .operation = operation,
                               .generation = w->m.generation,
                               .sent_ns = w->now_ns,
                               .answered_ns = w->now_ns + takes_ms * NS_PER_MS,
                               .verdict = mood == MOOD_YES  ? VERDICT_GOOD
                                          : mood == MOOD_NO ? VERDICT_REFUSED
                                                            : VERDICT_SILENT};
        return;
    }
}

static void obey(struct world *w, struct lease_orders orders) {
    for (int i = 0; i < KMS_OPERATION_MAX; i++)
        if (orders.probes & (1U << i)) ask(w, false, (enum kms_operation)i);
    if (orders.preflight) ask(w, true, KMS_DECRYPT);
    bool has = lease_is_granted(&w->m);
    if (orders.event == LEASE_GRANTED) {
        /* Restored after any trouble: two preflights in a row, two seconds apart. */
        assert_true(w->passes >= (w->is_first ? 1U : 2U));
        if (!w->is_first) assert_true(w->now_ns - w->first_pass_ns >= LEASE_PASS_GAP_MS * NS_PER_MS);
        w->is_first = false;
    }
    if (orders.event == LEASE_ENDED || w->m.phase == LEASE_PAUSED || w->m.phase == LEASE_RECOVERING)
        w->is_first = false;
    if (w->was_granted && !has) assert_int_equal(orders.event, LEASE_ENDED);
    if (!w->was_granted && has) assert_int_equal(orders.event, LEASE_GRANTED);
    w->was_granted = has;
}

static void answer(struct world *w, struct question *q) {
    q->is_used = false;
    bool is_fresh = q->generation == w->m.generation, is_yes = q->verdict == VERDICT_GOOD;
    if (is_fresh && is_yes && (q->is_preflight || q->operation == KMS_DECRYPT) && q->sent_ns > w->last_yes_ns)
        w->last_yes_ns = q->sent_ns;
    if (is_fresh && q->is_preflight) {
        if (!is_yes) w->passes = 0;
        if (q->verdict == VERDICT_REFUSED) w->is_first = false; /* silence alone is no trouble */
        if (is_yes && w->passes++ == 0) w->first_pass_ns = w->now_ns;
    }
    if (q->is_preflight)
        obey(w, lease_preflighted(&w->m, q->generation, q->verdict, w->is_gone, q->sent_ns, w->now_ns));
    else
        obey(w, lease_probed(&w->m, q->generation, q->operation, q->verdict, w->is_gone, q->sent_ns, w->now_ns));
}

/* What an onlooker may demand at every moment. */
static void check_world(struct world *w, enum lease_phase before) {
    const struct lease_machine *m = &w->m;
    w->visited[m->phase]++;
    if (lease_is_granted(m)) {
        assert_true(m->phase == LEASE_AVAILABLE || m->phase == LEASE_RECOVERING);
        /* Nothing but a fresh yes carries a lease, and none far. */
        assert_true(m->expiry_ns <= w->last_yes_ns + LEASE_HARD_CAP_MS * NS_PER_MS);
        assert_true(m->expiry_ns <= w->last_yes_ns + lease_grant_ns(&m->times));
    } else {
        assert_true(m->phase != LEASE_AVAILABLE);
    }
    if (before == LEASE_PAUSED && m->phase != LEASE_PAUSED) assert_true(w->recover_asked);
    if (before == LEASE_UNAVAILABLE && m->phase == LEASE_PAUSED)
        assert_true(w->unavailable_ms * NS_PER_MS >= m->times.pause_after_ns);
    if (m->phase == LEASE_AVAILABLE) w->unavailable_ms = 0;
    assert_true(lease_wake_ns(m) > w->now_ns || lease_is_asking(m) || lease_wake_ns(m) >= w->now_ns - NS_PER_S);
    w->recover_asked = false;
}

/* The keyring is killed and started again: only what is persisted stays. */
static void restart(struct world *w) {
    struct lease_past past = {.phase = w->m.phase, .cause = w->m.cause, .unavailable_ns = w->m.unavailable_ns};
    struct lease_times times = w->m.times;
    lease_machine_init(&w->m, &times, &past, w->random, w->now_ns);
    assert_false(lease_is_granted(&w->m));
    bool stays = past.phase == LEASE_PAUSED || past.phase == LEASE_RECOVERING;
    assert_int_equal(w->m.phase, stays ? past.phase : LEASE_STARTING);
    w->was_granted = false;
    w->passes = 0;
    w->is_first = past.phase == LEASE_AVAILABLE;
    for (int i = 0; i < QUESTIONS; i++)
        w->questions[i].is_used = false;
}

static void pass_time(struct world *w) {
    bool is_leap = dice(w, 5000) == 0; /* a suspended machine, a process that was stopped */
    int64_t ms = is_leap ? 86400000 : 1 + (int64_t)dice(w, 700);
    w->now_ns += ms * NS_PER_MS;
    if (w->m.phase == LEASE_UNAVAILABLE) w->unavailable_ms += ms > 2 * LEASE_OBSERVE_MS ? 2 * LEASE_OBSERVE_MS : ms;
}

static void live(struct world *w) {
    enum lease_phase before = w->m.phase;
    pass_time(w);
    if (dice(w, 300) == 0) w->mood = (enum mood)dice(w, MOOD_MAX);
    if (dice(w, 20000) == 0) w->is_gone = !w->is_gone;
    obey(w, lease_tick(&w->m, w->now_ns));
    /* From here on nobody may read under a lease that has run out. */
    if (lease_is_granted(&w->m)) assert_true(w->m.expiry_ns > w->now_ns);
    for (int i = 0; i < QUESTIONS; i++)
        if (w->questions[i].is_used && w->questions[i].answered_ns <= w->now_ns) answer(w, &w->questions[i]);
    if (dice(w, 400) == 0) {
        w->recover_asked = true;
        obey(w, lease_recover(&w->m, w->now_ns));
    }
    if (dice(w, 50) == 0) obey(w, lease_recovered(&w->m, w->now_ns));
    if (dice(w, 200) == 0) lease_recheck(&w->m, w->now_ns);
    check_world(w, before);
    if (dice(w, 3000) == 0) restart(w);
}

static void run_walk(uint64_t seed, unsigned steps, const struct lease_times *times,
                     unsigned visited[LEASE_PHASE_MAX]) {
    struct world w = {.random = seed, .now_ns = 1000 * NS_PER_S, .is_first = true};
    lease_machine_init(&w.m, times, NULL, seed, w.now_ns);
    for (unsigned i = 0; i < steps; i++)
        live(&w);
    for (int i = 0; i < LEASE_PHASE_MAX; i++)
        visited[i] += w.visited[i];
}

static void test_long_walks(void **state) {
    static const struct lease_times times[] = {
        {10 * NS_PER_S, 20 * NS_PER_S, 120 * NS_PER_S, 5 * NS_PER_S, 90 * NS_PER_S},
        {1 * NS_PER_S, 2 * NS_PER_S, 4 * NS_PER_S, NS_PER_S / 2, 5 * NS_PER_S},
        {60 * NS_PER_S, 600 * NS_PER_S, 0, 30 * NS_PER_S, 600 * NS_PER_S},
    };
    for (size_t t = 0; t < ARRAY_LEN(times); t++) {
        unsigned visited[LEASE_PHASE_MAX] = {0};
        for (uint64_t seed = 1; seed <= 10; seed++)
            run_walk(seed * 0x9e3779b97f4a7c15ULL, 60000, &times[t], visited);
        for (int i = 0; i < LEASE_PHASE_MAX; i++)
            assert_true(visited[i] > 0); /* the walks went everywhere */
    }
}

/* An organization under the operator's own key is never paused. */
static void test_service_keys_never_pause(void **state) {
    static const struct lease_times times = {10 * NS_PER_S, 20 * NS_PER_S, LEASE_HARD_CAP_MS * NS_PER_MS, 5 * NS_PER_S,
                                             0};
    unsigned visited[LEASE_PHASE_MAX] = {0};
    for (uint64_t seed = 1; seed <= 10; seed++)
        run_walk(seed, 60000, &times, visited);
    assert_int_equal(visited[LEASE_PAUSED], 0);
    assert_true(visited[LEASE_UNAVAILABLE] > 0 && visited[LEASE_AVAILABLE] > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_rule_each),
        cmocka_unit_test(test_every_step),
        cmocka_unit_test(test_no_dead_end),
        cmocka_unit_test(test_long_walks),
        cmocka_unit_test(test_service_keys_never_pause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
