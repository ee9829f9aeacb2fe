/* Rotation: a key's material changes, the key doesn't. Old material stays, so that what was encrypted under it can be
 * read. Of a Multi-Region key only the primary rotates, for all regions at once.
 * Source: https://docs.aws.amazon.com/kms/latest/developerguide/rotate-keys.html */
#include <string.h>

#include "kms/operations.h"

enum { KEY_ID_MAX = 2048, DEFAULT_DAYS = 365, ON_DEMAND_MAX = 25, CLOSE_TO_DUE = 72 };

static struct result find(struct kmsd_call *c, unsigned flags, const char **ret_name, struct kmsd_key **ret) {
    TRY(kmsd_get_str(c, "KeyId", 1, KEY_ID_MAX, ret_name));
    return kmsd_find_authorized(c, *ret_name, flags, NULL, ret);
}

/* A symmetric key that is in use, in the region that decides about it. */
static struct result check_rotatable(struct kmsd_call *c, const struct kmsd_key *k) {
    if (!kmsd_kind_is_symmetric(k->family.kind)) REFUSE(c, UNSUPPORTED_OPERATION, NULL);
    TRY(kmsd_check_enabled(c, k));
    if (!kmsd_key_decides(k)) REFUSE(c, UNSUPPORTED_OPERATION, "%s is not a multi-region primary key.", k->arn);
    return OK;
}

struct setting {
    struct kmsd_call *call;
    bool on;
    unsigned days;
};

static struct result edit_setting(struct kmsd_store *s, const struct kmsd_key *key, struct kmsd_family *draft,
                                  void *arg) {
    const struct setting *wanted = arg;
    TRY(check_rotatable(wanted->call, key));
    if (wanted->on && !draft->rotates) draft->rotation_since_ms = wanted->call->now_ms;
    draft->rotates = wanted->on;
    draft->rotation_days = wanted->on ? wanted->days : 0;
    return OK;
}

struct result kmsd_enable_key_rotation(struct kmsd_call *c) {
    int64_t days = DEFAULT_DAYS;
    bool given = false;
    const char *name = NULL;
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(kmsd_opt_int(c, "RotationPeriodInDays", KMSD_MIN_ROTATION_DAYS, KMSD_MAX_ROTATION_DAYS, &days, &given));
    TRY(find(c, 0, &name, &k));
    struct setting wanted = {c, true, (unsigned)days};
    return kmsd_change_family(c, k, edit_setting, &wanted);
}

struct result kmsd_disable_key_rotation(struct kmsd_call *c) {
    const char *name = NULL;
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(find(c, 0, &name, &k));
    struct setting wanted = {c, false, 0};
    return kmsd_change_family(c, k, edit_setting, &wanted);
}

struct result kmsd_get_key_rotation_status(struct kmsd_call *c) {
    const char *name = NULL;
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(find(c, KMSD_CROSS_ACCOUNT, &name, &k));
    int64_t next_ms = kmsd_key_next_rotation_ms(k, kmsd_store_day_ms(c->store));
    c->output = json_pack("{s:s, s:b}", "KeyId", name, "KeyRotationEnabled", next_ms > 0);
    if (next_ms == 0) return OK;
    json_object_set_new(c->output, "RotationPeriodInDays", json_integer(k->family.rotation_days));
    json_object_set_new(c->output, "NextRotationDate", json_real((double)next_ms / 1000.0));
    return OK;
}

static size_t on_demand_count(const struct kmsd_family *f) {
    size_t count = 0;
    for (size_t i = 0; i < f->material_count; i++)
        count += f->materials[i].rotation == KMSD_ROTATION_ON_DEMAND;
    return count;
}

static struct result edit_rotate(struct kmsd_store *s, const struct kmsd_key *key, struct kmsd_family *draft,
                                 void *arg) {
    struct kmsd_call *c = arg;
    TRY(check_rotatable(c, key));
    if (on_demand_count(draft) >= ON_DEMAND_MAX)
        REFUSE(c, LIMIT_EXCEEDED,
               "The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be "
               "performed for this key: %s",
               key->arn);
    // AWS: not within 20 minutes of an automatic rotation; a 72nd of a day, whatever a day lasts here
    int64_t day_ms = kmsd_store_day_ms(s), next_ms = kmsd_key_next_rotation_ms(key, day_ms);
    if (next_ms > 0 && next_ms - c->now_ms <= day_ms / CLOSE_TO_DUE)
        REFUSE(c, CONFLICT, "%s is about to be rotated automatically.", key->arn);
    return kmsd_store_add_material(s, draft, KMSD_ROTATION_ON_DEMAND, c->now_ms);
}

struct result kmsd_rotate_key_on_demand(struct kmsd_call *c) {
    const char *name = NULL;
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(find(c, 0, &name, &k));
    TRY(kmsd_change_family(c, k, edit_rotate, c));
    c->output = json_pack("{s:s}", "KeyId", k->arn);
    return OK;
}

static json_t *rotation_entry(const struct kmsd_family *f, size_t at) {
    const struct kmsd_material *m = &f->materials[at];
    json_t *entry = json_pack("{s:s, s:s, s:s}", "KeyId", f->id, "KeyMaterialId", m->id, "KeyMaterialState",
                              at + 1 == f->material_count ? "CURRENT" : "NON_CURRENT");
    if (m->rotation == KMSD_ROTATION_NONE) return entry;
    json_object_set_new(entry, "RotationDate", json_real((double)m->created_ms / 1000.0));
    json_object_set_new(entry, "RotationType",
                        json_string(m->rotation == KMSD_ROTATION_AUTOMATIC ? "AUTOMATIC" : "ON_DEMAND"));
    return entry;
}

/* A marker is the id of the last material handed out. */
static struct result find_marker(struct kmsd_call *c, const struct kmsd_family *f, const char *marker, size_t *ret) {
    for (size_t i = 0; i < f->material_count; i++)
        if (strcmp(f->materials[i].id, marker) == 0) {
            *ret = i + 1;
            return OK;
        }
    REFUSE(c, INVALID_MARKER, NULL);
}

struct result kmsd_list_key_rotations(struct kmsd_call *c) {
    static const char *const includes[] = {"ROTATIONS_ONLY", "ALL_KEY_MATERIAL", NULL};
    const char *name = NULL, *include = includes[0];
    struct kmsd_page page = {.limit = 100};
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(kmsd_opt_enum(c, "IncludeKeyMaterial", includes, &include));
    TRY(kmsd_read_page(c, 1000, &page));
    TRY(find(c, 0, &name, &k));
    if (!kmsd_kind_is_symmetric(k->family.kind)) REFUSE(c, UNSUPPORTED_OPERATION, NULL);
    const struct kmsd_family *f = &k->family;
    size_t at = 0;
    if (page.marker[0] != '\0') TRY(find_marker(c, f, page.marker, &at));
    json_t *list = json_array();
    bool more = false;
    for (; at < f->material_count && !more; at++) {
        if (include == includes[0] && f->materials[at].rotation == KMSD_ROTATION_NONE) continue;
        if (json_array_size(list) == page.limit)
            more = true;
        else
            json_array_append_new(list, rotation_entry(f, at));
    }
    const json_t *last = json_array_get(list, page.limit - 1);
    kmsd_answer_page(c, "Rotations", list, more ? json_string_value(json_object_get(last, "KeyMaterialId")) : NULL);
    return OK;
}
