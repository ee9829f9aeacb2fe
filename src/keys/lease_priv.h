/* Not for other folders: what else holds keys under a lease; and sealing with a salt from outside, which only
 * reproducible test vectors may do. A salt used twice under one branch and context repeats nonces and gives the key
 * stream away. */
#ifndef LOCKSET_KEYS_LEASE_PRIV_H
#define LOCKSET_KEYS_LEASE_PRIV_H

#include "keys/lease.h"

/* Where lease_cipher_new_seal gets its salts from: random_bytes, until a test replaces it before its first thread. */
typedef struct result lease_salt_fn(void *p, size_t n);
void lease_set_salt_source(lease_salt_fn *source);

/* Something with keys of its own that end with the lease: `end` is called by lease_end, with the lease's lock held, or
 * at once when the lease has ended already. It must not call the lease. Returns how many
 * keys it wiped. */
struct lease_ward {
    unsigned (*end)(struct lease_ward *w);
    struct lease_ward *next, *previous;
};
void lease_ward_add(struct lease *l, struct lease_ward *w);
void lease_ward_remove(struct lease *l, struct lease_ward *w);

#endif
