#include <string.h>
#include <strings.h>

#include "api/call.h"
#include "base/crypto.h"

enum { MAX_TOKEN_BYTES = 512 };

const char *auth_credentials(const char *header, const char *scheme) {
    size_t n = strlen(scheme);
    if (!header || strncasecmp(header, scheme, n) != 0 || header[n] != ' ') return NULL;
    header += n;
    while (*header == ' ')
        header++;
    return *header ? header : NULL;
}

struct result auth_hash(struct slice token, char ret[static REGISTRY_HASH_HEX + 1]) {
    uint8_t digest[SHA256_BYTES];
    TRY(sha256(token, digest));
    BUF_AUTO(text, REGISTRY_HASH_HEX);
    hex_encode(slice_make(digest, sizeof digest), &text);
    mem_copy(ret, buf_str(&text), REGISTRY_HASH_HEX + 1);
    return OK;
}

static struct result check_operator(struct call *c, const char *header) {
    const char *token = auth_credentials(header, "Operator");
    CHECK(token, ERR_UNAUTHENTICATED, "this is the operator's: send 'Authorization: Operator TOKEN'");
    char hash[REGISTRY_HASH_HEX + 1];
    CHECK(strlen(token) <= MAX_TOKEN_BYTES, ERR_UNAUTHENTICATED, "the operator's token is wrong");
    TRY(auth_hash(slice_str(token), hash));
    bool same = secret_equal(slice_str(hash), slice_str(c->api->operator_hash));
    CHECK(same, ERR_UNAUTHENTICATED, "the operator's token is wrong");
    return OK;
}

static struct result check_organization(struct call *c, const char *header) {
    const char *key = auth_credentials(header, "ApiKey");
    CHECK(key, ERR_UNAUTHENTICATED, "an API key is needed: send 'Authorization: ApiKey KEY'");
    CHECK(strlen(key) <= MAX_TOKEN_BYTES, ERR_UNAUTHENTICATED, "this API key is not known");
    char hash[REGISTRY_HASH_HEX + 1];
    TRY(auth_hash(slice_str(key), hash));
    struct result r = registry_find_api_key(c->api->registry, hash, &c->key);
    if (r.code == ERR_NOT_FOUND) FAIL(ERR_UNAUTHENTICATED, "this API key is not known");
    return r;
}

/* Does the organization operate in this port's region? Its first use adds the region where the operator allows that. */
static struct result check_region(struct call *c) {
    AUTO(registry_region_done) struct registry_region row = {0};
    struct result r = registry_get_region(c->api->registry, call_org(c), c->api->region, &row);
    if (r.code != ERR_NOT_FOUND) return r;
    if (!c->api->config->org_auto_add_regions)
        return refuse(&c->why, ERR_FORBIDDEN, 403, "FORBIDDEN", 0,
                      "This organization doesn't operate in %s: the operator adds the region (lockset region add, or "
                      "POST /v1/admin/orgs/ORG/regions) once the organization's key has a replica there.",
                      c->api->region);
    r = region_add(c, call_org(c), c->api->region, NULL, "first use");
    if (r.code == ERR_CONFLICT)
        return refuse(&c->why, r.code, 503, "NOT_READY", 2, "%s is being added to this organization. Try again.",
                      c->api->region);
    if (r.code != ERR_EXISTS) return r;
    refusal_done(&c->why); /* another request was first */
    return OK;
}

struct result auth_check(struct call *c) {
    const char *header = http_header(c->http, "Authorization");
    enum router_access access = c->match.route->access;
    if (access == ROUTER_OPERATOR) return check_operator(c, header);
    if (access == ROUTER_PUBLIC) return OK;
    TRY(check_organization(c, header));
    if (access == ROUTER_ORGANIZATION && !c->api->config->engine_enabled)
        return refuse(&c->why, ERR_FORBIDDEN, 403, "FORBIDDEN", 0,
                      "This node is a gateway for S3 clients: it has no collections and runs no queries.");
    return access == ROUTER_ORGANIZATION || access == ROUTER_STORE ? check_region(c) : OK;
}
