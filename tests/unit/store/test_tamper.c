/* What somebody who can write to the store's folder, but has no key, may try. Every change must end in CORRUPT (or be
 * without any effect), and never in bytes that were not put there. */
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fixture.h"

enum { CHUNK = LEASE_CHUNK_BYTES, SEALED = CHUNK + GCM_TAG_BYTES };

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

static char *only_path(struct fixture *f, const char *folder) {
    AUTO_FREE char *dir = str_format("%s/%s", f->dir, folder);
    struct paths p;
    paths_find(dir, &p);
    assert_int_equal(p.count, 1);
    char *path = str_dup(p.items[0]);
    paths_done(&p);
    return path;
}

static void load(const char *path, struct buf *out) {
    buf_init(out, 64 << 20);
    ASSERT_OK(file_read(path, 64 << 20, out));
}

static void save(const char *path, const void *data, size_t len) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    ASSERT_OK(file_write_all(fd, slice_make(data, len), path));
    close(fd);
}

static void flip(const char *path, size_t at) {
    int fd = open(path, O_RDWR);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
    byte ^= 1 << (at % 8);
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

static void assert_refused(struct fixture *f, const char *key) {
    uint64_t n;
    ASSERT_ERR(CORRUPT, read_all(f->store, key, &n));
}

static void test_every_byte_of_a_record(void **state) {
    struct fixture *f = *state;
    ASSERT_OK(put(f->store, "k", 300, 1, NULL));
    AUTO_FREE char *path = only_path(f, "names");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    for (size_t i = 0; i < (size_t)st.st_size; i++) {
        flip(path, i);
        assert_refused(f, "k");
        ASSERT_ERR(CORRUPT, store_head(f->store, "k", &(struct store_info){0}));
        ASSERT_ERR(CORRUPT, store_copy(f->store, &(struct store_copy){.from = "k"}, &(struct store_commit){.key = "l"},
                                       &(struct store_written){0}));
        flip(path, i);
    }
    assert_content(f->store, "k", 300, 1);
}

static void test_truncated_and_longer_record(void **state) {
    struct fixture *f = *state;
    ASSERT_OK(put(f->store, "k", 300, 1, NULL));
    AUTO_FREE char *path = only_path(f, "names");
    AUTO(buf_done) struct buf whole;
    load(path, &whole);
    for (size_t n = 0; n < whole.len; n++) {
        save(path, whole.data, n);
        assert_refused(f, "k");
    }
    BUF_AUTO(longer, 1 << 20);
    buf_append_slice(&longer, buf_slice(&whole));
    for (int i = 0; i < 40; i++) {
        buf_append_byte(&longer, (uint8_t)i);
        save(path, longer.data, longer.len);
        assert_refused(f, "k");
    }
    save(path, whole.data, whole.len);
    assert_content(f->store, "k", 300, 1);
}

static void test_bodies(void **state) {
    struct fixture *f = *state;
    enum { SIZE = 3 * CHUNK + 100 };
    ASSERT_OK(put(f->store, "k", SIZE, 1, NULL));
    AUTO_FREE char *path = only_path(f, "bodies");
    AUTO(buf_done) struct buf whole;
    load(path, &whole);
    size_t header = whole.len - SIZE - 4 * GCM_TAG_BYTES;
    for (size_t i = 0; i < whole.len; i += i < header + 40 ? 1 : 4999) {
        flip(path, i);
        assert_refused(f, "k");
        flip(path, i);
    }
    /* Cut at and around each boundary. */
    for (size_t chunk = 0; chunk <= 4; chunk++)
        for (int around = -1; around <= 1; around++) {
            size_t n = header + chunk * SEALED + (size_t)around;
            if (n >= whole.len) n = whole.len - 1;
            save(path, whole.data, n);
            assert_refused(f, "k");
        }
    save(path, whole.data, 0);
    assert_refused(f, "k");
    /* Appended to, with junk and with a chunk of its own. */
    BUF_AUTO(changed, 8 << 20);
    buf_append_slice(&changed, buf_slice(&whole));
    buf_append_byte(&changed, 0);
    save(path, changed.data, changed.len);
    assert_refused(f, "k");
    buf_clear(&changed);
    buf_append_slice(&changed, buf_slice(&whole));
    buf_append(&changed, whole.data + header, SEALED);
    save(path, changed.data, changed.len);
    assert_refused(f, "k");
    /* Chunks exchanged; a chunk repeated in another's place. */
    for (int kind = 0; kind < 2; kind++) {
        buf_clear(&changed);
        buf_append_slice(&changed, buf_slice(&whole));
        memcpy(changed.data + header, whole.data + header + SEALED, SEALED);
        if (kind == 0) memcpy(changed.data + header + SEALED, whole.data + header, SEALED);
        save(path, changed.data, changed.len);
        assert_refused(f, "k");
    }
    /* Nothing of a chunk comes out before the chunk is verified, and what comes out before is right. */
    save(path, whole.data, whole.len);
    flip(path, header + 2 * SEALED + 1000);
    AUTO(store_reader_free_auto) struct store_reader *r = NULL;
    ASSERT_OK(store_reader_new(f->store, "k", &r));
    AUTO_FREE uint8_t *got = mem_alloc(CHUNK);
    AUTO_FREE uint8_t *wanted = mem_alloc(CHUNK);
    size_t n;
    for (uint64_t at = 0; at < 2 * CHUNK; at += CHUNK) {
        ASSERT_OK(store_reader_read(r, at, got, CHUNK, &n));
        fill(wanted, CHUNK, 1, at);
        assert_memory_equal(got, wanted, CHUNK);
    }
    memset(got, 0, CHUNK);
    ASSERT_ERR(CORRUPT, store_reader_read(r, 2 * CHUNK, got, CHUNK, &n));
    for (size_t i = 0; i < CHUNK; i++)
        assert_int_equal(got[i], 0);
    ASSERT_OK(store_reader_read(r, 3 * CHUNK, got, 100, &n)); /* the others are still good */
    assert_int_equal(unlink(path), 0);
    assert_refused(f, "k");
}

static void exchange(const char *a, const char *b) {
    AUTO_FREE char *aside = str_format("%s.aside", a);
    assert_int_equal(rename(a, aside), 0);
    assert_int_equal(rename(b, a), 0);
    assert_int_equal(rename(aside, b), 0);
}

static void test_exchanged_files(void **state) {
    struct fixture *f = *state;
    const uint8_t md5[16] = "same for both...";
    /* Same sizes and ETags, so that only the binding can tell. */
    const char *keys[] = {"one", "two"};
    for (unsigned i = 0; i < 2; i++) {
        AUTO(store_writer_free_auto) struct store_writer *w = NULL;
        ASSERT_OK(store_writer_new(f->store, &w));
        AUTO_FREE uint8_t *data = mem_alloc(100000);
        fill(data, 100000, i, 0);
        ASSERT_OK(store_writer_append(w, slice_make(data, 100000)));
        ASSERT_OK(
            store_writer_commit(w, &(struct store_commit){.key = keys[i], .md5 = md5}, &(struct store_written){0}));
    }
    const char *folders[] = {"bodies", "names"};
    for (int i = 0; i < 2; i++) {
        AUTO_FREE char *dir = str_format("%s/%s", f->dir, folders[i]);
        struct paths p;
        paths_find(dir, &p);
        assert_int_equal(p.count, 2);
        exchange(p.items[0], p.items[1]);
        assert_refused(f, "one");
        assert_refused(f, "two");
        exchange(p.items[0], p.items[1]);
        assert_content(f->store, "one", 100000, 0);
        paths_done(&p);
    }
    /* Both together: the whole of "two" under the name of "one". */
    for (int i = 0; i < 2; i++) {
        AUTO_FREE char *dir = str_format("%s/%s", f->dir, folders[i]);
        struct paths p;
        paths_find(dir, &p);
        exchange(p.items[0], p.items[1]);
        paths_done(&p);
    }
    assert_refused(f, "one");
}

/* An old record under the file name of a newer version of the same object, and the other way round. */
static void test_versions_mixed(void **state) {
    struct fixture *f = *state;
    ASSERT_OK(put(f->store, "k", 100, 1, NULL));
    AUTO_FREE char *old_path = only_path(f, "names");
    AUTO(buf_done) struct buf old_record;
    load(old_path, &old_record);
    ASSERT_OK(put(f->store, "k", 100, 2, NULL));
    AUTO_FREE char *path = only_path(f, "names");
    AUTO(buf_done) struct buf record;
    load(path, &record);
    save(path, old_record.data, old_record.len);
    assert_refused(f, "k");
    save(path, record.data, record.len);
    assert_content(f->store, "k", 100, 2);
    save(old_path, record.data, record.len); /* a summary from before: the lower sequence, so it goes */
    fixture_reopen(f);
    assert_content(f->store, "k", 100, 2);
    assert_int_not_equal(access(old_path, F_OK), 0);
}

static void assert_name_refused(struct fixture *f, const char *key) {
    fixture_reopen(f);
    assert_refused(f, key);
    ASSERT_ERR(CORRUPT, store_list_page(f->store, &(struct store_list_query){.max = 5}, &(struct store_list){0}));
}

static void test_every_character_of_a_name(void **state) {
    struct fixture *f = *state;
    ASSERT_OK(put(f->store, "key", 100000, 1, NULL));
    AUTO_FREE char *path = only_path(f, "names");
    AUTO_FREE char *changed = str_dup(path);
    for (size_t i = (size_t)(strrchr(path, '/') - path) + 1; path[i]; i++) {
        changed[i] = path[i] == 'A' ? 'B' : 'A'; /* also the last one, some of whose bits stand for nothing */
        assert_int_equal(rename(path, changed), 0);
        assert_name_refused(f, "key");
        assert_int_equal(rename(changed, path), 0);
        changed[i] = path[i];
    }
    fixture_reopen(f); /* and its body was not swept meanwhile */
    assert_content(f->store, "key", 100000, 1);
    /* Cut, longer, something else altogether. */
    const char *others[] = {"x", "junk.junk", "+x", ".", "a.b.c"};
    AUTO_FREE char *copy = str_dup(path);
    const char *dir = dirname(copy);
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        if (strcmp(others[i], ".") == 0) continue;
        AUTO_FREE char *other = str_format("%s/%s", dir, others[i]);
        assert_int_equal(rename(path, other), 0);
        assert_name_refused(f, "key");
        assert_int_equal(rename(other, path), 0);
    }
    AUTO_FREE char *longer = str_format("%sAAAA", path);
    assert_int_equal(rename(path, longer), 0);
    assert_name_refused(f, "key");
}

/* The first folder below names/. */
static char *first_folder(struct fixture *f) {
    AUTO_FREE char *path = only_path(f, "names");
    char *below = strstr(path, "/names/") + 7;
    *strchr(below, '/') = '\0';
    return str_dup(path);
}

/* A folder whose name was changed takes its objects with it: they are not "not there". */
static void check_every_character_of_a_folder(struct fixture *f, const char *key) {
    ASSERT_OK(put(f->store, key, 10, 1, NULL));
    AUTO_FREE char *folder = first_folder(f);
    AUTO_FREE char *changed = str_dup(folder);
    for (size_t i = (size_t)(strrchr(folder, '/') - folder) + 1; folder[i]; i++) {
        changed[i] = folder[i] == 'A' ? 'B' : 'A';
        assert_int_equal(rename(folder, changed), 0);
        assert_name_refused(f, key);
        ASSERT_ERR(CORRUPT, store_head(f->store, "folder/another", &(struct store_info){0}));
        ASSERT_ERR(CORRUPT, store_list_page(f->store, &(struct store_list_query){.prefix = "folder/", .max = 5},
                                            &(struct store_list){0}));
        ASSERT_ERR(CORRUPT, store_delete(f->store, key, &(struct store_condition){0}, 0, &(bool){0}));
        assert_int_equal(rename(changed, folder), 0);
        changed[i] = folder[i];
    }
    fixture_reopen(f);
    assert_content(f->store, key, 10, 1);
    ASSERT_ERR(NOT_FOUND, store_head(f->store, "folder/another", &(struct store_info){0}));
}

static void test_every_character_of_a_folder(void **state) {
    check_every_character_of_a_folder(*state, "folder/sub/key");
}

static void test_every_character_of_a_piece(void **state) {
    /* The name is over 112 bytes, so its beginning is a folder of its own. */
    AUTO_FREE char *key = str_format("%0200d", 7);
    check_every_character_of_a_folder(*state, key);
}

static void test_folders_exchanged(void **state) {
    struct fixture *f = *state;
    ASSERT_OK(put(f->store, "a/k", 10, 1, NULL));
    AUTO_FREE char *a = first_folder(f);
    AUTO_FREE char *aside = str_format("%s/aside", f->dir);
    assert_int_equal(rename(a, aside), 0);
    fixture_reopen(f);
    ASSERT_OK(put(f->store, "b/k", 10, 2, NULL));
    AUTO_FREE char *b = first_folder(f);
    assert_int_equal(rename(b, a), 0); /* b's content under a's name */
    assert_int_equal(rename(aside, b), 0);
    fixture_reopen(f);
    assert_refused(f, "a/k");
    assert_refused(f, "b/k");
    ASSERT_ERR(CORRUPT, store_list_page(f->store, &(struct store_list_query){.max = 5}, &(struct store_list){0}));
}

static void test_summaries_exchanged(void **state) {
    struct fixture *f = *state;
    ASSERT_OK(put(f->store, "one", 10, 1, NULL));
    ASSERT_OK(put(f->store, "two", 20, 2, NULL));
    AUTO_FREE char *dir = str_format("%s/names", f->dir);
    struct paths p;
    paths_find(dir, &p);
    char *a = p.items[0], *b = p.items[1];
    size_t a_name = (size_t)(strrchr(a, '.') - a), b_name = (size_t)(strrchr(b, '.') - b);
    AUTO_FREE char *mixed = str_format("%.*s%s", (int)a_name, a, b + b_name);
    assert_int_equal(rename(a, mixed), 0);
    fixture_reopen(f);
    ASSERT_ERR(CORRUPT, store_list_page(f->store, &(struct store_list_query){.max = 5}, &(struct store_list){0}));
    paths_done(&p);
}

static void test_moved_in_the_tree(void **state) {
    struct fixture *f = *state;
    ASSERT_OK(put(f->store, "a/k", 10, 1, NULL));
    ASSERT_OK(put(f->store, "b/other", 10, 2, NULL));
    ASSERT_OK(put(f->store, "b/c/deep", 10, 3, NULL));
    AUTO_FREE char *names = str_format("%s/names", f->dir);
    struct paths p;
    paths_find(names, &p);
    /* Each file to the root. */
    for (size_t i = 0; i < p.count; i++) {
        AUTO_FREE char *moved = str_format("%s%s", names, strrchr(p.items[i], '/'));
        assert_int_equal(rename(p.items[i], moved), 0);
        fixture_reopen(f);
        ASSERT_ERR(CORRUPT, store_list_page(f->store, &(struct store_list_query){.max = 5}, &(struct store_list){0}));
        AUTO_FREE char *copy = str_dup(p.items[i]);
        ASSERT_OK(file_make_dirs(dirname(copy)));
        assert_int_equal(rename(moved, p.items[i]), 0);
    }
    paths_done(&p);
    fixture_reopen(f);
    ASSERT_LIST(f->store, "", "", "", 9, "a/k,b/c/deep,b/other");
}

static struct result corrupt_part(struct fixture *f, bool body) {
    char id[STORE_UPLOAD_ID_BYTES];
    TRY(store_upload_begin(f->store, &(struct store_commit){.key = "u"}, id));
    AUTO(store_writer_free_auto) struct store_writer *w = NULL;
    TRY(store_part_new(f->store, id, "u", 1, &w));
    TRY(store_writer_append(w, slice_str("content of a part")));
    struct store_written written;
    TRY(store_part_commit(w, NULL, 0, &written));
    w = store_writer_free(w);
    AUTO_FREE char *dir = str_format("%s/uploads/%s", f->dir, id);
    struct paths p;
    paths_find(dir, &p);
    for (size_t i = 0; i < p.count; i++)
        if (strrchr(p.items[i], '/')[1] == (body ? 'b' : 'p')) flip(p.items[i], 120);
    paths_done(&p);
    fixture_reopen(f);
    struct store_part part = {.number = 1, .etag = written.etag};
    struct store_complete c = {.upload_id = id, .parts = &part, .part_count = 1};
    enum store_complete_problem problem;
    TRY(store_upload_complete(f->store, &c, &(struct store_commit){.key = "u"}, &problem, &written));
    uint64_t n;
    return read_all(f->store, "u", &n);
}

static void test_parts(void **state) {
    struct fixture *f = *state;
    ASSERT_ERR(INVALID, corrupt_part(f, false)); /* such a part is none */
    ASSERT_ERR(CORRUPT, corrupt_part(f, true));
}

static void test_segments_exchanged(void **state) {
    struct fixture *f = *state;
    char id[STORE_UPLOAD_ID_BYTES];
    ASSERT_OK(store_upload_begin(f->store, &(struct store_commit){.key = "u"}, id));
    struct store_part parts[3];
    for (unsigned i = 0; i < ARRAY_LEN(parts); i++) {
        AUTO(store_writer_free_auto) struct store_writer *w = NULL;
        uint8_t content[100];
        fill(content, sizeof content, 1, i * sizeof content);
        ASSERT_OK(store_part_new(f->store, id, "u", i + 1, &w));
        ASSERT_OK(store_writer_append(w, slice_make(content, sizeof content)));
        struct store_written written;
        ASSERT_OK(store_part_commit(w, NULL, 0, &written));
        parts[i] = (struct store_part){.number = i + 1, .etag = written.etag};
    }
    struct store_complete c = {.upload_id = id, .parts = parts, .part_count = ARRAY_LEN(parts)};
    enum store_complete_problem problem;
    ASSERT_OK(
        store_upload_complete(f->store, &c, &(struct store_commit){.key = "u"}, &problem, &(struct store_written){0}));
    AUTO_FREE char *dir = str_format("%s/bodies", f->dir);
    struct paths p;
    paths_find(dir, &p);
    assert_int_equal(p.count, 3);
    for (size_t i = 0; i < 3; i++) {
        exchange(p.items[i], p.items[(i + 1) % 3]);
        assert_refused(f, "u");
        exchange(p.items[i], p.items[(i + 1) % 3]);
        AUTO(buf_done) struct buf sealed;
        load(p.items[i], &sealed);
        for (size_t at = 0; at < sealed.len; at++) {
            flip(p.items[i], at);
            assert_refused(f, "u");
            flip(p.items[i], at);
        }
    }
    assert_content(f->store, "u", 300, 1);
    paths_done(&p);
}

static void test_every_byte_of_an_upload(void **state) {
    struct fixture *f = *state;
    const struct store_field field = {"content-type", "text/plain"};
    char id[STORE_UPLOAD_ID_BYTES];
    ASSERT_OK(store_upload_begin(f->store, &(struct store_commit){.key = "u", .fields = &field, .field_count = 1}, id));
    AUTO(store_writer_free_auto) struct store_writer *w = NULL;
    ASSERT_OK(store_part_new(f->store, id, "u", 1, &w));
    ASSERT_OK(store_writer_append(w, slice_str("content")));
    struct store_written written;
    ASSERT_OK(store_part_commit(w, NULL, 0, &written));
    w = store_writer_free(w);
    struct store_part part = {.number = 1, .etag = written.etag};
    struct store_complete c = {.upload_id = id, .parts = &part, .part_count = 1};
    enum store_complete_problem problem;
    AUTO_FREE char *path = str_format("%s/uploads/%s/upload", f->dir, id);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    for (size_t at = 0; at < (size_t)st.st_size; at++) {
        flip(path, at);
        ASSERT_ERR(CORRUPT, store_upload_complete(f->store, &c, &(struct store_commit){.key = "u"}, &problem,
                                                  &(struct store_written){0}));
        flip(path, at);
    }
    flip(path, 150); /* met when the store is opened: no upload then, and nothing is removed */
    fixture_reopen(f);
    ASSERT_ERR(NOT_FOUND, store_upload_complete(f->store, &c, &(struct store_commit){.key = "u"}, &problem,
                                                &(struct store_written){0}));
    flip(path, 150);
    fixture_reopen(f);
    ASSERT_OK(
        store_upload_complete(f->store, &c, &(struct store_commit){.key = "u"}, &problem, &(struct store_written){0}));
    uint64_t n;
    ASSERT_OK(read_all(f->store, "u", &n));
}

/* No file and no file name holds anything that was put in. */
static void test_nothing_in_clear(void **state) {
    struct fixture *f = *state;
    static const char secret[] = "PLAINTEXT-CANARY-0123456789";
    const struct store_field field = {"x-amz-meta-PLAINTEXT-CANARY", secret};
    for (int i = 0; i < 2; i++) {
        AUTO(store_writer_free_auto) struct store_writer *w = NULL;
        ASSERT_OK(store_writer_new(f->store, &w));
        for (int k = 0; k < (i ? 9000 : 1); k++)
            ASSERT_OK(store_writer_append(w, slice_str(secret)));
        AUTO_FREE char *key = str_format("PLAINTEXT-CANARY/CANARY%d", i);
        ASSERT_OK(store_writer_commit(w, &(struct store_commit){.key = key, .fields = &field, .field_count = 1},
                                      &(struct store_written){0}));
    }
    char id[STORE_UPLOAD_ID_BYTES];
    ASSERT_OK(
        store_upload_begin(f->store, &(struct store_commit){.key = "CANARY", .fields = &field, .field_count = 1}, id));
    AUTO(store_writer_free_auto) struct store_writer *open_one = NULL;
    ASSERT_OK(store_part_new(f->store, id, "CANARY", 1, &open_one));
    for (int k = 0; k < 9000; k++)
        ASSERT_OK(store_writer_append(open_one, slice_str(secret)));
    struct paths p;
    paths_find(f->dir, &p);
    assert_true(p.count >= 5);
    for (size_t i = 0; i < p.count; i++) {
        AUTO(buf_done) struct buf content;
        load(p.items[i], &content);
        assert_null(strstr(p.items[i], "CANARY"));
        if (content.len) assert_null(memmem(content.data, content.len, "CANARY", 6));
    }
    paths_done(&p);
}

int main(void) {
    if (is_err(secret_start(1 << 20, true))) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_byte_of_a_record, setup, teardown),
        cmocka_unit_test_setup_teardown(test_truncated_and_longer_record, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bodies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exchanged_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_versions_mixed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_character_of_a_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_character_of_a_folder, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_character_of_a_piece, setup, teardown),
        cmocka_unit_test_setup_teardown(test_folders_exchanged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_segments_exchanged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_byte_of_an_upload, setup, teardown),
        cmocka_unit_test_setup_teardown(test_summaries_exchanged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_moved_in_the_tree, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing_in_clear, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
