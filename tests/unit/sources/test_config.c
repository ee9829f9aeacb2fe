/* Sources and integrations from requests and into answers; what is kept of a source. */
#include "testing.h"

#include <string.h>

#include "sources/config.h"
#include "sources/kept.h"
#include "sources/parquet.h"

static json_t *parse(const char *text) {
    json_t *j;
    ASSERT_OK(json_parse(slice_str(text), &j));
    return j;
}

static void check_masked(const char *text, const char *wanted) {
    JSON_AUTO(j);
    j = parse(text);
    config_mask(j);
    BUF_AUTO(out, 4096);
    ASSERT_OK(json_write(j, &out));
    assert_string_equal(buf_str(&out), wanted);
}

static void test_masking(void **state) {
    check_masked("{\"aws_access_key\":{\"aws_access_key_id\":\"AKIA\",\"aws_secret_access_key\":\"x\"}}",
                 "{\"aws_access_key\":{\"aws_access_key_id\":\"AKIA\",\"aws_secret_access_key\":\"********\"}}");
    check_masked(
        "{\"password\":\"x\",\"PASSWORD\":5,\"user\":\"u\",\"list\":[{\"secret\":\"y\"}]}",
        "{\"password\":\"********\",\"PASSWORD\":\"********\",\"user\":\"u\",\"list\":[{\"secret\":\"********\"}]}");
    check_masked("{\"connection_uri\":\"postgresql://u:p%40ss@h:5432/db\"}",
                 "{\"connection_uri\":\"postgresql://u:********@h:5432/db\"}");
    check_masked("{\"connection_uri\":\"postgresql://u@h/db?x=1\",\"other\":\"host=h password=x\"}",
                 "{\"connection_uri\":\"postgresql://u@h/db?x=1\",\"other\":\"********\"}");
    check_masked("{\"password\":null,\"private_key\":{\"a\":1},\"aws_session_token\":\"t\"}",
                 "{\"password\":null,\"private_key\":\"********\",\"aws_session_token\":\"********\"}");
}

static void test_integrations(void **state) {
    JSON_AUTO(made);
    JSON_AUTO(asked);
    asked = parse("{\"name\":\"lake\",\"description\":\"d\",\"s3\":{\"aws_access_key\":{\"aws_access_key_id\":\"A\","
                  "\"aws_secret_access_key\":\"S\"}}}");
    ASSERT_OK(config_make_integration(asked, "me", 1000, &made));
    JSON_AUTO(shown);
    shown = config_shape_integration(made, json_array());
    BUF_AUTO(out, 4096);
    ASSERT_OK(json_write(shown, &out));
    assert_null(strstr(buf_str(&out), "\"S\""));
    assert_non_null(strstr(buf_str(&out), "1970-01-01T00:00:01"));
    BUF_AUTO(kept, 4096); /* masking is for answers only */
    ASSERT_OK(json_write(made, &kept));
    assert_non_null(strstr(buf_str(&kept), "\"S\""));
    static const char *const bad[] = {"{\"name\":\"x\"}",
                                      "{\"s3\":{}}",
                                      "{\"name\":\"a b\",\"s3\":{}}",
                                      "{\"name\":\"x\",\"s3\":[]}",
                                      "{\"name\":\"x\",\"s3\":{},\"kafka\":{}}",
                                      "{\"name\":\"x\",\"s3\":{\"aws_access_key\":{}}}",
                                      "{\"name\":\"x\",\"colour\":1}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        JSON_AUTO(j);
        json_t *none = NULL;
        j = parse(bad[i]);
        ASSERT_ERR(INVALID, config_make_integration(j, "me", 0, &none));
    }
    JSON_AUTO(mongo);
    json_t *none = NULL;
    mongo = parse("{\"name\":\"x\",\"mongodb\":{}}");
    ASSERT_ERR(UNSUPPORTED, config_make_integration(mongo, "me", 0, &none));
}

static void test_sources(void **state) {
    JSON_AUTO(integrations);
    JSON_AUTO(made);
    JSON_AUTO(asked);
    integrations = parse(
        "{\"lake\":{\"name\":\"lake\",\"kind\":\"s3\",\"config\":{}},\"bus\":{\"kind\":\"kafka\",\"config\":{}}}");
    asked = parse("{\"integration_name\":\"lake\",\"s3\":{\"bucket\":\"logs\"},\"status\":{\"state\":\"X\"}}");
    ASSERT_OK(config_make_source(asked, integrations, "s1", 5, &made));
    assert_ptr_equal(config_driver(made), source_driver_find("s3"));
    JSON_AUTO(shown);
    shown = config_shape_source(made);
    assert_string_equal(json_string_value(json_object_get(json_object_get(shown, "s3"), "bucket")), "logs");
    assert_null(json_object_get(shown, "status"));
    assert_false(config_is_suspended(made, 10));
    json_object_set_new(made, "suspended_at_ms", json_integer(7));
    assert_true(config_is_suspended(made, 10));
    json_object_set_new(made, "resume_at_ms", json_integer(9));
    assert_true(config_is_suspended(made, 8));
    assert_false(config_is_suspended(made, 9));
    json_t *none = NULL;
    JSON_AUTO(unknown);
    unknown = parse("{\"integration_name\":\"nobody\",\"s3\":{\"bucket\":\"logs\"}}");
    ASSERT_ERR(NOT_FOUND, config_make_source(unknown, integrations, "s1", 5, &none));
    JSON_AUTO(other);
    other = parse("{\"integration_name\":\"bus\",\"s3\":{\"bucket\":\"logs\"}}");
    ASSERT_ERR(INVALID, config_make_source(other, integrations, "s1", 5, &none));
}

static void test_kept(void **state) {
    AUTO(kept_done) struct kept k = {.items = 1, .bytes = 2, .errors = 3, .stored_at_ms = 4, .has_snapshot = true};
    k.last_item = str_dup("x\"y");
    k.position = parse("{\"p\":[1]}");
    BUF_AUTO(text, 4096);
    ASSERT_OK(kept_write(&k, &text));
    AUTO(kept_done) struct kept again = {0};
    ASSERT_OK(kept_read(buf_slice(&text), &again));
    assert_int_equal(again.errors, 3);
    assert_true(again.has_snapshot && json_equal(again.position, k.position));
    assert_string_equal(again.last_item, "x\"y");
    AUTO(kept_done) struct kept none = {0};
    ASSERT_ERR(CORRUPT, kept_read(slice_str("{\"version\":1}"), &none));
    ASSERT_ERR(CORRUPT, kept_read(slice_str("nothing"), &none));
}

/* The newest thousand of very many flaws, each in a slot of its own. */
static void test_errors(void **state) {
    enum { COUNT = 2500 };
    struct write_record *records = mem_alloc_array(COUNT, sizeof *records);
    char origin[COUNT][16];
    for (int i = 0; i < COUNT; i++) {
        snprintf(origin[i], sizeof origin[i], "o#%d", i);
        records[i] = (struct write_record){.origin = slice_str(origin[i]),
                                           .document = slice_str("\xff\"text\x01"),
                                           .flaw = i % 5 == 0 ? NULL : str_dup("bad")};
    }
    AUTO(kept_rows_done) struct kept_rows rows = {0};
    assert_int_equal(kept_rows_add_errors(&rows, "s1", records, COUNT, 500), 2000);
    assert_int_equal(rows.count, KEPT_MAX_ERRORS);
    for (size_t i = 0; i < rows.count; i++)
        for (size_t k = 0; k < i; k++)
            assert_false(slice_equal(rows.items[i].id, rows.items[k].id));
    AUTO(hidden_rows_done) struct hidden_rows read = {0};
    read.items = mem_alloc_array(rows.count, sizeof *read.items);
    for (; read.count < rows.count; read.count++) {
        buf_init(&read.items[read.count].text, 4096);
        buf_append_slice(&read.items[read.count].text, rows.items[read.count].raw);
    }
    JSON_AUTO(list);
    list = kept_errors(&read, 10);
    assert_int_equal(json_array_size(list), 10);
    const json_t *newest = json_array_get(list, 0);
    assert_string_equal(json_string_value(json_object_get(newest, "origin")), "o#2499");
    assert_int_equal(json_integer_value(json_object_get(newest, "number")), 2499);
    assert_string_equal(json_string_value(json_object_get(newest, "record")), "?\"text\x01");
    for (int i = 0; i < COUNT; i++)
        mem_free(records[i].flaw);
    mem_free(records);
}

static void test_parquet_footers(void **state) {
    BUF_AUTO(out, 1024);
    ASSERT_OK(parquet_footer(slice_make("PAR1datadataFOOT\x04\0\0\0PAR1", 24), &out));
    assert_int_equal(out.len, 16);
    ASSERT_SLICE(slice_make(out.data, 8), "PAR1FOOT");
    static const char *const bad[] = {"", "PAR1", "PAR1PAR1PAR2", "XXXX\x01\0\0\0PAR1"};
    static const size_t lens[] = {0, 4, 12, 12};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ASSERT_ERR(INVALID, parquet_footer(slice_make(bad[i], lens[i]), &out));
    ASSERT_ERR(INVALID, parquet_footer(slice_make("PAR1data\xff\xff\xff\xffPAR1", 16), &out));
    ASSERT_ERR(INVALID, parquet_footer(slice_make("PAR1data\0\0\0\0PAR1", 16), &out));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_masking), cmocka_unit_test(test_integrations), cmocka_unit_test(test_sources),
    cmocka_unit_test(test_kept),    cmocka_unit_test(test_errors),       cmocka_unit_test(test_parquet_footers),
};
TEST_MAIN(tests)
