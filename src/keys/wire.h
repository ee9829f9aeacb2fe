/* Messages between the keyring and one gateway or engine, over a SOCK_SEQPACKET socket (base/ipc.h): one type byte,
 * then fields of fixed size, integers big-endian. A message of any other length or an unknown type is refused.
 *
 *     keyring -> child    ARM{expiry}  BRANCH{id,key}  ACTIVE{id}  NAMES{key}  NO_BRANCH{id,code}  END{}  RETIRE{}
 *     child -> keyring    READY{}  NEED_BRANCH{id}  ENDED{what was wiped, when}  KEY_REFUSED{reason}
 *
 * A gateway gets NAMES, BRANCH (of the active branch), ACTIVE and ARM, in this order, before it serves; an engine gets
 * ARM and RETIRE only. Later BRANCH comes unasked when a new branch begins (followed by ACTIVE) or as the answer to
 * NEED_BRANCH, which is always answered by BRANCH or NO_BRANCH. ARM comes again after each successful probe. After END
 * nothing follows: a gateway wipes what it holds, answers ENDED and exits; an engine exits at once.
 *
 * Sending is thread-safe; one thread receives. Keys pass through wiping buffers and struct secret only. */
#ifndef LOCKSET_KEYS_WIRE_H
#define LOCKSET_KEYS_WIRE_H

#include "base/buf.h"
#include "base/secret.h"

enum { WIRE_ID_BYTES = 16, WIRE_KEY_BYTES = 32, WIRE_MAX_BYTES = 1 + WIRE_ID_BYTES + WIRE_KEY_BYTES };

enum wire_type {
    WIRE_ARM = 1,     /* the lease runs until expiry_boottime_ns; re-arm the dead-man timer and the lease with it */
    WIRE_BRANCH,      /* an unwrapped branch key: id, key */
    WIRE_ACTIVE,      /* new objects are sealed under this branch: id (its BRANCH came before) */
    WIRE_NAMES,       /* the name key: key */
    WIRE_NO_BRANCH,   /* the branch that was asked for can't be had: id, code */
    WIRE_END,         /* the lease has ended */
    WIRE_RETIRE,      /* to an engine: end in the next moment without a request; another will take over */
    WIRE_READY = 64,  /* the child serves now */
    WIRE_NEED_BRANCH, /* the child met a branch it has no key for: id */
    WIRE_ENDED,       /* the child has wiped its keys and leaves: wiped */
    WIRE_KEY_REFUSED, /* the store, which encrypts under the organization's key itself, was refused it: reason */
    WIRE_CACHE_USED   /* what a gateway's cache has done since it told the last time: cache_hits, cache_misses */
};

/* What a gateway wiped at the end of its lease, and when it was done. */
struct wire_wiped {
    uint32_t branch_keys, name_keys;
    uint32_t streams;    /* objects that were being read or written: each had a key of its own */
    uint32_t namers;     /* keys of names that were derived */
    uint32_t epoch_keys; /* of the cache */
    int64_t unix_ms, boottime_ns;
};

/* Why, as far as S3 tells. */
enum wire_refusal { WIRE_DISABLED = 1, WIRE_DENIED, WIRE_KEY_NOT_FOUND, WIRE_INVALID_STATE, WIRE_REFUSAL_MAX };

struct wire_message {
    enum wire_type type;
    int64_t expiry_boottime_ns; /* ARM: absolute, CLOCK_BOOTTIME */
    uint8_t id[WIRE_ID_BYTES];  /* BRANCH, ACTIVE, NO_BRANCH, NEED_BRANCH */
    struct secret key;          /* BRANCH, NAMES: 32 bytes, owned by the message; move it out by copying the struct and
                                   zeroing this one */
    struct wire_wiped wiped;    /* ENDED */
    enum wire_refusal reason;   /* KEY_REFUSED */
    uint64_t cache_hits, cache_misses;
    enum err_code code; /* NO_BRANCH: NOT_FOUND (no such branch), NO_LEASE, UNREACHABLE or CORRUPT */
};

/* Each sends one message, waiting at most timeout_ms for room: UNREACHABLE when the peer is gone, TIMEOUT. `key` has 32
 * bytes and stays the caller's. wire_send_no_branch sends a code other than the four above as UNREACHABLE. */
struct result wire_send_arm(int fd, int64_t expiry_boottime_ns, int timeout_ms);
struct result wire_send_branch(int fd, const uint8_t id[static WIRE_ID_BYTES], struct slice key, int timeout_ms);
struct result wire_send_active(int fd, const uint8_t id[static WIRE_ID_BYTES], int timeout_ms);
struct result wire_send_names(int fd, struct slice key, int timeout_ms);
struct result wire_send_no_branch(int fd, const uint8_t id[static WIRE_ID_BYTES], enum err_code code, int timeout_ms);
struct result wire_send_end(int fd, int timeout_ms);
struct result wire_send_retire(int fd, int timeout_ms);
struct result wire_send_ready(int fd, int timeout_ms);
struct result wire_send_need_branch(int fd, const uint8_t id[static WIRE_ID_BYTES], int timeout_ms);
struct result wire_send_ended(int fd, const struct wire_wiped *wiped, int timeout_ms);
struct result wire_send_key_refused(int fd, enum wire_refusal reason, int timeout_ms);
struct result wire_send_cache_used(int fd, uint64_t hits, uint64_t misses, int timeout_ms);

/* Waits at most timeout_ms (-1: for ever) for one message. UNREACHABLE at end of file (the keyring died: go on until
 * the dead-man timer fires), TIMEOUT, PEER when the message breaks the protocol or carries descriptors. On success the
 * caller calls wire_message_done. */
struct result wire_receive(int fd, int timeout_ms, struct wire_message *ret);
/* The same from bytes, without I/O: PEER as above, IO when the secure heap is exhausted. */
struct result wire_parse(struct slice bytes, struct wire_message *ret);
/* Wipes the key, if there is one; accepts a zeroed message. */
void wire_message_done(struct wire_message *m);

#endif
