/* An epoch key: random, made here, never stored and never derived from anything, so that wiping it is the end of all
 * that was sealed under it. For caches: what is sealed is meant to be forgotten. The key is in locked memory only; a
 * cipher's schedule exists while one block is sealed or opened. It works under a lease, as everything in this folder:
 * refused with NO_LEASE without one, and wiped for ever by lease_end. Thread-safe. */
#ifndef LOCKSET_KEYS_EPOCH_H
#define LOCKSET_KEYS_EPOCH_H

#include "keys/lease.h"

enum { LEASE_EPOCH_BLOCK_BYTES = LEASE_CHUNK_BYTES }; /* the most one call seals */

struct lease_epoch;

/* Without a key yet. The lease must outlive it. */
struct lease_epoch *lease_epoch_new(struct lease *l);
/* Wipes and frees; accepts NULL, returns NULL. No other thread may use it any more. */
struct lease_epoch *lease_epoch_free(struct lease_epoch *e);
/* A fresh key in place of the one before, which is wiped. NO_LEASE. */
struct result lease_epoch_begin(struct lease_epoch *e);
/* Wipes the key, waiting at most for the blocks that other threads are in. */
void lease_epoch_end(struct lease_epoch *e);

/* AES-256-GCM. Gives the nonce (a counter); out: in.len + GCM_TAG_BYTES. NO_LEASE; NOT_FOUND without a key. */
struct result lease_epoch_seal(struct lease_epoch *e, struct slice aad, struct slice in,
                               uint8_t ret_nonce[static GCM_NONCE_BYTES], uint8_t *out);
/* in: ciphertext and tag; out: in.len - GCM_TAG_BYTES. NO_LEASE; NOT_FOUND without a key; CORRUPT when it does not
 * verify, also because another key has begun meanwhile: out is then wiped. */
struct result lease_epoch_open(struct lease_epoch *e, struct slice aad, const uint8_t nonce[static GCM_NONCE_BYTES],
                               struct slice in, uint8_t *out);

#endif
