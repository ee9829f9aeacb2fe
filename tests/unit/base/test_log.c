#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "testing.h"

/* Sends stderr to a file while a test logs. */
static char captured[1 << 20];
static int old_stderr;
static char path[] = "/tmp/lockset-log-XXXXXX";

static void capture_start(void) {
    memcpy(path + sizeof path - 7, "XXXXXX", 6);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    old_stderr = dup(2);
    dup2(fd, 2);
    close(fd);
}

static void capture_end(void) {
    dup2(old_stderr, 2);
    close(old_stderr);
    BUF_AUTO(b, sizeof captured - 1);
    ASSERT_OK(file_read(path, sizeof captured - 1, &b));
    unlink(path);
    strcpy(captured, buf_str(&b));
}

static void test_line(void **state) {
    log_start("lockset-api", LOG_INFO);
    capture_start();
    log_info("lease.ended", KV("org", "acme"), KV("cause", "DENIED"), KVI("age_ms", -5));
    log_debug("hidden");
    log_error("plain");
    capture_end();
    assert_int_equal(captured[23], 'Z');
    char *end = strchr(captured, '\n');
    *end = '\0';
    assert_string_equal(captured + 24, " info lockset-api lease.ended org=acme cause=DENIED age_ms=-5");
    assert_string_equal(end + 1 + 24, " error lockset-api plain\n");
}

static void test_values_cannot_forge_lines(void **state) {
    char controls[] = "a\nb\x1b[31m\"q\"\\ \xC2\x85\xFF \xC3\xA9";
    char *nothing = NULL;
    capture_start();
    log_warn("e", KV("v", controls), KV("empty", ""), KV("null", nothing), KV("eq", "a=b"), KV("sp", "a b"));
    capture_end();
    assert_non_null(
        strstr(captured, " warn lockset-api e v=\"a\\x0ab\\x1b[31m\\\"q\\\"\\\\ \\xc2\\x85\\xff \xC3\xA9\" empty=\"\" "
                         "null=\"\" eq=\"a=b\" sp=\"a b\"\n"));
}

static void test_long_values_are_cut(void **state) {
    char text[600];
    memset(text, 'x', sizeof text);
    text[599] = '\0';
    text[511] = (char)0xC3; /* a character across the cut */
    text[512] = (char)0xA9;
    capture_start();
    struct kv many[40] = {{0}};
    for (int i = 0; i < 39; i++)
        many[i] = KV("key", text);
    log_write(LOG_INFO, "e", many);
    log_info("cut", KV("v", text));
    capture_end();
    char *second = strchr(captured, '\n') + 1;
    assert_int_equal(second - captured, 8192);
    assert_int_equal(strlen(strstr(second, "v=")), 2 + 1 + 511 + 1 + 3 + 1);
}

static void *log_much(void *arg) {
    for (int i = 0; i < 500; i++)
        log_info("thread", KV("who", arg), KVI("i", i));
    return NULL;
}

static void test_threads(void **state) {
    capture_start();
    pthread_t threads[4];
    char names[4][2] = {"a", "b", "c", "d"};
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, log_much, names[i]);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    capture_end();
    int lines = 0;
    for (char *p = captured, *end; (end = strchr(p, '\n')); p = end + 1, lines++) {
        *end = '\0';
        assert_non_null(strstr(p, " info lockset-api thread who="));
        assert_true(strlen(p) < 70);
    }
    assert_int_equal(lines, 2000);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_line),
    cmocka_unit_test(test_values_cannot_forge_lines),
    cmocka_unit_test(test_long_values_are_cut),
    cmocka_unit_test(test_threads),
};

TEST_MAIN(tests)
