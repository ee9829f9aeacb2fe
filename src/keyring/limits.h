/* Do the settings of a key's watch keep the published bound? Pure. */
#ifndef LOCKSET_KEYRING_LIMITS_H
#define LOCKSET_KEYRING_LIMITS_H

#include "config/config.h"

/* From the decision to end a lease to the end of its processes, at worst: persisting, telling the api, the gateway's
 * grace, and slack for a busy machine. */
enum { LIMITS_PERSIST_MS = 500, LIMITS_ACK_MS = 250, LIMITS_GRACE_MS = 100, LIMITS_KILL_MS = 2000 };

/* INVALID when an interval (jitter only shortens it), two time-outs of KMS (the probe that is refused, and its
 * confirmation) and the time to kill add up to more than key.denied_bound. The detail shows the sum. */
struct result limits_check(const struct config *c);

#endif
