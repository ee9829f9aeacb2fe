/* One request on its way through the api, and what all requests share. */
#ifndef LOCKSET_API_CALL_H
#define LOCKSET_API_CALL_H

#include <stdatomic.h>

#include "api/answer.h"
#include "api/router.h"
#include "config/config.h"
#include "lifecycle/tenant.h"
#include "sources/sources.h"

struct metrics {
    _Atomic uint64_t requests, failures;
    _Atomic uint64_t queries, queries_failed, writes, writes_failed;
};

struct api {
    const struct config *config;
    const char *region; /* the one this port serves */
    struct registry *registry;
    struct keylink *keylink;
    struct tenants *tenants;
    struct sources *sources;
    char operator_hash[REGISTRY_HASH_HEX + 1]; /* SHA-256 of the operator's token, in hexadecimal digits */
    int64_t started_at_ms;
    struct metrics metrics;
    struct bodies *bodies;
};

struct call {
    struct api *api;
    struct http_request *http;
    struct router_match match;
    struct registry_api_key key; /* of an organization's own calls: key.org, key.name */
    struct refusal why;
    struct answer_error error; /* more about a failure */
};

/* The organization's runtime object, or its id. */
struct tenant *call_tenant(struct call *c);
static inline const char *call_org(const struct call *c) {
    return c->key.org;
}
static inline const char *call_param(const struct call *c, size_t i) {
    return c->match.params[i];
}

/* The body as an object with these members only (NULL-terminated). Empty means {}, unless `required`. INVALID,
 * TOO_LARGE over 1 MiB. */
struct result call_body(struct call *c, const char *const members[], bool required, json_t **ret);
/* A string member of at most max bytes; absent leaves *ret as it was. null counts as absent. */
struct result call_opt_text(const json_t *body, const char *name, size_t max, const char **ret);

/* Checks the Authorization header for the route's access and fills c->key. UNAUTHENTICATED. */
struct result auth_check(struct call *c);
/* "Scheme rest": the rest if the scheme (any case) is this one, else NULL. Pure. */
const char *auth_credentials(const char *header, const char *scheme);
/* SHA-256 of a token in hexadecimal digits. */
struct result auth_hash(struct slice token, char ret[static REGISTRY_HASH_HEX + 1]);

/* The handlers, by file. */
extern const struct router_route api_routes[];

struct result public_root(struct call *c);
struct result public_health(struct call *c);
struct result public_ready(struct call *c);
struct result public_metrics(struct call *c);

struct result admin_create_org(struct call *c);
struct result admin_list_orgs(struct call *c);
struct result admin_get_org(struct call *c);
struct result admin_change_org(struct call *c);
struct result admin_delete_org(struct call *c);
struct result admin_add_api_key(struct call *c);
struct result admin_check_key(struct call *c);
struct result admin_cost(struct call *c);
struct result admin_org_cost(struct call *c);
/* What each key's calls of KMS were for: an array, for the caller to drop; NULL while the keyring is away. */
json_t *cost_ask(struct api *api);
struct result admin_get_region(struct call *c);
struct result admin_add_region(struct call *c);
struct result admin_recover_region(struct call *c);
struct result admin_get_moments(struct call *c);
struct result admin_add_drill(struct call *c);
struct result admin_list_regions(struct call *c);
struct result admin_check_region(struct call *c);
struct result admin_list_events(struct call *c);
struct result admin_key_policy(struct call *c);
struct result admin_check_policy(struct call *c);

struct result admin_create_s3_key(struct call *c);
struct result admin_list_s3_keys(struct call *c);
struct result admin_delete_s3_key(struct call *c);

struct result s3_keys_create(struct call *c);
struct result s3_keys_list(struct call *c);
struct result s3_keys_delete(struct call *c);
struct result self_get(struct call *c);
struct result self_encryption(struct call *c);
struct result workspace_list(struct call *c);
struct result workspace_create(struct call *c);
struct result workspace_get(struct call *c);
struct result workspace_delete(struct call *c);
struct result collections_list_all(struct call *c);
struct result collections_list(struct call *c);
struct result collections_create(struct call *c);
struct result collections_get(struct call *c);
struct result collections_update(struct call *c);
struct result collections_delete(struct call *c);
struct result docs_add(struct call *c);
struct result docs_patch(struct call *c);
struct result docs_delete(struct call *c);
struct result docs_commit(struct call *c);
struct result query_post(struct call *c);
struct result sources_list(struct call *c);
struct result sources_create(struct call *c);
struct result sources_get(struct call *c);
struct result sources_delete(struct call *c);
struct result sources_suspend(struct call *c);
struct result sources_resume(struct call *c);
struct result sources_errors(struct call *c);
struct result integrations_list(struct call *c);
struct result integrations_create(struct call *c);
struct result integrations_get(struct call *c);
struct result integrations_update(struct call *c);
struct result integrations_delete(struct call *c);

/* The organization that the path's first part names, by name or id. NOT_FOUND with c->why filled. */
struct result admin_find_org(struct call *c, struct registry_org *ret);
/* INVALID unless the deployment has this region. */
struct result admin_check_region_name(struct call *c, const char *region);
/* One question to the keyring; takes the request over. Fails with c->why filled when the answer is no. */
struct result admin_ask_keyring(struct call *c, json_t *request, unsigned timeout_ms, json_t **ret);
/* Has the keyring record what is about to be done by the operator (details: taken over; NULL: none). Fails with c->why
 * filled when it can't be recorded: then it must not be done. */
struct result admin_audit(struct call *c, const char *org, const char *action, json_t *details);
/* The same for an actor of one's own choice. */
struct result call_audit(struct call *c, const char *org, const char *action, const char *actor, json_t *details);
/* Has the keyring add a region to an organization. arn NULL: the derived one. Fails with c->why filled. */
struct result region_add(struct call *c, const char *org, const char *region, const char *arn, const char *actor);

/* The registry's row of the collection that the path names (params 0 and 1). NOT_FOUND with c->why filled. */
struct result call_collection(struct call *c, struct registry_collection *ret);

/* Takes up recoveries that were cut off, in a thread of its own, until the process ends. */
struct result recovery_watch_start(struct api *api);

/* Appends states and KMS calls of this region in Prometheus's text format. */
void key_metrics_put(struct api *api, struct buf *out);

/* ---- shapes (shape.c) ---- */

/* Milliseconds as ISO text; null for 0. */
json_t *shape_time(int64_t unix_ms);
/* One event of a history. */
json_t *shape_event(const struct registry_event *e);
/* An organization's key in a region, newest state known. NOT_FOUND. The caller drops it. */
struct result shape_region(struct api *api, const char *org, const char *region, json_t **ret);
/* {"kind","kms_key_arn","regions":[...]} */
struct result shape_encryption(struct api *api, const struct registry_org *org, json_t **ret);

#endif
