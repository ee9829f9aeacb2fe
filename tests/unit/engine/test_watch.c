/* The watch over statements, with a library that only notes what is asked of it. */
#include "testing.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/watch.h"

enum { LIMIT_MS = 10000 };

static struct chdb_session *session;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char asked[1024]; /* the last statement */
static unsigned asked_times;

static struct chdb_session **fake_connect(int argc, char **argv) {
    static char anything;
    session = (struct chdb_session *)&anything;
    return &session;
}

static void fake_close(struct chdb_session **s) {}

static struct chdb_result *fake_query(struct chdb_session *s, const char *query, size_t query_len, const char *format,
                                      size_t format_len, const char *const *names, const size_t *name_lens,
                                      const char *const *values, const size_t *value_lens, size_t count) {
    pthread_mutex_lock(&lock);
    snprintf(asked, sizeof(asked), "%.*s", (int)query_len, query);
    asked_times++;
    pthread_mutex_unlock(&lock);
    return NULL;
}

static struct watch *start(int statm_fd, uint64_t memory_bytes) {
    static struct instance instance = {
        .chdb = {.connect = fake_connect, .close = fake_close, .query = fake_query},
        .connecting = PTHREAD_MUTEX_INITIALIZER,
    };
    struct watch *w;
    ASSERT_OK(watch_start(&instance, statm_fd, memory_bytes, &w));
    return w;
}

static unsigned times_asked(char ret[static 1024]) {
    pthread_mutex_lock(&lock);
    snprintf(ret, 1024, "%s", asked);
    unsigned times = asked_times;
    pthread_mutex_unlock(&lock);
    return times;
}

static void wait_for_kill(uint64_t id) {
    char sql[1024], wanted[64];
    snprintf(wanted, sizeof(wanted), "= 'lockset-%llu' ASYNC", (unsigned long long)id);
    int64_t until = clock_boottime_ns() + LIMIT_MS * NS_PER_MS;
    while (times_asked(sql) == 0 || !strstr(sql, wanted)) {
        if (clock_boottime_ns() > until) fail_msg("nobody killed %llu: %s", (unsigned long long)id, sql);
        clock_sleep_ms(5);
    }
    assert_true(strncmp(sql, "KILL QUERY WHERE ", 17) == 0);
}

/* Runs `body` in a process of its own; its exit code. */
static int exit_code_of(void (*body)(void)) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        body();
        clock_sleep_ms(LIMIT_MS);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int64_t in_ms(int64_t ms) {
    return clock_boottime_ns() + ms * NS_PER_MS;
}

static void run_past_the_grace(void) {
    static struct watch_item item = {.id = 1, .client_fd = -1};
    item.deadline_ns = in_ms(100);
    watch_add(start(-1, UINT64_MAX), &item);
}

static void test_what_runs_past_the_grace_ends_the_process(void **state) {
    int64_t began = clock_boottime_ns();
    assert_int_equal(exit_code_of(run_past_the_grace), WATCH_EXIT_DEADLINE);
    assert_true(clock_boottime_ns() - began >= WATCH_GRACE_MS * NS_PER_MS);
}

static int memory_file(const char *text) {
    int fd = memfd_create("statm", MFD_CLOEXEC);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    return fd;
}

static void hold_too_much(void) {
    start(memory_file("9000 3000 1999 0 0 0 0\n"), 1000 * (uint64_t)sysconf(_SC_PAGESIZE));
}

static void hold_just_enough(void) {
    start(memory_file("9000 2999 1999 0 0 0 0\n"), 1000 * (uint64_t)sysconf(_SC_PAGESIZE));
    clock_sleep_ms(300);
    _exit(3);
}

static void test_too_much_memory_ends_the_process(void **state) {
    assert_int_equal(exit_code_of(hold_too_much), WATCH_EXIT_MEMORY);
    assert_int_equal(exit_code_of(hold_just_enough), 3);
}

static void test_at_its_deadline_a_statement_is_killed(void **state) {
    struct watch *w = start(-1, UINT64_MAX);
    struct watch_item late = {.id = watch_new_id(w), .deadline_ns = in_ms(50), .client_fd = -1};
    struct watch_item other = {.id = watch_new_id(w), .deadline_ns = in_ms(60000), .client_fd = -1};
    assert_true(late.id != other.id);
    watch_add(w, &late);
    watch_add(w, &other);
    wait_for_kill(late.id);
    watch_remove(w, &late);
    watch_remove(w, &other);
    assert_true(late.killed && !other.killed);
}

static void test_a_statement_whose_client_is_gone_is_killed(void **state) {
    struct watch *w = start(-1, UINT64_MAX);
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    struct watch_item item = {.id = 77, .deadline_ns = in_ms(60000), .client_fd = ends[0]};
    watch_add(w, &item);
    clock_sleep_ms(200);
    char sql[1024];
    times_asked(sql);
    assert_null(strstr(sql, "lockset-77'"));
    close(ends[1]);
    wait_for_kill(77);
    watch_remove(w, &item);
    close(ends[0]);
}

/* Waiting for a client is no reason to end the process: past the grace the client is cut off. */
static void test_a_client_that_takes_nothing_is_cut_off(void **state) {
    struct watch *w = start(-1, UINT64_MAX);
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    struct watch_item item = {.id = 88, .deadline_ns = in_ms(50), .client_fd = ends[0]};
    watch_add(w, &item);
    watch_idle(w, &item, true);
    int64_t began = clock_boottime_ns();
    char byte;
    assert_int_equal(read(ends[1], &byte, 1), 0); /* waits until it is */
    assert_true(clock_boottime_ns() - began >= WATCH_GRACE_MS * NS_PER_MS);
    watch_idle(w, &item, false); /* to be cleaned up: with the grace once more */
    clock_sleep_ms(300);
    watch_remove(w, &item);
    close(ends[0]);
    close(ends[1]);
}

/* Those that fork come first: no thread runs yet. */
static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_what_runs_past_the_grace_ends_the_process),
    cmocka_unit_test(test_too_much_memory_ends_the_process),
    cmocka_unit_test(test_at_its_deadline_a_statement_is_killed),
    cmocka_unit_test(test_a_statement_whose_client_is_gone_is_killed),
    cmocka_unit_test(test_a_client_that_takes_nothing_is_cut_off),
};
TEST_MAIN(tests)
