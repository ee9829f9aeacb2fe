#include "keyring/key_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"

enum { WRAPPED_MAX_BYTES = 6144 };

static const char *context_name(enum registry_key_kind kind) {
    return kind == REGISTRY_BRANCH_KEY ? "lockset:branch" : "lockset:names";
}

void key_file_print(const struct registry_wrapped_key *k, struct buf *out) {
    char when[CLOCK_ISO_BYTES];
    clock_format_iso(k->created_at_ms, when);
    BUF_AUTO(wrapped, 2 * SHELF_TEXT_MAX_BYTES);
    base64_encode(buf_slice(&k->wrapped), &wrapped);
    JSON_AUTO(context);
    context = json_object();
    json_object_set_new(context, "lockset:org", json_string(k->org));
    json_object_set_new(context, "lockset:region", json_string(k->region));
    json_object_set_new(context, context_name(k->kind), json_string(k->id));
    JSON_AUTO(j);
    j = json_object();
    json_object_set_new(j, "version", json_integer(1));
    json_object_set_new(j, "kind", json_string(k->kind == REGISTRY_BRANCH_KEY ? "branch" : "name"));
    json_object_set_new(j, "org", json_string(k->org));
    json_object_set_new(j, "region", json_string(k->region));
    json_object_set_new(j, "kms_key_arn", json_string(k->kms_key_arn));
    json_object_set_new(j, "key_material_id", json_string(k->material_id ? k->material_id : ""));
    json_object_set(j, "encryption_context", context);
    json_object_set_new(j, "wrapped", json_string(buf_str(&wrapped)));
    json_object_set_new(j, "created_at", json_string(when));
    json_object_set_new(j, "created_at_ms", json_integer(k->created_at_ms));
    result_ignore(json_write(j, out)); /* overflow of `out` is the caller's buf_check */
    buf_append_byte(out, '\n');
}

static struct result parse(const json_t *j, const char *org, const char *region, const char *id,
                           struct registry_wrapped_key *ret) {
    AUTO(registry_wrapped_key_done) struct registry_wrapped_key k = {0};
    const char *kind, *file_org, *file_region, *arn, *material = "", *wrapped, *context_id, *context_org,
                                                     *context_region;
    json_t *context;
    int64_t version;
    TRY(json_get_int(j, "version", 1, 1, &version));
    TRY(json_get_str(j, "kind", &kind));
    TRY(json_get_str(j, "org", &file_org));
    TRY(json_get_str(j, "region", &file_region));
    TRY(json_get_str(j, "kms_key_arn", &arn));
    TRY(json_opt_str(j, "key_material_id", &material));
    TRY(json_get_str(j, "wrapped", &wrapped));
    TRY(json_get_object(j, "encryption_context", &context));
    TRY(json_get_int(j, "created_at_ms", 0, INT64_MAX, &k.created_at_ms));
    bool is_branch = strcmp(kind, "branch") == 0;
    CHECK(is_branch || strcmp(kind, "name") == 0, ERR_INVALID, "unknown kind of key");
    k.kind = is_branch ? REGISTRY_BRANCH_KEY : REGISTRY_NAME_KEY;
    TRY(json_get_str(context, context_name(k.kind), &context_id));
    TRY(json_get_str(context, "lockset:org", &context_org));
    TRY(json_get_str(context, "lockset:region", &context_region));
    CHECK(strcmp(file_org, org) == 0 && strcmp(file_region, region) == 0 && strcmp(context_id, id) == 0 &&
              strcmp(context_org, org) == 0 && strcmp(context_region, region) == 0 && json_object_size(context) == 3,
          ERR_INVALID, "it belongs to another organization, region or id");
    k.id = str_dup(id);
    k.org = str_dup(org);
    k.region = str_dup(region);
    k.kms_key_arn = str_dup(arn);
    k.material_id = str_dup(material);
    buf_init(&k.wrapped, WRAPPED_MAX_BYTES);
    TRY(base64_decode(slice_str(wrapped), &k.wrapped));
    TRY(buf_check(&k.wrapped));
    CHECK(k.wrapped.len > 0, ERR_INVALID, "it holds no wrapped key");
    *ret = k;
    k = (struct registry_wrapped_key){0};
    return OK;
}

struct result key_file_parse(struct slice text, const char *org, const char *region, const char *id,
                             struct registry_wrapped_key *ret) {
    JSON_AUTO(j);
    struct result done = json_parse_object(text, &j);
    if (is_ok(done)) done = parse(j, org, region, id, ret);
    if (is_ok(done)) return OK;
    AUTO_FREE char *why = str_dup(err_detail());
    FAIL(ERR_CORRUPT, "the wrapped key %.32s of %.32s is damaged: %.120s", id, org, why);
}

struct result key_file_read(struct shelf *shelf, const char *org, const char *region, const char *id,
                            struct registry_wrapped_key *ret) {
    CHECK(shelf_is_id(id, strlen(id)), ERR_INVALID, "'%.40s' is no id of a key", id);
    BUF_AUTO(text, SHELF_TEXT_MAX_BYTES);
    TRY(shelf->kind->read(shelf, org, id, &text));
    return key_file_parse(buf_slice(&text), org, region, id, ret);
}

struct result key_file_write(struct shelf *shelf, const struct registry_wrapped_key *k) {
    AUTO(registry_wrapped_key_done) struct registry_wrapped_key there = {0};
    struct result read = key_file_read(shelf, k->org, k->region, k->id, &there);
    if (is_ok(read)) {
        CHECK(slice_equal(buf_slice(&there.wrapped), buf_slice(&k->wrapped)), ERR_EXISTS,
              "the store holds another wrapped key with the id %.32s", k->id);
        return OK;
    }
    CHECK(read.code != ERR_CORRUPT, ERR_EXISTS, "the store holds something else under the wrapped key's id %.32s",
          k->id);
    if (read.code != ERR_NOT_FOUND) return read;
    BUF_AUTO(text, SHELF_TEXT_MAX_BYTES);
    key_file_print(k, &text);
    TRY(buf_check(&text));
    return shelf->kind->write(shelf, k->org, k->kms_key_arn, k->id, buf_slice(&text));
}

static int by_age(const void *a, const void *b) {
    const struct registry_wrapped_key *x = a, *y = b;
    if (x->created_at_ms != y->created_at_ms) return x->created_at_ms < y->created_at_ms ? -1 : 1;
    return strcmp(x->id, y->id);
}

struct listing {
    struct shelf *shelf;
    const char *org, *region;
    struct registry_wrapped_keys list;
    size_t refused, capacity;
};

static struct result add(void *arg, const char *id) {
    struct listing *l = arg;
    struct registry_wrapped_key k;
    struct result read = key_file_read(l->shelf, l->org, l->region, id, &k);
    /* One that is damaged, or goes this moment, is not the end of the others; a place that doesn't answer is. */
    if (read.code == ERR_NO_LEASE || read.code == ERR_UNREACHABLE || read.code == ERR_TIMEOUT ||
        read.code == ERR_FORBIDDEN)
        return read;
    if (is_err(read)) {
        l->refused++;
        return OK;
    }
    if (l->list.count == l->capacity) {
        l->capacity = l->capacity ? 2 * l->capacity : 8;
        l->list.items = mem_resize(l->list.items, l->capacity * sizeof *l->list.items);
    }
    l->list.items[l->list.count++] = k;
    return OK;
}

struct result key_file_list(struct shelf *shelf, const char *org, const char *region, struct registry_wrapped_keys *ret,
                            size_t *ret_refused) {
    struct listing l = {.shelf = shelf, .org = org, .region = region};
    struct result r = shelf->kind->list(shelf, org, add, &l);
    if (is_err(r)) {
        registry_wrapped_keys_done(&l.list);
        return r;
    }
    if (l.list.count > 1) qsort(l.list.items, l.list.count, sizeof *l.list.items, by_age);
    *ret = l.list;
    *ret_refused = l.refused;
    return OK;
}
