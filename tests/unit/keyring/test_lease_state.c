#include "testing.h"

#include "base/clock.h"
#include "keyring/lease_state.h"

#define MS(n) ((int64_t)(n)*NS_PER_MS)

/* A machine and the time it lives in; it begins far from zero, as boot time does. */
struct life {
    struct lease_machine m;
    int64_t now;
};

static const struct lease_times defaults = {.probe_interval_ns = MS(10000),
                                            .full_check_interval_ns = MS(20000),
                                            .ride_through_ns = MS(120000),
                                            .kms_timeout_ns = MS(5000)};

static struct life born(const struct lease_times *times, bool was_unavailable) {
    struct life l = {.now = MS(5000000)};
    struct lease_past past = {.phase = was_unavailable ? LEASE_UNAVAILABLE : LEASE_AVAILABLE};
    lease_machine_init(&l.m, times, &past, 42, l.now);
    return l;
}

static void expect_event(struct lease_orders orders, enum lease_event event) {
    assert_int_equal(orders.event, event);
}

/* A preflight that was ordered comes to an end; its last question was sent ago_ms before. */
static struct lease_orders preflight(struct life *l, enum verdict_kind kind, int64_t ago_ms) {
    struct lease_orders orders = lease_tick(&l->m, l->now);
    assert_true(orders.preflight);
    return lease_preflighted(&l->m, l->m.generation, kind, false, l->now - MS(ago_ms), l->now);
}

static struct life available(const struct lease_times *times) {
    struct life l = born(times, false);
    expect_event(preflight(&l, VERDICT_GOOD, 0), LEASE_GRANTED);
    return l;
}

/* Moves to when the operation's probe is due, and orders it. */
static void go_to_probe(struct life *l, enum kms_operation operation) {
    assert_false(l->m.probes[operation].in_flight);
    if (l->m.probes[operation].due_ns > l->now) l->now = l->m.probes[operation].due_ns;
    assert_true(lease_tick(&l->m, l->now).probes & (1U << operation));
}

static struct lease_orders answer(struct life *l, enum kms_operation operation, enum verdict_kind kind) {
    return lease_probed(&l->m, l->m.generation, operation, kind, false, l->now, l->now);
}

static struct lease_orders probe(struct life *l, enum kms_operation operation, enum verdict_kind kind) {
    go_to_probe(l, operation);
    return answer(l, operation, kind);
}

/* All five, good, at this moment. */
static void hear_of_all(struct life *l) {
    lease_recheck(&l->m, l->now);
    lease_tick(&l->m, l->now);
    for (int i = 0; i < KMS_OPERATION_MAX; i++)
        answer(l, (enum kms_operation)i, VERDICT_GOOD);
}

static void a_grant_is_as_long_as_the_ride_and_never_too_short_or_too_long(void **state) {
    struct lease_times t = defaults;
    assert_int_equal(lease_grant_ns(&t), MS(120000));
    t.ride_through_ns = 0;
    assert_int_equal(lease_grant_ns(&t), MS(10000 + 5000 + LEASE_MARGIN_MS));
    t.ride_through_ns = MS(LEASE_HARD_CAP_MS) + 1;
    assert_int_equal(lease_grant_ns(&t), MS(LEASE_HARD_CAP_MS));
    t.probe_interval_ns = MS(2 * LEASE_HARD_CAP_MS);
    assert_int_equal(lease_grant_ns(&t), MS(LEASE_HARD_CAP_MS));
}

static void the_first_good_preflight_grants(void **state) {
    struct life l = born(&defaults, false);
    assert_int_equal(l.m.phase, LEASE_STARTING);
    assert_int_equal(lease_wake_ns(&l.m), l.now);
    expect_event(preflight(&l, VERDICT_GOOD, 300), LEASE_GRANTED);
    assert_int_equal(l.m.phase, LEASE_AVAILABLE);
    assert_int_equal(l.m.expiry_ns, l.now - MS(300) + MS(120000));
}

static void after_trouble_it_must_be_good_for_a_while(void **state) {
    struct life l = born(&defaults, true);
    expect_event(preflight(&l, VERDICT_GOOD, 0), LEASE_SAME);
    assert_false(lease_tick(&l.m, l.now).preflight);
    lease_recheck(&l.m, l.now); /* asking doesn't shorten the steps */
    for (int at = LEASE_PASS_STEP_MS; at < LEASE_PASS_GAP_MS; at += LEASE_PASS_STEP_MS) {
        assert_int_equal(lease_wake_ns(&l.m), l.now + MS(LEASE_PASS_STEP_MS));
        l.now += MS(LEASE_PASS_STEP_MS);
        expect_event(preflight(&l, VERDICT_GOOD, 0), LEASE_SAME);
    }
    l.now += MS(LEASE_PASS_STEP_MS);
    expect_event(preflight(&l, VERDICT_GOOD, 0), LEASE_GRANTED);
}

static void a_refusal_or_silence_between_the_two_starts_over(void **state) {
    static const enum verdict_kind bad[] = {VERDICT_REFUSED, VERDICT_SILENT, VERDICT_CORRUPT};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct life l = born(&defaults, true);
        preflight(&l, VERDICT_GOOD, 0);
        l.now += MS(LEASE_PASS_GAP_MS);
        preflight(&l, bad[i], 0);
        assert_int_not_equal(l.m.phase, LEASE_AVAILABLE);
        l.now += MS(LEASE_RETRY_MS);
        expect_event(preflight(&l, VERDICT_GOOD, 0), LEASE_SAME);
        l.now += MS(LEASE_PASS_GAP_MS);
        expect_event(preflight(&l, VERDICT_GOOD, 0), LEASE_GRANTED);
    }
}

static void a_preflight_that_took_longer_than_its_lease_grants_nothing(void **state) {
    struct life l = born(&defaults, false);
    assert_true(lease_tick(&l.m, l.now).preflight);
    int64_t sent = l.now;
    l.now += MS(120000);
    expect_event(lease_preflighted(&l.m, l.m.generation, VERDICT_GOOD, false, sent, l.now), LEASE_CHANGED);
    assert_int_equal(l.m.cause, LEASE_UNREACHABLE);
}

static void silence_at_the_start_is_unreachable_after_a_while_and_then_good_at_once(void **state) {
    struct life l = born(&defaults, false);
    int64_t began = l.now;
    while (l.now - began < MS(LEASE_START_PATIENCE_MS)) {
        expect_event(preflight(&l, VERDICT_SILENT, 0), LEASE_SAME);
        assert_int_equal(l.m.phase, LEASE_STARTING);
        l.now = lease_wake_ns(&l.m);
    }
    expect_event(preflight(&l, VERDICT_SILENT, 0), LEASE_CHANGED);
    assert_int_equal(l.m.cause, LEASE_UNREACHABLE);
    l.now += MS(LEASE_RETRY_MS);
    expect_event(preflight(&l, VERDICT_GOOD, 0), LEASE_GRANTED);
}

static void a_refused_start_is_denied_at_once(void **state) {
    struct life l = born(&defaults, false);
    expect_event(preflight(&l, VERDICT_REFUSED, 0), LEASE_CHANGED);
    assert_int_equal(l.m.phase, LEASE_UNAVAILABLE);
    assert_int_equal(l.m.cause, LEASE_DENIED);
    l.now += MS(LEASE_RETRY_MS);
    expect_event(preflight(&l, VERDICT_REFUSED, 0), LEASE_SAME);
    l.now += MS(LEASE_RETRY_MS);
    assert_true(lease_tick(&l.m, l.now).preflight);
    expect_event(lease_preflighted(&l.m, l.m.generation, VERDICT_REFUSED, true, l.now, l.now), LEASE_CHANGED);
    assert_int_equal(l.m.cause, LEASE_DESTROYED);
}

static void probes_come_in_time(void **state) {
    struct life l = available(&defaults);
    for (int i = 0; i < KMS_OPERATION_MAX; i++) {
        int64_t interval = i == KMS_DECRYPT ? defaults.probe_interval_ns : defaults.full_check_interval_ns;
        assert_in_range(l.m.probes[i].due_ns, l.now, l.now + interval);
    }
    for (int n = 0; n < 200; n++) {
        probe(&l, KMS_DECRYPT, VERDICT_GOOD);
        int64_t next = l.m.probes[KMS_DECRYPT].due_ns - l.now;
        assert_in_range(next, MS(8000), MS(10000)); /* jitter only shortens */
        hear_of_all(&l);
    }
}

static void each_good_decrypt_extends_from_its_sending(void **state) {
    struct life l = available(&defaults);
    go_to_probe(&l, KMS_DECRYPT);
    int64_t sent = l.now;
    l.now += MS(4000);
    expect_event(lease_probed(&l.m, l.m.generation, KMS_DECRYPT, VERDICT_GOOD, false, sent, l.now), LEASE_EXTENDED);
    assert_int_equal(l.m.expiry_ns, sent + MS(120000));
}

static void an_older_answer_shortens_nothing(void **state) {
    struct life l = available(&defaults);
    int64_t expiry = l.m.expiry_ns;
    go_to_probe(&l, KMS_DECRYPT);
    expect_event(lease_probed(&l.m, l.m.generation, KMS_DECRYPT, VERDICT_GOOD, false, l.now - MS(60000), l.now),
                 LEASE_SAME);
    assert_int_equal(l.m.expiry_ns, expiry);
}

static void decrypt_alone_does_not_carry_a_lease(void **state) {
    struct life l = available(&defaults);
    int64_t began = l.now;
    while (l.m.phase == LEASE_AVAILABLE) {
        l.now = lease_wake_ns(&l.m);
        unsigned due = lease_tick(&l.m, l.now).probes;
        for (int i = 0; i < KMS_OPERATION_MAX; i++)
            if (due & (1U << i)) answer(&l, (enum kms_operation)i, i == KMS_DECRYPT ? VERDICT_GOOD : VERDICT_SILENT);
    }
    assert_int_equal(l.m.phase, LEASE_UNAVAILABLE);
    assert_int_equal(l.m.cause, LEASE_UNREACHABLE);
    assert_in_range(l.now - began, MS(139000), MS(151000));
}

static void a_refusal_is_confirmed_at_once_and_ends_the_lease(void **state) {
    for (int i = 0; i < KMS_OPERATION_MAX; i++) {
        struct life l = available(&defaults);
        enum kms_operation o = (enum kms_operation)i;
        struct lease_orders orders = probe(&l, o, VERDICT_REFUSED);
        expect_event(orders, LEASE_SAME);
        assert_int_equal(orders.probes, 1U << i);
        assert_true(lease_is_asking(&l.m));
        assert_false(lease_is_trusted(&l.m));
        uint32_t generation = l.m.generation;
        expect_event(answer(&l, o, VERDICT_REFUSED), LEASE_ENDED);
        assert_int_equal(l.m.phase, LEASE_UNAVAILABLE);
        assert_int_equal(l.m.cause, LEASE_DENIED);
        assert_int_equal(l.m.expiry_ns, 0);
        assert_int_not_equal(l.m.generation, generation);
        assert_int_equal(lease_wake_ns(&l.m), l.now + MS(LEASE_RETRY_MS));
        l.now += MS(LEASE_RETRY_MS);
        expect_event(preflight(&l, VERDICT_GOOD, 0), LEASE_SAME); /* one yes is not enough */
        l.now += MS(LEASE_PASS_GAP_MS);
        expect_event(preflight(&l, VERDICT_GOOD, 0), LEASE_GRANTED);
    }
}

static void a_refusal_that_nobody_takes_back_ends_it_as_well(void **state) {
    static const enum verdict_kind rest[] = {VERDICT_SILENT, VERDICT_CORRUPT};
    for (size_t i = 0; i < ARRAY_LEN(rest); i++) {
        struct life l = available(&defaults);
        probe(&l, KMS_ENCRYPT, VERDICT_REFUSED);
        expect_event(answer(&l, KMS_ENCRYPT, rest[i]), LEASE_ENDED);
        assert_int_equal(l.m.cause, LEASE_DENIED);
    }
}

static void a_passed_deletion_date_is_told(void **state) {
    struct life l = available(&defaults);
    probe(&l, KMS_DECRYPT, VERDICT_REFUSED);
    expect_event(lease_probed(&l.m, l.m.generation, KMS_DECRYPT, VERDICT_REFUSED, true, l.now, l.now), LEASE_ENDED);
    assert_int_equal(l.m.cause, LEASE_DESTROYED);
}

static void a_refusal_that_is_taken_back_earns_nothing_until_three_more(void **state) {
    struct life l = available(&defaults);
    int64_t expiry = l.m.expiry_ns;
    probe(&l, KMS_ENCRYPT, VERDICT_REFUSED);
    expect_event(answer(&l, KMS_ENCRYPT, VERDICT_GOOD), LEASE_SAME);
    assert_false(lease_is_trusted(&l.m));
    expect_event(probe(&l, KMS_DECRYPT, VERDICT_GOOD), LEASE_SAME); /* another operation's word counts no more */
    for (int n = 1; n < LEASE_DISTRUST; n++)
        expect_event(probe(&l, KMS_ENCRYPT, VERDICT_GOOD), LEASE_SAME);
    assert_int_equal(l.m.expiry_ns, expiry);
    expect_event(probe(&l, KMS_ENCRYPT, VERDICT_GOOD), LEASE_EXTENDED);
    assert_true(lease_is_trusted(&l.m));
    assert_true(l.m.expiry_ns > expiry);
}

static void silence_in_between_begins_the_three_anew(void **state) {
    struct life l = available(&defaults);
    probe(&l, KMS_DECRYPT, VERDICT_REFUSED);
    answer(&l, KMS_DECRYPT, VERDICT_GOOD);
    probe(&l, KMS_DECRYPT, VERDICT_GOOD);
    probe(&l, KMS_DECRYPT, VERDICT_GOOD);
    probe(&l, KMS_DECRYPT, VERDICT_SILENT);
    for (int n = 1; n < LEASE_DISTRUST; n++)
        expect_event(probe(&l, KMS_DECRYPT, VERDICT_GOOD), LEASE_SAME);
    expect_event(probe(&l, KMS_DECRYPT, VERDICT_GOOD), LEASE_EXTENDED);
}

static void a_lease_that_runs_out_among_mixed_answers_was_denied(void **state) {
    struct life l = available(&defaults);
    while (l.m.phase == LEASE_AVAILABLE) {
        l.now = l.m.probes[KMS_DECRYPT].due_ns < l.m.expiry_ns ? l.m.probes[KMS_DECRYPT].due_ns : l.m.expiry_ns;
        struct lease_orders orders = lease_tick(&l.m, l.now);
        if (!(orders.probes & (1U << KMS_DECRYPT))) continue;
        answer(&l, KMS_DECRYPT, VERDICT_REFUSED);
        answer(&l, KMS_DECRYPT, VERDICT_GOOD);
    }
    assert_int_equal(l.m.cause, LEASE_DENIED);
}

static void silence_is_ridden_through_to_the_end(void **state) {
    struct life l = available(&defaults);
    int64_t expiry = l.m.expiry_ns;
    l.now = expiry - 1;
    lease_tick(&l.m, l.now);
    assert_int_equal(l.m.phase, LEASE_AVAILABLE);
    l.now = expiry;
    expect_event(lease_tick(&l.m, l.now), LEASE_ENDED);
    assert_int_equal(l.m.cause, LEASE_UNREACHABLE);
}

static void a_ride_shorter_than_the_interval_ends_at_the_first_silence(void **state) {
    struct lease_times t = defaults;
    t.ride_through_ns = MS(3000);
    struct life l = available(&t);
    expect_event(probe(&l, KMS_DECRYPT, VERDICT_SILENT), LEASE_ENDED);
    assert_int_equal(l.m.cause, LEASE_UNREACHABLE);
}

static void answers_to_an_earlier_lease_are_stale(void **state) {
    struct life l = available(&defaults);
    uint32_t old = l.m.generation;
    probe(&l, KMS_DECRYPT, VERDICT_REFUSED);
    answer(&l, KMS_DECRYPT, VERDICT_REFUSED);
    expect_event(lease_probed(&l.m, old, KMS_ENCRYPT, VERDICT_GOOD, false, l.now, l.now), LEASE_SAME);
    expect_event(lease_preflighted(&l.m, old, VERDICT_GOOD, false, l.now, l.now), LEASE_SAME);
    assert_int_equal(l.m.phase, LEASE_UNAVAILABLE);
    assert_int_equal(l.m.passes, 0);
}

static void a_preflights_refusal_while_there_is_a_lease_makes_the_probes_ask(void **state) {
    struct life l = available(&defaults);
    expect_event(lease_preflighted(&l.m, l.m.generation, VERDICT_REFUSED, false, l.now, l.now), LEASE_SAME);
    assert_int_equal(lease_tick(&l.m, l.now).probes, (1U << KMS_OPERATION_MAX) - 1);
}

/* The store's word for it is no more than a first refusal of KMS's own; then KMS is asked at once, and decides. */
static void a_refusal_to_the_store_is_confirmed_by_kms(void **state) {
    static const enum verdict_kind confirming[] = {VERDICT_REFUSED, VERDICT_SILENT, VERDICT_GOOD};
    for (size_t i = 0; i < ARRAY_LEN(confirming); i++) {
        struct life l = available(&defaults);
        int64_t expiry = l.m.expiry_ns;
        l.now += MS(2000);
        assert_int_equal(lease_refused_to_store(&l.m, l.now).probes, 1U << KMS_DECRYPT);
        assert_int_equal(lease_refused_to_store(&l.m, l.now).probes, 0); /* asked already, and no confirmation */
        assert_true(lease_is_granted(&l.m));
        assert_int_equal(lease_tick(&l.m, l.now).probes, ((1U << KMS_OPERATION_MAX) - 1) & ~(1U << KMS_DECRYPT));
        struct lease_orders orders = answer(&l, KMS_DECRYPT, confirming[i]);
        if (confirming[i] != VERDICT_GOOD) {
            expect_event(orders, LEASE_ENDED);
            assert_int_equal(l.m.cause, LEASE_DENIED);
            assert_int_equal(lease_refused_to_store(&l.m, l.now).probes, 0);
            continue;
        }
        expect_event(orders, LEASE_SAME);
        assert_int_equal(l.m.expiry_ns, expiry);
        assert_false(lease_is_trusted(&l.m)); /* three more must be good before it is extended */
        assert_int_equal(lease_refused_to_store(&l.m, l.now).probes, 1U << KMS_DECRYPT);
        expect_event(answer(&l, KMS_DECRYPT, VERDICT_REFUSED), LEASE_ENDED);
    }
}

static void a_refusal_to_the_store_waits_for_a_probe_that_is_on_its_way(void **state) {
    struct life l = available(&defaults);
    go_to_probe(&l, KMS_DECRYPT);
    assert_int_equal(lease_refused_to_store(&l.m, l.now).probes, 0);
    expect_event(answer(&l, KMS_DECRYPT, VERDICT_REFUSED), LEASE_ENDED);
    struct life unborn = born(&defaults, false);
    assert_int_equal(lease_refused_to_store(&unborn.m, unborn.now).probes, 0);
}

static void nothing_is_asked_twice_at_a_time(void **state) {
    struct life l = available(&defaults);
    hear_of_all(&l);
    lease_recheck(&l.m, l.now);
    assert_int_equal(lease_tick(&l.m, l.now).probes, (1U << KMS_OPERATION_MAX) - 1);
    lease_recheck(&l.m, l.now);
    assert_int_equal(lease_tick(&l.m, l.now).probes, 0);
}

static void names(void **state) {
    assert_string_equal(lease_phase_name(LEASE_UNAVAILABLE), "UNAVAILABLE");
    assert_string_equal(lease_cause_name(LEASE_DESTROYED), "DESTROYED");
    assert_null(lease_cause_name(LEASE_NO_CAUSE));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_grant_is_as_long_as_the_ride_and_never_too_short_or_too_long),
    cmocka_unit_test(the_first_good_preflight_grants),
    cmocka_unit_test(after_trouble_it_must_be_good_for_a_while),
    cmocka_unit_test(a_refusal_or_silence_between_the_two_starts_over),
    cmocka_unit_test(a_preflight_that_took_longer_than_its_lease_grants_nothing),
    cmocka_unit_test(silence_at_the_start_is_unreachable_after_a_while_and_then_good_at_once),
    cmocka_unit_test(a_refused_start_is_denied_at_once),
    cmocka_unit_test(probes_come_in_time),
    cmocka_unit_test(each_good_decrypt_extends_from_its_sending),
    cmocka_unit_test(an_older_answer_shortens_nothing),
    cmocka_unit_test(decrypt_alone_does_not_carry_a_lease),
    cmocka_unit_test(a_refusal_is_confirmed_at_once_and_ends_the_lease),
    cmocka_unit_test(a_refusal_that_nobody_takes_back_ends_it_as_well),
    cmocka_unit_test(a_passed_deletion_date_is_told),
    cmocka_unit_test(a_refusal_that_is_taken_back_earns_nothing_until_three_more),
    cmocka_unit_test(silence_in_between_begins_the_three_anew),
    cmocka_unit_test(a_lease_that_runs_out_among_mixed_answers_was_denied),
    cmocka_unit_test(silence_is_ridden_through_to_the_end),
    cmocka_unit_test(a_ride_shorter_than_the_interval_ends_at_the_first_silence),
    cmocka_unit_test(answers_to_an_earlier_lease_are_stale),
    cmocka_unit_test(a_preflights_refusal_while_there_is_a_lease_makes_the_probes_ask),
    cmocka_unit_test(a_refusal_to_the_store_is_confirmed_by_kms),
    cmocka_unit_test(a_refusal_to_the_store_waits_for_a_probe_that_is_on_its_way),
    cmocka_unit_test(nothing_is_asked_twice_at_a_time),
    cmocka_unit_test(names),
};

TEST_MAIN(tests)
