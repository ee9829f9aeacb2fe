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
        {"SELECT * FROM c", true, 1},    {"SELECT c.* FROM c", true, 1},       {"SELECT DISTINCT * FROM c", true, 1},
        {"SELECT a, * FROM c", true, 1}, {"SELECT count(*) FROM c", false, 1}, {"SELECT a * b FROM c, d", false, 2},
        {"SELECT 1", false, 0},
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
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        refuse_parameters(cases[i]);
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
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_statements),
        cmocka_unit_test(test_names_of_tables),
        cmocka_unit_test(test_what_is_noted),
        cmocka_unit_test(test_bad_parameters),
        cmocka_unit_test(test_errors_hide_the_servers_own_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
