/* What the fuzzers of the store share: a working lease with the keys of tests/vectors/sealed, so that those are seeds.
 */
#ifndef LOCKSET_FUZZ_STORE_COMMON_H
#define LOCKSET_FUZZ_STORE_COMMON_H

#include "fuzz.h"
#include "keys/lease.h"

#define FUZZ_BUCKET "lockset"

/* The same one every time. */
struct lease *fuzz_lease(void);
/* Files that are sealed from now on have this salt. */
void fuzz_set_salt(const uint8_t salt[static LEASE_SALT_BYTES]);

#endif
