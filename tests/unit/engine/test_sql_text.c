#include "testing.h"

#include <string.h>

#include "engine/sql_text.h"

static struct sql_tokens tokens;

static void cut(const char *sql) {
    sql_tokens_done(&tokens);
    ASSERT_OK(sql_tokenize(slice_str(sql), &tokens));
}

static void assert_token(size_t i, enum sql_token_kind kind, const char *text) {
    assert_true(i < tokens.count);
    assert_int_equal(tokens.items[i].kind, kind);
    ASSERT_SLICE(tokens.items[i].text, text);
}

static void test_words_marks_and_numbers(void **state) {
    cut("SELECT a1,_b $x 12 1e5");
    assert_int_equal(tokens.count, 7);
    assert_token(0, SQL_WORD, "SELECT");
    assert_token(2, SQL_MARK, ",");
    assert_token(3, SQL_WORD, "_b");
    assert_token(5, SQL_NUMBER, "12");
    assert_token(6, SQL_NUMBER, "1e5");
    assert_int_equal(tokens.items[7].kind, SQL_END);
}

static void test_comments_and_blanks_separate(void **state) {
    cut("a/* x */b--c\nd#!e\nf # g\nh\xc2\xa0i\xe2\x80\x89j\xef\xbb\xbfk /**/l/* /* */ ; /*/ */ */m//n\no");
    const char *const expected[] = {"a", "b", "d", "f", "h", "i", "j", "k", "l", "m", "o"};
    assert_int_equal(tokens.count, ARRAY_LEN(expected));
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        assert_token(i, SQL_WORD, expected[i]);
    }
}

/* Where another cut would make a comment or a string of what ClickHouse runs. */
static void test_numbers_and_digits_end_where_clickhouse_ends_them(void **state) {
    cut("1e-5 2.5E+3 0x1p-2 3. x.1.2 x'4a' B'01' $$e-- $");
    static const char *const expected[] = {"1e-5", "2.5E+3", "0x1p-2", "3.", "x", ".", "1", ".", "2", "x'4a'", "B'01'"};
    assert_int_equal(tokens.count, ARRAY_LEN(expected) + 2);
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        ASSERT_SLICE(tokens.items[i].text, expected[i]);
    }
    assert_token(11, SQL_MARK, "$");
    assert_token(12, SQL_WORD, "$e");
    static const char *const broken[] = {"1e--",  "x.1e--", ".5e--", "1$a$ $a$", "1'a'",
                                         "1e-5x", "x'\\'",  "b'12'", "x'4"};
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        cut(broken[i]);
        assert_true(tokens.count > 0);
        assert_int_equal(tokens.items[tokens.count - 1].kind, SQL_BROKEN);
    }
}

static void test_quoted_names_come_decoded(void **state) {
    cut("`a``b` \"c\"\"d\" `e\\x41\\n` \"\" `file`");
    assert_int_equal(tokens.count, 5);
    assert_token(0, SQL_IDENTIFIER, "a`b");
    assert_token(1, SQL_IDENTIFIER, "c\"d");
    assert_token(2, SQL_IDENTIFIER, "eA\n");
    assert_token(3, SQL_IDENTIFIER, "");
    assert_token(4, SQL_IDENTIFIER, "file");
}

static void test_strings_hide_what_is_in_them(void **state) {
    cut("'a -- \\' ; /*' 'b''c' $x$ ' ; $y$ $x$ d");
    assert_int_equal(tokens.count, 4);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(tokens.items[i].kind, SQL_STRING);
    }
    assert_token(3, SQL_WORD, "d");
}

static void test_positions_point_into_the_source(void **state) {
    cut("  ab /* */ 'c' ");
    assert_int_equal(tokens.items[0].begin, 2);
    assert_int_equal(tokens.items[0].end, 4);
    assert_int_equal(tokens.items[1].begin, 11);
    assert_int_equal(tokens.items[1].end, 14);
}

static void test_what_is_no_sql_breaks(void **state) {
    static const char *const broken[] = {"'a",     "`a",          "\"a",       "a /* b", "a \x01 b", "a \x7f",
                                         "a \\ b", "sys\xc3\xa4", "a\xe2\x80", "/*/",    "'a\\'",    "`a``"};
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        cut(broken[i]);
        assert_true(tokens.count > 0);
        assert_int_equal(tokens.items[tokens.count - 1].kind, SQL_BROKEN);
    }
}

static void test_a_text_over_the_limit_is_refused(void **state) {
    BUF_AUTO(big, SQL_MAX_BYTES + 2);
    assert_non_null(buf_reserve(&big, SQL_MAX_BYTES + 1));
    memset(big.data, 'a', SQL_MAX_BYTES + 1);
    big.len = SQL_MAX_BYTES + 1;
    struct sql_tokens t = {0};
    ASSERT_ERR(TOO_LARGE, sql_tokenize(buf_slice(&big), &t));
}

static void test_many_tokens(void **state) {
    BUF_AUTO(text, SQL_MAX_BYTES);
    for (int i = 0; i < 20000; i++) {
        buf_append_str(&text, "`x`,");
    }
    sql_tokens_done(&tokens);
    ASSERT_OK(sql_tokenize(buf_slice(&text), &tokens));
    assert_int_equal(tokens.count, 40000);
    assert_token(39998, SQL_IDENTIFIER, "x");
}

static int tear_down(void **state) {
    sql_tokens_done(&tokens);
    return 0;
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_teardown(test_words_marks_and_numbers, tear_down),
    cmocka_unit_test_teardown(test_comments_and_blanks_separate, tear_down),
    cmocka_unit_test_teardown(test_numbers_and_digits_end_where_clickhouse_ends_them, tear_down),
    cmocka_unit_test_teardown(test_quoted_names_come_decoded, tear_down),
    cmocka_unit_test_teardown(test_strings_hide_what_is_in_them, tear_down),
    cmocka_unit_test_teardown(test_positions_point_into_the_source, tear_down),
    cmocka_unit_test_teardown(test_what_is_no_sql_breaks, tear_down),
    cmocka_unit_test(test_a_text_over_the_limit_is_refused),
    cmocka_unit_test_teardown(test_many_tokens, tear_down),
};
TEST_MAIN(tests)
