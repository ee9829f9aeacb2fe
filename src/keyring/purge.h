/* The end of a pair, until both processes are gone, and the record of what was destroyed (purge.c). */
#ifndef LOCKSET_KEYRING_PURGE_H
#define LOCKSET_KEYRING_PURGE_H

#include <stdbool.h>
#include <stdint.h>

#include "keys/wire.h"

struct unit;
struct loop_source;

/* One process of a pair, as the keyring holds it. */
struct member {
    int fd, pidfd; /* -1: none */
    struct loop_source *messages, *exits;
};

/* One moment on two clocks. unix_ms 0: it hasn't come. */
struct purge_stamp {
    int64_t unix_ms, boottime_ns;
};

struct purge {
    bool is_open, had_gateway, had_engine, has_report;
    bool owes_end; /* the supervisor was not told yet: it would kill before the gateway can report */
    char reason[256];
    int64_t epoch, kill_ns; /* the grace of a gateway that was told to end; 0: over */
    unsigned keyring_keys;
    struct purge_stamp lease_ended, began, killed, gateway_gone, engine_gone;
    struct member gateway, engine;
    struct wire_wiped wiped;
};

void purge_init(struct purge *p);
/* The lease ended, and with it `keys` keys that the keyring held itself. */
void purge_lease_ended(struct unit *u, unsigned keys);
/* A process of the pair is gone by itself: its own timer, say. */
void purge_lost(struct unit *u, bool is_gateway);
/* Without a lease: kills the pair's engine, whose end is then seen, and told. False: it is not for this to end. */
bool purge_keeps_engine(struct unit *u);
/* Takes the pair's processes over: kills the engine, tells the gateway to end. */
void purge_begin(struct unit *u, const char *reason);
/* Kills the gateway without its grace. */
void purge_kill(struct unit *u);
/* Returns when it must be called next. */
int64_t purge_tick(struct unit *u, int64_t now_ns);

#endif
