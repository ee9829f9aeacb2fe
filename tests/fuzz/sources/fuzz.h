/* What the fuzzers of sources share. A broken promise aborts, which is what libFuzzer looks for. */
#ifndef LOCKSET_FUZZ_SOURCES_FUZZ_H
#define LOCKSET_FUZZ_SOURCES_FUZZ_H

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PROMISE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition);                                    \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

#endif
