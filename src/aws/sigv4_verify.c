/* Verifying, header and presigned form. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "aws/sigv4_priv.h"

enum { SIGNED_HEADERS_MAX = 100, MS_PER_S = 1000 };

const char *sigv4_failure_name(enum sigv4_failure f) {
    static const char *const names[SIGV4_FAILURE_MAX] = {
        [SIGV4_OK] = "ok",
        [SIGV4_NO_AUTH] = "no_auth",
        [SIGV4_OTHER_SCHEME] = "other_scheme",
        [SIGV4_MALFORMED] = "malformed",
        [SIGV4_EXPIRES_RANGE] = "expires_range",
        [SIGV4_SCOPE] = "scope",
        [SIGV4_SKEWED] = "skewed",
        [SIGV4_EXPIRED] = "expired",
        [SIGV4_UNKNOWN_KEY] = "unknown_key",
        [SIGV4_BAD_TOKEN] = "bad_token",
        [SIGV4_UNSIGNED_HEADER] = "unsigned_header",
        [SIGV4_BAD_SIGNATURE] = "bad_signature",
    };
    return (unsigned)f < SIGV4_FAILURE_MAX ? names[f] : "unknown";
}

/* What the request says about its signature; slices borrow from the request, or from `values` when presigned. */
struct claim {
    const struct sigv4_request *request;
    const struct sigv4_expect *expect;
    struct sigv4_verified *out;
    struct buf values[SIGV4_PARAM_MAX];
    unsigned seen[SIGV4_PARAM_MAX];
    struct slice credential, signed_headers, signature, token;
    struct slice access_key, scope_date, region, service, ending;
    const char *date_header; /* the header the time comes from; NULL when presigned */
    int64_t unix_ms;
    uint64_t expires_s;
};

static void claim_done(struct claim *c) {
    for (size_t i = 0; i < SIGV4_PARAM_MAX; i++)
        buf_done(&c->values[i]);
}

__attribute__((format(printf, 3, 4))) static enum sigv4_failure refuse(struct claim *c, enum sigv4_failure f,
                                                                       const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(c->out->detail, sizeof c->out->detail, format, args);
    va_end(args);
    for (char *p = c->out->detail; *p; p++)
        if (*p < ' ' || *p > '~') *p = '?';
    c->out->failure = f;
    return f;
}

#define REFUSE(failure, ...) return refuse(c, (failure), __VA_ARGS__)
#define STEP(expression)                                                                                               \
    do {                                                                                                               \
        enum sigv4_failure step_failure_ = (expression);                                                               \
        if (step_failure_ != SIGV4_OK) return step_failure_;                                                           \
    } while (0)
/* For "%.*s": at most 40 bytes. */
#define SHOWN(s) (int)((s).len < 40 ? (s).len : 40), (s).len > 0 ? (const char *)(s).data : ""

static unsigned count_header(const struct claim *c, const char *name, const char **ret_value) {
    unsigned n = 0;
    for (const struct http_field *f = c->request->fields; f->name; f++) {
        if (!sigv4_name_is(f->name, slice_str(name))) continue;
        if (n++ == 0) *ret_value = f->value;
    }
    return n;
}

static struct slice trim(struct slice s) {
    while (s.len > 0 && (s.data[0] == ' ' || s.data[0] == '\t'))
        s = slice_make(s.data + 1, s.len - 1);
    while (s.len > 0 && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t'))
        s.len--;
    return s;
}

static void copy_text(char *to, size_t size, struct slice from) {
    size_t n = from.len < size - 1 ? from.len : size - 1;
    mem_copy(to, from.data, n);
    to[n] = 0;
}

/* --- Reading the claim. --- */

static enum sigv4_failure read_query(struct claim *c) {
    struct slice one, rest = c->request->query;
    bool more = rest.len > 0;
    while (more) {
        more = slice_cut(rest, '&', &one, &rest);
        struct slice name, value;
        slice_cut(one, '=', &name, &value);
        BUF_AUTO(plain, name.len + 1);
        if (is_err(percent_decode(name, &plain))) REFUSE(SIGV4_MALFORMED, "malformed escape in the query");
        for (size_t i = 0; i < SIGV4_PARAM_MAX; i++) {
            if (!slice_is(buf_slice(&plain), sigv4_param_names[i])) continue;
            if (c->seen[i]++ > 0) REFUSE(SIGV4_MALFORMED, "%s is given twice", sigv4_param_names[i]);
            buf_init_wiping(&c->values[i], value.len + 1);
            if (is_err(percent_decode(value, &c->values[i])))
                REFUSE(SIGV4_MALFORMED, "malformed escape in %s", sigv4_param_names[i]);
        }
        if (slice_is(buf_slice(&plain), "AWSAccessKeyId"))
            REFUSE(SIGV4_OTHER_SCHEME, "the URL is presigned with Signature Version 2; use Signature Version 4 (boto3: "
                                       "Config(signature_version='s3v4'))");
    }
    return SIGV4_OK;
}

static enum sigv4_failure read_presigned(struct claim *c) {
    for (size_t i = 0; i < SIGV4_PARAM_MAX; i++)
        if (i != SIGV4_PARAM_TOKEN && c->seen[i] == 0)
            REFUSE(SIGV4_MALFORMED, "%s is missing in the query", sigv4_param_names[i]);
    struct slice algorithm = buf_slice(&c->values[SIGV4_PARAM_ALGORITHM]);
    if (!slice_is(algorithm, SIGV4_ALGORITHM))
        REFUSE(SIGV4_OTHER_SCHEME, "X-Amz-Algorithm is '%.*s'; only " SIGV4_ALGORITHM " is served", SHOWN(algorithm));
    c->out->is_presigned = true;
    c->credential = buf_slice(&c->values[SIGV4_PARAM_CREDENTIAL]);
    c->signed_headers = buf_slice(&c->values[SIGV4_PARAM_SIGNED_HEADERS]);
    c->signature = buf_slice(&c->values[SIGV4_PARAM_SIGNATURE]);
    c->token = buf_slice(&c->values[SIGV4_PARAM_TOKEN]);
    struct slice date = buf_slice(&c->values[SIGV4_PARAM_DATE]);
    if (is_err(clock_parse_amz(date, &c->unix_ms)))
        REFUSE(SIGV4_MALFORMED, "X-Amz-Date '%.*s' is not of the form 20150830T123600Z", SHOWN(date));
    if (is_err(slice_to_u64(buf_slice(&c->values[SIGV4_PARAM_EXPIRES]), SIGV4_MAX_PRESIGN_S, &c->expires_s)) ||
        c->expires_s == 0)
        REFUSE(SIGV4_EXPIRES_RANGE, "X-Amz-Expires must be a number of seconds from 1 to %d", SIGV4_MAX_PRESIGN_S);
    return SIGV4_OK;
}

static enum sigv4_failure read_pair(struct claim *c, struct slice pair) {
    const struct {
        const char *name;
        struct slice *value;
    } known[] = {{"Credential", &c->credential}, {"SignedHeaders", &c->signed_headers}, {"Signature", &c->signature}};
    struct slice name, value;
    if (!slice_cut(pair, '=', &name, &value)) REFUSE(SIGV4_MALFORMED, "Authorization holds a part without '='");
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (!slice_is(name, known[i].name)) continue;
        if (known[i].value->data) REFUSE(SIGV4_MALFORMED, "Authorization holds %s twice", known[i].name);
        if (value.len == 0) REFUSE(SIGV4_MALFORMED, "%s of Authorization is empty", known[i].name);
        *known[i].value = value;
        return SIGV4_OK;
    }
    REFUSE(SIGV4_MALFORMED, "Authorization holds an unknown part '%.*s'", SHOWN(name));
}

static enum sigv4_failure read_authorization(struct claim *c, const char *text) {
    struct slice algorithm, pair, rest;
    slice_cut(trim(slice_str(text)), ' ', &algorithm, &rest);
    if (!slice_is(algorithm, SIGV4_ALGORITHM))
        REFUSE(SIGV4_OTHER_SCHEME, "only " SIGV4_ALGORITHM " (Signature Version 4) is served");
    bool more = true;
    while (more) {
        more = slice_cut(rest, ',', &pair, &rest);
        STEP(read_pair(c, trim(pair)));
    }
    if (!c->credential.data || !c->signed_headers.data || !c->signature.data)
        REFUSE(SIGV4_MALFORMED, "Authorization must hold Credential, SignedHeaders and Signature");
    return SIGV4_OK;
}

/* IMF-fixdate, also with the zone as a number (botocore writes "-0000"), or the basic format of x-amz-date. */
static bool parse_date_header(struct slice date, int64_t *ret_unix_ms) {
    enum { ZONE_BYTES = 5 };
    if (is_ok(clock_parse_http(date, ret_unix_ms)) || is_ok(clock_parse_amz(date, ret_unix_ms))) return true;
    if (date.len <= ZONE_BYTES || date.len > 40) return false;
    struct slice zone = slice_make(date.data + date.len - ZONE_BYTES, ZONE_BYTES);
    if (!slice_is(zone, "-0000") && !slice_is(zone, "+0000")) return false;
    BUF_AUTO(text, 48);
    buf_append(&text, date.data, date.len - ZONE_BYTES);
    buf_append_str(&text, "GMT");
    return is_ok(buf_check(&text)) && is_ok(clock_parse_http(buf_slice(&text), ret_unix_ms));
}

/* x-amz-date counts, else Date. */
static enum sigv4_failure read_date(struct claim *c) {
    const char *value = NULL;
    unsigned n = count_header(c, "x-amz-date", &value);
    if (n > 1) REFUSE(SIGV4_MALFORMED, "the header x-amz-date is given twice");
    if (n == 1) {
        c->date_header = "x-amz-date";
        if (is_err(clock_parse_amz(trim(slice_str(value)), &c->unix_ms)))
            REFUSE(SIGV4_MALFORMED, "the header x-amz-date is not of the form 20150830T123600Z");
        return SIGV4_OK;
    }
    n = count_header(c, "date", &value);
    if (n != 1) REFUSE(SIGV4_MALFORMED, "the request needs exactly one header x-amz-date (or else Date)");
    c->date_header = "date";
    if (!parse_date_header(trim(slice_str(value)), &c->unix_ms))
        REFUSE(SIGV4_MALFORMED, "the header Date is not a date of the form 'Sun, 30 Aug 2015 12:36:00 GMT'");
    return SIGV4_OK;
}

static enum sigv4_failure read_header_token(struct claim *c) {
    const char *value = NULL;
    unsigned n = count_header(c, "x-amz-security-token", &value);
    if (n > 1 || (n == 1 && c->token.len > 0)) REFUSE(SIGV4_MALFORMED, "x-amz-security-token is given twice");
    if (n == 1) c->token = trim(slice_str(value));
    return SIGV4_OK;
}

static enum sigv4_failure read_claim(struct claim *c) {
    const char *authorization = NULL;
    unsigned n = count_header(c, "authorization", &authorization);
    STEP(read_query(c));
    bool presigned =
        c->seen[SIGV4_PARAM_ALGORITHM] || c->seen[SIGV4_PARAM_CREDENTIAL] || c->seen[SIGV4_PARAM_SIGNATURE];
    if (n > 1 || (n == 1 && presigned))
        REFUSE(SIGV4_MALFORMED, "only one way of authentication is allowed: one Authorization header, or a presigned "
                                "query");
    if (n == 0 && !presigned) REFUSE(SIGV4_NO_AUTH, "the request is not signed");
    if (presigned)
        STEP(read_presigned(c));
    else {
        STEP(read_authorization(c, authorization));
        STEP(read_date(c));
    }
    STEP(read_header_token(c));
    clock_format_amz(c->unix_ms, c->out->amz_date);
    return SIGV4_OK;
}

/* --- Judging it. --- */

static enum sigv4_failure read_credential(struct claim *c) {
    struct slice rest;
    bool complete = slice_cut(c->credential, '/', &c->access_key, &rest) &&
                    slice_cut(rest, '/', &c->scope_date, &rest) && slice_cut(rest, '/', &c->region, &rest) &&
                    slice_cut(rest, '/', &c->service, &c->ending);
    if (!complete || c->access_key.len == 0 || c->access_key.len >= SIGV4_ACCESS_KEY_BYTES ||
        slice_has_nul(c->credential))
        REFUSE(SIGV4_MALFORMED, "the credential must be ACCESS-KEY-ID/DATE/REGION/SERVICE/aws4_request");
    copy_text(c->out->access_key_id, sizeof c->out->access_key_id, c->access_key);
    copy_text(c->out->region, sizeof c->out->region, c->region);
    return SIGV4_OK;
}

static enum sigv4_failure check_scope(struct claim *c) {
    if (!slice_is(c->ending, "aws4_request")) REFUSE(SIGV4_SCOPE, "the credential scope must end in aws4_request");
    if (!slice_is(c->region, c->expect->region))
        REFUSE(SIGV4_SCOPE, "the credential scope names region '%.*s'; this is '%s'", SHOWN(c->region),
               c->expect->region);
    if (!slice_is(c->service, c->expect->service))
        REFUSE(SIGV4_SCOPE, "the credential scope names service '%.*s'; this is '%s'", SHOWN(c->service),
               c->expect->service);
    if (!slice_equal(c->scope_date, slice_make(c->out->amz_date, 8)))
        REFUSE(SIGV4_SCOPE, "the credential scope's date '%.*s' is not the day of the request, %.8s",
               SHOWN(c->scope_date), c->out->amz_date);
    return SIGV4_OK;
}

static enum sigv4_failure check_time(struct claim *c) {
    int64_t now = c->expect->now_unix_ms, skew = c->expect->max_skew_ms;
    char now_text[CLOCK_AMZ_BYTES];
    clock_format_amz(now, now_text);
    bool early = c->unix_ms > now + skew;
    if (early || (!c->out->is_presigned && c->unix_ms < now - skew))
        REFUSE(SIGV4_SKEWED, "the request's time is %s, ours is %s: more than %lld s apart", c->out->amz_date, now_text,
               (long long)(skew / MS_PER_S));
    if (c->out->is_presigned && now > c->unix_ms + (int64_t)c->expires_s * MS_PER_S)
        REFUSE(SIGV4_EXPIRED, "the presigned request of %s was valid for %llu s; it is %s now", c->out->amz_date,
               (unsigned long long)c->expires_s, now_text);
    return SIGV4_OK;
}

static bool lists(struct slice signed_headers, const char *name) {
    struct slice one, rest = signed_headers;
    bool more = true;
    while (more) {
        more = slice_cut(rest, ';', &one, &rest);
        if (sigv4_name_is(name, one)) return true;
    }
    return false;
}

static bool is_header_name(struct slice s) {
    for (size_t i = 0; i < s.len; i++) {
        uint8_t ch = s.data[i];
        if (ch <= ' ' || ch > '~' || (ch >= 'A' && ch <= 'Z') || ch == ':' || ch == ',') return false;
    }
    return s.len > 0;
}

/* Lower-case names, each once, each received. */
static enum sigv4_failure check_listed(struct claim *c) {
    struct slice name, rest = c->signed_headers;
    unsigned n = 0;
    bool more = true;
    while (more) {
        more = slice_cut(rest, ';', &name, &rest);
        if (!is_header_name(name)) REFUSE(SIGV4_MALFORMED, "SignedHeaders must be lower-case names joined by ';'");
        if (++n > SIGNED_HEADERS_MAX) REFUSE(SIGV4_MALFORMED, "more than %d signed headers", SIGNED_HEADERS_MAX);
        AUTO_FREE char *text = slice_to_str(name);
        if (more && lists(rest, text)) REFUSE(SIGV4_MALFORMED, "SignedHeaders names '%.*s' twice", SHOWN(name));
        const char *value;
        if (count_header(c, text, &value) == 0)
            REFUSE(SIGV4_BAD_SIGNATURE, "header '%.*s' is signed, but was not received", SHOWN(name));
    }
    return SIGV4_OK;
}

static enum sigv4_failure check_headers(struct claim *c) {
    STEP(check_listed(c));
    if (!lists(c->signed_headers, "host")) REFUSE(SIGV4_UNSIGNED_HEADER, "the header 'host' must be signed");
    if (c->date_header && !lists(c->signed_headers, c->date_header))
        REFUSE(SIGV4_UNSIGNED_HEADER, "the header '%s' must be signed", c->date_header);
    for (const struct http_field *f = c->request->fields; f->name; f++) {
        if (strncasecmp(f->name, "x-amz-", 6) != 0 || lists(c->signed_headers, f->name)) continue;
        REFUSE(SIGV4_UNSIGNED_HEADER, "the header '%.60s' was received, but is not signed", f->name);
    }
    return SIGV4_OK;
}

static bool is_signature(struct slice s) {
    if (s.len != SIGV4_SIGNATURE_BYTES - 1) return false;
    for (size_t i = 0; i < s.len; i++)
        if (!((s.data[i] >= '0' && s.data[i] <= '9') || (s.data[i] >= 'a' && s.data[i] <= 'f'))) return false;
    return true;
}

static enum sigv4_failure check_token(struct claim *c, const struct sigv4_credential *credential) {
    if (credential->session_token.len == 0 && c->token.len > 0)
        REFUSE(SIGV4_BAD_TOKEN, "the access key is not a temporary one, but a session token was sent");
    if (!secret_equal(c->token, credential->session_token))
        REFUSE(SIGV4_BAD_TOKEN, "the session token is missing or is not the access key's");
    return SIGV4_OK;
}

/* Makes the signature anew and compares. */
static struct result compare(struct claim *c, const struct sigv4_credential *credential) {
    struct sigv4_verified *out = c->out;
    BUF_AUTO(canonical, sigv4_canonical_max(c->request));
    canonical.wipes = true;
    struct result made = sigv4_canonical_request(c->request, c->signed_headers, out->is_presigned, &canonical);
    if (made.code == ERR_INVALID) {
        refuse(c, SIGV4_MALFORMED, "malformed escape in the path or the query");
        return OK;
    }
    TRY(made);
    BUF_AUTO(to_sign, 512);
    TRY(sigv4_string_to_sign(out->amz_date, out->scope, buf_slice(&canonical), &to_sign));
    SECRET_AUTO(key);
    TRY(sigv4_signing_key(credential->secret_key, out->amz_date, c->expect->region, c->expect->service, &key));
    char expected[SIGV4_SIGNATURE_BYTES];
    TRY(sigv4_signature(secret_view(&key), buf_slice(&to_sign), expected));
    if (!secret_equal(c->signature, slice_make(expected, SIGV4_SIGNATURE_BYTES - 1))) {
        refuse(c, SIGV4_BAD_SIGNATURE, "the signature is not the one calculated from the request and the secret key");
    } else {
        copy_text(out->signature, sizeof out->signature, c->signature);
        out->user = credential->user;
        out->failure = SIGV4_OK;
        out->detail[0] = 0;
    }
    wipe(expected, sizeof expected);
    return OK;
}

static enum sigv4_failure judge(struct claim *c, struct sigv4_credential *ret_credential) {
    STEP(read_claim(c));
    STEP(read_credential(c));
    if (!is_signature(c->signature)) REFUSE(SIGV4_MALFORMED, "a signature is 64 lower-case hexadecimal digits");
    STEP(check_scope(c));
    STEP(check_time(c));
    if (!c->expect->lookup(c->expect->arg, c->out->access_key_id, ret_credential))
        REFUSE(SIGV4_UNKNOWN_KEY, "the access key id is not known here");
    STEP(check_headers(c));
    return check_token(c, ret_credential);
}

struct result sigv4_verify(const struct sigv4_request *r, const struct sigv4_expect *expect,
                           struct sigv4_verified *ret) {
    *ret = (struct sigv4_verified){.failure = SIGV4_MALFORMED};
    AUTO(claim_done) struct claim c = {.request = r, .expect = expect, .out = ret};
    struct sigv4_credential credential = {0};
    if (judge(&c, &credential) != SIGV4_OK) return OK;
    TRY(sigv4_scope(ret->amz_date, expect->region, expect->service, ret->scope));
    ret->failure = SIGV4_BAD_SIGNATURE; /* until it is shown to be right */
    return compare(&c, &credential);
}
