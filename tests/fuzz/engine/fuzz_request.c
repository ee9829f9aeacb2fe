/* Requests of ClickHouse's protocol: the method, the query of the URL and the headers, a line each ("Name: value").
 * What is taken apart is within its bounds; a reader has no settings and can't write; nobody sets what is the engine's.
 */
#include "fuzz.h"

#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "engine/request.h"

enum { MAX_HEADERS = 8 };

/* In the place of the HTTP server's. */
struct http_request {
    char *method, *query;
    char *names[MAX_HEADERS], *values[MAX_HEADERS];
    size_t count;
};

const char *http_method(const struct http_request *r) {
    return r->method;
}

struct slice http_query(const struct http_request *r) {
    return slice_str(r->query);
}

const char *http_header(const struct http_request *r, const char *name) {
    for (size_t i = 0; i < r->count; i++) {
        if (strcasecmp(r->names[i], name) == 0) return r->values[i];
    }
    return NULL;
}

static void check(const struct request *r) {
    PROMISE(r->url_query && r->format && *r->format);
    PROMISE(r->param_count <= REQUEST_MAX_PARAMS && r->setting_count <= REQUEST_MAX_SETTINGS);
    PROMISE(r->is_writer || (r->is_readonly && r->setting_count == 0));
    for (size_t i = 0; i < r->param_count; i++) {
        PROMISE(strlen(r->names[i]) == r->name_lens[i] && strlen(r->values[i]) == r->value_lens[i]);
    }
    for (size_t i = 0; i < r->setting_count; i++) {
        static const char *const ours[] = {"readonly=", "log_comment=", "max_execution_time=", "path=", "--"};
        PROMISE(strchr(r->settings[i], '='));
        for (size_t k = 0; k < ARRAY_LEN(ours); k++) {
            PROMISE(strncmp(r->settings[i], ours[k], strlen(ours[k])) != 0);
        }
    }
    int64_t left_ms = (r->deadline_ns - clock_boottime_ns()) / NS_PER_MS;
    PROMISE(left_ms <= 600000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 8192 || slice_has_nul(slice_make(data, size))) return 0; /* the HTTP server lets no NUL pass */
    struct slice rest = slice_make(data, size), line, name, value;
    struct http_request http = {0};
    slice_cut(rest, '\n', &line, &rest);
    http.method = slice_to_str(line);
    slice_cut(rest, '\n', &line, &rest);
    http.query = slice_to_str(line);
    while (rest.len > 0 && http.count < MAX_HEADERS) {
        slice_cut(rest, '\n', &line, &rest);
        slice_cut(line, ':', &name, &value);
        while (value.len > 0 && *value.data == ' ') {
            value = slice_make(value.data + 1, value.len - 1);
        }
        http.names[http.count] = slice_to_str(name);
        http.values[http.count++] = slice_to_str(value);
    }
    struct request r = {0};
    struct result parsed = request_parse(&http, &r);
    PROMISE(is_ok(parsed) || parsed.code == ERR_INVALID || parsed.code == ERR_FORBIDDEN ||
            parsed.code == ERR_TOO_LARGE);
    if (is_ok(parsed)) {
        check(&r);
        request_done(&r);
    }
    mem_free(http.method);
    mem_free(http.query);
    for (size_t i = 0; i < http.count; i++) {
        mem_free(http.names[i]);
        mem_free(http.values[i]);
    }
    return 0;
}
