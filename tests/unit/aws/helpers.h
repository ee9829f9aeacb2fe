/* What the tests of aws share. */
#ifndef LOCKSET_TESTS_AWS_HELPERS_H
#define LOCKSET_TESTS_AWS_HELPERS_H

#include <string.h>

#include "testing.h"

#include "base/json.h"

/* The secure heap and jansson's wiping; a cmocka group set-up, for the programs that have their own main. */
static inline int start_secrets(void **state) {
    json_start_wiping();
    return is_ok(secret_start(1 << 20, true)) ? 0 : 1;
}

#define MUST_HOLD(text, part)                                                                                          \
    do {                                                                                                               \
        if (strstr((text), (part)) == NULL) fail_msg("'%s' is not in '%s'", (part), (text));                           \
    } while (0)

#endif
