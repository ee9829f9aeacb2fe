#include "testing.h"

#include <string.h>

#include "lifecycle/keylink.h"
#include "lifecycle/rows.h"
#include "lifecycle/writes.h"

/* Fed in pieces of `step` bytes. */
static void check(const char *text, bool star, size_t step, const char *wanted) {
    AUTO(rows_done) struct rows rows;
    rows_init(&rows, star);
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i += step)
        ASSERT_OK(rows_feed(&rows, slice_make(text + i, n - i < step ? n - i : step)));
    ASSERT_OK(rows_finish(&rows));
    if (!slice_is(buf_slice(&rows.results), wanted))
        fail_msg("step %zu: %s\n wanted %s", step, buf_str(&rows.results), wanted);
}

static void test_values(void **state) {
    static const char text[] = "[\"i\",\"t\",\"d\",\"h\",\"s\",\"count()\",\"count()\",\"plus(f(x), 1)\",\"a\\\"b\"]\n"
                               "[\"Int64\",\"Nullable(DateTime64(9, "
                               "'UTC'))\",\"Date32\",\"Time64(3)\",\"LowCardinality(Nullable(String))\",\"UInt64\","
                               "\"UInt64\",\"Int64\",\"Array(String)\"]\n"
                               "[9007199254740993, \"2026-01-02T03:04:05.123456789Z\", \"2026-01-02\", "
                               "\"01:02:03.500\", \"x, ]y\", 1, 2, 3, [\"z\"]]\n"
                               "[null, null, null, null, null, 0, 0, null, []]\n"
                               "[1, \"2026-01-02 03:04:05\", null, null, null, 0, 0, null, []]\n";
    static const char wanted[] = "[{\"i\":9007199254740993,\"t\":\"2026-01-02T03:04:05.123456Z\",\"d\":{\"__rockset_"
                                 "type\":\"DATE\",\"value\":\"2026-01-02\"},"
                                 "\"h\":{\"__rockset_type\":\"TIME\",\"value\":\"01:02:03.500\"},\"s\":\"x, "
                                 "]y\",\"?count\":1,\"?count_2\":2,\"?plus\":3,\"a\\\"b\":[\"z\"]},"
                                 "{\"i\":null,\"t\":null,\"d\":null,\"h\":null,\"s\":null,\"?count\":0,\"?count_2\":0,"
                                 "\"?plus\":null,\"a\\\"b\":[]},"
                                 "{\"i\":1,\"t\":\"2026-01-02T03:04:05Z\",\"d\":null,\"h\":null,\"s\":null,\"?count\":"
                                 "0,\"?count_2\":0,\"?plus\":null,\"a\\\"b\":[]}]";
    for (size_t step = 1; step < 90; step += 7)
        check(text, false, step, wanted);
    check(text, false, sizeof text, wanted);
}

static void test_a_star_leaves_out_what_is_missing(void **state) {
    check("[\"a\",\"o\",\"count()\"]\n[\"Nullable(Int64)\",\"JSON(max_dynamic_paths=128)\",\"Nullable(String)\"]\n["
          "null, {}, null]\n[1, {\"x\":1}, \"y\"]\n",
          true, 1000, "[{},{\"a\":1,\"o\":{\"x\":1},\"count()\":\"y\"}]");
    check("", false, 1, "[]");
    check("[]\n[]\n", false, 1, "[]");
}

static void test_a_star_keeps_real_empty_arrays(void **state) {
    static const char text[] = "[\"a\",\"b\"]\n[\"Array(Nullable(Int64))\",\"Array(Nullable(Int64))\"]\n[[],[]]\n";
    AUTO(rows_done) struct rows rows;
    rows_init(&rows, true);
    schema_add(&rows.empty_arrays, slice_str("b"), (struct scan_type){"n"});
    ASSERT_OK(rows_feed(&rows, slice_str(text)));
    ASSERT_OK(rows_finish(&rows));
    ASSERT_SLICE(buf_slice(&rows.results), "[{\"b\":[]}]");
    check(text, false, 1000, "[{\"a\":[],\"b\":[]}]");
}

static void test_bytes_that_are_no_text(void **state) {
    static const char text[] = "[\"a\",\"b\"]\n[\"String\",\"Int64\"]\n[\"x\", 1]\n[\"\xff\xc3z\xed\xa0\x80\xc3\xa9\", "
                               "2]\n[\"y\", 3]\n";
    for (size_t step = 1; step < 60; step += 11)
        check(text, false, step,
              "[{\"a\":\"x\",\"b\":1},{\"a\":\"\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xc3\xa9\","
              "\"b\":"
              "2},{\"a\":\"y\",\"b\":3}]");
}

static void test_broken_answers(void **state) {
    static const char *const texts[] = {"x\n", "[\"a\"]\n[1]\n", "[\"a\"]\n[\"Int64\"]\n[1,2]\n",
                                        "[\"a\"]\n[\"Int64\"]\n[\n"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        AUTO(rows_done) struct rows rows;
        rows_init(&rows, false);
        struct result r = rows_feed(&rows, slice_str(texts[i]));
        assert_true(r.code == ERR_PEER);
    }
}

static void test_fences(void **state) {
    uint64_t v = 0;
    ASSERT_OK(write_parse_fence("f1:0:0:0:77", &v));
    assert_int_equal(v, 77);
    static const char *const bad[] = {
        "", "x", "f1:0:0:0:", "f1:0:0:0:-1", "f1:0:0:0:1x", "f1:0:14:9:7", "f1:0:0:0:99999999999999999999"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ASSERT_ERR(INVALID, write_parse_fence(bad[i], &v));
}

/* What each state means for reads and writes. */
static void test_states(void **state) {
    static const struct {
        const char *state, *cause;
        int read, write; /* status; 0: let through */
    } cases[] = {
        {"AVAILABLE", NULL, 0, 0},
        {"STARTING", NULL, 503, 503},
        {"RECOVERING", NULL, 503, 503},
        {"UNAVAILABLE", "DENIED", 403, 503},
        {"UNAVAILABLE", "UNREACHABLE", 503, 503},
        {"UNAVAILABLE", "DESTROYED", 403, 403},
        {"PAUSED", "DENIED", 403, 503},
        {"PAUSED", "UNREACHABLE", 403, 503},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        JSON_AUTO(s);
        s = json_pack("{s:s, s:s*, s:s, s:s, s:s, s:I}", "state", cases[i].state, "cause", cases[i].cause,
                      "kms_key_arn", "arn:aws:kms:us-west-2:111122223333:key/mrk-1", "region", "us-west-2", "aws_error",
                      "DisabledException", "since_ms", (json_int_t)1700000000000);
        for (enum keylink_use use = KEYLINK_READ; use <= KEYLINK_WRITE; use++) {
            REFUSAL_AUTO(why);
            struct result r = keylink_judge(s, use, &why);
            int wanted = use == KEYLINK_READ ? cases[i].read : cases[i].write;
            if (why.status != wanted || is_ok(r) != (wanted == 0))
                fail_msg("%s %s: %d", cases[i].state, cases[i].cause, why.status);
            if (!wanted) continue;
            assert_non_null(strstr(why.message, "arn:aws:kms:us-west-2:111122223333:key/mrk-1"));
            assert_non_null(strstr(why.message, "us-west-2"));
            assert_string_equal(why.type, wanted == 403 ? "FORBIDDEN" : "NOT_READY");
            assert_true((why.retry_after_s > 0) == (wanted == 503));
            if (strcmp(cases[i].state, "UNAVAILABLE") == 0) {
                assert_non_null(strstr(why.message, "DisabledException"));
                assert_non_null(strstr(why.message, "2023-11-14T22:13:20"));
            }
        }
    }
    REFUSAL_AUTO(why);
    assert_true(is_err(keylink_judge(NULL, KEYLINK_READ, &why)));
    assert_int_equal(why.status, 503);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_a_star_leaves_out_what_is_missing),
        cmocka_unit_test(test_a_star_keeps_real_empty_arrays),
        cmocka_unit_test(test_broken_answers),
        cmocka_unit_test(test_bytes_that_are_no_text),
        cmocka_unit_test(test_fences),
        cmocka_unit_test(test_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
