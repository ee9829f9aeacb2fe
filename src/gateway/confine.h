/* What the gateway's process gives up before it serves. Call with one thread. */
#ifndef LOCKSET_GATEWAY_CONFINE_H
#define LOCKSET_GATEWAY_CONFINE_H

#include "base/err.h"

/* SIGKILL with the parent; no new privileges; no capability, now or later. IO if the kernel refuses. */
struct result confine_process(void);

#endif
