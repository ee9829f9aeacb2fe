#include "api/serve.h"

#include <string.h>

#include "api/bodies.h"
#include "lifecycle/document.h"

/* A body somewhat over the limit is read to its end all the same: a client that is cut off while it sends never sees
 * why. */
enum { MAX_JSON_BYTES = 1024 * 1024, MAX_CONNECTIONS = 512, EARLY_BYTES = 65536, READ_BYTES = 24 * 1024 * 1024 };

const struct router_route api_routes[] = {
    {"GET", "/", ROUTER_PUBLIC, public_root},
    {"GET", "/healthz", ROUTER_PUBLIC, public_health},
    {"GET", "/readyz", ROUTER_PUBLIC, public_ready},
    {"GET", "/metrics", ROUTER_PUBLIC, public_metrics},
    {"POST", "/v1/admin/orgs", ROUTER_OPERATOR, admin_create_org},
    {"GET", "/v1/admin/orgs", ROUTER_OPERATOR, admin_list_orgs},
    {"GET", "/v1/admin/orgs/{}", ROUTER_OPERATOR, admin_get_org},
    {"PATCH", "/v1/admin/orgs/{}", ROUTER_OPERATOR, admin_change_org},
    {"DELETE", "/v1/admin/orgs/{}", ROUTER_OPERATOR, admin_delete_org},
    {"POST", "/v1/admin/orgs/{}/api-keys", ROUTER_OPERATOR, admin_add_api_key},
    {"POST", "/v1/admin/orgs/{}/s3-keys", ROUTER_OPERATOR, admin_create_s3_key},
    {"GET", "/v1/admin/orgs/{}/s3-keys", ROUTER_OPERATOR, admin_list_s3_keys},
    {"DELETE", "/v1/admin/orgs/{}/s3-keys/{}", ROUTER_OPERATOR, admin_delete_s3_key},
    {"GET", "/v1/admin/orgs/{}/events", ROUTER_OPERATOR, admin_list_events},
    {"GET", "/v1/admin/orgs/{}/regions", ROUTER_OPERATOR, admin_list_regions},
    {"POST", "/v1/admin/orgs/{}/regions", ROUTER_OPERATOR, admin_add_region},
    {"GET", "/v1/admin/orgs/{}/regions/{}", ROUTER_OPERATOR, admin_get_region},
    {"POST", "/v1/admin/orgs/{}/regions/{}/check", ROUTER_OPERATOR, admin_check_region},
    {"GET", "/v1/admin/orgs/{}/regions/{}/moments", ROUTER_OPERATOR, admin_get_moments},
    {"POST", "/v1/admin/orgs/{}/regions/{}/drills", ROUTER_OPERATOR, admin_add_drill},
    {"POST", "/v1/admin/orgs/{}/regions/{}/recover", ROUTER_OPERATOR, admin_recover_region},
    {"GET", "/v1/admin/orgs/{}/cost", ROUTER_OPERATOR, admin_org_cost},
    {"GET", "/v1/admin/cost", ROUTER_OPERATOR, admin_cost},
    {"POST", "/v1/admin/keys/check", ROUTER_OPERATOR, admin_check_key},
    {"GET", "/v1/admin/key-policy", ROUTER_OPERATOR, admin_key_policy},
    {"POST", "/v1/admin/key-policy/check", ROUTER_OPERATOR, admin_check_policy},
    {"GET", "/v1/orgs/self", ROUTER_ANYWHERE, self_get},
    {"GET", "/v1/orgs/self/encryption", ROUTER_ANYWHERE, self_encryption},
    {"POST", "/v1/orgs/self/s3-keys", ROUTER_STORE, s3_keys_create},
    {"GET", "/v1/orgs/self/s3-keys", ROUTER_STORE, s3_keys_list},
    {"DELETE", "/v1/orgs/self/s3-keys/{}", ROUTER_STORE, s3_keys_delete},
    {"GET", "/v1/orgs/self/collections", ROUTER_ORGANIZATION, collections_list_all},
    {"POST", "/v1/orgs/self/queries", ROUTER_ORGANIZATION, query_post},
    {"GET", "/v1/orgs/self/ws", ROUTER_ANYWHERE, workspace_list},
    {"POST", "/v1/orgs/self/ws", ROUTER_ORGANIZATION, workspace_create},
    {"GET", "/v1/orgs/self/ws/{}", ROUTER_ANYWHERE, workspace_get},
    {"DELETE", "/v1/orgs/self/ws/{}", ROUTER_ORGANIZATION, workspace_delete},
    {"GET", "/v1/orgs/self/ws/{}/collections", ROUTER_ORGANIZATION, collections_list},
    {"POST", "/v1/orgs/self/ws/{}/collections", ROUTER_ORGANIZATION, collections_create},
    {"GET", "/v1/orgs/self/ws/{}/collections/{}", ROUTER_ORGANIZATION, collections_get},
    {"PUT", "/v1/orgs/self/ws/{}/collections/{}", ROUTER_ORGANIZATION, collections_update},
    {"DELETE", "/v1/orgs/self/ws/{}/collections/{}", ROUTER_ORGANIZATION, collections_delete},
    {"POST", "/v1/orgs/self/ws/{}/collections/{}/docs", ROUTER_ORGANIZATION, docs_add},
    {"PATCH", "/v1/orgs/self/ws/{}/collections/{}/docs", ROUTER_ORGANIZATION, docs_patch},
    {"DELETE", "/v1/orgs/self/ws/{}/collections/{}/docs", ROUTER_ORGANIZATION, docs_delete},
    {"GET", "/v1/orgs/self/ws/{}/collections/{}/sources", ROUTER_ORGANIZATION, sources_list},
    {"POST", "/v1/orgs/self/ws/{}/collections/{}/sources", ROUTER_ORGANIZATION, sources_create},
    {"GET", "/v1/orgs/self/ws/{}/collections/{}/sources/{}", ROUTER_ORGANIZATION, sources_get},
    {"DELETE", "/v1/orgs/self/ws/{}/collections/{}/sources/{}", ROUTER_ORGANIZATION, sources_delete},
    {"POST", "/v1/orgs/self/ws/{}/collections/{}/sources/{}/suspend", ROUTER_ORGANIZATION, sources_suspend},
    {"POST", "/v1/orgs/self/ws/{}/collections/{}/sources/{}/resume", ROUTER_ORGANIZATION, sources_resume},
    {"GET", "/v1/orgs/self/ws/{}/collections/{}/sources/{}/errors", ROUTER_ORGANIZATION, sources_errors},
    {"GET", "/v1/orgs/self/integrations", ROUTER_ORGANIZATION, integrations_list},
    {"POST", "/v1/orgs/self/integrations", ROUTER_ORGANIZATION, integrations_create},
    {"GET", "/v1/orgs/self/integrations/{}", ROUTER_ORGANIZATION, integrations_get},
    {"PUT", "/v1/orgs/self/integrations/{}", ROUTER_ORGANIZATION, integrations_update},
    {"DELETE", "/v1/orgs/self/integrations/{}", ROUTER_ORGANIZATION, integrations_delete},
    {"POST", "/v1/orgs/self/ws/{}/collections/{}/offsets/commit", ROUTER_ORGANIZATION, docs_commit},
    {NULL, NULL, ROUTER_PUBLIC, NULL},
};

struct tenant *call_tenant(struct call *c) {
    return tenants_get(c->api->tenants, c->key.org);
}

struct result call_body(struct call *c, const char *const members[], bool required, json_t **ret) {
    struct slice text = http_body(c->http);
    CHECK(text.len <= MAX_JSON_BYTES, ERR_TOO_LARGE, "the body is over 1 MiB");
    bool is_blank = true;
    for (size_t i = 0; i < text.len && is_blank; i++)
        is_blank = text.data[i] == ' ' || (text.data[i] >= '\t' && text.data[i] <= '\r');
    CHECK(!is_blank || !required, ERR_INVALID, "the body is empty: send a JSON object");
    JSON_AUTO(body);
    TRY(json_parse_object(is_blank ? slice_str("{}") : text, &body));
    TRY(json_only(body, members));
    *ret = TAKE(body);
    return OK;
}

struct result call_opt_text(const json_t *body, const char *name, size_t max, const char **ret) {
    const json_t *v = json_object_get(body, name);
    if (!v || json_is_null(v)) return OK;
    const char *text;
    TRY(json_get_str(body, name, &text));
    CHECK(strlen(text) <= max, ERR_INVALID, "'%s' is over %zu bytes", name, max);
    *ret = text;
    return OK;
}

static void call_done(struct call *c) {
    router_match_done(&c->match);
    registry_api_key_done(&c->key);
    refusal_done(&c->why);
}

static void fail(struct call *c, struct result r) {
    atomic_fetch_add(&c->api->metrics.failures, 1);
    answer_error(c->http, r, &c->why, &c->error);
}

static struct result route(struct call *c) {
    struct result r = router_find(api_routes, http_method(c->http), http_path(c->http), &c->match);
    if (is_ok(r)) return auth_check(c);
    if (r.code != ERR_NOT_FOUND && r.code != ERR_METHOD) return r;
    AUTO_FREE char *detail = str_dup(err_detail());
    c->error.allowed = c->match.allowed;
    AUTO_FREE char *path = slice_to_str(http_path(c->http));
    return refuse(&c->why, r.code, err_http_status(r.code), answer_error_type(r.code), 0, "%s %.200s: %s.",
                  http_method(c->http), path, detail);
}

/* A large body is not even read when it would be refused anyhow. */
static void on_begin(void *context, struct http_request *r) {
    int64_t length = http_content_length(r);
    bool is_chunked = http_header(r, "Transfer-Encoding") != NULL;
    if (length <= EARLY_BYTES && !is_chunked) return;
    AUTO(call_done) struct call c = {.api = context, .http = r};
    struct result outcome = route(&c);
    /* A body over the limit is not read, so it needs no room. */
    bool is_read = is_chunked || length <= READ_BYTES;
    if (is_ok(outcome) && is_read) outcome = bodies_take(&c, is_chunked ? READ_BYTES : (size_t)length);
    if (is_err(outcome)) fail(&c, outcome);
}

static void on_done(void *context, struct http_request *r) {
    bodies_give_back(context, r);
}

static void on_finish(void *context, struct http_request *r) {
    AUTO(call_done) struct call c = {.api = context, .http = r};
    if (http_answered(r)) return;
    atomic_fetch_add(&c.api->metrics.requests, 1);
    struct result outcome = route(&c);
    if (is_ok(outcome)) outcome = c.match.route->handle(&c);
    if (is_err(outcome)) fail(&c, outcome);
}

static void on_too_large(void *context, struct http_request *r) {
    struct call c = {.api = context, .http = r};
    fail(&c,
         err_make(ERR_TOO_LARGE, "the body is over %d MiB: send several smaller ones", DOCUMENT_MAX_BODY_BYTES >> 20));
}

static void on_bad_framing(void *context, struct http_request *r, const char *why) {
    struct call c = {.api = context, .http = r};
    fail(&c, err_make(ERR_INVALID, "the request is malformed: %s", why));
}

struct result serve_start(struct api *api, int listen_fd, const char *tls_cert_pem, const char *tls_key_pem,
                          struct http_server **ret) {
    api->bodies = bodies_new();
    struct http_server_options options = {.listen_fd = listen_fd,
                                          .handler = {.begin = on_begin, .finish = on_finish, .done = on_done},
                                          .context = api,
                                          .collect_max_bytes = READ_BYTES,
                                          .too_large = on_too_large,
                                          .bad_framing = on_bad_framing,
                                          .max_connections = MAX_CONNECTIONS,
                                          .replaces_waiting = true,
                                          .tls_cert_pem = tls_cert_pem,
                                          .tls_key_pem = tls_key_pem};
    return http_server_start(&options, ret);
}
