/* Bytes of a connection, both ways, between a client and its organization's gateway. One thread; bounded memory. */
#ifndef LOCKSET_FRONT_PUMP_H
#define LOCKSET_FRONT_PUMP_H

#include <stdatomic.h>

#include "base/buf.h"
#include "base/tls.h"

struct pump {
    int client_fd, gateway_fd; /* both non-blocking; borrowed */
    struct tls *tls;           /* of the client's connection; NULL: none. Borrowed */
    struct slice first;        /* what the client sent already */
    _Atomic int64_t *moved_ns; /* when bytes last moved, CLOCK_BOOTTIME; told to others */
    unsigned idle_s;           /* nothing moves for so long: the end */
};

/* Returns when either side has ended and everything of it was delivered, or nothing can be delivered any more. */
void pump_run(const struct pump *p);

#endif
