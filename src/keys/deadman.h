/* The dead-man timer: a kernel timer on CLOCK_BOOTTIME that delivers SIGKILL to this process when the lease runs out.
 * No code of the process has to run for it to fire, so a hung, stopped or cut-off process ends in time as well. One for
 * each process; only the keyring's ARM moves it. Source: timer_create(2), sigevent(7). SIGSTOP doesn't hold it off.
 *
 * A seccomp filter installed after deadman_start must allow timer_settime. Timers are not inherited by fork and are
 * gone after exec: start it in the final program, before anything is read from outside. */
#ifndef LOCKSET_KEYS_DEADMAN_H
#define LOCKSET_KEYS_DEADMAN_H

#include <stdint.h>

#include "base/err.h"

/* No lease and no first bound may be longer: architecture's hard cap. */
enum { DEADMAN_MAX_MS = 300 * 1000, DEADMAN_FIRST_MS = 10 * 1000 };

/* Makes the timer and arms it at once to fire first_ms (1 to DEADMAN_MAX_MS, else INVALID; usually DEADMAN_FIRST_MS)
 * from now. Call once, before threads; CONFLICT the second time. IO if the kernel has no timer for us: then the process
 * must not go on. */
struct result deadman_start(int64_t first_ms);

/* Moves it to an absolute time of CLOCK_BOOTTIME in nanoseconds. A time that has passed fires at once; one further away
 * than DEADMAN_MAX_MS is cut to that. INVALID before deadman_start. Thread-safe; of two racing calls either may win, so
 * let the one thread that reads the control socket call it. */
struct result deadman_arm(int64_t expiry_boottime_ns);

#endif
