/* What the api may ask. Messages come from Lockset's own api, yet each is checked strictly: it is the process that
 * faces the network. */
#include <string.h>

#include "base/clock.h"
#include "keyring/keyring.h"

enum { HELLO_STATES_MAX = 50, AUDIT_DETAILS_MAX = 4096, COSTS_MAX = 40 };

/* The answer holds the first states; the others follow as pushes, so that no message grows over its limit. */
static struct result hello(struct keyring *k, struct api_call call, const json_t *message) {
    static const char *const allowed[] = {"id", "op", NULL};
    TRY(json_only(message, allowed));
    json_t *states = json_array(), *engines = json_array();
    for (size_t i = 0; i < k->unit_count && i < HELLO_STATES_MAX; i++)
        json_array_append_new(states, unit_state(k->units[i]));
    for (size_t i = 0; i < k->unit_count; i++) {
        const struct unit *u = k->units[i];
        if (u->pair.phase != PAIR_RUNNING || u->pair.is_withdrawn || !k->config->engine_enabled ||
            json_array_size(engines) >= HELLO_STATES_MAX)
            continue;
        json_t *e = json_object();
        json_object_set_new(e, "org", json_string(u->org));
        json_object_set_new(e, "region", json_string(u->region->name));
        json_object_set_new(e, "epoch", json_integer(u->pair.epoch));
        json_object_set_new(e, "engine_socket", json_string(u->pair.engine_socket));
        json_array_append_new(engines, e);
    }
    json_t *fields = json_object();
    json_object_set_new(fields, "service_account_id", json_string(k->config->service_account_id));
    json_object_set_new(fields, "states", states);
    json_object_set_new(fields, "engines", engines);
    api_reply(k, call, fields);
    for (size_t i = HELLO_STATES_MAX; i < k->unit_count; i++)
        api_push_state(k, k->units[i]);
    return OK;
}

static struct result find_unit(struct keyring *k, const json_t *message, struct unit **ret) {
    const char *org, *region;
    TRY(json_get_str(message, "org", &org));
    TRY(json_get_str(message, "region", &region));
    struct unit *u = keyring_find_unit(k, org, region);
    CHECK(u, ERR_NOT_FOUND, "there is no organization %.40s in %.40s", org, region);
    *ret = u;
    return OK;
}

static struct result activate(struct keyring *k, struct api_call call, const json_t *message) {
    static const char *const allowed[] = {"id", "op", "org", "region", "gateway", NULL};
    struct unit *u;
    TRY(json_only(message, allowed));
    TRY(find_unit(k, message, &u));
    pair_activate(u, call, json_is_true(json_object_get(message, "gateway")));
    return OK;
}

static struct result recheck(struct keyring *k, struct api_call call, const json_t *message) {
    static const char *const allowed[] = {"id", "op", "org", "region", NULL};
    struct unit *u;
    TRY(json_only(message, allowed));
    TRY(find_unit(k, message, &u));
    unit_recheck(u, call);
    return OK;
}

static struct result moments(struct keyring *k, struct api_call call, const json_t *message) {
    static const char *const allowed[] = {"id", "op", "org", "region", NULL};
    struct unit *u;
    TRY(json_only(message, allowed));
    TRY(find_unit(k, message, &u));
    json_t *fields = json_object();
    json_object_set_new(fields, "moments", unit_moments(u));
    api_reply(k, call, fields);
    return OK;
}

static struct result recover(struct keyring *k, struct api_call call, const json_t *message) {
    static const char *const allowed[] = {"id", "op", "org", "region", "actor", NULL};
    struct unit *u;
    const char *actor;
    TRY(json_only(message, allowed));
    TRY(find_unit(k, message, &u));
    TRY(json_get_str(message, "actor", &actor));
    return unit_recover(u, call, actor);
}

static struct result recovered(struct keyring *k, struct api_call call, const json_t *message) {
    static const char *const allowed[] = {"id", "op", "org", "region", "actor", NULL};
    struct unit *u;
    const char *actor;
    TRY(json_only(message, allowed));
    TRY(find_unit(k, message, &u));
    TRY(json_get_str(message, "actor", &actor));
    TRY(unit_recovered(u, actor));
    json_t *fields = json_object();
    json_object_set_new(fields, "state", unit_state(u));
    api_reply(k, call, fields);
    return OK;
}

static struct result meter(struct keyring *k, struct api_call call, const json_t *message) {
    static const char *const allowed[] = {"id", "op", "region", NULL};
    const char *name;
    TRY(json_only(message, allowed));
    TRY(json_get_str(message, "region", &name));
    const struct region *region = keyring_find_region(k, name);
    CHECK(region, ERR_NOT_FOUND, "this deployment does not serve the region '%.40s'", name);
    json_t *fields = json_object();
    json_object_set_new(fields, "meter", meter_to_json(region->meter));
    api_reply(k, call, fields);
    return OK;
}

static json_t *describe_cost(const struct unit *u, int64_t now_ns) {
    const struct cost *c = &u->cost;
    int64_t now_ms = clock_unix_ms(), branch_ms = u->ring.branch.id ? now_ms - u->ring.branch.created_at_ms : 0;
    bool has_lease = lease_is_granted(&u->lease);
    json_t *j = json_pack("{s:s, s:s, s:o, s:I, s:I, s:b, s:I}", "org", u->org, "region", u->region->name, "calls",
                          cost_to_json(c), "all", (json_int_t)atomic_load(&c->all), "seconds",
                          (json_int_t)((now_ns - c->begun_ns) / NS_PER_S), "is_capped", c->is_capped, "capped",
                          (json_int_t)c->capped);
    json_object_set_new(j, "branch_age_s", json_integer(branch_ms / 1000));
    json_object_set_new(j, "lease_age_s", json_integer(has_lease ? (now_ms - u->since_ms) / 1000 : 0));
    json_object_set_new(j, "lease_left_s", json_integer(has_lease ? (u->lease.expiry_ns - now_ns) / NS_PER_S : 0));
    return j;
}

/* What keys' calls were for, some at a time: "next" is where to go on; left out at the end. */
static struct result cost(struct keyring *k, struct api_call call, const json_t *message) {
    static const char *const allowed[] = {"id", "op", "from", NULL};
    int64_t from = 0;
    TRY(json_only(message, allowed));
    TRY(json_get_int(message, "from", 0, INT64_MAX, &from));
    json_t *list = json_array(), *fields = json_object();
    size_t at = (size_t)from;
    int64_t now_ns = clock_boottime_ns();
    for (; at < k->unit_count && json_array_size(list) < COSTS_MAX; at++) {
        const struct unit *u = k->units[at];
        json_array_append_new(list, describe_cost(u, now_ns));
    }
    json_object_set_new(fields, "costs", list);
    json_object_set_new(fields, "max_calls_per_hour", json_integer(k->max_calls_per_hour));
    if (at < k->unit_count) json_object_set_new(fields, "next", json_integer((json_int_t)at));
    api_reply(k, call, fields);
    return OK;
}

static struct result delete (struct keyring *k, struct api_call call, const json_t *message) {
    static const char *const allowed[] = {"id", "op", "org", "actor", NULL};
    const char *org, *actor;
    TRY(json_only(message, allowed));
    TRY(json_get_str(message, "org", &org));
    TRY(json_get_str(message, "actor", &actor));
    CHECK(audit_is_org(org), ERR_INVALID, "an organization's id is 'o' and 20 hexadecimal digits");
    CHECK(!create_is_under_way(k, org), ERR_CONFLICT, "a region is being added to this organization right now");
    delete_org(k, call, org, actor);
    return OK;
}

static struct result kill_engine(struct keyring *k, struct api_call call, const json_t *message) {
    static const char *const allowed[] = {"id", "op", "org", "region", "epoch", NULL};
    struct unit *u;
    int64_t epoch;
    TRY(json_only(message, allowed));
    TRY(find_unit(k, message, &u));
    TRY(json_get_int(message, "epoch", 1, INT64_MAX, &epoch));
    pair_kill_engine(u, epoch, call);
    return OK;
}

static struct result create_s3_key(struct keyring *k, struct api_call call, const json_t *message) {
    static const char *const allowed[] = {"id", "op", "org", "region", "actor", "access_key_id", "details", NULL};
    struct unit *u;
    const char *id;
    TRY(json_only(message, allowed));
    TRY(find_unit(k, message, &u));
    TRY(json_get_str(message, "access_key_id", &id));
    return s3_key_create(u, call, id);
}

static struct result create(struct keyring *k, struct api_call call, const json_t *message) {
    create_org(k, call, message);
    return OK;
}

static struct result add_region(struct keyring *k, struct api_call call, const json_t *message) {
    create_region(k, call, message);
    return OK;
}

static struct result check_key(struct keyring *k, struct api_call call, const json_t *message) {
    create_check_key(k, call, message);
    return OK;
}

/* What the api does by itself, and records here before. */
static struct result audit(struct keyring *k, struct api_call call, const json_t *message) {
    api_reply(k, call, NULL);
    return OK;
}

/* What is recorded must not be long. */
static struct result check_details(const json_t *message) {
    json_t *details = NULL;
    TRY(json_opt_object(message, "details", &details));
    BUF_AUTO(text, AUDIT_DETAILS_MAX);
    TRY(json_write(details ? details : message, &text));
    return buf_check(&text);
}

static struct result check_audit(struct keyring *k, const json_t *message) {
    static const char *const allowed[] = {"id", "op", "org", "region", "action", "actor", "details", NULL};
    const char *action, *actor, *region;
    TRY(json_only(message, allowed));
    TRY(json_get_str(message, "region", &region));
    CHECK(keyring_find_region(k, region), ERR_INVALID, "this deployment does not serve the region '%.40s'", region);
    TRY(json_get_str(message, "action", &action));
    TRY(json_get_str(message, "actor", &actor));
    CHECK(*action && strlen(action) <= 64 && strlen(actor) <= 256, ERR_INVALID, "'action' or 'actor' is too long");
    return check_details(message);
}

/* is_audited: the operator's, and nothing that ends access: it is recorded first. (Deleting records itself.) */
void request_handle(struct keyring *k, uint64_t connection, const json_t *message) {
    static const struct {
        const char *op;
        audit_then *handle;
        bool is_audited;
    } table[] = {
        {"hello", hello, false},
        {"activate", activate, false},
        {"recheck", recheck, true},
        {"kill_engine", kill_engine, false},
        {"create_org", create, true},
        {"check_key", check_key, true},
        {"add_region", add_region, true},
        {"recover", recover, true},
        {"recovered", recovered, true},
        {"meter", meter, false},
        {"cost", cost, false},
        {"delete_org", delete, false},
        {"audit", audit, true},
        {"create_s3_key", create_s3_key, true},
        {"moments", moments, false},
    };
    struct api_call call = {.connection = connection};
    const char *op = "";
    struct result r = json_get_int(message, "id", 0, INT64_MAX, &call.id);
    if (is_ok(r)) r = json_get_str(message, "op", &op);
    for (size_t i = 0; is_ok(r) && i < ARRAY_LEN(table); i++) {
        if (strcmp(op, table[i].op) != 0) continue;
        if (table[i].handle == audit) r = check_audit(k, message);
        if (is_ok(r) && table[i].handle == create_s3_key) r = check_details(message);
        if (is_ok(r))
            r = table[i].is_audited ? audit_first(k, call, message, table[i].handle)
                                    : table[i].handle(k, call, message);
        if (is_err(r)) api_fail_result(k, call, r);
        return;
    }
    if (is_ok(r)) r = err_make(ERR_INVALID, "the keyring doesn't know '%.40s'", op);
    api_fail_result(k, call, r);
}
