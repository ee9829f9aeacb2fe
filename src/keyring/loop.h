/* The keyring's event loop: one thread, epoll. All of it belongs to that thread, except loop_wake. */
#ifndef LOCKSET_KEYRING_LOOP_H
#define LOCKSET_KEYRING_LOOP_H

#include "base/err.h"

#include <stdint.h>

struct loop;
struct loop_source; /* one watched descriptor */

struct result loop_new(struct loop **ret);
/* Calls ready(arg, fd) whenever fd can be read (or was hung up). The descriptor stays the caller's. */
struct result loop_watch(struct loop *l, int fd, void (*ready)(void *arg, int fd), void *arg, struct loop_source **ret);
/* Also calls `writable(arg, fd)` when fd has room; NULL: no longer. */
struct result loop_watch_room(struct loop_source *s, void (*writable)(void *arg, int fd));
/* Ends the watch; safe inside any callback. Accepts NULL, returns NULL. Call it before the descriptor is closed. */
struct loop_source *loop_forget(struct loop_source *s);
/* Waits until something is ready, somebody called loop_wake, or wake_ns (boot time) has come; calls what is ready. */
struct result loop_step(struct loop *l, int64_t wake_ns);
/* From any thread: the next or the current loop_step returns. */
void loop_wake(struct loop *l);

#endif
