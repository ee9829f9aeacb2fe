/* One child process: started with the descriptors it expects, tied to the supervisor's life, reaped. The supervisor is
 * a single thread; so is everything here. */
#ifndef LOCKSET_SUPERVISOR_CHILD_H
#define LOCKSET_SUPERVISOR_CHILD_H

#include <sys/types.h>

#include "base/buf.h"

enum { CHILD_MAX_FDS = 4, CHILD_MAX_ARGS = 32 };

struct child_spec {
    const char *program;              /* path */
    const char *args[CHILD_MAX_ARGS]; /* behind the program's name; ended by NULL */
    int fds[CHILD_MAX_FDS];           /* become descriptors 3, 4, ...; stay the caller's */
    unsigned fd_count;
    int stdout_fd; /* becomes descriptor 1; -1: the null device. Stderr is inherited. */
};

/* Starts it: stdin from the null device, own process group (a terminal's Ctrl-C reaches only the supervisor), SIGKILL
 * when the supervisor dies, default signals, no other descriptor. IO; NOT_FOUND when there is no such program. */
struct result child_start(const struct child_spec *spec, pid_t *ret);

/* SIGKILL and wait; pid <= 0 does nothing. *ret_status (may be NULL) is waitpid's. */
void child_kill(pid_t pid, int *ret_status);

/* "exit 1", "killed by 9". */
void child_describe_status(int status, char ret[static 32]);

/* Path of a program that stands beside the running one. The caller frees it. */
struct result child_program(const char *name, char **ret);

#endif
