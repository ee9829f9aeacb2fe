/* Signature V4: no request passes unsigned, and whatever can be signed is verified. Input: method, path, query, payload
 * literal, each a line; then headers, "name:value" a line. */
#include <string.h>

#include "aws/sigv4.h"
#include "fuzz.h"

#define KEY_ID "AKIDEXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define TIME_MS 1440938160000 /* 20150830T123600Z */

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    return fuzz_start();
}

static bool lookup(void *arg, const char *access_key_id, struct sigv4_credential *ret) {
    *ret = (struct sigv4_credential){.secret_key = slice_str(SECRET)};
    return strcmp(access_key_id, KEY_ID) == 0;
}

static enum sigv4_failure verify(const struct sigv4_request *r) {
    struct sigv4_expect expect = {
        .region = "us-east-1", .service = "service", .now_unix_ms = TIME_MS, .max_skew_ms = 900000, .lookup = lookup};
    struct sigv4_verified v;
    PROMISE(is_ok(sigv4_verify(r, &expect, &v)));
    PROMISE(v.failure < SIGV4_FAILURE_MAX && is_printable(v.detail));
    PROMISE((v.failure == SIGV4_OK) == (v.detail[0] == 0));
    return v.failure;
}

static bool is_token(const char *name) {
    for (const char *p = name; *p; p++)
        if (*p <= ' ' || *p > '~' || strchr(":;,", *p)) return false;
    return *name != 0;
}

static bool has_plain_headers(const struct sigv4_fields *f) {
    for (size_t i = 0; i < f->count; i++)
        if (!is_token(f->list[i].name)) return false;
    return f->count < 90;
}

static void sign_and_verify(struct sigv4_request *r, struct sigv4_fields *fields) {
    struct sigv4_signer s = {.access_key_id = KEY_ID,
                             .secret_key = slice_str(SECRET),
                             .region = "us-east-1",
                             .service = "service",
                             .unix_ms = TIME_MS};
    AUTO(sigv4_signed_done) struct sigv4_signed made = {0};
    AUTO(sigv4_signed_done) struct sigv4_signed presigned = {0};
    if (is_ok(sigv4_presign(&s, r, 60, &presigned))) {
        struct sigv4_request q = *r;
        q.query = buf_slice(&presigned.query);
        PROMISE(verify(&q) == SIGV4_OK);
    }
    if (is_err(sigv4_sign(&s, r, &made))) return;
    sigv4_fields_add(fields, "X-Amz-Date", made.amz_date);
    sigv4_fields_add(fields, "Authorization", buf_str(&made.authorization));
    r->fields = sigv4_fields_list(fields);
    PROMISE(verify(r) == SIGV4_OK);
    r->method = slice_str("OTHER");
    PROMISE(verify(r) == SIGV4_BAD_SIGNATURE);
}

static void run(char *text, enum sigv4_path rule) {
    SIGV4_FIELDS_AUTO(fields);
    struct slice parts[4], rest = slice_str(text);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        slice_cut(rest, '\n', &parts[i], &rest);
    if (slice_is(parts[0], "OTHER")) return;
    for (char *at = rest.len ? text + (rest.data - (uint8_t *)text) : NULL; at && *at;) {
        char *end = strchr(at, '\n');
        if (end) *end = 0;
        char *colon = strchr(at, ':');
        if (colon) *colon = 0;
        sigv4_fields_add(&fields, at, colon ? colon + 1 : "");
        at = end ? end + 1 : NULL;
    }
    struct sigv4_request r = {.method = parts[0],
                              .path = parts[1],
                              .query = parts[2],
                              .payload_hash = parts[3],
                              .fields = sigv4_fields_list(&fields),
                              .path_rule = rule};
    if (verify(&r) == SIGV4_NO_AUTH && has_plain_headers(&fields)) sign_and_verify(&r, &fields);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0 || size > 16384) return 0;
    AUTO_FREE char *text = str_ndup((const char *)data + 1, size - 1);
    run(text, (enum sigv4_path)(data[0] % 3));
    char *value = text;
    sigv4_payload_parse(value, NULL);
    return 0;
}
