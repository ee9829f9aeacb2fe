#include "testing.h"

#include <string.h>

#include "cli/args.h"

static const struct args_option options[] = {
    {"--region", "REGION", "the region", "us-west-2"},
    {"--param", "NAME=VALUE", "a value", NULL},
    {"--all", NULL, "everything", NULL},
    {NULL, NULL, NULL, NULL},
};
static const struct command command = {"thing do", "NAME [OTHER]", "Does a thing.", options, false, NULL};

static enum args_outcome parse(struct args *ret, char **words) {
    int n = 0;
    while (words[n])
        n++;
    return args_parse(&command, n, words, ret);
}
#define WORDS(...) ((char *[]){__VA_ARGS__, NULL})

static void test_forms(void **state) {
    struct args a;
    assert_int_equal(parse(&a, WORDS("x", "--region", "r1", "--all", "--param=a=b", "--param", "c=d", "y")), ARGS_OK);
    assert_int_equal(a.positional_count, 2);
    assert_string_equal(a.positional[1], "y");
    assert_string_equal(args_get(&a, "--region"), "r1");
    assert_string_equal(args_get(&a, "--param"), "c=d"); /* the last one */
    assert_true(args_has(&a, "--all"));
    assert_false(args_has(&a, "--json"));
    assert_int_equal(a.given_count, 4);
}

static void test_double_dash(void **state) {
    struct args a;
    assert_int_equal(parse(&a, WORDS("--", "--region")), ARGS_OK);
    assert_string_equal(a.positional[0], "--region");
}

static void test_usage(void **state) {
    struct args a;
    assert_int_equal(parse(&a, WORDS("--all")), ARGS_USAGE);          /* NAME is missing */
    assert_int_equal(parse(&a, WORDS("a", "b", "c")), ARGS_USAGE);    /* one word too many */
    assert_int_equal(parse(&a, WORDS("a", "--what")), ARGS_USAGE);    /* unknown */
    assert_int_equal(parse(&a, WORDS("a", "--region")), ARGS_USAGE);  /* no value */
    assert_int_equal(parse(&a, WORDS("a", "--all=yes")), ARGS_USAGE); /* a switch */
    assert_int_equal(parse(&a, WORDS("a", "--help")), ARGS_HELP);
}

static void test_wipe(void **state) {
    struct args a;
    char first[] = "--param=secret", second[] = "secret";
    char *words[] = {"x", first, "--param", second, "--region", "r1", NULL};
    assert_int_equal(parse(&a, words), ARGS_OK);
    args_wipe(&a, "--param");
    assert_string_equal(first, "--param=");
    assert_string_equal(second, "");
    assert_string_equal(args_get(&a, "--region"), "r1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wipe),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_double_dash),
        cmocka_unit_test(test_usage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
