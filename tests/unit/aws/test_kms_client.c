/* The KMS client against a scripted server: what is retried, what isn't, and for how long. */
#include "helpers.h"

#include <stdlib.h>
#include <unistd.h>

#include "aws/kms_client.h"
#include "base/clock.h"
#include "base/file.h"
#include "fake_kms.h"

#define KEY "arn:aws:kms:us-west-2:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"
#define GOOD "{\"KeyId\":\"" KEY "\",\"Plaintext\":\"aGVsbG8=\"}"
#define ERROR(type) "{\"__type\":\"" type "\",\"message\":\"" KEY " said so.\"}"

static struct http_pool *pool;
static char credentials_path[] = "/tmp/test_kms_client.XXXXXX";

static void write_credentials(const char *id, const char *key, const char *token) {
    BUF_AUTO(text, 1000);
    buf_printf(&text, "[service]\naws_access_key_id = %s\naws_secret_access_key = %s\n", id, key);
    if (*token) buf_printf(&text, "aws_session_token = %s\n", token);
    ASSERT_OK(file_write_atomic(credentials_path, buf_slice(&text), 0600));
}

/* A client of a fake that follows the steps. */
struct scene {
    struct fake_kms fake;
    struct kms_client *client;
    struct kms_answer answer;
    struct kms_call_options options;
    int64_t took_ms;
};

static void scene_start(struct scene *s, const struct fake_step *steps, size_t count) {
    *s = (struct scene){0};
    fake_kms_start(&s->fake, steps, count);
    write_credentials(FAKE_KEY, FAKE_SECRET, "");
    AUTO_FREE char *endpoint = str_format("http://127.0.0.1:%u", s->fake.port);
    struct kms_client_options o = {.region = "us-west-2",
                                   .endpoint = endpoint,
                                   .credentials = {.file = credentials_path, .profile = "service"},
                                   .pool = pool};
    ASSERT_OK(kms_client_new(&o, &s->client));
}

static void scene_done(struct scene *s) {
    kms_answer_done(&s->answer);
    s->client = kms_client_free(s->client);
    fake_kms_stop(&s->fake);
}
#define SCENE(name, ...)                                                                                               \
    static const struct fake_step name##_steps[] = {__VA_ARGS__};                                                      \
    AUTO(scene_done) struct scene name;                                                                                \
    scene_start(&name, name##_steps, ARRAY_LEN(name##_steps))

static void call(struct scene *s) {
    static const struct kms_context context[] = {{"lockset:org", "o1"}, {0}};
    struct kms_request r = {
        .operation = KMS_DECRYPT, .key_id = KEY, .ciphertext = slice_str("hello"), .context = context};
    kms_answer_done(&s->answer);
    int64_t began = clock_boottime_ns();
    ASSERT_OK(kms_client_call(s->client, &r, &s->options, &s->answer));
    s->took_ms = (clock_boottime_ns() - began) / NS_PER_MS;
}

static void expect(const struct scene *s, enum kms_error error, unsigned attempts) {
    if (s->answer.error != error || s->answer.attempts != attempts)
        fail_msg("%s after %u attempts instead of %s after %u: %s", kms_error_name(s->answer.error), s->answer.attempts,
                 kms_error_name(error), attempts, s->answer.message);
}

static void test_request(void **state) {
    SCENE(s, {200, GOOD});
    int64_t before = clock_boottime_ns();
    call(&s);
    expect(&s, KMS_OK, 1);
    ASSERT_SLICE(secret_view(&s.answer.plaintext), "hello");
    assert_string_equal(s.answer.request_id, "11111111-2222");
    assert_int_equal(s.answer.http_status, 200);
    assert_true(s.answer.sent_boottime_ns >= before && s.answer.sent_boottime_ns <= clock_boottime_ns());
    assert_string_equal(s.fake.detail, "");
    assert_int_equal(s.fake.signature, SIGV4_OK);
    assert_string_equal(s.fake.target, "TrentService.Decrypt");
    assert_string_equal(s.fake.content_type, "application/x-amz-json-1.1");
    assert_string_equal(s.fake.body, "{\"KeyId\":\"" KEY "\",\"CiphertextBlob\":\"aGVsbG8=\",\"EncryptionContext\":{"
                                     "\"lockset:org\":\"o1\"}}");
    struct kms_request bad = {.operation = KMS_DECRYPT, .key_id = KEY};
    KMS_ANSWER_AUTO(untouched);
    ASSERT_ERR(INVALID, kms_client_call(s.client, &bad, NULL, &untouched));
    assert_int_equal(s.fake.requests, 1);
}

static void test_throttling_is_retried(void **state) {
    SCENE(s, {400, ERROR("ThrottlingException")}, {503, "<html/>"}, {200, GOOD, .delay_ms = 20});
    int64_t before = clock_boottime_ns();
    call(&s);
    expect(&s, KMS_OK, 3);
    assert_string_equal(s.answer.code, "");
    /* What counts is when the attempt that was answered was sent. */
    assert_true(s.answer.sent_boottime_ns > before);
    call(&s);
    expect(&s, KMS_OK, 1);
}

static void test_retries_end(void **state) {
    SCENE(s, {400, ERROR("ThrottlingException")});
    call(&s);
    expect(&s, KMS_THROTTLED, 3);
    assert_string_equal(s.answer.code, "ThrottlingException");
    s.options.max_attempts = 1;
    call(&s);
    expect(&s, KMS_THROTTLED, 1);
    s.options.max_attempts = 2;
    call(&s);
    expect(&s, KMS_THROTTLED, 2);
    assert_int_equal(s.fake.requests, 6);
}

static void test_refusals_are_not_retried(void **state) {
    SCENE(s, {400, ERROR("DisabledException")}, {400, ERROR("AccessDeniedException")},
          {400, ERROR("NotFoundException")}, {400, ERROR("KMSInvalidStateException")}, {400, ERROR("LimitExceeded")},
          {200, GOOD});
    const enum kms_error wanted[] = {KMS_DISABLED, KMS_ACCESS_DENIED, KMS_NOT_FOUND, KMS_INVALID_STATE, KMS_UNKNOWN};
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        call(&s);
        expect(&s, wanted[i], 1);
        MUST_HOLD(s.answer.message, "said so");
    }
    call(&s);
    expect(&s, KMS_OK, 1);
}

static void test_broken_connections(void **state) {
    SCENE(s, {0}, {200, GOOD, .breaks_off = true}, {200, GOOD});
    call(&s);
    expect(&s, KMS_OK, 3);
}

static void test_nobody_listens(void **state) {
    SCENE(s, {200, GOOD});
    int fd;
    unsigned port;
    ASSERT_OK(http_listen_tcp("127.0.0.1", 0, &fd, &port));
    close(fd);
    AUTO_FREE char *endpoint = str_format("http://127.0.0.1:%u", port);
    struct kms_client_options o = {.region = "us-west-2",
                                   .endpoint = endpoint,
                                   .credentials = {.file = credentials_path, .profile = "service"},
                                   .pool = pool};
    AUTO(kms_client_free_auto) struct kms_client *c = NULL;
    ASSERT_OK(kms_client_new(&o, &c));
    struct kms_request r = {.operation = KMS_DESCRIBE_KEY, .key_id = KEY};
    KMS_ANSWER_AUTO(a);
    ASSERT_OK(kms_client_call(c, &r, NULL, &a));
    assert_int_equal(a.error, KMS_UNREACHABLE);
    assert_int_equal(a.attempts, 3);
    assert_int_equal(a.http_status, 0);
    assert_true(a.message[0] != 0);
}

static void test_time_outs(void **state) {
    SCENE(s, {200, GOOD, .delay_ms = 5000});
    s.options = (struct kms_call_options){.attempt_timeout_ms = 150, .max_attempts = 1};
    call(&s);
    expect(&s, KMS_TIMEOUT, 1);
    assert_true(s.took_ms >= 140 && s.took_ms < 1500);
    s.options = (struct kms_call_options){.attempt_timeout_ms = 10000, .total_timeout_ms = 300, .max_attempts = 9};
    call(&s);
    assert_int_equal(s.answer.error, KMS_TIMEOUT);
    assert_true(s.took_ms < 1500);
}

static void test_total_time_ends_retries(void **state) {
    SCENE(s, {500, ERROR("KMSInternalException")});
    s.options = (struct kms_call_options){.total_timeout_ms = 250, .max_attempts = 10};
    call(&s);
    assert_int_equal(s.answer.error, KMS_INTERNAL);
    assert_true(s.answer.attempts >= 1 && s.answer.attempts < 10);
    assert_true(s.took_ms < 1000);
}

#define HOUR_MS 3600000
#define EXPIRED "{\"__type\":\"InvalidSignatureException\",\"message\":\"Signature expired: a is now earlier than b\"}"

static void test_clock_is_corrected(void **state) {
    SCENE(s, {400, EXPIRED, .clock_ms = HOUR_MS}, {200, GOOD, .clock_ms = HOUR_MS});
    call(&s);
    expect(&s, KMS_OK, 2);
    assert_int_equal(s.fake.signature, SIGV4_OK);
    call(&s); /* and stays so */
    expect(&s, KMS_OK, 1);
    assert_int_equal(s.fake.signature, SIGV4_OK);
}

static void test_clock_is_corrected_once(void **state) {
    SCENE(s, {400, EXPIRED, .clock_ms = HOUR_MS});
    call(&s);
    expect(&s, KMS_CLOCK_SKEW, 2);
    s.options.max_attempts = 1;
    call(&s);
    expect(&s, KMS_CLOCK_SKEW, 1);
}

/* A probe makes no second attempt, but the next one is right. */
static void test_clock_for_the_next_probe(void **state) {
    SCENE(s, {400, EXPIRED, .clock_ms = -HOUR_MS}, {200, GOOD, .clock_ms = -HOUR_MS});
    s.options.max_attempts = 1;
    call(&s);
    expect(&s, KMS_CLOCK_SKEW, 1);
    call(&s);
    expect(&s, KMS_OK, 1);
    assert_int_equal(s.fake.signature, SIGV4_OK);
}

static void test_credentials_are_read_again(void **state) {
    SCENE(s, {400, ERROR("ExpiredTokenException")}, {200, GOOD, .needs_new_key = true});
    write_credentials(FAKE_NEW_KEY, FAKE_NEW_SECRET, FAKE_TOKEN);
    call(&s);
    expect(&s, KMS_OK, 2);
    assert_string_equal(s.fake.detail, "");
    assert_int_equal(s.fake.signature, SIGV4_OK);
    assert_string_equal(s.fake.token, FAKE_TOKEN);
}

static void test_unchanged_credentials(void **state) {
    SCENE(s, {400, ERROR("UnrecognizedClientException")});
    call(&s);
    expect(&s, KMS_CREDENTIALS, 1);
    ASSERT_OK(file_write_atomic(credentials_path, slice_str("nonsense"), 0600));
    call(&s);
    expect(&s, KMS_CREDENTIALS, 1);
}

static void test_probe_with_new_credentials(void **state) {
    SCENE(s, {400, ERROR("ExpiredTokenException")}, {200, GOOD, .needs_new_key = true});
    s.options.max_attempts = 1;
    write_credentials(FAKE_NEW_KEY, FAKE_NEW_SECRET, FAKE_TOKEN);
    call(&s);
    expect(&s, KMS_CREDENTIALS, 1);
    call(&s);
    expect(&s, KMS_OK, 1);
    assert_int_equal(s.fake.signature, SIGV4_OK);
}

static void test_strange_answers(void **state) {
    SCENE(s, {302, "", .headers = "Location: http://127.0.0.1:1/\r\n"}, {200, "<html>login</html>"}, {200, ""});
    for (unsigned i = 0; i < 3; i++) {
        call(&s);
        expect(&s, KMS_UNKNOWN, 1);
        assert_int_equal(s.answer.plaintext.len, 0);
    }
    assert_int_equal(s.fake.requests, 3);
}

static void test_huge_answer(void **state) {
    AUTO_FREE char *huge = mem_alloc(400000);
    for (size_t i = 0; i < 399999; i++)
        huge[i] = ' ';
    const struct fake_step steps[] = {{200, huge}};
    AUTO(scene_done) struct scene s;
    scene_start(&s, steps, 1);
    call(&s);
    expect(&s, KMS_UNKNOWN, 1);
}

static void *cancel_soon(void *arg) {
    clock_sleep_ms(100);
    __atomic_store_n((bool *)arg, true, __ATOMIC_RELAXED);
    return NULL;
}

static void test_cancelled(void **state) {
    SCENE(s, {200, GOOD, .delay_ms = 5000});
    bool cancelled = false;
    s.options.cancelled = &cancelled;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &cancelled), 0);
    call(&s);
    pthread_join(thread, NULL);
    expect(&s, KMS_CANCELLED, 1);
    assert_true(s.took_ms < 2000);
}

static struct result new_client(const char *region, const char *endpoint, struct kms_client **ret) {
    struct kms_client_options o = {.region = region,
                                   .endpoint = endpoint,
                                   .credentials = {.file = credentials_path, .profile = "service"},
                                   .pool = pool};
    return kms_client_new(&o, ret);
}

static void test_endpoints(void **state) {
    write_credentials(FAKE_KEY, FAKE_SECRET, "");
    static const struct {
        const char *region, *endpoint, *wanted;
    } good[] = {
        {"us-west-2", NULL, "https://kms.us-west-2.amazonaws.com"},
        {"us-gov-west-1", NULL, "https://kms.us-gov-west-1.amazonaws.com"},
        {"cn-north-1", NULL, "https://kms.cn-north-1.amazonaws.com.cn"},
        {"us-west-2", "https://kms.example:8443/", "https://kms.example:8443"},
        {"us-west-2", "http://[::1]:80", "http://[::1]:80"},
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        AUTO(kms_client_free_auto) struct kms_client *c = NULL;
        ASSERT_OK(new_client(good[i].region, good[i].endpoint, &c));
        assert_string_equal(kms_client_endpoint(c), good[i].wanted);
        assert_string_equal(kms_client_region(c), good[i].region);
    }
    const char *const bad[] = {"",
                               "kms.example",
                               "ftp://kms.example",
                               "https://",
                               "http:///",
                               "https://u:p@kms.example",
                               "https://kms.example/path",
                               "https://kms.example?x",
                               "https://kms .example"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct kms_client *c = NULL;
        ASSERT_ERR(INVALID, new_client("us-west-2", bad[i], &c));
        assert_null(c);
    }
    struct kms_client *c = NULL;
    ASSERT_ERR(INVALID, new_client("nowhere", NULL, &c));
    ASSERT_ERR(INVALID, new_client("us-iso-east-1", NULL, &c));
    struct kms_client_options o = {.region = "us-west-2", .credentials = {.file = "/nonexistent"}, .pool = pool};
    ASSERT_ERR(NOT_FOUND, kms_client_new(&o, &c));
}

static int set_up(void **state) {
    if (start_secrets(state) != 0) return 1;
    http_client_start();
    int fd = mkstemp(credentials_path);
    if (fd < 0) return 1;
    close(fd);
    return is_ok(http_pool_new(&pool)) ? 0 : 1;
}

static int tear_down(void **state) {
    pool = http_pool_free(pool);
    unlink(credentials_path);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request),
        cmocka_unit_test(test_throttling_is_retried),
        cmocka_unit_test(test_retries_end),
        cmocka_unit_test(test_refusals_are_not_retried),
        cmocka_unit_test(test_broken_connections),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_time_outs),
        cmocka_unit_test(test_total_time_ends_retries),
        cmocka_unit_test(test_clock_is_corrected),
        cmocka_unit_test(test_clock_is_corrected_once),
        cmocka_unit_test(test_clock_for_the_next_probe),
        cmocka_unit_test(test_credentials_are_read_again),
        cmocka_unit_test(test_unchanged_credentials),
        cmocka_unit_test(test_probe_with_new_credentials),
        cmocka_unit_test(test_strange_answers),
        cmocka_unit_test(test_huge_answer),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_endpoints),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
