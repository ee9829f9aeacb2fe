#include "kms/key.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Checked here, so that nobody who reads them meets anything else. */
static struct result read_grants(const char *text, json_t **ret) {
    static const char *const members[] = {"id", "grantee", "issuing_account"};
    JSON_AUTO(grants);
    TRY(json_parse(slice_str(text), &grants));
    CHECK(json_is_array(grants), ERR_INVALID, "the grants are no array");
    for (size_t i = 0; i < json_array_size(grants); i++) {
        const json_t *grant = json_array_get(grants, i), *operations = json_object_get(grant, "operations");
        for (size_t m = 0; m < ARRAY_LEN(members); m++)
            CHECK(json_is_string(json_object_get(grant, members[m])), ERR_INVALID, "a grant without %s", members[m]);
        CHECK(json_array_size(operations) > 0, ERR_INVALID, "a grant without operations");
        for (size_t o = 0; o < json_array_size(operations); o++)
            CHECK(json_is_string(json_array_get(operations, o)), ERR_INVALID, "a grant's operation is no string");
    }
    *ret = TAKE(grants);
    return OK;
}

struct result kmsd_key_new(const char *region, struct kmsd_family *family, struct kmsd_state *state,
                           struct kmsd_key **ret) {
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = mem_alloc(sizeof *k);
    atomic_init(&k->references, 1);
    k->family = *family;
    k->state = *state;
    *family = (struct kmsd_family){0};
    *state = (struct kmsd_state){0};
    snprintf(k->region, sizeof k->region, "%s", region);
    const char *partition = arn_partition_of_region(slice_str(region));
    CHECK(partition != NULL, ERR_INVALID, "%s is no region of a known partition", region);
    kmsd_key_arn_in(&k->family, region, k->arn);
    TRY(kmsd_policy_parse(slice_str(k->state.policy), partition, &k->policy));
    if (k->state.grants != NULL) TRY(read_grants(k->state.grants, &k->grants));
    *ret = TAKE(k);
    return OK;
}

struct kmsd_key *kmsd_key_ref(struct kmsd_key *k) {
    atomic_fetch_add_explicit(&k->references, 1, memory_order_relaxed);
    return k;
}

struct kmsd_key *kmsd_key_unref(struct kmsd_key *k) {
    if (k == NULL || atomic_fetch_sub_explicit(&k->references, 1, memory_order_acq_rel) > 1) return NULL;
    kmsd_family_done(&k->family);
    kmsd_state_done(&k->state);
    kmsd_policy_free(k->policy);
    json_decref(k->grants);
    mem_free(k);
    return NULL;
}

void kmsd_key_arn_in(const struct kmsd_family *f, const char *region, char ret[static ARN_KMS_KEY_BYTES]) {
    const char *partition = arn_partition_of_region(slice_str(region));
    snprintf(ret, ARN_KMS_KEY_BYTES, "arn:%s:kms:%s:%s:key/%s", partition != NULL ? partition : "aws", region,
             f->account, f->id);
}

bool kmsd_key_is_primary(const struct kmsd_key *k) {
    return k->family.multi_region && strcmp(k->family.primary_region, k->region) == 0;
}

bool kmsd_key_decides(const struct kmsd_key *k) {
    return !k->family.multi_region || kmsd_key_is_primary(k);
}

const struct kmsd_material *kmsd_key_current(const struct kmsd_key *k) {
    return &k->family.materials[k->family.material_count - 1];
}

const struct kmsd_material *kmsd_key_material(const struct kmsd_key *k,
                                              const uint8_t id[static KMSD_MATERIAL_ID_BYTES]) {
    BUF_AUTO(hex, KMSD_MATERIAL_ID_CHARS + 1);
    hex_encode(slice_make(id, KMSD_MATERIAL_ID_BYTES), &hex);
    for (size_t i = 0; i < k->family.material_count; i++)
        if (strcmp(k->family.materials[i].id, buf_str(&hex)) == 0) return &k->family.materials[i];
    return NULL;
}

const char *kmsd_key_state_name(enum kmsd_key_state s) {
    switch (s) {
    case KMSD_STATE_ENABLED:
        return "Enabled";
    case KMSD_STATE_DISABLED:
        return "Disabled";
    case KMSD_STATE_CREATING:
        return "Creating";
    case KMSD_STATE_UPDATING:
        return "Updating";
    case KMSD_STATE_PENDING_DELETION:
        return "PendingDeletion";
    case KMSD_STATE_PENDING_REPLICA_DELETION:
        return "PendingReplicaDeletion";
    }
    return "Unavailable";
}

int64_t kmsd_key_next_rotation_ms(const struct kmsd_key *k, int64_t day_ms) {
    if (!k->family.rotates || k->state.pending_days > 0) return 0;
    return k->family.rotation_since_ms + (int64_t)k->family.rotation_days * day_ms;
}

static bool has_replicas(const struct kmsd_key *k) {
    return kmsd_key_is_primary(k) && k->family.related_count > 1;
}

int64_t kmsd_key_deletion_ms(const struct kmsd_key *k, int64_t day_ms) {
    if (k->state.pending_days == 0) return 0;
    if (has_replicas(k)) return 0; // also of a replica that became the primary while it waited
    if (k->state.deletion_ms > 0) return k->state.deletion_ms;
    return k->family.replicas_gone_ms + (int64_t)k->state.pending_days * day_ms;
}

enum kmsd_key_state kmsd_key_state_at(const struct kmsd_key *k, int64_t now_ms) {
    if (k->state.pending_days > 0)
        return kmsd_key_deletion_ms(k, 0) > 0 ? KMSD_STATE_PENDING_DELETION : KMSD_STATE_PENDING_REPLICA_DELETION;
    bool is_replica = k->family.multi_region && !kmsd_key_is_primary(k);
    int64_t age_ms = now_ms - k->state.created_ms;
    if (is_replica && age_ms >= 0 && age_ms < KMSD_CREATING_MS) return KMSD_STATE_CREATING;
    int64_t since_ms = now_ms - k->family.primary_since_ms;
    bool moved = kmsd_key_is_primary(k) || strcmp(k->region, k->family.former_primary) == 0;
    if (moved && k->family.former_primary[0] != '\0' && since_ms >= 0 && since_ms < KMSD_UPDATING_MS)
        return KMSD_STATE_UPDATING;
    return k->state.enabled ? KMSD_STATE_ENABLED : KMSD_STATE_DISABLED;
}

static bool all_hex(const char *text, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isxdigit((unsigned char)text[i])) return false;
    return true;
}

bool kmsd_is_multi_region_id(const char *text) {
    return strlen(text) == KMSD_KEY_ID_CHARS && strncmp(text, "mrk-", 4) == 0 && all_hex(text + 4, 32);
}

bool kmsd_is_key_id(const char *text) {
    if (kmsd_is_multi_region_id(text)) return true;
    return strlen(text) == KMSD_KEY_ID_CHARS && all_hex(text, 8) && text[8] == '-' && all_hex(text + 9, 4) &&
           text[13] == '-' && all_hex(text + 14, 4) && text[18] == '-' && all_hex(text + 19, 4) && text[23] == '-' &&
           all_hex(text + 24, 12);
}

struct result kmsd_random_hex(size_t bytes, char *ret) {
    uint8_t random[64];
    CHECK(bytes <= sizeof random, ERR_INTERNAL, "%zu random bytes asked for", bytes);
    TRY(random_bytes(random, bytes));
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes; i++) { // twice for each call that is answered: no snprintf
        ret[2 * i] = digits[random[i] >> 4];
        ret[2 * i + 1] = digits[random[i] & 15];
    }
    ret[2 * bytes] = '\0';
    return OK;
}

struct result kmsd_key_id_new(bool multi_region, char ret[static KMSD_KEY_ID_CHARS + 1]) {
    char hex[33];
    TRY(kmsd_random_hex(16, hex));
    if (multi_region) {
        snprintf(ret, KMSD_KEY_ID_CHARS + 1, "mrk-%s", hex);
        return OK;
    }
    hex[12] = '4'; // RFC 9562: version 4, variant 10
    hex[16] = "89ab"[(unsigned char)hex[16] % 4];
    snprintf(ret, KMSD_KEY_ID_CHARS + 1, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
    return OK;
}
