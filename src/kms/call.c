#include "kms/call.h"

#include <ctype.h>
#include <string.h>

#include "kms/grants.h"

void kmsd_call_done(struct kmsd_call *c) {
    json_decref(c->output);
    c->output = NULL;
    kmsd_refusal_done(&c->refusal);
}

/* "KeyId" is named keyId in AWS's messages. */
static char *wire_name(const char *name) {
    char *text = str_dup(name);
    text[0] = (char)tolower((unsigned char)text[0]);
    return text;
}

static const char *type_name(const json_t *j) {
    switch (json_typeof(j)) {
    case JSON_OBJECT:
        return "START_OBJECT";
    case JSON_ARRAY:
        return "START_ARRAY";
    case JSON_STRING:
        return "STRING_VALUE";
    case JSON_INTEGER:
    case JSON_REAL:
        return "NUMBER_VALUE";
    case JSON_TRUE:
        return "TRUE_VALUE";
    case JSON_FALSE:
        return "FALSE_VALUE";
    case JSON_NULL:
        return "VALUE_NULL";
    }
    return "VALUE";
}

static const json_t *member(const struct kmsd_call *c, const char *name) {
    const json_t *j = json_object_get(c->input, name);
    return json_is_null(j) ? NULL : j;
}

static struct result refuse_type(struct kmsd_call *c, const json_t *j, const char *wanted) {
    REFUSE(c, SERIALIZATION, "%s can not be converted to %s", type_name(j), wanted);
}

static struct result refuse_missing(struct kmsd_call *c, const char *name) {
    AUTO_FREE char *wire = wire_name(name);
    REFUSE(c, VALIDATION,
           "1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null",
           wire);
}

static struct result check_length(struct kmsd_call *c, const char *name, size_t len, size_t min, size_t max) {
    if (len >= min && len <= max) return OK;
    AUTO_FREE char *wire = wire_name(name);
    REFUSE(
        c, VALIDATION,
        "1 validation error detected: Value at '%s' failed to satisfy constraint: Member must have length %s than or "
        "equal to %zu",
        wire, len < min ? "greater" : "less", len < min ? min : max);
}

struct result kmsd_opt_str(struct kmsd_call *c, const char *name, size_t min, size_t max, const char **ret) {
    const json_t *j = member(c, name);
    if (j == NULL) return OK;
    if (!json_is_string(j)) return refuse_type(c, j, "String");
    TRY(check_length(c, name, json_string_length(j), min, max));
    *ret = json_string_value(j);
    return OK;
}

struct result kmsd_get_str(struct kmsd_call *c, const char *name, size_t min, size_t max, const char **ret) {
    const char *text = NULL;
    TRY(kmsd_opt_str(c, name, min, max, &text));
    if (text == NULL) return refuse_missing(c, name);
    *ret = text;
    return OK;
}

struct result kmsd_opt_int(struct kmsd_call *c, const char *name, int64_t min, int64_t max, int64_t *ret,
                           bool *ret_given) {
    const json_t *j = member(c, name);
    *ret_given = j != NULL;
    if (j == NULL) return OK;
    if (!json_is_integer(j)) return refuse_type(c, j, "Integer");
    int64_t value = json_integer_value(j);
    if (value < min || value > max) {
        AUTO_FREE char *wire = wire_name(name);
        REFUSE(c, VALIDATION,
               "1 validation error detected: Value '%lld' at '%s' failed to satisfy constraint: Member must have value "
               "%s than or equal to %lld",
               (long long)value, wire, value < min ? "greater" : "less", (long long)(value < min ? min : max));
    }
    *ret = value;
    return OK;
}

struct result kmsd_opt_bool(struct kmsd_call *c, const char *name, bool *ret) {
    const json_t *j = member(c, name);
    if (j == NULL) return OK;
    if (!json_is_boolean(j)) return refuse_type(c, j, "Boolean");
    *ret = json_is_true(j);
    return OK;
}

struct result kmsd_opt_enum(struct kmsd_call *c, const char *name, const char *const values[], const char **ret) {
    const char *text = NULL;
    TRY(kmsd_opt_str(c, name, 0, 8192, &text));
    if (text == NULL) return OK;
    BUF_AUTO(set, 1024);
    for (size_t i = 0; values[i] != NULL; i++) {
        if (strcmp(values[i], text) == 0) {
            *ret = values[i];
            return OK;
        }
        buf_printf(&set, "%s%s", i == 0 ? "" : ", ", values[i]);
    }
    AUTO_FREE char *wire = wire_name(name);
    REFUSE(c, VALIDATION,
           "1 validation error detected: Value '%.256s' at '%s' failed to satisfy constraint: Member must satisfy enum "
           "value set: [%s]",
           text, wire, buf_str(&set));
}

struct result kmsd_opt_blob(struct kmsd_call *c, const char *name, size_t min, size_t max, struct buf *out,
                            bool *ret_given) {
    const json_t *j = member(c, name);
    *ret_given = j != NULL;
    if (j == NULL) return OK;
    if (!json_is_string(j)) return refuse_type(c, j, "Blob");
    AUTO(buf_done) struct buf bytes;
    buf_init_wiping(&bytes, json_string_length(j) + 1);
    if (is_err(base64_decode(slice_make(json_string_value(j), json_string_length(j)), &bytes)))
        REFUSE(c, SERIALIZATION, NULL);
    TRY(check_length(c, name, bytes.len, min, max));
    buf_append_slice(out, buf_slice(&bytes));
    return buf_check(out);
}

struct result kmsd_opt_array(struct kmsd_call *c, const char *name, json_t **ret) {
    const json_t *j = member(c, name);
    if (j == NULL) return OK;
    if (!json_is_array(j)) return refuse_type(c, j, "List");
    *ret = json_object_get(c->input, name);
    return OK;
}

struct result kmsd_get_array(struct kmsd_call *c, const char *name, json_t **ret) {
    json_t *list = NULL;
    TRY(kmsd_opt_array(c, name, &list));
    if (list == NULL) return refuse_missing(c, name);
    *ret = list;
    return OK;
}

struct result kmsd_opt_object(struct kmsd_call *c, const char *name, json_t **ret) {
    const json_t *j = member(c, name);
    if (j == NULL) return OK;
    if (!json_is_object(j)) return refuse_type(c, j, "Map");
    *ret = json_object_get(c->input, name);
    return OK;
}

struct result kmsd_check_grant_tokens(struct kmsd_call *c) {
    json_t *tokens = NULL;
    TRY(kmsd_opt_array(c, "GrantTokens", &tokens));
    TRY(check_length(c, "GrantTokens", json_array_size(tokens), 0, 10));
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        const json_t *token = json_array_get(tokens, i);
        struct kmsd_grant_token read;
        if (!json_is_string(token)) return refuse_type(c, token, "String");
        if (!kmsd_grant_token_read(json_string_value(token), &read)) REFUSE(c, INVALID_GRANT_TOKEN, NULL);
    }
    return OK;
}

struct result kmsd_check_dry_run(struct kmsd_call *c) {
    bool dry_run = false;
    TRY(kmsd_opt_bool(c, "DryRun", &dry_run));
    if (dry_run) REFUSE(c, DRY_RUN, "The request would have succeeded, but the DryRun option is set.");
    return OK;
}

struct result kmsd_change_state(struct kmsd_call *c, const struct kmsd_key *k,
                                struct result (*edit)(const struct kmsd_key *key, struct kmsd_state *draft, void *arg),
                                void *arg, struct kmsd_key **ret) {
    struct result r = kmsd_store_change(c->store, k->family.id, c->now_ms, edit, arg, ret);
    if (r.code == ERR_NOT_FOUND) REFUSE(c, NOT_FOUND, "Key '%s' does not exist", k->arn);
    return r;
}

struct result kmsd_change_family(struct kmsd_call *c, const struct kmsd_key *k,
                                 struct result (*edit)(struct kmsd_store *s, const struct kmsd_key *key,
                                                       struct kmsd_family *draft, void *arg),
                                 void *arg) {
    struct result r = kmsd_store_change_family(c->store, k->family.id, c->now_ms, edit, arg, NULL);
    if (r.code == ERR_NOT_FOUND && c->refusal.error == KMSD_OK) REFUSE(c, NOT_FOUND, "Key '%s' does not exist", k->arn);
    return r;
}

struct result kmsd_read_page(struct kmsd_call *c, size_t max, struct kmsd_page *page) {
    int64_t limit = (int64_t)page->limit;
    bool given = false;
    page->marker = "";
    TRY(kmsd_opt_int(c, "Limit", 1, (int64_t)max, &limit, &given));
    TRY(kmsd_opt_str(c, "Marker", 1, 1024, &page->marker));
    page->limit = (size_t)limit;
    return OK;
}

void kmsd_answer_page(struct kmsd_call *c, const char *name, json_t *list, const char *next) {
    c->output = json_pack("{s:o, s:b}", name, list, "Truncated", next != NULL);
    if (next != NULL) json_object_set_new(c->output, "NextMarker", json_string(next));
}
