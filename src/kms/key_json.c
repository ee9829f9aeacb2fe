/* Keys as they stand in files. Fields are checked on reading: a damaged file is refused by name, never half used. */
#include <stdio.h>
#include <string.h>

#include "kms/key.h"

void kmsd_state_done(struct kmsd_state *s) {
    mem_free(s->description);
    mem_free(s->policy);
    mem_free(s->tags);
    mem_free(s->grants);
    *s = (struct kmsd_state){0};
}

void kmsd_state_copy(const struct kmsd_state *from, struct kmsd_state *to) {
    *to = *from;
    to->description = str_dup(from->description);
    to->policy = str_dup(from->policy);
    to->tags = str_dup(from->tags);
    to->grants = from->grants != NULL ? str_dup(from->grants) : NULL;
}

json_t *kmsd_state_to_json(const struct kmsd_state *s) {
    return json_pack("{s:s, s:I, s:s, s:s, s:s, s:s*, s:b, s:I, s:I}", "generation", s->generation, "created_ms",
                     (json_int_t)s->created_ms, "description", s->description, "policy", s->policy, "tags", s->tags,
                     "grants", s->grants, "enabled", s->enabled, "pending_days", (json_int_t)s->pending_days,
                     "deletion_ms", (json_int_t)s->deletion_ms);
}

static struct result copy_text(const json_t *j, const char *name, char *to, size_t size) {
    const char *text = NULL;
    TRY(json_get_str(j, name, &text));
    CHECK(strlen(text) < size, ERR_INVALID, "'%s' is too long", name);
    snprintf(to, size, "%s", text);
    return OK;
}

static struct result dup_text(const json_t *j, const char *name, char **ret) {
    const char *text = NULL;
    TRY(json_get_str(j, name, &text));
    *ret = str_dup(text);
    return OK;
}

struct result kmsd_state_from_json(const json_t *j, struct kmsd_state *ret) {
    AUTO(kmsd_state_done) struct kmsd_state s = {0};
    int64_t days = 0;
    TRY(copy_text(j, "generation", s.generation, sizeof s.generation));
    TRY(json_get_int(j, "created_ms", 0, INT64_MAX, &s.created_ms));
    TRY(dup_text(j, "description", &s.description));
    TRY(dup_text(j, "policy", &s.policy));
    TRY(dup_text(j, "tags", &s.tags));
    if (json_object_get(j, "grants") != NULL) TRY(dup_text(j, "grants", &s.grants));
    TRY(json_get_int(j, "pending_days", 0, 30, &days));
    TRY(json_get_int(j, "deletion_ms", 0, INT64_MAX, &s.deletion_ms));
    const json_t *enabled = json_object_get(j, "enabled");
    CHECK(json_is_boolean(enabled), ERR_INVALID, "'enabled' must be a boolean");
    s.enabled = json_is_true(enabled);
    s.pending_days = (unsigned)days;
    *ret = s;
    s = (struct kmsd_state){0};
    return OK;
}

void kmsd_family_done(struct kmsd_family *f) {
    for (size_t i = 0; i < f->related_count; i++)
        kmsd_state_done(&f->related[i].initial);
    mem_free(f->related);
    mem_free(f->materials);
    *f = (struct kmsd_family){0};
}

void kmsd_family_copy(const struct kmsd_family *from, struct kmsd_family *to) {
    *to = *from;
    to->related = mem_alloc_array(from->related_count, sizeof *to->related);
    for (size_t i = 0; i < from->related_count; i++) {
        to->related[i] = from->related[i];
        kmsd_state_copy(&from->related[i].initial, &to->related[i].initial);
    }
    to->materials = mem_dup(from->materials, from->material_count * sizeof *from->materials);
}

static const char *const rotation_names[] = {"NONE", "AUTOMATIC", "ON_DEMAND"};

static struct result rotation_from_json(const json_t *j, enum kmsd_rotation *ret) {
    const char *name = rotation_names[0];
    TRY(json_opt_str(j, "rotation", &name)); // files of before there was rotation have none
    for (size_t i = 0; i < ARRAY_LEN(rotation_names); i++)
        if (strcmp(rotation_names[i], name) == 0) {
            *ret = (enum kmsd_rotation)i;
            return OK;
        }
    FAIL(ERR_INVALID, "'rotation' is '%.32s'", name);
}

json_t *kmsd_family_to_json(const struct kmsd_family *f) {
    json_t *materials = json_array(), *related = json_array();
    for (size_t i = 0; i < f->material_count; i++) {
        BUF_AUTO(wrapped, 4 * KMSD_WRAPPED_BYTES);
        base64_encode(slice_make(f->materials[i].wrapped, KMSD_WRAPPED_BYTES), &wrapped);
        json_array_append_new(materials,
                              json_pack("{s:s, s:I, s:s, s:s}", "id", f->materials[i].id, "created_ms",
                                        (json_int_t)f->materials[i].created_ms, "rotation",
                                        rotation_names[f->materials[i].rotation], "wrapped", buf_str(&wrapped)));
    }
    for (size_t i = 0; i < f->related_count; i++)
        json_array_append_new(related, json_pack("{s:s, s:o}", "region", f->related[i].region, "initial",
                                                 kmsd_state_to_json(&f->related[i].initial)));
    return json_pack("{s:s, s:s, s:s, s:s, s:b, s:s, s:o, s:I, s:b, s:I, s:I, s:s, s:I, s:o}", "id", f->id, "account",
                     f->account, "spec", f->kind->spec, "usage", f->kind->usage, "multi_region", f->multi_region,
                     "primary_region", f->primary_region, "related", related, "replicas_gone_ms",
                     (json_int_t)f->replicas_gone_ms, "rotates", f->rotates, "rotation_days",
                     (json_int_t)f->rotation_days, "rotation_since_ms", (json_int_t)f->rotation_since_ms,
                     "former_primary", f->former_primary, "primary_since_ms", (json_int_t)f->primary_since_ms,
                     "materials", materials);
}

static struct result material_from_json(const json_t *j, struct kmsd_material *ret) {
    const char *wrapped = NULL;
    TRY(copy_text(j, "id", ret->id, sizeof ret->id));
    TRY(json_get_int(j, "created_ms", 0, INT64_MAX, &ret->created_ms));
    TRY(json_get_str(j, "wrapped", &wrapped));
    TRY(rotation_from_json(j, &ret->rotation));
    BUF_AUTO(bytes, KMSD_WRAPPED_BYTES + 1);
    TRY(base64_decode(slice_str(wrapped), &bytes));
    CHECK(bytes.len == KMSD_WRAPPED_BYTES && strlen(ret->id) == KMSD_MATERIAL_ID_CHARS, ERR_INVALID,
          "key material of the wrong length");
    mem_copy(ret->wrapped, bytes.data, bytes.len);
    return OK;
}

static struct result related_from_json(const json_t *j, struct kmsd_related *ret) {
    json_t *initial = NULL;
    TRY(copy_text(j, "region", ret->region, sizeof ret->region));
    TRY(json_get_object(j, "initial", &initial));
    return kmsd_state_from_json(initial, &ret->initial);
}

static struct result schedule_from_json(const json_t *j, struct kmsd_family *ret) {
    int64_t days = 0;
    TRY(json_opt_bool(j, "rotates", &ret->rotates));
    TRY(json_opt_int(j, "rotation_days", 0, KMSD_MAX_ROTATION_DAYS, &days));
    TRY(json_opt_int(j, "rotation_since_ms", 0, INT64_MAX / 2, &ret->rotation_since_ms));
    ret->rotation_days = (unsigned)days;
    return OK;
}

static struct result kind_from_json(const json_t *j, const struct kmsd_kind **ret) {
    const char *spec = kmsd_symmetric->spec, *usage = kmsd_symmetric->usage;
    TRY(json_opt_str(j, "spec", &spec)); // files of before there were other kinds say nothing
    TRY(json_opt_str(j, "usage", &usage));
    *ret = kmsd_kind_find(spec, usage);
    CHECK(*ret != NULL, ERR_INVALID, "no key has spec %.64s and usage %.64s", spec, usage);
    return OK;
}

struct result kmsd_family_from_json(const json_t *j, struct kmsd_family *ret) {
    AUTO(kmsd_family_done) struct kmsd_family f = {0};
    json_t *materials = NULL, *related = NULL;
    TRY(copy_text(j, "id", f.id, sizeof f.id));
    TRY(copy_text(j, "account", f.account, sizeof f.account));
    TRY(copy_text(j, "primary_region", f.primary_region, sizeof f.primary_region));
    TRY(json_get_int(j, "replicas_gone_ms", 0, INT64_MAX, &f.replicas_gone_ms));
    TRY(kind_from_json(j, &f.kind));
    TRY(schedule_from_json(j, &f));
    if (json_object_get(j, "former_primary") != NULL)
        TRY(copy_text(j, "former_primary", f.former_primary, sizeof f.former_primary));
    TRY(json_opt_int(j, "primary_since_ms", 0, INT64_MAX, &f.primary_since_ms));
    TRY(json_get_array(j, "materials", &materials));
    TRY(json_get_array(j, "related", &related));
    f.multi_region = kmsd_is_multi_region_id(f.id);
    CHECK(kmsd_is_key_id(f.id) && arn_is_account(slice_str(f.account)), ERR_INVALID, "no key id or no account");
    CHECK(json_array_size(materials) > 0, ERR_INVALID, "a key without material");
    CHECK(f.multi_region == (json_array_size(related) > 0), ERR_INVALID, "regions don't fit the kind of key");
    f.materials = mem_alloc_array(json_array_size(materials), sizeof *f.materials);
    f.related = mem_alloc_array(json_array_size(related), sizeof *f.related);
    for (size_t i = 0; i < json_array_size(materials); i++) {
        TRY(material_from_json(json_array_get(materials, i), &f.materials[i]));
        f.material_count++;
    }
    for (size_t i = 0; i < json_array_size(related); i++) {
        f.related_count++;
        TRY(related_from_json(json_array_get(related, i), &f.related[i]));
    }
    *ret = f;
    f = (struct kmsd_family){0};
    return OK;
}

struct kmsd_related *kmsd_family_region(const struct kmsd_family *f, const char *region) {
    for (size_t i = 0; i < f->related_count; i++)
        if (strcmp(f->related[i].region, region) == 0) return &f->related[i];
    return NULL;
}

void kmsd_family_bound_to(const struct kmsd_family *f, const struct kmsd_material *m, struct buf *out) {
    buf_printf(out, "%s/%s/%s", f->account, f->id, m->id);
}
