#include "engine/request.h"

#include <string.h>

#include "base/clock.h"

enum { DEFAULT_DEADLINE_MS = 120000, MAX_DEADLINE_MS = 600000, MAX_URL_BYTES = 250 * 1024, MAX_NAME_BYTES = 64 };

void request_done(struct request *r) {
    mem_free(TAKE(r->url_query));
    mem_free(TAKE(r->format));
    mem_free(TAKE(r->database));
    mem_free(TAKE(r->query_id));
    for (size_t i = 0; i < r->param_count; i++) {
        mem_free(TAKE(r->names[i]));
        mem_free(TAKE(r->values[i]));
    }
    for (size_t i = 0; i < r->setting_count; i++) {
        mem_free(TAKE(r->settings[i]));
    }
    r->param_count = r->setting_count = 0;
}

/* Percent-decoding as ClickHouse's: '+' is a space. */
static struct result decode(struct slice raw, char **ret) {
    BUF_AUTO(spaced, MAX_URL_BYTES);
    BUF_AUTO(decoded, MAX_URL_BYTES);
    buf_append_slice(&spaced, raw);
    TRY(buf_check(&spaced));
    for (size_t i = 0; i < spaced.len; i++) {
        if (spaced.data[i] == '+') spaced.data[i] = ' ';
    }
    TRY(percent_decode(buf_slice(&spaced), &decoded));
    *ret = buf_take_str(&decoded);
    return OK;
}

static bool is_name(const char *s) {
    size_t len = strlen(s);
    return len > 0 && len <= MAX_NAME_BYTES &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == len;
}

static struct result add_param(struct request *r, const char *name, char **value) {
    CHECK(is_name(name), ERR_INVALID, "a parameter's name has letters, digits and '_' only");
    CHECK(r->param_count < REQUEST_MAX_PARAMS, ERR_TOO_LARGE, "more than %d parameters", REQUEST_MAX_PARAMS);
    size_t i = r->param_count++;
    r->names[i] = str_dup(name);
    r->name_lens[i] = strlen(name);
    r->values[i] = TAKE(*value);
    r->value_lens[i] = strlen(r->values[i]);
    return OK;
}

static struct result add_setting(struct request *r, const char *name, const char *value) {
    /* Of the protocol, without meaning here. */
    static const char *const ignored[] = {"enable_http_compression", "session_id",  "session_timeout",
                                          "session_check",           "buffer_size", "quota_key"};
    for (size_t i = 0; i < ARRAY_LEN(ignored); i++) {
        if (strcmp(name, ignored[i]) == 0) return OK;
    }
    /* Those of our own come behind and would win; a caller must not believe otherwise. */
    static const char *const ours[] = {"readonly", "log_comment", "max_execution_time", "path", "user", "password"};
    for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
        CHECK(strcmp(name, ours[i]) != 0, ERR_FORBIDDEN, "the setting %s is the engine's", name);
    }
    CHECK(r->is_writer, ERR_FORBIDDEN, "settings are not available in queries: limits are the service's");
    CHECK(is_name(name), ERR_INVALID, "a setting's name has letters, digits and '_' only");
    CHECK(r->setting_count < REQUEST_MAX_SETTINGS, ERR_TOO_LARGE, "more than %d settings", REQUEST_MAX_SETTINGS);
    r->settings[r->setting_count++] = str_format("%s=%s", name, value);
    return OK;
}

static void replace(char **to, char **value) {
    mem_free(*to);
    *to = TAKE(*value);
}

static struct result take_field(struct request *r, const char *name, char **value) {
    if (strcmp(name, "query") == 0)
        replace(&r->url_query, value);
    else if (strcmp(name, "default_format") == 0)
        replace(&r->format, value);
    else if (strcmp(name, "database") == 0)
        replace(&r->database, value);
    else if (strcmp(name, "query_id") == 0)
        replace(&r->query_id, value);
    else if (strcmp(name, "wait_end_of_query") == 0)
        r->waits_for_end = strcmp(*value, "1") == 0;
    else if (strncmp(name, "param_", 6) == 0)
        return add_param(r, name + 6, value);
    else
        return add_setting(r, name, *value);
    return OK;
}

static struct result take_url(struct http_request *http, struct request *r) {
    struct slice rest = http_query(http), field, name, value;
    CHECK(rest.len <= MAX_URL_BYTES, ERR_TOO_LARGE, "the URL is too long");
    while (rest.len > 0) {
        slice_cut(rest, '&', &field, &rest);
        if (field.len == 0) continue;
        slice_cut(field, '=', &name, &value);
        AUTO_FREE char *name_text = NULL;
        AUTO_FREE char *value_text = NULL;
        TRY(decode(name, &name_text));
        TRY(decode(value, &value_text));
        TRY(take_field(r, name_text, &value_text));
    }
    return OK;
}

static struct result take_number(struct http_request *http, const char *header, uint64_t max, uint64_t *ret) {
    const char *text = http_header(http, header);
    return text ? slice_to_u64(slice_str(text), max, ret) : OK;
}

static struct result take_headers(struct http_request *http, struct request *r) {
    const char *user = http_header(http, "X-ClickHouse-User");
    r->is_writer = user && strcmp(user, "writer") == 0;
    CHECK(!user || r->is_writer || strcmp(user, "reader") == 0, ERR_FORBIDDEN, "there are the users reader and writer");
    r->is_readonly = !r->is_writer || strcmp(http_method(http), "GET") == 0;
    uint64_t deadline_ms = DEFAULT_DEADLINE_MS;
    TRY(take_number(http, "X-Lockset-Deadline-Ms", MAX_DEADLINE_MS, &deadline_ms));
    r->deadline_ns = clock_boottime_ns() + (int64_t)deadline_ms * NS_PER_MS;
    r->rows = UINT64_MAX;
    TRY(take_number(http, "X-Lockset-Rows", UINT32_MAX, &r->rows));
    const char *format = http_header(http, "X-ClickHouse-Format"),
               *database = http_header(http, "X-ClickHouse-Database");
    if (format) r->format = str_dup(format);
    if (database) r->database = str_dup(database);
    return OK;
}

struct result request_parse(struct http_request *http, struct request *ret) {
    AUTO(request_done) struct request r = {0};
    TRY(take_headers(http, &r));
    TRY(take_url(http, &r));
    if (!r.url_query) r.url_query = str_dup("");
    if (!r.format || !*r.format) {
        mem_free(r.format);
        r.format = str_dup("TabSeparated");
    }
    CHECK(is_name(r.format), ERR_INVALID, "the format's name has letters, digits and '_' only");
    if (r.database && !*r.database) mem_free(TAKE(r.database));
    CHECK(!r.database || r.is_writer ||
              (strcasecmp(r.database, "system") != 0 && strcasecmp(r.database, "information_schema") != 0 &&
               strcasecmp(r.database, "lockset_data") != 0),
          ERR_FORBIDDEN, "the database %.40s is not available in queries", r.database);
    *ret = r;
    r = (struct request){0};
    return OK;
}
