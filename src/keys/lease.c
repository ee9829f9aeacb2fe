#include "keys/lease.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/secret.h"
#include "keys/lease_priv.h"
#include "keys/s3_secret.h"

enum { TEXT_MAX_BYTES = 2048, BRANCHES_MAX = 65536, OBJECT_KEY_BYTES = KEY_BYTES, NAMER_KEY_BYTES = 2 * KEY_BYTES };

struct branch {
    uint8_t id[LEASE_BRANCH_ID_BYTES];
    struct secret key;
};

struct lease {
    char *org, *region, *key_arn;
    _Atomic int64_t expiry_boottime_ns; /* 0: not armed */
    atomic_bool ended;
    lease_fetch_fn *fetch;
    void *fetch_arg;

    pthread_mutex_t lock;    /* guards everything below */
    struct branch *branches; /* sorted by id */
    size_t branch_count;
    bool has_active;
    uint8_t active[LEASE_BRANCH_ID_BYTES];
    struct secret name_key;
    struct lease_cipher *ciphers; /* whose keys lease_end has to wipe */
    struct lease_namer *namers;
    struct lease_ward *wards;
};

struct lease_cipher {
    struct lease *lease;
    pthread_mutex_t lock; /* against lease_end only; taken after the lease's */
    struct gcm *gcm;      /* NULL once the lease has ended */
    bool seals, finished;
    uint64_t next_index;
    struct lease_cipher *next, *previous;
};

struct lease_namer {
    struct lease *lease;
    pthread_rwlock_t lock; /* written by lease_end only */
    struct secret key;     /* empty once the lease has ended */
    struct lease_namer *next, *previous;
};

static lease_salt_fn *salt_source = random_bytes;

void lease_set_salt_source(lease_salt_fn *source) {
    salt_source = source;
}

/* ---- The lease ---- */

static struct result text_check(const char *text, const char *what) {
    size_t len = text ? strlen(text) : 0;
    CHECK(len >= 1 && len <= TEXT_MAX_BYTES, ERR_INVALID, "a lease's %s must have 1 to %d bytes", what, TEXT_MAX_BYTES);
    return OK;
}

struct result lease_new(const char *org, const char *region, const char *key_arn, struct lease **ret) {
    TRY(text_check(org, "organization"));
    TRY(text_check(region, "region"));
    TRY(text_check(key_arn, "key ARN"));
    struct lease *l = mem_alloc(sizeof *l);
    l->org = str_dup(org);
    l->region = str_dup(region);
    l->key_arn = str_dup(key_arn);
    pthread_mutex_init(&l->lock, NULL);
    *ret = l;
    return OK;
}

struct lease *lease_free(struct lease *l) {
    if (!l) return NULL;
    lease_end(l);
    pthread_mutex_destroy(&l->lock);
    mem_free(l->branches);
    mem_free(l->org);
    mem_free(l->region);
    mem_free(l->key_arn);
    mem_free(l);
    return NULL;
}

const char *lease_org(const struct lease *l) {
    return l->org;
}

const char *lease_region(const struct lease *l) {
    return l->region;
}

const char *lease_key_arn(const struct lease *l) {
    return l->key_arn;
}

void lease_set_fetch(struct lease *l, lease_fetch_fn *fetch, void *arg) {
    l->fetch = fetch;
    l->fetch_arg = arg;
}

void lease_arm(struct lease *l, int64_t expiry_boottime_ns) {
    atomic_store(&l->expiry_boottime_ns, expiry_boottime_ns);
}

int64_t lease_expiry_boottime_ns(const struct lease *l) {
    return atomic_load(&l->ended) ? 0 : atomic_load(&l->expiry_boottime_ns);
}

struct result lease_check(const struct lease *l) {
    CHECK(!atomic_load(&l->ended), ERR_NO_LEASE, "the organization's lease has ended");
    int64_t expiry = atomic_load(&l->expiry_boottime_ns);
    CHECK(expiry != 0, ERR_NO_LEASE, "the organization's lease has not begun");
    CHECK(clock_boottime_ns() < expiry, ERR_NO_LEASE, "the organization's lease has expired and was not renewed");
    return OK;
}

void lease_end(struct lease *l) {
    lease_end_counted(l);
}

struct lease_wiped lease_end_counted(struct lease *l) {
    struct lease_wiped wiped = {0};
    atomic_store(&l->ended, true);
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < l->branch_count; i++)
        secret_done(&l->branches[i].key);
    wiped.branch_keys = (unsigned)l->branch_count;
    l->branch_count = 0;
    l->has_active = false;
    wiped.name_keys = l->name_key.data != NULL;
    secret_done(&l->name_key);
    for (struct lease_cipher *c = l->ciphers; c; c = c->next) {
        pthread_mutex_lock(&c->lock);
        wiped.ciphers += c->gcm != NULL;
        c->gcm = gcm_free(c->gcm);
        pthread_mutex_unlock(&c->lock);
    }
    for (struct lease_namer *n = l->namers; n; n = n->next) {
        pthread_rwlock_wrlock(&n->lock);
        wiped.namers += n->key.data != NULL;
        secret_done(&n->key);
        pthread_rwlock_unlock(&n->lock);
    }
    for (struct lease_ward *w = l->wards; w; w = w->next)
        wiped.epoch_keys += w->end(w);
    pthread_mutex_unlock(&l->lock);
    return wiped;
}

void lease_ward_add(struct lease *l, struct lease_ward *w) {
    pthread_mutex_lock(&l->lock);
    w->previous = NULL;
    w->next = l->wards;
    if (w->next) w->next->previous = w;
    l->wards = w;
    if (atomic_load(&l->ended)) w->end(w);
    pthread_mutex_unlock(&l->lock);
}

void lease_ward_remove(struct lease *l, struct lease_ward *w) {
    pthread_mutex_lock(&l->lock);
    if (w->previous)
        w->previous->next = w->next;
    else
        l->wards = w->next;
    if (w->next) w->next->previous = w->previous;
    pthread_mutex_unlock(&l->lock);
}

/* ---- What the keyring hands over ---- */

/* Where the id stands, or would have to be inserted; the lock is held. */
static size_t branch_position(const struct lease *l, const uint8_t *id, bool *ret_found) {
    size_t low = 0, high = l->branch_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = mem_order(l->branches[middle].id, id, LEASE_BRANCH_ID_BYTES);
        if (order == 0) {
            *ret_found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_found = false;
    return low;
}

static struct result branch_insert(struct lease *l, const uint8_t *id, struct slice key) {
    CHECK(!atomic_load(&l->ended), ERR_NO_LEASE, "the organization's lease has ended");
    bool found;
    size_t at = branch_position(l, id, &found);
    if (found) {
        CHECK(secret_equal(secret_view(&l->branches[at].key), key), ERR_CONFLICT, "two keys for one branch");
        return OK;
    }
    CHECK(l->branch_count < BRANCHES_MAX, ERR_BUSY, "more than %d branch keys", BRANCHES_MAX);
    struct branch fresh = {0};
    mem_copy(fresh.id, id, sizeof fresh.id);
    TRY(secret_from(key.data, key.len, &fresh.key));
    l->branches = mem_resize(l->branches, (l->branch_count + 1) * sizeof *l->branches);
    for (size_t i = l->branch_count; i > at; i--)
        l->branches[i] = l->branches[i - 1];
    l->branches[at] = fresh;
    l->branch_count++;
    return OK;
}

struct result lease_set_branch(struct lease *l, const uint8_t id[static LEASE_BRANCH_ID_BYTES], struct slice key) {
    CHECK(key.len == KEY_BYTES, ERR_INVALID, "a branch key must have %d bytes, not %zu", KEY_BYTES, key.len);
    pthread_mutex_lock(&l->lock);
    struct result r = branch_insert(l, id, key);
    pthread_mutex_unlock(&l->lock);
    return r;
}

struct result lease_set_active(struct lease *l, const uint8_t id[static LEASE_BRANCH_ID_BYTES]) {
    pthread_mutex_lock(&l->lock);
    bool found;
    branch_position(l, id, &found);
    if (found) {
        mem_copy(l->active, id, LEASE_BRANCH_ID_BYTES);
        l->has_active = true;
    }
    pthread_mutex_unlock(&l->lock);
    CHECK(found, ERR_NOT_FOUND, "the branch to become active was not handed over");
    return OK;
}

static struct result names_insert(struct lease *l, struct slice key) {
    CHECK(!atomic_load(&l->ended), ERR_NO_LEASE, "the organization's lease has ended");
    if (!l->name_key.data) return secret_from(key.data, key.len, &l->name_key);
    CHECK(secret_equal(secret_view(&l->name_key), key), ERR_CONFLICT, "two name keys for one organization");
    return OK;
}

struct result lease_set_names(struct lease *l, struct slice key) {
    CHECK(key.len == KEY_BYTES, ERR_INVALID, "a name key must have %d bytes, not %zu", KEY_BYTES, key.len);
    pthread_mutex_lock(&l->lock);
    struct result r = names_insert(l, key);
    pthread_mutex_unlock(&l->lock);
    return r;
}

/* ---- Derivation ---- */

struct derived {
    uint8_t bytes[NAMER_KEY_BYTES];
};

static void derived_wipe(struct derived *d) {
    wipe(d, sizeof *d);
}

/* HKDF's info: a label, and organization and region with their lengths, so that no two contexts read alike. */
static struct result derive(const struct lease *l, const char *label, const struct secret *key, struct slice salt,
                            struct slice context, uint8_t *ret, size_t len) {
    CHECK(context.len <= LEASE_CONTEXT_MAX_BYTES, ERR_INTERNAL, "a key's context is too long");
    BUF_AUTO(info, 2 * TEXT_MAX_BYTES + LEASE_CONTEXT_MAX_BYTES + 64);
    buf_append(&info, label, strlen(label) + 1);
    put_u16(&info, (uint16_t)strlen(l->org));
    buf_append_str(&info, l->org);
    put_u16(&info, (uint16_t)strlen(l->region));
    buf_append_str(&info, l->region);
    buf_append_slice(&info, context);
    TRY(buf_check(&info));
    return hkdf_sha256(secret_view(key), salt, buf_slice(&info), ret, len);
}

/* ---- Object ciphers ---- */

/* With the lease's lock held: finds the branch and derives. *ret_missing: the branch has to be fetched first. */
static struct result cipher_fill(struct lease *l, const uint8_t *branch, const uint8_t *salt, struct slice context,
                                 struct lease_cipher *c, bool *ret_missing) {
    CHECK(!atomic_load(&l->ended), ERR_NO_LEASE, "the organization's lease has ended");
    bool found;
    size_t at = branch_position(l, branch, &found);
    *ret_missing = !found;
    CHECK(found, ERR_NOT_FOUND, "no such branch key");
    AUTO(derived_wipe) struct derived key = {0};
    TRY(derive(l, "lockset object 1", &l->branches[at].key, slice_make(salt, LEASE_SALT_BYTES), context, key.bytes,
               OBJECT_KEY_BYTES));
    TRY(gcm_new(slice_make(key.bytes, OBJECT_KEY_BYTES), &c->gcm));
    c->next = l->ciphers;
    if (c->next) c->next->previous = c;
    l->ciphers = c;
    return OK;
}

static struct result cipher_new(struct lease *l, const uint8_t *branch, const uint8_t *salt, struct slice context,
                                bool seals, bool *ret_missing, struct lease_cipher **ret) {
    *ret_missing = false;
    TRY(lease_check(l));
    AUTO_FREE struct lease_cipher *c = mem_alloc(sizeof *c);
    c->lease = l;
    c->seals = seals;
    pthread_mutex_init(&c->lock, NULL); /* lease_end may take it as soon as the cipher is in the list */
    pthread_mutex_lock(&l->lock);
    struct result r = cipher_fill(l, branch, salt, context, c, ret_missing);
    pthread_mutex_unlock(&l->lock);
    TRY(r);
    *ret = TAKE(c);
    return OK;
}

struct result lease_cipher_new_seal(struct lease *l, struct slice context,
                                    uint8_t ret_branch[static LEASE_BRANCH_ID_BYTES],
                                    uint8_t ret_salt[static LEASE_SALT_BYTES], struct lease_cipher **ret) {
    TRY(lease_check(l));
    uint8_t branch[LEASE_BRANCH_ID_BYTES], salt[LEASE_SALT_BYTES];
    pthread_mutex_lock(&l->lock);
    bool has_active = l->has_active;
    mem_copy(branch, l->active, sizeof branch);
    pthread_mutex_unlock(&l->lock);
    CHECK(has_active, ERR_NOT_FOUND, "no branch key is active");
    TRY(salt_source(salt, sizeof salt));
    bool missing;
    TRY(cipher_new(l, branch, salt, context, true, &missing, ret));
    mem_copy(ret_branch, branch, sizeof branch);
    mem_copy(ret_salt, salt, sizeof salt);
    return OK;
}

struct result lease_cipher_new_open(struct lease *l, const uint8_t branch[static LEASE_BRANCH_ID_BYTES],
                                    const uint8_t salt[static LEASE_SALT_BYTES], struct slice context,
                                    struct lease_cipher **ret) {
    bool missing;
    struct result r = cipher_new(l, branch, salt, context, false, &missing, ret);
    if (is_ok(r) || !missing) return r;
    r = l->fetch ? l->fetch(l->fetch_arg, branch) : r;
    if (is_ok(r)) r = cipher_new(l, branch, salt, context, false, &missing, ret);
    CHECK(r.code != ERR_NOT_FOUND, ERR_CORRUPT, "a sealed file names a branch key that does not exist");
    return r;
}

struct lease_cipher *lease_cipher_free(struct lease_cipher *c) {
    if (!c) return NULL;
    struct lease *l = c->lease;
    pthread_mutex_lock(&l->lock);
    if (c->previous)
        c->previous->next = c->next;
    else
        l->ciphers = c->next;
    if (c->next) c->next->previous = c->previous;
    pthread_mutex_unlock(&l->lock);
    gcm_free(c->gcm);
    pthread_mutex_destroy(&c->lock);
    mem_free(c);
    return NULL;
}

/* Final and not-final chunks of one index differ in the nonce, so one can't be passed off as the other. */
static void chunk_nonce(uint64_t index, bool final, uint8_t ret[static GCM_NONCE_BYTES]) {
    for (int i = 0; i < 8; i++)
        ret[GCM_NONCE_BYTES - 1 - i] = (uint8_t)(index >> (8 * i));
    ret[0] = ret[1] = ret[2] = 0;
    ret[3] = final;
}

static struct result seal_locked(struct lease_cipher *c, uint64_t index, bool final, bool in_clear, struct slice aad,
                                 struct slice in, uint8_t *out) {
    CHECK(c->gcm, ERR_NO_LEASE, "the organization's lease has ended");
    CHECK(c->seals && !c->finished && index == c->next_index, ERR_INTERNAL, "a chunk is sealed out of turn");
    /* Counted before the attempt: a nonce whose sealing failed is not tried again. */
    c->next_index++;
    c->finished = final;
    uint8_t nonce[GCM_NONCE_BYTES];
    chunk_nonce(index, final, nonce);
    if (!in_clear) return gcm_seal(c->gcm, nonce, aad, in, out);
    if (out != in.data) mem_copy(out, in.data, in.len);
    return gcm_mark(c->gcm, nonce, aad, in, out + in.len);
}

static struct result seal(struct lease_cipher *c, uint64_t index, bool final, bool in_clear, struct slice aad,
                          struct slice in, uint8_t *out) {
    CHECK(in.len <= LEASE_CHUNK_BYTES, ERR_INTERNAL, "a chunk of %zu bytes", in.len);
    TRY(lease_check(c->lease));
    pthread_mutex_lock(&c->lock);
    struct result r = seal_locked(c, index, final, in_clear, aad, in, out);
    pthread_mutex_unlock(&c->lock);
    return r;
}

struct result lease_cipher_seal(struct lease_cipher *c, uint64_t index, bool final, struct slice aad, struct slice in,
                                uint8_t *out) {
    return seal(c, index, final, false, aad, in, out);
}

struct result lease_cipher_mark(struct lease_cipher *c, uint64_t index, bool final, struct slice aad, struct slice in,
                                uint8_t *out) {
    return seal(c, index, final, true, aad, in, out);
}

static struct result open_locked(struct lease_cipher *c, uint64_t index, bool final, bool in_clear, struct slice aad,
                                 struct slice in, uint8_t *out) {
    CHECK(c->gcm, ERR_NO_LEASE, "the organization's lease has ended");
    CHECK(!c->seals, ERR_INTERNAL, "a cipher for sealing was asked to open");
    uint8_t nonce[GCM_NONCE_BYTES];
    chunk_nonce(index, final, nonce);
    if (!in_clear) return gcm_open(c->gcm, nonce, aad, in, out);
    CHECK(in.len >= GCM_TAG_BYTES, ERR_CORRUPT, "authenticated data is shorter than its tag");
    struct slice text = slice_make(in.data, in.len - GCM_TAG_BYTES);
    struct result r = gcm_verify(c->gcm, nonce, aad, text, in.data + text.len);
    if (is_err(r))
        wipe(out, text.len);
    else
        mem_move(out, text.data, text.len);
    return r;
}

static struct result open_chunk(struct lease_cipher *c, uint64_t index, bool final, bool in_clear, struct slice aad,
                                struct slice in, uint8_t *out) {
    CHECK(in.len <= LEASE_CHUNK_BYTES + GCM_TAG_BYTES, ERR_CORRUPT, "a chunk of %zu bytes", in.len);
    TRY(lease_check(c->lease));
    pthread_mutex_lock(&c->lock);
    struct result r = open_locked(c, index, final, in_clear, aad, in, out);
    pthread_mutex_unlock(&c->lock);
    return r;
}

struct result lease_cipher_open(struct lease_cipher *c, uint64_t index, bool final, struct slice aad, struct slice in,
                                uint8_t *out) {
    return open_chunk(c, index, final, false, aad, in, out);
}

struct result lease_cipher_verify(struct lease_cipher *c, uint64_t index, bool final, struct slice aad, struct slice in,
                                  uint8_t *out) {
    return open_chunk(c, index, final, true, aad, in, out);
}

/* ---- Names ---- */

static struct result namer_fill(struct lease *l, struct slice context, struct lease_namer *n) {
    CHECK(!atomic_load(&l->ended), ERR_NO_LEASE, "the organization's lease has ended");
    CHECK(l->name_key.data, ERR_NOT_FOUND, "the name key was not handed over");
    AUTO(derived_wipe) struct derived key = {0};
    TRY(derive(l, "lockset names 1", &l->name_key, (struct slice){0}, context, key.bytes, NAMER_KEY_BYTES));
    TRY(secret_from(key.bytes, NAMER_KEY_BYTES, &n->key));
    n->next = l->namers;
    if (n->next) n->next->previous = n;
    l->namers = n;
    return OK;
}

struct result lease_namer_new(struct lease *l, struct slice context, struct lease_namer **ret) {
    TRY(lease_check(l));
    AUTO_FREE struct lease_namer *n = mem_alloc(sizeof *n);
    n->lease = l;
    pthread_rwlock_init(&n->lock, NULL);
    pthread_mutex_lock(&l->lock);
    struct result r = namer_fill(l, context, n);
    pthread_mutex_unlock(&l->lock);
    TRY(r);
    *ret = TAKE(n);
    return OK;
}

struct lease_namer *lease_namer_free(struct lease_namer *n) {
    if (!n) return NULL;
    struct lease *l = n->lease;
    pthread_mutex_lock(&l->lock);
    if (n->previous)
        n->previous->next = n->next;
    else
        l->namers = n->next;
    if (n->next) n->next->previous = n->previous;
    pthread_mutex_unlock(&l->lock);
    secret_done(&n->key);
    pthread_rwlock_destroy(&n->lock);
    mem_free(n);
    return NULL;
}

static struct result namer_use(struct lease_namer *n, bool seals, struct slice aad, struct slice in, struct buf *out) {
    TRY(lease_check(n->lease));
    pthread_rwlock_rdlock(&n->lock);
    struct result r;
    if (!n->key.data)
        r = err_make(ERR_NO_LEASE, "the organization's lease has ended");
    else if (seals)
        r = siv_seal(secret_view(&n->key), aad, in, out);
    else
        r = siv_open(secret_view(&n->key), aad, in, out);
    pthread_rwlock_unlock(&n->lock);
    return r;
}

struct result lease_namer_seal(struct lease_namer *n, struct slice aad, struct slice in, struct buf *out) {
    return namer_use(n, true, aad, in, out);
}

struct result lease_namer_open(struct lease_namer *n, struct slice aad, struct slice in, struct buf *out) {
    return namer_use(n, false, aad, in, out);
}

/* ---- Access keys of S3 clients ---- */

static struct result s3_secret_locked(struct lease *l, const char *access_key_id, char *ret) {
    CHECK(!atomic_load(&l->ended), ERR_NO_LEASE, "the organization's lease has ended");
    CHECK(l->name_key.data, ERR_NOT_FOUND, "the name key was not handed over");
    return s3_secret_derive(secret_view(&l->name_key), l->org, l->region, access_key_id, ret);
}

struct result lease_s3_secret(struct lease *l, const char *access_key_id, char ret[static LEASE_S3_SECRET_BYTES]) {
    TRY(lease_check(l));
    pthread_mutex_lock(&l->lock);
    struct result r = s3_secret_locked(l, access_key_id, ret);
    pthread_mutex_unlock(&l->lock);
    return r;
}
