#include "testing.h"

#include <string.h>

#include "lifecycle/patch.h"

static json_t *parse(const char *text) {
    json_t *j = NULL;
    ASSERT_OK(json_parse(slice_str(text), &j));
    return j;
}

static void check(const char *document, const char *patch, const char *wanted) {
    JSON_AUTO(before);
    JSON_AUTO(operations);
    JSON_AUTO(after);
    JSON_AUTO(untouched);
    before = parse(document);
    untouched = parse(document);
    operations = parse(patch);
    struct result r = patch_apply(before, operations, &after);
    if (!json_equal(before, untouched)) fail_msg("%s changed its input", patch);
    if (!wanted) {
        if (is_ok(r)) fail_msg("%s on %s: should be refused", patch, document);
        assert_null(after);
        return;
    }
    if (is_err(r)) fail_msg("%s on %s: %s", patch, document, err_detail());
    BUF_AUTO(text, 65536);
    ASSERT_OK(json_write(after, &text));
    if (!slice_is(buf_slice(&text), wanted)) fail_msg("%s on %s: %s, not %s", patch, document, buf_str(&text), wanted);
}

/* Appendix A of RFC 6902, and what else can be got wrong. */
static void test_operations(void **state) {
    check("{\"foo\":\"bar\"}", "[{\"op\":\"add\",\"path\":\"/baz\",\"value\":\"qux\"}]",
          "{\"foo\":\"bar\",\"baz\":\"qux\"}");
    check("{\"foo\":[\"bar\",\"baz\"]}", "[{\"op\":\"add\",\"path\":\"/foo/1\",\"value\":\"qux\"}]",
          "{\"foo\":[\"bar\",\"qux\",\"baz\"]}");
    check("{\"baz\":1,\"foo\":2}", "[{\"op\":\"remove\",\"path\":\"/baz\"}]", "{\"foo\":2}");
    check("{\"foo\":[1,2,3]}", "[{\"op\":\"remove\",\"path\":\"/foo/1\",\"value\":null,\"from\":null}]",
          "{\"foo\":[1,3]}");
    check("{\"a\":1}", "[{\"op\":\"REPLACE\",\"path\":\"/a\",\"value\":null}]", "{\"a\":null}");
    check("{\"a\":{\"b\":1},\"c\":{}}", "[{\"op\":\"move\",\"from\":\"/a/b\",\"path\":\"/c/d\"}]",
          "{\"a\":{},\"c\":{\"d\":1}}");
    check("{\"a\":[1,2,3]}", "[{\"op\":\"Move\",\"from\":\"/a/0\",\"path\":\"/a/2\"}]", "{\"a\":[2,3,1]}");
    check("{\"a\":{\"x\":1}}",
          "[{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/b\"},{\"op\":\"replace\",\"path\":\"/a/x\",\"value\":2}]",
          "{\"a\":{\"x\":2},\"b\":{\"x\":1}}");
    check("{\"a\":[1]}", "[{\"op\":\"add\",\"path\":\"/a/-\",\"value\":[2]}]", "{\"a\":[1,[2]]}");
    check("{\"/\":9,\"~1\":10}", "[{\"op\":\"test\",\"path\":\"/~01\",\"value\":10}]", "{\"/\":9,\"~1\":10}");
    check("{\"a/b\":1}", "[{\"op\":\"replace\",\"path\":\"/a~1b\",\"value\":2}]", "{\"a/b\":2}");
    check("{\"a\":1}", "[{\"op\":\"increment\",\"path\":\"/a\",\"value\":2}]", "{\"a\":3}");
    check("{\"a\":1.5}", "[{\"op\":\"INCREMENT\",\"path\":\"/a\",\"value\":2}]", "{\"a\":3.5}");
    check("{\"a\":{\"x\":[1,2.0]}}", "[{\"op\":\"test\",\"path\":\"/a\",\"value\":{\"x\":[1.0,2]}}]",
          "{\"a\":{\"x\":[1,2.0]}}");
    check("{\"a\":1}", "[]", "{\"a\":1}");
}

static void test_refused(void **state) {
    static const char *const patches[] = {
        "{}",
        "[1]",
        "[{}]",
        "[{\"op\":\"add\"}]",
        "[{\"op\":\"jump\",\"path\":\"/a\"}]",
        "[{\"op\":\"add\",\"path\":\"/a\"}]",
        "[{\"op\":\"add\",\"path\":\"a\",\"value\":1}]",
        "[{\"op\":\"add\",\"path\":\"\",\"value\":1}]",
        "[{\"op\":\"add\",\"path\":\"/x/y\",\"value\":1}]",
        "[{\"op\":\"add\",\"path\":\"/a/b\",\"value\":1}]",
        "[{\"op\":\"replace\",\"path\":\"/x\",\"value\":1}]",
        "[{\"op\":\"remove\",\"path\":\"/x\"}]",
        "[{\"op\":\"remove\",\"path\":\"/l/9\"}]",
        "[{\"op\":\"remove\",\"path\":\"/l/-\"}]",
        "[{\"op\":\"remove\",\"path\":\"/e/0\"}]",
        "[{\"op\":\"add\",\"path\":\"/l/5\",\"value\":1}]",
        "[{\"op\":\"add\",\"path\":\"/l/01\",\"value\":1}]",
        "[{\"op\":\"add\",\"path\":\"/l/-1\",\"value\":1}]",
        "[{\"op\":\"add\",\"path\":\"/a~2\",\"value\":1}]",
        "[{\"op\":\"add\",\"path\":\"/a~\",\"value\":1}]",
        "[{\"op\":\"test\",\"path\":\"/a\",\"value\":2}]",
        "[{\"op\":\"move\",\"from\":\"/o\",\"path\":\"/o/x\"}]",
        "[{\"op\":\"copy\",\"path\":\"/z\"}]",
        "[{\"op\":\"increment\",\"path\":\"/s\",\"value\":1}]",
        "[{\"op\":\"increment\",\"path\":\"/a\",\"value\":\"1\"}]",
        "[{\"op\":\"increment\",\"path\":\"/big\",\"value\":1}]",
        "[{\"op\":\"replace\",\"path\":\"/_id\",\"value\":\"x\"}]",
        "[{\"op\":\"add\",\"path\":\"/_event_time\",\"value\":1}]",
        "[{\"op\":\"add\",\"path\":\"/_meta/x\",\"value\":1}]",
        "[{\"op\":\"move\",\"from\":\"/_id\",\"path\":\"/x\"}]",
        "[{\"op\":\"add\",\"path\":\"/a\",\"value\":1,\"extra\":2}]",
        /* All or nothing: the first one is good. */
        "[{\"op\":\"add\",\"path\":\"/n\",\"value\":1},{\"op\":\"remove\",\"path\":\"/x\"}]",
    };
    for (size_t i = 0; i < ARRAY_LEN(patches); i++)
        check("{\"_id\":\"i\",\"a\":1,\"s\":\"t\",\"l\":[1],\"e\":[],\"o\":{},\"big\":9223372036854775807}", patches[i],
              NULL);
}

/* Copying a value into itself doubles it each time. */
static void test_growth_is_bounded(void **state) {
    BUF_AUTO(patch, 1 << 20);
    buf_append_byte(&patch, '[');
    for (int i = 0; i < 200; i++)
        buf_printf(&patch, "%s{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/a/-\"}", i ? "," : "");
    buf_append_byte(&patch, ']');
    check("{\"a\":[\"0123456789\"]}", buf_str(&patch), NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operations),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_growth_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
