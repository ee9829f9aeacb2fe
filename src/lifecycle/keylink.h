/* The api's connection to the keyring: requests and answers, and the states of all keys, which the keyring pushes and
 * which are kept here, so that a refusal needs no question. The connection is made again for ever; while it is down
 * the last states stand (the engines' own timers end access, not this). One thread receives; all else is thread-safe.
 */
#ifndef LOCKSET_LIFECYCLE_KEYLINK_H
#define LOCKSET_LIFECYCLE_KEYLINK_H

#include "base/json.h"
#include "lifecycle/refusal.h"

struct keylink;

/* Starts connecting to the keyring's socket; region: the one whose states count. */
struct result keylink_new(const char *socket_path, const char *region, struct keylink **ret);
/* Ends the thread; calls under way fail. Accepts NULL, returns NULL. */
struct keylink *keylink_free(struct keylink *k);

/* Connected, and told the states. */
bool keylink_is_connected(struct keylink *k);

/* Sends a request (an object without "id"; borrowed) and waits for its answer: *ret, for the caller to drop. OK also
 * for an answer with "ok":false. UNREACHABLE when the keyring isn't there (waiting up to a second for it to come back),
 * TIMEOUT. */
struct result keylink_call(struct keylink *k, json_t *request, unsigned timeout_ms, json_t **ret);

/* The newest state of an organization's key: the keyring's state object, never changed once given out; the caller drops
 * the reference. NULL when the keyring has said nothing about it yet. */
json_t *keylink_state(struct keylink *k, const char *org);

/* The same in any region, for showing. */
json_t *keylink_state_in(struct keylink *k, const char *org, const char *region);

/* The states of all organizations in this region: an array, for the caller to drop. */
json_t *keylink_states(struct keylink *k);
/* Organizations whose state in this region is called so: an array of ids, for the caller to drop. */
json_t *keylink_orgs_in_state(struct keylink *k, const char *state_name);

/* The engine that serves an organization now. False: none, as far as is known. */
enum { KEYLINK_SOCKET_BYTES = 108 };
struct keylink_engine {
    char socket_path[KEYLINK_SOCKET_BYTES];
    uint64_t epoch;
};
bool keylink_engine(struct keylink *k, const char *org, struct keylink_engine *ret);
/* What the answer to "activate" said. */
void keylink_note_engine(struct keylink *k, const char *org, const struct keylink_engine *engine);
/* An engine with this epoch doesn't answer any more: forget it, until the keyring names one again. */
void keylink_forget_engine(struct keylink *k, const char *org, uint64_t epoch);

/* After a connection to an engine broke: waits at most timeout_ms until the keyring has told more, a state that isn't
 * AVAILABLE or an engine of another epoch. */
void keylink_wait_news(struct keylink *k, const char *org, uint64_t epoch, unsigned timeout_ms);

/* ---- what states mean for clients ---- */

/* KEYLINK_RECOVER is for finding out, after a pause, what can be recovered: allowed in RECOVERING too; refused as
 * writes are. */
enum keylink_use { KEYLINK_READ, KEYLINK_WRITE, KEYLINK_RECOVER };

/* OK when the key is AVAILABLE. Otherwise the refusal that the REST interface promises: 403 FORBIDDEN for reads when
 * denied, destroyed or paused; 503 NOT_READY otherwise, and for writes (with Retry-After) unless destroyed. */
struct result keylink_check(struct keylink *k, const char *org, enum keylink_use use, struct refusal *why);
/* The same for one state object (NULL: unknown). Pure. */
struct result keylink_judge(const json_t *state, enum keylink_use use, struct refusal *why);

#endif
