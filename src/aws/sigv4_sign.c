/* Stages two to four, and signing. */
#include <stdlib.h>
#include <string.h>

#include "aws/sigv4_priv.h"
#include "base/crypto.h"

enum { SECRET_KEY_MAX_BYTES = 256, NAME_MAX_BYTES = 32, TOKEN_MAX_BYTES = 16384 };

struct result sigv4_scope(const char *amz_date, const char *region, const char *service,
                          char ret[static SIGV4_SCOPE_BYTES]) {
    size_t region_len = strlen(region), service_len = strlen(service);
    CHECK(strlen(amz_date) >= 8, ERR_INVALID, "the date has fewer than eight characters");
    CHECK(region_len > 0 && region_len <= NAME_MAX_BYTES, ERR_INVALID, "a region's name has 1 to %d bytes",
          NAME_MAX_BYTES);
    CHECK(service_len > 0 && service_len <= NAME_MAX_BYTES, ERR_INVALID, "a service's name has 1 to %d bytes",
          NAME_MAX_BYTES);
    BUF_AUTO(scope, SIGV4_SCOPE_BYTES - 1);
    buf_append(&scope, amz_date, 8);
    buf_printf(&scope, "/%s/%s/aws4_request", region, service);
    TRY(buf_check(&scope));
    mem_copy(ret, buf_str(&scope), scope.len + 1);
    return OK;
}

static struct result append_hash(struct slice in, struct buf *out) {
    uint8_t hash[SHA256_BYTES];
    TRY(sha256(in, hash));
    hex_encode(slice_make(hash, sizeof hash), out);
    return OK;
}

struct result sigv4_string_to_sign(const char *amz_date, const char *scope, struct slice canonical_request,
                                   struct buf *out) {
    buf_printf(out, "%s\n%s\n%s\n", SIGV4_ALGORITHM, amz_date, scope);
    TRY(append_hash(canonical_request, out));
    return buf_check(out);
}

/* Key material on the stack, wiped on every way out. */
struct scratch {
    uint8_t first[4 + SECRET_KEY_MAX_BYTES];
    uint8_t key[SHA256_BYTES], next[SHA256_BYTES];
};

static void scratch_done(struct scratch *s) {
    wipe(s, sizeof *s);
}

struct result sigv4_signing_key(struct slice secret_key, const char *amz_date, const char *region, const char *service,
                                struct secret *ret) {
    CHECK(secret_key.len > 0 && secret_key.len <= SECRET_KEY_MAX_BYTES, ERR_INVALID,
          "a secret access key has 1 to %d bytes", SECRET_KEY_MAX_BYTES);
    CHECK(strlen(amz_date) >= 8, ERR_INVALID, "the date has fewer than eight characters");
    AUTO(scratch_done) struct scratch s = {0};
    mem_copy(s.first, "AWS4", 4);
    mem_copy(s.first + 4, secret_key.data, secret_key.len);
    TRY(hmac_sha256(slice_make(s.first, 4 + secret_key.len), slice_make(amz_date, 8), s.key));
    const char *const steps[] = {region, service, "aws4_request"};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        TRY(hmac_sha256(slice_make(s.key, sizeof s.key), slice_str(steps[i]), s.next));
        mem_copy(s.key, s.next, sizeof s.key);
    }
    return secret_from(s.key, sizeof s.key, ret);
}

struct result sigv4_signature(struct slice signing_key, struct slice string_to_sign,
                              char ret[static SIGV4_SIGNATURE_BYTES]) {
    uint8_t mac[SHA256_BYTES];
    TRY(hmac_sha256(signing_key, string_to_sign, mac));
    BUF_AUTO(hex, SIGV4_SIGNATURE_BYTES);
    hex_encode(slice_make(mac, sizeof mac), &hex);
    TRY(buf_check(&hex));
    mem_copy(ret, buf_str(&hex), SIGV4_SIGNATURE_BYTES);
    return OK;
}

void sigv4_signed_done(struct sigv4_signed *s) {
    buf_done(&s->canonical_request);
    buf_done(&s->string_to_sign);
    buf_done(&s->authorization);
    buf_done(&s->query);
    *s = (struct sigv4_signed){0};
}

/* One signing in progress: the caller's fields and ours behind them, and the list of signed names. */
struct job {
    const struct sigv4_signer *signer;
    struct sigv4_request request;
    struct http_field *fields;
    size_t count;
    char scope[SIGV4_SCOPE_BYTES];
    char date[CLOCK_AMZ_BYTES];
    struct buf token, payload, signed_headers, query;
    struct sigv4_signed out;
};

static void job_done(struct job *j) {
    mem_free(j->fields);
    buf_done(&j->token);
    buf_done(&j->payload);
    buf_done(&j->signed_headers);
    buf_done(&j->query);
    sigv4_signed_done(&j->out);
}

static struct result check_fields(const struct http_field *fields, bool adds_hash) {
    static const char *const ours[] = {"authorization", "x-amz-date", "x-amz-security-token"};
    bool has_host = false;
    for (const struct http_field *f = fields; f->name; f++) {
        for (size_t i = 0; i < ARRAY_LEN(ours); i++)
            CHECK(!sigv4_name_is(f->name, slice_str(ours[i])), ERR_INVALID, "header '%s' is added by signing", ours[i]);
        CHECK(!adds_hash || !sigv4_name_is(f->name, slice_str("x-amz-content-sha256")), ERR_INVALID,
              "header 'x-amz-content-sha256' is added by signing");
        has_host = has_host || sigv4_name_is(f->name, slice_str("host"));
    }
    CHECK(has_host, ERR_INVALID, "the header 'host' must be among the signed ones");
    return OK;
}

/* The names of the presigned form can't be used for anything else. */
static struct result check_query(struct slice query) {
    struct slice one, rest = query;
    bool more = query.len > 0;
    while (more) {
        more = slice_cut(rest, '&', &one, &rest);
        struct slice name, value;
        slice_cut(one, '=', &name, &value);
        BUF_AUTO(plain, name.len + 1);
        TRY(percent_decode(name, &plain));
        for (size_t i = 0; i < SIGV4_PARAM_MAX; i++)
            CHECK(!slice_is(buf_slice(&plain), sigv4_param_names[i]), ERR_INVALID, "the query holds %s already",
                  sigv4_param_names[i]);
    }
    return OK;
}

static struct result job_init(struct job *j, const struct sigv4_signer *s, const struct sigv4_request *r,
                              bool adds_hash) {
    CHECK(s->session_token.len <= TOKEN_MAX_BYTES, ERR_INVALID, "a session token has at most %d bytes",
          TOKEN_MAX_BYTES);
    TRY(check_fields(r->fields, adds_hash));
    TRY(check_query(r->query));
    j->signer = s;
    j->request = *r;
    buf_init_wiping(&j->token, TOKEN_MAX_BYTES + 1);
    buf_append_slice(&j->token, s->session_token);
    buf_init(&j->payload, r->payload_hash.len + 1);
    buf_append_slice(&j->payload, r->payload_hash);
    clock_format_amz(s->unix_ms, j->date);
    TRY(sigv4_scope(j->date, s->region, s->service, j->scope));
    size_t n = 0, names = 0;
    for (; r->fields[n].name; n++)
        names += strlen(r->fields[n].name) + 1;
    j->fields = mem_alloc_array(n + 4, sizeof *j->fields);
    for (j->count = 0; j->count < n; j->count++)
        j->fields[j->count] = r->fields[j->count];
    j->request.fields = j->fields;
    buf_init(&j->signed_headers, names + 64);
    return OK;
}

static void add_field(struct job *j, const char *name, const char *value) {
    j->fields[j->count++] = (struct http_field){name, value};
}

static int compare_names(const void *a, const void *b) {
    return strcasecmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted, lower-case, each once. */
static struct result list_signed_headers(struct job *j) {
    AUTO_FREE const char **names = mem_alloc_array(j->count + 1, sizeof *names);
    for (size_t i = 0; i < j->count; i++)
        names[i] = j->fields[i].name;
    qsort(names, j->count, sizeof *names, compare_names);
    for (size_t i = 0; i < j->count; i++) {
        if (i > 0 && strcasecmp(names[i], names[i - 1]) == 0) continue;
        if (i > 0) buf_append_byte(&j->signed_headers, ';');
        for (const char *p = names[i]; *p; p++)
            buf_append_byte(&j->signed_headers, (uint8_t)(*p >= 'A' && *p <= 'Z' ? *p - 'A' + 'a' : *p));
    }
    return buf_check(&j->signed_headers);
}

/* The three later stages, for the request as it now stands. */
static struct result run_stages(struct job *j, bool is_presigned) {
    const struct sigv4_signer *s = j->signer;
    struct sigv4_signed *out = &j->out;
    buf_init_wiping(&out->canonical_request, sigv4_canonical_max(&j->request));
    buf_init_wiping(&out->string_to_sign, 512);
    TRY(sigv4_canonical_request(&j->request, buf_slice(&j->signed_headers), is_presigned, &out->canonical_request));
    TRY(sigv4_string_to_sign(j->date, j->scope, buf_slice(&out->canonical_request), &out->string_to_sign));
    SECRET_AUTO(key);
    TRY(sigv4_signing_key(s->secret_key, j->date, s->region, s->service, &key));
    TRY(sigv4_signature(secret_view(&key), buf_slice(&out->string_to_sign), out->signature));
    mem_copy(out->amz_date, j->date, sizeof out->amz_date);
    return OK;
}

static void hand_over(struct job *j, struct sigv4_signed *ret) {
    *ret = j->out;
    j->out = (struct sigv4_signed){0};
}

struct result sigv4_sign(const struct sigv4_signer *s, const struct sigv4_request *r, struct sigv4_signed *ret) {
    AUTO(job_done) struct job j = {0};
    TRY(job_init(&j, s, r, s->add_content_sha256));
    add_field(&j, "X-Amz-Date", j.date);
    if (s->add_content_sha256) add_field(&j, "X-Amz-Content-Sha256", buf_str(&j.payload));
    if (j.token.len > 0 && !s->leave_token_out_of_scope) add_field(&j, "X-Amz-Security-Token", buf_str(&j.token));
    TRY(list_signed_headers(&j));
    TRY(run_stages(&j, false));
    buf_init(&j.out.authorization, j.signed_headers.len + 512);
    buf_printf(&j.out.authorization, "%s Credential=%s/%s, SignedHeaders=%s, Signature=%s", SIGV4_ALGORITHM,
               s->access_key_id, j.scope, buf_str(&j.signed_headers), j.out.signature);
    TRY(buf_check(&j.out.authorization));
    hand_over(&j, ret);
    return OK;
}

static void add_parameter(struct buf *query, const char *name, struct slice value) {
    if (query->len > 0) buf_append_byte(query, '&');
    buf_printf(query, "%s=", name);
    percent_encode(value, false, query);
}

struct result sigv4_presign(const struct sigv4_signer *s, const struct sigv4_request *r, unsigned expires_s,
                            struct sigv4_signed *ret) {
    CHECK(expires_s >= 1 && expires_s <= SIGV4_MAX_PRESIGN_S, ERR_INVALID, "expiry must be 1 to %d seconds",
          SIGV4_MAX_PRESIGN_S);
    AUTO(job_done) struct job j = {0};
    TRY(job_init(&j, s, r, false));
    TRY(list_signed_headers(&j));
    BUF_AUTO(credential, 512);
    buf_printf(&credential, "%s/%s", s->access_key_id, j.scope);
    TRY(buf_check(&credential));
    BUF_AUTO(expires, 16);
    buf_printf(&expires, "%u", expires_s);
    buf_init_wiping(&j.query, r->query.len + 3 * (j.signed_headers.len + j.token.len + credential.len) + 512);
    buf_append_slice(&j.query, r->query);
    add_parameter(&j.query, "X-Amz-Algorithm", slice_str(SIGV4_ALGORITHM));
    add_parameter(&j.query, "X-Amz-Credential", buf_slice(&credential));
    add_parameter(&j.query, "X-Amz-Date", slice_str(j.date));
    add_parameter(&j.query, "X-Amz-SignedHeaders", buf_slice(&j.signed_headers));
    add_parameter(&j.query, "X-Amz-Expires", buf_slice(&expires));
    bool has_token = j.token.len > 0;
    if (has_token && !s->leave_token_out_of_scope) add_parameter(&j.query, "X-Amz-Security-Token", buf_slice(&j.token));
    TRY(buf_check(&j.query));
    j.request.query = buf_slice(&j.query);
    TRY(run_stages(&j, true));
    if (has_token && s->leave_token_out_of_scope) add_parameter(&j.query, "X-Amz-Security-Token", buf_slice(&j.token));
    add_parameter(&j.query, "X-Amz-Signature", slice_str(j.out.signature));
    TRY(buf_check(&j.query));
    j.out.query = j.query;
    j.query = (struct buf){0};
    hand_over(&j, ret);
    return OK;
}
