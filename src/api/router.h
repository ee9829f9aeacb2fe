/* From method and path to a route. Paths are taken apart on '/', empty parts dropped (so that "//v1//x" is "/v1/x"),
 * each part percent-decoded. Pure. */
#ifndef LOCKSET_API_ROUTER_H
#define LOCKSET_API_ROUTER_H

#include "base/buf.h"

enum { ROUTER_MAX_PARTS = 12, ROUTER_MAX_PARAMS = 4, ROUTER_MAX_PART_BYTES = 1024 };

enum router_access {
    ROUTER_PUBLIC,
    ROUTER_OPERATOR,
    ROUTER_ORGANIZATION, /* an organization's own call, in a region where it operates */
    ROUTER_STORE,        /* the same, and no engine is needed */
    ROUTER_ANYWHERE,     /* the same, in any region: nothing that belongs to one is touched */
};

struct call;
struct router_route {
    const char *method;  /* NULL ends a table */
    const char *pattern; /* "/v1/orgs/self/ws/{}": {} takes any one part */
    enum router_access access;
    struct result (*handle)(struct call *c);
};

struct router_match {
    const struct router_route *route;
    char *params[ROUTER_MAX_PARAMS]; /* decoded; owned */
    size_t param_count;
    char *allowed; /* METHOD: what the path serves, "GET, POST"; owned */
};
void router_match_done(struct router_match *m); /* accepts zeroed */

/* NOT_FOUND (no such path), METHOD (the path exists, served by other methods: the detail lists them), INVALID (a broken
 * escape). HEAD is served as GET. On success, and after METHOD, the caller calls router_match_done. */
struct result router_find(const struct router_route *routes, const char *method, struct slice path,
                          struct router_match *ret);

#endif
