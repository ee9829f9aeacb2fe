/* Names to addresses without ever keeping the caller: a look-up can't be interrupted, and may take half a minute when
 * name servers are silent, so it runs in a thread of its own, which is left alone when the caller gives up.
 * Thread-safe. */
#ifndef LOCKSET_SOURCES_RESOLVE_H
#define LOCKSET_SOURCES_RESOLVE_H

#include <netdb.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* getaddrinfo, or what takes its place in a test. */
typedef int resolve_function(const char *node, const char *service, const struct addrinfo *hints,
                             struct addrinfo **ret);
/* Like getaddrinfo; the result is freed with freeaddrinfo. EAI_AGAIN once *giving_up is set (NULL: never)
 * or timeout_ms are over. */
int resolve(resolve_function *function, const char *node, const char *service, const struct addrinfo *hints,
            int64_t timeout_ms, const _Atomic bool *giving_up, struct addrinfo **ret);

#endif
