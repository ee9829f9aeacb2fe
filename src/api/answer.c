#include "api/answer.h"

#include <stdio.h>
#include <string.h>

#include "base/crypto.h"
#include "base/log.h"

enum { MAX_ANSWER_BYTES = 64 * 1024 * 1024, TRACE_BYTES = 8 };

static const struct http_field json_fields[] = {
    {"Content-Type", "application/json"}, {"Cache-Control", "no-store"}, {NULL, NULL}};

void answer_text(struct http_request *r, int status, struct slice body) {
    http_answer(r, status, json_fields, body);
}

void answer_json(struct http_request *r, int status, json_t *body) {
    JSON_AUTO(owned);
    owned = body;
    BUF_AUTO(text, MAX_ANSWER_BYTES);
    text.wipes = true;
    if (!owned || is_err(json_write(owned, &text)) || is_err(buf_check(&text))) {
        log_error("answer.failed", KVI("status", status));
        answer_text(r, 500, slice_str("{\"message\":\"The answer can't be written.\",\"type\":\"INTERNALERROR\"}"));
        return;
    }
    answer_text(r, status, buf_slice(&text));
}

const char *answer_error_type(enum err_code code) {
    static const struct {
        enum err_code code;
        const char *type;
    } types[] = {
        {ERR_INVALID, "INVALIDINPUT"},
        {ERR_UNAUTHENTICATED, "AUTHEXCEPTION"},
        {ERR_FORBIDDEN, "FORBIDDEN"},
        {ERR_NO_LEASE, "FORBIDDEN"},
        {ERR_NOT_FOUND, "NOTFOUND"},
        {ERR_METHOD, "METHODNOTALLOWED"},
        {ERR_EXISTS, "ALREADYEXISTS"},
        {ERR_CONFLICT, "CONFLICT"},
        {ERR_TOO_LARGE, "CONTENTTOOLARGE"},
        {ERR_BUSY, "RATELIMITEXCEEDED"},
        {ERR_UNSUPPORTED, "NOTIMPLEMENTEDYET"},
        {ERR_UNREACHABLE, "SERVICEUNAVAILABLE"},
        {ERR_TIMEOUT, "SERVICEUNAVAILABLE"},
        {ERR_CANCELLED, "SERVICEUNAVAILABLE"},
    };
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (types[i].code == code) return types[i].type;
    return "INTERNALERROR";
}

/* Details may have been cut in the middle of a character. */
static json_t *safe_string(const char *text) {
    json_t *whole = json_string(text);
    if (whole) return whole;
    AUTO_FREE char *copy = str_dup(text);
    for (char *p = copy; *p; p++)
        if ((unsigned char)*p >= 0x80) *p = '?';
    return json_string(copy);
}

static json_t *trace_id(void) {
    uint8_t bytes[TRACE_BYTES];
    BUF_AUTO(text, TRACE_BYTES * 2);
    if (is_err(random_bytes(bytes, sizeof bytes))) return json_null();
    hex_encode(slice_make(bytes, sizeof bytes), &text);
    return json_string(buf_str(&text));
}

json_t *answer_error_model(const char *message, const char *type, const struct answer_error *more) {
    json_t *model = json_object();
    json_object_set_new(model, "message", safe_string(message));
    json_object_set_new(model, "type", json_string(type));
    json_object_set_new(model, "line", more && more->line ? json_integer(more->line) : json_null());
    json_object_set_new(model, "column", more && more->line ? json_integer(more->column) : json_null());
    json_object_set_new(model, "trace_id", trace_id());
    json_object_set_new(model, "error_id", json_null());
    json_object_set_new(model, "query_id", more && more->query_id ? json_string(more->query_id) : json_null());
    return model;
}

static void answer_refusal(struct http_request *r, const struct refusal *why, const struct answer_error *more) {
    JSON_AUTO(model);
    model = answer_error_model(why->message, why->type, more);
    if (why->checks) json_object_set(model, "checks", why->checks);
    BUF_AUTO(text, MAX_ANSWER_BYTES);
    result_ignore(json_write(model, &text)); /* made of valid strings just above */
    char seconds[16];
    snprintf(seconds, sizeof seconds, "%u", why->retry_after_s);
    struct http_field fields[] = {
        {"Content-Type", "application/json"}, {"Cache-Control", "no-store"}, {NULL, NULL}, {NULL, NULL}};
    if (why->retry_after_s) fields[2] = (struct http_field){"Retry-After", seconds};
    if (more && more->allowed) fields[2] = (struct http_field){"Allow", more->allowed};
    http_answer(r, why->status, fields, buf_slice(&text));
}

void answer_error(struct http_request *r, struct result error, const struct refusal *why,
                  const struct answer_error *more) {
    if (why && why->status) {
        answer_refusal(r, why, more);
        return;
    }
    REFUSAL_AUTO(own);
    int status = err_http_status(error.code);
    const char *type = answer_error_type(error.code), *detail = err_detail();
    bool later = error.code == ERR_UNREACHABLE || error.code == ERR_TIMEOUT || error.code == ERR_BUSY;
    if (later) status = error.code == ERR_BUSY ? 429 : 503;
    if (strcmp(type, "INTERNALERROR") == 0) {
        log_error("request.failed", KV("code", err_name(error.code)), KV("detail", detail));
        detail = "Something failed inside of the server; its log says what.";
        status = 500;
    }
    own = (struct refusal){.status = status, .type = type, .message = str_dup(detail), .retry_after_s = later ? 1 : 0};
    answer_refusal(r, &own, more);
}
