/* Field mappings: what their text may be, and what is made of it. */
#include "testing.h"

#include <string.h>

#include "lifecycle/mapping.h"

static void check(const char *sql, const char *statement, const char *names) {
    AUTO(mapping_text_done) struct mapping_text m = {0};
    struct result r = mapping_text_parse(slice_str(sql), &m);
    if (is_err(r)) fail_msg("%s: %s", sql, err_detail());
    if (statement) assert_string_equal(m.statement, statement);
    BUF_AUTO(found, 4096);
    for (size_t i = 0; i < m.name_count; i++)
        buf_printf(&found, "%s%s%s", i ? " " : "", m.names[i].name, m.names[i].is_object ? "." : "");
    if (names && strcmp(buf_str(&found), names) != 0) fail_msg("%s: names %s", sql, buf_str(&found));
}

static void test_statements(void **state) {
    check("SELECT a FROM _input", "SELECT __lockset_row,  a FROM _input", "SELECT a FROM");
    check("select a from _input;", "select __lockset_row,  a from _input", NULL);
    check("WITH 1 AS k SELECT a + k FROM _input WHERE b",
          "WITH 1 AS k SELECT __lockset_row,  a + k FROM _input WHERE b", NULL);
    check("WITH x AS (SELECT * FROM _input) SELECT * FROM x",
          "WITH x AS (SELECT * FROM _input) SELECT __lockset_row,  * FROM x", NULL);
    check("SELECT a FROM _input CLUSTER BY a, b", "SELECT __lockset_row,  a FROM _input", NULL);
    check("SELECT * EXCEPT (a), (SELECT max(x) FROM t GROUP BY y LIMIT 1) AS m FROM _input", NULL, NULL);
    check("SELECT t FROM _input ARRAY JOIN tags AS t", NULL, NULL);
    check("SELECT `limit`, i.offset FROM _input AS i", NULL, NULL);
    check("FROM _input SELECT a", "FROM _input SELECT __lockset_row,  a", NULL);
    check("SELECT ';' AS a /* ; */ FROM \"_input\" -- ;", NULL, NULL);
}

static void test_names(void **state) {
    check("SELECT a.b.c, upper(d), `e f`, \"g\" FROM _input", NULL, "SELECT a. b. c d e f g FROM");
    check("SELECT i.a, j.x FROM _input AS i", NULL, "SELECT a j. x FROM AS");
    check("SELECT i.a FROM _input i WHERE i.b = 'c'", NULL, "SELECT a FROM WHERE b");
    check("SELECT _id, _event_time, _input.z FROM _input", NULL, "SELECT z FROM");
    check("SELECT a, a.b FROM _input", NULL, "SELECT a. b FROM");
}

static void test_refused(void **state) {
    static const char *const refused[] = {"",
                                          "  -- nothing",
                                          "SELECT a",
                                          "SELECT a FROM other",
                                          "(SELECT a FROM _input)",
                                          "SELECT DISTINCT a FROM _input",
                                          "SELECT TOP 5 a FROM _input",
                                          "SELECT a FROM _input GROUP BY a",
                                          "SELECT a FROM _input HAVING a",
                                          "SELECT a FROM _input LIMIT 1",
                                          "SELECT a FROM _input OFFSET 1",
                                          "SELECT a FROM _input UNION ALL SELECT b FROM _input",
                                          "SELECT a FROM _input EXCEPT SELECT b FROM _input",
                                          "SELECT a FROM _input EXCEPT (SELECT b FROM _input)",
                                          "SELECT a FROM _input INTERSECT SELECT b FROM _input",
                                          "SELECT a FROM _input JOIN x ON a = b",
                                          "SELECT a FROM _input; SELECT b FROM _input",
                                          "SELECT a FROM _input WHERE x = :x",
                                          "INSERT INTO x SELECT a FROM _input",
                                          "EXPLAIN SELECT a FROM _input",
                                          "DROP TABLE _input"};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        AUTO(mapping_text_done) struct mapping_text m = {0};
        struct result r = mapping_text_parse(slice_str(refused[i]), &m);
        if (r.code != ERR_INVALID) fail_msg("%s: %s", refused[i], err_name(r.code));
    }
    AUTO(mapping_text_done) struct mapping_text m = {0};
    ASSERT_ERR(INVALID, mapping_text_parse(slice_make("SELECT a\0 FROM _input", 21), &m));
}

static void test_order(void **state) {
    size_t from[] = {2, 0, 2, 1, 0};
    struct mapped m = {.from = from, .input_count = 4};
    m.documents.count = ARRAY_LEN(from);
    AUTO_FREE size_t *order = mapped_order(&m);
    static const size_t wanted[] = {1, 4, 3, 0, 2};
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        assert_int_equal(order[i], wanted[i]);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_statements),
    cmocka_unit_test(test_names),
    cmocka_unit_test(test_refused),
    cmocka_unit_test(test_order),
};
TEST_MAIN(tests)
