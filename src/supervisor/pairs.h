/* The processes of active organizations: for each (organization, region) a gateway and an engine, started and ended at
 * the keyring's word. The pair's channels are made here and handed out: keyring to each, supervisor to the gateway,
 * engine to the gateway. An earlier pair is dead and reaped before a new one starts, so that two writers never meet. */
#ifndef LOCKSET_SUPERVISOR_PAIRS_H
#define LOCKSET_SUPERVISOR_PAIRS_H

#include <sys/types.h>

#include "base/buf.h"
#include "base/json.h"
#include "config/config.h"

struct pair {
    char *org, *region;
    uint64_t epoch;
    pid_t gateway, engine; /* 0: not running */
    int gateway_channel;   /* to the gateway; -1 */
    struct pair *next;
};

struct pairs {
    const struct config *config;
    const char *config_file; /* what the children read */
    struct pair *first;
    /* Sends to the keyring; descriptors stay the caller's. */
    void (*tell)(void *arg, json_t *message, const int *fds, unsigned fd_count);
    void *arg;
};

/* One message of the keyring about pairs: start, restart_engine, end. INVALID when it is none of these. */
struct result pairs_handle(struct pairs *p, const json_t *message);
/* A reaped process; false if it belongs to no pair. Tells the keyring, and ends the engine of a gateway that is gone.
 */
bool pairs_reaped(struct pairs *p, pid_t pid, int status);
/* Kills and reaps all of them. */
void pairs_end_all(struct pairs *p);
/* Processes by name for dev.json and devctl: "gateway.<org>.<region>", "engine.<org>.<region>". */
void pairs_list(const struct pairs *p, json_t *processes);
pid_t pairs_find(const struct pairs *p, const char *name);

#endif
