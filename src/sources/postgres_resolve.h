/* Host names to addresses as texts, without ever keeping the caller (resolve.h). Thread-safe. */
#ifndef LOCKSET_SOURCES_POSTGRES_RESOLVE_H
#define LOCKSET_SOURCES_POSTGRES_RESOLVE_H

#include <stdatomic.h>

#include "base/buf.h"

enum { RESOLVE_MAX_ADDRESSES = 4, RESOLVE_ADDRESS_BYTES = 64 };

struct resolved {
    unsigned count;
    char addresses[RESOLVE_MAX_ADDRESSES][RESOLVE_ADDRESS_BYTES]; /* numeric */
};

/* UNREACHABLE (no such host, no answer), TIMEOUT after timeout_ms, CANCELLED. */
struct result resolve_host(const char *host, int64_t timeout_ms, const _Atomic bool *cancelled, struct resolved *ret);

#endif
