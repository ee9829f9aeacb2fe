#include "keyring/key_file.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"

enum { FILE_MAX_BYTES = 64 * 1024, WRAPPED_MAX_BYTES = 6144, ID_HEX = 32 };

static char *folder_of(const char *store, const char *org) {
    return str_format("%s/%s/keys", store, org);
}

static bool is_hex_id(const char *s, size_t n) {
    return n == ID_HEX && strspn(s, "0123456789abcdef") >= n;
}

static const char *context_name(enum registry_key_kind kind) {
    return kind == REGISTRY_BRANCH_KEY ? "lockset:branch" : "lockset:names";
}

void key_file_print(const struct registry_wrapped_key *k, struct buf *out) {
    char when[CLOCK_ISO_BYTES];
    clock_format_iso(k->created_at_ms, when);
    BUF_AUTO(wrapped, 2 * FILE_MAX_BYTES);
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

struct result key_file_read(const char *store, const char *org, const char *region, const char *id,
                            struct registry_wrapped_key *ret) {
    CHECK(is_hex_id(id, strlen(id)), ERR_INVALID, "'%.40s' is no id of a key", id);
    AUTO_FREE char *folder = folder_of(store, org);
    AUTO_FREE char *path = str_format("%s/%s.json", folder, id);
    BUF_AUTO(text, FILE_MAX_BYTES);
    TRY(file_read(path, FILE_MAX_BYTES, &text));
    return key_file_parse(buf_slice(&text), org, region, id, ret);
}

struct result key_file_write(const char *store, const struct registry_wrapped_key *k) {
    AUTO(registry_wrapped_key_done) struct registry_wrapped_key there = {0};
    struct result read = key_file_read(store, k->org, k->region, k->id, &there);
    if (is_ok(read)) {
        CHECK(slice_equal(buf_slice(&there.wrapped), buf_slice(&k->wrapped)), ERR_EXISTS,
              "the store holds another wrapped key with the id %.32s", k->id);
        return OK;
    }
    CHECK(read.code != ERR_CORRUPT, ERR_EXISTS, "the store holds something else under the wrapped key's id %.32s",
          k->id);
    if (read.code != ERR_NOT_FOUND) return read;
    AUTO_FREE char *folder = folder_of(store, k->org);
    TRY(file_make_dirs(folder));
    AUTO_FREE char *path = str_format("%s/%s.json", folder, k->id);
    BUF_AUTO(text, FILE_MAX_BYTES);
    key_file_print(k, &text);
    TRY(buf_check(&text));
    TRY(file_write_atomic(path, buf_slice(&text), 0600));
    /* The folders themselves may be new. */
    AUTO_FREE char *above = str_format("%s/%s", store, k->org);
    TRY(file_sync_dir(above));
    return file_sync_dir(store);
}

static int by_age(const void *a, const void *b) {
    const struct registry_wrapped_key *x = a, *y = b;
    if (x->created_at_ms != y->created_at_ms) return x->created_at_ms < y->created_at_ms ? -1 : 1;
    return strcmp(x->id, y->id);
}

static void close_dir(DIR **d) {
    if (*d) closedir(*d);
}

struct result key_file_list(const char *store, const char *org, const char *region, struct registry_wrapped_keys *ret,
                            size_t *ret_refused) {
    AUTO_FREE char *folder = folder_of(store, org);
    AUTO(close_dir) DIR *d = opendir(folder);
    if (!d && errno != ENOENT) return err_from_errno(errno, "the folder of wrapped keys %s", folder);
    AUTO(registry_wrapped_keys_done) struct registry_wrapped_keys list = {0};
    size_t refused = 0, capacity = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (n != ID_HEX + 5 || strcmp(e->d_name + ID_HEX, ".json") != 0 || !is_hex_id(e->d_name, ID_HEX)) continue;
        AUTO_FREE char *id = str_ndup(e->d_name, ID_HEX);
        struct registry_wrapped_key k;
        if (is_err(key_file_read(store, org, region, id, &k))) {
            refused++;
            continue;
        }
        if (list.count == capacity) {
            capacity = capacity ? 2 * capacity : 8;
            list.items = mem_resize(list.items, capacity * sizeof *list.items);
        }
        list.items[list.count++] = k;
    }
    if (list.count > 1) qsort(list.items, list.count, sizeof *list.items, by_age);
    *ret = list;
    list = (struct registry_wrapped_keys){0};
    *ret_refused = refused;
    return OK;
}
