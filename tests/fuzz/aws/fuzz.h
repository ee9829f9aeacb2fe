/* What the fuzzers of aws share. A broken promise aborts, which is what libFuzzer looks for. */
#ifndef LOCKSET_FUZZ_AWS_FUZZ_H
#define LOCKSET_FUZZ_AWS_FUZZ_H

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/secret.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PROMISE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition);                                    \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* Each program defines LLVMFuzzerInitialize with it. */
static inline int fuzz_start(void) {
    json_start_wiping();
    PROMISE(is_ok(secret_start(1 << 20, true)));
    return 0;
}

static inline bool is_printable(const char *text) {
    for (; *text; text++)
        if (*text < ' ' || *text > '~') return false;
    return true;
}

#endif
