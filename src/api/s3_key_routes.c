/* Access keys for S3 clients of an organization's bucket in this region: made by the organization, or by the operator
 * for it. A secret is shown once, and can't be shown again: it is derived anew each time it is needed
 * (keys/s3_secret.h). */
#include <string.h>

#include "api/call.h"
#include "base/clock.h"
#include "base/crypto.h"

enum { KEYRING_MS = 20000, MAX_NAME = 63 };

/* Whose keys, and who asks. */
struct owner {
    struct registry_org org;
    const char *actor;
};

static void owner_done(struct owner *o) {
    registry_org_done(&o->org);
}

static struct result own(struct call *c, struct owner *ret) {
    ret->actor = c->key.name;
    struct result r = registry_get_org(c->api->registry, call_org(c), &ret->org);
    if (r.code == ERR_NOT_FOUND) FAIL(ERR_UNAUTHENTICATED, "this API key is not known");
    return r;
}

static struct result operators(struct call *c, struct owner *ret) {
    ret->actor = "operator";
    TRY(admin_find_org(c, &ret->org));
    AUTO(registry_region_done) struct registry_region row = {0};
    struct result r = registry_get_region(c->api->registry, ret->org.id, c->api->region, &row);
    if (r.code == ERR_NOT_FOUND)
        return refuse(&c->why, r.code, 404, "NOTFOUND", 0, "The organization '%s' does not operate in %s.",
                      ret->org.name, c->api->region);
    return r;
}

static json_t *shape(const struct registry_s3_key *k, const struct registry_org *org) {
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s}", "access_key_id", k->id, "name", k->name, "region", k->region,
                          "bucket", org->name, "created_by", k->created_by);
    json_object_set_new(o, "created_at", shape_time(k->created_at_ms));
    return o;
}

static struct result random_id(char ret[static REGISTRY_S3_KEY_ID_CHARS + 1]) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", prefix[] = "LSKA";
    uint8_t bytes[REGISTRY_S3_KEY_ID_CHARS];
    TRY(random_bytes(bytes, sizeof bytes));
    for (size_t i = 0; i < sizeof bytes; i++)
        ret[i] = i < strlen(prefix) ? prefix[i] : alphabet[bytes[i] % 32];
    ret[REGISTRY_S3_KEY_ID_CHARS] = '\0';
    return OK;
}

/* The keyring records it, unwraps the name key and derives. */
static struct result ask_secret(struct call *c, const struct registry_s3_key *k, json_t **ret) {
    json_t *details = json_pack("{s:s, s:s}", "access_key_id", k->id, "name", k->name);
    json_t *request = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "op", "create_s3_key", "org", k->org, "region",
                                k->region, "actor", k->created_by, "access_key_id", k->id, "details", details);
    TRY(keylink_check(c->api->keylink, k->org, KEYLINK_WRITE, &c->why));
    return admin_ask_keyring(c, request, KEYRING_MS, ret);
}

static struct result create(struct call *c, const struct owner *o) {
    static const char *const members[] = {"name", NULL};
    JSON_AUTO(body);
    JSON_AUTO(answer);
    const char *name = NULL, *secret = NULL;
    char id[REGISTRY_S3_KEY_ID_CHARS + 1];
    TRY(call_body(c, members, false, &body));
    TRY(call_opt_text(body, "name", MAX_NAME, &name));
    CHECK(!name || *name, ERR_INVALID, "'name' must not be empty: leave it out if there is none");
    TRY(random_id(id));
    AUTO(registry_s3_key_done)
    struct registry_s3_key k = {.id = str_dup(id),
                                .org = str_dup(o->org.id),
                                .region = str_dup(c->api->region),
                                .name = str_dup(name ? name : ""),
                                .created_at_ms = clock_unix_ms(),
                                .created_by = str_dup(o->actor)};
    TRY(ask_secret(c, &k, &answer));
    TRY(json_get_str(answer, "secret", &secret));
    struct result r = registry_add_s3_key(c->api->registry, &k);
    if (r.code == ERR_TOO_LARGE) {
        AUTO_FREE char *detail = str_dup(err_detail());
        return refuse(&c->why, r.code, 409, "CONFLICT", 0, "%s.", detail);
    }
    TRY(r);
    json_t *data = shape(&k, &o->org);
    json_object_set_new(data, "secret_access_key", json_string(secret));
    answer_json(c->http, 201, json_pack("{s:o}", "data", data));
    return OK;
}

static struct result list(struct call *c, const struct owner *o) {
    AUTO(registry_s3_keys_done) struct registry_s3_keys keys = {0};
    TRY(registry_list_s3_keys(c->api->registry, o->org.id, c->api->region, &keys));
    json_t *data = json_array();
    for (size_t i = 0; i < keys.count; i++)
        json_array_append_new(data, shape(&keys.items[i], &o->org));
    answer_json(c->http, 200, json_pack("{s:o}", "data", data));
    return OK;
}

/* Refused from the answer on; a request that was let in before may still end. */
static struct result delete_key(struct call *c, const struct owner *o, const char *id) {
    static const char *const members[] = {NULL};
    JSON_AUTO(body);
    TRY(call_body(c, members, false, &body));
    AUTO(registry_s3_key_done) struct registry_s3_key k = {0};
    struct result r = registry_get_s3_key(c->api->registry, id, &k);
    bool is_theirs = is_ok(r) && strcmp(k.org, o->org.id) == 0 && strcmp(k.region, c->api->region) == 0;
    if (r.code == ERR_NOT_FOUND || (is_ok(r) && !is_theirs))
        return refuse(&c->why, ERR_NOT_FOUND, 404, "NOTFOUND", 0, "There is no access key '%s' in %s.", id,
                      c->api->region);
    TRY(r);
    TRY(call_audit(c, o->org.id, "delete_s3_key", o->actor, json_pack("{s:s}", "access_key_id", id)));
    r = registry_delete_s3_key(c->api->registry, o->org.id, c->api->region, id, o->actor);
    if (is_err(r) && r.code != ERR_NOT_FOUND) return r; /* somebody else was first: gone it is */
    answer_json(c->http, 200, json_pack("{s:o}", "data", shape(&k, &o->org)));
    return OK;
}

struct result s3_keys_create(struct call *c) {
    AUTO(owner_done) struct owner o = {0};
    TRY(own(c, &o));
    return create(c, &o);
}

struct result s3_keys_list(struct call *c) {
    AUTO(owner_done) struct owner o = {0};
    TRY(own(c, &o));
    return list(c, &o);
}

struct result s3_keys_delete(struct call *c) {
    AUTO(owner_done) struct owner o = {0};
    TRY(own(c, &o));
    return delete_key(c, &o, call_param(c, 0));
}

struct result admin_create_s3_key(struct call *c) {
    AUTO(owner_done) struct owner o = {0};
    TRY(operators(c, &o));
    return create(c, &o);
}

struct result admin_list_s3_keys(struct call *c) {
    AUTO(owner_done) struct owner o = {0};
    TRY(operators(c, &o));
    return list(c, &o);
}

struct result admin_delete_s3_key(struct call *c) {
    AUTO(owner_done) struct owner o = {0};
    TRY(operators(c, &o));
    return delete_key(c, &o, call_param(c, 1));
}
