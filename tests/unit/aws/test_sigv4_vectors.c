/* Public cases of Signature Version 4, stage by stage, when the folder that holds them is there: first argument or
 * LOCKSET_VECTORS names a folder with sigv4/<case>/{request.txt,context.json,header-*.txt,query-*.txt}. They are other
 * people's data and aren't part of Lockset; without them this passes and says so. The project's own cases are in
 * test_sigv4.c. */
#include "helpers.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "aws/sigv4.h"
#include "base/crypto.h"
#include "base/file.h"

enum { FILE_MAX = 64 * 1024, FIELDS_MAX = 32 };

static const char *folder;

/* One case, parsed. Strings live in `text`, which is cut up in place. */
struct vector {
    const char *name;
    char *first_line, *headers, *body;
    char *text;
    struct sigv4_request request;
    struct http_field fields[FIELDS_MAX];
    size_t count;
    json_t *context;
    const char *access_key, *secret_key, *token, *region, *service;
    int64_t unix_ms, expires_s;
    bool signs_body, leaves_token_out;
    char payload_hash[65];
};

static void vector_done(struct vector *v) {
    mem_free(v->first_line);
    mem_free(v->headers);
    mem_free(v->body);
    mem_free(v->text);
    json_unref(&v->context);
}

static char *read_text(const char *name, const char *file) {
    AUTO_FREE char *path = str_format("%s/%s/%s", folder, name, file);
    BUF_AUTO(content, FILE_MAX);
    ASSERT_OK(file_read(path, FILE_MAX, &content));
    return buf_take_str(&content);
}

static void parse_headers(struct vector *v) {
    char *line = v->text;
    while (line && *line) {
        char *end = strchr(line, '\n');
        bool continues = end && (end[1] == ' ' || end[1] == '\t');
        while (continues) { /* a folded value goes on in the next line */
            end = strchr(end + 1, '\n');
            continues = end && (end[1] == ' ' || end[1] == '\t');
        }
        if (end) *end = 0;
        char *colon = strchr(line, ':');
        assert_non_null(colon);
        *colon = 0;
        assert_true(v->count + 1 < FIELDS_MAX);
        v->fields[v->count++] = (struct http_field){line, colon + 1};
        line = end ? end + 1 : NULL;
    }
}

/* "METHOD target HTTP/1.1", header lines, an empty line, the body. The target may hold spaces. */
static void parse_request(struct vector *v) {
    AUTO_FREE char *all = read_text(v->name, "request.txt");
    char *end = strchr(all, '\n');
    assert_non_null(end);
    v->first_line = str_ndup(all, (size_t)(end - all));
    char *headers = end + 1, *blank = strstr(headers, "\n\n");
    v->headers = blank ? str_ndup(headers, (size_t)(blank - headers)) : str_dup(headers);
    v->body = str_dup(blank ? blank + 2 : "");
    size_t n = strlen(v->headers);
    if (n > 0 && v->headers[n - 1] == '\n') v->headers[n - 1] = 0;
    v->text = str_dup(v->headers);
    parse_headers(v);
    struct slice method, target, line = slice_str(v->first_line);
    assert_true(slice_cut(line, ' ', &method, &target));
    assert_true(target.len > strlen(" HTTP/1.1"));
    target.len -= strlen(" HTTP/1.1");
    struct slice path, query;
    slice_cut(target, '?', &path, &query);
    v->request = (struct sigv4_request){.method = method, .path = path, .query = query, .fields = v->fields};
}

/* "2015-08-30T12:36:00Z" */
static int64_t parse_time(const char *iso) {
    BUF_AUTO(basic, 32);
    for (const char *p = iso; *p; p++)
        if (*p != '-' && *p != ':') buf_append_byte(&basic, (uint8_t)*p);
    int64_t unix_ms = 0;
    ASSERT_OK(clock_parse_amz(buf_slice(&basic), &unix_ms));
    return unix_ms;
}

static void parse_context(struct vector *v) {
    AUTO_FREE char *text = read_text(v->name, "context.json");
    ASSERT_OK(json_parse_object(slice_str(text), &v->context));
    json_t *credentials = NULL;
    const char *timestamp = NULL;
    bool normalize = true;
    v->token = "";
    ASSERT_OK(json_get_object(v->context, "credentials", &credentials));
    ASSERT_OK(json_get_str(credentials, "access_key_id", &v->access_key));
    ASSERT_OK(json_get_str(credentials, "secret_access_key", &v->secret_key));
    ASSERT_OK(json_opt_str(credentials, "token", &v->token));
    ASSERT_OK(json_get_str(v->context, "region", &v->region));
    ASSERT_OK(json_get_str(v->context, "service", &v->service));
    ASSERT_OK(json_get_str(v->context, "timestamp", &timestamp));
    ASSERT_OK(json_get_int(v->context, "expiration_in_seconds", 1, SIGV4_MAX_PRESIGN_S, &v->expires_s));
    ASSERT_OK(json_opt_bool(v->context, "normalize", &normalize));
    ASSERT_OK(json_opt_bool(v->context, "sign_body", &v->signs_body));
    ASSERT_OK(json_opt_bool(v->context, "omit_session_token", &v->leaves_token_out));
    v->unix_ms = parse_time(timestamp);
    v->request.path_rule = normalize ? SIGV4_PATH_DEFAULT : SIGV4_PATH_KEPT;
    uint8_t hash[SHA256_BYTES];
    ASSERT_OK(sha256(slice_str(v->body), hash));
    BUF_AUTO(hex, 65);
    hex_encode(slice_make(hash, sizeof hash), &hex);
    mem_copy(v->payload_hash, buf_str(&hex), sizeof v->payload_hash);
    v->request.payload_hash = slice_str(v->payload_hash);
}

static struct sigv4_signer signer_of(const struct vector *v) {
    return (struct sigv4_signer){
        .access_key_id = v->access_key,
        .secret_key = slice_str(v->secret_key),
        .session_token = slice_str(v->token),
        .region = v->region,
        .service = v->service,
        .unix_ms = v->unix_ms,
        .add_content_sha256 = v->signs_body,
        .leave_token_out_of_scope = v->leaves_token_out,
    };
}

static void must_equal_file(const struct vector *v, const char *file, const char *made) {
    AUTO_FREE char *wanted = read_text(v->name, file);
    if (strcmp(wanted, made) != 0) fail_msg("%s %s\n--- wanted\n%s\n--- made\n%s", v->name, file, wanted, made);
}

static void must_equal_stages(const struct vector *v, const char *form, const struct sigv4_signed *s) {
    AUTO_FREE char *canonical = str_format("%s-canonical-request.txt", form);
    AUTO_FREE char *to_sign = str_format("%s-string-to-sign.txt", form);
    AUTO_FREE char *signature = str_format("%s-signature.txt", form);
    must_equal_file(v, canonical, buf_str(&s->canonical_request));
    must_equal_file(v, to_sign, buf_str(&s->string_to_sign));
    must_equal_file(v, signature, s->signature);
}

static bool lookup(void *arg, const char *access_key_id, struct sigv4_credential *ret) {
    struct vector *v = arg;
    if (strcmp(access_key_id, v->access_key) != 0) return false;
    *ret = (struct sigv4_credential){slice_str(v->secret_key), slice_str(v->token), v};
    return true;
}

static void must_verify(struct vector *v, const struct sigv4_request *r, enum sigv4_failure wanted) {
    struct sigv4_expect expect = {.region = v->region,
                                  .service = v->service,
                                  .now_unix_ms = v->unix_ms,
                                  .max_skew_ms = 300000,
                                  .lookup = lookup,
                                  .arg = v};
    struct sigv4_verified verified;
    ASSERT_OK(sigv4_verify(r, &expect, &verified));
    if (verified.failure != wanted)
        fail_msg("%s: %s instead of %s: %s", v->name, sigv4_failure_name(verified.failure), sigv4_failure_name(wanted),
                 verified.detail);
    if (wanted == SIGV4_OK) assert_ptr_equal(verified.user, v);
}

static void run_header(struct vector *v) {
    struct sigv4_signer signer = signer_of(v);
    AUTO(sigv4_signed_done) struct sigv4_signed made = {0};
    ASSERT_OK(sigv4_sign(&signer, &v->request, &made));
    must_equal_stages(v, "header", &made);
    BUF_AUTO(text, FILE_MAX);
    buf_printf(&text, "%s\n%s\n", v->first_line, v->headers);
    size_t n = v->count;
    if (*v->token) {
        buf_printf(&text, "X-Amz-Security-Token:%s\n", v->token);
        v->fields[n++] = (struct http_field){"X-Amz-Security-Token", v->token};
    }
    buf_printf(&text, "X-Amz-Date:%s\n", made.amz_date);
    v->fields[n++] = (struct http_field){"X-Amz-Date", made.amz_date};
    if (v->signs_body) {
        buf_printf(&text, "x-amz-content-sha256:%s\n", v->payload_hash);
        v->fields[n++] = (struct http_field){"x-amz-content-sha256", v->payload_hash};
    }
    buf_printf(&text, "Authorization:%s\n\n%s", buf_str(&made.authorization), v->body);
    v->fields[n] = (struct http_field){"Authorization", buf_str(&made.authorization)};
    must_equal_file(v, "header-signed-request.txt", buf_str(&text));
    /* An x-amz-* header that isn't signed is refused on purpose. */
    must_verify(v, &v->request, v->leaves_token_out ? SIGV4_UNSIGNED_HEADER : SIGV4_OK);
    struct sigv4_request other = v->request;
    other.payload_hash = slice_str("UNSIGNED-PAYLOAD");
    if (!v->leaves_token_out) must_verify(v, &other, SIGV4_BAD_SIGNATURE);
    for (size_t i = v->count; i < FIELDS_MAX; i++)
        v->fields[i] = (struct http_field){0};
}

static void run_query(struct vector *v) {
    struct sigv4_signer signer = signer_of(v);
    AUTO(sigv4_signed_done) struct sigv4_signed made = {0};
    ASSERT_OK(sigv4_presign(&signer, &v->request, (unsigned)v->expires_s, &made));
    must_equal_stages(v, "query", &made);
    struct sigv4_request r = v->request;
    r.query = buf_slice(&made.query);
    BUF_AUTO(text, FILE_MAX);
    buf_printf(&text, "%.*s %.*s?%s HTTP/1.1\n%s\n\n%s", (int)r.method.len, (const char *)r.method.data,
               (int)r.path.len, (const char *)r.path.data, buf_str(&made.query), v->headers, v->body);
    must_equal_file(v, "query-signed-request.txt", buf_str(&text));
    must_verify(v, &r, v->leaves_token_out ? SIGV4_BAD_SIGNATURE : SIGV4_OK);
    r.method = slice_str("PATCH");
    must_verify(v, &r, SIGV4_BAD_SIGNATURE);
}

static void run(const char *name) {
    AUTO(vector_done) struct vector v = {.name = name};
    parse_request(&v);
    parse_context(&v);
    run_header(&v);
    run_query(&v);
}

static void test_all(void **state) {
    DIR *d = folder ? opendir(folder) : NULL;
    if (d == NULL) {
        print_message("the public cases are not here; nothing was run\n");
        skip();
    }
    size_t n = 0;
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        AUTO_FREE char *probe = str_format("%s/%s/context.json", folder, e->d_name);
        FILE *f = e->d_name[0] == '.' ? NULL : fopen(probe, "r");
        if (f == NULL) continue;
        fclose(f);
        run(e->d_name);
        n++;
    }
    closedir(d);
    print_message("%zu cases, header and query form, stage by stage\n", n);
    assert_true(n > 0);
}

int main(int argc, char **argv) {
    const char *named = getenv("LOCKSET_VECTORS");
    if (named == NULL && argc > 1) named = argv[1];
    AUTO_FREE char *sigv4 = named ? str_format("%s/sigv4", named) : NULL;
    folder = sigv4;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all)};
    return cmocka_run_group_tests(tests, start_secrets, NULL);
}
