/* Records out of a text, however it is cut: the same records, the same numbers, and the same again from any place. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "sources/records.h"

enum { MAX_LINES = 1000 };

struct seen {
    struct buf text; /* "number:document" or "number!flaw", a line each; line ends inside are '~' */
    size_t count;
    struct records_place places[MAX_LINES];
};

static void see(struct seen *s, struct records *r, const struct record *record) {
    size_t begin = s->text.len;
    buf_printf(&s->text, "%llu%s", (unsigned long long)record->number, record->flaw ? "!" : ":");
    if (record->flaw)
        buf_append_str(&s->text, record->flaw);
    else
        buf_append_slice(&s->text, record->document);
    for (size_t i = begin; i < s->text.len; i++)
        if (s->text.data[i] == '\n') s->text.data[i] = '~';
    buf_append_byte(&s->text, '\n');
    if (s->count < MAX_LINES) s->places[s->count] = records_place(r);
    s->count++;
}

static void read_from(const struct csv_format *csv, struct slice text, const struct records_place *place, size_t piece,
                      struct seen *s) {
    struct records *r = records_new(csv, place);
    if (csv && place->offset > 0 && csv->has_header)
        for (size_t at = 0; !records_feed_header(r, slice_make(text.data + at, 1), at + 1 == text.len); at++)
            assert_true(at < text.len);
    struct record record;
    for (size_t at = place->offset; at < text.len;) {
        size_t n = text.len - at < piece ? text.len - at : piece;
        records_feed(r, slice_make(text.data + at, n));
        at += n;
        while (records_next(r, &record))
            see(s, r, &record);
    }
    records_end(r);
    while (records_next(r, &record))
        see(s, r, &record);
    assert_false(records_next(r, &record));
    records_free(r);
}

static void seen_init(struct seen *s) {
    *s = (struct seen){0};
    buf_init(&s->text, 1 << 20);
}

/* Whole, byte by byte, in other pieces, and begun anew behind each record. */
static void check_csv(const struct csv_format *csv, const char *text, const char *wanted) {
    struct records_place start = {.mode = csv ? RECORDS_CSV : RECORDS_UNKNOWN};
    static const size_t pieces[] = {1, 2, 3, 7, 1000000};
    struct slice s = slice_str(text);
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        struct seen seen;
        seen_init(&seen);
        read_from(csv, s, &start, pieces[i], &seen);
        assert_string_equal(buf_str(&seen.text), wanted);
        for (size_t k = 0; k < seen.count; k++) {
            struct seen rest;
            seen_init(&rest);
            read_from(csv, s, &seen.places[k], pieces[i], &rest);
            const char *expected = wanted;
            for (size_t skip = 0; skip <= k; skip++)
                expected = strchr(expected, '\n') + 1;
            assert_string_equal(buf_str(&rest.text), expected);
            buf_done(&rest.text);
        }
        buf_done(&seen.text);
    }
}

static void check(const char *text, const char *wanted) {
    check_csv(NULL, text, wanted);
}

static void test_lines(void **state) {
    check("{\"a\":1}\n{\"b\":2}\n", "1:{\"a\":1}\n2:{\"b\":2}\n");
    check("{\"a\":1}\r\n\r\n  {\"b\":2}  \r\n{\"c\":3}", "1:{\"a\":1}\n3:{\"b\":2}\n4:{\"c\":3}\n");
    check("\n\n{\"a\":1}", "3:{\"a\":1}\n");
    check("\xef\xbb\xbf{\"a\":1}\n", "1:{\"a\":1}\n");
    check("not json\n{\"a\":\"}\"}\n[1\n", "1:not json\n2:{\"a\":\"}\"}\n3:[1\n");
    check("", "");
    check(" \n ", "");
}

static void test_arrays(void **state) {
    check("[]", "");
    check(" [ {\"a\":1} , {\"b\":[{}, \"]\"]}\n]\n", "1:{\"a\":1}\n2:{\"b\":[{}, \"]\"]}\n");
    check("[1, \"two\", null, [3], {\"s\":\"\\\"}\"}]", "1:1\n2:\"two\"\n3:null\n4:[3]\n5:{\"s\":\"\\\"}\"}\n");
}

static void test_broken_arrays(void **state) {
    struct records_place start = {0};
    static const char *const texts[] = {"[{\"a\":1}", "[{\"a\":1}] x", "[{\"a\":1},{\"b", "[{\"a\":1},{\"b\":\"\\"};
    static const char *const flaws[] = {"the array has no end", "behind the end of the array",
                                        "in the middle of a value", "in the middle of a value"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        for (size_t piece = 1; piece < 20; piece++) {
            struct seen s;
            seen_init(&s);
            read_from(NULL, slice_str(texts[i]), &start, piece, &s);
            assert_int_equal(s.count, 2);
            assert_true(strncmp(buf_str(&s.text), "1:{\"a\":1}\n2!", 12) == 0);
            assert_non_null(strstr(buf_str(&s.text), flaws[i]));
            buf_done(&s.text);
        }
    }
}

static void test_tall_objects(void **state) {
    check("{\n \"a\": 1\n}\n{\n \"b\": {\"c\": 2}\n}", "1:{~ \"a\": 1~}\n2:{~ \"b\": {\"c\": 2}~}\n");
}

static void test_csv_values(void **state) {
    struct csv_format f;
    ASSERT_OK(csv_format_read(NULL, &f));
    check_csv(&f, "a,b,c\n1,x,true\n-2.5e3,\"1\",FALSE\n,\"\",\n",
              "1:{\"a\":1,\"b\":\"x\",\"c\":true}\n2:{\"a\":-2.5e3,\"b\":\"1\",\"c\":false}\n3:{\"b\":\"\"}\n");
    check_csv(&f, "a\n007\n1.\n99999999999999999999\n1e999\n+1\n",
              "1:{\"a\":\"007\"}\n2:{\"a\":\"1.\"}\n3:{\"a\":\"99999999999999999999\"}\n4:{\"a\":\"1e999\"}\n5:{\"a\":"
              "\"+1\"}\n");
    check_csv(&f, "a,a,\n1,2,3\n", "1:{\"a\":1,\"a_2\":2,\"c3\":3}\n");
    check_csv(&f, "\xef\xbb\xbfx\r\n\"say \"\"hi\"\"\r\nthere\"\r\n\r\nend",
              "1:{\"x\":\"say \\\"hi\\\"\\u000d\\nthere\"}\n2:{\"x\":\"end\"}\n");
    check_csv(&f, "a,b\n1\n1,2,3\n4,5\n",
              "1!the row has 1 values, there are 2 columns\n2!the row has 3 values, there are 2 "
              "columns\n3:{\"a\":4,\"b\":5}\n");
    check_csv(&f, "a\n\xff\nok\n", "1!the row holds bytes that are not UTF-8\n2:{\"a\":\"ok\"}\n");
    check_csv(&f, "only,a,header\n", "");
}

static void test_csv_formats(void **state) {
    JSON_AUTO(params);
    struct csv_format f;
    ASSERT_OK(
        json_parse(slice_str("{\"separator\":\";\",\"quoteChar\":\"'\",\"escapeChar\":\"\\\\\",\"columnNames\":[\"i\","
                             "\"f\",\"b\",\"s\"],\"columnTypes\":[\"INTEGER\",\"FLOAT\",\"BOOLEAN\",\"STRING\"]}"),
                   &params));
    ASSERT_OK(csv_format_read(params, &f));
    assert_false(f.has_header);
    check_csv(&f, "1;2;true;3\n'4';5.5;false;'it\\'s; a'\nx;1;true;y\n1;1;maybe;y\n",
              "1:{\"i\":1,\"f\":2,\"b\":true,\"s\":\"3\"}\n2:{\"i\":4,\"f\":5.5,\"b\":false,\"s\":\"it's; a\"}\n"
              "3!the value of column 1 (\"i\") is not an integer\n4!the value of column 3 (\"b\") is not a boolean\n");
    static const char *const bad[] = {"{\"separator\":\"\"}",     "{\"separator\":\"ab\"}",
                                      "{\"separator\":\"\\\"\"}", "{\"firstLineAsColumnNames\":false}",
                                      "{\"columnNames\":[1]}",    "{\"encoding\":\"UTF-16\"}",
                                      "{\"colour\":1}",           "[]"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        JSON_AUTO(j);
        ASSERT_OK(json_parse(slice_str(bad[i]), &j));
        ASSERT_ERR(INVALID, csv_format_read(j, &f));
    }
}

/* A record over the limit is left out, and reading goes on behind it. */
static void test_too_long(void **state) {
    size_t n = RECORDS_MAX_BYTES + 1000;
    char *text = mem_alloc(n + 100);
    for (size_t i = 0; i < n; i++)
        text[i] = 'x';
    snprintf(text + n, 100, "\n{\"a\":1}\n");
    struct csv_format f;
    ASSERT_OK(csv_format_read(NULL, &f));
    f.has_header = false;
    JSON_AUTO(names);
    names = json_pack("[s]", "c");
    f.names = names;
    for (int csv = 0; csv < 2; csv++) {
        struct seen s;
        seen_init(&s);
        struct records_place start = {.mode = csv ? RECORDS_CSV : RECORDS_LINES};
        read_from(csv ? &f : NULL, slice_str(text), &start, 1 << 20, &s);
        assert_int_equal(s.count, 2);
        assert_non_null(strstr(buf_str(&s.text), "longer than 10 MiB"));
        assert_non_null(strstr(buf_str(&s.text), csv ? "2:{\"c\":\"{\\\"a\\\":1}\"}" : "2:{\"a\":1}"));
        buf_done(&s.text);
    }
    mem_free(text);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_lines),        cmocka_unit_test(test_arrays),     cmocka_unit_test(test_broken_arrays),
    cmocka_unit_test(test_tall_objects), cmocka_unit_test(test_csv_values), cmocka_unit_test(test_csv_formats),
    cmocka_unit_test(test_too_long),
};
TEST_MAIN(tests)
