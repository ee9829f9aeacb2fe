/* `lockset serve` and `lockset dev`: starts the processes of a node, passes sockets, restarts what crashes with a
 * back-off, reaps, and ends all of them. Holds no key and parses nothing that comes from clients. One thread. */
#ifndef LOCKSET_SUPERVISOR_SUPERVISOR_H
#define LOCKSET_SUPERVISOR_SUPERVISOR_H

#include "config/config.h"

struct supervisor_options {
    bool gateway_only;       /* `lockset gateway`: no engines */
    bool dev;                /* with a local KMS, credentials and dev.json */
    const char *config_file; /* NULL in dev: defaults */
    const struct config_override *overrides;
    size_t override_count;
};

/* Runs until SIGINT or SIGTERM. Prints one line `ready: ...` on stdout once everything answers. Returns when every
 * process has ended; a failure when the node couldn't start. */
struct result supervisor_run(const struct supervisor_options *options);

/* `lockset devctl`: asks the supervisor of a data folder to stop, start, freeze (SIGSTOP) or thaw (SIGCONT) a process.
 * INVALID for an unknown action, NOT_FOUND for an unknown process (the detail lists what there is), UNREACHABLE when
 * nothing runs on that folder. */
struct result supervisor_control(const char *data, const char *action, const char *process);

#endif
