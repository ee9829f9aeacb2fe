/* Multipart uploads: parts in any order, sent again, copied; complete, abort, restarts. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"
#include "s3_double.h"

enum { MIB = 1 << 20 };

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

static struct result write_part(struct store_writer *w, size_t n, unsigned seed, uint64_t offset) {
    AUTO_FREE uint8_t *piece = mem_alloc(n);
    fill(piece, n, seed, offset);
    return store_writer_append(w, slice_make(piece, n));
}

/* Uploads bytes [offset, offset + n) of the stream `seed` as a part. */
static struct result part(struct store *s, const char *id, unsigned number, size_t n, unsigned seed, uint64_t offset,
                          const uint8_t *md5, struct store_part *ret) {
    AUTO(store_writer_free_auto) struct store_writer *w = NULL;
    TRY(store_part_new(s, id, "big", number, &w));
    TRY(write_part(w, n, seed, offset));
    struct store_written written;
    char note[STORE_NOTE_BYTES];
    snprintf(note, sizeof note, "of %u", number);
    if (number > 3) store_part_note(w, note);
    TRY(store_part_commit(w, md5, 0, &written));
    *ret = (struct store_part){.number = number, .etag = written.etag};
    return OK;
}

static struct result complete(struct store *s, const char *id, const struct store_part *parts, size_t count,
                              uint64_t min, enum store_complete_problem *problem, struct store_written *ret) {
    struct store_complete c = {.upload_id = id, .parts = parts, .part_count = count, .min_part_bytes = min};
    const struct store_field more = {"more", "brought by completing"};
    return store_upload_complete(s, &c, &(struct store_commit){.key = "big", .fields = &more, .field_count = 1},
                                 problem, ret);
}

static void begin(struct store *s, char *id) {
    const struct store_field field = {"content-type", "a/b"};
    ASSERT_OK(store_upload_begin(s, &(struct store_commit){.key = "big", .fields = &field, .field_count = 1}, id));
}

static void test_out_of_order(void **state) {
    struct fixture *f = *state;
    char id[STORE_UPLOAD_ID_BYTES];
    begin(f->store, id);
    struct store_part p[4];
    enum store_complete_problem problem;
    struct store_written w, again;
    /* Numbers 3, 7, 20, 21; the second comes twice, across a restart; odd sizes. */
    ASSERT_OK(part(f->store, id, 20, 70001, 1, 3 * MIB + 5, NULL, &p[2]));
    ASSERT_OK(part(f->store, id, 7, 11, 9, 0, NULL, &p[1]));
    ASSERT_OK(part(f->store, id, 3, 2 * MIB, 1, 0, NULL, &p[0]));
    fixture_reopen(f);
    ASSERT_OK(part(f->store, id, 7, MIB + 5, 1, 2 * MIB, NULL, &p[1]));
    ASSERT_OK(part(f->store, id, 21, 0, 1, 0, NULL, &p[3]));
    ASSERT_ERR(NOT_FOUND, store_head(f->store, "big", &(struct store_info){0}));
    fixture_reopen(f);
    struct store_part_list list;
    ASSERT_OK(store_upload_parts(f->store, id, "big", 3, 2, &list));
    assert_int_equal(list.count, 2);
    assert_true(list.truncated);
    assert_int_equal(list.parts[0].number, 7);
    assert_int_equal(list.parts[0].size, MIB + 5);
    assert_true(store_etag_equal(&list.parts[1].etag, &p[2].etag));
    assert_string_equal(list.parts[0].note, "of 7");
    assert_string_equal(list.parts[1].note, "of 20");
    store_part_list_done(&list);
    ASSERT_OK(store_upload_parts(f->store, id, "big", 0, 1, &list));
    assert_string_equal(list.parts[0].note, ""); /* none was given */
    store_part_list_done(&list);
    ASSERT_OK(complete(f->store, id, p, 4, 0, &problem, &w));
    assert_int_equal(w.etag.parts, 4);
    assert_int_equal(w.size, 3 * MIB + 5 + 70001);
    struct store_info info;
    ASSERT_OK(store_head(f->store, "big", &info));
    assert_int_equal(info.field_count, 2);
    assert_string_equal(store_info_field(&info, "content-type"), "a/b");
    assert_string_equal(store_info_field(&info, "more"), "brought by completing");
    store_info_done(&info);
    ASSERT_OK(complete(f->store, id, p, 4, 0, &problem, &again)); /* a retry of the client */
    assert_true(store_etag_equal(&w.etag, &again.etag));
    ASSERT_ERR(NOT_FOUND, complete(f->store, id, p, 3, 0, &problem, &again));
    for (int pass = 0; pass < 2; pass++) {
        assert_content(f->store, "big", 3 * MIB + 5 + 70001, 1);
        AUTO(store_reader_free_auto) struct store_reader *r = NULL;
        ASSERT_OK(store_reader_new(f->store, "big", &r));
        assert_string_equal(store_info_field(store_reader_info(r), "content-type"), "a/b");
        uint64_t offset, size;
        unsigned count;
        ASSERT_OK(store_reader_part(r, 7, &offset, &size, &count));
        assert_int_equal(offset, 2 * MIB);
        assert_int_equal(size, MIB + 5);
        assert_int_equal(count, 4);
        ASSERT_ERR(NOT_FOUND, store_reader_part(r, 1, &offset, &size, &count));
        /* Ranges over the seams, backwards, too. */
        uint8_t got[300], wanted[300];
        size_t n;
        for (uint64_t at = 3 * MIB; at > 2 * MIB - 200; at -= 97) {
            ASSERT_OK(store_reader_read(r, at, got, sizeof got, &n));
            fill(wanted, sizeof wanted, 1, at);
            assert_memory_equal(got, wanted, sizeof got);
        }
        store_reader_free(TAKE(r));
        fixture_reopen(f);
    }
    AUTO_FREE char *uploads = str_format("%s/uploads", f->dir);
    if (!f->s3) assert_int_equal(paths_count(uploads), 0);
    ASSERT_OK(store_delete(f->store, "big", &(struct store_condition){0}, 0, &(bool){0}));
    if (f->s3) { /* the attempt that was replaced after the reopening is left to the sweep there */
        s3_double_age(f->s3, 7200);
        fixture_reopen(f);
    }
    assert_files(f, 1);
}

static void test_etag_is_md5_of_md5s(void **state) {
    struct fixture *f = *state;
    char id[STORE_UPLOAD_ID_BYTES];
    begin(f->store, id);
    uint8_t md5[2][16], both[32], wanted[16];
    struct store_part p[2];
    for (unsigned i = 0; i < 2; i++) {
        memset(md5[i], (int)i + 1, 16);
        memcpy(both + 16 * i, md5[i], 16);
        ASSERT_OK(part(f->store, id, i + 1, 100, 1, 0, md5[i], &p[i]));
    }
    struct digest *d;
    ASSERT_OK(digest_new(DIGEST_MD5, &d));
    ASSERT_OK(digest_update(d, slice_make(both, 32)));
    ASSERT_OK(digest_finish(d, wanted));
    digest_free(d);
    enum store_complete_problem problem;
    struct store_written w;
    ASSERT_OK(complete(f->store, id, p, 2, 100, &problem, &w));
    assert_memory_equal(w.etag.bytes, wanted, 16);
    assert_int_equal(w.etag.parts, 2);
    struct store_list list;
    ASSERT_OK(store_list_page(f->store, &(struct store_list_query){.max = 9}, &list));
    assert_int_equal(list.count, 1);
    assert_true(store_etag_equal(&list.entries[0].etag, &w.etag));
    store_list_done(&list);
}

static void test_problems(void **state) {
    struct fixture *f = *state;
    char id[STORE_UPLOAD_ID_BYTES];
    begin(f->store, id);
    struct store_part p[3], bad[3];
    for (unsigned i = 0; i < 3; i++)
        ASSERT_OK(part(f->store, id, i + 1, 100, 1, 0, NULL, &p[i]));
    enum store_complete_problem problem;
    struct store_written w;
    memcpy(bad, p, sizeof p);
    bad[1] = p[0];
    ASSERT_ERR(INVALID, complete(f->store, id, bad, 3, 0, &problem, &w));
    assert_int_equal(problem, STORE_COMPLETE_ORDER);
    memcpy(bad, p, sizeof p);
    bad[1].etag.bytes[0] ^= 1;
    ASSERT_ERR(INVALID, complete(f->store, id, bad, 3, 0, &problem, &w));
    assert_int_equal(problem, STORE_COMPLETE_PART);
    memcpy(bad, p, sizeof p);
    bad[2].number = 4;
    ASSERT_ERR(INVALID, complete(f->store, id, bad, 3, 0, &problem, &w));
    assert_int_equal(problem, STORE_COMPLETE_PART);
    ASSERT_ERR(INVALID, complete(f->store, id, p, 3, 101, &problem, &w));
    assert_int_equal(problem, STORE_COMPLETE_TOO_SMALL);
    ASSERT_ERR(INVALID, complete(f->store, id, p, 0, 0, &problem, &w));
    struct store_writer *wr;
    ASSERT_ERR(INVALID, store_part_new(f->store, id, "big", 0, &wr));
    ASSERT_ERR(INVALID, store_part_new(f->store, id, "big", 10001, &wr));
    ASSERT_ERR(NOT_FOUND, store_part_new(f->store, id, "other", 1, &wr));
    ASSERT_ERR(NOT_FOUND, store_part_new(f->store, "../names", "big", 1, &wr));
    ASSERT_ERR(NOT_FOUND, store_upload_abort(f->store, id, "other", 0));
    ASSERT_ERR(NOT_FOUND, store_head(f->store, "big", &(struct store_info){0}));
    ASSERT_OK(complete(f->store, id, p, 3, 100, &problem, &w)); /* nothing of that hurt */
}

/* The attempt that finishes last wins, also when it began first. */
static void test_last_finished_wins(void **state) {
    struct fixture *f = *state;
    char id[STORE_UPLOAD_ID_BYTES];
    begin(f->store, id);
    struct store_writer *slow;
    ASSERT_OK(store_part_new(f->store, id, "big", 1, &slow));
    ASSERT_OK(write_part(slow, 200000, 1, 0));
    struct store_part fast;
    ASSERT_OK(part(f->store, id, 1, 50, 2, 0, NULL, &fast));
    struct store_written w;
    ASSERT_OK(store_part_commit(slow, NULL, 0, &w));
    store_writer_free(slow);
    enum store_complete_problem problem;
    struct store_part p = {.number = 1, .etag = w.etag};
    ASSERT_ERR(INVALID, complete(f->store, id, &fast, 1, 0, &problem, &w));
    fixture_reopen(f);
    ASSERT_OK(complete(f->store, id, &p, 1, 0, &problem, &w));
    assert_content(f->store, "big", 200000, 1);
}

static void test_part_copy(void **state) {
    struct fixture *f = *state;
    ASSERT_OK(put(f->store, "source", 3 * MIB, 1, NULL));
    ASSERT_OK(put(f->store, "small", 1000, 1, NULL));
    char id[STORE_UPLOAD_ID_BYTES];
    begin(f->store, id);
    struct store_part_copy c = {.upload_id = id, .key = "big", .number = 1, .from = "source", .whole = true};
    struct store_written w[4];
    ASSERT_OK(store_part_copy(f->store, &c, &w[0]));
    c = (struct store_part_copy){
        .upload_id = id, .key = "big", .number = 2, .from = "source", .offset = 12345, .length = MIB};
    ASSERT_OK(store_part_copy(f->store, &c, &w[1]));
    c.number = 3;
    c.from = "small";
    c.offset = 10;
    c.length = 990;
    ASSERT_OK(store_part_copy(f->store, &c, &w[2]));
    c.length = 991;
    ASSERT_ERR(RANGE, store_part_copy(f->store, &c, &w[3]));
    c.length = 0;
    ASSERT_ERR(RANGE, store_part_copy(f->store, &c, &w[3]));
    c.from = "none";
    ASSERT_ERR(NOT_FOUND, store_part_copy(f->store, &c, &w[3]));
    c.from = "small";
    c.length = 1;
    c.if_match = true;
    ASSERT_ERR(PRECONDITION, store_part_copy(f->store, &c, &w[3]));
    ASSERT_OK(store_delete(f->store, "source", &(struct store_condition){0}, 0, &(bool){0}));
    struct store_part p[3];
    for (unsigned i = 0; i < 3; i++)
        p[i] = (struct store_part){.number = i + 1, .etag = w[i].etag};
    enum store_complete_problem problem;
    ASSERT_OK(complete(f->store, id, p, 3, 0, &problem, &w[3]));
    fixture_reopen(f);
    AUTO_FREE uint8_t *got = mem_alloc(3 * MIB);
    AUTO_FREE uint8_t *wanted = mem_alloc(3 * MIB);
    AUTO(store_reader_free_auto) struct store_reader *r = NULL;
    ASSERT_OK(store_reader_new(f->store, "big", &r));
    const struct {
        uint64_t at, from;
        size_t n;
    } pieces[] = {{0, 0, 3 * MIB}, {3 * MIB, 12345, MIB}, {4 * MIB, 10, 990}};
    for (size_t i = 0; i < 3; i++) {
        size_t n;
        ASSERT_OK(store_reader_read(r, pieces[i].at, got, pieces[i].n, &n));
        fill(wanted, n, 1, pieces[i].from);
        assert_int_equal(n, pieces[i].n);
        assert_memory_equal(got, wanted, n);
    }
}

static void test_abort_and_list(void **state) {
    struct fixture *f = *state;
    char ids[4][STORE_UPLOAD_ID_BYTES];
    const char *keys[] = {"b", "a", "b", "c/x"};
    for (int i = 0; i < 4; i++)
        ASSERT_OK(store_upload_begin(f->store, &(struct store_commit){.key = keys[i]}, ids[i]));
    for (int pass = 0; pass < 2; pass++) {
        struct store_upload_list list;
        ASSERT_OK(store_upload_list(f->store, "", NULL, NULL, 10, &list));
        assert_int_equal(list.count, 4);
        assert_string_equal(list.uploads[0].key, "a");
        assert_string_equal(list.uploads[1].id, ids[0]); /* the same key: as they began */
        assert_string_equal(list.uploads[2].id, ids[2]);
        assert_true(list.uploads[0].begun_ms > 0);
        store_upload_list_done(&list);
        ASSERT_OK(store_upload_list(f->store, "", "b", ids[0], 1, &list));
        assert_int_equal(list.count, 1);
        assert_true(list.truncated);
        assert_string_equal(list.uploads[0].id, ids[2]);
        store_upload_list_done(&list);
        ASSERT_OK(store_upload_list(f->store, "c/", "b", NULL, 5, &list));
        assert_int_equal(list.count, 1);
        assert_false(list.truncated);
        store_upload_list_done(&list);
        fixture_reopen(f);
    }
    struct store_writer *w;
    ASSERT_OK(store_part_new(f->store, ids[0], "b", 1, &w));
    ASSERT_OK(write_part(w, 100000, 1, 0));
    for (int i = 0; i < 4; i++)
        ASSERT_OK(store_upload_abort(f->store, ids[i], keys[i], 0));
    ASSERT_ERR(NOT_FOUND, store_upload_abort(f->store, ids[0], keys[0], 0));
    ASSERT_ERR(NOT_FOUND, store_part_commit(w, NULL, 0, &(struct store_written){0}));
    store_writer_free(w);
    assert_files(f, 1);
}

/* Files that a crash leaves in an upload's folder. */
static void test_leftovers(void **state) {
    struct fixture *f = *state;
    if (f->s3) return; /* see test_remote.c */
    char id[STORE_UPLOAD_ID_BYTES];
    begin(f->store, id);
    struct store_part p;
    ASSERT_OK(part(f->store, id, 1, 100, 1, 0, NULL, &p));
    fixture_close(f);
    AUTO_FREE char *orphan = str_format("%s/uploads/%s/b00112233445566778899aabbccddeeff.0", f->dir, id);
    ASSERT_OK(file_write_atomic(orphan, slice_str("junk"), 0600));
    AUTO_FREE char *empty = str_format("%s/uploads/00112233445566778899aabbccddeeff", f->dir);
    ASSERT_OK(file_make_dirs(empty));
    AUTO_FREE char *temporary = str_format("%s/tmp/5", f->dir);
    ASSERT_OK(file_write_atomic(temporary, slice_str("junk"), 0600));
    AUTO_FREE char *body = str_format("%s/bodies/00/00112233445566778899aabbccddeeff.0", f->dir);
    ASSERT_OK(file_write_atomic(body, slice_str("junk"), 0600));
    fixture_reopen(f);
    assert_int_not_equal(access(orphan, F_OK), 0);
    assert_int_not_equal(access(empty, F_OK), 0);
    assert_int_not_equal(access(temporary, F_OK), 0);
    assert_int_not_equal(access(body, F_OK), 0);
    enum store_complete_problem problem;
    ASSERT_OK(complete(f->store, id, &p, 1, 0, &problem, &(struct store_written){0}));
    assert_content(f->store, "big", 100, 1);
}

int main(int argc, char **argv) {
    fixture_choose(argc, argv);
    if (is_err(secret_start(1 << 20, true))) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_out_of_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_etag_is_md5_of_md5s, setup, teardown),
        cmocka_unit_test_setup_teardown(test_problems, setup, teardown),
        cmocka_unit_test_setup_teardown(test_last_finished_wins, setup, teardown),
        cmocka_unit_test_setup_teardown(test_part_copy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_abort_and_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leftovers, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
