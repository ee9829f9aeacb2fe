#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "testing.h"

static char dir[] = "/tmp/lockset-file-XXXXXX";

static char *in_dir(const char *name) {
    return str_format("%s/%s", dir, name);
}

static void test_write_and_read(void **state) {
    AUTO_FREE char *path = in_dir("a");
    ASSERT_OK(file_write_atomic(path, slice_str("one"), 0600));
    ASSERT_OK(file_write_atomic(path, slice_str("second"), 0640));
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    BUF_AUTO(b, 100);
    ASSERT_OK(file_read(path, 6, &b));
    assert_string_equal(buf_str(&b), "second");
    buf_clear(&b);
    ASSERT_ERR(TOO_LARGE, file_read(path, 5, &b));
    BUF_AUTO(exact, 6);
    ASSERT_OK(file_read(path, 100, &exact));
    assert_string_equal(buf_str(&exact), "second");
    BUF_AUTO(small, 5);
    ASSERT_ERR(TOO_LARGE, file_read(path, 100, &small));
    ASSERT_OK(file_write_atomic(path, slice_str(""), 0600));
    buf_clear(&b);
    ASSERT_OK(file_read(path, 0, &b));
    assert_int_equal(b.len, 0);
}

static void test_failures(void **state) {
    BUF_AUTO(b, 100);
    AUTO_FREE char *missing = in_dir("missing"), *deep = in_dir("no/such/folder");
    ASSERT_ERR(NOT_FOUND, file_read(missing, 10, &b));
    ASSERT_ERR(IO, file_read(dir, 10, &b));
    ASSERT_ERR(NOT_FOUND, file_write_atomic(deep, slice_str("x"), 0600));
    ASSERT_ERR(NOT_FOUND, file_sync_dir(missing));
    /* Renaming a file over a folder fails and leaves nothing behind. */
    AUTO_FREE char *folder = in_dir("folder"), *inner = in_dir("folder/x"), *pattern = in_dir("folder.");
    ASSERT_OK(file_make_dirs(folder));
    ASSERT_OK(file_write_atomic(inner, slice_str("x"), 0600));
    ASSERT_ERR(IO, file_write_atomic(folder, slice_str("x"), 0600));
    AUTO_FREE char *command = str_format("test -z \"$(ls -d %s* 2>/dev/null)\"", pattern);
    assert_int_equal(system(command), 0);
}

static void test_folders(void **state) {
    AUTO_FREE char *deep = in_dir("t/u/v"), *top = in_dir("t"), *file = in_dir("t/u/file"), *bad = in_dir("t/u/file/x");
    ASSERT_OK(file_make_dirs(deep));
    ASSERT_OK(file_make_dirs(deep));
    struct stat st;
    assert_int_equal(stat(deep, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    ASSERT_OK(file_write_atomic(file, slice_str("x"), 0600));
    ASSERT_ERR(EXISTS, file_make_dirs(file));
    assert_true(is_err(file_make_dirs(bad)));
    ASSERT_ERR(INVALID, file_make_dirs(""));
    /* A link to a folder outside is removed, not followed. */
    AUTO_FREE char *outside = in_dir("outside"), *kept = in_dir("outside/kept"), *link = in_dir("t/u/link");
    ASSERT_OK(file_make_dirs(outside));
    ASSERT_OK(file_write_atomic(kept, slice_str("x"), 0600));
    assert_int_equal(symlink(outside, link), 0);
    ASSERT_OK(file_remove_tree(top));
    assert_int_not_equal(stat(top, &st), 0);
    assert_int_equal(stat(kept, &st), 0);
    ASSERT_OK(file_remove_tree(top));
}

static int set_up(void **state) {
    return mkdtemp(dir) ? 0 : 1;
}

static int tear_down(void **state) {
    return is_ok(file_remove_tree(dir)) ? 0 : 1;
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_write_and_read),
    cmocka_unit_test(test_failures),
    cmocka_unit_test(test_folders),
};

int main(void) {
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
