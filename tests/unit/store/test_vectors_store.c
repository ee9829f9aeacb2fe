/* A whole store that a second implementation wrote: everything in it is read, and gone on with. */
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"
#include "vectors.h"

static char dir[] = "/tmp/lockset-test-vectors-XXXXXX";
static struct lease *lease;
static struct store *store;

static void write_one(const char *path, struct slice content) {
    AUTO_FREE char *whole = str_format("%s/%s", dir, path);
    AUTO_FREE char *copy = str_dup(whole);
    ASSERT_OK(file_make_dirs(dirname(copy)));
    int fd = open(whole, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    ASSERT_OK(file_write_all(fd, content, whole));
    close(fd);
}

static int setup(void **state) {
    const json_t *j = vectors_get("store");
    assert_non_null(mkdtemp(dir));
    json_t *files = json_object_get(j, "files"), *large = json_object_get(j, "large_files");
    const char *path;
    json_t *value;
    json_object_foreach(files, path, value) {
        AUTO(buf_done) struct buf content = {0};
        get_hex(files, path, &content);
        write_one(path, buf_slice(&content));
    }
    json_object_foreach(large, path, value) {
        AUTO(buf_done) struct buf content = {0};
        vectors_file(json_string_value(value), &content);
        write_one(path, buf_slice(&content));
    }
    const json_t *keys = vectors_get("keys");
    lease = vectors_lease(get_str(keys, "arn"), get_str(keys, "active"));
    ASSERT_OK(
        store_open(&(struct store_options){.dir = dir, .bucket = get_str(keys, "bucket"), .lease = lease}, &store));
    return 0;
}

static int teardown(void **state) {
    store_close(store);
    lease_free(lease);
    ASSERT_OK(file_remove_tree(dir));
    return 0;
}

static void assert_bytes(struct store_reader *r, const uint8_t *wanted, size_t n) {
    AUTO_FREE uint8_t *got = mem_alloc(n + 1);
    size_t len;
    ASSERT_OK(store_reader_read(r, 0, got, n + 1, &len));
    assert_int_equal(len, n);
    if (n) assert_memory_equal(got, wanted, n);
}

static void assert_fields(const struct store_info *info, const json_t *fields) {
    assert_int_equal(info->field_count, json_array_size(fields));
    for (size_t i = 0; i < info->field_count; i++) {
        const json_t *field = json_array_get(fields, i);
        assert_string_equal(info->fields[i].name, json_string_value(json_array_get(field, 0)));
        assert_string_equal(info->fields[i].value, json_string_value(json_array_get(field, 1)));
    }
}

/* The parts [number, segments] against the sizes of the segments. */
static void assert_parts(const struct store_reader *r, const json_t *parts, const json_t *pieces) {
    size_t segment = 0;
    uint64_t start = 0;
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i);
        uint64_t size = 0, offset, got_size;
        for (int64_t k = json_integer_value(json_array_get(part, 1)); k > 0; k--)
            size += (uint64_t)json_integer_value(json_array_get(pieces, segment++));
        unsigned count;
        ASSERT_OK(
            store_reader_part(r, (unsigned)json_integer_value(json_array_get(part, 0)), &offset, &got_size, &count));
        assert_int_equal(offset, start);
        assert_int_equal(got_size, size);
        assert_int_equal(count, json_array_size(parts));
        start += size;
    }
}

static void test_objects(void **state) {
    const json_t *objects = get_any(vectors_get("store"), "objects");
    size_t i;
    json_t *j;
    json_array_foreach(objects, i, j) {
        AUTO(store_reader_free_auto) struct store_reader *r = NULL;
        ASSERT_OK(store_reader_new(store, get_str(j, "key"), &r));
        const struct store_info *info = store_reader_info(r);
        const json_t *summary = get_any(j, "summary");
        assert_int_equal(info->size, get_int(summary, "size"));
        assert_int_equal(info->mtime_ms, get_int(summary, "time"));
        assert_int_equal(info->etag.parts, get_int(summary, "etag_parts"));
        uint8_t etag[16];
        get_bytes(summary, "etag", etag, sizeof etag);
        assert_memory_equal(info->etag.bytes, etag, sizeof etag);
        assert_fields(info, get_any(j, "fields"));
        assert_parts(r, get_any(j, "parts"), get_any(j, "pieces"));
        AUTO_FREE uint8_t *content = vectors_content((size_t)info->size, get_int(j, "seed"));
        assert_bytes(r, content, (size_t)info->size);
    }
    assert_true(i > 30);
    struct store_list list;
    ASSERT_OK(store_list_page(store, &(struct store_list_query){.max = 1000}, &list));
    assert_int_equal(list.count, i);
    store_list_done(&list);
}

static void test_what_was_replaced_is_gone(void **state) {
    const json_t *stale = get_any(vectors_get("store"), "stale");
    assert_int_equal(json_array_size(stale), 1);
    AUTO_FREE char *path = str_format("%s/%s", dir, json_string_value(json_array_get(stale, 0)));
    assert_int_not_equal(access(path, F_OK), 0);
}

static void test_upload(void **state) {
    const json_t *u = json_array_get(get_any(vectors_get("store"), "uploads"), 0), *parts = get_any(u, "parts");
    struct store_part_list list;
    ASSERT_OK(store_upload_parts(store, get_str(u, "id"), get_str(u, "key"), 0, 100, &list));
    assert_int_equal(list.count, 3);
    AUTO_FREE uint8_t *wanted = mem_alloc(1000);
    size_t n = 0;
    for (size_t i = 0; i < list.count; i++) {
        const json_t *part = NULL; /* the vectors have them in another order */
        for (size_t k = 0; k < list.count; k++)
            if (get_int(json_array_get(parts, k), "number") == list.parts[i].number) part = json_array_get(parts, k);
        assert_non_null(part);
        uint8_t etag[16];
        get_bytes(part, "etag", etag, sizeof etag);
        assert_memory_equal(list.parts[i].etag.bytes, etag, sizeof etag);
        size_t size = (size_t)get_int(part, "size");
        assert_int_equal(list.parts[i].size, size);
        AUTO_FREE uint8_t *content = vectors_content(size, get_int(part, "seed"));
        if (size) mem_copy(wanted + n, content, size);
        n += size;
    }
    struct store_complete c = {.upload_id = get_str(u, "id"), .parts = list.parts, .part_count = list.count};
    enum store_complete_problem problem;
    ASSERT_OK(store_upload_complete(store, &c, &(struct store_commit){.key = get_str(u, "key")}, &problem,
                                    &(struct store_written){0}));
    store_part_list_done(&list);
    AUTO(store_reader_free_auto) struct store_reader *r = NULL;
    ASSERT_OK(store_reader_new(store, get_str(u, "key"), &r));
    assert_fields(store_reader_info(r), get_any(u, "fields"));
    assert_bytes(r, wanted, n);
}

int main(int argc, char **argv) {
    if (is_err(secret_start(1 << 20, true))) return 1;
    vectors_load(argc > 1 ? argv[1] : "tests/vectors/sealed");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_objects),
        cmocka_unit_test(test_what_was_replaced_is_gone),
        cmocka_unit_test(test_upload),
    };
    int failed = cmocka_run_group_tests(tests, setup, teardown);
    vectors_done();
    return failed;
}
