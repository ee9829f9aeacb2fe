/* Large bodies stand in memory several times over while they are stored, so only so much of them is read at once: of
 * all organizations together, and of one, so that none can take the room of the others. Thread-safe. */
#ifndef LOCKSET_API_BODIES_H
#define LOCKSET_API_BODIES_H

#include "api/call.h"

struct bodies;
struct bodies *bodies_new(void);

/* Makes room for a request's body before it is read, waiting a moment for it. BUSY with c->why filled (429) when none
 * came free. */
struct result bodies_take(struct call *c, size_t bytes);
/* The request is done: gives the room back, if it had any. */
void bodies_give_back(struct api *api, struct http_request *r);

#endif
