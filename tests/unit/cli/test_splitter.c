#include "testing.h"

#include <string.h>

#include "cli/splitter.h"

static FILE *open_text(const char *text) {
    FILE *f = tmpfile();
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    rewind(f);
    return f;
}

/* The text splits into exactly these documents, ended by NULL. */
static void splits(const char *text, const char *const documents[]) {
    FILE *f = open_text(text);
    AUTO(splitter_done) struct splitter s;
    splitter_init(&s, f);
    struct slice got;
    for (size_t i = 0; documents[i]; i++) {
        ASSERT_OK(splitter_next(&s, &got));
        ASSERT_SLICE(got, documents[i]);
    }
    ASSERT_OK(splitter_next(&s, &got));
    assert_int_equal(got.len, 0);
    fclose(f);
}

/* After `good` documents comes an error that names the line. */
static void fails(const char *text, size_t good, const char *line) {
    FILE *f = open_text(text);
    AUTO(splitter_done) struct splitter s;
    splitter_init(&s, f);
    struct slice got;
    for (size_t i = 0; i < good; i++)
        ASSERT_OK(splitter_next(&s, &got));
    ASSERT_ERR(INVALID, splitter_next(&s, &got));
    assert_non_null(strstr(err_detail(), line));
    fclose(f);
}

static void test_array(void **state) {
    splits(" [ {\"a\":1} , {\"b\":[{}]}\n]\n", (const char *const[]){"{\"a\":1}", "{\"b\":[{}]}", NULL});
    splits("[]", (const char *const[]){NULL});
}

static void test_lines(void **state) {
    splits("{\"a\":1}\n{\"a\":2}\r\n\n{\"a\":3}", (const char *const[]){"{\"a\":1}", "{\"a\":2}", "{\"a\":3}", NULL});
    splits("", (const char *const[]){NULL});
}

static void test_strings_hide_braces(void **state) {
    splits("[{\"a\":\"}]{[\\\"}\"},{\"\\\\\":\"\\\\\"}]",
           (const char *const[]){"{\"a\":\"}]{[\\\"}\"}", "{\"\\\\\":\"\\\\\"}", NULL});
}

static void test_refusals(void **state) {
    fails("[1,2]", 0, "line 1");
    fails("{\"a\":1}\n\nname,age\n", 1, "line 3");
    fails("[{\"a\":1},\n{\"b\":", 1, "line 2");
    fails("[{\"a\":1}", 1, "cut off");
    fails("\"text\"", 0, "line 1");
    fails("<html>", 0, "line 1");
}

static void test_byte_order_mark(void **state) {
    splits("\xEF\xBB\xBF[{\"a\":1}]", (const char *const[]){"{\"a\":1}", NULL});
    splits("\xEF\xBB\xBF", (const char *const[]){NULL});
    fails("\xEF\xBB{}", 0, "line 1");
    fails("{}\xEF\xBB\xBF{}", 1, "line 1");
}

/* What can't be read is not the end of the file. */
static void test_unreadable(void **state) {
    FILE *f = fopen(".", "re");
    assert_non_null(f);
    AUTO(splitter_done) struct splitter s;
    splitter_init(&s, f);
    struct slice got;
    ASSERT_ERR(IO, splitter_next(&s, &got));
    fclose(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_byte_order_mark),
        cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_array),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_strings_hide_braces),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
