/* The KMS client against the real local KMS, over two accounts: the customer owns the key, the service uses it under
 * the printed key policy. First argument: the program lockset-kms; without it nothing is run. */
#include "helpers.h"

#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "aws/key_policy.h"
#include "aws/kms_client.h"
#include "aws/sigv4.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/file.h"

#define CUSTOMER "111122223333"
#define SERVICE "318212636800"
#define CUSTOMER_KEY "AKIACUSTOMER00000000"
#define CUSTOMER_SECRET "the customer's secret"
#define ACCOUNTS                                                                                                       \
    "{\"accounts\":[{\"account\":\"" CUSTOMER "\",\"access_key_id\":\"" CUSTOMER_KEY                                   \
    "\",\"secret_access_key\":\"" CUSTOMER_SECRET "\"},{\"account\":\"" SERVICE                                        \
    "\",\"access_key_id\":\"AKIASERVICE000000000\","                                                                   \
    "\"secret_access_key\":\"the service's secret\"}]}"

static const char *program;
static char folder[] = "/tmp/test_kms_live.XXXXXX";
static pid_t pid;
static char endpoint[80];
static struct http_pool *pool;
static struct kms_client *client;
static char key_arn[ARN_KMS_KEY_BYTES];

/* --- The customer's side: any operation, signed by hand. --- */

static int customer_call(const char *operation, const char *body, json_t **ret) {
    uint8_t hash[SHA256_BYTES];
    BUF_AUTO(hex, 65);
    ASSERT_OK(sha256(slice_str(body), hash));
    hex_encode(slice_make(hash, sizeof hash), &hex);
    AUTO_FREE char *target = str_format("TrentService.%s", operation);
    AUTO_FREE char *url = str_format("%s/", endpoint);
    struct http_field fields[6] = {{"Host", endpoint + strlen("http://")},
                                   {"Content-Type", "application/x-amz-json-1.1"},
                                   {"X-Amz-Target", target}};
    struct sigv4_request r = {
        .method = slice_str("POST"), .path = slice_str("/"), .fields = fields, .payload_hash = buf_slice(&hex)};
    struct sigv4_signer s = {.access_key_id = CUSTOMER_KEY,
                             .secret_key = slice_str(CUSTOMER_SECRET),
                             .region = "us-west-2",
                             .service = "kms",
                             .unix_ms = clock_unix_ms()};
    AUTO(sigv4_signed_done) struct sigv4_signed made = {0};
    ASSERT_OK(sigv4_sign(&s, &r, &made));
    fields[3] = (struct http_field){"X-Amz-Date", made.amz_date};
    fields[4] = (struct http_field){"Authorization", buf_str(&made.authorization)};
    struct http_call call = {
        .method = "POST", .url = url, .fields = fields, .body = slice_str(body), .timeout_ms = 5000};
    AUTO(http_reply_done) struct http_reply reply = {0};
    ASSERT_OK(http_call(pool, &call, &reply));
    if (ret) ASSERT_OK(json_parse_object(buf_slice(&reply.body), ret));
    return reply.status;
}

static void on_key(const char *operation, const char *more) {
    AUTO_FREE char *body = str_format("{\"KeyId\":\"%s\"%s}", key_arn, more);
    if (customer_call(operation, body, NULL) != 200) fail_msg("%s was refused", operation);
}

static void put_policy(const char *policy) {
    BUF_AUTO(more, 32768);
    buf_append_str(&more, ",\"PolicyName\":\"default\",\"Policy\":");
    json_write_str(slice_str(policy), &more);
    on_key("PutKeyPolicy", buf_str(&more));
}

static char *good_policy(void) {
    struct key_policy_grant g = {.service_account_id = SERVICE, .customer_account_id = CUSTOMER};
    BUF_AUTO(policy, 4096);
    ASSERT_OK(key_policy_document(&g, &policy));
    return buf_take_str(&policy);
}

static void create_key(void) {
    AUTO_FREE char *policy = good_policy();
    BUF_AUTO(body, 32768);
    buf_append_str(&body, "{\"MultiRegion\":true,\"Policy\":");
    json_write_str(slice_str(policy), &body);
    buf_append_byte(&body, '}');
    JSON_AUTO(answer);
    assert_int_equal(customer_call("CreateKey", buf_str(&body), &answer), 200);
    json_t *metadata = NULL;
    const char *arn = NULL;
    ASSERT_OK(json_get_object(answer, "KeyMetadata", &metadata));
    ASSERT_OK(json_get_str(metadata, "Arn", &arn));
    snprintf(key_arn, sizeof key_arn, "%s", arn);
    ASSERT_OK(arn_check_customer_key(slice_str(key_arn), "us-west-2", NULL, NULL));
}

/* --- The service's side. --- */

static const struct kms_context context[] = {{"lockset:org", "o1"}, {"lockset:region", "us-west-2"}, {0}};
static const struct kms_context other_context[] = {{"lockset:org", "o2"}, {"lockset:region", "us-west-2"}, {0}};

static void ask(const struct kms_request *r, enum kms_error wanted, struct kms_answer *ret) {
    kms_answer_done(ret);
    struct kms_call_options once = {.max_attempts = 1, .attempt_timeout_ms = 2000};
    ASSERT_OK(kms_client_call(client, r, &once, ret));
    if (ret->error != wanted)
        fail_msg("%s: %s instead of %s: %s: %s", kms_operation_name(r->operation), kms_error_name(ret->error),
                 kms_error_name(wanted), ret->code, ret->message);
    bool answered = wanted != KMS_UNREACHABLE && wanted != KMS_TIMEOUT;
    assert_int_equal(answered, ret->request_id[0] != 0);
}

static void ask_all(enum kms_error wanted) {
    struct kms_request r = {.key_id = key_arn, .context = context};
    KMS_ANSWER_AUTO(a);
    r.operation = KMS_ENCRYPT;
    r.plaintext = slice_str("x");
    ask(&r, wanted, &a);
    r.operation = KMS_GENERATE_DATA_KEY;
    ask(&r, wanted, &a);
    r.operation = KMS_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT;
    ask(&r, wanted, &a);
}

static void test_round_trip(void **state) {
    create_key();
    KMS_ANSWER_AUTO(a);
    KMS_ANSWER_AUTO(b);
    struct kms_request describe = {.operation = KMS_DESCRIBE_KEY, .key_id = key_arn};
    ask(&describe, KMS_OK, &a);
    assert_string_equal(a.key_arn, key_arn);
    assert_string_equal(a.key.account, CUSTOMER);
    assert_string_equal(a.key.state, "Enabled");
    assert_string_equal(a.key.spec, "SYMMETRIC_DEFAULT");
    assert_string_equal(a.key.usage, "ENCRYPT_DECRYPT");
    assert_true(a.key.is_enabled && a.key.is_multi_region);
    assert_string_equal(a.key.multi_region_type, "PRIMARY");
    struct kms_request generate = {.operation = KMS_GENERATE_DATA_KEY, .key_id = key_arn, .context = context};
    ask(&generate, KMS_OK, &a);
    assert_int_equal(a.plaintext.len, 32);
    assert_int_equal(strlen(a.material_id), 64);
    struct kms_request decrypt = {
        .operation = KMS_DECRYPT, .key_id = key_arn, .ciphertext = buf_slice(&a.ciphertext), .context = context};
    ask(&decrypt, KMS_OK, &b);
    assert_true(slice_equal(secret_view(&a.plaintext), secret_view(&b.plaintext)));
    assert_string_equal(a.material_id, b.material_id);
    decrypt.dry_run = true;
    ask(&decrypt, KMS_DRY_RUN_OK, &b);
    decrypt.dry_run = false;
    decrypt.context = other_context;
    ask(&decrypt, KMS_INVALID_CIPHERTEXT, &b);
    decrypt.context = context;
    a.ciphertext.data[a.ciphertext.len - 1] ^= 1;
    ask(&decrypt, KMS_INVALID_CIPHERTEXT, &b);
    generate.data_key_bytes = 64;
    ask(&generate, KMS_OK, &a);
    assert_int_equal(a.plaintext.len, 64);
    struct kms_request encrypt = {
        .operation = KMS_ENCRYPT, .key_id = key_arn, .plaintext = slice_str("hello"), .context = context};
    ask(&encrypt, KMS_OK, &a);
    decrypt.ciphertext = buf_slice(&a.ciphertext);
    ask(&decrypt, KMS_OK, &b);
    ASSERT_SLICE(secret_view(&b.plaintext), "hello");
    ask_all(KMS_OK);
}

static void test_key_states(void **state) {
    create_key();
    on_key("DisableKey", "");
    ask_all(KMS_DISABLED);
    on_key("EnableKey", "");
    ask_all(KMS_OK);
    on_key("ScheduleKeyDeletion", ",\"PendingWindowInDays\":7");
    ask_all(KMS_INVALID_STATE);
    struct kms_request describe = {.operation = KMS_DESCRIBE_KEY, .key_id = key_arn};
    KMS_ANSWER_AUTO(a);
    ask(&describe, KMS_OK, &a);
    assert_string_equal(a.key.state, "PendingDeletion");
    assert_true(a.key.has_deletion_date && a.key.deletion_unix_ms > clock_unix_ms());
    on_key("CancelKeyDeletion", "");
    ask_all(KMS_DISABLED);
}

static void test_denied(void **state) {
    create_key();
    AUTO_FREE char *good = good_policy();
    struct key_policy_grant other = {.service_account_id = "999999999999", .customer_account_id = CUSTOMER};
    BUF_AUTO(policy, 4096);
    ASSERT_OK(key_policy_document(&other, &policy));
    put_policy(buf_str(&policy));
    ask_all(KMS_ACCESS_DENIED);
    struct kms_request describe = {.operation = KMS_DESCRIBE_KEY, .key_id = key_arn};
    KMS_ANSWER_AUTO(a);
    ask(&describe, KMS_ACCESS_DENIED, &a);
    assert_string_equal(a.code, "AccessDeniedException");
    MUST_HOLD(a.message, "kms:DescribeKey");
    put_policy(good);
    ask_all(KMS_OK);
    describe.key_id = "arn:aws:kms:us-west-2:" CUSTOMER ":key/mrk-00000000000000000000000000000000";
    ask(&describe, KMS_ACCESS_DENIED, &a); /* a missing key of another account looks denied */
    describe.key_id = "arn:aws:kms:us-west-2:" SERVICE ":key/mrk-00000000000000000000000000000000";
    ask(&describe, KMS_NOT_FOUND, &a);
}

static void test_wrong_credentials(void **state) {
    AUTO_FREE char *path = str_format("%s/wrong", folder);
    ASSERT_OK(file_write_atomic(path,
                                slice_str("[a]\naws_access_key_id=AKIASERVICE000000000\naws_secret_access_key=no\n"
                                          "[b]\naws_access_key_id=AKIANOBODY\naws_secret_access_key=no\n"),
                                0600));
    struct kms_client *good = client;
    for (int i = 0; i < 2; i++) {
        struct kms_client_options o = {.region = "us-west-2",
                                       .endpoint = endpoint,
                                       .credentials = {.file = path, .profile = i ? "b" : "a"},
                                       .pool = pool};
        AUTO(kms_client_free_auto) struct kms_client *bad = NULL;
        ASSERT_OK(kms_client_new(&o, &bad));
        client = bad;
        ask_all(KMS_CREDENTIALS);
    }
    client = good;
}

/* A frozen KMS gives no answer in time; a dead one can't be reached. The last test: it ends the KMS. */
static void test_silence(void **state) {
    kill(pid, SIGSTOP);
    int status = 0; /* all of its threads have stopped only when the kernel says so */
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    struct kms_request describe = {.operation = KMS_DESCRIBE_KEY, .key_id = key_arn};
    KMS_ANSWER_AUTO(a);
    struct kms_call_options once = {.max_attempts = 1, .attempt_timeout_ms = 300};
    ASSERT_OK(kms_client_call(client, &describe, &once, &a));
    assert_int_equal(a.error, KMS_TIMEOUT);
    kill(pid, SIGCONT);
    ask(&describe, KMS_OK, &a);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    pid = 0;
    ask(&describe, KMS_UNREACHABLE, &a);
}

/* --- Starting and ending. --- */

extern char **environ;

static void write_file(const char *name, const char *text) {
    AUTO_FREE char *path = str_format("%s/%s", folder, name);
    ASSERT_OK(file_write_atomic(path, slice_str(text), 0600));
}

static void start_program(void) {
    AUTO_FREE char *data = str_format("%s/us-west-2", folder);
    AUTO_FREE char *accounts = str_format("%s/accounts.json", folder);
    const char *const arguments[] = {
        program,  "--data",      data,    "--listen",     "127.0.0.1:0",       "--accounts",
        accounts, "--log-level", "error", "--debuggable", "--die-with-parent", NULL};
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, pipe_fds[0]);
    /* posix_spawn doesn't change the strings; its parameter only lacks the const. */
    char *argv[ARRAY_LEN(arguments)];
    mem_copy(argv, arguments, sizeof argv);
    assert_int_equal(posix_spawn(&pid, program, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(pipe_fds[1]);
    char line[200] = {0};
    size_t n = 0;
    while (n < sizeof line - 1 && read(pipe_fds[0], line + n, 1) == 1 && line[n] != '\n')
        n++;
    close(pipe_fds[0]);
    if (sscanf(line, "ready: %79s", endpoint) != 1) fail_msg("lockset-kms said '%s'", line);
}

static int set_up(void **state) {
    if (start_secrets(state) != 0 || mkdtemp(folder) == NULL) return 1;
    http_client_start();
    ASSERT_OK(http_pool_new(&pool));
    write_file("accounts.json", ACCOUNTS);
    write_file("credentials", "[service]\naws_access_key_id=AKIASERVICE000000000\n"
                              "aws_secret_access_key=the service's secret\n");
    start_program();
    AUTO_FREE char *path = str_format("%s/credentials", folder);
    struct kms_client_options o = {
        .region = "us-west-2", .endpoint = endpoint, .credentials = {.file = path, .profile = "service"}, .pool = pool};
    ASSERT_OK(kms_client_new(&o, &client));
    return 0;
}

static int tear_down(void **state) {
    client = kms_client_free(client);
    pool = http_pool_free(pool);
    if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    return is_ok(file_remove_tree(folder)) ? 0 : 1;
}

int main(int argc, char **argv) {
    program = argc > 1 ? argv[1] : NULL;
    if (program == NULL || access(program, X_OK) != 0) {
        print_message("no local KMS to ask; nothing was run\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),        cmocka_unit_test(test_key_states), cmocka_unit_test(test_denied),
        cmocka_unit_test(test_wrong_credentials), cmocka_unit_test(test_silence),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
