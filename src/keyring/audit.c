/* What the loop has to tell the ledgers, written by a worker of its own. (Calls of KMS are written where they are made:
 * ring_call.) */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "keyring/keyring.h"

struct audit_job {
    struct job job;
    struct keyring *k;
    struct ledger *ledger;
    const char *kind; /* static */
    json_t *fields;
    enum ledger_durability how;
    struct result done;
    char *why, *mark;
    /* Only where something waits for it: */
    audit_then *then;
    struct api_call call;
    json_t *message;
};

/* The registry remembers how far a ledger had come, so that one that is missing as a whole is noticed. */
static char *mark_of(const char *region, const char *org) {
    return str_format("ledger %s %s", region, org);
}

void audit_expect(struct keyring *k, const char *region, const char *org) {
    AUTO_FREE char *mark = mark_of(region, org);
    int64_t seq = 0;
    struct result got = registry_get_mark(k->registry, mark, &seq);
    if (is_err(got) && got.code != ERR_NOT_FOUND)
        log_warn("ledger.no_mark", KV("mark", mark), KV("reason", err_detail()));
    else if (seq > 0)
        ledger_expect(ledgers_get(k->ledgers, region, org), (uint64_t)seq);
}

static void audit_run(struct job *j) {
    struct audit_job *a = (struct audit_job *)j;
    a->done = ledger_append(a->ledger, a->kind, TAKE(a->fields), a->how);
    if (is_err(a->done)) {
        a->why = str_dup(err_detail());
    } else if (a->how == LEDGER_SYNCED) {
        struct result noted = registry_set_mark(a->k->registry, a->mark, (int64_t)ledger_seq(a->ledger));
        if (is_err(noted)) log_warn("ledger.not_marked", KV("mark", a->mark), KV("reason", err_detail()));
    }
}

static void audit_done(struct job *j) {
    struct audit_job *a = (struct audit_job *)j;
    if (a->then && is_err(a->done)) {
        api_fail(a->k, a->call, "UNREACHABLE", a->why, NULL, NULL);
    } else if (a->then) {
        struct result r = a->then(a->k, a->call, a->message);
        if (is_err(r)) api_fail_result(a->k, a->call, r);
    } else if (is_err(a->done)) {
        log_error("ledger.not_told", KV("kind", a->kind), KV("reason", a->why));
    }
    json_decref(a->message);
    mem_free(a->why);
    mem_free(a->mark);
    mem_free(a);
}

static struct audit_job *job_new(struct keyring *k, const char *region, const char *org, const char *kind,
                                 json_t *fields) {
    char now[CLOCK_ISO_BYTES];
    clock_format_iso(clock_unix_ms(), now);
    json_object_set_new(fields, "at", json_string(now));
    struct audit_job *a = mem_alloc(sizeof *a);
    *a = (struct audit_job){.job = {.run = audit_run, .done = audit_done},
                            .k = k,
                            .ledger = ledgers_get(k->ledgers, region, org),
                            .kind = kind,
                            .fields = fields,
                            .mark = mark_of(region, org),
                            .how = LEDGER_SYNCED};
    return a;
}

void audit_note(struct keyring *k, const char *region, const char *org, const char *kind, json_t *fields) {
    pool_submit(k->ledger_pool, &job_new(k, region, org, kind, fields)->job, false);
}

void audit_lease(const struct unit *u, const char *event) {
    const struct lease_machine *m = &u->lease;
    const char *cause = lease_cause_name(m->cause);
    json_t *j = json_object();
    json_object_set_new(j, "event", json_string(event));
    json_object_set_new(j, "state", json_string(lease_phase_name(m->phase)));
    json_object_set_new(j, "cause", cause ? json_string(cause) : json_null());
    json_object_set_new(j, "reason", json_string(u->reason ? u->reason : ""));
    if (u->aws_error) json_object_set_new(j, "aws_error", json_string(u->aws_error));
    json_object_set_new(j, "key", json_string(u->kms_key_arn));
    int64_t left_ms = m->expiry_ns ? (m->expiry_ns - clock_boottime_ns()) / NS_PER_MS : 0;
    json_object_set_new(j, "expires_in_ms", json_integer(left_ms));
    json_object_set_new(j, "boottime_ns", json_integer(clock_boottime_ns()));
    struct audit_job *a = job_new(u->k, u->region->name, u->org, "lease", j);
    /* The intent to grant was made durable before (watch.c). */
    if (lease_is_granted(m)) a->how = LEDGER_BATCHED;
    pool_submit(u->k->ledger_pool, &a->job, false);
}

bool audit_is_org(const char *org) {
    return org[0] == 'o' && strlen(org) == REGISTRY_ID_BYTES - 1 && strspn(org + 1, "0123456789abcdef") == 20;
}

/* What is told of a request: who, what, and the names in it. */
static json_t *describe_request(const json_t *message) {
    static const char *const members[] = {"name", "display_name", "arn", "api_key_name", "details"};
    const char *what = json_string_value(json_object_get(message, "action"));
    if (!what) what = json_string_value(json_object_get(message, "op"));
    const char *who = json_string_value(json_object_get(message, "actor"));
    if (!who) who = json_string_value(json_object_get(message, "created_by"));
    json_t *j = json_pack("{s:s, s:s}", "action", what ? what : "", "actor", who ? who : "operator");
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        json_t *value = json_object_get(message, members[i]);
        if (value) json_object_set(j, members[i], value);
    }
    return j;
}

struct result audit_first(struct keyring *k, struct api_call call, const json_t *message, audit_then *then) {
    const char *name = json_string_value(json_object_get(message, "region"));
    const char *org = json_string_value(json_object_get(message, "org"));
    const struct region *region = name ? keyring_find_region(k, name) : NULL;
    if (!region) return then(k, call, message); /* which refuses it, better than could be done here */
    if (!org || !audit_is_org(org)) org = LEDGER_OPERATOR;
    struct audit_job *a = job_new(k, region->name, org, "operator", describe_request(message));
    a->then = then;
    a->call = call;
    a->message = json_incref(mem_unconst(message));
    pool_submit(k->ledger_pool, &a->job, true);
    return OK;
}
