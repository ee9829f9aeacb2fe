/* Listings, against a plain model: all keys in a sorted array. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static int order(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add(struct buf *out, const char *text, bool is_prefix) {
    if (out->len) buf_append_byte(out, ',');
    if (is_prefix) buf_append_byte(out, '=');
    buf_append_str(out, text);
}

/* What one page must be. */
static void model(char **keys, size_t count, const char *prefix, const char *delimiter, const char *after, size_t max,
                  struct buf *out) {
    size_t shown = 0;
    AUTO_FREE char *last = str_dup("");
    for (size_t i = 0; i < count; i++) {
        if (strncmp(keys[i], prefix, strlen(prefix)) != 0 || strcmp(keys[i], after) <= 0) continue;
        const char *at = *delimiter ? strstr(keys[i] + strlen(prefix), delimiter) : NULL;
        AUTO_FREE char *common = at ? str_ndup(keys[i], (size_t)(at - keys[i]) + strlen(delimiter)) : NULL;
        if (common && (strcmp(common, last) == 0 || strcmp(common, after) == 0)) continue;
        if (shown++ == max) {
            if (max) buf_append_byte(out, '*');
            return;
        }
        add(out, common ? common : keys[i], common != NULL);
        if (!common) continue;
        mem_free(last);
        last = str_dup(common);
    }
}

static void assert_page(struct store *s, char **keys, size_t count, const char *prefix, const char *delimiter,
                        const char *after, size_t max) {
    BUF_AUTO(wanted, 1 << 22);
    BUF_AUTO(got, 1 << 22);
    model(keys, count, prefix, delimiter, after, max, &wanted);
    list_text(s, prefix, delimiter, after, max, &got);
    if (strcmp(buf_str(&wanted), buf_str(&got)) != 0)
        fail_msg("prefix \"%s\" delimiter \"%s\" after \"%s\" max %zu:\nwanted %.300s\ngot    %.300s", prefix,
                 delimiter, after, max, buf_str(&wanted), buf_str(&got));
}

static void test_small(void **state) {
    struct fixture *f = *state;
    ASSERT_LIST(f->store, "", "", "", 10, "");
    const char *keys[] = {"a", "a/", "a/b", "a//b", "a-b", "a/b/c", "b/x", "b/y", "a0"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        ASSERT_OK(put(f->store, keys[i], i, 1, NULL));
    ASSERT_LIST(f->store, "", "", "", 100, "a,a-b,a/,a//b,a/b,a/b/c,a0,b/x,b/y");
    ASSERT_LIST(f->store, "", "/", "", 100, "a,a-b,=a/,a0,=b/");
    ASSERT_LIST(f->store, "", "/", "", 3, "a,a-b,=a/*");
    ASSERT_LIST(f->store, "", "/", "a/", 3, "a0,=b/");      /* from the common prefix on */
    ASSERT_LIST(f->store, "", "/", "a/b", 3, "=a/,a0,=b/"); /* from inside of it */
    ASSERT_LIST(f->store, "", "/", "a/zz", 3, "a0,=b/");
    ASSERT_LIST(f->store, "a", "", "", 100, "a,a-b,a/,a//b,a/b,a/b/c,a0");
    ASSERT_LIST(f->store, "a/", "", "", 100, "a/,a//b,a/b,a/b/c");
    ASSERT_LIST(f->store, "a/", "/", "", 100, "a/,=a//,a/b,=a/b/");
    ASSERT_LIST(f->store, "a/b", "", "", 100, "a/b,a/b/c");
    ASSERT_LIST(f->store, "a", "b", "", 100, "a,=a-b,a/,=a//b,=a/b,a0");
    ASSERT_LIST(f->store, "c", "", "", 100, "");
    ASSERT_LIST(f->store, "a/b/c/", "", "", 100, "");
    ASSERT_LIST(f->store, "", "", "", 0, "");
    ASSERT_LIST(f->store, "", "", "b/y", 5, "");
    ASSERT_LIST(f->store, "\xff", "", "", 5, "");
    struct store_list list;
    ASSERT_OK(store_list_page(f->store, &(struct store_list_query){.prefix = "b/", .max = 9}, &list));
    struct store_info info;
    ASSERT_OK(store_head(f->store, "b/y", &info));
    assert_int_equal(list.entries[1].size, 7);
    assert_int_equal(list.entries[1].mtime_ms, info.mtime_ms);
    assert_true(store_etag_equal(&list.entries[1].etag, &info.etag));
    store_info_done(&info);
    store_list_done(&list);
}

static char *random_key(void) {
    static const char *const pieces[] = {"a", "b", "/", "-", "//", "ab", "0", "\xc3\xa4", ".", "/z"};
    BUF_AUTO(key, 1024);
    for (long n = 1 + random() % 5; n > 0; n--)
        buf_append_str(&key, pieces[(size_t)random() % ARRAY_LEN(pieces)]);
    if (random() % 20 == 0)
        for (int i = 0; i < 130; i++)
            buf_append_byte(&key, 'l');
    return buf_take_str(&key);
}

static void check_random_pages(struct store *s, char **keys, size_t count) {
    static const char *const delimiters[] = {"", "/", "a", "//", "-"};
    for (int i = 0; i < 300; i++) {
        AUTO_FREE char *prefix = random() % 3 ? str_dup("") : random_key();
        AUTO_FREE char *after = random() % 2 ? str_dup("") : random_key();
        const char *delimiter = delimiters[(size_t)random() % ARRAY_LEN(delimiters)];
        assert_page(s, keys, count, prefix, delimiter, after, (size_t)random() % 12);
        assert_page(s, keys, count, prefix, delimiter, after, 1000);
    }
}

static void test_random(void **state) {
    struct fixture *f = *state;
    srandom(4);
    enum { KEYS = 150 };
    char *keys[KEYS];
    size_t count = 0;
    while (count < KEYS) {
        char *key = random_key();
        bool known = false;
        for (size_t i = 0; i < count; i++)
            known = known || strcmp(keys[i], key) == 0;
        if (!known) {
            ASSERT_OK(put(f->store, key, 1, 1, NULL));
            keys[count++] = key;
        } else
            mem_free(key);
    }
    qsort(keys, count, sizeof keys[0], order);
    check_random_pages(f->store, keys, count);
    /* Half of them go; what is in memory and what is on the disk must tell the same. */
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        if (i % 2) {
            ASSERT_OK(store_delete(f->store, keys[i], &(struct store_condition){0}, 0, &(bool){0}));
            mem_free(keys[i]);
        } else
            keys[left++] = keys[i];
    }
    check_random_pages(f->store, keys, left);
    fixture_reopen(f);
    check_random_pages(f->store, keys, left);
    for (size_t i = 0; i < left; i++)
        mem_free(keys[i]);
}

/* 10,000 keys in one folder and in 100, by pages; with a memory for 50 entries only in the second half. */
static void test_many(void **state) {
    struct fixture *f = *state;
    enum { KEYS = 10000 };
    for (int i = 0; i < KEYS / 2; i++) {
        AUTO_FREE char *flat = str_format("flat/%05d", i);
        AUTO_FREE char *deep = str_format("deep/%02d/%05d", i % 100, i);
        ASSERT_OK(put(f->store, flat, 1, 1, NULL));
        ASSERT_OK(put(f->store, deep, 1, 1, NULL));
    }
    for (int pass = 0; pass < 2; pass++) {
        size_t total = 0;
        AUTO_FREE char *after = str_dup("");
        for (bool more = true; more;) {
            struct store_list list;
            ASSERT_OK(store_list_page(f->store, &(struct store_list_query){.start_after = after, .max = 1000}, &list));
            for (size_t i = 0; i < list.count; i++) {
                assert_true(strcmp(list.entries[i].key, i ? list.entries[i - 1].key : after) > 0);
                total++;
            }
            more = list.truncated;
            mem_free(after);
            after = str_dup(list.count ? list.entries[list.count - 1].key : "");
            store_list_done(&list);
        }
        assert_int_equal(total, KEYS);
        BUF_AUTO(folders, 1 << 16);
        list_text(f->store, "deep/", "/", "", 1000, &folders);
        assert_int_equal(folders.len, 100 * 9 + 99);
        assert_content(f->store, "deep/42/00042", 1, 1);
        fixture_close(f);
        const struct store_s3 s3 = fixture_s3(f);
        struct store_options options = {
            .dir = f->dir, .s3 = f->s3 ? &s3 : NULL, .bucket = "lockset", .lease = f->lease, .cache_entries = 50};
        ASSERT_OK(store_open(&options, &f->store));
    }
}

int main(int argc, char **argv) {
    fixture_choose(argc, argv);
    if (is_err(secret_start(1 << 20, true))) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_small, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
