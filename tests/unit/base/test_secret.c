#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "testing.h"

static void test_life(void **state) {
    struct secret s = {0};
    ASSERT_OK(secret_from("key material", 12, &s));
    assert_true(slice_is(secret_view(&s), "key material"));
    secret_done(&s);
    assert_null(s.data);
    secret_done(&s);
    ASSERT_OK(secret_new(0, &s));
    assert_non_null(s.data);
    secret_done(&s);
    ASSERT_OK(secret_new(32, &s));
    for (int i = 0; i < 32; i++)
        assert_int_equal(s.data[i], 0);
    secret_done(&s);
    struct secret a, b;
    ASSERT_OK(secret_random(32, &a));
    ASSERT_OK(secret_random(32, &b));
    assert_false(secret_equal(secret_view(&a), secret_view(&b)));
    assert_true(secret_equal(secret_view(&a), secret_view(&a)));
    secret_done(&a);
    secret_done(&b);
    assert_false(secret_equal(slice_str("a"), slice_str("ab")));
    assert_true(secret_equal((struct slice){0}, slice_str("")));
}

static void test_exhaustion_is_an_error(void **state) {
    struct secret kept[70];
    size_t n = 0;
    while (n < ARRAY_LEN(kept) && is_ok(secret_new(32768, &kept[n])))
        n++;
    assert_true(n >= 16 && n < ARRAY_LEN(kept));
    struct secret more = {0};
    ASSERT_ERR(IO, secret_new(32768, &more));
    assert_null(more.data);
    while (n > 0)
        secret_done(&kept[--n]);
    ASSERT_OK(secret_new(32768, &more));
    secret_done(&more);
}

/* How often the canary (given inverted, so that the search does not find its own needle) is in a writable mapping. */
static unsigned count_in_memory(const uint8_t *inverted, size_t n) {
    FILE *maps = fopen("/proc/self/maps", "re");
    FILE *mem = fopen("/proc/self/mem", "re");
    assert_non_null(maps);
    assert_non_null(mem);
    unsigned found = 0;
    char line[512];
    static uint8_t page[4096];
    while (fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        char mode[5];
        if (sscanf(line, "%lx-%lx %4s", &from, &to, mode) != 3 || strncmp(mode, "rw", 2) != 0) continue;
        if (to - from > 64UL << 20) continue; /* a sanitizer's shadow */
        for (unsigned long at = from; at < to; at += sizeof page) {
            if ((uintptr_t)page >= at && (uintptr_t)page < at + sizeof page) continue;
            if (fseek(mem, (long)at, SEEK_SET) != 0 || fread(page, 1, sizeof page, mem) != sizeof page) continue;
            for (size_t i = 0; i + n <= sizeof page; i++) {
                size_t j = 0;
                while (j < n && (page[i + j] ^ inverted[j]) == 0xFF)
                    j++;
                found += j == n;
            }
            wipe(page, sizeof page);
        }
    }
    fclose(maps);
    fclose(mem);
    return found;
}

static void test_freed_secrets_are_gone(void **state) {
    uint8_t inverted[24];
    struct secret s;
    ASSERT_OK(secret_random(sizeof inverted, &s));
    for (size_t i = 0; i < sizeof inverted; i++)
        inverted[i] = (uint8_t)(s.data[i] ^ 0xFF);
    assert_true(count_in_memory(inverted, sizeof inverted) >= 1);
    secret_done(&s);
    assert_int_equal(count_in_memory(inverted, sizeof inverted), 0);
    struct buf b;
    buf_init_wiping(&b, 1 << 20);
    for (int round = 0; round < 2000; round++) /* grows, and so moves, several times */
        for (size_t i = 0; i < sizeof inverted; i++)
            buf_append_byte(&b, (uint8_t)(inverted[i] ^ 0xFF));
    assert_true(count_in_memory(inverted, sizeof inverted) >= 1000);
    buf_done(&b);
    assert_int_equal(count_in_memory(inverted, sizeof inverted), 0);
}

static void test_second_start_is_refused(void **state) {
    ASSERT_ERR(CONFLICT, secret_start(1 << 20, true));
}

/* Runs in a process of its own, started by test_hardening. */
static int hardened_child(void) {
    if (is_ok(secret_start(1000, false))) return 2;
    if (is_err(secret_start(65536, false))) return 3;
    struct rlimit core;
    if (getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_cur != 0) return 4;
    if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0) return 5;
    struct secret s;
    if (is_err(secret_new(32, &s))) return 6;
    secret_done(&s);
    return 0;
}

static int unstarted_child(void) {
    struct secret s;
    return secret_new(32, &s).code == ERR_INTERNAL ? 0 : 2;
}

static int run_self(const char *mode) {
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", "test", mode, (char *)NULL);
        _exit(99);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void test_hardening(void **state) {
    assert_int_equal(run_self("hardened"), 0);
}

static void test_without_start(void **state) {
    assert_int_equal(run_self("unstarted"), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_life),
    cmocka_unit_test(test_exhaustion_is_an_error),
    cmocka_unit_test(test_freed_secrets_are_gone),
    cmocka_unit_test(test_second_start_is_refused),
    cmocka_unit_test(test_hardening),
    cmocka_unit_test(test_without_start),
};

int main(int argc, char **argv) {
    /* _exit: a leak checker can't attach to a process that is not dumpable. */
    if (argc > 1) _exit(strcmp(argv[1], "hardened") == 0 ? hardened_child() : unstarted_child());
    if (is_err(secret_start(1 << 20, true))) {
        fprintf(stderr, "%s\n", err_detail());
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
