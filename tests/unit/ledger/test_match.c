#include "testing.h"

#include <string.h>

#include "ledger/match.h"

#define KEY "arn:aws:kms:us-west-2:111122223333:key/mrk-0123456789abcdef0123456789abcdef"
#define OTHER "arn:aws:kms:us-west-2:111122223333:key/mrk-ffffffffffffffffffffffffffffffff"

static json_t *event(const char *id, const char *name, const char *time, const char *key) {
    return json_pack("{s:s, s:s, s:s, s:s, s:{s:s, s:{s:s}}, s:[{s:s}]}", "eventSource", "kms.amazonaws.com",
                     "requestID", id, "eventName", name, "eventTime", time, "requestParameters", "keyId", key,
                     "encryptionContext", "lockset:org", "o1", "resources", "ARN", key);
}

/* What match_visit sees of a record. */
static void visit(struct match *m, const char *id, const char *name, const char *sent, const char *error) {
    JSON_AUTO(json);
    json = json_pack("{s:s, s:s, s:s, s:s, s:{s:s}}", "request_id", id, "operation", name, "sent", sent, "key", KEY,
                     "context", "lockset:org", "o1");
    if (error) json_object_set_new(json, "aws_error", json_string(error));
    struct ledger_record r = {.json = json, .kind = "kms"};
    ASSERT_OK(match_visit(m, &r));
}

#define EXPECT(report, name, wanted)                                                                                   \
    do {                                                                                                               \
        const json_t *expect_ = json_object_get(report, name);                                                         \
        size_t expect_n_ = json_is_array(expect_) ? json_array_size(expect_) : (size_t)json_integer_value(expect_);    \
        if (expect_n_ != (wanted)) fail_msg("%s: %zu, not %d", name, expect_n_, (int)(wanted));                        \
    } while (0)

static void each_side_is_told_what_only_it_has(void **state) {
    JSON_AUTO(export);
    json_t *list = json_array();
    export = json_pack("{s:o}", "Records", list);
    json_array_append_new(list, event("first", "Decrypt", "2026-11-24T08:00:00Z", KEY));
    json_array_append_new(list, event("same", "Decrypt", "2026-11-24T08:00:10Z", KEY));
    json_array_append_new(list, event("same", "Decrypt", "2026-11-24T08:00:10Z", KEY)); /* delivered again */
    json_array_append_new(list, event("theirs", "Decrypt", "2026-11-24T08:00:20Z", KEY));
    json_array_append_new(list, event("other-key", "Decrypt", "2026-11-24T08:00:21Z", OTHER));
    json_array_append_new(list, event("disable", "DisableKey", "2026-11-24T08:00:22Z", KEY));
    json_array_append_new(list, event("lost", "Encrypt", "2026-11-24T08:00:26Z", KEY));
    json_t *s3 = event("s3", "Decrypt", "2026-11-24T08:00:23Z", KEY);
    json_object_set_new(s3, "sourceIPAddress", json_string("s3.amazonaws.com"));
    json_array_append_new(list, s3);
    json_t *refused = event("refused", "Decrypt", "2026-11-24T08:00:24Z", KEY);
    json_object_set_new(refused, "errorCode", json_string("AccessDenied"));
    json_array_append_new(list, refused);
    json_t *changed = event("changed", "Decrypt", "2026-11-24T08:00:25Z", KEY);
    json_array_append_new(list, changed);
    json_array_append_new(list, json_pack("{s:s}", "eventSource", "s3.amazonaws.com"));
    json_array_append_new(list, event("late", "Decrypt", "2026-11-24T08:59:00Z", KEY));
    struct match *m;
    ASSERT_OK(match_new(export, NULL, NULL, &m));
    visit(m, "first", "Decrypt", "2026-11-24T08:00:00.100Z", NULL);
    visit(m, "same", "Decrypt", "2026-11-24T08:00:10.100Z", NULL);
    visit(m, "ours", "Decrypt", "2026-11-24T08:00:15.100Z", NULL);
    visit(m, "early", "Decrypt", "2026-11-24T07:00:15.100Z", NULL);
    visit(m, "refused", "Decrypt", "2026-11-24T08:00:24.100Z", "AccessDeniedException");
    visit(m, "changed", "Encrypt", "2026-11-24T08:00:25.100Z", "DisabledException");
    visit(m, "", "Encrypt", "2026-11-24T08:00:25.900Z", NULL);
    JSON_AUTO(report);
    report = match_report(m);
    EXPECT(report, "matched", 3);
    EXPECT(report, "duplicates", 1);
    EXPECT(report, "elsewhere", 3);
    EXPECT(report, "outside_cloudtrail", 1);
    EXPECT(report, "outside_ledger", 1);
    EXPECT(report, "unanswered", 1);
    EXPECT(report, "only_ledger", 1);
    EXPECT(report, "only_cloudtrail", 1);
    EXPECT(report, "via_s3", 1);
    EXPECT(report, "differ", 1);
    const json_t *differ = json_array_get(json_object_get(report, "differ"), 0);
    EXPECT(differ, "members", 2); /* operation, outcome */
    const char *id;
    ASSERT_OK(json_get_str(json_array_get(json_object_get(report, "only_cloudtrail"), 0), "requestID", &id));
    assert_string_equal(id, "theirs");
    ASSERT_OK(json_get_str(json_array_get(json_object_get(report, "only_ledger"), 0), "request_id", &id));
    assert_string_equal(id, "ours");
    match_free(m);
}

static void the_time_that_is_covered_can_be_said(void **state) {
    JSON_AUTO(export);
    export = json_pack("{s:[]}", "Records");
    struct match *m;
    ASSERT_OK(match_new(export, "2026-11-24T08:00:00", "2026-11-24T09:00:00", &m));
    visit(m, "in", "Decrypt", "2026-11-24T08:00:00.500Z", NULL);
    visit(m, "out", "Decrypt", "2026-11-24T09:00:01.500Z", NULL);
    JSON_AUTO(report);
    report = match_report(m);
    EXPECT(report, "only_ledger", 1);
    EXPECT(report, "outside_cloudtrail", 1);
    match_free(m);
}

static void ledger(struct match *m, const char *kind, json_t *json) {
    struct ledger_record r = {.json = json, .kind = kind};
    json_object_set_new(json, "key", json_string(KEY));
    ASSERT_OK(match_visit(m, &r));
    json_decref(json);
}

static json_t *call_of(const char *id, const char *sent, const char *outcome, const char *error) {
    return json_pack("{s:s, s:s, s:s, s:s, s:s*}", "request_id", id, "operation", "Decrypt", "sent", sent, "outcome",
                     outcome, "aws_error", error);
}

static void awss_delay_is_told_apart_from_ours(void **state) {
    JSON_AUTO(export);
    export = json_pack("{s:[o, o, o]}", "Records", event("off", "DisableKey", "2026-11-24T08:00:00Z", KEY),
                       event("allows", "PutKeyPolicy", "2026-11-24T09:00:00Z", KEY),
                       event("other", "DisableKey", "2026-11-24T08:00:00Z", OTHER));
    struct match *m;
    ASSERT_OK(match_new(export, "2026-11-24T08:00:00", "2026-11-24T10:00:00", &m));
    ledger(m, "kms", call_of("a", "2026-11-24T07:59:59.900Z", "ok", NULL));
    ledger(m, "kms", call_of("b", "2026-11-24T08:00:01.500Z", "ok", NULL)); /* AWS has not heard of it everywhere */
    ledger(m, "kms", call_of("c", "2026-11-24T08:00:02.000Z", "timeout", NULL));
    ledger(m, "kms", call_of("d", "2026-11-24T08:00:03.250Z", "disabled", "DisabledException"));
    ledger(m, "kms", call_of("e", "2026-11-24T08:00:03.300Z", "disabled", "DisabledException"));
    ledger(m, "lease", json_pack("{s:s, s:s}", "event", "ended", "at", "2026-11-24T08:00:03.340Z"));
    ledger(m, "lease", json_pack("{s:s, s:s}", "event", "ended", "at", "2026-11-24T08:03:03.340Z"));
    JSON_AUTO(report);
    report = match_report(m);
    EXPECT(report, "withdrawals", 1);
    const json_t *w = json_array_get(json_object_get(report, "withdrawals"), 0);
    EXPECT(w, "aws_ms", 3250);
    EXPECT(w, "aws_at_least_ms", 1500);
    EXPECT(w, "ours_ms", 90);
    match_free(m);
}

static void the_earlier_attempt_is_ours_too(void **state) {
    JSON_AUTO(export);
    export = json_pack("{s:[o, o]}", "Records", event("one", "Decrypt", "2026-11-24T08:00:00Z", KEY),
                       event("two", "Decrypt", "2026-11-24T08:00:01Z", KEY));
    json_object_set_new(json_array_get(json_object_get(export, "Records"), 0), "errorCode",
                        json_string("KMSInternalException"));
    struct match *m;
    ASSERT_OK(match_new(export, NULL, NULL, &m));
    JSON_AUTO(json);
    json =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:{s:s}}", "request_id", "two", "earlier_request_id", "one", "operation",
                  "Decrypt", "sent", "2026-11-24T08:00:01.000Z", "key", KEY, "context", "lockset:org", "o1");
    struct ledger_record r = {.json = json, .kind = "kms"};
    ASSERT_OK(match_visit(m, &r));
    JSON_AUTO(report);
    report = match_report(m);
    EXPECT(report, "matched", 2);
    EXPECT(report, "only_cloudtrail", 0);
    EXPECT(report, "differ", 0);
    match_free(m);
}

static void what_is_no_export_is_refused(void **state) {
    static const char *const bad[] = {
        "{}", "{\"Records\":{}}", "{\"Records\":[1]}", "{\"Records\":[{\"eventSource\":\"kms.amazonaws.com\"}]}",
        "{\"Records\":[{\"eventSource\":\"kms.amazonaws.com\",\"requestID\":\"x\",\"eventTime\":\"yesterday\"}]}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        JSON_AUTO(export);
        ASSERT_OK(json_parse_object(slice_str(bad[i]), &export));
        struct match *m;
        ASSERT_ERR(INVALID, match_new(export, NULL, NULL, &m));
    }
    JSON_AUTO(good);
    ASSERT_OK(json_parse_object(slice_str("{\"Records\":[]}"), &good));
    struct match *m;
    ASSERT_ERR(INVALID, match_new(good, "8 o'clock", NULL, &m));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(each_side_is_told_what_only_it_has), cmocka_unit_test(the_time_that_is_covered_can_be_said),
    cmocka_unit_test(awss_delay_is_told_apart_from_ours), cmocka_unit_test(the_earlier_attempt_is_ours_too),
    cmocka_unit_test(what_is_no_export_is_refused),
};
TEST_MAIN(tests)
