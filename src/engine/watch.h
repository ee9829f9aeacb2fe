/* Keeps statements within their bounds, from outside of them, because the library can't be trusted to stop:
 *   at its deadline, or when its client is gone, a statement is killed (KILL QUERY in a session of the watch's own);
 *   2 s past its deadline the whole process exits with 70: every acknowledged row is in the store, a new engine starts;
 *   one that only waits for its client to take the answer is no reason for that: the client is cut off;
 *   when the process holds more memory than it may, it exits with 71 before the machine runs out. */
#ifndef LOCKSET_ENGINE_WATCH_H
#define LOCKSET_ENGINE_WATCH_H

#include "base/buf.h"
#include "engine/instance.h"

enum { WATCH_EXIT_DEADLINE = 70, WATCH_EXIT_MEMORY = 71, WATCH_GRACE_MS = 2000 };

struct watch;

/* statm_fd: /proc/self/statm, or -1 (no memory watch). Runs two threads until the process ends. */
struct result watch_start(struct instance *i, int statm_fd, uint64_t memory_bytes, struct watch **ret);

/* A running statement. Its session has log_comment = "lockset-<id>". Lives in the caller's memory. */
struct watch_item {
    uint64_t id;
    int64_t deadline_ns;  /* CLOCK_BOOTTIME */
    int client_fd;        /* -1: nobody who could go away */
    bool killed;          /* by the watch, for whichever reason */
    bool is_idle;         /* watch_idle */
    int64_t next_kill_ns; /* the watch's own; 0 at first */
    struct watch_item *previous, *next;
};

/* A number for a statement, never given twice. */
uint64_t watch_new_id(struct watch *w);
void watch_add(struct watch *w, struct watch_item *item);
/* Idle: nothing runs, the client has not taken the last piece yet. 2 s past the deadline its connection is shut down.
 * What runs again after the deadline has the 2 s once more, to be cleaned up. */
void watch_idle(struct watch *w, struct watch_item *item, bool is_idle);
/* Afterwards the item is no longer looked at; item->killed stays readable. */
void watch_remove(struct watch *w, struct watch_item *item);

#endif
