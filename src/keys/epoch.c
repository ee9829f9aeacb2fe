#include "keys/epoch.h"

#include <pthread.h>

#include "base/secret.h"
#include "keys/lease_priv.h"

struct lease_epoch {
    struct lease_ward ward; /* first: the lease knows the epoch by it */
    struct lease *lease;
    pthread_rwlock_t lock; /* read while a block is sealed or opened */
    struct secret key;     /* empty: none */
    uint64_t sealed;       /* the next nonce; counted up atomically under the read lock */
    bool closed;           /* the lease has ended */
};

static unsigned key_wipe(struct lease_epoch *e, bool closes) {
    pthread_rwlock_wrlock(&e->lock);
    unsigned wiped = e->key.data != NULL;
    secret_done(&e->key);
    e->closed = e->closed || closes;
    pthread_rwlock_unlock(&e->lock);
    return wiped;
}

static unsigned lease_has_ended(struct lease_ward *w) {
    return key_wipe((struct lease_epoch *)w, true);
}

struct lease_epoch *lease_epoch_new(struct lease *l) {
    struct lease_epoch *e = mem_alloc(sizeof *e);
    e->lease = l;
    e->ward.end = lease_has_ended;
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    /* Whoever wipes goes first: a stream of readers must not keep a key alive. */
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&e->lock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
    lease_ward_add(l, &e->ward);
    return e;
}

struct lease_epoch *lease_epoch_free(struct lease_epoch *e) {
    if (!e) return NULL;
    lease_ward_remove(e->lease, &e->ward);
    secret_done(&e->key);
    pthread_rwlock_destroy(&e->lock);
    mem_free(e);
    return NULL;
}

struct result lease_epoch_begin(struct lease_epoch *e) {
    TRY(lease_check(e->lease));
    SECRET_AUTO(fresh);
    TRY(secret_random(KEY_BYTES, &fresh));
    pthread_rwlock_wrlock(&e->lock);
    bool closed = e->closed;
    if (!closed) {
        secret_done(&e->key);
        e->key = fresh;
        fresh = (struct secret){0};
        e->sealed = 0;
    }
    pthread_rwlock_unlock(&e->lock);
    CHECK(!closed, ERR_NO_LEASE, "the organization's lease has ended");
    return OK;
}

void lease_epoch_end(struct lease_epoch *e) {
    key_wipe(e, false);
}

/* With the lock read: a cipher for one block. */
static struct result cipher_for_block(struct lease_epoch *e, struct gcm **ret) {
    CHECK(!e->closed, ERR_NO_LEASE, "the organization's lease has ended");
    CHECK(e->key.data, ERR_NOT_FOUND, "the epoch is over");
    return gcm_new(secret_view(&e->key), ret);
}

static struct result seal_locked(struct lease_epoch *e, struct slice aad, struct slice in, uint8_t *nonce,
                                 uint8_t *out) {
    AUTO(gcm_free_auto) struct gcm *g = NULL;
    TRY(cipher_for_block(e, &g));
    uint64_t number = __atomic_fetch_add(&e->sealed, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < GCM_NONCE_BYTES; i++)
        nonce[i] = i < 8 ? (uint8_t)(number >> (8 * i)) : 0;
    return gcm_seal(g, nonce, aad, in, out);
}

struct result lease_epoch_seal(struct lease_epoch *e, struct slice aad, struct slice in,
                               uint8_t ret_nonce[static GCM_NONCE_BYTES], uint8_t *out) {
    CHECK(in.len <= LEASE_EPOCH_BLOCK_BYTES, ERR_INTERNAL, "a block of %zu bytes", in.len);
    TRY(lease_check(e->lease));
    pthread_rwlock_rdlock(&e->lock);
    struct result r = seal_locked(e, aad, in, ret_nonce, out);
    pthread_rwlock_unlock(&e->lock);
    return r;
}

static struct result open_locked(struct lease_epoch *e, struct slice aad, const uint8_t *nonce, struct slice in,
                                 uint8_t *out) {
    AUTO(gcm_free_auto) struct gcm *g = NULL;
    TRY(cipher_for_block(e, &g));
    return gcm_open(g, nonce, aad, in, out);
}

struct result lease_epoch_open(struct lease_epoch *e, struct slice aad, const uint8_t nonce[static GCM_NONCE_BYTES],
                               struct slice in, uint8_t *out) {
    TRY(lease_check(e->lease));
    pthread_rwlock_rdlock(&e->lock);
    struct result r = open_locked(e, aad, nonce, in, out);
    pthread_rwlock_unlock(&e->lock);
    return r;
}
