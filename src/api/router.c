#include "api/router.h"

#include <string.h>

struct parts {
    char *items[ROUTER_MAX_PARTS];
    size_t count;
};

static void parts_done(struct parts *p) {
    for (size_t i = 0; i < p->count; i++)
        mem_free(p->items[i]);
    p->count = 0;
}

void router_match_done(struct router_match *m) {
    for (size_t i = 0; i < m->param_count; i++)
        mem_free(m->params[i]);
    mem_free(m->allowed);
    *m = (struct router_match){0};
}

static struct result split(struct slice path, struct parts *ret) {
    while (path.len) {
        struct slice head, rest;
        slice_cut(path, '/', &head, &rest);
        path = rest;
        if (head.len == 0) continue;
        CHECK(ret->count < ROUTER_MAX_PARTS, ERR_NOT_FOUND, "there is no such path");
        BUF_AUTO(decoded, ROUTER_MAX_PART_BYTES);
        TRY(percent_decode(head, &decoded));
        CHECK(is_ok(buf_check(&decoded)), ERR_INVALID, "a part of the path is over %d bytes", ROUTER_MAX_PART_BYTES);
        CHECK(slice_is_utf8(buf_slice(&decoded)), ERR_INVALID, "the path is not valid UTF-8");
        ret->items[ret->count++] = slice_to_str(buf_slice(&decoded));
    }
    return OK;
}

/* Does the pattern fit? Notes where the {} stand. */
static bool fits(const char *pattern, const struct parts *parts, size_t params[static ROUTER_MAX_PARAMS],
                 size_t *count) {
    struct slice rest = slice_str(pattern);
    size_t i = 0;
    *count = 0;
    while (rest.len) {
        struct slice head, tail;
        slice_cut(rest, '/', &head, &tail);
        rest = tail;
        if (head.len == 0) continue;
        if (i == parts->count) return false;
        if (slice_is(head, "{}")) {
            if (*count == ROUTER_MAX_PARAMS) return false;
            params[(*count)++] = i;
        } else if (!slice_is(head, parts->items[i])) {
            return false;
        }
        i++;
    }
    return i == parts->count;
}

static void take_params(struct parts *parts, const size_t params[], size_t count, struct router_match *ret) {
    for (size_t i = 0; i < count; i++)
        ret->params[i] = str_dup(parts->items[params[i]]);
    ret->param_count = count;
}

struct result router_find(const struct router_route *routes, const char *method, struct slice path,
                          struct router_match *ret) {
    AUTO(parts_done) struct parts parts = {0};
    TRY(split(path, &parts));
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    BUF_AUTO(others, 256);
    for (const struct router_route *r = routes; r->method; r++) {
        size_t params[ROUTER_MAX_PARAMS], count;
        if (!fits(r->pattern, &parts, params, &count)) continue;
        if (strcmp(r->method, wanted) == 0) {
            *ret = (struct router_match){.route = r};
            take_params(&parts, params, count, ret);
            return OK;
        }
        buf_printf(&others, "%s%s", others.len ? ", " : "", r->method);
    }
    if (others.len) {
        ret->allowed = str_dup(buf_str(&others));
        FAIL(ERR_METHOD, "this path serves %s", ret->allowed);
    }
    FAIL(ERR_NOT_FOUND, "there is no such path");
}
