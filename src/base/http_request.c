/* A request: what was asked. */
#include <string.h>
#include <strings.h>

#include "base/http_internal.h"

struct http_request *http_request_new(struct http_server *s, const char *target) {
    struct http_request *r = mem_alloc(sizeof *r);
    r->server = s;
    r->target = str_dup(target);
    r->target_at = target;
    r->content_length = -1;
    slice_cut(slice_str(r->target), '?', &r->path, &r->query);
    return r;
}

void http_request_free(struct http_request *r) {
    buf_done(&r->body);
    for (struct http_field *f = r->answer.fields; f && f->name; f++) {
        mem_free(mem_unconst(f->name));
        mem_free(mem_unconst(f->value));
    }
    mem_free(r->answer.fields);
    mem_free_wiping(r->answer.body);
    while (r->params) {
        struct http_param *p = r->params;
        r->params = p->next;
        mem_free(p->name);
        mem_free(p->value);
        mem_free(p);
    }
    mem_free(r->lines);
    mem_free(r->target);
    mem_free(r);
}

void http_add_line(struct http_request *r, struct http_line line) {
    if (r->line_count == r->line_capacity) {
        r->line_capacity = r->line_capacity ? r->line_capacity * 2 : 16;
        r->lines = mem_resize(r->lines, r->line_capacity * sizeof *r->lines);
    }
    r->lines[r->line_count++] = line;
}

const char *http_method(const struct http_request *r) {
    return r->method;
}

struct slice http_target(const struct http_request *r) {
    return slice_str(r->target);
}

struct slice http_path(const struct http_request *r) {
    return r->path;
}

struct slice http_query(const struct http_request *r) {
    return r->query;
}

const char *http_header(const struct http_request *r, const char *name) {
    for (size_t i = 0; i < r->line_count; i++)
        if (strcasecmp(r->lines[i].name, name) == 0) return r->lines[i].value;
    return NULL;
}

void http_each_header(const struct http_request *r, void (*each)(void *arg, const char *name, const char *value),
                      void *arg) {
    for (size_t i = 0; i < r->line_count; i++)
        each(arg, r->lines[i].name, r->lines[i].value);
}

struct slice http_body(const struct http_request *r) {
    return buf_slice(&r->body);
}

int64_t http_content_length(const struct http_request *r) {
    return r->content_length;
}

/* The decoded text; NULL if malformed. */
static char *decoded(struct slice raw) {
    BUF_AUTO(b, raw.len);
    if (is_err(percent_decode(raw, &b))) return NULL;
    return buf_take_str(&b);
}

const char *http_query_param(struct http_request *r, const char *name) {
    for (struct http_param *p = r->params; p; p = p->next)
        if (strcmp(p->name, name) == 0) return p->value;
    struct slice rest = r->query, piece, raw_name, raw_value;
    while (rest.len > 0) {
        slice_cut(rest, '&', &piece, &rest);
        slice_cut(piece, '=', &raw_name, &raw_value);
        AUTO_FREE char *found = decoded(raw_name);
        if (!found || strcmp(found, name) != 0) continue;
        char *value = decoded(raw_value);
        if (!value) return NULL;
        struct http_param *p = mem_alloc(sizeof *p);
        *p = (struct http_param){.name = TAKE(found), .value = value, .next = r->params};
        r->params = p;
        return value;
    }
    return NULL;
}

void http_set_user(struct http_request *r, void *user) {
    r->user = user;
}

void *http_user(const struct http_request *r) {
    return r->user;
}

bool http_answered(const struct http_request *r) {
    return r->answered;
}
