/* Not for other folders: sealing with a salt from outside, which only reproducible test vectors may do. A salt used
 * twice under one branch and context repeats nonces and gives the key stream away. */
#ifndef LOCKSET_KEYS_LEASE_PRIV_H
#define LOCKSET_KEYS_LEASE_PRIV_H

#include "keys/lease.h"

/* Where lease_cipher_new_seal gets its salts from: random_bytes, until a test replaces it before its first thread. */
typedef struct result lease_salt_fn(void *p, size_t n);
void lease_set_salt_source(lease_salt_fn *source);

#endif
