/* Objects: write, read, head, delete, copy, conditions, the guard, restarts. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "fixture.h"

static int setup(void **state) {
    struct fixture *f = mem_alloc(sizeof *f);
    fixture_init(f);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture_done(*state);
    mem_free(*state);
    return 0;
}

static bool remove_key(struct store *s, const char *key) {
    bool existed;
    ASSERT_OK(store_delete(s, key, &(struct store_condition){0}, 0, &existed));
    return existed;
}

static void test_sizes(void **state) {
    struct fixture *f = *state;
    const size_t sizes[] = {0,      1,      65535,          65536,       65537,          131071,
                            131072, 131073, 3 * 65536 + 17, 1024 * 1024, 1024 * 1024 + 1};
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            AUTO_FREE char *key = str_format("size/%zu", sizes[i]);
            if (pass == 0) ASSERT_OK(put(f->store, key, sizes[i], (unsigned)i, NULL));
            assert_content(f->store, key, sizes[i], (unsigned)i);
        }
        fixture_reopen(f);
    }
}

static void test_ranges(void **state) {
    struct fixture *f = *state;
    enum { SIZE = 5 * 65536 + 1000 };
    ASSERT_OK(put(f->store, "r", SIZE, 7, NULL));
    AUTO(store_reader_free_auto) struct store_reader *r = NULL;
    ASSERT_OK(store_reader_new(f->store, "r", &r));
    AUTO_FREE uint8_t *all = mem_alloc(SIZE);
    AUTO_FREE uint8_t *to = mem_alloc(SIZE + 100);
    fill(all, SIZE, 7, 0);
    srandom(1);
    for (int i = 0; i < 2000; i++) {
        uint64_t at = (uint64_t)random() % (SIZE + 10);
        size_t max = (size_t)random() % 200000, n;
        if (max > SIZE + 100) max = SIZE;
        ASSERT_OK(store_reader_read(r, at, to, max, &n));
        size_t wanted = at >= SIZE ? 0 : SIZE - at < max ? SIZE - at : max;
        assert_int_equal(n, wanted);
        if (n) assert_memory_equal(to, all + at, n);
    }
}

static void test_overwrite_and_delete(void **state) {
    struct fixture *f = *state;
    ASSERT_OK(put(f->store, "k", 100000, 1, NULL));
    ASSERT_OK(put(f->store, "k", 200000, 2, NULL));
    assert_content(f->store, "k", 200000, 2);
    ASSERT_OK(put(f->store, "k", 10, 3, NULL));
    assert_content(f->store, "k", 10, 3);
    AUTO_FREE char *bodies = str_format("%s/bodies", f->dir);
    AUTO_FREE char *names = str_format("%s/names", f->dir);
    if (!f->s3) assert_int_equal(paths_count(bodies), 0);
    if (!f->s3) assert_int_equal(paths_count(names), 1);
    assert_true(remove_key(f->store, "k"));
    assert_false(remove_key(f->store, "k"));
    ASSERT_ERR(NOT_FOUND, read_all(f->store, "k", &(uint64_t){0}));
    assert_files(f, 1); /* the lock */
    fixture_reopen(f);
    ASSERT_ERR(NOT_FOUND, read_all(f->store, "k", &(uint64_t){0}));
}

static void test_fields_and_etag(void **state) {
    struct fixture *f = *state;
    const struct store_field fields[] = {{"content-type", "text/plain"}, {"x-amz-meta-ünïcode", "wert"}, {"empty", ""}};
    const uint8_t md5[16] = "0123456789abcdef";
    AUTO(store_writer_free_auto) struct store_writer *w = NULL;
    ASSERT_OK(store_writer_new(f->store, &w));
    ASSERT_OK(store_writer_append(w, slice_str("hello")));
    struct store_written written;
    int64_t before = clock_unix_ms();
    ASSERT_OK(store_writer_commit(w, &(struct store_commit){.key = "m", .fields = fields, .field_count = 3, .md5 = md5},
                                  &written));
    assert_memory_equal(written.etag.bytes, md5, 16);
    assert_int_equal(written.size, 5);
    assert_true(written.mtime_ms >= before && written.mtime_ms <= clock_unix_ms());
    for (int pass = 0; pass < 2; pass++) {
        struct store_info info;
        ASSERT_OK(store_head(f->store, "m", &info));
        assert_string_equal(info.key, "m");
        assert_int_equal(info.size, 5);
        assert_int_equal(info.mtime_ms, written.mtime_ms);
        assert_int_equal(info.field_count, 3);
        assert_string_equal(store_info_field(&info, "x-amz-meta-ünïcode"), "wert");
        assert_string_equal(store_info_field(&info, "empty"), "");
        assert_null(store_info_field(&info, "nothing"));
        assert_true(store_etag_equal(&info.etag, &written.etag));
        store_info_done(&info);
        fixture_reopen(f);
    }
    struct store_written one, two;
    ASSERT_OK(put(f->store, "n", 5, 1, &one));
    ASSERT_OK(put(f->store, "n", 5, 1, &two));
    assert_false(store_etag_equal(&one.etag, &two.etag)); /* random without an MD5 */
    /* Limits. */
    AUTO_FREE char *big = mem_alloc(STORE_FIELDS_MAX_BYTES + 1);
    memset(big, 'x', STORE_FIELDS_MAX_BYTES);
    const struct store_field too_big = {"name", big};
    AUTO(store_writer_free_auto) struct store_writer *v = NULL;
    ASSERT_OK(store_writer_new(f->store, &v));
    ASSERT_ERR(INVALID, store_writer_commit(
                            v, &(struct store_commit){.key = "big", .fields = &too_big, .field_count = 1}, &one));
    ASSERT_ERR(NOT_FOUND, store_head(f->store, "big", &(struct store_info){0}));
}

static void test_etag_text(void **state) {
    struct store_etag e;
    char text[STORE_ETAG_TEXT_BYTES];
    ASSERT_OK(store_etag_parse(slice_str("00112233445566778899AABBccddeeff-10000"), &e));
    store_etag_format(&e, text);
    assert_string_equal(text, "00112233445566778899aabbccddeeff-10000");
    ASSERT_OK(store_etag_parse(slice_str("00112233445566778899aabbccddeeff"), &e));
    store_etag_format(&e, text);
    assert_string_equal(text, "00112233445566778899aabbccddeeff");
    const char *bad[] = {"",
                         "-",
                         "0011",
                         "00112233445566778899aabbccddeeff-",
                         "00112233445566778899aabbccddeeff-0",
                         "00112233445566778899aabbccddeeff-10001",
                         "00112233445566778899aabbccddeefg",
                         "00112233445566778899aabbccddeeff0",
                         "\"00112233445566778899aabbccddeeff\""};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ASSERT_ERR(INVALID, store_etag_parse(slice_str(bad[i]), &e));
}

static struct result put_if(struct store *s, const char *key, struct store_condition condition,
                            struct store_written *ret) {
    AUTO(store_writer_free_auto) struct store_writer *w = NULL;
    TRY(store_writer_new(s, &w));
    TRY(store_writer_append(w, slice_str("conditional")));
    return store_writer_commit(w, &(struct store_commit){.key = key, .condition = condition}, ret);
}

static void test_conditions(void **state) {
    struct fixture *f = *state;
    struct store_written w, v;
    const struct store_condition absent = {.kind = STORE_IF_ABSENT};
    ASSERT_OK(put_if(f->store, "c", absent, &w));
    ASSERT_ERR(PRECONDITION, put_if(f->store, "c", absent, &v));
    struct store_condition match = {.kind = STORE_IF_MATCH, .etag = w.etag};
    ASSERT_OK(put_if(f->store, "c", match, &v));
    ASSERT_ERR(PRECONDITION, put_if(f->store, "c", match, &w));
    ASSERT_ERR(NOT_FOUND, put_if(f->store, "d", match, &w));
    bool existed;
    ASSERT_ERR(PRECONDITION, store_delete(f->store, "c", &match, 0, &existed));
    match.etag = v.etag;
    ASSERT_OK(store_delete(f->store, "c", &match, 0, &existed));
    assert_true(existed);
    assert_files(f, 1);
}

static const char *const odd_keys[] = {
    "a",        "a/",
    "a//",      "a//b",
    "a/b",      "a/b/",
    "/",        "//",
    "/a",       ".",
    "..",       "a/..",
    "a/.",      "+",
    "a+b",      "%2F",
    "a b",      "\x01",
    "a-b",      "a.b",
    "\xc3\xa4", "\xf0\x9f\x94\x91/\xf0\x9f\x94\x92",
    "A",        "lock",
    "names/x",  "e\xcc\x81",
};

static void test_odd_keys(void **state) {
    struct fixture *f = *state;
    for (unsigned i = 0; i < ARRAY_LEN(odd_keys); i++)
        ASSERT_OK(put(f->store, odd_keys[i], 10 + i, i, NULL));
    fixture_reopen(f);
    for (unsigned i = 0; i < ARRAY_LEN(odd_keys); i++)
        assert_content(f->store, odd_keys[i], 10 + i, i);
    for (unsigned i = 0; i < ARRAY_LEN(odd_keys); i++) {
        assert_true(remove_key(f->store, odd_keys[i]));
        for (unsigned k = i + 1; k < ARRAY_LEN(odd_keys); k++)
            assert_content(f->store, odd_keys[k], 10 + k, k);
    }
    assert_files(f, 1);
    if (f->s3) return;
    AUTO_FREE char *names = str_format("%s/names", f->dir);
    assert_int_equal(rmdir(names), 0); /* no folder is left in it */
    assert_int_equal(mkdir(names, 0700), 0);
}

static void test_bad_keys(void **state) {
    struct fixture *f = *state;
    AUTO_FREE char *longest = mem_alloc(STORE_KEY_MAX_BYTES + 2);
    memset(longest, 'k', STORE_KEY_MAX_BYTES + 1);
    ASSERT_ERR(INVALID, put(f->store, longest, 1, 1, NULL));
    ASSERT_ERR(INVALID, put(f->store, "", 1, 1, NULL));
    ASSERT_ERR(INVALID, put(f->store, "\xff", 1, 1, NULL));
    ASSERT_ERR(INVALID, put(f->store, "\xed\xa0\x80", 1, 1, NULL)); /* a surrogate */
    ASSERT_ERR(INVALID, put(f->store, "\xc0\xaf", 1, 1, NULL));     /* an overlong slash */
    ASSERT_ERR(INVALID, store_head(f->store, "", &(struct store_info){0}));
    ASSERT_ERR(INVALID, store_delete(f->store, longest, &(struct store_condition){0}, 0, &(bool){0}));
    assert_files(f, 1);
}

static void test_long_keys(void **state) {
    struct fixture *f = *state;
    if (f->s3) return; /* see test_remote.c */
    const size_t lengths[] = {111, 112, 113, 224, 225, 336, 1023, 1024};
    char key[STORE_KEY_MAX_BYTES + 1];
    for (int kind = 0; kind < 3; kind++)
        for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
            memset(key, kind == 1 ? '/' : 'x', lengths[i]);
            key[lengths[i]] = '\0';
            if (kind == 2) key[lengths[i] - 2] = '/';
            ASSERT_OK(put(f->store, key, i + 1, (unsigned)(i + 1), NULL));
        }
    fixture_reopen(f);
    for (int kind = 0; kind < 3; kind++)
        for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
            memset(key, kind == 1 ? '/' : 'x', lengths[i]);
            key[lengths[i]] = '\0';
            if (kind == 2) key[lengths[i] - 2] = '/';
            assert_content(f->store, key, i + 1, (unsigned)(i + 1));
            assert_true(remove_key(f->store, key));
        }
    assert_files(f, 1);
    AUTO_FREE char *names = str_format("%s/names", f->dir);
    assert_int_equal(rmdir(names), 0);
    assert_int_equal(mkdir(names, 0700), 0);
}

static void test_copy(void **state) {
    struct fixture *f = *state;
    const size_t sizes[] = {0, 100, 300000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct store_written w, c;
        ASSERT_OK(put(f->store, "from", sizes[i], 5, &w));
        struct store_copy copy = {.from = "from"};
        ASSERT_OK(store_copy(f->store, &copy, &(struct store_commit){.key = "__root/abcdefghijklmnop"}, &c));
        assert_true(store_etag_equal(&w.etag, &c.etag));
        assert_true(remove_key(f->store, "from"));
        fixture_reopen(f);
        assert_content(f->store, "__root/abcdefghijklmnop", sizes[i], 5);
        /* Onto itself with other fields. */
        const struct store_field field = {"content-type", "x/y"};
        copy = (struct store_copy){.from = "__root/abcdefghijklmnop", .replace_fields = true};
        ASSERT_OK(store_copy(
            f->store, &copy,
            &(struct store_commit){.key = "__root/abcdefghijklmnop", .fields = &field, .field_count = 1}, &c));
        assert_content(f->store, "__root/abcdefghijklmnop", sizes[i], 5);
        struct store_info info;
        ASSERT_OK(store_head(f->store, "__root/abcdefghijklmnop", &info));
        assert_string_equal(store_info_field(&info, "content-type"), "x/y");
        store_info_done(&info);
        copy = (struct store_copy){.from = "__root/abcdefghijklmnop", .if_match = true};
        ASSERT_ERR(PRECONDITION, store_copy(f->store, &copy, &(struct store_commit){.key = "z"}, &c));
        assert_true(remove_key(f->store, "__root/abcdefghijklmnop"));
        assert_files(f, 1);
    }
    ASSERT_ERR(NOT_FOUND, store_copy(f->store, &(struct store_copy){.from = "gone"}, &(struct store_commit){.key = "z"},
                                     &(struct store_written){0}));
}

static void test_copy_shares_bodies(void **state) {
    struct fixture *f = *state;
    if (f->s3) return; /* see test_remote.c */
    struct store_written w;
    ASSERT_OK(put(f->store, "from", 10 << 20, 5, NULL));
    for (int i = 0; i < 5; i++) {
        AUTO_FREE char *key = str_format("copy%d", i);
        ASSERT_OK(store_copy(f->store, &(struct store_copy){.from = "from"}, &(struct store_commit){.key = key}, &w));
    }
    AUTO_FREE char *bodies = str_format("%s/bodies", f->dir);
    struct paths p;
    paths_find(bodies, &p);
    assert_int_equal(p.count, 6);
    struct stat st;
    for (size_t i = 0; i < p.count; i++) {
        assert_int_equal(stat(p.items[i], &st), 0);
        assert_int_equal(st.st_nlink, 6);
        /* Under a tenth of a percent of overhead. */
        assert_true((uint64_t)st.st_size < (10 << 20) + (10 << 20) / 1000);
    }
    paths_done(&p);
}

static void test_reader_survives_delete(void **state) {
    struct fixture *f = *state;
    enum { SIZE = 500000 };
    ASSERT_OK(put(f->store, "k", SIZE, 1, NULL));
    struct store_reader *r, *late;
    ASSERT_OK(store_reader_new(f->store, "k", &r));
    ASSERT_OK(store_reader_new(f->store, "k", &late)); /* has not opened the body yet */
    ASSERT_OK(put(f->store, "k", 3, 2, NULL));
    assert_true(remove_key(f->store, "k"));
    AUTO_FREE uint8_t *got = mem_alloc(SIZE);
    AUTO_FREE uint8_t *expected = mem_alloc(SIZE);
    size_t n;
    fill(expected, SIZE, 1, 0);
    ASSERT_OK(store_reader_read(r, 0, got, SIZE, &n));
    assert_int_equal(n, SIZE);
    assert_memory_equal(got, expected, SIZE);
    ASSERT_OK(store_reader_read(late, 0, got, SIZE, &n));
    assert_memory_equal(got, expected, SIZE);
    store_reader_free(r);
    store_reader_free(late);
    assert_files(f, 1); /* now the body is gone, too */
}

static struct result refuse(void *arg, uint64_t token) {
    CHECK(token == *(uint64_t *)arg, ERR_CONFLICT, "an old epoch");
    return OK;
}

static void test_guard(void **state) {
    struct fixture *f = *state;
    uint64_t current = 7;
    ASSERT_OK(put(f->store, "old", 200000, 1, NULL));
    store_set_commit_guard(f->store, refuse, &current);
    size_t before = fixture_files(f, 3);
    struct store_written w;
    ASSERT_ERR(CONFLICT, put(f->store, "new/folder/k", 200000, 1, NULL));
    ASSERT_ERR(CONFLICT, put(f->store, "old", 2, 2, NULL));
    ASSERT_ERR(CONFLICT, store_copy(f->store, &(struct store_copy){.from = "old"},
                                    &(struct store_commit){.key = "new", .token = 6}, &w));
    ASSERT_ERR(CONFLICT, store_delete(f->store, "old", &(struct store_condition){0}, 6, &(bool){0}));
    char id[STORE_UPLOAD_ID_BYTES];
    ASSERT_ERR(CONFLICT, store_upload_begin(f->store, &(struct store_commit){.key = "u", .token = 6}, id));
    assert_files(f, before);
    ASSERT_LIST(f->store, "", "", "", 10, "old");
    assert_content(f->store, "old", 200000, 1);
    ASSERT_OK(store_copy(f->store, &(struct store_copy){.from = "old"},
                         &(struct store_commit){.key = "new", .token = 7}, &w));
}

static void test_one_process(void **state) {
    struct fixture *f = *state;
    struct store *second;
    struct store_options options = {.dir = f->dir, .bucket = "lockset", .lease = f->lease};
    ASSERT_ERR(BUSY, store_open(&options, &second));
}

static void test_abort(void **state) {
    struct fixture *f = *state;
    struct store_writer *w;
    ASSERT_OK(store_writer_new(f->store, &w));
    AUTO_FREE uint8_t *piece = mem_alloc(200000);
    ASSERT_OK(store_writer_append(w, slice_make(piece, 200000)));
    if (!f->s3) assert_files(f, 2);
    store_writer_free(w);
    assert_files(f, 1);
}

static void test_lease(void **state) {
    struct fixture *f = *state;
    enum { SIZE = 6 * 65536 };
    ASSERT_OK(put(f->store, "k", SIZE, 1, NULL));
    ASSERT_OK(put(f->store, "small", 10, 1, NULL));
    struct store_reader *r, *small;
    struct store_writer *w, *full;
    ASSERT_OK(store_reader_new(f->store, "k", &r));
    ASSERT_OK(store_reader_new(f->store, "small", &small));
    ASSERT_OK(store_writer_new(f->store, &w));
    ASSERT_OK(store_writer_new(f->store, &full));
    ASSERT_OK(store_writer_append(full, slice_str("content")));
    AUTO_FREE uint8_t *to = mem_alloc(SIZE);
    size_t n;
    ASSERT_OK(store_reader_read(r, 0, to, 65536, &n));
    ASSERT_OK(store_reader_read(r, 65536, to, 10, &n));
    lease_arm(f->lease, clock_boottime_ns());                      /* expires in the middle of the read */
    ASSERT_ERR(NO_LEASE, store_reader_read(r, 65546, to, 10, &n)); /* from a chunk that was opened before */
    ASSERT_ERR(NO_LEASE, store_reader_read(r, 131072, to, 65536, &n));
    ASSERT_ERR(NO_LEASE, store_reader_read(small, 0, to, 10, &n));
    ASSERT_ERR(NO_LEASE, store_writer_append(w, slice_str("x")));
    ASSERT_ERR(NO_LEASE, store_writer_commit(full, &(struct store_commit){.key = "full"}, &(struct store_written){0}));
    ASSERT_ERR(NO_LEASE, store_writer_new(f->store, &w));
    ASSERT_ERR(NO_LEASE, store_head(f->store, "k", &(struct store_info){0}));
    ASSERT_ERR(NO_LEASE, store_delete(f->store, "k", &(struct store_condition){0}, 0, &(bool){0}));
    ASSERT_ERR(NO_LEASE, store_list_page(f->store, &(struct store_list_query){.max = 5}, &(struct store_list){0}));
    ASSERT_ERR(NO_LEASE,
               store_upload_begin(f->store, &(struct store_commit){.key = "u"}, (char[STORE_UPLOAD_ID_BYTES]){0}));
    lease_arm(f->lease, clock_boottime_ns() + 3600 * NS_PER_S);
    ASSERT_OK(store_reader_read(r, 65546, to, 10, &n)); /* renewed in time: it goes on */
    lease_end(f->lease);
    ASSERT_ERR(NO_LEASE, store_reader_read(r, 0, to, 65536, &n));
    lease_arm(f->lease, clock_boottime_ns() + 3600 * NS_PER_S);
    ASSERT_ERR(NO_LEASE, store_reader_read(r, 0, to, 65536, &n)); /* ended is for ever */
    store_reader_free(r);
    store_reader_free(small);
    store_writer_free(w);
    store_writer_free(full);
}

/* Expiry while one call reads many chunks: it stops at a chunk's edge. */
static void test_lease_inside_of_a_call(void **state) {
    struct fixture *f = *state;
    enum { SIZE = 64 << 20 };
    ASSERT_OK(put(f->store, "k", SIZE, 1, NULL));
    struct store_reader *r;
    ASSERT_OK(store_reader_new(f->store, "k", &r));
    AUTO_FREE uint8_t *to = mem_alloc(SIZE);
    size_t n = 0;
    lease_arm(f->lease, clock_boottime_ns() + 2 * NS_PER_MS);
    ASSERT_ERR(NO_LEASE, store_reader_read(r, 0, to, SIZE, &n));
    assert_int_equal(n, 0);
    size_t written = SIZE;
    while (written > 0 && to[written - 1] == 0)
        written--;
    assert_true(written < SIZE / 2);
    store_reader_free(r);
    lease_arm(f->lease, clock_boottime_ns() + 3600 * NS_PER_S);
}

static void test_other_bucket_or_keys(void **state) {
    struct fixture *f = *state;
    ASSERT_OK(put(f->store, "k", 10, 1, NULL));
    fixture_close(f);
    const struct store_s3 s3 = fixture_s3(f);
    struct store_options options = {.dir = f->dir, .s3 = f->s3 ? &s3 : NULL, .bucket = "other", .lease = f->lease};
    ASSERT_OK(store_open(&options, &f->store));
    ASSERT_ERR(CORRUPT, read_all(f->store, "k", &(uint64_t){0}));
    ASSERT_ERR(CORRUPT, store_list_page(f->store, &(struct store_list_query){.max = 5}, &(struct store_list){0}));
    fixture_reopen(f);
    assert_content(f->store, "k", 10, 1);
}

int main(int argc, char **argv) {
    fixture_choose(argc, argv);
    if (is_err(secret_start(1 << 20, true))) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sizes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ranges, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overwrite_and_delete, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fields_and_etag, setup, teardown),
        cmocka_unit_test(test_etag_text),
        cmocka_unit_test_setup_teardown(test_conditions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_odd_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copy_shares_bodies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reader_survives_delete, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guard, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_process, setup, teardown),
        cmocka_unit_test_setup_teardown(test_abort, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lease, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lease_inside_of_a_call, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_bucket_or_keys, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
