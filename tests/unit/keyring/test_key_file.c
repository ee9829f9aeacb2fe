#include "testing.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "keyring/key_file.h"

#define ID "0123456789abcdef0123456789abcdef"
#define ARN "arn:aws:kms:us-west-2:111122223333:key/mrk-0123456789abcdef0123456789abcdef"

static char folder[64];
static struct shelf *shelf;

static int make_folder(void **state) {
    snprintf(folder, sizeof folder, "/tmp/lockset-key-file-XXXXXX");
    return mkdtemp(folder) && is_ok(shelf_open_folder(folder, &shelf)) ? 0 : -1;
}

static int remove_folder(void **state) {
    shelf = shelf_free(shelf);
    return is_ok(file_remove_tree(folder)) ? 0 : -1;
}

static struct registry_wrapped_key key_of(const char *id, enum registry_key_kind kind, int64_t created_at_ms,
                                          const char *wrapped) {
    struct registry_wrapped_key k = {.id = str_dup(id),
                                     .org = str_dup("oacme"),
                                     .region = str_dup("us-west-2"),
                                     .kind = kind,
                                     .kms_key_arn = str_dup(ARN),
                                     .material_id = str_dup("fe12"),
                                     .created_at_ms = created_at_ms,
                                     .active = kind == REGISTRY_BRANCH_KEY};
    buf_init(&k.wrapped, 6144);
    buf_append_str(&k.wrapped, wrapped);
    return k;
}

static void assert_same(const struct registry_wrapped_key *a, const struct registry_wrapped_key *b) {
    assert_string_equal(a->id, b->id);
    assert_string_equal(a->org, b->org);
    assert_string_equal(a->region, b->region);
    assert_int_equal(a->kind, b->kind);
    assert_string_equal(a->kms_key_arn, b->kms_key_arn);
    assert_string_equal(a->material_id, b->material_id);
    assert_int_equal(a->created_at_ms, b->created_at_ms);
    assert_true(slice_equal(buf_slice(&a->wrapped), buf_slice(&b->wrapped)));
}

static void what_is_written_is_read(void **state) {
    static const enum registry_key_kind kinds[] = {REGISTRY_BRANCH_KEY, REGISTRY_NAME_KEY};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        AUTO_FREE char *id = str_format("%c%s", 'a' + (int)i, ID + 1);
        AUTO(registry_wrapped_key_done) struct registry_wrapped_key k = key_of(id, kinds[i], 1795492364123, "wrapped");
        AUTO(registry_wrapped_key_done) struct registry_wrapped_key back = {0};
        ASSERT_ERR(NOT_FOUND, key_file_read(shelf, "oacme", "us-west-2", id, &back));
        ASSERT_OK(key_file_write(shelf, &k));
        ASSERT_OK(key_file_read(shelf, "oacme", "us-west-2", id, &back));
        assert_same(&k, &back);
        assert_false(back.active);
        AUTO_FREE char *path = str_format("%s/oacme/keys/%s.json", folder, id);
        struct stat s;
        assert_int_equal(stat(path, &s), 0);
        assert_int_equal(s.st_mode & 0777, 0600);
    }
}

static void the_same_again_is_no_change_and_another_is_refused(void **state) {
    AUTO(registry_wrapped_key_done) struct registry_wrapped_key k = key_of(ID, REGISTRY_BRANCH_KEY, 1, "wrapped");
    AUTO(registry_wrapped_key_done) struct registry_wrapped_key other = key_of(ID, REGISTRY_BRANCH_KEY, 1, "another");
    ASSERT_OK(key_file_write(shelf, &k));
    AUTO_FREE char *path = str_format("%s/oacme/keys/%s.json", folder, ID);
    struct stat before, after;
    assert_int_equal(stat(path, &before), 0);
    ASSERT_OK(key_file_write(shelf, &k));
    ASSERT_ERR(EXISTS, key_file_write(shelf, &other));
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    ASSERT_OK(file_write_atomic(path, slice_str("not one of ours"), 0600));
    ASSERT_ERR(EXISTS, key_file_write(shelf, &k));
}

static void a_folder_that_cannot_be_made_is_told_as_such(void **state) {
    AUTO_FREE char *file = str_format("%s/file", folder);
    AUTO(shelf_free_auto) struct shelf *there = NULL;
    ASSERT_OK(shelf_open_folder(file, &there));
    assert_int_equal(rmdir(file), 0);
    ASSERT_OK(file_write_atomic(file, slice_str("x"), 0600));
    AUTO(registry_wrapped_key_done) struct registry_wrapped_key k = key_of(ID, REGISTRY_BRANCH_KEY, 1, "wrapped");
    ASSERT_ERR(IO, key_file_write(there, &k));
}

static void only_ids_are_names_of_files(void **state) {
    AUTO(registry_wrapped_key_done) struct registry_wrapped_key k = {0};
    static const char *const bad[] = {
        "", "..", "../../x", "0123456789ABCDEF0123456789abcdef", ID "0", "0123456789abcdef0123456789abcde/"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ASSERT_ERR(INVALID, key_file_read(shelf, "oacme", "us-west-2", bad[i], &k));
}

static void a_list_is_by_age_and_counts_what_it_leaves_out(void **state) {
    AUTO(registry_wrapped_keys_done) struct registry_wrapped_keys list = {0};
    size_t refused = 9;
    ASSERT_OK(key_file_list(shelf, "oacme", "us-west-2", &list, &refused));
    assert_int_equal(list.count, 0);
    assert_int_equal(refused, 0);
    for (int i = 0; i < 20; i++) {
        AUTO_FREE char *id = str_format("%02x%s", i, ID + 2);
        AUTO(registry_wrapped_key_done)
        struct registry_wrapped_key k = key_of(id, REGISTRY_BRANCH_KEY, 1000 - 10 * (i / 2), "wrapped");
        ASSERT_OK(key_file_write(shelf, &k));
    }
    static const char *const strangers[] = {"ff23456789abcdef0123456789abcdef.json", "README", "x.json", "~.json"};
    for (size_t i = 0; i < ARRAY_LEN(strangers); i++) {
        AUTO_FREE char *path = str_format("%s/oacme/keys/%s", folder, strangers[i]);
        ASSERT_OK(file_write_atomic(path, slice_str("{}"), 0600));
    }
    ASSERT_OK(key_file_list(shelf, "oacme", "us-west-2", &list, &refused));
    assert_int_equal(list.count, 20);
    assert_int_equal(refused, 1); /* the one that has a key's name and isn't one */
    for (size_t i = 1; i < list.count; i++) {
        const struct registry_wrapped_key *a = &list.items[i - 1], *b = &list.items[i];
        assert_true(a->created_at_ms < b->created_at_ms ||
                    (a->created_at_ms == b->created_at_ms && strcmp(a->id, b->id) < 0));
    }
}

static void print(struct buf *out) {
    AUTO(registry_wrapped_key_done) struct registry_wrapped_key k = key_of(ID, REGISTRY_BRANCH_KEY, 7, "wrapped");
    key_file_print(&k, out);
    ASSERT_OK(buf_check(out));
}

static void parse_fails(struct slice text) {
    AUTO(registry_wrapped_key_done) struct registry_wrapped_key k = {0};
    ASSERT_ERR(CORRUPT, key_file_parse(text, "oacme", "us-west-2", ID, &k));
    assert_null(k.id);
}

static void files_of_others_are_damaged(void **state) {
    BUF_AUTO(text, 65536);
    print(&text);
    AUTO(registry_wrapped_key_done) struct registry_wrapped_key k = {0};
    ASSERT_OK(key_file_parse(buf_slice(&text), "oacme", "us-west-2", ID, &k));
    ASSERT_ERR(CORRUPT, key_file_parse(buf_slice(&text), "oother", "us-west-2", ID, &k));
    ASSERT_ERR(CORRUPT, key_file_parse(buf_slice(&text), "oacme", "us-east-1", ID, &k));
    ASSERT_ERR(CORRUPT, key_file_parse(buf_slice(&text), "oacme", "us-west-2", "ff" ID, &k));
}

/* Each member missing, and each of another type or value. */
static void every_member_counts(void **state) {
    static const char *const needed[] = {
        "version", "kind", "org", "region", "kms_key_arn", "encryption_context", "wrapped", "created_at_ms"};
    BUF_AUTO(text, 65536);
    print(&text);
    for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
        for (int change = 0; change < 4; change++) {
            JSON_AUTO(j);
            ASSERT_OK(json_parse_object(buf_slice(&text), &j));
            if (change == 0) json_object_del(j, needed[i]);
            if (change == 1) json_object_set_new(j, needed[i], json_null());
            if (change == 2) json_object_set_new(j, needed[i], json_array());
            if (change == 3) json_object_set_new(j, needed[i], json_integer(-1));
            BUF_AUTO(changed, 65536);
            ASSERT_OK(json_write(j, &changed));
            parse_fails(buf_slice(&changed));
        }
    }
}

static void a_context_of_more_or_less_is_refused(void **state) {
    BUF_AUTO(text, 65536);
    print(&text);
    for (int change = 0; change < 4; change++) {
        JSON_AUTO(j);
        ASSERT_OK(json_parse_object(buf_slice(&text), &j));
        json_t *context = json_object_get(j, "encryption_context");
        if (change == 0) json_object_set_new(context, "more", json_string("x"));
        if (change == 1) json_object_del(context, "lockset:org");
        if (change == 2) json_object_set_new(context, "lockset:region", json_string("us-east-1"));
        if (change == 3) json_object_set_new(j, "kind", json_string("name")); /* whose context has another member */
        BUF_AUTO(changed, 65536);
        ASSERT_OK(json_write(j, &changed));
        parse_fails(buf_slice(&changed));
    }
}

static void no_flipped_byte_changes_what_is_unwrapped_unseen(void **state) {
    BUF_AUTO(text, 65536);
    print(&text);
    for (size_t i = 0; i < text.len; i++) {
        text.data[i] ^= 0x01;
        AUTO(registry_wrapped_key_done) struct registry_wrapped_key k = {0};
        struct result r = key_file_parse(buf_slice(&text), "oacme", "us-west-2", ID, &k);
        /* What is read all the same is this key's, of this organization; KMS judges the wrapped bytes. */
        if (is_ok(r)) {
            assert_string_equal(k.id, ID);
            assert_string_equal(k.org, "oacme");
            assert_int_equal(k.kind, REGISTRY_BRANCH_KEY);
        } else {
            assert_int_equal(r.code, ERR_CORRUPT);
        }
        text.data[i] ^= 0x01;
    }
    for (size_t n = 0; n + 1 < text.len; n++)
        parse_fails(slice_make(text.data, n));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(what_is_written_is_read, make_folder, remove_folder),
    cmocka_unit_test_setup_teardown(the_same_again_is_no_change_and_another_is_refused, make_folder, remove_folder),
    cmocka_unit_test_setup_teardown(a_folder_that_cannot_be_made_is_told_as_such, make_folder, remove_folder),
    cmocka_unit_test_setup_teardown(only_ids_are_names_of_files, make_folder, remove_folder),
    cmocka_unit_test_setup_teardown(a_list_is_by_age_and_counts_what_it_leaves_out, make_folder, remove_folder),
    cmocka_unit_test(files_of_others_are_damaged),
    cmocka_unit_test(every_member_counts),
    cmocka_unit_test(a_context_of_more_or_less_is_refused),
    cmocka_unit_test(no_flipped_byte_changes_what_is_unwrapped_unseen),
};

TEST_MAIN(tests)
