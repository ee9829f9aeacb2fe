/* The lease alone: when it allows something, which keys it finds, and what it never does twice. */
#include "keys/lease.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "testing.h"

static struct slice bytes_of(uint8_t *to, size_t n, uint8_t value) {
    memset(to, value, n);
    return slice_make(to, n);
}

static void set_branch(struct lease *l, uint8_t id_byte, uint8_t key_byte) {
    uint8_t id[LEASE_BRANCH_ID_BYTES], key[KEY_BYTES];
    bytes_of(id, sizeof id, id_byte);
    ASSERT_OK(lease_set_branch(l, id, bytes_of(key, sizeof key, key_byte)));
    ASSERT_OK(lease_set_active(l, id));
}

static void set_names(struct lease *l) {
    uint8_t key[KEY_BYTES];
    ASSERT_OK(lease_set_names(l, bytes_of(key, sizeof key, 9)));
}

static void arm(struct lease *l, int64_t ms) {
    lease_arm(l, clock_boottime_ns() + ms * NS_PER_MS);
}

static struct lease *fresh(const char *org, const char *region) {
    struct lease *l;
    ASSERT_OK(lease_new(org, region, "arn:aws:kms:us-west-2:111122223333:key/mrk-1", &l));
    return l;
}

static struct lease *working(void) {
    struct lease *l = fresh("o1", "us-west-2");
    set_names(l);
    set_branch(l, 1, 2);
    arm(l, 3600 * 1000);
    return l;
}

static const struct slice no_aad = {0};
enum { TEXT_BYTES = 5 };

struct sealed {
    uint8_t branch[LEASE_BRANCH_ID_BYTES], salt[LEASE_SALT_BYTES], chunk[TEXT_BYTES + GCM_TAG_BYTES];
};

static void seal_hello(struct lease *l, const char *context, struct sealed *ret) {
    AUTO(lease_cipher_free_auto) struct lease_cipher *c = NULL;
    ASSERT_OK(lease_cipher_new_seal(l, slice_str(context), ret->branch, ret->salt, &c));
    ASSERT_OK(lease_cipher_seal(c, 0, true, no_aad, slice_str("hello"), ret->chunk));
}

static struct result open_hello(struct lease *l, const char *context, const struct sealed *s) {
    AUTO(lease_cipher_free_auto) struct lease_cipher *c = NULL;
    TRY(lease_cipher_new_open(l, s->branch, s->salt, slice_str(context), &c));
    uint8_t plain[TEXT_BYTES];
    TRY(lease_cipher_open(c, 0, true, no_aad, slice_make(s->chunk, sizeof s->chunk), plain));
    assert_memory_equal(plain, "hello", TEXT_BYTES);
    return OK;
}

static void test_nothing_before_it_is_armed(void **state) {
    struct lease *l = fresh("o1", "us-west-2");
    struct sealed s;
    struct lease_cipher *c;
    struct lease_namer *n;
    set_names(l);
    set_branch(l, 1, 2);
    ASSERT_ERR(NO_LEASE, lease_check(l));
    assert_int_equal(lease_expiry_boottime_ns(l), 0);
    ASSERT_ERR(NO_LEASE, lease_cipher_new_seal(l, slice_str("x"), s.branch, s.salt, &c));
    ASSERT_ERR(NO_LEASE, lease_namer_new(l, slice_str("x"), &n));
    arm(l, 1000 * 1000);
    ASSERT_OK(lease_check(l));
    seal_hello(l, "x", &s);
    ASSERT_OK(open_hello(l, "x", &s));
    lease_free(l);
}

static void test_nothing_after_its_time(void **state) {
    struct lease *l = working();
    struct sealed s;
    seal_hello(l, "x", &s);
    struct lease_cipher *sealing, *opening;
    struct lease_namer *n;
    uint8_t branch[LEASE_BRANCH_ID_BYTES], salt[LEASE_SALT_BYTES], out[64];
    ASSERT_OK(lease_cipher_new_seal(l, slice_str("x"), branch, salt, &sealing));
    ASSERT_OK(lease_cipher_new_open(l, s.branch, s.salt, slice_str("x"), &opening));
    ASSERT_OK(lease_namer_new(l, slice_str("n"), &n));
    BUF_AUTO(name, 64);
    ASSERT_OK(lease_namer_seal(n, slice_str("a"), slice_str("name"), &name));
    BUF_AUTO(more, 64);
    /* What was made before stops as well, at the next chunk; armed again, it goes on. */
    for (int pass = 0; pass < 2; pass++) {
        arm(l, -1);
        ASSERT_ERR(NO_LEASE, lease_check(l));
        ASSERT_ERR(NO_LEASE, lease_cipher_seal(sealing, 0, false, no_aad, slice_str("hello"), out));
        memset(out, 7, sizeof out);
        ASSERT_ERR(NO_LEASE, lease_cipher_open(opening, 0, true, no_aad, slice_make(s.chunk, sizeof s.chunk), out));
        for (size_t i = 0; i < sizeof out; i++)
            assert_int_equal(out[i], 7);
        ASSERT_ERR(NO_LEASE, lease_namer_seal(n, slice_str("a"), slice_str("name"), &more));
        ASSERT_ERR(NO_LEASE, lease_namer_open(n, slice_str("a"), buf_slice(&name), &more));
        assert_int_equal(more.len, 0);
        arm(l, 1000 * 1000);
        ASSERT_OK(lease_cipher_open(opening, 0, true, no_aad, slice_make(s.chunk, sizeof s.chunk), out));
    }
    /* After its end no arming helps. */
    const struct lease_wiped wiped = lease_end_counted(l), again = lease_end_counted(l);
    assert_int_equal(wiped.branch_keys, 1);
    assert_int_equal(wiped.name_keys, 1);
    assert_int_equal(wiped.ciphers, 2);
    assert_int_equal(wiped.namers, 1);
    assert_int_equal(wiped.epoch_keys, 0);
    assert_int_equal(again.branch_keys + again.name_keys + again.ciphers + again.namers, 0);
    arm(l, 1000 * 1000);
    assert_int_equal(lease_expiry_boottime_ns(l), 0);
    ASSERT_ERR(NO_LEASE, lease_check(l));
    ASSERT_ERR(NO_LEASE, lease_cipher_seal(sealing, 0, false, no_aad, slice_str("hello"), out));
    ASSERT_ERR(NO_LEASE, lease_cipher_open(opening, 0, true, no_aad, slice_make(s.chunk, sizeof s.chunk), out));
    ASSERT_ERR(NO_LEASE, lease_namer_open(n, slice_str("a"), buf_slice(&name), &more));
    ASSERT_ERR(NO_LEASE, lease_set_names(l, slice_make(out, KEY_BYTES)));
    ASSERT_ERR(NO_LEASE, lease_set_branch(l, branch, slice_make(out, KEY_BYTES)));
    lease_cipher_free(sealing);
    lease_cipher_free(opening);
    lease_namer_free(n);
    lease_free(l);
}

static void test_handed_over(void **state) {
    struct lease *l = fresh("o1", "us-west-2");
    arm(l, 1000 * 1000);
    uint8_t id[LEASE_BRANCH_ID_BYTES], key[KEY_BYTES + 1];
    struct sealed s;
    struct lease_cipher *c;
    struct lease_namer *n;
    ASSERT_ERR(NOT_FOUND, lease_cipher_new_seal(l, slice_str("x"), s.branch, s.salt, &c));
    ASSERT_ERR(NOT_FOUND, lease_namer_new(l, slice_str("x"), &n));
    bytes_of(id, sizeof id, 5);
    ASSERT_ERR(NOT_FOUND, lease_set_active(l, id));
    ASSERT_ERR(INVALID, lease_set_branch(l, id, slice_make(key, KEY_BYTES - 1)));
    ASSERT_ERR(INVALID, lease_set_branch(l, id, slice_make(key, KEY_BYTES + 1)));
    ASSERT_ERR(INVALID, lease_set_names(l, slice_make(key, 0)));
    bytes_of(key, sizeof key, 1);
    ASSERT_OK(lease_set_branch(l, id, slice_make(key, KEY_BYTES)));
    ASSERT_OK(lease_set_branch(l, id, slice_make(key, KEY_BYTES))); /* again, the same */
    ASSERT_OK(lease_set_names(l, slice_make(key, KEY_BYTES)));
    key[7] ^= 1;
    ASSERT_ERR(CONFLICT, lease_set_branch(l, id, slice_make(key, KEY_BYTES)));
    ASSERT_ERR(CONFLICT, lease_set_names(l, slice_make(key, KEY_BYTES)));
    ASSERT_ERR(NOT_FOUND, lease_cipher_new_seal(l, slice_str("x"), s.branch, s.salt, &c)); /* none is active yet */
    /* The active one seals; the older ones open. */
    ASSERT_OK(lease_set_active(l, id));
    struct sealed of[20];
    for (unsigned i = 0; i < ARRAY_LEN(of); i++) {
        set_branch(l, (uint8_t)(200 - 7 * i), (uint8_t)i);
        seal_hello(l, "x", &of[i]);
        assert_int_equal(of[i].branch[0], 200 - 7 * i);
    }
    for (unsigned i = 0; i < ARRAY_LEN(of); i++)
        ASSERT_OK(open_hello(l, "x", &of[i]));
    lease_free(l);
    ASSERT_ERR(INVALID, lease_new("", "r", "a", &l));
    ASSERT_ERR(INVALID, lease_new("o", NULL, "a", &l));
    AUTO_FREE char *long_text = mem_alloc(2050);
    memset(long_text, 'x', 2049);
    ASSERT_ERR(INVALID, lease_new("o", "r", long_text, &l));
}

/* Organization, region, context, branch and salt all count. */
static void test_what_binds_a_key(void **state) {
    struct lease *l = working();
    struct sealed s, again;
    seal_hello(l, "x", &s);
    seal_hello(l, "x", &again);
    assert_memory_not_equal(s.salt, again.salt, sizeof s.salt);
    assert_memory_not_equal(s.chunk, again.chunk, sizeof s.chunk);
    ASSERT_ERR(CORRUPT, open_hello(l, "y", &s));
    ASSERT_ERR(CORRUPT, open_hello(l, "", &s));
    /* Texts that read alike one after the other: o1 + us-west-2. */
    const char *others[][2] = {{"o2", "us-west-2"}, {"o1", "us-west-1"}, {"o1u", "s-west-2"}, {"o", "1us-west-2"}};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        struct lease *other = fresh(others[i][0], others[i][1]);
        set_branch(other, 1, 2);
        arm(other, 1000 * 1000);
        ASSERT_ERR(CORRUPT, open_hello(other, "x", &s));
        lease_free(other);
    }
    for (size_t i = 0; i < sizeof s.salt; i++) {
        s.salt[i] ^= 0x80;
        ASSERT_ERR(CORRUPT, open_hello(l, "x", &s));
        s.salt[i] ^= 0x80;
    }
    ASSERT_OK(open_hello(l, "x", &s));
    lease_free(l);
}

static void test_chunks_in_turn(void **state) {
    struct lease *l = working();
    uint8_t branch[LEASE_BRANCH_ID_BYTES], salt[LEASE_SALT_BYTES], sealed[4][TEXT_BYTES + GCM_TAG_BYTES], out[64];
    struct lease_cipher *c, *o;
    struct slice hello = slice_str("hello");
    ASSERT_OK(lease_cipher_new_seal(l, slice_str("x"), branch, salt, &c));
    ASSERT_ERR(INTERNAL, lease_cipher_seal(c, 1, false, no_aad, hello, out));
    ASSERT_OK(lease_cipher_seal(c, 0, false, no_aad, hello, sealed[0]));
    ASSERT_ERR(INTERNAL, lease_cipher_seal(c, 0, false, no_aad, hello, out)); /* no nonce twice */
    ASSERT_OK(lease_cipher_seal(c, 1, false, no_aad, hello, sealed[1]));
    ASSERT_ERR(INTERNAL, lease_cipher_open(c, 0, false, no_aad, slice_make(sealed[0], sizeof sealed[0]), out));
    ASSERT_OK(lease_cipher_seal(c, 2, true, no_aad, hello, sealed[2]));
    ASSERT_ERR(INTERNAL, lease_cipher_seal(c, 3, false, no_aad, hello, out)); /* nothing after the final one */
    AUTO_FREE uint8_t *big = mem_alloc(LEASE_CHUNK_BYTES + 1 + GCM_TAG_BYTES);
    ASSERT_ERR(INTERNAL, lease_cipher_seal(c, 3, false, no_aad, slice_make(big, LEASE_CHUNK_BYTES + 1), big));
    ASSERT_OK(lease_cipher_new_open(l, branch, salt, slice_str("x"), &o));
    /* In any order, but each only as what it was. */
    for (unsigned at = 3; at-- > 0;)
        for (unsigned index = 0; index < 4; index++)
            for (int final = 0; final < 2; final++) {
                memset(out, 7, sizeof out);
                struct result r =
                    lease_cipher_open(o, index, final, no_aad, slice_make(sealed[at], sizeof sealed[at]), out);
                bool is_it = at == index && final == (at == 2);
                assert_int_equal(r.code, is_it ? ERR_NONE : ERR_CORRUPT);
                if (is_it) assert_memory_equal(out, "hello", TEXT_BYTES);
                if (!is_it) assert_memory_not_equal(out, "hello", TEXT_BYTES);
            }
    ASSERT_ERR(CORRUPT, lease_cipher_open(o, 0, false, slice_str("a"), slice_make(sealed[0], sizeof sealed[0]), out));
    ASSERT_ERR(INTERNAL, lease_cipher_seal(o, 0, false, no_aad, hello, out));
    lease_cipher_free(o);
    lease_cipher_free(c);
    lease_free(l);
}

struct fetcher {
    struct lease *lease;
    enum err_code answer;
    unsigned asked;
    uint8_t id[LEASE_BRANCH_ID_BYTES];
};

static struct result fetch(void *arg, const uint8_t id[static LEASE_BRANCH_ID_BYTES]) {
    struct fetcher *f = arg;
    f->asked++;
    mem_copy(f->id, id, sizeof f->id);
    if (f->answer != ERR_NONE) return err_make(f->answer, "not to be had");
    uint8_t key[KEY_BYTES];
    return lease_set_branch(f->lease, id, bytes_of(key, sizeof key, 2));
}

static void test_fetch(void **state) {
    struct lease *l = working(), *reader = fresh("o1", "us-west-2");
    struct sealed s;
    seal_hello(l, "x", &s);
    arm(reader, 1000 * 1000);
    ASSERT_ERR(CORRUPT, open_hello(reader, "x", &s)); /* nobody to ask: such a branch never existed */
    struct fetcher f = {.lease = reader, .answer = ERR_NOT_FOUND};
    lease_set_fetch(reader, fetch, &f);
    ASSERT_ERR(CORRUPT, open_hello(reader, "x", &s));
    f.answer = ERR_UNREACHABLE;
    ASSERT_ERR(UNREACHABLE, open_hello(reader, "x", &s));
    f.answer = ERR_NO_LEASE;
    ASSERT_ERR(NO_LEASE, open_hello(reader, "x", &s));
    assert_int_equal(f.asked, 3);
    f.answer = ERR_NONE;
    ASSERT_OK(open_hello(reader, "x", &s));
    ASSERT_OK(open_hello(reader, "x", &s));
    assert_int_equal(f.asked, 4); /* once it is there nobody is asked */
    assert_memory_equal(f.id, s.branch, sizeof f.id);
    lease_free(reader);
    lease_free(l);
}

static void test_names(void **state) {
    struct lease *l = working();
    struct lease_namer *a, *b;
    ASSERT_OK(lease_namer_new(l, slice_str("a"), &a));
    ASSERT_OK(lease_namer_new(l, slice_str("b"), &b));
    BUF_AUTO(one, 64);
    BUF_AUTO(two, 64);
    BUF_AUTO(plain, 64);
    ASSERT_OK(lease_namer_seal(a, slice_str("place"), slice_str("name"), &one));
    ASSERT_OK(lease_namer_seal(a, slice_str("place"), slice_str("name"), &two));
    assert_true(slice_equal(buf_slice(&one), buf_slice(&two))); /* so that it can be found again */
    buf_clear(&two);
    ASSERT_OK(lease_namer_seal(b, slice_str("place"), slice_str("name"), &two));
    assert_false(slice_equal(buf_slice(&one), buf_slice(&two)));
    ASSERT_OK(lease_namer_open(a, slice_str("place"), buf_slice(&one), &plain));
    ASSERT_SLICE(buf_slice(&plain), "name");
    ASSERT_ERR(CORRUPT, lease_namer_open(b, slice_str("place"), buf_slice(&one), &plain));
    ASSERT_ERR(CORRUPT, lease_namer_open(a, slice_str("elsewhere"), buf_slice(&one), &plain));
    for (size_t i = 0; i < one.len; i++) {
        one.data[i] ^= 1;
        ASSERT_ERR(CORRUPT, lease_namer_open(a, slice_str("place"), buf_slice(&one), &plain));
        one.data[i] ^= 1;
    }
    assert_int_equal(plain.len, 4); /* nothing was added by what failed */
    lease_namer_free(a);
    lease_namer_free(b);
    lease_free(l);
}

struct user {
    pthread_t thread;
    struct lease *lease;
    unsigned *sealed; /* chunks, by anyone */
    enum err_code end;
};

static void *use_until_the_end(void *arg) {
    struct user *u = arg;
    AUTO_FREE uint8_t *chunk = mem_alloc(LEASE_CHUNK_BYTES + GCM_TAG_BYTES);
    for (u->end = ERR_NONE; u->end == ERR_NONE;) {
        AUTO(lease_cipher_free_auto) struct lease_cipher *c = NULL;
        uint8_t branch[LEASE_BRANCH_ID_BYTES], salt[LEASE_SALT_BYTES];
        struct result r = lease_cipher_new_seal(u->lease, slice_str("x"), branch, salt, &c);
        for (uint64_t i = 0; is_ok(r) && i < 50; i++) {
            r = lease_cipher_seal(c, i, false, no_aad, slice_make(chunk, LEASE_CHUNK_BYTES), chunk);
            __atomic_add_fetch(u->sealed, 1, __ATOMIC_RELAXED);
        }
        u->end = r.code;
    }
    return NULL;
}

/* The end comes while chunks are sealed: every user gets NO_LEASE, whatever it was in the middle of. */
static void test_end_under_use(void **state) {
    struct lease *l = working();
    struct user users[4];
    unsigned sealed = 0;
    for (size_t i = 0; i < ARRAY_LEN(users); i++) {
        users[i] = (struct user){.lease = l, .sealed = &sealed};
        assert_int_equal(pthread_create(&users[i].thread, NULL, use_until_the_end, &users[i]), 0);
    }
    while (__atomic_load_n(&sealed, __ATOMIC_RELAXED) < 500)
        clock_sleep_ms(1);
    lease_end(l);
    for (size_t i = 0; i < ARRAY_LEN(users); i++) {
        pthread_join(users[i].thread, NULL);
        assert_int_equal(users[i].end, ERR_NO_LEASE);
    }
    lease_free(l);
}

/* Stable: a secret that was shown to somebody is good for ever; and every part of what it is derived from counts. */
static void test_s3_secrets(void **state) {
    char secret[LEASE_S3_SECRET_BYTES], again[LEASE_S3_SECRET_BYTES];
    struct lease *l = working();
    ASSERT_OK(lease_s3_secret(l, "LSKAAAAAAAAAAAAAAAA2", secret));
    assert_string_equal(secret, "AqIBkbQysJOwzM-oalsNecOMGJMXcCy-DKH7-zal");
    ASSERT_OK(lease_s3_secret(l, "LSKAAAAAAAAAAAAAAAA2", again));
    assert_string_equal(secret, again);
    ASSERT_OK(lease_s3_secret(l, "LSKAAAAAAAAAAAAAAAA3", again));
    assert_string_not_equal(secret, again);
    ASSERT_ERR(INVALID, lease_s3_secret(l, "", again));
    lease_end(l);
    ASSERT_ERR(NO_LEASE, lease_s3_secret(l, "LSKAAAAAAAAAAAAAAAA2", again));
    lease_free(l);
    const char *const others[][2] = {{"o2", "us-west-2"}, {"o1", "us-east-1"}, {"o1us", "-west-2"}};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        l = fresh(others[i][0], others[i][1]);
        arm(l, 3600 * 1000);
        ASSERT_ERR(NOT_FOUND, lease_s3_secret(l, "LSKAAAAAAAAAAAAAAAA2", again));
        set_names(l);
        ASSERT_OK(lease_s3_secret(l, "LSKAAAAAAAAAAAAAAAA2", again));
        assert_string_not_equal(secret, again);
        lease_free(l);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_nothing_before_it_is_armed),
    cmocka_unit_test(test_nothing_after_its_time),
    cmocka_unit_test(test_handed_over),
    cmocka_unit_test(test_what_binds_a_key),
    cmocka_unit_test(test_chunks_in_turn),
    cmocka_unit_test(test_fetch),
    cmocka_unit_test(test_names),
    cmocka_unit_test(test_s3_secrets),
    cmocka_unit_test(test_end_under_use),
};

TEST_MAIN(tests)
