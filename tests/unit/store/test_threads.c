/* Several threads on one store: same keys, same folders, readers meanwhile. Run it with ThreadSanitizer, too. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "fixture.h"

enum { THREADS = 4, ROUNDS = 60 };

struct shared {
    struct fixture f;
    atomic_uint failures;
    atomic_uint reads; /* of test_end: whole ones */
    char text[256];    /* of the first failure */
};

struct worker {
    struct shared *shared;
    unsigned number;
    pthread_t thread;
};

static void expect(struct shared *s, bool ok, const char *what, struct result r) {
    if (ok) return;
    if (atomic_fetch_add(&s->failures, 1) == 0)
        snprintf(s->text, sizeof s->text, "%s: %s %s", what, err_name(r.code), is_err(r) ? err_detail() : "");
}

/* Content tells its seed in the first 8 bytes (fill's are not that regular): a reader sees one version, whole. */
static struct result put_marked(struct store *s, const char *key, size_t n, unsigned seed) {
    AUTO_FREE uint8_t *data = mem_alloc(n);
    memset(data, (int)(seed & 255), n);
    AUTO(store_writer_free_auto) struct store_writer *w = NULL;
    TRY(store_writer_new(s, &w));
    TRY(store_writer_append(w, slice_make(data, n)));
    return store_writer_commit(w, &(struct store_commit){.key = key}, &(struct store_written){0});
}

static struct result read_marked(struct store *s, const char *key, bool *ret_whole) {
    AUTO(store_reader_free_auto) struct store_reader *r = NULL;
    TRY(store_reader_new(s, key, &r));
    size_t size = (size_t)store_reader_info(r)->size, n;
    AUTO_FREE uint8_t *data = mem_alloc(size + 1);
    TRY(store_reader_read(r, 0, data, size, &n));
    *ret_whole = n == size;
    for (size_t i = 1; i < n; i++)
        *ret_whole = *ret_whole && data[i] == data[0];
    return OK;
}

static void *work(void *arg) {
    struct worker *w = arg;
    struct shared *s = w->shared;
    struct store *store = s->f.store;
    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned seed = i * THREADS + w->number;
        struct result r = put_marked(store, "same/key", i % 3 ? 100 : 100000, seed);
        expect(s, is_ok(r), "put", r);
        bool whole = false;
        r = read_marked(store, "same/key", &whole);
        expect(s, (is_ok(r) && whole) || r.code == ERR_NOT_FOUND, "read", r);
        if (i % 5 == w->number) {
            bool existed;
            r = store_delete(store, "same/key", &(struct store_condition){0}, 0, &existed);
            expect(s, is_ok(r), "delete", r);
        }
        /* Folders that appear and vanish under others' hands. */
        char key[64];
        snprintf(key, sizeof key, "tree/%u/%u", i % 3, w->number);
        r = put_marked(store, key, 10, seed);
        expect(s, is_ok(r), "put in a folder", r);
        struct store_list list;
        r = store_list_page(store, &(struct store_list_query){.prefix = "tree/", .delimiter = "/", .max = 100}, &list);
        expect(s, is_ok(r) && list.count >= 1, "list", r);
        if (is_ok(r)) store_list_done(&list);
        r = read_marked(store, key, &whole);
        expect(s, is_ok(r) && whole, "read own", r);
        r = store_copy(store, &(struct store_copy){.from = key}, &(struct store_commit){.key = "same/copy"},
                       &(struct store_written){0});
        expect(s, is_ok(r), "copy", r);
        r = store_delete(store, key, &(struct store_condition){0}, 0, &(bool){0});
        expect(s, is_ok(r), "delete own", r);
    }
    return NULL;
}

static void run(struct shared *s, void *(*body)(void *)) {
    struct worker workers[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.shared = s, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, body, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    if (s->failures) fail_msg("%u failures; the first: %s", s->failures, s->text);
}

static void test_same_keys(void **state) {
    struct shared s = {0};
    fixture_init(&s.f);
    run(&s, work);
    fixture_reopen(&s.f);
    bool existed;
    ASSERT_OK(store_delete(s.f.store, "same/key", &(struct store_condition){0}, 0, &existed));
    ASSERT_OK(store_delete(s.f.store, "same/copy", &(struct store_condition){0}, 0, &existed));
    assert_files(&s.f, 1); /* nothing is left of all the versions */
    fixture_done(&s.f);
}

static atomic_uint winners;

static void *create(void *arg) {
    struct worker *w = arg;
    struct shared *s = w->shared;
    for (unsigned i = 0; i < ROUNDS; i++) {
        AUTO_FREE char *key = str_format("once/%u", i);
        struct store_writer *writer;
        struct result r = store_writer_new(s->f.store, &writer);
        expect(s, is_ok(r), "new", r);
        r = store_writer_commit(writer, &(struct store_commit){.key = key, .condition.kind = STORE_IF_ABSENT},
                                &(struct store_written){0});
        expect(s, is_ok(r) || r.code == ERR_PRECONDITION, "create", r);
        if (is_ok(r)) winners++;
        store_writer_free(writer);
    }
    return NULL;
}

static void test_if_absent_has_one_winner(void **state) {
    struct shared s = {0};
    fixture_init(&s.f);
    winners = 0;
    run(&s, create);
    assert_int_equal(winners, ROUNDS);
    fixture_done(&s.f);
}

/* Parts of one upload in parallel, each number by two threads; then one completes. */
static char upload_id[STORE_UPLOAD_ID_BYTES];

static void *upload(void *arg) {
    struct worker *w = arg;
    struct shared *s = w->shared;
    for (unsigned i = 0; i < 20; i++) {
        struct store_writer *writer;
        struct result r = store_part_new(s->f.store, upload_id, "big", i + 1, &writer);
        if (is_ok(r)) r = store_writer_append(writer, slice_str("the same for all"));
        struct store_written written;
        if (is_ok(r)) r = store_part_commit(writer, (const uint8_t *)"0123456789abcdef", 0, &written);
        expect(s, is_ok(r), "part", r);
        store_writer_free(writer);
    }
    return NULL;
}

static void test_parts_in_parallel(void **state) {
    struct shared s = {0};
    fixture_init(&s.f);
    ASSERT_OK(store_upload_begin(s.f.store, &(struct store_commit){.key = "big"}, upload_id));
    run(&s, upload);
    struct store_part_list list;
    ASSERT_OK(store_upload_parts(s.f.store, upload_id, "big", 0, 100, &list));
    assert_int_equal(list.count, 20);
    struct store_complete c = {.upload_id = upload_id, .parts = list.parts, .part_count = list.count};
    enum store_complete_problem problem;
    ASSERT_OK(store_upload_complete(s.f.store, &c, &(struct store_commit){.key = "big"}, &problem,
                                    &(struct store_written){0}));
    store_part_list_done(&list);
    uint64_t n;
    ASSERT_OK(read_all(s.f.store, "big", &n));
    assert_int_equal(n, 20 * 16);
    ASSERT_OK(store_delete(s.f.store, "big", &(struct store_condition){0}, 0, &(bool){0}));
    assert_files(&s.f, 1);
    fixture_done(&s.f);
}

static void *read_until_end(void *arg) {
    struct worker *w = arg;
    struct shared *s = w->shared;
    for (;;) {
        uint64_t n;
        struct result r = read_all(s->f.store, "k", &n);
        if (r.code == ERR_NO_LEASE) return NULL;
        expect(s, is_ok(r) && n == 1000000, "read", r);
        if (is_err(r)) return NULL;
        s->reads++;
    }
}

/* lease_end while readers are in the middle of it. */
static void test_end(void **state) {
    struct shared s = {0};
    fixture_init(&s.f);
    ASSERT_OK(put(s.f.store, "k", 1000000, 1, NULL));
    struct worker workers[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.shared = &s, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, read_until_end, &workers[i]), 0);
    }
    while (s.reads < 2 * THREADS && s.failures == 0)
        clock_sleep_ms(1);
    lease_end(s.f.lease);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    if (s.failures) fail_msg("%u failures; the first: %s", s.failures, s.text);
    fixture_done(&s.f);
}

int main(int argc, char **argv) {
    fixture_choose(argc, argv);
    if (is_err(secret_start(1 << 20, true))) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_keys),
        cmocka_unit_test(test_if_absent_has_one_winner),
        cmocka_unit_test(test_parts_in_parallel),
        cmocka_unit_test(test_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
