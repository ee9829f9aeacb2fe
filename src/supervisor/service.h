/* A process that a node always runs: a local KMS, the keyring, the api. Restarted when it ends, 0.2 s later, then twice
 * as long each time up to 5 s; a minute of life resets that. */
#ifndef LOCKSET_SUPERVISOR_SERVICE_H
#define LOCKSET_SUPERVISOR_SERVICE_H

#include <sys/types.h>

#include "supervisor/child.h"

struct service {
    char *name; /* "keyring", "kms.us-west-2" */
    /* Starts the process once; fills in *ret_pid. */
    struct result (*start)(void *arg, struct service *s, pid_t *ret_pid);
    void *arg;
    size_t index;    /* which of its kind; for start() */
    pid_t pid;       /* 0: not running */
    bool held;       /* stopped by devctl: not restarted */
    int stdout_fd;   /* read end of its stdout; -1 */
    bool said_ready; /* printed a line that begins with "ready:" */
    unsigned backoff_ms;
    unsigned exits; /* how often it ended by itself, with an exit code: no restart mends what it doesn't like */
    int64_t started_ns, restart_at_ns;
};

/* Starts it now; a failure is logged and tried again later. */
void service_start(struct service *s);
/* Its process was reaped. */
void service_reaped(struct service *s, int status);
/* Starts it if its time has come; returns ms until then, -1 when nothing is due. */
int service_tick(struct service *s);
/* Reads what it printed. */
void service_read(struct service *s);
void service_done(struct service *s);

#endif
