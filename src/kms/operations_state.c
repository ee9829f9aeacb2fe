/* What a region decides about a key: enabled, deletion, policy. Preconditions are checked again on the key as it is
 * when the change is made. */
#include <string.h>

#include "kms/operations.h"

enum { KEY_ID_MAX = 2048, POLICY_MAX = 131072 };

static struct result find(struct kmsd_call *c, struct kmsd_key **ret) {
    const char *key_id = NULL;
    TRY(kmsd_get_str(c, "KeyId", 1, KEY_ID_MAX, &key_id));
    return kmsd_find_authorized(c, key_id, 0, NULL, ret);
}

static struct result edit_enabled(const struct kmsd_key *key, struct kmsd_state *draft, void *arg) {
    struct kmsd_call *c = arg;
    TRY(kmsd_check_not_transient(c, key));
    draft->enabled = strcmp(c->operation, "EnableKey") == 0;
    return OK;
}

struct result kmsd_enable_key(struct kmsd_call *c) {
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(find(c, &k));
    return kmsd_change_state(c, k, edit_enabled, c, NULL);
}

struct result kmsd_disable_key(struct kmsd_call *c) {
    return kmsd_enable_key(c);
}

struct schedule {
    struct kmsd_call *call;
    unsigned days;
};

static struct result edit_schedule(const struct kmsd_key *key, struct kmsd_state *draft, void *arg) {
    struct schedule *s = arg;
    enum kmsd_key_state state = kmsd_key_state_at(key, s->call->now_ms);
    if (key->state.pending_days > 0 || state == KMSD_STATE_UPDATING) return kmsd_refuse_state(s->call, key);
    bool waits_for_replicas = kmsd_key_is_primary(key) && key->family.related_count > 1;
    draft->pending_days = s->days;
    draft->deletion_ms = waits_for_replicas ? 0 : s->call->now_ms + s->days * kmsd_store_day_ms(s->call->store);
    return OK;
}

struct result kmsd_schedule_key_deletion(struct kmsd_call *c) {
    int64_t days = 30;
    bool given = false;
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL, *now = NULL;
    TRY(kmsd_opt_int(c, "PendingWindowInDays", 7, 30, &days, &given));
    TRY(find(c, &k));
    struct schedule s = {c, (unsigned)days};
    TRY(kmsd_change_state(c, k, edit_schedule, &s, &now));
    c->output =
        json_pack("{s:s, s:s, s:I}", "KeyId", now->arn, "KeyState",
                  kmsd_key_state_name(kmsd_key_state_at(now, c->now_ms)), "PendingWindowInDays", (json_int_t)days);
    int64_t deletion_ms = kmsd_key_deletion_ms(now, kmsd_store_day_ms(c->store));
    if (deletion_ms > 0) json_object_set_new(c->output, "DeletionDate", json_real((double)deletion_ms / 1000.0));
    return OK;
}

static struct result edit_cancel(const struct kmsd_key *key, struct kmsd_state *draft, void *arg) {
    struct kmsd_call *c = arg;
    if (key->state.pending_days == 0) REFUSE(c, INVALID_STATE, "%s is not pending deletion.", key->arn);
    draft->pending_days = 0;
    draft->deletion_ms = 0;
    draft->enabled = false;
    return OK;
}

struct result kmsd_cancel_key_deletion(struct kmsd_call *c) {
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(find(c, &k));
    TRY(kmsd_change_state(c, k, edit_cancel, c, NULL));
    c->output = json_pack("{s:s}", "KeyId", k->arn);
    return OK;
}

static struct result check_policy_name(struct kmsd_call *c) {
    const char *name = "default";
    TRY(kmsd_opt_str(c, "PolicyName", 1, 128, &name));
    if (strcmp(name, "default") != 0) REFUSE(c, NOT_FOUND, "No such policy exists");
    return OK;
}

static struct result edit_policy(const struct kmsd_key *key, struct kmsd_state *draft, void *arg) {
    mem_free(draft->policy);
    draft->policy = str_dup(arg);
    return OK;
}

struct result kmsd_put_key_policy(struct kmsd_call *c) {
    const char *policy = NULL;
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(kmsd_get_str(c, "Policy", 1, POLICY_MAX, &policy));
    TRY(find(c, &k));
    TRY(check_policy_name(c));
    TRY(kmsd_check_policy(c, policy, k->arn, k->region));
    AUTO_FREE char *copy = str_dup(policy);
    return kmsd_change_state(c, k, edit_policy, copy, NULL);
}

struct result kmsd_get_key_policy(struct kmsd_call *c) {
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(find(c, &k));
    TRY(check_policy_name(c));
    c->output = json_pack("{s:s, s:s}", "Policy", k->state.policy, "PolicyName", "default");
    return OK;
}

struct result kmsd_list_key_policies(struct kmsd_call *c) {
    struct kmsd_page page = {.limit = 100};
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(kmsd_read_page(c, 1000, &page));
    if (page.marker[0] != '\0') REFUSE(c, INVALID_MARKER, NULL); // one name: there never is another page
    TRY(find(c, &k));
    kmsd_answer_page(c, "PolicyNames", json_pack("[s]", "default"), NULL);
    return OK;
}
