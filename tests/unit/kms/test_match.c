/* Wildcards of key policies. */
#include <stdio.h>

#include "base/mem.h"
#include "kms/match.h"
#include "testing.h"

struct row {
    const char *pattern, *text;
    bool ignore_case, matches;
};

static void wildcards(void **state) {
    static const struct row rows[] = {
        {"", "", false, true},
        {"", "a", false, false},
        {"a", "", false, false},
        {"*", "", false, true},
        {"*", "anything:at/all", false, true},
        {"**", "x", false, true},
        {"?", "", false, false},
        {"?", "x", false, true},
        {"?", "xy", false, false},
        {"?*", "xy", false, true},
        {"kms:*", "kms:Encrypt", false, true},
        {"kms:*", "s3:GetObject", false, false},
        {"kms:Generate*", "kms:GenerateDataKeyWithoutPlaintext", false, true},
        {"kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext", false, false},
        {"kms:ENCRYPT", "kms:Encrypt", true, true},
        {"kms:ENCRYPT", "kms:Encrypt", false, false},
        {"*crypt", "kms:Decrypt", false, true},
        {"*crypt", "kms:Decrypts", false, false},
        {"k*:D*t", "kms:Decrypt", false, true},
        {"*a*b*c*", "xxaxxbxxcxx", false, true},
        {"*a*b*c*", "xxaxxcxxbxx", false, false},
        {"a?c", "a*c", false, true},
        {"a*c", "a*c", false, true},
        {"caf?", "caf\xc3\xa9", false, true},
        {"*?", "\xc3\xa9", false, true},
        {"??", "\xc3\xa9", false, false},
        {"\xc3\x89", "\xc3\xa9", true, false}, // only ASCII folds
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (kmsd_match(rows[i].pattern, rows[i].text, rows[i].ignore_case) != rows[i].matches)
            fail_msg("\"%s\" against \"%s\"", rows[i].pattern, rows[i].text);
}

/* Many stars against a text without the last letter: must end soon all the same. */
static void no_explosion(void **state) {
    char pattern[2001], text[4001];
    for (size_t i = 0; i < 2000; i++)
        pattern[i] = i % 2 == 0 ? '*' : 'a';
    for (size_t i = 0; i < 4000; i++)
        text[i] = 'a';
    pattern[1999] = 'b';
    pattern[2000] = text[4000] = '\0';
    assert_false(kmsd_match(pattern, text, false));
}

/* Long texts are matched in another way, which must find the same: each row once more, with so much in front of both
 * that it is taken. */
static void long_ones(void **state) {
    enum { FRONT = 1100 };
    static const char *const pieces[] = {"",   "*",        "?",         "a",     "b", "*a",  "a*",
                                         "?*", "\xc3\xa9", "*\xc3\xa9", "\x01*", "A", "**?", "ab"};
    static const char *const texts[] = {"",
                                        "a",
                                        "b",
                                        "ab",
                                        "ba",
                                        "\xc3\xa9",
                                        "a\xc3\xa9",
                                        "*",
                                        "a*b",
                                        "\xe2\x98\x83"
                                        "a",
                                        "aab"};
    char pattern[FRONT + 32], text[FRONT + 32];
    for (size_t i = 0; i < FRONT; i++)
        pattern[i] = text[i] = i % 3 == 0 ? 'x' : 'y';
    for (size_t i = 0; i < ARRAY_LEN(pieces) * ARRAY_LEN(pieces); i++)
        for (size_t j = 0; j < 2 * ARRAY_LEN(texts); j++) {
            const char *first = pieces[i / ARRAY_LEN(pieces)], *second = pieces[i % ARRAY_LEN(pieces)];
            const char *end = texts[j / 2];
            snprintf(pattern + FRONT, 32, "%s%s", first, second);
            snprintf(text + FRONT, 32, "%s", end);
            bool alone = kmsd_match(pattern + FRONT, end, j % 2 == 0);
            if (kmsd_match(pattern, text, j % 2 == 0) != alone)
                fail_msg("\"%s\" against \"%s\" behind a long front", pattern + FRONT, end);
        }
}

/* The worst that a policy and a request can bring must end soon: no more than some seconds even under a sanitizer. */
static void no_product_of_lengths(void **state) {
    enum { PATTERN = 31000, TEXT = 100000 };
    char *pattern = mem_alloc_array(PATTERN + 3, 1), *text = mem_alloc_array(TEXT + 2, 1);
    for (size_t i = 0; i < PATTERN; i++)
        pattern[i + 1] = i == PATTERN / 2 ? '?' : 'a';
    for (size_t i = 0; i < TEXT; i++)
        text[i] = 'a';
    pattern[0] = '*';
    pattern[PATTERN + 1] = 'b';
    assert_false(kmsd_match(pattern, text, false));
    text[TEXT] = 'b';
    assert_true(kmsd_match(pattern, text, false));
    mem_free(pattern);
    mem_free(text);
}

static void arns(void **state) {
    static const char key[] = "arn:aws:kms:us-west-2:111122223333:key/mrk-0123456789abcdef0123456789abcdef";
    assert_true(kmsd_match_arn(key, key));
    assert_true(kmsd_match_arn("arn:aws:kms:*:111122223333:key/*", key));
    assert_true(kmsd_match_arn("arn:*:*:*:*:*", key));
    assert_false(kmsd_match_arn("arn:aws:kms:us-east-1:111122223333:key/*", key));
    assert_false(kmsd_match_arn("arn:aws:kms:*:key/*", key)); // a star doesn't reach over a colon
    assert_false(kmsd_match_arn("*", key));
    assert_false(kmsd_match_arn(key, "*"));
    assert_true(kmsd_match_arn("arn:aws:iam::111122223333:user/*", "arn:aws:iam::111122223333:user/a/b:c"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(wildcards), cmocka_unit_test(no_explosion),
                                       cmocka_unit_test(long_ones), cmocka_unit_test(no_product_of_lengths),
                                       cmocka_unit_test(arns)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
