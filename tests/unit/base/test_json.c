#include <string.h>

#include "base/json.h"
#include "testing.h"

static void test_strictness(void **state) {
    static const char *const bad[] = {"",
                                      "{",
                                      "{\"a\":1,\"a\":2}",
                                      "\"\\u0000\"",
                                      "{\"\\u0000\":1}",
                                      "\"\xFF\"",
                                      "99999999999999999999",
                                      "{} x",
                                      "NaN",
                                      "\"\\ud800\"",
                                      "01",
                                      "\"a\nb\"",
                                      "[1,]",
                                      "{'a':1}",
                                      "// c\n{}",
                                      "1e999",
                                      "[1 2]",
                                      "\"\xED\xA0\x80\"",
                                      "tru",
                                      "+1",
                                      "\xEF\xBB\xBF{}"};
    json_t *j = NULL;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ASSERT_ERR(INVALID, json_parse(slice_str(bad[i]), &j));
    ASSERT_ERR(INVALID, json_parse(slice_make("{}\0", 3), &j));
    assert_null(j);
}

static void test_nesting(void **state) {
    char text[50001];
    json_t *j = NULL;
    memset(text, '[', 50000);
    text[50000] = '\0';
    ASSERT_ERR(INVALID, json_parse(slice_str(text), &j));
    memset(text, '[', 200);
    memset(text + 200, ']', 200);
    ASSERT_OK(json_parse(slice_make(text, 400), &j));
    json_decref(j);
    j = NULL;
    memset(text, '[', 201);
    memset(text + 201, ']', 201);
    ASSERT_ERR(INVALID, json_parse(slice_make(text, 402), &j));
    /* Brackets in strings are not nesting. */
    memset(text, '[', 500);
    text[0] = text[499] = '"';
    ASSERT_OK(json_parse(slice_make(text, 500), &j));
    json_decref(j);
}

static void test_detail_quotes_nothing(void **state) {
    json_t *j = NULL;
    ASSERT_ERR(INVALID, json_parse(slice_str("{\"Plaintext\": c2VjcmV0}"), &j));
    assert_null(strstr(err_detail(), "c2VjcmV0"));
    assert_non_null(strstr(err_detail(), "line 1"));
    ASSERT_ERR(INVALID, json_parse(slice_str("{\"canary\":1,\"canary\":2}"), &j));
    assert_null(strstr(err_detail(), "canary"));
}

static void test_members(void **state) {
    JSON_AUTO(j);
    ASSERT_OK(
        json_parse_object(slice_str("{\"s\":\"x\",\"i\":5,\"b\":true,\"a\":[],\"o\":{},\"n\":null,\"r\":1.5}"), &j));
    const char *s = "kept";
    int64_t i = 7;
    bool b = false;
    json_t *part = NULL;
    ASSERT_OK(json_get_str(j, "s", &s));
    assert_string_equal(s, "x");
    s = "kept";
    ASSERT_OK(json_opt_str(j, "absent", &s));
    assert_string_equal(s, "kept");
    ASSERT_ERR(INVALID, json_get_str(j, "absent", &s));
    assert_string_equal(err_detail(), "'absent' is missing");
    ASSERT_ERR(INVALID, json_get_str(j, "i", &s));
    assert_string_equal(err_detail(), "'i' must be a string, not an integer");
    ASSERT_ERR(INVALID, json_opt_str(j, "n", &s));
    ASSERT_OK(json_get_int(j, "i", 0, 5, &i));
    assert_int_equal(i, 5);
    i = 7;
    ASSERT_ERR(INVALID, json_get_int(j, "i", 0, 4, &i));
    ASSERT_ERR(INVALID, json_get_int(j, "i", 6, 9, &i));
    ASSERT_ERR(INVALID, json_get_int(j, "r", 0, 9, &i));
    ASSERT_OK(json_opt_int(j, "absent", 0, 1, &i));
    assert_int_equal(i, 7);
    ASSERT_OK(json_opt_bool(j, "b", &b));
    assert_true(b);
    ASSERT_ERR(INVALID, json_opt_bool(j, "s", &b));
    ASSERT_OK(json_get_array(j, "a", &part));
    ASSERT_ERR(INVALID, json_get_array(j, "o", &part));
    ASSERT_OK(json_get_object(j, "o", &part));
    ASSERT_ERR(INVALID, json_get_object(j, "a", &part));
    part = NULL;
    ASSERT_OK(json_opt_array(j, "absent", &part));
    ASSERT_OK(json_opt_object(j, "absent", &part));
    assert_null(part);
    ASSERT_ERR(INVALID, json_get_array(j, "absent", &part));
    ASSERT_ERR(INVALID, json_get_object(j, "absent", &part));
    static const char *const all[] = {"s", "i", "b", "a", "o", "n", "r", NULL}, *const few[] = {"s", "i", NULL};
    ASSERT_OK(json_only(j, all));
    ASSERT_ERR(INVALID, json_only(j, few));
    assert_string_equal(err_detail(), "'b' is not a known member here");
    JSON_AUTO(not_object);
    ASSERT_ERR(INVALID, json_parse_object(slice_str("[]"), &not_object));
    assert_null(not_object);
}

static void test_writing(void **state) {
    JSON_AUTO(j);
    static const char text[] = "{\"z\":1,\"a\":[true,null,\"\xC3\xA9\\n\"]}";
    ASSERT_OK(json_parse(slice_str(text), &j));
    BUF_AUTO(b, 100);
    ASSERT_OK(json_write(j, &b));
    assert_string_equal(buf_str(&b), text);
    BUF_AUTO(small, 5);
    ASSERT_ERR(TOO_LARGE, json_write(j, &small));
    buf_clear(&b);
    json_write_str(slice_make("a\"\\\n\t\0\x7f\xFF\xC3\xA9", 10), &b);
    assert_string_equal(buf_str(&b), "\"a\\\"\\\\\\n\\u0009\\u0000\\u007f\xEF\xBF\xBD\xC3\xA9\"");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_strictness), cmocka_unit_test(test_nesting), cmocka_unit_test(test_detail_quotes_nothing),
    cmocka_unit_test(test_members),    cmocka_unit_test(test_writing),
};

int main(void) {
    json_start_wiping();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
