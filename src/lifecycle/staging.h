/* A place in an engine's memory where rows stand for a moment, on their way into a collection: a database of its own,
 * which no query can name, gone with the engine or when it is closed. One owner. */
#ifndef LOCKSET_LIFECYCLE_STAGING_H
#define LOCKSET_LIFECYCLE_STAGING_H

#include "lifecycle/tenant.h"

enum { STAGING_NAME_BYTES = 48 };

struct staging {
    struct tenant *tenant;
    struct keylink_engine engine;
    char database[STAGING_NAME_BYTES]; /* "lockset_input.<random>"; to be quoted in SQL */
};

/* UNREACHABLE, TIMEOUT, PEER. On success staging_close is called. */
struct result staging_open(struct tenant *t, const struct keylink_engine *engine, struct staging *ret);
void staging_close(struct staging *s); /* accepts zeroed */

/* Drops what an api that was killed left in an engine that lives on. Nothing of this process may be staged there. */
struct result staging_clear(struct tenant *t, const struct keylink_engine *engine);

/* One statement; `call` holds everything but the socket. OK also when the engine answers with an exception. */
struct result staging_call(struct staging *s, struct engine_call *call, struct engine_reply *ret);

#endif
