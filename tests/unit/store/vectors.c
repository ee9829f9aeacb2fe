#include "vectors.h"

#include <string.h>

#include "base/clock.h"
#include "keys/lease_priv.h"

static char *folder_of_vectors;
static json_t *vectors;

void vectors_file(const char *name, struct buf *ret) {
    enum { FILE_MAX = 4 << 20 };
    AUTO_FREE char *path = str_format("%s/%s", folder_of_vectors, name);
    buf_init(ret, FILE_MAX);
    ASSERT_OK(file_read(path, FILE_MAX, ret));
}

void vectors_load(const char *folder) {
    folder_of_vectors = str_dup(folder);
    AUTO(buf_done) struct buf text = {0};
    vectors_file("vectors.json", &text);
    ASSERT_OK(json_parse_object(buf_slice(&text), &vectors));
}

void vectors_done(void) {
    json_decref(vectors);
    mem_free(folder_of_vectors);
}

const json_t *vectors_get(const char *name) {
    return get_any(vectors, name);
}

const json_t *get_any(const json_t *j, const char *name) {
    const json_t *member = json_object_get(j, name);
    if (!member) fail_msg("a vector has no '%s'", name);
    return member;
}

const char *get_str(const json_t *j, const char *name) {
    const char *text;
    ASSERT_OK(json_get_str(j, name, &text));
    return text;
}

int64_t get_int(const json_t *j, const char *name) {
    int64_t n;
    ASSERT_OK(json_get_int(j, name, INT64_MIN, INT64_MAX, &n));
    return n;
}

void from_hex(const char *hex, struct buf *ret) {
    buf_init(ret, strlen(hex) / 2 + 1);
    ASSERT_OK(hex_decode(slice_str(hex), ret));
}

void get_hex(const json_t *j, const char *name, struct buf *ret) {
    from_hex(get_str(j, name), ret);
}

void get_bytes(const json_t *j, const char *name, void *to, size_t n) {
    AUTO(buf_done) struct buf bytes = {0};
    get_hex(j, name, &bytes);
    assert_int_equal(bytes.len, n);
    mem_copy(to, bytes.data, n);
}

static void id_of(const char *hex, uint8_t ret[static LEASE_BRANCH_ID_BYTES]) {
    AUTO(buf_done) struct buf bytes = {0};
    from_hex(hex, &bytes);
    assert_int_equal(bytes.len, LEASE_BRANCH_ID_BYTES);
    mem_copy(ret, bytes.data, bytes.len);
}

struct lease *vectors_lease(const char *arn, const char *active) {
    const json_t *keys = vectors_get("keys");
    struct lease *l;
    ASSERT_OK(lease_new(get_str(keys, "org"), get_str(keys, "region"), arn, &l));
    lease_arm(l, clock_boottime_ns() + 3600 * NS_PER_S);
    uint8_t key[KEY_BYTES], id[LEASE_BRANCH_ID_BYTES];
    get_bytes(keys, "names", key, sizeof key);
    ASSERT_OK(lease_set_names(l, slice_make(key, sizeof key)));
    json_t *branches = json_object_get(keys, "branches");
    const char *hex;
    json_t *value;
    json_object_foreach(branches, hex, value) {
        id_of(hex, id);
        get_bytes(branches, hex, key, sizeof key);
        ASSERT_OK(lease_set_branch(l, id, slice_make(key, sizeof key)));
    }
    id_of(active, id);
    ASSERT_OK(lease_set_active(l, id));
    return l;
}

static uint8_t salt[LEASE_SALT_BYTES];

static struct result known_salt(void *p, size_t n) {
    assert_int_equal(n, sizeof salt);
    mem_copy(p, salt, n);
    return OK;
}

void vectors_set_salt(const char *hex) {
    AUTO(buf_done) struct buf bytes = {0};
    from_hex(hex, &bytes);
    assert_int_equal(bytes.len, sizeof salt);
    mem_copy(salt, bytes.data, sizeof salt);
    lease_set_salt_source(known_salt);
}

uint8_t *vectors_content(size_t length, int64_t seed) {
    uint8_t *content = mem_alloc(length + 1);
    for (size_t i = 0; i < length; i++)
        content[i] = (uint8_t)(31 * i + 7 * (i / 256) + (uint64_t)seed);
    return content;
}
