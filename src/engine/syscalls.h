/* The system calls an engine may make: a list of what is allowed, everything else fails with EPERM. */
#ifndef LOCKSET_ENGINE_SYSCALLS_H
#define LOCKSET_ENGINE_SYSCALLS_H

#include "base/err.h"

/* IO when the kernel has no seccomp filter or refuses this one. Single-threaded; needs no_new_privs. */
struct result syscalls_restrict(void);

#endif
