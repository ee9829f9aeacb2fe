#include "sources/postgres_resolve.h"

#include <netdb.h>

#include "base/clock.h"
#include "sources/resolve.h"

static void list_free(struct addrinfo **list) {
    if (*list) freeaddrinfo(*list);
}

struct result resolve_host(const char *host, int64_t timeout_ms, const _Atomic bool *cancelled, struct resolved *ret) {
    static const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    AUTO(list_free) struct addrinfo *list = NULL;
    int64_t deadline = clock_boottime_ns() + timeout_ms * NS_PER_MS;
    int error = resolve(getaddrinfo, host, NULL, &hints, timeout_ms, cancelled, &list);
    CHECK(!error || !cancelled || !atomic_load(cancelled), ERR_CANCELLED, "looking up a host was cancelled");
    CHECK(!error || clock_boottime_ns() < deadline, ERR_TIMEOUT, "the name of host %.100s was not found out in time",
          host);
    CHECK(!error, ERR_UNREACHABLE, "no address of host %.100s: %s", host, gai_strerror(error));
    *ret = (struct resolved){0};
    for (const struct addrinfo *a = list; a && ret->count < RESOLVE_MAX_ADDRESSES; a = a->ai_next)
        if (getnameinfo(a->ai_addr, a->ai_addrlen, ret->addresses[ret->count], RESOLVE_ADDRESS_BYTES, NULL, 0,
                        NI_NUMERICHOST) == 0)
            ret->count++;
    CHECK(ret->count, ERR_UNREACHABLE, "no address of host %.100s: none was found", host);
    return OK;
}
