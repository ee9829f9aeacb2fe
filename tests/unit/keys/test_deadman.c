#include "testing.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "keys/deadman.h"

/* Runs `body` in a child of its own; how it ended, as waitpid tells it, and after how many milliseconds. */
static int run(void (*body)(void), int64_t *ret_ms) {
    int64_t begin = clock_boottime_ns();
    pid_t pid = fork();
    if (pid == 0) {
        body();
        _exit(7);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    *ret_ms = (clock_boottime_ns() - begin) / NS_PER_MS;
    return status;
}

static void assert_killed_after(void (*body)(void), int64_t least_ms, int64_t most_ms) {
    int64_t ms;
    int status = run(body, &ms);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    assert_in_range(ms, least_ms, most_ms);
}

static void spin_after_start(void) {
    if (is_err(deadman_start(200))) _exit(1);
    for (volatile unsigned n = 0;; n++)
        ;
}

static void sleep_after_start(void) {
    sigset_t all; /* even with every signal blocked */
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    if (is_err(deadman_start(200))) _exit(1);
    sleep(10);
}

static void stopped_after_start(void) {
    if (is_err(deadman_start(300))) _exit(1);
    raise(SIGSTOP);
    _exit(2);
}

static void re_armed(void) {
    if (is_err(deadman_start(100))) _exit(1);
    if (is_err(deadman_arm(clock_boottime_ns() + 500 * NS_PER_MS))) _exit(1);
    sleep(10);
}

static void armed_in_the_past(void) {
    if (is_err(deadman_start(10000))) _exit(1);
    if (is_err(deadman_arm(clock_boottime_ns() - NS_PER_S))) _exit(1);
    sleep(10);
}

static void armed_at_zero(void) {
    if (is_err(deadman_start(10000))) _exit(1);
    if (is_err(deadman_arm(0))) _exit(1); /* must not disarm */
    sleep(10);
}

static void lives_while_re_armed(void) {
    if (is_err(deadman_start(200))) _exit(1);
    for (int i = 0; i < 10; i++) {
        if (is_err(deadman_arm(clock_boottime_ns() + 200 * NS_PER_MS))) _exit(1);
        clock_sleep_ms(50);
    }
    _exit(7);
}

static void misuse(void) {
    if (deadman_arm(clock_boottime_ns()).code != ERR_INVALID) _exit(1);
    if (deadman_start(0).code != ERR_INVALID) _exit(2);
    if (deadman_start(DEADMAN_MAX_MS + 1).code != ERR_INVALID) _exit(3);
    if (is_err(deadman_start(10000))) _exit(4);
    if (deadman_start(10000).code != ERR_CONFLICT) _exit(5);
    if (is_err(deadman_arm(INT64_MAX))) _exit(6); /* cut to the hard cap */
    _exit(7);
}

static void kills_a_process_that_spins(void **state) {
    assert_killed_after(spin_after_start, 190, 2000);
}

static void kills_a_process_that_sleeps_with_signals_blocked(void **state) {
    assert_killed_after(sleep_after_start, 190, 2000);
}

static void kills_a_stopped_process(void **state) {
    assert_killed_after(stopped_after_start, 290, 2000);
}

static void arming_moves_it(void **state) {
    assert_killed_after(re_armed, 490, 2500);
}

static void a_time_that_has_passed_kills_at_once(void **state) {
    assert_killed_after(armed_in_the_past, 0, 1000);
    assert_killed_after(armed_at_zero, 0, 1000);
}

static void an_armed_process_lives(void **state) {
    int64_t ms;
    int status = run(lives_while_re_armed, &ms);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
}

static void misuse_is_told(void **state) {
    int64_t ms;
    int status = run(misuse, &ms);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(kills_a_process_that_spins),
    cmocka_unit_test(kills_a_process_that_sleeps_with_signals_blocked),
    cmocka_unit_test(kills_a_stopped_process),
    cmocka_unit_test(arming_moves_it),
    cmocka_unit_test(a_time_that_has_passed_kills_at_once),
    cmocka_unit_test(an_armed_process_lives),
    cmocka_unit_test(misuse_is_told),
};
TEST_MAIN(tests)
