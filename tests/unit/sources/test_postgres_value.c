/* PostgreSQL's values as JSON, and positions: what does not fit becomes a text or is refused, never broken JSON. */
#include <string.h>

#include "base/json.h"
#include "sources/postgres_position.h"
#include "sources/postgres_value.h"
#include "testing.h"

static void check_value(uint32_t oid, const char *text, const char *wanted) {
    BUF_AUTO(out, 1 << 20);
    JSON_AUTO(parsed);
    postgres_value_write(postgres_type_builtin(oid), slice_str(text), &out);
    ASSERT_SLICE(buf_slice(&out), wanted);
    ASSERT_OK(json_parse(buf_slice(&out), &parsed));
}

static void scalars(void **state) {
    check_value(16, "t", "true");
    check_value(16, "f", "false");
    check_value(16, "yes", "\"yes\"");
    check_value(20, "-9223372036854775808", "-9223372036854775808");
    check_value(20, "9223372036854775808", "\"9223372036854775808\"");
    check_value(20, "007", "\"007\"");
    check_value(20, "1.5", "\"1.5\"");
    check_value(20, "", "\"\"");
    check_value(20, "-", "\"-\"");
    check_value(701, "1e+20", "1e+20");
    check_value(701, "3", "3.0");
    check_value(701, "-0", "-0.0");
    check_value(701, "NaN", "\"NaN\"");
    check_value(701, "-Infinity", "\"-Infinity\"");
    check_value(701, "1.", "\"1.\"");
    check_value(701, "4e0800000", "\"4e0800000\"");
    check_value(701, "5e-324", "5e-324");
    check_value(1700, "1e5", "\"1e5\"");
    check_value(1700, "10.50", "10.50");
    check_value(1700, "0.1234567890123456", "\"0.1234567890123456\"");
    check_value(1700, "1000000000000000.0", "1000000000000000.0");
    check_value(17, "\\x00ff", "\"AP8=\"");
    check_value(17, "\\x0", "\"\\\\x0\"");
    check_value(17, "\\x", "\"\"");
    check_value(25, "a\"b\n", "\"a\\\"b\\n\"");
    check_value(600, "(1,2)", "\"(1,2)\"");
}

static void times(void **state) {
    check_value(1114, "2026-01-02 03:04:05", "\"2026-01-02T03:04:05\"");
    check_value(1184, "2026-01-02 03:04:05.5+00", "\"2026-01-02T03:04:05.5Z\"");
    check_value(1184, "2026-01-02 03:04:05+05:30", "\"2026-01-02T03:04:05+05:30\"");
    check_value(1114, "0044-03-15 00:00:00 BC", "\"0044-03-15 00:00:00 BC\"");
    check_value(1114, "infinity", "\"infinity\"");
    check_value(1114, "2026-01-02", "\"2026-01-02\"");
    check_value(1082, "2026-01-02", "\"2026-01-02\"");
}

static void json_is_embedded_only_if_it_is_json(void **state) {
    check_value(3802, "{\"a\": [1, null]}", "{\"a\": [1, null]}");
    check_value(114, "5", "5");
    check_value(114, "{\"a\":1,\"a\":2}", "\"{\\\"a\\\":1,\\\"a\\\":2}\"");
    check_value(114, "1, 2", "\"1, 2\"");
    check_value(114, "1],[2", "\"1],[2\"");
    check_value(114, "", "\"\"");
    check_value(114, "1e999", "\"1e999\"");
}

static void arrays(void **state) {
    check_value(1007, "{}", "[]");
    check_value(1007, "{1,NULL,3}", "[1,null,3]");
    check_value(1007, "{{1,2},{3,4}}", "[[1,2],[3,4]]");
    check_value(1007, "[0:1]={1,2}", "[1,2]");
    check_value(1009, "{\"NULL\",NULL,\"a\\\"\\\\,}\",b}", "[\"NULL\",null,\"a\\\"\\\\,}\",\"b\"]");
    check_value(1009, "{\"\"}", "[\"\"]");
    static const char *const broken[] = {
        "{",     "{1",     "{1,}",  "{,1}", "{1}x", "{\"a}", "1", "", "{\"a\\", "{a\"b\"}", "{{{{{{{1}}}}}}}",
        "[0:1]", "{1}{2}", "{1,{2}"};
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        BUF_AUTO(wanted, 256);
        json_write_str(slice_str(broken[i]), &wanted);
        check_value(1009, broken[i], buf_str(&wanted));
    }
    BUF_AUTO(out, 1 << 10);
    postgres_value_write((struct postgres_type){.kind = POSTGRES_TEXT, .is_array = true, .delimiter = ';'},
                         slice_str("{a,b;c}"), &out);
    ASSERT_SLICE(buf_slice(&out), "[\"a,b\",\"c\"]");
}

static void a_full_buffer_stays_harmless(void **state) {
    for (size_t room = 0; room < 40; room++) {
        BUF_AUTO(out, room);
        postgres_value_write(postgres_type_builtin(1009), slice_str("{abcdefghij,\"klmnopqrst\",{x"), &out);
        assert_true(out.overflowed || out.len <= room);
    }
}

static void positions_come_back_as_they_were(void **state) {
    static const char *const texts[] = {
        "{\"system\":\"7\",\"table\":16384,\"publication\":\"1.2\",\"key\":[\"a\",\"b\"],\"lsn\":\"A/FF\","
        "\"phase\":\"snapshot\",\"rows\":3,\"after\":[\"x\",\"\"]}",
        "{\"system\":\"7\",\"table\":4294967295,\"publication\":\"1\",\"key\":[\"a\"],\"lsn\":\"0/"
        "1\",\"phase\":\"snapshot\","
        "\"rows\":0}",
        "{\"system\":\"7\",\"table\":1,\"publication\":\"1\",\"key\":[\"a\"],\"lsn\":\"0/1\",\"phase\":\"changes\","
        "\"until\":\"FFFFFFFF/FFFFFFFF\",\"in_commit\":\"0/2\",\"done\":9}",
        "{\"system\":\"7\",\"table\":1,\"publication\":\"1\",\"key\":[\"a\"],\"lsn\":\"0/1\",\"phase\":\"changes\"}",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        JSON_AUTO(j);
        JSON_AUTO(again);
        BUF_AUTO(out, 4096);
        struct postgres_position p;
        ASSERT_OK(json_parse(slice_str(texts[i]), &j));
        ASSERT_OK(postgres_position_from_json(j, &p));
        again = postgres_position_to_json(&p);
        ASSERT_OK(json_write(again, &out));
        ASSERT_SLICE(buf_slice(&out), texts[i]);
        postgres_position_done(&p);
    }
}

static void broken_positions_are_refused(void **state) {
    static const char *const changes[][2] = {
        {"system", "\"\""},  {"system", "7"},        {"table", "0"},          {"key", "[]"},
        {"key", "[1]"},      {"lsn", "\"0/\""},      {"lsn", "\"x/1\""},      {"lsn", "\"0/123456789\""},
        {"phase", "\"no\""}, {"after", "[\"a\",1]"}, {"after", "[\"a\"]"},    {"until", "\"0/1 \""},
        {"done", "-1"},      {"other", "1"},         {"publication", "\"\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        JSON_AUTO(j);
        json_t *value;
        struct postgres_position p;
        ASSERT_OK(json_parse(slice_str("{\"system\":\"7\",\"table\":1,\"publication\":\"1\",\"key\":[\"a\",\"b\"],"
                                       "\"lsn\":\"0/1\",\"phase\":\"changes\"}"),
                             &j));
        ASSERT_OK(json_parse(slice_str(changes[i][1]), &value));
        json_object_set_new(j, changes[i][0], value);
        ASSERT_ERR(CORRUPT, postgres_position_from_json(j, &p));
        postgres_position_done(&p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars),
        cmocka_unit_test(times),
        cmocka_unit_test(json_is_embedded_only_if_it_is_json),
        cmocka_unit_test(arrays),
        cmocka_unit_test(a_full_buffer_stays_harmless),
        cmocka_unit_test(positions_come_back_as_they_were),
        cmocka_unit_test(broken_positions_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
