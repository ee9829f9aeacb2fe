/* Signature Version 4: the project's own cases, made with botocore, signed and verified here stage by stage; and every
 * way in which verification must refuse. */
#include "helpers.h"

#include "aws/sigv4.h"
#include "base/crypto.h"
#include "base/file.h"

enum { FILE_MAX = 1 << 20, FIELDS_MAX = 32, MINUTE_MS = 60000 };

static const char *path_of_cases;

/* --- botocore's cases. --- */

struct own_case {
    const json_t *json;
    const char *name, *service, *region, *method, *path, *query, *signed_query, *token, *hash;
    int64_t expires;
    bool is_s3;
    struct http_field fields[FIELDS_MAX], signed_fields[FIELDS_MAX];
    const char *access_key, *secret_key;
    int64_t unix_ms;
};

static const char *str(const json_t *object, const char *name) {
    const char *text = NULL;
    ASSERT_OK(json_get_str(object, name, &text));
    return text;
}

static void read_fields(const json_t *object, const char *name, struct http_field *to) {
    const json_t *list = json_object_get(object, name);
    assert_true(json_array_size(list) < FIELDS_MAX);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *pair = json_array_get(list, i);
        to[i] =
            (struct http_field){json_string_value(json_array_get(pair, 0)), json_string_value(json_array_get(pair, 1))};
    }
}

static void read_case(const json_t *document, const json_t *json, struct own_case *c) {
    *c = (struct own_case){.json = json,
                           .name = str(json, "name"),
                           .service = str(json, "service"),
                           .region = str(json, "region"),
                           .method = str(json, "method"),
                           .path = str(json, "path"),
                           .query = str(json, "query"),
                           .signed_query = str(json, "signed_query"),
                           .token = str(json, "token"),
                           .hash = str(json, "payload_hash"),
                           .access_key = str(document, "access_key_id"),
                           .secret_key = str(document, "secret_access_key")};
    ASSERT_OK(json_get_int(json, "expires", 0, SIGV4_MAX_PRESIGN_S, &c->expires));
    ASSERT_OK(json_get_int(document, "unix_ms", 0, INT64_MAX, &c->unix_ms));
    ASSERT_OK(json_opt_bool(json, "is_s3", &c->is_s3));
    read_fields(json, "headers", c->fields);
    read_fields(json, "signed_headers", c->signed_fields);
}

static struct sigv4_request request_of(const struct own_case *c, bool is_signed) {
    return (struct sigv4_request){.method = slice_str(c->method),
                                  .path = slice_str(c->path),
                                  .query = slice_str(is_signed ? c->signed_query : c->query),
                                  .fields = is_signed ? c->signed_fields : c->fields,
                                  .payload_hash = slice_str(c->hash),
                                  .path_rule = c->is_s3 ? SIGV4_PATH_S3 : SIGV4_PATH_DEFAULT};
}

static bool lookup_own(void *arg, const char *access_key_id, struct sigv4_credential *ret) {
    struct own_case *c = arg;
    if (strcmp(access_key_id, c->access_key) != 0) return false;
    *ret = (struct sigv4_credential){slice_str(c->secret_key), slice_str(c->token), c};
    return true;
}

static void verify_own(struct own_case *c, const struct sigv4_request *r, enum sigv4_failure wanted) {
    struct sigv4_expect expect = {.region = c->region,
                                  .service = c->service,
                                  .now_unix_ms = c->unix_ms + MINUTE_MS / 2,
                                  .max_skew_ms = 5 * MINUTE_MS,
                                  .lookup = lookup_own,
                                  .arg = c};
    struct sigv4_verified v;
    ASSERT_OK(sigv4_verify(r, &expect, &v));
    if (v.failure != wanted)
        fail_msg("%s: %s instead of %s: %s", c->name, sigv4_failure_name(v.failure), sigv4_failure_name(wanted),
                 v.detail);
    assert_int_equal(v.failure == SIGV4_OK, v.user == c);
    if (v.failure == SIGV4_OK) {
        assert_string_equal(v.signature, str(c->json, "signature"));
        assert_int_equal(v.is_presigned, c->expires > 0);
    }
}

static void sign_own(struct own_case *c) {
    struct sigv4_signer signer = {.access_key_id = c->access_key,
                                  .secret_key = slice_str(c->secret_key),
                                  .session_token = slice_str(c->token),
                                  .region = c->region,
                                  .service = c->service,
                                  .unix_ms = c->unix_ms,
                                  .add_content_sha256 = c->is_s3};
    struct sigv4_request r = request_of(c, false);
    AUTO(sigv4_signed_done) struct sigv4_signed made = {0};
    if (c->expires)
        ASSERT_OK(sigv4_presign(&signer, &r, (unsigned)c->expires, &made));
    else
        ASSERT_OK(sigv4_sign(&signer, &r, &made));
    assert_string_equal(buf_str(&made.canonical_request), str(c->json, "canonical_request"));
    assert_string_equal(buf_str(&made.string_to_sign), str(c->json, "string_to_sign"));
    assert_string_equal(made.signature, str(c->json, "signature"));
    if (!c->expires) assert_string_equal(buf_str(&made.authorization), str(c->json, "authorization"));
}

static void test_botocore(void **state) {
    BUF_AUTO(text, FILE_MAX);
    ASSERT_OK(file_read(path_of_cases, FILE_MAX, &text));
    JSON_AUTO(document);
    ASSERT_OK(json_parse_object(buf_slice(&text), &document));
    json_t *cases = NULL;
    ASSERT_OK(json_get_array(document, "cases", &cases));
    assert_true(json_array_size(cases) >= 16);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        struct own_case c;
        read_case(document, json_array_get(cases, i), &c);
        /* botocore may sign the time in the header Date; Lockset only verifies that form. */
        if (strcmp(c.name, "date-header") != 0) sign_own(&c);
        struct sigv4_request r = request_of(&c, true);
        verify_own(&c, &r, SIGV4_OK);
        struct sigv4_request other = r;
        other.method = slice_str("DELETE");
        verify_own(&c, &other, SIGV4_BAD_SIGNATURE);
        other = r;
        other.payload_hash = slice_str("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b856");
        verify_own(&c, &other, SIGV4_BAD_SIGNATURE);
        AUTO_FREE char *longer = str_format("%sx", c.path);
        other = r;
        other.path = slice_str(longer);
        verify_own(&c, &other, SIGV4_BAD_SIGNATURE);
    }
}

/* --- A small request of our own, to be spoiled in every way. --- */

#define ACCESS_KEY "AKIALOCKSETEXAMPLE00"
#define SECRET "an example of a secret key"
#define TIME_MS 1795493106000 /* 20261124T040506Z */
#define EMPTY_HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct trial {
    struct sigv4_fields fields;
    struct sigv4_request request;
    struct sigv4_expect expect;
    struct sigv4_credential credential;
    struct sigv4_signed made;
    struct sigv4_verified verified;
};

static void trial_done(struct trial *t) {
    sigv4_fields_done(&t->fields);
    sigv4_signed_done(&t->made);
}
#define TRIAL(name) AUTO(trial_done) struct trial name = {0}

static bool lookup_trial(void *arg, const char *access_key_id, struct sigv4_credential *ret) {
    const struct trial *t = arg;
    *ret = t->credential;
    return strcmp(access_key_id, ACCESS_KEY) == 0;
}

static struct sigv4_signer signer(const char *token) {
    return (struct sigv4_signer){.access_key_id = ACCESS_KEY,
                                 .secret_key = slice_str(SECRET),
                                 .session_token = slice_str(token),
                                 .region = "us-west-2",
                                 .service = "s3",
                                 .unix_ms = TIME_MS,
                                 .add_content_sha256 = true};
}

static void trial_expect(struct trial *t, const char *token) {
    t->credential = (struct sigv4_credential){slice_str(SECRET), slice_str(token), t};
    t->expect = (struct sigv4_expect){.region = "us-west-2",
                                      .service = "s3",
                                      .now_unix_ms = TIME_MS,
                                      .max_skew_ms = 15 * MINUTE_MS,
                                      .lookup = lookup_trial,
                                      .arg = t};
}

static void trial_request(struct trial *t, const char *path, const char *query) {
    sigv4_fields_add(&t->fields, "Host", "127.0.0.1:8610");
    sigv4_fields_add(&t->fields, "Range", "bytes=0-9");
    t->request = (struct sigv4_request){.method = slice_str("GET"),
                                        .path = slice_str(path),
                                        .query = slice_str(query),
                                        .fields = sigv4_fields_list(&t->fields),
                                        .payload_hash = slice_str(EMPTY_HASH),
                                        .path_rule = SIGV4_PATH_S3};
}

/* Signs, and adds what a client sends. */
static void trial_sign(struct trial *t, const char *token) {
    trial_expect(t, token);
    trial_request(t, "/bucket/a key", "prefix=a/b&delimiter=/&uploads");
    struct sigv4_signer s = signer(token);
    ASSERT_OK(sigv4_sign(&s, &t->request, &t->made));
    sigv4_fields_add(&t->fields, "X-Amz-Date", t->made.amz_date);
    sigv4_fields_add(&t->fields, "X-Amz-Content-Sha256", EMPTY_HASH);
    if (*token) sigv4_fields_add(&t->fields, "X-Amz-Security-Token", token);
    sigv4_fields_add(&t->fields, "Authorization", buf_str(&t->made.authorization));
    t->request.fields = sigv4_fields_list(&t->fields);
}

static void trial_presign(struct trial *t, unsigned expires_s, const char *token) {
    trial_expect(t, token);
    trial_request(t, "/bucket/a key", "partNumber=1");
    t->request.payload_hash = slice_str("UNSIGNED-PAYLOAD");
    struct sigv4_signer s = signer(token);
    ASSERT_OK(sigv4_presign(&s, &t->request, expires_s, &t->made));
    t->request.query = buf_slice(&t->made.query);
}

static void verify(struct trial *t, enum sigv4_failure wanted, const char *words) {
    ASSERT_OK(sigv4_verify(&t->request, &t->expect, &t->verified));
    if (t->verified.failure != wanted)
        fail_msg("%s instead of %s: %s", sigv4_failure_name(t->verified.failure), sigv4_failure_name(wanted),
                 t->verified.detail);
    MUST_HOLD(t->verified.detail, words);
    assert_int_equal(wanted == SIGV4_OK, t->verified.user != NULL);
    assert_int_equal(wanted == SIGV4_OK, t->verified.signature[0] != 0);
}

static struct http_field *field(struct trial *t, const char *name) {
    for (size_t i = 0; i < t->fields.count; i++)
        if (strcasecmp(t->fields.list[i].name, name) == 0) return &t->fields.list[i];
    fail_msg("no field %s", name);
    return NULL;
}

static char *replace(const char *text, const char *old, const char *new) {
    const char *at = strstr(text, old);
    if (at == NULL) fail_msg("'%s' is not in '%s'", old, text);
    return str_format("%.*s%s%s", (int)(at - text), text, new, at + strlen(old));
}

static void test_good(void **state) {
    TRIAL(t);
    trial_sign(&t, "");
    verify(&t, SIGV4_OK, "");
    assert_ptr_equal(t.verified.user, &t);
    assert_string_equal(t.verified.access_key_id, ACCESS_KEY);
    assert_string_equal(t.verified.scope, "20261124/us-west-2/s3/aws4_request");
    assert_string_equal(t.verified.amz_date, "20261124T040506Z");
    assert_string_equal(t.verified.signature, t.made.signature);
    assert_false(t.verified.is_presigned);
    /* The wire may escape more, or order otherwise, than the signer did. */
    t.request.path = slice_str("/bucket/a%20key");
    t.request.query = slice_str("uploads=&delimiter=%2F&prefix=a%2Fb");
    verify(&t, SIGV4_OK, "");
    t.request.path = slice_str("/%62ucket/a%20key");
    verify(&t, SIGV4_OK, "");
}

static void test_each_part_counts(void **state) {
    TRIAL(t);
    trial_sign(&t, "");
    struct sigv4_request good = t.request;
    t.request.path = slice_str("/bucket/a%2520key");
    verify(&t, SIGV4_BAD_SIGNATURE, "signature");
    t.request.path = slice_str("/bucket//a key");
    verify(&t, SIGV4_BAD_SIGNATURE, "signature");
    t.request = good;
    const char *const queries[] = {"", "prefix=a/b&delimiter=/", "prefix=a/b&delimiter=/&uploads&x=1",
                                   "prefix=a+b&delimiter=/&uploads", "Prefix=a/b&delimiter=/&uploads"};
    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        t.request.query = slice_str(queries[i]);
        verify(&t, SIGV4_BAD_SIGNATURE, "signature");
    }
    t.request = good;
    field(&t, "range")->value = "bytes=0-10";
    verify(&t, SIGV4_BAD_SIGNATURE, "signature");
    field(&t, "range")->value = "  bytes=0-9 ";
    verify(&t, SIGV4_OK, "");
    field(&t, "host")->value = "127.0.0.1";
    verify(&t, SIGV4_BAD_SIGNATURE, "signature");
    field(&t, "host")->value = "127.0.0.1:8610";
    t.credential.secret_key = slice_str("another secret");
    verify(&t, SIGV4_BAD_SIGNATURE, "signature");
}

/* Each digit of the signature counts. */
static void test_flipped_signatures(void **state) {
    TRIAL(t);
    trial_sign(&t, "");
    AUTO_FREE char *text = str_dup(buf_str(&t.made.authorization));
    field(&t, "authorization")->value = text;
    char *signature = strstr(text, "Signature=") + strlen("Signature=");
    for (size_t i = 0; i < 64; i++) {
        char old = signature[i];
        signature[i] = old == '0' ? '1' : '0';
        verify(&t, SIGV4_BAD_SIGNATURE, "signature");
        signature[i] = old;
    }
    verify(&t, SIGV4_OK, "");
}

static void test_malformed_authorization(void **state) {
    static const struct {
        const char *old, *new;
        enum sigv4_failure failure;
        const char *words;
    } spoils[] = {
        {"AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256", SIGV4_OTHER_SCHEME, "AWS4-HMAC-SHA256"},
        {"AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", SIGV4_OTHER_SCHEME, "Version 4"},
        {"AWS4-HMAC-SHA256 Credential", "AWS AKIA:sig", SIGV4_OTHER_SCHEME, "Version 4"},
        {"AWS4-HMAC-SHA256", "Basic", SIGV4_OTHER_SCHEME, "Version 4"},
        {"Credential=", "Credential", SIGV4_MALFORMED, "'='"},
        {"Credential=", "credential=", SIGV4_MALFORMED, "unknown part"},
        {"Credential=", "SignedHeaders=", SIGV4_MALFORMED, "twice"},
        {"SignedHeaders=host", "SignedHeaders=Host", SIGV4_MALFORMED, "lower-case"},
        {"SignedHeaders=host;", "SignedHeaders=host;;", SIGV4_MALFORMED, "lower-case"},
        {"SignedHeaders=host;", "SignedHeaders=host;host;", SIGV4_MALFORMED, "twice"},
        {"SignedHeaders=host;", "SignedHeaders=", SIGV4_UNSIGNED_HEADER, "'host'"},
        {"SignedHeaders=host;", "SignedHeaders=host;cookie;", SIGV4_BAD_SIGNATURE, "was not received"},
        {";x-amz-date", "", SIGV4_UNSIGNED_HEADER, "x-amz-date"},
        {";x-amz-content-sha256", "", SIGV4_UNSIGNED_HEADER, "X-Amz-Content-Sha256"},
        {";range", "", SIGV4_BAD_SIGNATURE, "signature"},
        {", SignedHeaders=host;range;x-amz-content-sha256;x-amz-date", "", SIGV4_MALFORMED, "must hold"},
        {"SignedHeaders=host;range;x-amz-content-sha256;x-amz-date", "SignedHeaders=", SIGV4_MALFORMED, "is empty"},
        {"Signature=", "Signature=0", SIGV4_MALFORMED, "64"},
        {"Signature=", "Signature=,Signature=", SIGV4_MALFORMED, "is empty"},
        {", Signature=", ", More=1, Signature=", SIGV4_MALFORMED, "unknown part 'More'"},
        {", Signature=", ",Signature=", SIGV4_OK, ""},
        {"Credential=" ACCESS_KEY "/", "Credential=", SIGV4_MALFORMED, "ACCESS-KEY-ID"},
        {"Credential=" ACCESS_KEY, "Credential=", SIGV4_MALFORMED, "ACCESS-KEY-ID"},
        {"Credential=" ACCESS_KEY, "Credential=AKIAUNKNOWN", SIGV4_UNKNOWN_KEY, "not known"},
        {"/us-west-2/", "/us-east-1/", SIGV4_SCOPE, "names region 'us-east-1'; this is 'us-west-2'"},
        {"/s3/", "/kms/", SIGV4_SCOPE, "service 'kms'"},
        {"/aws4_request", "/aws4_requests", SIGV4_SCOPE, "aws4_request"},
        {"/aws4_request", "/aws4_request/x", SIGV4_SCOPE, "aws4_request"},
        {"/20261124/", "/20261123/", SIGV4_SCOPE, "20261123"},
        {"/20261124/", "//", SIGV4_SCOPE, "date"},
    };
    TRIAL(t);
    trial_sign(&t, "");
    for (size_t i = 0; i < ARRAY_LEN(spoils); i++) {
        AUTO_FREE char *spoilt = replace(buf_str(&t.made.authorization), spoils[i].old, spoils[i].new);
        field(&t, "authorization")->value = spoilt;
        verify(&t, spoils[i].failure, spoils[i].words);
        field(&t, "authorization")->value = buf_str(&t.made.authorization);
    }
    const char *const texts[] = {"", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256 ,,,"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        field(&t, "authorization")->value = texts[i];
        ASSERT_OK(sigv4_verify(&t.request, &t.expect, &t.verified));
        assert_true(t.verified.failure == SIGV4_MALFORMED || t.verified.failure == SIGV4_OTHER_SCHEME);
    }
}

static void test_headers_received(void **state) {
    TRIAL(t);
    trial_sign(&t, "");
    sigv4_fields_add(&t.fields, "x-AMZ-meta-a", "not signed");
    t.request.fields = sigv4_fields_list(&t.fields);
    verify(&t, SIGV4_UNSIGNED_HEADER, "x-AMZ-meta-a");
    field(&t, "x-amz-meta-a")->name = "User-Agent";
    verify(&t, SIGV4_OK, "");
    field(&t, "user-agent")->name = "Range"; /* a second value of a signed header */
    verify(&t, SIGV4_BAD_SIGNATURE, "signature");
    t.fields.list[t.fields.count - 1].name = "Authorization";
    verify(&t, SIGV4_MALFORMED, "one way");
    t.fields.list[t.fields.count - 1].name = "X-Amz-Date";
    verify(&t, SIGV4_MALFORMED, "twice");
    t.fields.list[t.fields.count - 1].name = "X-Amz-Security-Token";
    verify(&t, SIGV4_UNSIGNED_HEADER, "X-Amz-Security-Token");
}

static void test_no_authentication(void **state) {
    TRIAL(t);
    trial_expect(&t, "");
    trial_request(&t, "/", "a=b");
    verify(&t, SIGV4_NO_AUTH, "not signed");
    t.request.query = slice_str("AWSAccessKeyId=A&Signature=x&Expires=1");
    verify(&t, SIGV4_OTHER_SCHEME, "Version 2");
    t.request.query = slice_str("X-Amz-Signature=x");
    verify(&t, SIGV4_MALFORMED, "X-Amz-Algorithm is missing");
    t.request.query = slice_str("a=%zz&b");
    ASSERT_OK(sigv4_verify(&t.request, &t.expect, &t.verified));
    assert_int_not_equal(t.verified.failure, SIGV4_OK);
}

static void test_dates(void **state) {
    TRIAL(t);
    trial_sign(&t, "");
    const int64_t skew = t.expect.max_skew_ms;
    t.expect.now_unix_ms = TIME_MS + skew;
    verify(&t, SIGV4_OK, "");
    t.expect.now_unix_ms = TIME_MS + skew + 1;
    verify(&t, SIGV4_SKEWED, "900 s");
    t.expect.now_unix_ms = TIME_MS - skew;
    verify(&t, SIGV4_OK, "");
    t.expect.now_unix_ms = TIME_MS - skew - 1;
    verify(&t, SIGV4_SKEWED, "900 s");
    t.expect.now_unix_ms = TIME_MS;
    const char *const bad[] = {"", "20261124", "2026-11-24T04:05:06Z", "20261324T040506Z", "20261124T040506", "now"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        field(&t, "x-amz-date")->value = bad[i];
        verify(&t, SIGV4_MALFORMED, "x-amz-date");
    }
    field(&t, "x-amz-date")->value = "20261124T040507Z";
    verify(&t, SIGV4_BAD_SIGNATURE, "signature");
    field(&t, "x-amz-date")->name = "Date";
    verify(&t, SIGV4_BAD_SIGNATURE, "'x-amz-date' is signed, but was not received");
    AUTO_FREE char *unsigned_date = replace(buf_str(&t.made.authorization), ";x-amz-date", "");
    field(&t, "authorization")->value = unsigned_date;
    verify(&t, SIGV4_UNSIGNED_HEADER, "'date' must be signed");
    field(&t, "date")->value = "yesterday";
    verify(&t, SIGV4_MALFORMED, "Date");
    field(&t, "date")->name = "Other";
    verify(&t, SIGV4_MALFORMED, "x-amz-date");
}

static void test_bad_escapes(void **state) {
    const char *const bad[] = {"/a%", "/a%2", "/a%zz", "/a%00b"};
    TRIAL(t);
    trial_sign(&t, "");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        t.request.path = slice_str(bad[i]);
        verify(&t, SIGV4_MALFORMED, "escape");
        AUTO_FREE char *query = str_format("x=%s", bad[i]);
        t.request.path = slice_str("/");
        t.request.query = slice_str(query);
        verify(&t, SIGV4_MALFORMED, "escape");
        t.request.query = slice_str("");
    }
}

static void test_session_token(void **state) {
    TRIAL(t);
    trial_sign(&t, "a/session+token==");
    verify(&t, SIGV4_OK, "");
    t.credential.session_token = slice_str("a/session+token=!");
    verify(&t, SIGV4_BAD_TOKEN, "not the access key's");
    t.credential.session_token = (struct slice){0};
    verify(&t, SIGV4_BAD_TOKEN, "not a temporary one");
    TRIAL(without);
    trial_sign(&without, "");
    without.credential.session_token = slice_str("a/session+token==");
    verify(&without, SIGV4_BAD_TOKEN, "missing");
    TRIAL(presigned);
    trial_presign(&presigned, 60, "a/session+token==");
    verify(&presigned, SIGV4_OK, "");
    presigned.credential.session_token = slice_str("other");
    verify(&presigned, SIGV4_BAD_TOKEN, "not the access key's");
}

static void test_presigned(void **state) {
    TRIAL(t);
    trial_presign(&t, 60, "");
    verify(&t, SIGV4_OK, "");
    assert_true(t.verified.is_presigned);
    t.expect.now_unix_ms = TIME_MS + 60000;
    verify(&t, SIGV4_OK, "");
    t.expect.now_unix_ms = TIME_MS + 60001;
    verify(&t, SIGV4_EXPIRED, "valid for 60 s");
    t.expect.now_unix_ms = TIME_MS - t.expect.max_skew_ms - 1;
    verify(&t, SIGV4_SKEWED, "apart");
    t.expect.now_unix_ms = TIME_MS;
    sigv4_fields_add(&t.fields, "Authorization", "AWS4-HMAC-SHA256 x");
    t.request.fields = sigv4_fields_list(&t.fields);
    verify(&t, SIGV4_MALFORMED, "one way");
    field(&t, "authorization")->name = "x-amz-acl";
    verify(&t, SIGV4_UNSIGNED_HEADER, "x-amz-acl");
}

static void test_spoilt_presigned(void **state) {
    static const struct {
        const char *old, *new;
        enum sigv4_failure failure;
    } spoils[] = {
        {"X-Amz-Expires=60", "X-Amz-Expires=0", SIGV4_EXPIRES_RANGE},
        {"X-Amz-Expires=60", "X-Amz-Expires=604801", SIGV4_EXPIRES_RANGE},
        {"X-Amz-Expires=60", "X-Amz-Expires=-1", SIGV4_EXPIRES_RANGE},
        {"X-Amz-Expires=60", "X-Amz-Expires=99999999999999999999", SIGV4_EXPIRES_RANGE},
        {"X-Amz-Expires=60", "X-Amz-Expires=", SIGV4_EXPIRES_RANGE},
        {"X-Amz-Expires=60", "X-Amz-Expires=61", SIGV4_BAD_SIGNATURE},
        {"X-Amz-Expires=60", "x-amz-expires=60", SIGV4_MALFORMED},
        {"X-Amz-Expires=60", "X-Amz-Expires=60&X-Amz-Expires=60", SIGV4_MALFORMED},
        {"X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256", SIGV4_OTHER_SCHEME},
        {"X-Amz-Algorithm=AWS4-HMAC-SHA256&", "", SIGV4_MALFORMED},
        {"X-Amz-SignedHeaders=host%3Brange", "X-Amz-SignedHeaders=range", SIGV4_UNSIGNED_HEADER},
        {"X-Amz-SignedHeaders=host%3Brange", "X-Amz-SignedHeaders=host", SIGV4_BAD_SIGNATURE},
        {"X-Amz-SignedHeaders=host%3Brange", "X-Amz-SignedHeaders=host%3brange", SIGV4_OK},
        {"X-Amz-Date=20261124T040506Z", "X-Amz-Date=20261124T040507Z", SIGV4_BAD_SIGNATURE},
        {"X-Amz-Date=20261124T040506Z", "X-Amz-Date=20261124", SIGV4_MALFORMED},
        {"partNumber=1", "partNumber=2", SIGV4_BAD_SIGNATURE},
        {"partNumber=1&", "", SIGV4_BAD_SIGNATURE},
        {"partNumber=1&", "partNumber=1&more=1&", SIGV4_BAD_SIGNATURE},
        {"%2Fus-west-2%2F", "%2Fus-east-1%2F", SIGV4_SCOPE},
        {"X-Amz-Signature=", "X-Amz-Signature=00", SIGV4_MALFORMED},
        {"&X-Amz-Signature=", "&X-Amz-Signature=0&X-Amz-Signature=", SIGV4_MALFORMED},
        {"X-Amz-Credential=", "X-Amz-Credential=%00", SIGV4_MALFORMED},
    };
    for (size_t i = 0; i < ARRAY_LEN(spoils); i++) {
        TRIAL(t);
        trial_presign(&t, 60, "");
        AUTO_FREE char *spoilt = replace(buf_str(&t.made.query), spoils[i].old, spoils[i].new);
        t.request.query = slice_str(spoilt);
        ASSERT_OK(sigv4_verify(&t.request, &t.expect, &t.verified));
        if (t.verified.failure != spoils[i].failure)
            fail_msg("'%s' for '%s': %s instead of %s: %s", spoils[i].new, spoils[i].old,
                     sigv4_failure_name(t.verified.failure), sigv4_failure_name(spoils[i].failure), t.verified.detail);
    }
}

/* Details go into answers: whatever was sent, they are printable. */
static void test_details_are_printable(void **state) {
    TRIAL(t);
    trial_presign(&t, 60, "");
    AUTO_FREE char *spoilt = replace(buf_str(&t.made.query), "X-Amz-Algorithm=AWS4", "X-Amz-Algorithm=%0d%0a%1b%ff");
    t.request.query = slice_str(spoilt);
    verify(&t, SIGV4_OTHER_SCHEME, "X-Amz-Algorithm is '????");
}

static void test_signing_refuses(void **state) {
    TRIAL(t);
    trial_request(&t, "/", "");
    struct sigv4_signer s = signer("");
    struct sigv4_signed untouched = {.signature = "untouched"};
    ASSERT_ERR(INVALID, sigv4_presign(&s, &t.request, 0, &untouched));
    ASSERT_ERR(INVALID, sigv4_presign(&s, &t.request, SIGV4_MAX_PRESIGN_S + 1, &untouched));
    s.region = "";
    ASSERT_ERR(INVALID, sigv4_sign(&s, &t.request, &untouched));
    s.region = "a-region-with-a-name-that-is-far-too-long-1";
    ASSERT_ERR(INVALID, sigv4_sign(&s, &t.request, &untouched));
    s = signer("");
    s.secret_key = (struct slice){0};
    ASSERT_ERR(INVALID, sigv4_sign(&s, &t.request, &untouched));
    s = signer("");
    const char *const queries[] = {"X-Amz-Signature=1", "a=b&X-Amz-Date", "X-Amz%2DExpires=1", "a=%"};
    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        t.request.query = slice_str(queries[i]);
        ASSERT_ERR(INVALID, sigv4_sign(&s, &t.request, &untouched));
        ASSERT_ERR(INVALID, sigv4_presign(&s, &t.request, 1, &untouched));
    }
    t.request.query = slice_str("x-amz-signature=1");
    AUTO(sigv4_signed_done) struct sigv4_signed fine = {0};
    ASSERT_OK(sigv4_presign(&s, &t.request, 1, &fine));
    t.request.query = slice_str("");
    const char *const ours[] = {"authorization", "x-amz-date", "X-AMZ-SECURITY-TOKEN", "x-amz-content-sha256"};
    for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
        field(&t, t.fields.list[1].name)->name = ours[i];
        ASSERT_ERR(INVALID, sigv4_sign(&s, &t.request, &untouched));
    }
    t.fields.list[1].name = "range";
    t.fields.list[0].name = "hosts";
    ASSERT_ERR(INVALID, sigv4_sign(&s, &t.request, &untouched));
    MUST_HOLD(err_detail(), "host");
    assert_string_equal(untouched.signature, "untouched");
}

static void test_payload_kinds(void **state) {
    static const struct {
        const char *value;
        enum sigv4_payload kind;
    } kinds[] = {
        {NULL, SIGV4_PAYLOAD_ABSENT},
        {EMPTY_HASH, SIGV4_PAYLOAD_SHA256},
        {"UNSIGNED-PAYLOAD", SIGV4_PAYLOAD_UNSIGNED},
        {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", SIGV4_PAYLOAD_STREAMING},
        {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", SIGV4_PAYLOAD_STREAMING_TRAILER},
        {"STREAMING-UNSIGNED-PAYLOAD-TRAILER", SIGV4_PAYLOAD_STREAMING_UNSIGNED_TRAILER},
        {"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", SIGV4_PAYLOAD_STREAMING_ECDSA},
        {"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER", SIGV4_PAYLOAD_STREAMING_ECDSA},
        {"", SIGV4_PAYLOAD_INVALID},
        {"unsigned-payload", SIGV4_PAYLOAD_INVALID},
        {"e3b0c442", SIGV4_PAYLOAD_INVALID},
        {"g3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", SIGV4_PAYLOAD_INVALID},
        {EMPTY_HASH "00", SIGV4_PAYLOAD_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        assert_int_equal(sigv4_payload_parse(kinds[i].value, NULL), kinds[i].kind);
    uint8_t hash[SHA256_BYTES], wanted[SHA256_BYTES];
    ASSERT_OK(sha256((struct slice){0}, wanted));
    assert_int_equal(sigv4_payload_parse(EMPTY_HASH, hash), SIGV4_PAYLOAD_SHA256);
    assert_memory_equal(hash, wanted, sizeof hash);
}

static void test_names(void **state) {
    for (int f = 0; f < SIGV4_FAILURE_MAX; f++)
        for (int g = 0; g < f; g++)
            assert_string_not_equal(sigv4_failure_name((enum sigv4_failure)f),
                                    sigv4_failure_name((enum sigv4_failure)g));
}

int main(int argc, char **argv) {
    path_of_cases = argc > 1 ? argv[1] : "tests/vectors/sigv4_botocore.json";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_botocore),
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_each_part_counts),
        cmocka_unit_test(test_flipped_signatures),
        cmocka_unit_test(test_malformed_authorization),
        cmocka_unit_test(test_headers_received),
        cmocka_unit_test(test_no_authentication),
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_bad_escapes),
        cmocka_unit_test(test_session_token),
        cmocka_unit_test(test_presigned),
        cmocka_unit_test(test_spoilt_presigned),
        cmocka_unit_test(test_details_are_printable),
        cmocka_unit_test(test_signing_refuses),
        cmocka_unit_test(test_payload_kinds),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, start_secrets, NULL);
}
