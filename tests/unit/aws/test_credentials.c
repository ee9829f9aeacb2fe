/* Credentials from the environment and from files, and what is refused. */
#include "helpers.h"

#include <stdlib.h>
#include <unistd.h>

#include "aws/credentials.h"
#include "base/file.h"

static struct result parse(const char *text, const char *profile, struct credentials *ret) {
    return credentials_parse(slice_str(text), "FILE", profile, ret);
}

static void is(const struct credentials *c, const char *id, const char *key, const char *token) {
    assert_string_equal(c->access_key_id, id);
    ASSERT_SLICE(secret_view(&c->secret_key), key);
    ASSERT_SLICE(secret_view(&c->session_token), token);
}

#define TWO_PROFILES                                                                                                   \
    "# a comment\r\n"                                                                                                  \
    "; another\n"                                                                                                      \
    "\n"                                                                                                               \
    "[service]\n"                                                                                                      \
    "aws_access_key_id = AKIASERVICE\n"                                                                                \
    "aws_secret_access_key=se/cr+et==\n"                                                                               \
    "region = us-west-2\n"                                                                                             \
    "s3 =\n"                                                                                                           \
    "  max_concurrent_requests = 1\n"                                                                                  \
    "[ customer ]\r\n"                                                                                                 \
    "aws_access_key_id=AKIACUSTOMER\r\n"                                                                               \
    "aws_secret_access_key =  other \r\n"                                                                              \
    "aws_session_token = to=ken\r\n"

static void test_profiles(void **state) {
    CREDENTIALS_AUTO(service);
    CREDENTIALS_AUTO(customer);
    ASSERT_OK(parse(TWO_PROFILES, "service", &service));
    is(&service, "AKIASERVICE", "se/cr+et==", "");
    ASSERT_OK(parse(TWO_PROFILES, "customer", &customer));
    is(&customer, "AKIACUSTOMER", "other", "to=ken");
}

static void test_refused_files(void **state) {
    CREDENTIALS_AUTO(c);
    ASSERT_ERR(NOT_FOUND, parse(TWO_PROFILES, "other", &c));
    MUST_HOLD(err_detail(), "FILE has no profile 'other'");
    ASSERT_ERR(NOT_FOUND, parse("", "default", &c));
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"[default]\naws_access_key_id = A\n", "lacks aws_secret_access_key"},
        {"[default]\naws_secret_access_key = A\n", "lacks aws_access_key_id"},
        {"[default]\naws_access_key_id = \naws_secret_access_key = x\n", "lacks aws_access_key_id"},
        {"[default]\naws_access_key_id = A\naws_access_key_id = B\n", "line 3: aws_access_key_id is there twice"},
        {"[default]\n[other]\n[default]\n", "line 3: profile 'default' is there twice"},
        {"[default\n", "line 1"},
        {"[default]\nnonsense\n", "line 2: neither"},
        {"[default]\naws_access_key_id = A B\naws_secret_access_key = x\n", "can't be part"},
        {"[default]\naws_access_key_id = A/B\naws_secret_access_key = x\n", "can't be part"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        ASSERT_ERR(INVALID, parse(bad[i].text, "default", &c));
        MUST_HOLD(err_detail(), bad[i].words);
        assert_null(c.access_key_id);
    }
    ASSERT_ERR(INVALID, credentials_parse(slice_make("[a]\0", 4), "FILE", "a", &c));
}

/* A secret is never repeated in a message. */
static void test_messages_hold_no_secret(void **state) {
    CREDENTIALS_AUTO(c);
    ASSERT_ERR(INVALID, parse("[default]\naws_secret_access_key = hushhush\nhushhush\n", "default", &c));
    assert_null(strstr(err_detail(), "hushhush"));
    ASSERT_ERR(INVALID, parse("[default]\naws_access_key_id = hushhush x\naws_secret_access_key = a\n", "default", &c));
    assert_null(strstr(err_detail(), "hushhush"));
}

static void clear_environment(void) {
    static const char *const names[] = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",       "AWS_SESSION_TOKEN",
                                        "AWS_PROFILE",       "AWS_SHARED_CREDENTIALS_FILE", "HOME"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unsetenv(names[i]);
}

static void test_environment(void **state) {
    clear_environment();
    struct credentials_source anywhere = {0};
    CREDENTIALS_AUTO(c);
    ASSERT_ERR(NOT_FOUND, credentials_load(&anywhere, &c));
    MUST_HOLD(err_detail(), "AWS_SHARED_CREDENTIALS_FILE");
    setenv("AWS_ACCESS_KEY_ID", "AKIAENV", 1);
    ASSERT_ERR(INVALID, credentials_load(&anywhere, &c));
    MUST_HOLD(err_detail(), "AWS_SECRET_ACCESS_KEY is not");
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    ASSERT_OK(credentials_load(&anywhere, &c));
    is(&c, "AKIAENV", "secret", "");
    credentials_done(&c);
    setenv("AWS_SESSION_TOKEN", "token", 1);
    ASSERT_OK(credentials_from_environment(&c));
    is(&c, "AKIAENV", "secret", "token");
    credentials_done(&c);
    unsetenv("AWS_ACCESS_KEY_ID");
    ASSERT_ERR(INVALID, credentials_load(&anywhere, &c));
    clear_environment();
}

static void test_files(void **state) {
    clear_environment();
    char path[] = "/tmp/test_credentials.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, TWO_PROFILES, strlen(TWO_PROFILES)), strlen(TWO_PROFILES));
    close(fd);
    CREDENTIALS_AUTO(c);
    /* An explicit file wins over variables. */
    setenv("AWS_ACCESS_KEY_ID", "AKIAENV", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    struct credentials_source source = {.file = path, .profile = "customer"};
    ASSERT_OK(credentials_load(&source, &c));
    is(&c, "AKIACUSTOMER", "other", "to=ken");
    credentials_done(&c);
    clear_environment();
    setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1);
    struct credentials_source anywhere = {0};
    ASSERT_ERR(NOT_FOUND, credentials_load(&anywhere, &c));
    MUST_HOLD(err_detail(), "'default'");
    setenv("AWS_PROFILE", "service", 1);
    ASSERT_OK(credentials_load(&anywhere, &c));
    is(&c, "AKIASERVICE", "se/cr+et==", "");
    credentials_done(&c);
    struct credentials_source missing = {.file = "/nonexistent/credentials", .profile = "service"};
    ASSERT_ERR(NOT_FOUND, credentials_load(&missing, &c));
    clear_environment();
    unlink(path);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_profiles),
    cmocka_unit_test(test_refused_files),
    cmocka_unit_test(test_messages_hold_no_secret),
    cmocka_unit_test(test_environment),
    cmocka_unit_test(test_files),
};

TEST_MAIN(tests)
