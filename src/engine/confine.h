/* Takes from the engine what the kernel would still do for it: capabilities, new privileges, files outside of its data
 * folder (Landlock), connections other than to its gateway (Landlock), and every system call that ClickHouse and the
 * HTTP server don't need (seccomp). Call while the process has a single thread, after isolate_enter: threads inherit
 * it. Sources: capabilities(7), landlock(7), seccomp_rule_add(3). */
#ifndef LOCKSET_ENGINE_CONFINE_H
#define LOCKSET_ENGINE_CONFINE_H

#include "base/buf.h"

struct confine_options {
    const char *data_path; /* the only folder with files */
    bool has_proc;         /* /proc is there (weak isolation): what the process reads about itself must be allowed */
    unsigned gateway_port; /* the only port to connect to, where Landlock can say so */
    uint64_t memory_bytes; /* RLIMIT_DATA is set to a multiple of it: the last wall */
};

struct confinement {
    int landlock_abi; /* 0: this kernel has none; the other walls stand */
};

/* IO when a wall that every supported kernel has can't be raised; the process must end then. */
struct result confine_enter(const struct confine_options *options, struct confinement *ret);

#endif
