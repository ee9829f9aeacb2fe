#include "fixture.h"

#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "s3_double.h"

struct lease *fixture_lease(void) {
    struct lease *l;
    uint8_t branch[LEASE_BRANCH_ID_BYTES], key[KEY_BYTES], names[KEY_BYTES];
    memset(branch, 0xb0, sizeof branch);
    memset(key, 0x11, sizeof key);
    memset(names, 0x22, sizeof names);
    ASSERT_OK(lease_new("o00000000000000000001", "us-west-2", "arn:aws:kms:us-west-2:111122223333:key/test", &l));
    ASSERT_OK(lease_set_names(l, slice_make(names, sizeof names)));
    ASSERT_OK(lease_set_branch(l, branch, slice_make(key, sizeof key)));
    ASSERT_OK(lease_set_active(l, branch));
    lease_arm(l, clock_boottime_ns() + 3600 * NS_PER_S);
    return l;
}

static bool over_s3, in_clear;

void fixture_choose(int argc, char **argv) {
    over_s3 = argc > 1 && strncmp(argv[1], "--s3", 4) == 0;
    in_clear = over_s3 && strcmp(argv[1], "--s3-clear") == 0;
}

bool fixture_is_s3(void) {
    return over_s3;
}

struct store_s3 fixture_s3(const struct fixture *f) {
    return (struct store_s3){.client = f->s3, .prefix = "some/prefix/o1/", .in_clear = f->in_clear};
}

size_t fixture_files(const struct fixture *f, size_t wanted) {
    if (!f->s3) return paths_count(f->dir);
    size_t n = 0;
    for (int64_t end = clock_boottime_ns() + 20 * NS_PER_S; clock_boottime_ns() < end; usleep(1000)) {
        n = 1 + s3_double_count(f->s3, "");
        if (n == wanted) break;
    }
    return n;
}

static void open_store(struct fixture *f) {
    const struct store_s3 s3 = fixture_s3(f);
    struct store_options options = {.dir = f->dir, .s3 = f->s3 ? &s3 : NULL, .bucket = "lockset", .lease = f->lease};
    ASSERT_OK(store_open(&options, &f->store));
}

void fixture_init(struct fixture *f) {
    *f = (struct fixture){0};
    strcpy(f->dir, "/tmp/lockset-test-store-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->lease = fixture_lease();
    if (over_s3) f->s3 = s3_double_new();
    f->in_clear = in_clear;
    open_store(f);
}

void fixture_close(struct fixture *f) {
    f->store = store_close(f->store);
}

void fixture_reopen(struct fixture *f) {
    fixture_close(f);
    open_store(f);
}

void fixture_done(struct fixture *f) {
    fixture_close(f);
    f->s3 = s3_store_client_free(f->s3);
    f->lease = lease_free(f->lease);
    ASSERT_OK(file_remove_tree(f->dir));
}

void fill(uint8_t *to, size_t n, unsigned seed, uint64_t offset) {
    for (size_t i = 0; i < n; i++) {
        uint64_t x = (offset + i) / 8 * 0x9e3779b97f4a7c15ULL + seed * 0xd1b54a32d192ed03ULL;
        x ^= x >> 29;
        to[i] = (uint8_t)(x >> (8 * ((offset + i) % 8)));
    }
}

enum { PIECE = 100000 };

struct result put(struct store *s, const char *key, size_t n, unsigned seed, struct store_written *ret) {
    AUTO(store_writer_free_auto) struct store_writer *w = NULL;
    TRY(store_writer_new(s, &w));
    AUTO_FREE uint8_t *piece = mem_alloc(PIECE);
    for (size_t at = 0; at < n;) {
        size_t len = n - at < PIECE ? n - at : PIECE;
        fill(piece, len, seed, at);
        TRY(store_writer_append(w, slice_make(piece, len)));
        at += len;
    }
    struct store_written written;
    TRY(store_writer_commit(w, &(struct store_commit){.key = key}, ret ? ret : &written));
    return OK;
}

void assert_content(struct store *s, const char *key, size_t n, unsigned seed) {
    AUTO(store_reader_free_auto) struct store_reader *r = NULL;
    ASSERT_OK(store_reader_new(s, key, &r));
    assert_int_equal(store_reader_info(r)->size, n);
    AUTO_FREE uint8_t *got = mem_alloc(PIECE);
    AUTO_FREE uint8_t *wanted = mem_alloc(PIECE);
    for (uint64_t at = 0;;) {
        size_t len;
        ASSERT_OK(store_reader_read(r, at, got, PIECE, &len));
        if (len == 0) {
            assert_int_equal(at, n);
            return;
        }
        fill(wanted, len, seed, at);
        if (memcmp(got, wanted, len) != 0) fail_msg("%s: wrong bytes after %llu", key, (unsigned long long)at);
        at += len;
    }
}

struct result read_all(struct store *s, const char *key, uint64_t *ret_bytes) {
    AUTO(store_reader_free_auto) struct store_reader *r = NULL;
    *ret_bytes = 0;
    TRY(store_reader_new(s, key, &r));
    AUTO_FREE uint8_t *got = mem_alloc(PIECE);
    for (;;) {
        size_t len;
        TRY(store_reader_read(r, *ret_bytes, got, PIECE, &len));
        if (len == 0) return OK;
        *ret_bytes += len;
    }
}

static struct paths *collecting;

static int collect(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
    if (kind != FTW_F) return 0;
    collecting->items = mem_resize(collecting->items, (collecting->count + 1) * sizeof(char *));
    collecting->items[collecting->count++] = str_dup(path);
    return 0;
}

static int path_order(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void paths_find(const char *dir, struct paths *ret) {
    *ret = (struct paths){0};
    collecting = ret;
    assert_int_equal(nftw(dir, collect, 32, FTW_PHYS), 0);
    if (ret->count) qsort(ret->items, ret->count, sizeof(char *), path_order);
}

void paths_done(struct paths *p) {
    for (size_t i = 0; i < p->count; i++)
        mem_free(p->items[i]);
    mem_free(p->items);
    *p = (struct paths){0};
}

size_t paths_count(const char *dir) {
    struct paths p;
    paths_find(dir, &p);
    size_t n = p.count;
    paths_done(&p);
    return n;
}

void list_text(struct store *s, const char *prefix, const char *delimiter, const char *after, size_t max,
               struct buf *out) {
    struct store_list list;
    ASSERT_OK(store_list_page(s, &(struct store_list_query){prefix, delimiter, after, max}, &list));
    for (size_t i = 0; i < list.count; i++) {
        if (i) buf_append_byte(out, ',');
        if (list.entries[i].is_prefix) buf_append_byte(out, '=');
        buf_append_str(out, list.entries[i].key);
    }
    if (list.truncated) buf_append_byte(out, '*');
    store_list_done(&list);
}
