#include "testing.h"

#include <string.h>

#include "base/clock.h"
#include "engine/sql_gate.h"

static const char functions[] = "file\nurl\ns3\nremote\nnumbers\nmerge\nformat\nview\nbrandNewSource\nvalues\neval\n";
static const char tables[] = "one\nnumbers\ndisks\ntables\nprocesses\n";
static struct sql_gate *gate;

static int set_up(void **state) {
    return is_ok(sql_gate_new(slice_str(functions), slice_str(tables), &gate)) ? 0 : 1;
}

static int tear_down(void **state) {
    gate = sql_gate_free(gate);
    return 0;
}

static void test_an_empty_list_makes_no_gate(void **state) {
    struct sql_gate *g;
    ASSERT_ERR(INVALID, sql_gate_new(slice_str(""), slice_str(tables), &g));
    ASSERT_ERR(INVALID, sql_gate_new(slice_str(functions), slice_str("\n"), &g));
}

static void test_refused(void **state) {
    static const char *const refused[] = {"SELECT file('x')",
                                          "SELECT FiLe ('x')",
                                          "SELECT `file`('x')",
                                          "SELECT 1 FROM file('x')",
                                          "SELECT * FROM URL('x')",
                                          "SELECT * FROM brandnewsource(1)",
                                          "SELECT * FROM \"brandNewSource\"(1)",
                                          "SELECT * FROM merge('system', 'x')",
                                          "SELECT arrayMap(file, x)",
                                          "SELECT arrayFilter(`file`, x)",
                                          "SELECT * APPLY(file)",
                                          "SELECT * APPLY ((file))",
                                          "SELECT dictGet('x', 'y', 1)",
                                          "SELECT dictHas('x', 1)",
                                          "SELECT joinGetOrNull('a', 'b', 1)",
                                          "SELECT getServerSetting('x')",
                                          "SELECT __getScalar('x')",
                                          "SELECT aiGenerate('x')",
                                          "SELECT * FROM system.disks",
                                          "SELECT * FROM SYSTEM.DISKS",
                                          "SELECT * FROM `system`.\"disks\"",
                                          "SELECT * FROM system /**/ . /**/ disks",
                                          "SELECT 1 IN system.processes",
                                          "SELECT * FROM information_schema.x",
                                          "SELECT * FROM lockset_data.c1",
                                          "SELECT * FROM \"lockset_data\" . c1",
                                          "SELECT 1 IN (SELECT _id FROM `lockset_data`.`c1`)",
                                          "DESCRIBE lockset_data.c1",
                                          "SELECT * FROM `lockset_input.x`._raw",
                                          "SELECT * FROM \"INFORMATION_SCHEMA\".x",
                                          "SELECT 1 INTO OUTFILE 'x'",
                                          "SELECT 1 SETTINGS max_threads = 1",
                                          "SELECT * FROM (SELECT 1 SETTINGS `max_threads` = 1)",
                                          "SELECT 1 FORMAT JSON",
                                          "SELECT 1 format `JSON` ;",
                                          "SELECT 1; SELECT 2",
                                          "SELECT * FROM {x:Identifier}",
                                          "SELECT {x : identifier}",
                                          "INSERT INTO t VALUES (1)",
                                          "SHOW TABLES",
                                          "SYSTEM SHUTDOWN",
                                          "EXISTS t",
                                          "CHECK TABLE t",
                                          "SET a = 1",
                                          "(DROP TABLE t)",
                                          "TRUNCATE t",
                                          "EXPLAIN SELECT file('x')",
                                          "DESCRIBE file('x')",
                                          "(EXPLAIN SELECT 1)",
                                          "SELECT hasColumnInTable('h', 'd', 't', 'c')",
                                          "SELECT catboostEvaluate('m', 1)",
                                          "SELECT filesystemAvailable()",
                                          "SELECT t.file('x')",
                                          "SELECT 1 // '\n, file('x') -- '",
                                          "SELECT 1 /* /* */ ' */, file('x') -- '",
                                          "SELECT $$a$ ' $a$, file('x') -- '",
                                          "SELECT 1 PARALLEL WITH SELECT file('x')"};
    struct sql_shape shape;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct result r = sql_gate_check(gate, slice_str(refused[i]), &shape);
        if (r.code != ERR_FORBIDDEN) fail_msg("%s: %s", refused[i], err_name(r.code));
    }
}

static void test_unreadable(void **state) {
    static const char *const unreadable[] = {
        "",
        "  -- x",
        ";",
        "(((",
        "SELECT 'x",
        "SELECT /* x",
        "SELECT /* /* x */",
        "SELECT \xe2\x82\xac",
        "SELECT x'\\', file('x') -- '",
        "SELECT b'2'",
        "SELECT 1e-- \n",
        "SELECT 1$a$ ' $a$",
        "SELECT 1'x'",
        "SELECT (1",
        "SELECT 1)",
        "SELECT [(1])",
        "SELECT {x:String)",
    };
    struct sql_shape shape;
    for (size_t i = 0; i < ARRAY_LEN(unreadable); i++) {
        struct result r = sql_gate_check(gate, slice_str(unreadable[i]), &shape);
        if (r.code != ERR_INVALID && r.code != ERR_FORBIDDEN) fail_msg("%s: %s", unreadable[i], err_name(r.code));
    }
}

static void test_let_pass(void **state) {
    static const char *const passed[] = {"SELECT 1",
                                         "SELECT 1;;",
                                         "((SELECT 1))",
                                         "WITH x AS (SELECT 1) SELECT * FROM x",
                                         "FROM t SELECT a",
                                         "SELECT file, url, remote FROM t",
                                         "SELECT count(file), concat(file, url) FROM t",
                                         "SELECT t.file FROM t",
                                         "SELECT 'file(1); system.disks -- '",
                                         "SELECT * FROM numbers(3)",
                                         "SELECT format('{}', 1)",
                                         "SELECT * FROM view(SELECT 1)",
                                         "SELECT * FROM system.one",
                                         "SELECT system.cpu FROM metrics AS system",
                                         "SELECT doc.system.disks FROM t",
                                         "SELECT t.system.disks FROM t",
                                         "SELECT settings FROM t WHERE settings = 1",
                                         "SELECT format FROM t WHERE format = 'x'",
                                         "SELECT {x:String}, {y:Array(UInt8)}",
                                         "SELECT arrayMap(x -> x, [1])",
                                         "SELECT system FROM t",
                                         "SELECT lockset_data FROM t",
                                         "SELECT t.lockset_data.x FROM t",
                                         "SELECT `system` FROM t",
                                         "SELECT a AS into FROM t",
                                         "SELECT d1.`into` FROM d1",
                                         "SELECT region, stem FROM t",
                                         "SELECT position('x' IN url) FROM t",
                                         "SELECT 1 // file('x')\n, 2",
                                         "SELECT 1 /* /* file('x') */ file('x') */",
                                         "SELECT x'41', b'01', 1e-5, 1.5E+3, 0x1p-2, t.1.2 FROM t",
                                         "SELECT $$file('x')$$, $a$ ' $a$",
                                         "SELECT rate--of\nFROM t"};
    for (size_t i = 0; i < ARRAY_LEN(passed); i++) {
        struct sql_shape shape = {0};
        struct result r = sql_gate_check(gate, slice_str(passed[i]), &shape);
        if (is_err(r)) fail_msg("%s: %s", passed[i], err_detail());
        assert_true(shape.is_select);
    }
}

static void test_explain_and_describe_are_no_selects(void **state) {
    struct sql_shape shape = {.is_select = true};
    ASSERT_OK(sql_gate_check(gate, slice_str("EXPLAIN SELECT 1"), &shape));
    assert_false(shape.is_select);
    ASSERT_OK(sql_gate_check(gate, slice_str("DESC TABLE w.t"), &shape));
    assert_false(shape.is_select);
}

static void repeat(struct buf *sql, const char *piece, size_t times) {
    for (size_t i = 0; i < times; i++) {
        buf_append_str(sql, piece);
    }
}

static void test_depth_has_a_limit(void **state) {
    struct sql_shape shape;
    for (size_t depth = 1000; depth <= 1001; depth++) {
        BUF_AUTO(sql, 1 << 20);
        buf_append_str(&sql, "SELECT ");
        repeat(&sql, "(", depth);
        buf_append_str(&sql, "1");
        repeat(&sql, ")", depth);
        struct result r = sql_gate_check(gate, buf_slice(&sql), &shape);
        assert_int_equal(r.code, depth == 1000 ? ERR_NONE : ERR_INVALID);
    }
}

/* Each of these takes minutes where the time grows with the square of the length. */
static void test_long_texts_take_no_time(void **state) {
    static const struct {
        const char *begin, *piece;
        enum err_code code;
    } texts[] = {{"SELECT 1", ";", ERR_NONE},    {"SELECT 1", "/**/", ERR_NONE}, {"SELECT ", "$x ", ERR_INVALID},
                 {"SELECT ", "[(", ERR_INVALID}, {"SELECT a", ",a", ERR_NONE},   {"SELECT ", "((a) ", ERR_INVALID},
                 {"SELECT 1", "+`a`", ERR_NONE}};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        BUF_AUTO(sql, 2 << 20);
        struct sql_shape shape;
        buf_append_str(&sql, texts[i].begin);
        repeat(&sql, texts[i].piece, (1 << 20) / strlen(texts[i].piece));
        int64_t began_ns = clock_boottime_ns();
        struct result r = sql_gate_check(gate, buf_slice(&sql), &shape);
        if (r.code != texts[i].code) fail_msg("%s: %s", texts[i].piece, err_name(r.code));
        assert_true(clock_boottime_ns() - began_ns < 5 * NS_PER_S);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_an_empty_list_makes_no_gate),
    cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_unreadable, set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_let_pass, set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_depth_has_a_limit, set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_long_texts_take_no_time, set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_explain_and_describe_are_no_selects, set_up, tear_down),
};
TEST_MAIN(tests)
