/* GetKeyLastUsage: when a key was last used in this region, and what for. Only what succeeds counts, so a DryRun
 * doesn't. Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_GetKeyLastUsage.html,
 * https://docs.aws.amazon.com/kms/latest/APIReference/API_KeyLastUsageData.html */
#include <stdio.h>

#include "kms/operations_crypto.h"

struct result kmsd_note_use(struct kmsd_call *c, const struct kmsd_key *k, const char *operation) {
    // no sooner than the key is old, whatever the clock says: older uses don't count
    struct kmsd_use use = {.at_ms = c->now_ms > k->state.created_ms ? c->now_ms : k->state.created_ms};
    snprintf(use.key_id, sizeof use.key_id, "%s", k->family.id);
    snprintf(use.operation, sizeof use.operation, "%s", operation);
    snprintf(use.request_id, sizeof use.request_id, "%s", c->request_id != NULL ? c->request_id : "");
    TRY(kmsd_key_id_new(false, use.event_id));
    kmsd_usage_note(kmsd_store_usage(c->store), &use);
    return OK;
}

static json_t *usage_data(const struct kmsd_use *use) {
    json_t *data = json_pack("{s:s, s:f, s:s}", "Operation", use->operation, "Timestamp", (double)use->at_ms / 1000.0,
                             "CloudTrailEventId", use->event_id);
    if (use->request_id[0] != '\0') json_object_set_new(data, "KmsRequestId", json_string(use->request_id));
    return data;
}

struct result kmsd_get_key_last_usage(struct kmsd_call *c) {
    const char *key_id = NULL;
    struct kmsd_use use = {0};
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(kmsd_get_str(c, "KeyId", 1, KMSD_KEY_ID_MAX, &key_id));
    TRY(kmsd_find_authorized(c, key_id, 0, NULL, &k));
    struct kmsd_usage *usage = kmsd_store_usage(c->store);
    int64_t created_ms = k->state.created_ms, since_ms = kmsd_usage_since_ms(usage);
    c->output = json_pack("{s:s, s:f, s:f}", "KeyId", k->family.id, "KeyCreationDate", (double)created_ms / 1000.0,
                          "TrackingStartDate", (double)(since_ms > created_ms ? since_ms : created_ms) / 1000.0);
    // an older use is that of a replica which was deleted and made anew
    if (kmsd_usage_find(usage, k->family.id, &use) && use.at_ms >= created_ms)
        json_object_set_new(c->output, "KeyLastUsage", usage_data(&use));
    return OK;
}
