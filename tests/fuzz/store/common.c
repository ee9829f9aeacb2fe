#include "common.h"

#include "base/clock.h"
#include "keys/lease_priv.h"

static void count_up(uint8_t *key, unsigned from) {
    for (unsigned i = 0; i < KEY_BYTES; i++)
        key[i] = (uint8_t)(from + i);
}

static void set_branch(struct lease *l, uint8_t id_byte, unsigned from) {
    uint8_t id[LEASE_BRANCH_ID_BYTES], key[KEY_BYTES];
    for (size_t i = 0; i < sizeof id; i++)
        id[i] = id_byte;
    count_up(key, from);
    PROMISE(is_ok(lease_set_branch(l, id, slice_make(key, sizeof key))));
    PROMISE(is_ok(lease_set_active(l, id)));
}

struct lease *fuzz_lease(void) {
    static struct lease *lease;
    if (lease) return lease;
    PROMISE(is_ok(secret_start(1 << 20, true)));
    PROMISE(is_ok(lease_new("o00000000000000000001", "us-west-2",
                            "arn:aws:kms:us-west-2:111122223333:key/mrk-00000000000000000000000000000001", &lease)));
    uint8_t names[KEY_BYTES];
    count_up(names, 64);
    PROMISE(is_ok(lease_set_names(lease, slice_make(names, sizeof names))));
    set_branch(lease, 0xa0, 32);
    set_branch(lease, 0xb0, 0);
    lease_arm(lease, clock_boottime_ns() + 30LL * 24 * 3600 * NS_PER_S);
    return lease;
}

static uint8_t next_salt[LEASE_SALT_BYTES];

static struct result known_salt(void *p, size_t n) {
    PROMISE(n == sizeof next_salt);
    mem_copy(p, next_salt, n);
    return OK;
}

void fuzz_set_salt(const uint8_t salt[static LEASE_SALT_BYTES]) {
    mem_copy(next_salt, salt, sizeof next_salt);
    lease_set_salt_source(known_salt);
}
