/* What every unit test includes: cmocka, the assertions for `struct result`, and a main that sets the process up. */
#ifndef LOCKSET_TESTS_TESTING_H
#define LOCKSET_TESTS_TESTING_H

/* cmocka.h wants these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"

/* The expression succeeds; otherwise its code and detail are shown. */
#define ASSERT_OK(expression)                                                                                          \
    do {                                                                                                               \
        struct result assert_result_ = (expression);                                                                   \
        if (is_err(assert_result_)) fail_msg("%s: %s: %s", #expression, err_name(assert_result_.code), err_detail());  \
    } while (0)

/* The expression fails with ERR_##CODE, and says why: the thread's detail is emptied before, so that one that an
 * earlier failure left behind does not count. */
#define ASSERT_ERR(CODE, expression)                                                                                   \
    do {                                                                                                               \
        err_forget();                                                                                                  \
        struct result assert_result_ = (expression);                                                                   \
        if (assert_result_.code != ERR_##CODE)                                                                         \
            fail_msg("%s: wanted %s, got %s: %s", #expression, #CODE, err_name(assert_result_.code), err_detail());    \
        if (err_detail()[0] == '\0') fail_msg("%s: failed without a detail", #expression);                             \
    } while (0)

#define ASSERT_SLICE(s, text)                                                                                          \
    do {                                                                                                               \
        struct slice assert_slice_ = (s);                                                                              \
        if (!slice_is(assert_slice_, (text)))                                                                          \
            fail_msg("%s: wanted \"%s\", got \"%.*s\"", #s, (text), (int)assert_slice_.len,                            \
                     (const char *)assert_slice_.data);                                                                \
    } while (0)

/* The program's main: secure heap (debuggable, so that sanitizers work), then the tests. */
#define TEST_MAIN(tests)                                                                                               \
    int main(void) {                                                                                                   \
        if (is_err(secret_start(1 << 20, true))) {                                                                     \
            fprintf(stderr, "%s\n", err_detail());                                                                     \
            return 1;                                                                                                  \
        }                                                                                                              \
        return cmocka_run_group_tests(tests, NULL, NULL);                                                              \
    }

#endif
