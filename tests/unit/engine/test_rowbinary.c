#include "testing.h"

#include <string.h>

#include "engine/client.h"
#include "engine/rowbinary.h"

static struct rowbinary_column column(const char *type) {
    struct rowbinary_column c;
    if (!rowbinary_column_of(slice_str(type), &c)) fail_msg("%s is not known", type);
    return c;
}

static void test_types(void **state) {
    assert_int_equal(column("String").fixed_bytes, 0);
    assert_int_equal(column("UInt64").fixed_bytes, 8);
    assert_int_equal(column("DateTime").fixed_bytes, 4);
    assert_int_equal(column("DateTime('UTC')").fixed_bytes, 4);
    assert_int_equal(column("DateTime64(6)").fixed_bytes, 8);
    assert_int_equal(column("DateTime64(3, 'UTC')").fixed_bytes, 8);
    assert_true(column("Nullable(String)").is_nullable);
    assert_true(column("LowCardinality(Nullable(String))").is_nullable);
    static const char *const unknown[] = {
        "JSON",    "Array(String)",          "Map(String, String)",       "UInt",        "UInt64(1)", "",
        "String ", "Nullable(Array(UInt8))", "Nullable(Nullable(UInt8))", "Tuple(UInt8)"};
    struct rowbinary_column c;
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
        assert_false(rowbinary_column_of(slice_str(unknown[i]), &c));
    }
}

static void append_row(struct buf *b, const char *id, size_t raw_len) {
    rowbinary_string(b, slice_str(id));
    rowbinary_u64(b, 7);
    rowbinary_u8(b, 0);
    rowbinary_i64(b, -1);
    AUTO_FREE char *raw = mem_alloc(raw_len + 1);
    memset(raw, 'x', raw_len);
    rowbinary_string(b, slice_make(raw, raw_len));
}

static void test_rows_are_counted_and_cuts_are_seen(void **state) {
    struct rowbinary_column columns[] = {column("String"), column("UInt64"), column("UInt8"), column("DateTime64(6)"),
                                         column("String")};
    BUF_AUTO(b, 1 << 20);
    append_row(&b, "a", 0);
    append_row(&b, "bb", 127);
    append_row(&b, "", 128);
    append_row(&b, "c", 20000);
    uint64_t rows = 0;
    ASSERT_OK(rowbinary_count(buf_slice(&b), columns, 5, &rows));
    assert_int_equal(rows, 4);
    ASSERT_OK(rowbinary_count(slice_make(b.data, 0), columns, 5, &rows));
    assert_int_equal(rows, 0);
    size_t first = 1 + 1 + 8 + 1 + 8 + 1;
    for (size_t n = 1; n < 300; n++) {
        struct result r = rowbinary_count(slice_make(b.data, n), columns, 5, &rows);
        bool at_an_end = n == first || n == first + 3 + 17 + 128 || n == first + 3 + 17 + 128 + 1 + 17 + 130;
        if (is_ok(r) != at_an_end) fail_msg("cut after %zu bytes", n);
    }
}

static void test_nulls(void **state) {
    struct rowbinary_column columns[] = {column("Nullable(UInt16)")};
    uint64_t rows = 0;
    ASSERT_OK(rowbinary_count(slice_make("\1\0ab\1", 5), columns, 1, &rows));
    assert_int_equal(rows, 3);
    ASSERT_ERR(INVALID, rowbinary_count(slice_make("\2", 1), columns, 1, &rows));
    ASSERT_ERR(INVALID, rowbinary_count(slice_make("\0a", 2), columns, 1, &rows));
}

static void test_lengths_beyond_everything(void **state) {
    struct rowbinary_column columns[] = {column("String")};
    uint64_t rows = 0;
    ASSERT_ERR(INVALID, rowbinary_count(slice_make("\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 9), columns, 1, &rows));
    ASSERT_ERR(INVALID,
               rowbinary_count(slice_make("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11), columns, 1, &rows));
    ASSERT_ERR(INVALID, rowbinary_count(slice_make("a", 1), columns, 0, &rows));
}

static void test_bytes_as_clickhouse_reads_them(void **state) {
    BUF_AUTO(b, 4096);
    rowbinary_u64(&b, 0x0102030405060708);
    rowbinary_i64(&b, -2);
    static const uint8_t expected[] = {8, 7, 6, 5, 4, 3, 2, 1, 0xfe, 255, 255, 255, 255, 255, 255, 255};
    assert_int_equal(b.len, sizeof(expected));
    assert_memory_equal(b.data, expected, sizeof(expected));
    buf_clear(&b);
    char text[300];
    memset(text, 'a', sizeof(text));
    rowbinary_string(&b, slice_make(text, 300));
    assert_int_equal(b.data[0], 0xac);
    assert_int_equal(b.data[1], 2);
    assert_int_equal(b.len, 302);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_types),
    cmocka_unit_test(test_rows_are_counted_and_cuts_are_seen),
    cmocka_unit_test(test_nulls),
    cmocka_unit_test(test_lengths_beyond_everything),
    cmocka_unit_test(test_bytes_as_clickhouse_reads_them),
};
TEST_MAIN(tests)
