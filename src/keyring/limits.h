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

/* How many calls of KMS an hour one key needs at most while all is well: all intervals shortened by their jitter. */
int64_t limits_needed_calls(const struct config *c);
/* The cap: key.max_calls_per_hour, or if that is 0, room for everything that is meant to happen: three times what is
 * needed, and preflights that are refused at their last question each time. limits_check refuses a lower one than a
 * tenth over what is needed. */
int64_t limits_max_calls(const struct config *c);

#endif
