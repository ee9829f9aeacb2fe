#include "aws/kms_switch.h"

#include "aws/sigv4.h"
#include "base/crypto.h"
#include "base/json.h"

enum { TIMEOUT_MS = 10000, BODY_MAX_BYTES = 8192, TOKEN_MAX_BYTES = 65536 };

/* The endpoint's checks and its default are the client's. */
static struct result send(const struct kms_client_options *o, const struct kms_client *c, const char *target,
                          struct slice body, struct http_reply *ret) {
    CREDENTIALS_AUTO(credentials);
    TRY(credentials_load(&o->credentials, &credentials));
    uint8_t hash[SHA256_BYTES];
    TRY(sha256(body, hash));
    BUF_AUTO(hex, 2 * SHA256_BYTES);
    hex_encode(slice_make(hash, sizeof hash), &hex);
    struct slice token = secret_view(&credentials.session_token), scheme, host;
    slice_cut(slice_str(kms_client_endpoint(c)), '/', &scheme, &host); /* "https:", "/host" */
    AUTO_FREE char *host_text = slice_to_str(slice_make(host.data + 1, host.len - 1));
    struct http_field fields[7] = {
        {"Content-Type", "application/x-amz-json-1.1"}, {"Host", host_text}, {"X-Amz-Target", target}};
    struct sigv4_request request = {.method = slice_str("POST"),
                                    .path = slice_str("/"),
                                    .fields = fields,
                                    .payload_hash = buf_slice(&hex),
                                    .path_rule = SIGV4_PATH_DEFAULT};
    struct sigv4_signer signer = {.access_key_id = credentials.access_key_id,
                                  .secret_key = secret_view(&credentials.secret_key),
                                  .session_token = token,
                                  .region = o->region,
                                  .service = "kms",
                                  .unix_ms = clock_unix_ms()};
    AUTO(sigv4_signed_done) struct sigv4_signed made = {0};
    TRY(sigv4_sign(&signer, &request, &made));
    BUF_AUTO(token_text, TOKEN_MAX_BYTES);
    token_text.wipes = true;
    buf_append_slice(&token_text, token);
    TRY(buf_check(&token_text));
    size_t n = 3;
    fields[n++] = (struct http_field){"X-Amz-Date", made.amz_date};
    if (token.len > 0) fields[n++] = (struct http_field){"X-Amz-Security-Token", buf_str(&token_text)};
    fields[n] = (struct http_field){"Authorization", buf_str(&made.authorization)};
    AUTO_FREE char *url = str_format("%s/", kms_client_endpoint(c));
    struct http_call call = {.method = "POST", .url = url, .fields = fields, .body = body, .timeout_ms = TIMEOUT_MS};
    return http_call(o->pool, &call, ret);
}

struct result kms_switch_key(const struct kms_client_options *o, const char *key_arn, bool enable) {
    AUTO(kms_client_free_auto) struct kms_client *c = NULL;
    TRY(kms_client_new(o, &c));
    BUF_AUTO(body, BODY_MAX_BYTES);
    buf_append_str(&body, "{\"KeyId\":");
    json_write_str(slice_str(key_arn), &body);
    buf_append_str(&body, "}");
    TRY(buf_check(&body));
    AUTO(http_reply_done) struct http_reply reply = {0};
    const char *name = enable ? "EnableKey" : "DisableKey";
    AUTO_FREE char *target = str_format("TrentService.%s", name);
    TRY(send(o, c, target, buf_slice(&body), &reply));
    if (reply.status == 200) return OK;
    JSON_AUTO(j);
    const char *type = "", *message = "";
    if (is_ok(json_parse_object(buf_slice(&reply.body), &j))) {
        result_ignore(json_opt_str(j, "__type", &type));
        result_ignore(json_opt_str(j, json_object_get(j, "message") ? "message" : "Message", &message));
    }
    FAIL(ERR_PEER, "%s: HTTP %d %.80s %.200s", name, reply.status, type, message);
}
