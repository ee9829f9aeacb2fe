/* Checking a key for people, creating an organization, and adding a region to one: preflight, the first keys (durable
 * in the store before anything else knows of them), then one transaction of the registry. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "keyring/key_file.h"
#include "keyring/keyring.h"

enum create_what { CREATE_NOTHING, CREATE_ORG, CREATE_REGION }; /* nothing: only check the key */

struct create_job {
    struct job job;
    struct create_job *next; /* in the keyring's list of those under way */
    enum create_what what;
    struct keyring *k;
    struct api_call call;
    struct region *region;
    struct ring_place place;
    enum registry_kind kind;
    char org[REGISTRY_ID_BYTES];
    char arn[ARN_KMS_KEY_BYTES];
    char *name, *display_name, *created_by, *api_key_hash, *api_key_name; /* name: for people, of a region too */
    struct ring_preflight preflight;
    struct registry_wrapped_key keys[2]; /* the name key and the first branch */
    struct result done;
    char *why;
};

static void job_free(struct create_job *c) {
    registry_wrapped_key_done(&c->keys[0]);
    registry_wrapped_key_done(&c->keys[1]);
    mem_free(c->name);
    mem_free(c->display_name);
    mem_free(c->created_by);
    mem_free(c->api_key_hash);
    mem_free(c->api_key_name);
    mem_free(c->why);
    mem_free(c);
}

/* ---- On a worker ---- */

static struct result require_free_name(struct create_job *c) {
    AUTO(registry_org_done) struct registry_org there = {0};
    struct result found = registry_find_org(c->k->registry, c->name, &there);
    if (found.code == ERR_NOT_FOUND) return OK;
    TRY(found);
    FAIL(ERR_EXISTS, "there is an organization named %.64s already", c->name);
}

/* What an earlier try left that was cut off: keys that nothing was encrypted with. */
static struct result clear_place(struct create_job *c) {
    struct shelf *shelf = c->place.shelf;
    struct result bare = shelf->kind->must_be_bare(shelf, c->org);
    if (is_ok(bare)) return shelf->kind->remove_keys(shelf, c->org);
    if (bare.code != ERR_CONFLICT) return bare;
    AUTO_FREE char *why = str_dup(err_detail());
    FAIL(ERR_CONFLICT,
         "the store of %s holds data of this organization already (%s), but the registry doesn't know of it: is it the "
         "right registry?",
         c->region->name, why);
}

static struct result write_region(struct create_job *c) {
    struct registry_new_region n = {.org = c->org,
                                    .region = c->region->name,
                                    .kms_key_arn = c->arn,
                                    .state_reason = "the preflight passed",
                                    .actor = c->created_by,
                                    .created_at_ms = clock_unix_ms(),
                                    .keys = c->keys,
                                    .key_count = ARRAY_LEN(c->keys)};
    return registry_add_region(c->k->registry, &n);
}

static struct result write_all(struct create_job *c) {
    TRY(key_file_write(c->place.shelf, &c->keys[0]));
    TRY(key_file_write(c->place.shelf, &c->keys[1]));
    if (c->what == CREATE_REGION) return write_region(c);
    struct registry_new_org n = {.id = c->org,
                                 .name = c->name,
                                 .display_name = c->display_name,
                                 .created_by = c->created_by,
                                 .created_at_ms = clock_unix_ms(),
                                 .region = c->region->name,
                                 .kind = c->kind,
                                 .kms_key_arn = c->arn,
                                 .state_reason = "the preflight passed",
                                 .api_key_hash = c->api_key_hash,
                                 .api_key_name = c->api_key_name,
                                 .keys = c->keys,
                                 .key_count = ARRAY_LEN(c->keys)};
    return registry_create_org(c->k->registry, &n);
}

static struct result make(struct create_job *c) {
    struct verdict verdict;
    TRY(clear_place(c));
    c->place.ledger = ledgers_get(c->k->ledgers, c->region->name, c->org);
    TRY(ledger_append(c->place.ledger, "operator",
                      json_pack("{s:s, s:s, s:s, s:s}", "action", c->what == CREATE_ORG ? "create_org" : "add_region",
                                "actor", c->created_by, "name", c->name, "arn", c->arn),
                      LEDGER_SYNCED));
    TRY(ring_generate(&c->place, REGISTRY_NAME_KEY, &c->keys[0], &verdict));
    TRY(ring_generate(&c->place, REGISTRY_BRANCH_KEY, &c->keys[1], &verdict));
    struct result written = write_all(c);
    if (is_ok(written)) return OK;
    /* Nothing stays behind. The place is new, so it holds nothing but these keys. */
    AUTO_FREE char *why = str_dup(err_detail());
    struct shelf *shelf = c->place.shelf;
    JSON_AUTO(remains);
    remains = json_array();
    if (is_err(shelf->kind->remove_keys(shelf, c->org)))
        log_error("org.keys_left", KV("org", c->org), KV("store", shelf->place));
    shelf->kind->remove_rest(shelf, c->org, remains); /* logs what it can't */
    return err_make(written.code, "%s", why);
}

static void create_run(struct job *j) {
    struct create_job *c = (struct create_job *)j;
    if (c->what == CREATE_ORG) c->done = require_free_name(c);
    if (is_ok(c->done)) {
        ring_preflight(&c->place, NULL, false, &c->preflight);
        if (c->what != CREATE_NOTHING && c->preflight.checks.passed) c->done = make(c);
    }
    if (is_err(c->done)) c->why = str_dup(err_detail());
}

/* ---- On the loop ---- */

static size_t list_failed(const struct checks *c, struct buf *out) {
    size_t failed = 0;
    for (size_t i = 0; i < c->count; i++) {
        if (c->items[i].ok) continue;
        buf_printf(out, "%s%s", failed ? ", " : "", c->items[i].name);
        failed++;
    }
    return failed;
}

/* Is not even DescribeKey allowed? Across accounts that is also how a key looks that isn't there. */
static bool is_all_denied(const struct checks *c) {
    for (size_t i = 0; i < c->count; i++)
        if (c->items[i].ok || strncmp(c->items[i].name, "kms:", 4) != 0) return false;
    return c->count > 0;
}

static char *preflight_message(const struct create_job *c, const char *failed) {
    if (c->what == CREATE_ORG) return str_format("the key %s did not pass the preflight: %s", c->arn, failed);
    bool is_absent = c->kind == REGISTRY_CUSTOMER && is_all_denied(&c->preflight.checks);
    return str_format(
        "the organization can't operate in %s: its key there, %s, did not pass the preflight: %s.%s%s%s Its "
        "other regions go on",
        c->region->name, c->arn, failed,
        is_absent ? " Either the key has no replica there (aws kms replicate-key --replica-region " : "",
        is_absent ? c->region->name : "",
        is_absent ? "), or the replica's key policy doesn't admit the service: replicating a key does not "
                    "copy its policy."
                  : "");
}

/* Did the preflight come to nothing because KMS gave no answer? Then that is what is told. */
static bool answer_unreachable(const struct create_job *c, size_t failed) {
    const struct verdict *v = &c->preflight.checks.verdict;
    if (failed > 0 || v->kind == VERDICT_REFUSED) return false;
    AUTO_FREE char *message = str_format("AWS KMS in %s gives no usable answer for the key %s (%s%s%.300s); try again",
                                         c->region->name, c->arn, v->aws_error, v->aws_error[0] ? ": " : "", v->text);
    api_fail(c->k, c->call, "UNREACHABLE", message, checks_to_json(&c->preflight.checks), NULL);
    return true;
}

static void answer_created(struct create_job *c) {
    struct keyring *k = c->k;
    char available[] = "AVAILABLE";
    struct registry_region row = {
        .org = c->org, .region = str_dup(c->region->name), .kms_key_arn = c->arn, .kind = c->kind, .state = available};
    struct unit *u = keyring_add_unit(k, c->region, &row);
    mem_free(row.region);
    u->ring = (struct ring){.names = c->keys[0], .branch = c->keys[1]};
    c->keys[0] = c->keys[1] = (struct registry_wrapped_key){0};
    u->is_loaded = true;
    snprintf(u->seen_material, sizeof u->seen_material, "%s", c->preflight.material_id);
    log_info(c->what == CREATE_ORG ? "org.created" : "region.added", KV("org", c->org), KV("name", c->name),
             KV("region", c->region->name), KV("kind", registry_kind_name(c->kind)), KV("key", c->arn));
    unit_grant(u, c->preflight.sent_boottime_ns);
    json_t *fields = json_object();
    json_object_set_new(fields, "org", json_string(c->org));
    json_object_set_new(fields, "region", json_string(c->region->name));
    json_object_set_new(fields, "kms_key_arn", json_string(c->arn));
    json_object_set_new(fields, "kind", json_string(registry_kind_name(c->kind)));
    json_object_set_new(fields, "state", unit_state(u));
    api_reply(k, c->call, fields);
}

static void leave(struct create_job *c) {
    struct create_job **place = &c->k->creating;
    while (*place && *place != c)
        place = &(*place)->next;
    if (*place) *place = c->next;
}

static void create_done(struct job *j) {
    struct create_job *c = (struct create_job *)j;
    leave(c);
    const struct checks *checks = &c->preflight.checks;
    BUF_AUTO(names, 1024);
    size_t failed = list_failed(checks, &names);
    if (is_err(c->done)) {
        api_fail(c->k, c->call, err_name(c->done.code), c->why, NULL, NULL);
    } else if (!checks->passed && answer_unreachable(c, failed)) {
        /* told */
    } else if (c->what == CREATE_NOTHING) {
        json_t *fields = json_object();
        json_object_set_new(fields, "checks", checks_to_json(checks));
        json_object_set_new(fields, "passed", json_boolean(checks->passed));
        api_reply(c->k, c->call, fields);
    } else if (!checks->passed) {
        const char *list = failed ? buf_str(&names) : checks->verdict.text;
        AUTO_FREE char *message = preflight_message(c, list);
        api_fail(c->k, c->call, "PREFLIGHT", message, checks_to_json(checks), NULL);
    } else {
        answer_created(c);
    }
    job_free(c);
}

/* ---- Reading the request ---- */

static struct result set_key(struct create_job *c, const char *arn) {
    struct arn_kms_key key;
    if (arn) {
        CHECK(c->what != CREATE_ORG || c->k->config->customer_keys_enabled, ERR_FORBIDDEN,
              "customers' keys are a private preview: the operator has not enabled them (customer_keys.enabled)");
        TRY(arn_check_customer_key(slice_str(arn), c->region->name, NULL, &key));
        c->kind = REGISTRY_CUSTOMER;
    } else {
        const char *own = c->region->service_key_arn;
        CHECK(own, ERR_INVALID,
              "this deployment has no key of its own in %s for organizations without a customer's key: set "
              "service_key_arn of the region",
              c->region->name);
        TRY(arn_parse_kms_key(slice_str(own), &key));
        CHECK(strcmp(key.region, c->region->name) == 0, ERR_INVALID, "service_key_arn of %s is a key in %s",
              c->region->name, key.region);
        c->kind = REGISTRY_SERVICE;
    }
    arn_print_kms_key(&key, c->arn);
    return OK;
}

static bool is_org_name(const char *s) {
    size_t n = strlen(s);
    return n >= 2 && n <= 63 && s[0] >= 'a' && s[0] <= 'z' && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

static struct result read_org(struct create_job *c, const json_t *m) {
    const char *org = NULL, *name, *display_name, *by, *hash, *key_name;
    TRY(json_opt_str(m, "org", &org));
    TRY(json_get_str(m, "name", &name));
    display_name = name;
    TRY(json_opt_str(m, "display_name", &display_name));
    TRY(json_get_str(m, "created_by", &by));
    TRY(json_get_str(m, "api_key_hash", &hash));
    TRY(json_get_str(m, "api_key_name", &key_name));
    CHECK(is_org_name(name), ERR_INVALID,
          "an organization's name is 2 to 63 of a-z, 0-9 and -, beginning with a letter");
    CHECK(strlen(display_name) <= 1024 && strlen(by) <= 256 && strlen(key_name) <= 256, ERR_INVALID,
          "a name is too long");
    CHECK(strlen(hash) == REGISTRY_HASH_HEX && strspn(hash, "0123456789abcdef") == REGISTRY_HASH_HEX, ERR_INVALID,
          "api_key_hash is not the hexadecimal form of a SHA-256");
    if (org) {
        CHECK(strlen(org) == REGISTRY_ID_BYTES - 1 && org[0] == 'o' && strspn(org + 1, "0123456789abcdef") == 20,
              ERR_INVALID, "an organization's id is 'o' and 20 hexadecimal digits");
        snprintf(c->org, sizeof c->org, "%s", org);
    } else {
        TRY(registry_new_id('o', c->org));
    }
    c->name = str_dup(name);
    c->display_name = str_dup(display_name);
    c->created_by = str_dup(by);
    c->api_key_hash = str_dup(hash);
    c->api_key_name = str_dup(key_name);
    return OK;
}

/* The same Multi-Region key, as it is called in another region. */
static struct result derive_arn(const struct create_job *c, const struct unit *home, char **ret) {
    struct arn_kms_key key;
    TRY(arn_parse_kms_key(slice_str(home->kms_key_arn), &key));
    char text[ARN_KMS_KEY_BYTES];
    snprintf(key.region, sizeof key.region, "%s", c->region->name);
    arn_print_kms_key(&key, text);
    *ret = str_dup(text);
    return OK;
}

static struct result read_region(struct create_job *c, const json_t *m, char **ret_arn) {
    const char *org, *by, *arn = NULL;
    TRY(json_get_str(m, "org", &org));
    TRY(json_get_str(m, "created_by", &by));
    TRY(json_opt_str(m, "arn", &arn));
    CHECK(strlen(by) <= 256, ERR_INVALID, "a name is too long");
    const struct unit *home = NULL;
    for (size_t i = 0; i < c->k->unit_count && !home; i++)
        if (strcmp(c->k->units[i]->org, org) == 0) home = c->k->units[i];
    CHECK(home, ERR_NOT_FOUND, "there is no organization %.40s", org);
    CHECK(!keyring_find_unit(c->k, org, c->region->name), ERR_EXISTS, "the organization operates in %s already",
          c->region->name);
    for (const struct create_job *other = c->k->creating; other; other = other->next)
        CHECK(strcmp(other->org, org) != 0 || other->region != c->region, ERR_CONFLICT,
              "%s is being added to the organization right now", c->region->name);
    snprintf(c->org, sizeof c->org, "%s", org);
    c->name = str_dup(org);
    c->created_by = str_dup(by);
    if (home->kind == REGISTRY_SERVICE) return OK;
    TRY(derive_arn(c, home, ret_arn));
    CHECK(!arn || strcmp(arn, *ret_arn) == 0, ERR_INVALID,
          "%.200s is not the replica of this organization's key in %s: that is %s. The key of an organization can't be "
          "changed",
          arn, c->region->name, *ret_arn);
    return OK;
}

static struct result read_request(struct create_job *c, const json_t *m) {
    static const char *const for_check[] = {"id", "op", "arn", "region", NULL};
    static const char *const for_region[] = {"id", "op", "org", "arn", "region", "created_by", NULL};
    static const char *const for_org[] = {
        "id", "op", "org", "name", "display_name", "region", "arn", "api_key_hash", "api_key_name", "created_by", NULL};
    static const char *const *const allowed[] = {for_check, for_org, for_region};
    TRY(json_only(m, allowed[c->what]));
    const char *region, *arn = NULL;
    TRY(json_get_str(m, "region", &region));
    c->region = keyring_find_region(c->k, region);
    CHECK(c->region, ERR_INVALID, "this deployment does not serve the region '%.40s'", region);
    AUTO_FREE char *derived = NULL;
    if (c->what == CREATE_REGION) {
        TRY(read_region(c, m, &derived));
        arn = derived;
    } else if (c->what == CREATE_ORG) {
        TRY(json_opt_str(m, "arn", &arn));
        TRY(read_org(c, m));
    } else {
        TRY(json_get_str(m, "arn", &arn));
        snprintf(c->org, sizeof c->org, "preflight");
    }
    return set_key(c, arn);
}

/* Before it exists it has none of its own. */
static struct ledger *first_ledger(const struct create_job *c) {
    return ledgers_get(c->k->ledgers, c->region->name, c->what == CREATE_REGION ? c->org : LEDGER_OPERATOR);
}

static void submit(struct keyring *k, struct api_call call, const json_t *message, enum create_what what) {
    struct create_job *c = mem_alloc(sizeof *c);
    *c = (struct create_job){.job = {.run = create_run, .done = create_done}, .k = k, .call = call, .what = what};
    struct result r = read_request(c, message);
    if (is_err(r)) {
        api_fail_result(k, call, r);
        job_free(c);
        return;
    }
    c->place = (struct ring_place){.org = c->org,
                                   .region = c->region->name,
                                   .kms_key_arn = c->arn,
                                   .shelf = c->region->shelf,
                                   .kms = c->region->kms,
                                   .meter = c->region->meter,
                                   .ledger = first_ledger(c),
                                   .registry = k->registry,
                                   .service_account_id = k->config->service_account_id,
                                   .needs_multi_region = c->kind == REGISTRY_CUSTOMER,
                                   .timeout_ms = (unsigned)k->config->key_kms_timeout_ms};
    c->next = k->creating;
    k->creating = c;
    pool_submit(c->region->pool, &c->job, true);
}

bool create_is_under_way(const struct keyring *k, const char *org) {
    for (const struct create_job *c = k->creating; c; c = c->next)
        if (strcmp(c->org, org) == 0) return true;
    return false;
}

void create_org(struct keyring *k, struct api_call call, const json_t *message) {
    submit(k, call, message, CREATE_ORG);
}

void create_check_key(struct keyring *k, struct api_call call, const json_t *message) {
    submit(k, call, message, CREATE_NOTHING);
}

void create_region(struct keyring *k, struct api_call call, const json_t *message) {
    submit(k, call, message, CREATE_REGION);
}
