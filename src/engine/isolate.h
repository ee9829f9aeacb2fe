/* Takes the engine out of the machine it runs on: own user (where needed), network, mount, IPC, UTS and cgroup
 * namespaces; a root folder that holds nothing but /data, /dev/null, /dev/urandom; no /proc, no /sys, no libraries (all
 * that is needed has been loaded before); a network that is its own `lo`, on which a listener for the gateway is made.
 *
 * Works as root, and without privileges where the kernel lets users make user namespaces. Must run while the process
 * has a single thread. Sources: unshare(2), pivot_root(2), user_namespaces(7), packet and netdevice(7). */
#ifndef LOCKSET_ENGINE_ISOLATE_H
#define LOCKSET_ENGINE_ISOLATE_H

#include "base/buf.h"

struct isolate_options {
    bool allow_weak;     /* go on without namespaces when they aren't permitted */
    uint64_t data_bytes; /* most that may be kept under data_path (a tmpfs); not enforced when weak */
};

struct isolation {
    bool is_weak;          /* no namespaces: the files and loopback network of the machine */
    bool user_namespace;   /* made one, being unprivileged */
    const char *data_path; /* private, empty; lives as long as the process */
    int listen_fd;         /* listening on 127.0.0.1, inside */
    unsigned port;
    int statm_fd; /* /proc/self/statm, opened before /proc was gone: for the memory watch */
};

/* FORBIDDEN with a detail that says what the kernel refused and what to do, when namespaces aren't permitted and
 * allow_weak is false. IO. After a failure the process must end. */
struct result isolate_enter(const struct isolate_options *options, struct isolation *ret);

#endif
