#include "testing.h"

#include <string.h>

#include "lifecycle/document.h"

struct expectation {
    const char *body;
    const char *words; /* in the detail */
};

/* The whole body is refused. */
static void test_bodies_that_are_refused(void **state) {
    static const struct expectation cases[] = {
        {"", "empty"},
        {"  ", "empty"},
        {"[]", "must be an object"},
        {"{}", "'data' is missing"},
        {"{\"data\":{}}", "must be an array"},
        {"{\"data\":[1]}", "data[0] must be an object"},
        {"{\"data\":[{},\"x\"]}", "data[1] must be an object"},
        {"{\"data\":[],\"x\":1}", "unknown field 'x'"},
        {"{\"data\":[],\"data\":[]}", "twice"},
        {"{\"data\":[]} x", "the end"},
        {"{\"data\":[{\"a\":1}", "ends"},
        {"{\"data\":[{\"a\":01}]}", "begins with 0"},
        {"{\"data\":[{\"a\":.5}]}", "a value"},
        {"{\"data\":[{\"a\":1.}]}", "a digit"},
        {"{\"data\":[{\"a\":1e}]}", "a digit"},
        {"{\"data\":[{\"a\":NaN}]}", "a value"},
        {"{\"data\":[{\"a\":tru}]}", "a value"},
        {"{\"data\":[{\"a\":\"\\x\"}]}", "escape"},
        {"{\"data\":[{\"a\":\"\\u12\"}]}", "hexadecimal"},
        {"{\"data\":[{\"a\":\"\n\"}]}", "control character"},
        {"{\"data\":[{\"a\":\"\xff\"}]}", "UTF-8"},
        {"{\"data\":[{\"a\":\"\xc0\x80\"}]}", "UTF-8"},
        {"{\"data\":[{a:1}]}", "a string"},
        {"{\"data\":[{\"a\":1,}]}", "a string"},
        {"{\"data\":[{\"a\":[1,]}]}", "a value"},
        {"{\"data\":[{\"a\" 1}]}", "':'"},
        {"not json", "must be an object"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(documents_done) struct documents d;
        documents_init(&d);
        ASSERT_ERR(INVALID, documents_parse(slice_str(cases[i].body), &d));
        if (!strstr(err_detail(), cases[i].words))
            fail_msg("%s: '%s' lacks '%s'", cases[i].body, err_detail(), cases[i].words);
    }
}

/* One document of a body: its flaw, or its raw text. */
static void check_one(const char *document, const char *flaw, const char *raw) {
    BUF_AUTO(body, 1 << 20);
    buf_printf(&body, "{\"data\":[{\"first\":1},%s,{\"last\":2}]}", document);
    AUTO(documents_done) struct documents d;
    documents_init(&d);
    ASSERT_OK(documents_parse(buf_slice(&body), &d));
    assert_int_equal(d.count, 3);
    assert_null(d.items[0].flaw);
    assert_null(d.items[2].flaw);
    if (flaw) {
        if (!d.items[1].flaw || !strstr(d.items[1].flaw, flaw)) fail_msg("%s: flaw is '%s'", document, d.items[1].flaw);
        return;
    }
    if (d.items[1].flaw) fail_msg("%s: unexpected flaw '%s'", document, d.items[1].flaw);
    ASSERT_SLICE(slice_make(d.raw.data + d.items[1].raw_at, d.items[1].raw_len), raw);
}

static void test_documents_with_flaws_stop_no_other(void **state) {
    check_one("{\"_id\":5}", "_id must be a string", NULL);
    check_one("{\"_id\":null}", "_id must be a string", NULL);
    check_one("{\"_id\":\"\"}", "must not be empty", NULL);
    check_one("{\"a\":1,\"a\":2}", "same field twice", NULL);
    check_one("{\"_id\":\"a\",\"_id\":\"b\"}", "same field twice", NULL);
    check_one("{\"a\":1,\"\\u0061\":2}", "same field twice", NULL);
    check_one("{\"o\":{\"a\":1,\"a\":2}}", "same key twice", NULL);
    check_one("{\"a\":9223372036854775808}", "64 bits", NULL);
    check_one("{\"a\":-9223372036854775809}", "64 bits", NULL);
    check_one("{\"a\":[[123456789012345678901234567890]]}", "64 bits", NULL);
    check_one("{\"a\":1e400}", "64-bit float", NULL);
    check_one("{\"a\":\"\\ud800\"}", "surrogate", NULL);
    check_one("{\"a\":\"\\u0000\"}", "U+0000", NULL);
    check_one("{\"\":1}", "empty name", NULL);
    check_one("{\"_event_time\":\"yesterday\"}", "_event_time", NULL);
    check_one("{\"_event_time\":1.5}", "_event_time", NULL);
    check_one("{\"_event_time\":9223372036854775807}", "_event_time", NULL);
}

static void test_the_bytes_of_a_document_are_kept(void **state) {
    check_one("{}", NULL, "{}");
    check_one("{ \"a\" : 1.0 , \"b\":[ 1, 2 ] }", NULL, "{\"a\":1.0,\"b\":[ 1, 2 ]}");
    check_one("{\"_id\":\"x\",\"z\":1,\"_meta\":{\"y\":1},\"a\":2}", NULL, "{\"z\":1,\"a\":2}");
    check_one("{\"a\":9223372036854775807,\"b\":-9223372036854775808}", NULL,
              "{\"a\":9223372036854775807,\"b\":-9223372036854775808}");
    check_one("{\"a\":\"\\ud83d\\ude00\"}", NULL, "{\"a\":\"\\ud83d\\ude00\"}");
}

static void test_ids_and_event_times_are_taken_out(void **state) {
    AUTO(documents_done) struct documents d;
    documents_init(&d);
    ASSERT_OK(documents_parse(slice_str("{\"data\":[{\"_id\":\"caf\\u00e9\",\"_event_time\":1700000000000000},"
                                        "{\"_event_time\":\"2026-01-02T03:04:05.000006+01:00\"}]}"),
                              &d));
    assert_string_equal(d.items[0].id, "caf\xc3\xa9");
    assert_true(d.items[0].event_time_us == 1700000000000000);
    assert_null(d.items[1].id);
    assert_true(d.items[1].event_time_us == 1767319445000006);
}

static void test_a_long_id_and_too_many_documents(void **state) {
    BUF_AUTO(body, 1 << 20);
    buf_append_str(&body, "{\"_id\":\"");
    for (int i = 0; i < DOCUMENT_MAX_ID_BYTES + 1; i++)
        buf_append_byte(&body, 'x');
    buf_append_str(&body, "\"}");
    check_one(buf_str(&body), "longer than 512", NULL);
    buf_clear(&body);
    buf_append_str(&body, "{\"data\":[{}");
    for (int i = 0; i < DOCUMENT_MAX_COUNT; i++)
        buf_append_str(&body, ",{}");
    buf_append_str(&body, "]}");
    AUTO(documents_done) struct documents d;
    documents_init(&d);
    ASSERT_ERR(TOO_LARGE, documents_parse(buf_slice(&body), &d));
}

static void test_deep_nesting_is_refused(void **state) {
    BUF_AUTO(body, 1 << 20);
    buf_append_str(&body, "{\"data\":[{\"a\":");
    for (int i = 0; i < 100000; i++)
        buf_append_byte(&body, '[');
    AUTO(documents_done) struct documents d;
    documents_init(&d);
    ASSERT_ERR(INVALID, documents_parse(buf_slice(&body), &d));
    assert_non_null(strstr(err_detail(), "nested deeper"));
}

static void test_times(void **state) {
    static const struct {
        const char *text;
        int64_t us; /* -1: refused */
    } cases[] = {
        {"1970-01-01", 0},
        {"1970-01-01T00:00:01Z", 1000000},
        {"1970-01-01 00:00:01", 1000000},
        {"1970-01-01T00:00:01.5Z", 1500000},
        {"1970-01-01T01:00:00+01:00", 0},
        {"1970-01-01T00:00:00-00:30", 1800000000},
        {"2024-02-29", 1709164800000000},
        {"2023-02-29", -1},
        {"2026-13-01", -1},
        {"2026-01-01T24:00:00Z", -1},
        {"2026-01-01T00:00:00X", -1},
        {"2026-01-01T", -1},
        {"1899-12-31", -1},
        {"2300-01-01", -1},
        {"", -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t us = -2;
        bool good = document_parse_time(slice_str(cases[i].text), &us);
        if (good != (cases[i].us != -1) || (good && us != cases[i].us))
            fail_msg("'%s': %d, %lld", cases[i].text, good, (long long)us);
    }
}

static void test_schema_and_columns(void **state) {
    AUTO(documents_done) struct documents d;
    documents_init(&d);
    ASSERT_OK(documents_parse(
        slice_str("{\"data\":[{\"i\":1,\"n\":1,\"m\":1,\"a.b\":true,\"l\":[1,2],\"o\":{},\"z\":null,\"q`\":\"s\"},"
                  "{\"n\":1.5,\"m\":\"x\",\"l\":[],\"bad\":1,\"bad\":2},{\"n\":2.5,\"m\":\"x\",\"l\":[1.5]}]}"),
        &d));
    BUF_AUTO(sql, 65536);
    schema_columns(&d.schema, "D", &sql);
    static const char *const wanted[] = {
        "D.`i`.:Int64 AS `i`",
        "coalesce(D.`n`.:Float64, toFloat64(D.`n`.:Int64)) AS `n`",
        "coalesce(D.`m`.:String, nullIf(toJSONString(D.`m`), 'null')) AS `m`",
        "D.`a%2Eb`.:Bool AS `a.b`",
        "CAST(D.`l`.:`Array(Nullable(Int64))`, 'Array(Nullable(Float64))')) AS `l`",
        "D.^`o` AS `o`",
        "CAST(NULL, 'Nullable(String)') AS `z`",
        "D.`q\\``.:String AS `q\\``",
    };
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        if (!strstr(buf_str(&sql), wanted[i])) fail_msg("no '%s' in %s", wanted[i], buf_str(&sql));
    assert_null(strstr(buf_str(&sql), "bad")); /* a document that isn't stored adds no field */
    BUF_AUTO(text, 65536);
    BUF_AUTO(again, 65536);
    schema_write(&d.schema, &text);
    AUTO(schema_done) struct schema read = {0};
    ASSERT_OK(schema_read(buf_slice(&text), &read));
    schema_write(&read, &again);
    ASSERT_SLICE(buf_slice(&again), buf_str(&text));
    assert_true(schema_covers(&read, &d.schema));
}

static void test_a_schema_covers_no_more_than_it_has(void **state) {
    AUTO(schema_done) struct schema s = {0}, part = {0};
    schema_add(&s, slice_str("a"), (struct scan_type){"i"});
    schema_add(&part, slice_str("a"), (struct scan_type){"f"});
    assert_false(schema_covers(&s, &part));
    schema_merge(&s, &part);
    assert_true(schema_covers(&s, &part));
    schema_add(&part, slice_str("b"), (struct scan_type){"n"});
    assert_false(schema_covers(&s, &part));
    ASSERT_ERR(INVALID, schema_read(slice_str("{\"version\":2,\"fields\":[]}"), &s));
    ASSERT_ERR(INVALID, schema_read(slice_str("{\"version\":1,\"fields\":[[1]]}"), &s));
}

static void test_a_schema_stops_growing(void **state) {
    AUTO(schema_done) struct schema s = {0}, part = {0};
    for (int i = 0; i < SCHEMA_MAX_FIELDS + 10; i++) {
        AUTO_FREE char *name = str_format("field%d", i);
        schema_add(&s, slice_str(name), (struct scan_type){"i"});
    }
    assert_int_equal(s.count, SCHEMA_MAX_FIELDS);
    assert_true(s.has_more);
    schema_add(&part, slice_str("another"), (struct scan_type){"i"});
    assert_true(schema_covers(&s, &part));
    BUF_AUTO(sql, 1 << 20);
    schema_columns(&s, "D", &sql);
    assert_non_null(strstr(buf_str(&sql), "D AS _doc"));
    AUTO(schema_done) struct schema own = {0};
    schema_add(&own, slice_str("__lockset_doc"), (struct scan_type){"i"});
    assert_int_equal(own.count, 0);
    assert_true(own.has_more);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies_that_are_refused),
        cmocka_unit_test(test_documents_with_flaws_stop_no_other),
        cmocka_unit_test(test_the_bytes_of_a_document_are_kept),
        cmocka_unit_test(test_ids_and_event_times_are_taken_out),
        cmocka_unit_test(test_a_long_id_and_too_many_documents),
        cmocka_unit_test(test_deep_nesting_is_refused),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_schema_and_columns),
        cmocka_unit_test(test_a_schema_covers_no_more_than_it_has),
        cmocka_unit_test(test_a_schema_stops_growing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
