/* The block cache under a clock that the test moves: what expires and when, what is left of it, who is kept. */
#include "store/cache.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "fixture.h"

enum { BLOCK = CACHE_BLOCK_MAX_BYTES };
#define EPOCH_NS (100 * NS_PER_S)
#define QUARTER_NS (EPOCH_NS / 4)

static _Atomic int64_t test_now;

static int64_t test_clock(void) {
    return atomic_load(&test_now);
}

struct world {
    char dir[64];
    struct lease *lease;
    struct cache *cache;
};

static void reopen(struct world *w, uint64_t max_bytes) {
    w->cache = cache_close(w->cache);
    const struct cache_options options = {
        .dir = w->dir, .max_bytes = max_bytes, .epoch_ns = EPOCH_NS, .lease = w->lease, .clock = test_clock};
    ASSERT_OK(cache_open(&options, &w->cache));
}

static void world_init(struct world *w, uint64_t max_bytes) {
    *w = (struct world){0};
    strcpy(w->dir, "/tmp/lockset-test-cache-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    atomic_store(&test_now, 1000 * NS_PER_S);
    w->lease = fixture_lease();
    reopen(w, max_bytes);
}

static void world_done(struct world *w) {
    w->cache = cache_close(w->cache);
    w->lease = lease_free(w->lease);
    ASSERT_OK(file_remove_tree(w->dir));
}

static struct cache_key key_of(unsigned number) {
    struct cache_key key = {.index = number % 3};
    fill(key.id, sizeof key.id, number, 0);
    return key;
}

/* One read, as the store does it: from the cache, else "from the store", and into the cache where it is wanted. */
static bool read_len(struct cache *c, unsigned number, size_t len) {
    AUTO_FREE uint8_t *scratch = mem_alloc(CACHE_SCRATCH_BYTES);
    AUTO_FREE uint8_t *got = mem_alloc(BLOCK);
    AUTO_FREE uint8_t *wanted = mem_alloc(BLOCK);
    struct cache_key key = key_of(number);
    fill(wanted, len, number, 0);
    size_t n = 0;
    enum cache_answer answer = cache_get(c, &key, scratch, got, BLOCK, &n);
    if (answer == CACHE_HIT && (n != len || memcmp(got, wanted, len) != 0)) abort(); /* also on other threads */
    if (answer == CACHE_WANTED) cache_put(c, &key, slice_make(wanted, len), scratch);
    return answer == CACHE_HIT;
}

static bool read_one(struct cache *c, unsigned number) {
    return read_len(c, number, BLOCK);
}

static void pass(int64_t ns) {
    atomic_fetch_add(&test_now, ns);
}

static void blocks_path(const struct world *w, char ret[static 96]) {
    snprintf(ret, 96, "%s/blocks", w->dir);
}

static void read_blocks(const struct world *w, struct buf *out) {
    char path[96];
    blocks_path(w, path);
    ASSERT_OK(file_read(path, 64 << 20, out));
}

static bool holds(struct slice all, struct slice part) {
    return memmem(all.data, all.len, part.data, part.len) != NULL;
}

/* ---- What is in the file ---- */

static void test_second_time_admits(void **state) {
    struct world w;
    world_init(&w, 4 << 20);
    assert_false(read_one(w.cache, 1));
    assert_int_equal(cache_counts(w.cache).blocks, 0);
    assert_false(read_one(w.cache, 1));
    assert_int_equal(cache_counts(w.cache).blocks, 1);
    assert_true(read_one(w.cache, 1));
    /* The same id with another index is another block. */
    struct cache_key key = key_of(1);
    key.index += 7;
    uint8_t scratch[CACHE_SCRATCH_BYTES], out[BLOCK];
    size_t n;
    assert_int_equal(cache_get(w.cache, &key, scratch, out, BLOCK, &n), CACHE_MISS);
    /* No room is a miss, and NULL is a cache that has nothing. */
    struct cache_key first = key_of(1);
    assert_int_not_equal(cache_get(w.cache, &first, scratch, out, BLOCK - 1, &n), CACHE_HIT);
    assert_int_equal(cache_get(NULL, &first, scratch, out, BLOCK, &n), CACHE_MISS);
    struct cache_counts counts = cache_counts(w.cache);
    assert_int_equal(counts.hits, 1);
    assert_int_equal(counts.misses, 4);
    assert_int_equal(counts.hit_bytes, BLOCK);
    assert_int_equal(counts.keys, 1);
    world_done(&w);
}

static void test_nothing_in_clear(void **state) {
    struct world w;
    world_init(&w, 4 << 20);
    for (unsigned i = 0; i < 8; i++) {
        read_len(w.cache, i, 1000 + 8000 * i);
        read_len(w.cache, i, 1000 + 8000 * i);
    }
    BUF_AUTO(all, 64 << 20);
    read_blocks(&w, &all);
    assert_true(all.len > 100000);
    for (unsigned i = 0; i < 8; i++) {
        uint8_t piece[16];
        fill(piece, sizeof piece, i, 0);
        assert_false(holds(buf_slice(&all), slice_make(piece, sizeof piece)));
        struct cache_key key = key_of(i);
        assert_false(holds(buf_slice(&all), slice_make(key.id, sizeof key.id)));
    }
    world_done(&w);
}

/* ---- Life ---- */

static void test_nothing_outlives_its_epoch(void **state) {
    struct world w;
    world_init(&w, 4 << 20);
    pass(QUARTER_NS / 2);
    read_one(w.cache, 1);
    read_one(w.cache, 1);
    pass(2 * QUARTER_NS);
    read_one(w.cache, 2);
    read_one(w.cache, 2);
    assert_int_equal(cache_counts(w.cache).keys, 2);
    /* Reading it again and again does not keep it. */
    for (int i = 0; i < 5; i++) {
        pass(QUARTER_NS / 4);
        assert_true(read_one(w.cache, 1));
    }
    pass(QUARTER_NS / 4); /* at the end of the key's own epoch, before the block's */
    assert_false(read_one(w.cache, 1));
    assert_true(read_one(w.cache, 2));
    assert_int_equal(cache_counts(w.cache).expired, 1);
    pass(10 * EPOCH_NS);
    assert_false(read_one(w.cache, 2));
    world_done(&w);
}

static void test_expiry_needs_no_reader(void **state) {
    struct world w;
    world_init(&w, 4 << 20);
    for (unsigned i = 0; i < 20; i++) {
        read_one(w.cache, i);
        read_one(w.cache, i);
    }
    char path[96];
    blocks_path(&w, path);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size >= 20 * BLOCK);
    pass(EPOCH_NS - 1);
    cache_expire(w.cache);
    assert_int_equal(cache_counts(w.cache).blocks, 20);
    pass(1);
    cache_expire(w.cache);
    struct cache_counts counts = cache_counts(w.cache);
    assert_int_equal(counts.blocks, 0);
    assert_int_equal(counts.keys, 0);
    assert_int_equal(counts.bytes, 0);
    assert_int_equal(counts.expired, 20);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 0);
    world_done(&w);
}

static void test_lease_ends_all(void **state) {
    struct world w;
    world_init(&w, 4 << 20);
    read_one(w.cache, 1);
    read_one(w.cache, 1);
    assert_true(read_one(w.cache, 1));
    lease_arm(w.lease, clock_boottime_ns() - 1); /* lapsed, not ended: comes back */
    assert_false(read_one(w.cache, 1));
    lease_arm(w.lease, clock_boottime_ns() + 3600 * NS_PER_S);
    assert_true(read_one(w.cache, 1));
    lease_end(w.lease);
    assert_false(read_one(w.cache, 1));
    read_one(w.cache, 2);
    read_one(w.cache, 2);
    assert_false(read_one(w.cache, 2));
    world_done(&w);
}

/* ---- The key itself ---- */

static void test_epoch_key(void **state) {
    struct lease *lease = fixture_lease();
    struct lease_epoch *e = lease_epoch_new(lease);
    const struct slice aad = slice_str("where"), text = slice_str("the marker of this test");
    uint8_t nonce[GCM_NONCE_BYTES], other[GCM_NONCE_BYTES], sealed[64], again[64], out[64];
    ASSERT_ERR(NOT_FOUND, lease_epoch_seal(e, aad, text, nonce, sealed));
    ASSERT_OK(lease_epoch_begin(e));
    ASSERT_OK(lease_epoch_seal(e, aad, text, nonce, sealed));
    ASSERT_OK(lease_epoch_seal(e, aad, text, other, again));
    assert_memory_not_equal(nonce, other, sizeof nonce);
    assert_memory_not_equal(sealed, again, text.len);
    const struct slice whole = slice_make(sealed, text.len + GCM_TAG_BYTES);
    ASSERT_OK(lease_epoch_open(e, aad, nonce, whole, out));
    assert_memory_equal(out, text.data, text.len);
    ASSERT_ERR(CORRUPT, lease_epoch_open(e, slice_str("elsewhere"), nonce, whole, out));
    ASSERT_ERR(CORRUPT, lease_epoch_open(e, aad, other, whole, out));
    ASSERT_OK(lease_epoch_begin(e)); /* another key */
    ASSERT_ERR(CORRUPT, lease_epoch_open(e, aad, nonce, whole, out));
    lease_epoch_end(e);
    ASSERT_ERR(NOT_FOUND, lease_epoch_open(e, aad, nonce, whole, out));
    ASSERT_OK(lease_epoch_begin(e));
    lease_end(lease);
    ASSERT_ERR(NO_LEASE, lease_epoch_open(e, aad, nonce, whole, out));
    ASSERT_ERR(NO_LEASE, lease_epoch_seal(e, aad, text, nonce, sealed));
    ASSERT_ERR(NO_LEASE, lease_epoch_begin(e));
    /* One that comes later is closed from the beginning. */
    struct lease_epoch *late = lease_epoch_new(lease);
    ASSERT_ERR(NO_LEASE, lease_epoch_begin(late));
    lease_epoch_free(late);
    lease_epoch_free(e);
    lease_free(lease);
}

/* ---- Who is kept ---- */

static void test_scan_leaves_the_hot_set(void **state) {
    enum { HOT = 40, SCAN = 400 }; /* the cache holds 64 */
    struct world w;
    world_init(&w, 64 * BLOCK);
    for (int round = 0; round < 4; round++)
        for (unsigned i = 0; i < HOT; i++)
            read_one(w.cache, i);
    for (unsigned i = 0; i < HOT; i++)
        assert_true(read_one(w.cache, i));
    /* Read once: it costs nothing at all. */
    uint64_t admitted = cache_counts(w.cache).admitted;
    for (unsigned i = 0; i < SCAN; i++)
        read_one(w.cache, 1000 + i);
    assert_int_equal(cache_counts(w.cache).admitted, admitted);
    /* Twice more: now it is admitted, six times the cache, and still the hot set is there. */
    for (int round = 0; round < 2; round++)
        for (unsigned i = 0; i < SCAN; i++)
            read_one(w.cache, 1000 + i);
    assert_true(cache_counts(w.cache).admitted >= admitted + SCAN);
    unsigned kept = 0;
    for (unsigned i = 0; i < HOT; i++)
        kept += read_one(w.cache, i);
    assert_int_equal(kept, HOT);
    assert_true(cache_counts(w.cache).bytes <= 64 * BLOCK);
    world_done(&w);
}

/* What was hot makes room for what is hot now. */
static void test_hot_set_moves(void **state) {
    struct world w;
    world_init(&w, 64 * BLOCK);
    for (int round = 0; round < 4; round++)
        for (unsigned i = 0; i < 60; i++)
            read_one(w.cache, i);
    unsigned hits = 0;
    for (int round = 0; round < 40; round++) {
        hits = 0;
        for (unsigned i = 0; i < 40; i++)
            for (int twice = 0; twice < 2; twice++) /* as neighbours' small reads do */
                hits += read_one(w.cache, 500 + i);
    }
    assert_true(hits >= 70);
    world_done(&w);
}

static void test_bounded(void **state) {
    struct world w;
    world_init(&w, 1 << 20);
    for (unsigned i = 0; i < 3000; i++) {
        size_t len = 1 + (i * 7919) % BLOCK;
        read_len(w.cache, i, len);
        read_len(w.cache, i, len);
        assert_true(cache_counts(w.cache).bytes <= 1 << 20);
    }
    char path[96];
    blocks_path(&w, path);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size <= 1 << 20);
    assert_true(cache_counts(w.cache).evicted > 1000);
    /* Many tiny ones: the index has a bound, too. */
    for (unsigned i = 5000; i < 6000; i++) {
        read_len(w.cache, i, 100);
        read_len(w.cache, i, 100);
    }
    assert_true(cache_counts(w.cache).blocks <= (1 << 20) / (16 * 1024));
    assert_true(read_len(w.cache, 5999, 100));
    world_done(&w);
}

/* ---- Damage, and disks that can't ---- */

static void test_damage_is_a_miss(void **state) {
    struct world w;
    world_init(&w, 4 << 20);
    for (unsigned i = 0; i < 10; i++) {
        read_one(w.cache, i);
        read_one(w.cache, i);
    }
    char path[96];
    blocks_path(&w, path);
    FD_AUTO(fd) = open(path, O_RDWR);
    assert_true(fd >= 0);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    for (off_t at = 100; at < st.st_size; at += BLOCK) { /* a bit of each */
        uint8_t byte;
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 4;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    }
    for (unsigned i = 0; i < 10; i++)
        assert_false(read_one(w.cache, i));
    assert_int_equal(cache_counts(w.cache).damaged, 10);
    assert_int_equal(cache_counts(w.cache).blocks, 0);
    for (unsigned i = 0; i < 10; i++) { /* and comes back */
        read_one(w.cache, i);
        read_one(w.cache, i);
        assert_true(read_one(w.cache, i));
    }
    /* A file that someone emptied. */
    assert_int_equal(ftruncate(fd, 0), 0);
    for (unsigned i = 0; i < 10; i++)
        assert_false(read_one(w.cache, i));
    world_done(&w);
}

/* Two blocks exchanged in the file are two misses. */
static void test_swapped_blocks(void **state) {
    struct world w;
    world_init(&w, 4 << 20);
    for (unsigned i = 0; i < 2; i++) {
        read_one(w.cache, i);
        read_one(w.cache, i);
        assert_true(read_one(w.cache, i));
    }
    char path[96];
    blocks_path(&w, path);
    FD_AUTO(fd) = open(path, O_RDWR);
    AUTO_FREE uint8_t *a = mem_alloc(2 * BLOCK);
    assert_int_equal(pread(fd, a, 2 * BLOCK, 0), 2 * BLOCK);
    assert_int_equal(pwrite(fd, a + BLOCK, BLOCK, 0), BLOCK);
    assert_int_equal(pwrite(fd, a, BLOCK, BLOCK), BLOCK);
    assert_false(read_one(w.cache, 0));
    assert_false(read_one(w.cache, 1));
    assert_int_equal(cache_counts(w.cache).damaged, 2);
    world_done(&w);
}

/* A disk that takes no more: RLIMIT_FSIZE stands for it. */
static void test_full_disk(void **state) {
    struct world w;
    world_init(&w, 4 << 20);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 3 * BLOCK;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (unsigned i = 0; i < 10; i++) {
        read_one(w.cache, i);
        read_one(w.cache, i);
    }
    assert_true(read_one(w.cache, 0));
    assert_int_equal(cache_counts(w.cache).failures, 1); /* then it leaves the disk alone for a while */
    assert_int_equal(cache_counts(w.cache).blocks, 3);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    pass(QUARTER_NS);
    read_one(w.cache, 9);
    read_one(w.cache, 9);
    assert_true(read_one(w.cache, 9));
    world_done(&w);
}

static void test_starts_empty(void **state) {
    struct world w;
    world_init(&w, 4 << 20);
    char path[96];
    blocks_path(&w, path);
    w.cache = cache_close(w.cache);
    ASSERT_OK(file_write_atomic(path, slice_str("what a crash left behind"), 0600));
    reopen(&w, 4 << 20);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 0);
    /* A link that someone laid there is not followed; no folder, no cache. */
    w.cache = cache_close(w.cache);
    char other[96];
    snprintf(other, sizeof other, "%s/other", w.dir);
    ASSERT_OK(file_write_atomic(other, slice_str("precious"), 0600));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(other, path), 0);
    struct cache_options options = {
        .dir = w.dir, .max_bytes = 4 << 20, .epoch_ns = EPOCH_NS, .lease = w.lease, .clock = test_clock};
    ASSERT_ERR(IO, cache_open(&options, &w.cache));
    assert_int_equal(stat(other, &st), 0);
    assert_int_equal(st.st_size, 8);
    options.dir = other;
    assert_true(is_err(cache_open(&options, &w.cache)));
    options.dir = w.dir;
    options.max_bytes = 1000;
    ASSERT_ERR(INVALID, cache_open(&options, &w.cache));
    world_done(&w);
}

/* ---- Threads ---- */

static void *hammer(void *arg) {
    struct cache *c = arg;
    for (unsigned i = 0; i < 1500; i++) {
        unsigned number = (i * 7 + i / 13) % 40;
        read_len(c, number, 1 + (number * 1777) % BLOCK);
        if (i % 50 == 0) pass(QUARTER_NS / 3);
        if (i % 70 == 0) cache_expire(c);
    }
    return NULL;
}

static void test_threads(void **state) {
    struct world w;
    world_init(&w, 1 << 20); /* too small for all 40: blocks come and go under the readers */
    pthread_t threads[4];
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, w.cache), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    struct cache_counts counts = cache_counts(w.cache);
    assert_true(counts.hits > 100);
    assert_true(counts.expired > 0);
    assert_int_equal(counts.damaged, 0);
    assert_int_equal(counts.hits + counts.misses, 4 * 1500);
    world_done(&w);
}

static atomic_uint reports;

static void count_report(void *arg, const struct cache *c) {
    if (cache_counts(c).hits > 0) atomic_fetch_add((atomic_uint *)arg, 1);
}

/* With its own thread and the real clock. */
static void test_wipes_in_time(void **state) {
    struct world w;
    world_init(&w, 1 << 20);
    w.cache = cache_close(w.cache);
    const struct cache_options options = {.dir = w.dir,
                                          .max_bytes = 1 << 20,
                                          .epoch_ns = 2 * NS_PER_S,
                                          .lease = w.lease,
                                          .report = count_report,
                                          .report_arg = &reports};
    int64_t begun = clock_boottime_ns();
    ASSERT_OK(cache_open(&options, &w.cache));
    read_one(w.cache, 1);
    read_one(w.cache, 1);
    assert_true(read_one(w.cache, 1));
    while (cache_counts(w.cache).keys > 0 || atomic_load(&reports) == 0) {
        assert_true(clock_boottime_ns() - begun < 20 * NS_PER_S);
        clock_sleep_ms(10);
    }
    assert_true(clock_boottime_ns() - begun >= 1900 * NS_PER_MS);
    world_done(&w);
}

/* ---- With the store ---- */

static void test_store_reads_through_it(void **state) {
    struct fixture f;
    fixture_init(&f);
    struct world w;
    world_init(&w, 16 << 20);
    struct cache_options options = {
        .dir = w.dir, .max_bytes = 16 << 20, .epoch_ns = EPOCH_NS, .lease = f.lease, .clock = test_clock};
    w.cache = cache_close(w.cache);
    ASSERT_OK(cache_open(&options, &w.cache));
    store_set_cache(f.store, w.cache);
    const size_t sizes[] = {0, 1, 1000, 65400, 65536, 65537, 300000, 1 << 20};
    for (int round = 0; round < 4; round++)
        for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
            char key[16];
            snprintf(key, sizeof key, "k%u", i);
            if (round == 0) ASSERT_OK(put(f.store, key, sizes[i], i, NULL));
            assert_content(f.store, key, sizes[i], i);
        }
    assert_true(cache_counts(w.cache).hits >= 2 * 30);
    /* With the bodies gone it still answers from the cache: that is where the bytes come from. */
    char bodies[96];
    snprintf(bodies, sizeof bodies, "%s/bodies", f.dir);
    ASSERT_OK(file_remove_tree(bodies));
    assert_content(f.store, "k7", 1 << 20, 7);
    /* A new version is another block; a deleted object is gone at once. */
    ASSERT_OK(put(f.store, "k2", 1000, 99, NULL));
    assert_content(f.store, "k2", 1000, 99);
    bool existed;
    ASSERT_OK(store_delete(f.store, "k1", &(struct store_condition){0}, 0, &existed));
    uint64_t n;
    ASSERT_ERR(NOT_FOUND, read_all(f.store, "k1", &n));
    /* When the epoch is over, nothing of it is left: the body is missing. */
    pass(EPOCH_NS);
    ASSERT_ERR(CORRUPT, read_all(f.store, "k7", &n));
    fixture_close(&f);
    w.cache = cache_close(w.cache);
    fixture_done(&f);
    world_done(&w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_second_time_admits),
    cmocka_unit_test(test_nothing_in_clear),
    cmocka_unit_test(test_nothing_outlives_its_epoch),
    cmocka_unit_test(test_expiry_needs_no_reader),
    cmocka_unit_test(test_lease_ends_all),
    cmocka_unit_test(test_epoch_key),
    cmocka_unit_test(test_scan_leaves_the_hot_set),
    cmocka_unit_test(test_hot_set_moves),
    cmocka_unit_test(test_bounded),
    cmocka_unit_test(test_damage_is_a_miss),
    cmocka_unit_test(test_swapped_blocks),
    cmocka_unit_test(test_full_disk),
    cmocka_unit_test(test_starts_empty),
    cmocka_unit_test(test_threads),
    cmocka_unit_test(test_wipes_in_time),
    cmocka_unit_test(test_store_reads_through_it),
};
TEST_MAIN(tests)
