#include "ledger/match.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { SECOND_CHARS = 19, UNANSWERED_SLACK_S = 10, WITHDRAWAL_S = 300 };

struct match {
    const json_t *export;
    char from[SECOND_CHARS + 1], to[SECOND_CHARS + 1]; /* of the export */
    bool is_exact;                                     /* given, not guessed from the events */
    char ledger_from[SECOND_CHARS + 1], ledger_to[SECOND_CHARS + 1];
    json_t *events;      /* request id -> event, of KMS */
    json_t *keys;        /* ARN -> true: the ledger's */
    json_t *unanswered;  /* records without a request id */
    json_t *withdrawals; /* {"event",...} of what may take a key away, by its owner */
    json_t *report;
};

static const char *text_of(const json_t *object, const char *name) {
    const char *s = json_string_value(json_object_get(object, name));
    return s ? s : "";
}

static void count(struct match *m, const char *name) {
    json_t *n = json_object_get(m->report, name);
    json_integer_set(n, json_integer_value(n) + 1);
}

static void list(struct match *m, const char *name, json_t *item) {
    json_array_append(json_object_get(m->report, name), item);
}

static bool parse_time(const char *text, int64_t *ret) {
    struct tm t = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &t);
    if (!end || end - text != SECOND_CHARS) return false;
    *ret = timegm(&t);
    return true;
}

static void set_second(char to[static SECOND_CHARS + 1], const char *time) {
    snprintf(to, SECOND_CHARS + 1, "%s", time);
}

static void widen(char from[static SECOND_CHARS + 1], char to[static SECOND_CHARS + 1], const char *time) {
    char second[SECOND_CHARS + 1];
    set_second(second, time);
    if (!from[0] || strcmp(second, from) < 0) set_second(from, second);
    if (!to[0] || strcmp(second, to) > 0) set_second(to, second);
}

/* What an owner does to a key that KMS refuses it for, some time later. */
static bool is_withdrawal(const json_t *event) {
    static const char *const names[] = {"DisableKey",  "PutKeyPolicy", "ScheduleKeyDeletion",
                                        "RevokeGrant", "RetireGrant",  "DeleteImportedKeyMaterial"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(text_of(event, "eventName"), names[i]) == 0) return !*text_of(event, "errorCode");
    return false;
}

static struct result take_event(struct match *m, json_t *event, size_t place) {
    CHECK(json_is_object(event), ERR_INVALID, "event %zu of the export is no object", place + 1);
    if (strcmp(text_of(event, "eventSource"), "kms.amazonaws.com") != 0) {
        count(m, "elsewhere");
        return OK;
    }
    const char *id = text_of(event, "requestID"), *time = text_of(event, "eventTime");
    int64_t seconds;
    CHECK(*id, ERR_INVALID, "event %zu of the export has no requestID", place + 1);
    CHECK(parse_time(time, &seconds), ERR_INVALID, "event %zu of the export has no eventTime", place + 1);
    if (!m->is_exact) widen(m->from, m->to, time);
    if (json_object_get(m->events, id)) {
        count(m, "duplicates");
        return OK;
    }
    json_object_set(m->events, id, event);
    if (is_withdrawal(event)) json_array_append_new(m->withdrawals, json_pack("{s:O}", "event", event));
    return OK;
}

struct result match_new(const json_t *export, const char *from, const char *to, struct match **ret) {
    struct match *m = mem_alloc(sizeof *m);
    m->export = export;
    m->events = json_object();
    m->keys = json_object();
    m->unanswered = json_array();
    m->withdrawals = json_array();
    m->report = json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:[], s:[], s:[], s:[], s:[]}", "matched", 0, "duplicates", 0,
                          "elsewhere", 0, "outside_ledger", 0, "outside_cloudtrail", 0, "unanswered", 0, "only_ledger",
                          "only_cloudtrail", "via_s3", "differ", "withdrawals");
    m->is_exact = from || to;
    int64_t seconds;
    struct result r = OK;
    if ((from && !parse_time(from, &seconds)) || (to && !parse_time(to, &seconds)))
        r = err_make(ERR_INVALID, "a time is written 2026-11-24T08:00:00 (UTC)");
    set_second(m->from, from ? from : m->is_exact ? "0000" : "");
    set_second(m->to, to ? to : m->is_exact ? "9999" : "");
    const json_t *records = json_object_get(export, "Records");
    if (is_ok(r) && !json_is_array(records)) r = err_make(ERR_INVALID, "the export has no list \"Records\"");
    for (size_t i = 0; is_ok(r) && i < json_array_size(records); i++)
        r = take_event(m, json_array_get(records, i), i);
    if (is_err(r)) {
        match_free(m);
        return r;
    }
    *ret = m;
    return OK;
}

void match_free(struct match *m) {
    if (!m) return;
    json_decref(m->events);
    json_decref(m->keys);
    json_decref(m->unanswered);
    json_decref(m->withdrawals);
    json_decref(m->report);
    mem_free(m);
}

/* ---- The ledger's side ---- */

/* Does the event say that it was done with this key? The ARN stands among the resources, or is what was asked for. */
static bool is_of_key(const json_t *event, const char *arn) {
    const json_t *resources = json_object_get(event, "resources");
    for (size_t i = 0; i < json_array_size(resources); i++)
        if (strcmp(text_of(json_array_get(resources, i), "ARN"), arn) == 0) return true;
    return strcmp(text_of(json_object_get(event, "requestParameters"), "keyId"), arn) == 0;
}

/* CloudTrail leaves "Exception" away from some codes, and writes AccessDenied for AccessDeniedException. */
static bool is_same_error(const char *ours, const char *theirs) {
    size_t a = strlen(ours), b = strlen(theirs);
    static const char suffix[] = "Exception";
    if (a > sizeof suffix - 1 && strcmp(ours + a - (sizeof suffix - 1), suffix) == 0) a -= sizeof suffix - 1;
    if (b > sizeof suffix - 1 && strcmp(theirs + b - (sizeof suffix - 1), suffix) == 0) b -= sizeof suffix - 1;
    return a == b && strncmp(ours, theirs, a) == 0;
}

static void compare(struct match *m, const json_t *record, json_t *event, bool is_earlier) {
    JSON_AUTO(members);
    members = json_array();
    if (strcmp(text_of(record, "operation"), text_of(event, "eventName")) != 0)
        json_array_append_new(members, json_string("operation"));
    /* A refusal may leave the key out, not name another one. */
    bool names_key = json_array_size(json_object_get(event, "resources")) > 0 ||
                     json_is_string(json_object_get(json_object_get(event, "requestParameters"), "keyId"));
    if (names_key && !is_of_key(event, text_of(record, "key"))) json_array_append_new(members, json_string("key"));
    /* Of an attempt that was repeated only the request id was kept. */
    if (!is_earlier && !is_same_error(text_of(record, "aws_error"), text_of(event, "errorCode")))
        json_array_append_new(members, json_string("outcome"));
    const json_t *theirs = json_object_get(json_object_get(event, "requestParameters"), "encryptionContext");
    const json_t *ours = json_object_get(record, "context");
    if (json_is_object(theirs) && !json_equal(ours, theirs)) json_array_append_new(members, json_string("context"));
    if (json_array_size(members) == 0) {
        count(m, "matched");
        return;
    }
    json_array_append_new(json_object_get(m->report, "differ"),
                          json_pack("{s:O, s:O, s:O}", "record", record, "event", event, "members", members));
}

static bool take_match(struct match *m, const json_t *record, const char *id, bool is_earlier) {
    json_t *event = json_object_get(m->events, id);
    if (!event) return false;
    compare(m, record, event, is_earlier);
    json_object_del(m->events, id);
    return true;
}

/* ---- Withdrawals ---- */

/* Milliseconds since 1970 of "2026-11-24T08:00:00Z" or "...00.123Z"; 0 if it is no time. */
static int64_t ms_of(const char *text) {
    char second[SECOND_CHARS + 1];
    set_second(second, text);
    int64_t seconds;
    if (!parse_time(second, &seconds)) return 0;
    unsigned ms = 0;
    if (text[SECOND_CHARS] == '.') (void)!sscanf(text + SECOND_CHARS + 1, "%3u", &ms);
    return seconds * 1000 + ms;
}

static bool is_refusal(const json_t *record) {
    const char *state = text_of(record, "key_state"), *error = text_of(record, "aws_error");
    if (*state) return strcmp(state, "Enabled") != 0;
    return strncmp(error, "AccessDenied", 12) == 0 || strncmp(error, "Disabled", 8) == 0 ||
           strncmp(error, "KMSInvalidState", 15) == 0 || strncmp(error, "NotFound", 8) == 0;
}

static bool is_good(const json_t *record) {
    return strcmp(text_of(record, "outcome"), "ok") == 0 && !is_refusal(record);
}

/* The calls of a ledger come in their order, and so what follows from each withdrawal is seen in its order, too. */
static void follow(struct match *m, const struct ledger_record *r) {
    bool is_call = strcmp(r->kind, "kms") == 0;
    bool is_end = strcmp(r->kind, "lease") == 0 && strcmp(text_of(r->json, "event"), "ended") == 0;
    if (!is_call && !is_end) return;
    const char *at = text_of(r->json, is_call ? "sent" : "at"), *key = text_of(r->json, "key");
    size_t i;
    json_t *w;
    json_array_foreach(m->withdrawals, i, w) {
        const json_t *event = json_object_get(w, "event");
        int64_t after_ms = ms_of(at) - ms_of(text_of(event, "eventTime"));
        if (after_ms < 0 || after_ms > WITHDRAWAL_S * 1000 || !is_of_key(event, key)) continue;
        bool is_refused = json_object_get(w, "first_refusal") != NULL;
        if (is_call && !is_refused && is_refusal(r->json))
            json_object_set_new(w, "first_refusal", json_string(at));
        else if (is_call && !is_refused && is_good(r->json))
            json_object_set_new(w, "last_good", json_string(at));
        else if (is_end && is_refused && !json_object_get(w, "lease_ended"))
            json_object_set_new(w, "lease_ended", json_string(at));
    }
}

static void report_withdrawals(struct match *m) {
    size_t i;
    json_t *w;
    json_array_foreach(m->withdrawals, i, w) {
        int64_t begun = ms_of(text_of(json_object_get(w, "event"), "eventTime"));
        int64_t good = ms_of(text_of(w, "last_good")), refused = ms_of(text_of(w, "first_refusal"));
        int64_t ended = ms_of(text_of(w, "lease_ended"));
        if (!refused) continue; /* a policy that still allows it, say */
        json_object_set_new(w, "aws_ms", json_integer(refused - begun));
        json_object_set_new(w, "aws_at_least_ms", json_integer(good ? good - begun : 0));
        json_object_set_new(w, "ours_ms", ended ? json_integer(ended - refused) : json_null());
        list(m, "withdrawals", w);
    }
}

/* ---- Calls ---- */

struct result match_visit(void *context, const struct ledger_record *r) {
    struct match *m = context;
    follow(m, r);
    if (strcmp(r->kind, "kms") != 0) return OK;
    const char *sent, *key, *id = "", *earlier = "";
    TRY(json_get_str(r->json, "sent", &sent));
    TRY(json_get_str(r->json, "key", &key));
    TRY(json_opt_str(r->json, "request_id", &id));
    TRY(json_opt_str(r->json, "earlier_request_id", &earlier));
    char second[SECOND_CHARS + 1];
    set_second(second, sent);
    widen(m->ledger_from, m->ledger_to, sent);
    json_object_set_new(m->keys, key, json_true());
    if (*earlier) take_match(m, r->json, earlier, true); /* AWS records not every attempt that it turns away */
    if (!*id) {
        json_array_append(m->unanswered, r->json);
        return OK;
    }
    if (take_match(m, r->json, id, false)) return OK;
    int from = strcmp(second, m->from), to = strcmp(second, m->to);
    bool is_covered = m->is_exact ? from >= 0 && to <= 0 : from > 0 && to < 0;
    if (is_covered)
        list(m, "only_ledger", r->json);
    else
        count(m, "outside_cloudtrail");
    return OK;
}

/* ---- CloudTrail's side: what no record matched ---- */

static bool is_known_key(const struct match *m, const json_t *event) {
    const char *arn;
    const json_t *value;
    json_object_foreach(m->keys, arn, value) if (is_of_key(event, arn)) return true;
    return false;
}

static bool is_lockset_operation(const char *name) {
    static const char *const names[] = {"DescribeKey", "Encrypt", "Decrypt", "GenerateDataKey",
                                        "GenerateDataKeyWithoutPlaintext"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

static bool is_via_s3(const json_t *event) {
    const char *by = text_of(json_object_get(event, "userIdentity"), "invokedBy");
    return strcmp(by, "s3.amazonaws.com") == 0 || strcmp(text_of(event, "sourceIPAddress"), "s3.amazonaws.com") == 0;
}

/* A call that was sent and never answered has no request id here, and may have one there. */
static bool take_unanswered(struct match *m, const json_t *event) {
    int64_t at = 0, sent = 0;
    parse_time(text_of(event, "eventTime"), &at);
    for (size_t i = 0; i < json_array_size(m->unanswered); i++) {
        const json_t *record = json_array_get(m->unanswered, i);
        char second[SECOND_CHARS + 1];
        set_second(second, text_of(record, "sent"));
        if (!parse_time(second, &sent) || at < sent - UNANSWERED_SLACK_S || at > sent + UNANSWERED_SLACK_S) continue;
        if (strcmp(text_of(record, "operation"), text_of(event, "eventName")) != 0) continue;
        if (!is_of_key(event, text_of(record, "key"))) continue;
        json_array_remove(m->unanswered, i);
        return true;
    }
    return false;
}

json_t *match_report(struct match *m) {
    const char *id;
    json_t *event;
    json_object_foreach(m->events, id, event) {
        char second[SECOND_CHARS + 1];
        const char *time = text_of(event, "eventTime");
        set_second(second, time);
        bool is_outside = !m->ledger_from[0] || strcmp(second, m->ledger_from) < 0 || strcmp(second, m->ledger_to) > 0;
        if (!is_known_key(m, event))
            count(m, "elsewhere");
        else if (is_via_s3(event))
            list(m, "via_s3", event);
        else if (!is_lockset_operation(text_of(event, "eventName")))
            count(m, "elsewhere");
        else if (take_unanswered(m, event))
            count(m, "unanswered");
        else if (is_outside)
            count(m, "outside_ledger");
        else
            list(m, "only_cloudtrail", event);
    }
    json_object_clear(m->events);
    report_withdrawals(m);
    return json_incref(m->report);
}
