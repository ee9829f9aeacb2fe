/* The S3 client against a scripted server: what it asks for, that it is signed, and what it makes of answers. */
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "aws/s3_client.h"
#include "aws/sigv4.h"
#include "base/clock.h"
#include "base/http_server.h"
#include "testing.h"

#define KEY "AKIDEXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

/* One server; each test says what it answers next. */
static struct {
    struct http_server *server;
    struct http_pool *pool;
    unsigned port;
    int status;
    const char *body;
    struct http_field fields[4];
    char method[16], target[4096], authorization[1024], if_match[128], range[64];
    enum sigv4_failure verified;
} peer;

static bool find_key(void *arg, const char *id, struct sigv4_credential *ret) {
    if (strcmp(id, KEY) != 0) return false;
    *ret = (struct sigv4_credential){.secret_key = slice_str(SECRET)};
    return true;
}

static void keep(char *to, size_t size, const char *text) {
    snprintf(to, size, "%s", text ? text : "");
}

static void on_finish(void *context, struct http_request *r) {
    SIGV4_FIELDS_AUTO(fields);
    http_each_header(r, sigv4_fields_add, &fields);
    keep(peer.method, sizeof peer.method, http_method(r));
    AUTO_FREE char *target = slice_to_str(http_target(r));
    keep(peer.target, sizeof peer.target, target);
    keep(peer.authorization, sizeof peer.authorization, http_header(r, "Authorization"));
    keep(peer.if_match, sizeof peer.if_match, http_header(r, "If-Match"));
    keep(peer.range, sizeof peer.range, http_header(r, "Range"));
    if (*peer.authorization) {
        struct sigv4_request wire = {.method = slice_str(http_method(r)),
                                     .path = http_path(r),
                                     .query = http_query(r),
                                     .fields = sigv4_fields_list(&fields),
                                     .payload_hash = slice_str(http_header(r, "x-amz-content-sha256")),
                                     .path_rule = SIGV4_PATH_S3};
        struct sigv4_expect expect = {.region = "eu-west-1",
                                      .service = "s3",
                                      .now_unix_ms = clock_unix_ms(),
                                      .max_skew_ms = 900000,
                                      .lookup = find_key};
        struct sigv4_verified verified = {0};
        ASSERT_OK(sigv4_verify(&wire, &expect, &verified));
        peer.verified = verified.failure;
    }
    http_answer(r, peer.status, peer.fields, slice_str(peer.body));
}

static int start(void **state) {
    http_client_start();
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    peer.port = ntohs(address.sin_port);
    struct http_server_options o = {.listen_fd = fd, .handler = {.finish = on_finish}, .collect_max_bytes = 4096};
    ASSERT_OK(http_server_start(&o, &peer.server));
    ASSERT_OK(http_pool_new(&peer.pool));
    return 0;
}

static int stop(void **state) {
    http_pool_free(peer.pool);
    http_server_stop(peer.server, true);
    return 0;
}

static void answers(int status, const char *body) {
    peer.status = status;
    peer.body = body;
    for (size_t i = 0; i < ARRAY_LEN(peer.fields); i++)
        peer.fields[i] = (struct http_field){0};
}

static struct s3_client *client_of(const char *bucket, bool anonymous) {
    AUTO_FREE char *endpoint = str_format("http://127.0.0.1:%u", peer.port);
    struct s3_client_options o = {.pool = peer.pool,
                                  .endpoint = endpoint,
                                  .region = "eu-west-1",
                                  .bucket = bucket,
                                  .access_key_id = anonymous ? NULL : KEY,
                                  .secret_key = slice_str(SECRET),
                                  .timeout_ms = 5000};
    struct s3_client *c;
    ASSERT_OK(s3_client_new(&o, &c));
    return c;
}

/* As AWS writes it. */
static const char listing[] =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
    "<Name>logs</Name><Prefix>a/</Prefix><KeyCount>2</KeyCount><MaxKeys>2</MaxKeys><EncodingType>url</EncodingType>"
    "<IsTruncated>true</IsTruncated><NextContinuationToken>1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=</"
    "NextContinuationToken>"
    "<Contents><Key>a/x+y%2Bz%2F%C3%BC</Key><LastModified>2026-10-12T17:50:30.000Z</LastModified>"
    "<ETag>&quot;fba9dede5f27731c9771645a39863328&quot;</ETag><Size>434234</Size><StorageClass>STANDARD</"
    "StorageClass></Contents>"
    "<Contents><Key>a/z</Key><LastModified>2026-10-12T17:50:31.123Z</LastModified><ETag>\"abc-2\"</ETag><Size>0</Size>"
    "</Contents></ListBucketResult>";

static void test_listing(void **state) {
    struct s3_client *c = client_of("logs", false);
    AUTO(s3_page_done) struct s3_page page = {0};
    answers(200, listing);
    ASSERT_OK(s3_client_list(c, "a/ b", "a/\xc3\xbc", NULL, 2, &page));
    assert_int_equal(peer.verified, SIGV4_OK);
    assert_string_equal(peer.target,
                        "/logs?encoding-type=url&list-type=2&max-keys=2&prefix=a%2F%20b&start-after=a%2F%C3%BC");
    assert_int_equal(page.count, 2);
    assert_string_equal(page.items[0].key, "a/x y+z/\xc3\xbc");
    assert_string_equal(page.items[0].etag, "fba9dede5f27731c9771645a39863328");
    assert_int_equal(page.items[0].size, 434234);
    assert_int_equal(page.items[0].modified_ms, 1791827430000);
    assert_int_equal(page.items[1].modified_ms, 1791827431123);
    assert_string_equal(page.items[1].etag, "abc-2");
    AUTO(s3_page_done) struct s3_page next = {0};
    ASSERT_OK(s3_client_list(c, "", "ignored", page.next_token, 1000, &next));
    assert_int_equal(peer.verified, SIGV4_OK);
    assert_non_null(strstr(peer.target, "continuation-token=1ueGcxLPRx1Tr%2FXYExHnhbYLgveDs2J%2Fwm36Hy4vbOwM%3D&"));
    assert_null(strstr(peer.target, "start-after"));
    s3_client_free(c);
}

static void test_answers_that_are_no_listing(void **state) {
    static const char *const bodies[] = {"",
                                         "<html>",
                                         "<Other/>",
                                         "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
                                         "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
                                         "<ListBucketResult><Contents><Key>a</Key><LastModified>x</"
                                         "LastModified><ETag>\"e\"</ETag><Size>1</Size></Contents>"
                                         "</ListBucketResult>",
                                         "<!DOCTYPE x><ListBucketResult/>"};
    struct s3_client *c = client_of("logs", true);
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        AUTO(s3_page_done) struct s3_page page = {0};
        answers(200, bodies[i]);
        ASSERT_ERR(PEER, s3_client_list(c, "", "", NULL, 1000, &page));
        assert_string_equal(peer.authorization, "");
    }
    s3_client_free(c);
}

static void test_parts(void **state) {
    struct s3_client *c = client_of("logs", false);
    struct s3_part part;
    BUF_AUTO(out, 1000);
    answers(206, "world");
    peer.fields[0] = (struct http_field){"Content-Range", "bytes 5-9/100"};
    peer.fields[1] = (struct http_field){"Content-Encoding", "gzip"};
    ASSERT_OK(s3_client_get(c, "a b/\xc3\xbc+%", "tag", 5, 5, &out, &part));
    assert_int_equal(peer.verified, SIGV4_OK);
    assert_string_equal(peer.target, "/logs/a%20b/%C3%BC%2B%25");
    assert_string_equal(peer.if_match, "\"tag\"");
    assert_string_equal(peer.range, "bytes=5-9");
    ASSERT_SLICE(buf_slice(&out), "world");
    assert_true(part.total == 100 && part.is_gzip && !part.is_zstd);
    /* Another range, a part that is too short, none at all. */
    peer.fields[0].value = "bytes 6-10/100";
    ASSERT_ERR(PEER, s3_client_get(c, "k", "tag", 5, 5, &out, &part));
    peer.fields[0].value = "bytes 5-9/100";
    ASSERT_ERR(PEER, s3_client_get(c, "k", "tag", 5, 6, &out, &part));
    peer.fields[0] = (struct http_field){0};
    ASSERT_ERR(PEER, s3_client_get(c, "k", "tag", 5, 5, &out, &part));
    answers(416, "");
    buf_clear(&out);
    ASSERT_OK(s3_client_get(c, "k", "tag", 7, 5, &out, &part));
    assert_true(out.len == 0 && part.total == 7);
    answers(200, "all of it");
    ASSERT_OK(s3_client_get(c, "k", "tag", 0, 500, &out, &part));
    assert_true(out.len == 9 && part.total == 9);
    s3_client_free(c);
}

static void test_refusals(void **state) {
    static const struct {
        int status;
        const char *body;
        enum err_code code;
        const char *says;
    } cases[] = {
        {403, "<Error><Code>AccessDenied</Code><Message>no&#10;w\xc3\xa4y</Message></Error>", ERR_FORBIDDEN,
         "AccessDenied"},
        {403, "<Error><Code>SignatureDoesNotMatch</Code><Message>m</Message></Error>", ERR_FORBIDDEN,
         "SignatureDoesNotMatch"},
        {404, "<Error><Code>NoSuchBucket</Code></Error>", ERR_NOT_FOUND, "NoSuchBucket"},
        {404, "", ERR_NOT_FOUND, "not there"},
        {412, "<Error><Code>PreconditionFailed</Code></Error>", ERR_CONFLICT, "changed"},
        {503, "<Error><Code>SlowDown</Code></Error>", ERR_UNREACHABLE, "SlowDown"},
        {500, "not xml", ERR_UNREACHABLE, "500"},
        {429, "", ERR_UNREACHABLE, "429"},
        {400, "<Error><Code>InvalidArgument</Code><Message>m</Message></Error>", ERR_INVALID, "InvalidArgument"},
        {301, "<Error><Code>PermanentRedirect</Code></Error>", ERR_INVALID, "PermanentRedirect"},
    };
    struct s3_client *c = client_of("logs", false);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(s3_page_done) struct s3_page page = {0};
        answers(cases[i].status, cases[i].body);
        struct result r = s3_client_list(c, "", "", NULL, 1000, &page);
        if (r.code != cases[i].code) fail_msg("%d %s: %s", cases[i].status, cases[i].body, err_name(r.code));
        assert_non_null(strstr(err_detail(), cases[i].says));
        assert_null(strchr(err_detail(), 0xc3 - 256));
        assert_null(strchr(err_detail(), 10));
        assert_null(strstr(err_detail(), SECRET));
    }
    AUTO(s3_page_done) struct s3_page page = {0};
    answers(301, "");
    peer.fields[0] = (struct http_field){"x-amz-bucket-region", "us-east-2"};
    ASSERT_ERR(INVALID, s3_client_list(c, "", "", NULL, 1000, &page));
    assert_non_null(strstr(err_detail(), "us-east-2"));
    answers(404, "");
    ASSERT_ERR(NOT_FOUND, s3_client_head(c, "k", "tag"));
    assert_string_equal(peer.method, "HEAD");
    answers(412, "");
    ASSERT_ERR(CONFLICT, s3_client_head(c, "k", "tag"));
    answers(200, "");
    ASSERT_OK(s3_client_head(c, "k", "tag"));
    s3_client_free(c);
}

static void test_what_is_no_client(void **state) {
    static const struct s3_client_options bad[] = {
        {.region = "us-east-1", .bucket = "x"},
        {.region = "us-east-1", .bucket = "Upper-case"},
        {.region = "us-east-1", .bucket = "a/b/c"},
        {.region = "us east", .bucket = "good"},
        {.region = "", .bucket = "good"},
        {.region = "us-east-1", .bucket = "good", .endpoint = "127.0.0.1:9000"},
        {.region = "us-east-1", .bucket = "good", .endpoint = "http://"},
        {.region = "us-east-1", .bucket = "good", .endpoint = "http://a@b"},
        {.region = "us-east-1", .bucket = "good", .endpoint = "http://h/p"},
        {.region = "us-east-1", .bucket = "good", .access_key_id = "A"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct s3_client *c;
        ASSERT_ERR(INVALID, s3_client_new(&bad[i], &c));
    }
}

static void test_nobody_there(void **state) {
    struct s3_client_options o = {.pool = peer.pool,
                                  .endpoint = "http://127.0.0.1:1",
                                  .region = "eu-west-1",
                                  .bucket = "logs",
                                  .timeout_ms = 2000};
    struct s3_client *c;
    AUTO(s3_page_done) struct s3_page page = {0};
    ASSERT_OK(s3_client_new(&o, &c));
    ASSERT_ERR(UNREACHABLE, s3_client_list(c, "", "", NULL, 1, &page));
    s3_client_free(c);
    bool cancelled = true;
    o.cancelled = &cancelled;
    ASSERT_OK(s3_client_new(&o, &c));
    ASSERT_ERR(CANCELLED, s3_client_list(c, "", "", NULL, 1, &page));
    s3_client_free(c);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_listing),
    cmocka_unit_test(test_answers_that_are_no_listing),
    cmocka_unit_test(test_parts),
    cmocka_unit_test(test_refusals),
    cmocka_unit_test(test_what_is_no_client),
    cmocka_unit_test(test_nobody_there),
};

int main(void) {
    if (is_err(secret_start(1 << 20, true))) return 1;
    return cmocka_run_group_tests(tests, start, stop);
}
