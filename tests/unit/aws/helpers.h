/* What the tests of aws share. */
#ifndef LOCKSET_TESTS_AWS_HELPERS_H
#define LOCKSET_TESTS_AWS_HELPERS_H

#include <string.h>

#include "testing.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/secret.h"

/* The secure heap and jansson's wiping, for tests that need them; a cmocka group set-up. */
static inline int start_secrets(void **state) {
    json_start_wiping();
    return is_ok(secret_start(1 << 16, true)) ? 0 : 1;
}

#define must(expression)                                                                                               \
    do {                                                                                                               \
        struct result must_result_ = (expression);                                                                     \
        if (is_err(must_result_)) fail_msg("%s: %s: %s", #expression, err_name(must_result_.code), err_detail());      \
    } while (0)

#define must_fail(expression, wanted)                                                                                  \
    do {                                                                                                               \
        struct result must_result_ = (expression);                                                                     \
        if (must_result_.code != (wanted))                                                                             \
            fail_msg("%s: %s instead of %s: %s", #expression, err_name(must_result_.code), err_name(wanted),           \
                     err_detail());                                                                                    \
    } while (0)

#define must_hold(text, part)                                                                                          \
    do {                                                                                                               \
        if (strstr((text), (part)) == NULL) fail_msg("'%s' is not in '%s'", (part), (text));                           \
    } while (0)

#endif
