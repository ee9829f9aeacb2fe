/* Recovery after a pause: asked for by the operator, and taken up again after a crash in its middle. */
#include <pthread.h>
#include <string.h>

#include "api/call.h"
#include "base/clock.h"
#include "base/log.h"
#include "lifecycle/recovery.h"

enum { ASK_MS = 60000, WATCH_MS = 1000 };

/* One at a time in this process; recoveries are rare. */
static pthread_mutex_t recovering = PTHREAD_MUTEX_INITIALIZER;

static struct result decide(void *arg, const struct registry_collection *c, bool *ret_recovered, char **ret_why,
                            struct refusal *why) {
    struct api *api = arg;
    return sources_recover_check(api->sources, c, ret_recovered, ret_why, why);
}

/* What was decided since `since_ms` stays decided. */
static struct result decide_all(struct api *api, const char *org, int64_t since_ms, bool keeps_readable, json_t **ret,
                                struct refusal *why) {
    struct recovery o = {.tenants = api->tenants,
                         .org = org,
                         .since_ms = since_ms,
                         .keeps_readable = keeps_readable,
                         .decide = decide,
                         .arg = api};
    return recovery_run(&o, ret, why);
}

/* Decides about the collections and lets the key become AVAILABLE. The mutex is held; the state is RECOVERING. */
static struct result finish(struct api *api, const char *org, bool keeps_readable, const char *actor, json_t **ret,
                            struct refusal *why) {
    JSON_AUTO(state);
    state = keylink_state(api->keylink, org);
    int64_t since_ms = json_integer_value(json_object_get(state, "since_ms"));
    JSON_AUTO(list);
    JSON_AUTO(request);
    JSON_AUTO(answer);
    TRY(decide_all(api, org, since_ms, keeps_readable, &list, why));
    request = json_pack("{s:s, s:s, s:s, s:s}", "op", "recovered", "org", org, "region", api->region, "actor", actor);
    struct result r = keylink_call(api->keylink, request, ASK_MS, &answer);
    if (is_err(r) || !json_is_true(json_object_get(answer, "ok"))) {
        const char *message = json_string_value(json_object_get(answer, "message"));
        AUTO_FREE char *detail = str_dup(message ? message : err_detail());
        return refuse(why, ERR_UNREACHABLE, 503, "NOT_READY", 2,
                      "The recovery could not be completed: %s. What was decided stays decided; ask again.", detail);
    }
    *ret = TAKE(list);
    return sources_start_all(api->sources);
}

static bool is_in_state(struct api *api, const char *org, const char *wanted) {
    JSON_AUTO(state);
    state = keylink_state(api->keylink, org);
    const char *name = json_string_value(json_object_get(state, "state"));
    return name && strcmp(name, wanted) == 0;
}

/* Asks the keyring to begin, and does the rest. */
static struct result recover_held(struct call *c, const char *org, bool keeps_readable, json_t **ret) {
    struct api *api = c->api;
    if (is_in_state(api, org, "AVAILABLE")) { /* done before: the same answer; what was undecided is asked again */
        bool happened;
        TRY(recovery_happened(api->tenants, org, &happened));
        if (!happened)
            return refuse(&c->why, ERR_CONFLICT, 409, "CONFLICT", 0,
                          "Nothing is paused here: the organization's key in %s is AVAILABLE.", api->region);
        TRY(decide_all(api, org, 0, keeps_readable, ret, &c->why));
        return sources_start_all(api->sources);
    }
    JSON_AUTO(answer);
    json_t *request =
        json_pack("{s:s, s:s, s:s, s:s}", "op", "recover", "org", org, "region", api->region, "actor", "operator");
    TRY(admin_ask_keyring(c, request, ASK_MS, &answer));
    return finish(api, org, keeps_readable, "operator", ret, &c->why);
}

struct result admin_recover_region(struct call *c) {
    static const char *const members[] = {"keep_readable", NULL};
    AUTO(registry_org_done) struct registry_org org = {0};
    AUTO(registry_region_done) struct registry_region row = {0};
    JSON_AUTO(body);
    TRY(admin_find_org(c, &org));
    TRY(call_body(c, members, false, &body));
    const json_t *keep = json_object_get(body, "keep_readable");
    CHECK(!keep || json_is_boolean(keep), ERR_INVALID, "'keep_readable' must be true or false");
    const char *region = call_param(c, 1);
    struct result r = registry_get_region(c->api->registry, org.id, region, &row);
    if (r.code == ERR_NOT_FOUND)
        return refuse(&c->why, r.code, 404, "NOTFOUND", 0, "Organization '%s' has no region '%s'.", org.name, region);
    TRY(r);
    const struct config_region *served = config_find_region(c->api->config, region);
    CHECK(strcmp(region, c->api->region) == 0, ERR_INVALID, "a region's own API recovers it: ask the one of %s%s%s",
          region, served ? ", " : "", served ? served->api_listen : "");
    json_t *list = NULL;
    pthread_mutex_lock(&recovering);
    r = recover_held(c, org.id, json_is_true(keep), &list);
    pthread_mutex_unlock(&recovering);
    TRY(r);
    answer_json(c->http, 200, json_pack("{s:{s:o}}", "data", "collections", list));
    return OK;
}

/* A recovery that a crash cut off goes on by itself once there is a lease for it. */
static void take_up(struct api *api, const char *org) {
    REFUSAL_AUTO(why);
    JSON_AUTO(list);
    pthread_mutex_lock(&recovering);
    JSON_AUTO(state);
    state = keylink_state(api->keylink, org);
    const char *name = json_string_value(json_object_get(state, "state"));
    bool has_lease = json_integer_value(json_object_get(state, "lease_expiry_boottime_ns")) > clock_boottime_ns();
    struct result r = OK;
    bool is_left = name && strcmp(name, "RECOVERING") == 0 && has_lease;
    if (is_left) r = finish(api, org, false, "lockset", &list, &why);
    pthread_mutex_unlock(&recovering);
    if (is_err(r))
        log_warn("recovery.not_complete", KV("org", org), KV("why", why.message ? why.message : err_detail()));
    if (is_left && is_ok(r)) log_info("recovery.taken_up", KV("org", org), KV("region", api->region));
}

static void *watch(void *arg) {
    struct api *api = arg;
    while (true) {
        clock_sleep_ms(WATCH_MS);
        JSON_AUTO(orgs);
        orgs = keylink_orgs_in_state(api->keylink, "RECOVERING");
        size_t i;
        json_t *org;
        json_array_foreach(orgs, i, org) take_up(api, json_string_value(org));
    }
    return NULL;
}

struct result recovery_watch_start(struct api *api) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, watch, api) == 0, ERR_IO, "no thread to watch recoveries");
    pthread_detach(thread);
    return OK;
}
