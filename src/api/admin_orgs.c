#include <stdlib.h>
#include <string.h>

#include "api/call.h"
#include "aws/arn.h"
#include "base/clock.h"
#include "base/crypto.h"

enum {
    CREATE_MS = 60000,
    AUDIT_MS = 10000,
    KEY_BYTES_RANDOM = 24,
    MAX_NAME = 63,
    MAX_DISPLAY_NAME = 256,
    MAX_ARN = 8192,
    EVENTS = 100
};

static struct result wrap_data(struct call *c, int status, json_t *data) {
    answer_json(c->http, status, json_pack("{s:o}", "data", data));
    return OK;
}

struct result admin_find_org(struct call *c, struct registry_org *ret) {
    const char *word = call_param(c, 0);
    struct result r = registry_find_org(c->api->registry, word, ret);
    if (r.code == ERR_NOT_FOUND) r = registry_get_org(c->api->registry, word, ret);
    if (r.code == ERR_NOT_FOUND)
        return refuse(&c->why, ERR_NOT_FOUND, 404, "NOTFOUND", 0, "There is no organization '%s'.", word);
    return r;
}

static struct result shape_org(struct call *c, const struct registry_org *o, json_t **ret) {
    json_t *encryption;
    TRY(shape_encryption(c->api, o, &encryption));
    *ret = json_pack("{s:s, s:s, s:s, s:s}", "id", o->id, "name", o->name, "display_name", o->display_name, "region",
                     o->home_region);
    json_object_set_new(*ret, "created_at", shape_time(o->created_at_ms));
    json_object_set_new(*ret, "created_by", json_string(o->created_by));
    json_object_update(*ret, encryption);
    json_decref(encryption);
    return OK;
}

/* A key in clear, to be shown once, and its hash. */
static struct result make_api_key(char **ret_key, char ret_hash[static REGISTRY_HASH_HEX + 1]) {
    uint8_t bytes[KEY_BYTES_RANDOM];
    TRY(random_bytes(bytes, sizeof bytes));
    BUF_AUTO(text, 128);
    buf_append_str(&text, "lsk_");
    base64url_encode(slice_make(bytes, sizeof bytes), &text);
    wipe(bytes, sizeof bytes);
    TRY(auth_hash(buf_slice(&text), ret_hash));
    *ret_key = buf_take_str(&text);
    return OK;
}

/* ---- creating ---- */

static struct result check_org_name(const char *name) {
    size_t n = strlen(name);
    bool good = n >= 2 && n <= MAX_NAME && name[0] >= 'a' && name[0] <= 'z';
    for (size_t i = 0; i < n && good; i++)
        good = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9') || name[i] == '-';
    CHECK(good, ERR_INVALID,
          "'%.70s' is no good name for an organization: a lower-case letter first, then lower-case letters, digits and "
          "'-', "
          "2 to %d in all",
          name, MAX_NAME);
    return OK;
}

/* The ARN's own rules; what only KMS can tell is the keyring's to ask. `member` is NULL when it was left out. */
static struct result check_arn(struct call *c, const json_t *member, const char *region, const char **ret) {
    if (!member) return OK;
    CHECK(!json_is_null(member), ERR_INVALID,
          "kms_key_arn must not be null: leave it out for an organization under the service's own key");
    CHECK(json_is_string(member), ERR_INVALID, "kms_key_arn must be a string: the full ARN of a Multi-Region KMS key");
    const char *arn = json_string_value(member);
    CHECK(*arn, ERR_INVALID,
          "kms_key_arn must not be empty: leave it out for an organization under the service's own key");
    struct result r = arn_check_customer_key(slice_make(arn, json_string_length(member)), region, NULL, NULL);
    if (is_err(r)) {
        AUTO_FREE char *detail = str_dup(err_detail());
        return refuse(&c->why, r.code, 400, "INVALIDINPUT", 0, "kms_key_arn is refused: %s", detail);
    }
    CHECK(c->api->config->customer_keys_enabled, ERR_INVALID,
          "customers' keys are switched off here: the operator sets customer_keys.enabled: true to allow them");
    *ret = arn;
    return OK;
}

/* The keyring said no. */
static struct result refuse_answer(struct call *c, const json_t *answer) {
    const char *code = json_string_value(json_object_get(answer, "code"));
    const char *message = json_string_value(json_object_get(answer, "message"));
    if (!code) code = "";
    if (!message) message = "The keyring refused it.";
    if (strcmp(code, "PREFLIGHT") == 0) {
        struct result r = refuse(&c->why, ERR_INVALID, 422, "INVALIDINPUT", 0, "%s", message);
        c->why.checks = json_incref(json_object_get(answer, "checks"));
        return r;
    }
    if (strcmp(code, "EXISTS") == 0) return refuse(&c->why, ERR_EXISTS, 409, "ALREADYEXISTS", 0, "%s", message);
    if (strcmp(code, "CONFLICT") == 0) return refuse(&c->why, ERR_CONFLICT, 409, "CONFLICT", 0, "%s", message);
    if (strcmp(code, "NOT_FOUND") == 0) return refuse(&c->why, ERR_NOT_FOUND, 404, "NOTFOUND", 0, "%s", message);
    if (strcmp(code, "INVALID") == 0) return refuse(&c->why, ERR_INVALID, 400, "INVALIDINPUT", 0, "%s", message);
    return refuse(&c->why, ERR_UNREACHABLE, 503, "SERVICEUNAVAILABLE", 5, "%s", message);
}

struct result admin_ask_keyring(struct call *c, json_t *request, unsigned timeout_ms, json_t **ret) {
    JSON_AUTO(owned);
    JSON_AUTO(answer);
    owned = request;
    struct result r = keylink_call(c->api->keylink, owned, timeout_ms, &answer);
    if (is_err(r)) {
        AUTO_FREE char *detail = str_dup(err_detail());
        return refuse(&c->why, r.code, 503, "SERVICEUNAVAILABLE", 2, "The keyring can't be asked (%s). Try again.",
                      detail);
    }
    if (!json_is_true(json_object_get(answer, "ok"))) return refuse_answer(c, answer);
    *ret = TAKE(answer);
    return OK;
}

struct result call_audit(struct call *c, const char *org, const char *action, const char *actor, json_t *details) {
    JSON_AUTO(answer);
    json_t *request = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o*}", "op", "audit", "region", c->api->region, "org", org,
                                "action", action, "actor", actor, "details", details);
    return admin_ask_keyring(c, request, AUDIT_MS, &answer);
}

struct result admin_audit(struct call *c, const char *org, const char *action, json_t *details) {
    return call_audit(c, org, action, "operator", details);
}

struct new_org {
    const char *name, *display_name, *region, *arn;
};

static struct result read_new_org(struct call *c, json_t *body, struct new_org *ret) {
    TRY(json_get_str(body, "name", &ret->name));
    TRY(json_get_str(body, "region", &ret->region));
    TRY(call_opt_text(body, "display_name", MAX_DISPLAY_NAME, &ret->display_name));
    TRY(check_org_name(ret->name));
    TRY(admin_check_region_name(c, ret->region));
    if (!ret->display_name) ret->display_name = ret->name;
    AUTO(registry_org_done) struct registry_org there = {0};
    TRY(check_arn(c, json_object_get(body, "kms_key_arn"), ret->region, &ret->arn));
    struct result r = registry_find_org(c->api->registry, ret->name, &there);
    if (is_ok(r))
        return refuse(&c->why, ERR_EXISTS, 409, "ALREADYEXISTS", 0,
                      "There is an organization '%s' already; its key can't be "
                      "changed.",
                      ret->name);
    return r.code == ERR_NOT_FOUND ? OK : r;
}

struct result admin_create_org(struct call *c) {
    static const char *const members[] = {"name", "region", "kms_key_arn", "display_name", NULL};
    JSON_AUTO(body);
    TRY(call_body(c, members, true, &body));
    struct new_org n = {0};
    TRY(read_new_org(c, body, &n));
    AUTO_FREE char *key = NULL;
    char hash[REGISTRY_HASH_HEX + 1];
    TRY(make_api_key(&key, hash));
    json_t *request = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "op", "create_org", "name", n.name,
                                "display_name", n.display_name, "region", n.region, "api_key_hash", hash,
                                "api_key_name", "first", "created_by", "operator");
    if (n.arn) json_object_set_new(request, "arn", json_string(n.arn));
    JSON_AUTO(answer);
    TRY(admin_ask_keyring(c, request, CREATE_MS, &answer));
    AUTO(registry_org_done) struct registry_org org = {0};
    TRY(registry_find_org(c->api->registry, n.name, &org));
    json_t *data;
    TRY(shape_org(c, &org, &data));
    json_object_set_new(data, "api_key", json_string(key));
    wipe(key, strlen(key));
    return wrap_data(c, 201, data);
}

/* ---- showing and changing ---- */

struct result admin_list_orgs(struct call *c) {
    AUTO(registry_orgs_done) struct registry_orgs list = {0};
    TRY(registry_list_orgs(c->api->registry, &list));
    JSON_AUTO(data);
    data = json_array();
    for (size_t i = 0; i < list.count; i++) {
        json_t *one;
        TRY(shape_org(c, &list.items[i], &one));
        json_object_del(one, "regions"); /* of one organization only: they move all the time */
        json_array_append_new(data, one);
    }
    return wrap_data(c, 200, TAKE(data));
}

struct result admin_get_org(struct call *c) {
    AUTO(registry_org_done) struct registry_org org = {0};
    TRY(admin_find_org(c, &org));
    json_t *data;
    TRY(shape_org(c, &org, &data));
    return wrap_data(c, 200, data);
}

struct result admin_change_org(struct call *c) {
    static const char *const members[] = {"display_name", "kms_key_arn", NULL};
    AUTO(registry_org_done) struct registry_org org = {0};
    TRY(admin_find_org(c, &org));
    JSON_AUTO(body);
    TRY(call_body(c, members, true, &body));
    if (json_object_get(body, "kms_key_arn"))
        return refuse(
            &c->why, ERR_CONFLICT, 409, "CONFLICT", 0,
            "The key of an organization is chosen when it is created and can't be changed, removed or added later: "
            "leave kms_key_arn out.");
    const char *display_name = NULL;
    TRY(call_opt_text(body, "display_name", MAX_DISPLAY_NAME, &display_name));
    CHECK(display_name && *display_name, ERR_INVALID, "'display_name' is missing: nothing else can be changed");
    TRY(admin_audit(c, org.id, "set_display_name", json_pack("{s:s}", "display_name", display_name)));
    TRY(registry_set_display_name(c->api->registry, org.id, display_name, "operator"));
    registry_org_done(&org);
    return admin_get_org(c);
}

struct result admin_add_api_key(struct call *c) {
    static const char *const members[] = {"name", NULL};
    AUTO(registry_org_done) struct registry_org org = {0};
    TRY(admin_find_org(c, &org));
    JSON_AUTO(body);
    TRY(call_body(c, members, false, &body));
    const char *name = NULL;
    TRY(call_opt_text(body, "name", MAX_NAME, &name));
    CHECK(!name || *name, ERR_INVALID, "'name' must not be empty: leave it out to have one made");
    AUTO_FREE char *key = NULL;
    char hash[REGISTRY_HASH_HEX + 1];
    TRY(make_api_key(&key, hash));
    AUTO_FREE char *own_name = str_format("key-%.8s", hash);
    if (!name) name = own_name;
    TRY(admin_audit(c, org.id, "add_api_key", json_pack("{s:s}", "name", name)));
    struct result r = registry_add_api_key(c->api->registry, org.id, hash, name, "operator");
    if (r.code == ERR_EXISTS)
        return refuse(&c->why, r.code, 409, "ALREADYEXISTS", 0, "There is an API key named '%s' already.", name);
    TRY(r);
    json_t *data = json_pack("{s:s, s:s, s:s}", "organization", org.name, "name", name, "api_key", key);
    json_object_set_new(data, "created_at", shape_time(clock_unix_ms()));
    wipe(key, strlen(key));
    return wrap_data(c, 201, data);
}

/* ---- keys ---- */

struct result admin_check_key(struct call *c) {
    static const char *const members[] = {"kms_key_arn", "region", NULL};
    JSON_AUTO(body);
    JSON_AUTO(answer);
    const char *arn = NULL, *region;
    TRY(call_body(c, members, true, &body));
    TRY(json_get_str(body, "region", &region));
    TRY(admin_check_region_name(c, region));
    CHECK(json_object_get(body, "kms_key_arn"), ERR_INVALID, "'kms_key_arn' is missing");
    TRY(check_arn(c, json_object_get(body, "kms_key_arn"), region, &arn));
    json_t *request = json_pack("{s:s, s:s, s:s}", "op", "check_key", "arn", arn, "region", region);
    TRY(admin_ask_keyring(c, request, CREATE_MS, &answer));
    return wrap_data(c, 200,
                     json_pack("{s:s, s:s, s:O, s:O}", "kms_key_arn", arn, "region", region, "passed",
                               json_object_get(answer, "passed"), "checks", json_object_get(answer, "checks")));
}
