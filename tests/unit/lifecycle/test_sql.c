#include "testing.h"

#include <string.h>

#include "lifecycle/query.h"
#include "lifecycle/sql_text.h"

static json_t *parameters(void) {
    json_t *j = NULL;
    ASSERT_OK(json_parse(slice_str("[{\"name\":\"n\",\"type\":\"int\",\"value\":\"20\"},{\"name\":\"s\",\"type\":"
                                   "\"string\",\"value\":\"it's\"},"
                                   "{\"name\":\"odd "
                                   "name\",\"type\":\"float\",\"value\":\"1.5\"},{\"name\":\"t\",\"type\":"
                                   "\"timestamp\",\"value\":\"2026-01-02T03:04:05+01:00\"},"
                                   "{\"name\":\"d\",\"type\":\"date\",\"value\":\"2026-01-02\"},{\"name\":\"b\","
                                   "\"type\":\"bool\",\"value\":\"TRUE\"},"
                                   "{\"name\":\"u\",\"value\":\"[1,2]\"},{\"name\":\"nil\",\"type\":\"null\",\"value\":"
                                   "\"\"},{\"name\":\"free\",\"value\":\"plain words\"}]"),
                         &j));
    return j;
}

/* `wanted` NULL: refused. */
static void check(const char *sql, int64_t limit, const char *wanted) {
    JSON_AUTO(p);
    p = parameters();
    AUTO(sql_text_done) struct sql_text text = {0};
    struct result r = sql_text_prepare(slice_str(sql), p, limit, &text);
    if (!wanted) {
        if (is_ok(r)) fail_msg("%s: should be refused, gave %s", sql, buf_str(&text.text));
        return;
    }
    if (is_err(r)) fail_msg("%s: %s", sql, err_detail());
    if (strcmp(buf_str(&text.text), wanted) != 0)
        fail_msg("%s\n  gave   %s\n  wanted %s", sql, buf_str(&text.text), wanted);
}

static void test_parameters(void **state) {
    check("SELECT :n", 0, "SELECT {p0:Int64}");
    check("SELECT :n, :n", 0, "SELECT {p0:Int64}, {p1:Int64}");
    check("SELECT :\"odd name\"", 0, "SELECT {p0:Float64}");
    check("SELECT :t, :d, :b, :nil", 0, "SELECT {p0:DateTime64(6, 'UTC')}, {p1:Date32}, true, NULL");
    check("SELECT :u", 0, "SELECT JSONExtract({p0:String}, 'Array(Nullable(Int64))')");
    check("SELECT :free", 0, "SELECT {p0:String}");
    check("SELECT ':n', \":n\", `:n`, $$:n$$ -- :n\n, 1 /* :n */", 0,
          "SELECT ':n', \":n\", `:n`, $$:n$$ -- :n\n, 1 /* :n */");
    check("SELECT 1 // it's :n\n, 2 /* /* ' */ :n */", 0, "SELECT 1 // it's :n\n, 2 /* /* ' */ :n */");
    check("SELECT 'it''s :n', 'a\\' :n'", 0, "SELECT 'it''s :n', 'a\\' :n'");
    check("SELECT x::Int64, x.:String, {n:Int64}, {'a': n}", 0, "SELECT x::Int64, x.:String, {n:Int64}, {'a': n}");
    check("SELECT a ? b :c", 0, "SELECT a ? b :c");
    check("SELECT :missing", 0, NULL);
    check("SELECT 'unterminated :n", 0, "SELECT 'unterminated :n");
}

static void test_limits(void **state) {
    check("SELECT 1", 5, "SELECT 1\nLIMIT 5");
    check("SELECT 1;", 5, "SELECT 1\nLIMIT 5");
    check("SELECT 1 -- x", 5, "SELECT 1 -- x\nLIMIT 5");
    check("SELECT 1 LIMIT 7", 5, "SELECT 1 LIMIT 7");
    check("select 1 limit :n", 5, "select 1 limit {p0:Int64}");
    check("SELECT 'LIMIT'", 5, "SELECT 'LIMIT'\nLIMIT 5");
    check("SELECT * FROM (SELECT 1 LIMIT 7)", 5, "SELECT * FROM (SELECT 1 LIMIT 7)\nLIMIT 5");
    check("SELECT 1 UNION ALL SELECT 2", 5, "SELECT * FROM (\nSELECT 1 UNION ALL SELECT 2\n) LIMIT 5");
    check("DESCRIBE c", 5, "DESCRIBE commons.c");
    check("(SELECT 1)", 5, "SELECT * FROM (\n(SELECT 1)\n) LIMIT 5");
    check("((SELECT 1 LIMIT 7))", 5, "((SELECT 1 LIMIT 7))");
    check("(SELECT 1) UNION ALL (SELECT 2)", 5, "SELECT * FROM (\n(SELECT 1) UNION ALL (SELECT 2)\n) LIMIT 5");
    check("(SELECT 1) UNION ALL (SELECT 2 LIMIT 7)", 5,
          "SELECT * FROM (\n(SELECT 1) UNION ALL (SELECT 2 LIMIT 7)\n) LIMIT 5");
    check("SELECT a AS limit FROM c", 5, "SELECT a AS limit FROM commons.c\nLIMIT 5");
    check("SELECT limit, fetch FROM c", 5, "SELECT limit, fetch FROM commons.c\nLIMIT 5");
    check("SELECT t.limit FROM c t WHERE limit > 1", 5, "SELECT t.limit FROM commons.c t WHERE limit > 1\nLIMIT 5");
    check("SELECT a FROM c ORDER BY a LIMIT 1 BY a", 5, "SELECT a FROM commons.c ORDER BY a LIMIT 1 BY a\nLIMIT 5");
    check("SELECT a FROM c LIMIT 1 BY a LIMIT 7", 5, "SELECT a FROM commons.c LIMIT 1 BY a LIMIT 7");
    check("SELECT a FROM c WHERE x = 1 LIMIT 7", 5, "SELECT a FROM commons.c WHERE x = 1 LIMIT 7");
    check("SELECT a FROM c ORDER BY a LIMIT 7", 5, "SELECT a FROM commons.c ORDER BY a LIMIT 7");
    check("SELECT count(*) FROM c LIMIT 7", 5, "SELECT count(*) FROM commons.c LIMIT 7");
    check("SELECT * EXCEPT (a) FROM c", 5, "SELECT * EXCEPT (a) FROM commons.c\nLIMIT 5");
}

static void test_statements(void **state) {
    check("", 0, NULL);
    check(" -- nothing", 0, NULL);
    check(";", 0, NULL);
    check("SELECT 1; SELECT 2", 0, NULL);
    check("SELECT 1; -- done", 0, "SELECT 1 -- done");
    check("SELECT 1 FROM lockset_data.c1", 0, NULL);
    check("SELECT 1 FROM \"LOCKSET_DATA\".x", 0, NULL);
}

static void test_names_of_tables(void **state) {
    check("SELECT a FROM c", 0, "SELECT a FROM commons.c");
    check("SELECT a FROM \"c\" AS x", 0, "SELECT a FROM commons.\"c\" AS x");
    check("SELECT a FROM ws.c JOIN d ON c.x = d.x", 0, "SELECT a FROM ws.c JOIN commons.d ON c.x = d.x");
    check("SELECT a FROM c, d x, ws.e", 0, "SELECT a FROM commons.c, commons.d x, ws.e");
    check("SELECT (SELECT 1 FROM c) FROM (SELECT 2 FROM d)", 0,
          "SELECT (SELECT 1 FROM commons.c) FROM (SELECT 2 FROM commons.d)");
    check("WITH x AS (SELECT 1 FROM c) SELECT * FROM x", 0, "WITH x AS (SELECT 1 FROM commons.c) SELECT * FROM x");
    check("SELECT * FROM numbers(5)", 0, "SELECT * FROM numbers(5)");
    check("SELECT EXTRACT(YEAR FROM t), trim(BOTH ' ' FROM s) FROM c", 0,
          "SELECT EXTRACT(YEAR FROM t), trim(BOTH ' ' FROM s) FROM commons.c");
    check("SELECT a IS DISTINCT FROM b FROM c", 0, "SELECT a IS DISTINCT FROM b FROM commons.c");
    check("SELECT a FROM c HINT(access_path=column_scan) WHERE x", 0, "SELECT a FROM commons.c   WHERE x");
    check("SELECT a FROM c WHERE x IN (1, 2) ORDER BY a, b", 0,
          "SELECT a FROM commons.c WHERE x IN (1, 2) ORDER BY a, b");
}

static void test_what_is_noted(void **state) {
    static const struct {
        const char *sql;
        bool star;
        size_t tables;
    } cases[] = {
        {"SELECT * FROM c", true, 1},
        {"SELECT c.* FROM c", true, 1},
        {"SELECT DISTINCT * FROM c", true, 1},
        {"SELECT a, * FROM c", true, 1},
        {"SELECT count(*) FROM c", false, 1},
        {"SELECT a * b FROM c, d", false, 2},
        {"SELECT 1", false, 0},
        {"(SELECT * FROM c)", true, 1},
        {"(SELECT (SELECT * FROM d) FROM c)", false, 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(sql_text_done) struct sql_text text = {0};
        ASSERT_OK(sql_text_prepare(slice_str(cases[i].sql), NULL, 0, &text));
        if (text.is_star != cases[i].star || text.table_count != cases[i].tables)
            fail_msg("%s: star %d, %zu tables", cases[i].sql, text.is_star, text.table_count);
    }
}

static void refuse_parameters(const char *text) {
    JSON_AUTO(p);
    AUTO(sql_text_done) struct sql_text prepared = {0};
    ASSERT_OK(json_parse(slice_str(text), &p));
    ASSERT_ERR(INVALID, sql_text_prepare(slice_str("SELECT :a"), p, 0, &prepared));
}

static void test_bad_parameters(void **state) {
    static const char *const cases[] = {
        "{}",
        "[1]",
        "[{\"name\":\"a\"}]",
        "[{\"value\":\"1\"}]",
        "[{\"name\":1,\"value\":\"1\"}]",
        "[{\"name\":\"a\",\"value\":\"1\",\"x\":1}]",
        "[{\"name\":\"a\",\"value\":\"1\"},{\"name\":\"a\",\"value\":\"2\"}]",
        "[{\"name\":\"a\",\"type\":\"int\",\"value\":\"1.5\"}]",
        "[{\"name\":\"a\",\"type\":\"int\",\"value\":\"9223372036854775808\"}]",
        "[{\"name\":\"a\",\"type\":\"int\",\"value\":\"\"}]",
        "[{\"name\":\"a\",\"type\":\"float\",\"value\":\"x\"}]",
        "[{\"name\":\"a\",\"type\":\"float\",\"value\":\"nan\"}]",
        "[{\"name\":\"a\",\"type\":\"bool\",\"value\":\"yes\"}]",
        "[{\"name\":\"a\",\"type\":\"date\",\"value\":\"2026-02-30\"}]",
        "[{\"name\":\"a\",\"type\":\"timestamp\",\"value\":\"now\"}]",
        "[{\"name\":\"a\",\"type\":\"geography\",\"value\":\"x\"}]",
        "[{\"name\":\"a\",\"type\":5,\"value\":\"x\"}]",
        "[{\"name\":\"a\",\"value\":\"[1,\\\"x\\\"]\"}]",
        "[{\"name\":\"a\",\"type\":\"time\",\"value\":\"25:00:00\"}]",
        "[{\"name\":\"a\",\"type\":\"time\",\"value\":\"12:00\"}]",
        "[{\"name\":\"a\",\"type\":\"time\",\"value\":\"12:00:00Z\"}]",
        "[{\"name\":\"a\",\"type\":\"array\",\"value\":\"x\"}]",
        "[{\"name\":\"a\",\"type\":\"array\",\"value\":\"{}\"}]",
        "[{\"name\":\"a\",\"type\":\"array\",\"value\":\"[1] x\"}]",
        "[{\"name\":\"a\",\"type\":\"object\",\"value\":\"[1]\"}]",
        "[{\"name\":\"a\",\"type\":\"object\",\"value\":\"{\"}]",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        refuse_parameters(cases[i]);
}

/* An error at `needle` of the prepared text is shown at line and column of the tenant's. */
static void check_place(const char *sql, int64_t limit, const char *needle, unsigned line, unsigned column) {
    JSON_AUTO(p);
    AUTO(sql_text_done) struct sql_text text = {0};
    ASSERT_OK(json_parse(slice_str("[{\"name\":\"a\",\"type\":\"int\",\"value\":\"1\"}]"), &p));
    ASSERT_OK(sql_text_prepare(slice_str(sql), p, limit, &text));
    const char *found = strstr(buf_str(&text.text), needle);
    assert_non_null(found);
    size_t at = (size_t)(found - buf_str(&text.text));
    BUF_AUTO(message, 4096);
    BUF_AUTO(wanted, 4096);
    buf_printf(&message, "Syntax error: failed at position %zu (x) (line 9, col 99): x. Expected", at + 1);
    buf_printf(&wanted, "Syntax error: failed at line %u, column %u (x): x. Expected", line, column);
    unsigned got_line = 0, got_column = 0;
    query_place_error(slice_str(sql), &text, &message, &got_line, &got_column);
    if (!slice_is(buf_slice(&message), buf_str(&wanted))) fail_msg("%s: %s", sql, buf_str(&message));
    assert_int_equal(got_line, line);
    assert_int_equal(got_column, column);
}

static void test_places_of_errors(void **state) {
    check_place("SELECT nope nope nope", 0, "nope", 1, 8);
    check_place("SELECT :a, nope", 0, "nope", 1, 12);
    check_place("SELECT :a, :a,\n  nope", 0, "nope", 2, 3);
    check_place("SELECT :a, x", 0, "p0", 1, 9);
    check_place("SELECT '\xc3\xa9', nope", 0, "nope", 1, 13);
    check_place("SELECT a FROM c, nope d", 0, "nope", 1, 18);
    check_place("SELECT a FROM c HINT(x=y) nope", 0, "nope", 1, 27);
    check_place("SELECT :a UNION ALL\nSELECT nope", 5, "nope", 2, 8);
    check_place("(SELECT nope)", 5, "nope", 1, 9);
    BUF_AUTO(message, 4096);
    unsigned line = 0, column = 0;
    buf_append_str(&message, "Unknown function at all");
    struct sql_text none = {0};
    query_place_error(slice_str("SELECT 1"), &none, &message, &line, &column);
    ASSERT_SLICE(buf_slice(&message), "Unknown function at all");
    assert_int_equal(line, 0);
    buf_clear(&message);
    buf_append_str(&message, "the statement can't be read at byte 7: a quote without an end");
    AUTO(sql_text_done) struct sql_text text = {0};
    ASSERT_OK(sql_text_prepare(slice_str("SELECT 'x"), NULL, 0, &text));
    query_place_error(slice_str("SELECT 'x"), &text, &message, &line, &column);
    ASSERT_SLICE(buf_slice(&message), "the statement can't be read at line 1, column 8: a quote without an end");
}

static void test_errors_hide_the_servers_own_names(void **state) {
    BUF_AUTO(out, 4096);
    query_clean_error(slice_str("Code: 60. DB::Exception: Table lockset_data.c0123456789abcdef0123 has "
                                "__lockset_doc.a. (X) (version 26.7.2.1 (official build))"),
                      &out);
    ASSERT_SLICE(buf_slice(&out), "Table collection has a. (X)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameters),       cmocka_unit_test(test_limits),
        cmocka_unit_test(test_places_of_errors), cmocka_unit_test(test_statements),
        cmocka_unit_test(test_names_of_tables),  cmocka_unit_test(test_what_is_noted),
        cmocka_unit_test(test_bad_parameters),   cmocka_unit_test(test_errors_hide_the_servers_own_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
