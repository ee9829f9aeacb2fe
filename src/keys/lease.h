/* The lease handle: the only way to an organization's keys in a gateway. It holds what the keyring handed over (branch
 * keys, the name key, the time at which all of it ends), and every seal and every open goes through it:
 *
 *   - refused with NO_LEASE before the first lease_arm, once CLOCK_BOOTTIME has passed the expiry, and for ever after
 *     lease_end;
 *   - asked again for each chunk of at most 64 KiB, not once per request: a reader stops in the middle of an object.
 *
 * The keys themselves never leave this module. Object keys are HKDF-SHA256(branch key, salt, context) (RFC 5869), one
 * for each sealed file, made here with a fresh random salt, so that counter nonces (NIST SP 800-38D section 8.2.1)
 * never repeat. Names are sealed with AES-SIV (RFC 5297) under keys derived from the name key.
 *
 * Everything is thread-safe unless said. The lease must outlive the ciphers and namers made from it. */
#ifndef LOCKSET_KEYS_LEASE_H
#define LOCKSET_KEYS_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/crypto.h"

enum {
    LEASE_BRANCH_ID_BYTES = 16,
    LEASE_SALT_BYTES = 32,
    LEASE_CHUNK_BYTES = 64 * 1024,  /* the most plaintext one call seals or opens */
    LEASE_CONTEXT_MAX_BYTES = 4096, /* of a cipher or namer */
    LEASE_S3_SECRET_BYTES = 41,
};

struct lease;

/* A lease that allows nothing yet. The texts are copied; each is 1 to 2,048 bytes, else INVALID. */
struct result lease_new(const char *org, const char *region, const char *key_arn, struct lease **ret);
/* Ends it, wipes and frees; accepts NULL, returns NULL. Nothing made from it may exist any more. */
struct lease *lease_free(struct lease *l);

/* The texts given to lease_new; they live as long as the lease. */
const char *lease_org(const struct lease *l);
const char *lease_region(const struct lease *l);
const char *lease_key_arn(const struct lease *l);

/* Sets the time (CLOCK_BOOTTIME, nanoseconds) at which the lease stops working; later calls may move it either way.
 * After lease_end it does nothing. */
void lease_arm(struct lease *l, int64_t expiry_boottime_ns);
/* For ever: wipes every branch key, the name key and the keys of all ciphers and namers made from the lease, waiting
 * at most for the chunk that another thread is in. */
void lease_end(struct lease *l);
/* The same, and counts what it wiped: keys that were there, each once. */
struct lease_wiped {
    unsigned branch_keys, name_keys;
    unsigned ciphers; /* objects that were being read or written */
    unsigned namers;
    unsigned epoch_keys; /* keys/epoch.h */
};
struct lease_wiped lease_end_counted(struct lease *l);
/* OK while the lease works, else NO_LEASE. A few tens of nanoseconds. */
struct result lease_check(const struct lease *l);
/* The expiry last armed; 0 before the first, and after lease_end. */
int64_t lease_expiry_boottime_ns(const struct lease *l);

/* Hands over a branch key of 32 bytes (copied; the caller wipes its own). The same id again with the same key is
 * harmless; with another key CONFLICT. INVALID for another length, NO_LEASE after lease_end, BUSY over 65,536 keys. */
struct result lease_set_branch(struct lease *l, const uint8_t id[static LEASE_BRANCH_ID_BYTES], struct slice key);
/* Which branch new objects are sealed under; NOT_FOUND if it was not handed over. */
struct result lease_set_active(struct lease *l, const uint8_t id[static LEASE_BRANCH_ID_BYTES]);
/* Hands over the name key of 32 bytes, once: CONFLICT if there is another one. */
struct result lease_set_names(struct lease *l, struct slice key);

/* Called, on the thread that needs the key and without any lock held, for a branch that has not been handed over. It
 * blocks until lease_set_branch was called for the id (by any thread) and returns OK, or fails: NOT_FOUND means that
 * no such branch exists. Several threads may ask for one id at once. Set it before the first use; NULL: NOT_FOUND. */
typedef struct result lease_fetch_fn(void *arg, const uint8_t id[static LEASE_BRANCH_ID_BYTES]);
void lease_set_fetch(struct lease *l, lease_fetch_fn *fetch, void *arg);

/* ---- Objects: AES-256-GCM in chunks under a key of their own. One cipher is used by one thread at a time. ---- */

struct lease_cipher;

/* For sealing one new file: a fresh random salt, the active branch. `context` says what the file is and where it
 * belongs (at most LEASE_CONTEXT_MAX_BYTES); organization and region are mixed in here. Writes the branch id and
 * the salt for the file's header. NO_LEASE; NOT_FOUND when no branch is active. */
struct result lease_cipher_new_seal(struct lease *l, struct slice context,
                                    uint8_t ret_branch[static LEASE_BRANCH_ID_BYTES],
                                    uint8_t ret_salt[static LEASE_SALT_BYTES], struct lease_cipher **ret);
/* For opening a file whose header names branch and salt. May ask the fetch callback. Its NOT_FOUND comes back as
 * CORRUPT: a header that names a branch which never existed. */
struct result lease_cipher_new_open(struct lease *l, const uint8_t branch[static LEASE_BRANCH_ID_BYTES],
                                    const uint8_t salt[static LEASE_SALT_BYTES], struct slice context,
                                    struct lease_cipher **ret);
/* Wipes and frees; accepts NULL, returns NULL. */
struct lease_cipher *lease_cipher_free(struct lease_cipher *c);
static inline void lease_cipher_free_auto(struct lease_cipher **c) {
    lease_cipher_free(*c);
}

/* Seals chunk `index`: 0, 1, 2, ... in turn, each once; after the final one nothing more (INTERNAL otherwise).
 * in: at most LEASE_CHUNK_BYTES; out: in.len + GCM_TAG_BYTES, may be in.data. `aad` is authenticated with it. */
struct result lease_cipher_seal(struct lease_cipher *c, uint64_t index, bool final, struct slice aad, struct slice in,
                                uint8_t *out);
/* Opens chunk `index`, in any order. in: ciphertext and tag; out: in.len - GCM_TAG_BYTES, may be in.data. CORRUPT when
 * anything differs from what was sealed (out is then wiped); NO_LEASE, with nothing written. */
struct result lease_cipher_open(struct lease_cipher *c, uint64_t index, bool final, struct slice aad, struct slice in,
                                uint8_t *out);

/* The same for data that a store encrypts by itself, and that must only be kept from being changed: the chunk stands in
 * clear before its tag, which is AES-256-GMAC over aad and chunk. One cipher does either, never both. */
struct result lease_cipher_mark(struct lease_cipher *c, uint64_t index, bool final, struct slice aad, struct slice in,
                                uint8_t *out);
struct result lease_cipher_verify(struct lease_cipher *c, uint64_t index, bool final, struct slice aad, struct slice in,
                                  uint8_t *out);

/* ---- Names: deterministic AES-SIV. A namer may be shared by threads. ---- */

struct lease_namer;

/* Derives a key for one kind of names; `context` keeps kinds apart. NO_LEASE; NOT_FOUND without a name key. */
struct result lease_namer_new(struct lease *l, struct slice context, struct lease_namer **ret);
struct lease_namer *lease_namer_free(struct lease_namer *n);
/* Appends SIV_TAG_BYTES + in.len bytes to out; in must not be empty. */
struct result lease_namer_seal(struct lease_namer *n, struct slice aad, struct slice in, struct buf *out);
/* The reverse; CORRUPT when it does not verify. */
struct result lease_namer_open(struct lease_namer *n, struct slice aad, struct slice in, struct buf *out);

/* ---- Access keys of S3 clients (keys/s3_secret.h) ---- */

/* The secret of an access key of this organization and region: 40 characters and NUL, for the caller to wipe. NO_LEASE;
 * NOT_FOUND without a name key. */
struct result lease_s3_secret(struct lease *l, const char *access_key_id, char ret[static LEASE_S3_SECRET_BYTES]);

#endif
