#include "testing.h"

#include <string.h>

#include "engine/writer_sql.h"

#define ID "c0123456789abcdef0123"

static struct writer_disk disk(void) {
    return (struct writer_disk){.port = 4711, .access_key = slice_str("AK"), .secret_key = slice_str("SK")};
}

static void test_inserts_are_taken_apart(void **state) {
    AUTO(writer_sql_done) struct writer_sql w = {0};
    ASSERT_OK(writer_sql_parse(slice_str("INSERT INTO w.`c 1` (_id, `_v`) /* x */ FORMAT RowBinary "), &w));
    assert_int_equal(w.kind, WRITER_INSERT);
    assert_string_equal(w.table, "w.c 1");
    assert_string_equal(w.database_part, "w");
    assert_string_equal(w.table_part, "c 1");
    assert_string_equal(w.format, "RowBinary");
    assert_int_equal(w.column_count, 2);
    assert_string_equal(w.columns[1], "_v");
    assert_string_equal(w.insert, "INSERT INTO w.`c 1` (_id, `_v`) /* x */ ");
}

static void test_an_insert_without_a_format_is_another_statement(void **state) {
    AUTO(writer_sql_done) struct writer_sql w = {0};
    ASSERT_OK(writer_sql_parse(slice_str("INSERT INTO w.t (a) SELECT 1"), &w));
    assert_int_equal(w.kind, WRITER_OTHER);
}

static void test_inserts_of_a_wrong_shape(void **state) {
    static const char *const wrong[] = {"INSERT INTO",
                                        "INSERT INTO t (a FORMAT TSV",
                                        "INSERT INTO t (a,) FORMAT TSV",
                                        "INSERT INTO t FORMAT",
                                        "INSERT INTO t FORMAT TSV 1",
                                        "INSERT INTO t (1) FORMAT TSV",
                                        "",
                                        "'x",
                                        "INSERT INTO 't' FORMAT TSV"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct writer_sql w = {0};
        ASSERT_ERR(INVALID, writer_sql_parse(slice_str(wrong[i]), &w));
    }
}

static void test_changes_of_a_table(void **state) {
    static const struct {
        const char *sql, *table;
    } cases[] = {{"CREATE TABLE IF NOT EXISTS w.t (a Int8)", "w.t"},
                 {"attach table t UUID 'x'", "t"},
                 {"DETACH TABLE w . t SYNC", "w.t"},
                 {"DROP TABLE IF EXISTS `w`.t", "w.t"},
                 {"OPTIMIZE TABLE w.t FINAL", "w.t"},
                 {"TRUNCATE TABLE w.t", "w.t"},
                 {"CREATE VIEW v AS SELECT 1", NULL},
                 {"SELECT 1", NULL},
                 {"CREATE DATABASE w", NULL}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(writer_sql_done) struct writer_sql w = {0};
        ASSERT_OK(writer_sql_parse(slice_str(cases[i].sql), &w));
        assert_int_equal(w.kind, cases[i].table ? WRITER_TABLE : WRITER_OTHER);
        if (cases[i].table) assert_string_equal(w.table, cases[i].table);
    }
}

static void test_disks_are_filled_in(void **state) {
    struct writer_disk d = disk();
    BUF_AUTO(out, 65536);
    ASSERT_OK(writer_fill_disks(slice_str("A disk=@disk(" ID "), x=1, e=@DISK ( " ID " )"), &d, &out));
    const char *text = buf_str(&out);
    assert_ptr_equal(strstr(text, "A disk=disk(type=object_storage"), text);
    const char *first =
        strstr(text, "endpoint='http://127.0.0.1:4711/lockset/" ID "/', access_key_id='AK', secret_access_key='SK'");
    assert_non_null(first);
    assert_non_null(strstr(first + 1, "endpoint="));
    assert_non_null(strstr(text, "), x=1, e=disk("));
    assert_null(strchr(text, '@'));
}

static void test_disks_in_strings_and_comments_stay(void **state) {
    struct writer_disk d = disk();
    BUF_AUTO(out, 65536);
    const char *sql = "SELECT '@disk(" ID ")' /* @disk(" ID ") */ `@disk(" ID ")`";
    ASSERT_OK(writer_fill_disks(slice_str(sql), &d, &out));
    assert_string_equal(buf_str(&out), sql);
}

static void test_a_disk_of_anything_else_is_refused(void **state) {
    static const char *const wrong[] = {"@disk",           "@disk()",
                                        "@disk(c0)",       "@disk('" ID "')",
                                        "@disk(`" ID "`)", "@disk(c0123456789abcdef012G)",
                                        "@disk(" ID "0)",  "@disk(" ID,
                                        "@disk(" ID ".x)", "@disk(C0123456789abcdef0123)"};
    struct writer_disk d = disk();
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        BUF_AUTO(out, 65536);
        ASSERT_ERR(INVALID, writer_fill_disks(slice_str(wrong[i]), &d, &out));
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_inserts_are_taken_apart),
    cmocka_unit_test(test_an_insert_without_a_format_is_another_statement),
    cmocka_unit_test(test_inserts_of_a_wrong_shape),
    cmocka_unit_test(test_changes_of_a_table),
    cmocka_unit_test(test_disks_are_filled_in),
    cmocka_unit_test(test_disks_in_strings_and_comments_stay),
    cmocka_unit_test(test_a_disk_of_anything_else_is_refused),
};
TEST_MAIN(tests)
