/* The durable keys: two regions side by side, as two processes would have them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "kms/store.h"
#include "testing.h"

enum { DAY_MS = 1000 };
static const int64_t now = 1764000000000;
static char root[] = "/tmp/lockset-kms-XXXXXX";
static char *west_dir, *east_dir, *key_file;

static int setup(void **state) {
    snprintf(root, sizeof root, "/tmp/lockset-kms-XXXXXX");
    if (mkdtemp(root) == NULL) return -1;
    west_dir = str_format("%s/us-west-2", root);
    east_dir = str_format("%s/us-east-1", root);
    key_file = str_format("%s/root.key", root);
    return 0;
}

static int teardown(void **state) {
    result_ignore(file_remove_tree(root)); // a leftover in /tmp fails nothing
    mem_free(west_dir);
    mem_free(east_dir);
    mem_free(key_file);
    return 0;
}

static struct result open_region(const char *dir, const char *region, struct kmsd_store **ret) {
    struct kmsd_store_options options = {.data_dir = dir, .region = region, .day_ms = DAY_MS};
    return kmsd_store_open(&options, ret);
}

static struct kmsd_store *west(void) {
    struct kmsd_store *s = NULL;
    ASSERT_OK(open_region(west_dir, "us-west-2", &s));
    return s;
}

static struct kmsd_store *east(void) {
    struct kmsd_store *s = NULL;
    ASSERT_OK(open_region(east_dir, "us-east-1", &s));
    return s;
}

static struct kmsd_state beginning(const char *description) {
    BUF_AUTO(policy, 1024);
    kmsd_policy_default("aws", "111122223333", &policy);
    return (struct kmsd_state){
        .description = str_dup(description), .policy = buf_take_str(&policy), .tags = str_dup("[]")};
}

static struct kmsd_key *create(struct kmsd_store *s, bool multi_region) {
    struct kmsd_state state = beginning("first");
    struct kmsd_key *k = NULL;
    ASSERT_OK(kmsd_store_create(s, "111122223333", kmsd_symmetric, multi_region, now, &state, &k));
    return k;
}

static struct result disable(const struct kmsd_key *key, struct kmsd_state *draft, void *arg) {
    draft->enabled = false;
    return OK;
}

static struct result schedule(const struct kmsd_key *key, struct kmsd_state *draft, void *arg) {
    draft->pending_days = 7;
    draft->deletion_ms = key->family.related_count > 1 && kmsd_key_is_primary(key) ? 0 : now + 7 * DAY_MS;
    return OK;
}

static struct result veto(const struct kmsd_key *key, struct kmsd_state *draft, void *arg) {
    draft->enabled = !draft->enabled;
    FAIL(ERR_FORBIDDEN, "no");
}

static bool same_material(struct kmsd_store *a, struct kmsd_key *ka, struct kmsd_store *b, struct kmsd_key *kb) {
    SECRET_AUTO(x);
    SECRET_AUTO(y);
    ASSERT_OK(kmsd_store_material(a, ka, kmsd_key_current(ka), &x));
    ASSERT_OK(kmsd_store_material(b, kb, kmsd_key_current(kb), &y));
    return secret_equal(secret_view(&x), secret_view(&y));
}

static void survives_reopening(void **state) {
    struct kmsd_store *s = west();
    for (int multi_region = 0; multi_region < 2; multi_region++) {
        AUTO(kmsd_key_unref_auto) struct kmsd_key *k = create(s, multi_region), *again = NULL, *changed = NULL;
        ASSERT_OK(kmsd_store_change(s, k->family.id, now, disable, NULL, &changed));
        assert_true(k->state.enabled); // a reader's copy stays as it is
        assert_false(changed->state.enabled);
        ASSERT_ERR(FORBIDDEN, kmsd_store_change(s, k->family.id, now, veto, NULL, NULL));
        kmsd_store_close(s);
        s = west();
        ASSERT_OK(kmsd_store_find(s, k->family.id, now, &again));
        assert_false(again->state.enabled);
        assert_string_equal(again->state.description, "first");
        assert_string_equal(again->arn, k->arn);
        assert_true(same_material(s, k, s, again));
    }
    kmsd_store_close(s);
}

static void unknown_and_malformed(void **state) {
    struct kmsd_store *s = west();
    static const char *const ids[] = {"mrk-0123456789abcdef0123456789abcdef", "1234abcd-12ab-34cd-56ef-1234567890ab",
                                      "../../etc/passwd", "", "mrk-../../../../../../../../../../x1"};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        struct kmsd_key *k = NULL;
        ASSERT_ERR(NOT_FOUND, kmsd_store_find(s, ids[i], now, &k));
        assert_null(k);
    }
    kmsd_store_close(s);
}

static void regions_agree(void **state) {
    struct kmsd_store *w = west(), *e = east();
    AUTO(kmsd_key_unref_auto) struct kmsd_key *primary = create(w, true), *replica = NULL, *seen = NULL, *again = NULL;
    const char *id = primary->family.id;
    ASSERT_ERR(NOT_FOUND, kmsd_store_find(e, id, now, &seen));
    struct kmsd_state initial = beginning("second"), twice = beginning("third");
    ASSERT_OK(kmsd_store_replicate(w, id, "us-east-1", now, &initial, &replica));
    ASSERT_OK(kmsd_store_find(e, id, now, &seen));
    assert_string_equal(seen->arn, replica->arn);
    assert_string_equal(seen->state.description, "second");
    assert_int_equal(kmsd_key_state_at(seen, now), KMSD_STATE_CREATING);
    assert_int_equal(kmsd_key_state_at(seen, now + KMSD_CREATING_MS), KMSD_STATE_ENABLED);
    assert_false(kmsd_key_is_primary(seen));
    assert_true(same_material(w, primary, e, seen));
    struct kmsd_key *none = NULL;
    ASSERT_ERR(EXISTS, kmsd_store_replicate(w, id, "us-east-1", now, &twice, &none));
    // One region's decisions are its own.
    ASSERT_OK(kmsd_store_change(e, id, now, disable, NULL, NULL));
    ASSERT_OK(kmsd_store_find(w, id, now, &again));
    assert_true(again->state.enabled);
    assert_int_equal(again->family.related_count, 2);
    kmsd_store_close(e);
    e = east();
    again = kmsd_key_unref(again);
    ASSERT_OK(kmsd_store_find(e, id, now, &again));
    assert_false(again->state.enabled);
    kmsd_store_close(w);
    kmsd_store_close(e);
}

static void replica_before_its_region(void **state) {
    struct kmsd_store *w = west();
    AUTO(kmsd_key_unref_auto) struct kmsd_key *primary = create(w, true), *replica = NULL, *seen = NULL;
    struct kmsd_state initial = beginning("later");
    ASSERT_OK(kmsd_store_replicate(w, primary->family.id, "us-east-1", now, &initial, &replica));
    struct kmsd_store *e = east();
    ASSERT_OK(kmsd_store_find(e, primary->family.id, now, &seen));
    AUTO_FREE struct kmsd_key_id *ids = NULL;
    size_t count = 0;
    bool more = true;
    ASSERT_OK(kmsd_store_list(e, "111122223333", "", 10, now, &ids, &count, &more));
    assert_int_equal(count, 1);
    assert_false(more);
    kmsd_store_close(w);
    kmsd_store_close(e);
}

/* A primary waits until its last replica is gone; a replica made again begins anew. */
static void deletion(void **state) {
    struct kmsd_store *w = west(), *e = east();
    AUTO(kmsd_key_unref_auto) struct kmsd_key *primary = create(w, true), *replica = NULL, *seen = NULL;
    const char *id = primary->family.id;
    struct kmsd_state initial = beginning("doomed"), refused = beginning("no");
    ASSERT_OK(kmsd_store_replicate(w, id, "us-east-1", now, &initial, &replica));
    ASSERT_OK(kmsd_store_change(w, id, now, schedule, NULL, NULL));
    ASSERT_OK(kmsd_store_find(w, id, now + 100 * DAY_MS, &seen));
    assert_int_equal(kmsd_key_state_at(seen, now), KMSD_STATE_PENDING_REPLICA_DELETION);
    struct kmsd_key *none = NULL;
    ASSERT_ERR(CONFLICT, kmsd_store_replicate(w, id, "eu-west-1", now, &refused, &none));
    ASSERT_OK(kmsd_store_change(e, id, now, schedule, NULL, NULL));
    kmsd_store_sweep(e, now + 7 * DAY_MS - 1);
    seen = kmsd_key_unref(seen);
    ASSERT_OK(kmsd_store_find(e, id, now + 7 * DAY_MS - 1, &seen));
    ASSERT_ERR(NOT_FOUND, kmsd_store_find(e, id, now + 7 * DAY_MS, &none));
    kmsd_store_sweep(e, now + 7 * DAY_MS);
    seen = kmsd_key_unref(seen);
    ASSERT_OK(kmsd_store_find(w, id, now + 7 * DAY_MS, &seen));
    assert_int_equal(kmsd_key_state_at(seen, now), KMSD_STATE_PENDING_DELETION);
    assert_int_equal(kmsd_key_deletion_ms(seen, DAY_MS), now + 14 * DAY_MS);
    kmsd_store_sweep(w, now + 14 * DAY_MS);
    ASSERT_ERR(NOT_FOUND, kmsd_store_find(w, id, now, &none));
    AUTO_FREE char *file = str_format("%s/shared/keys/%s.json", root, id);
    assert_int_equal(access(file, F_OK), -1); // the material went with it
    kmsd_store_close(w);
    kmsd_store_close(e);
}

static void replica_made_again(void **state) {
    struct kmsd_store *w = west(), *e = east();
    AUTO(kmsd_key_unref_auto) struct kmsd_key *primary = create(w, true), *first = NULL, *second = NULL, *seen = NULL;
    const char *id = primary->family.id;
    struct kmsd_state one = beginning("one"), two = beginning("two");
    ASSERT_OK(kmsd_store_replicate(w, id, "us-east-1", now, &one, &first));
    ASSERT_OK(kmsd_store_change(e, id, now, schedule, NULL, NULL));
    kmsd_store_sweep(e, now + 8 * DAY_MS);
    ASSERT_OK(kmsd_store_replicate(w, id, "us-east-1", now + 9 * DAY_MS, &two, &second));
    ASSERT_OK(kmsd_store_find(e, id, now + 12 * DAY_MS, &seen));
    assert_string_equal(seen->state.description, "two");
    assert_int_equal(kmsd_key_state_at(seen, now + 12 * DAY_MS), KMSD_STATE_ENABLED);
    kmsd_store_close(w);
    kmsd_store_close(e);
}

static void single_region_deletion(void **state) {
    struct kmsd_store *w = west();
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = create(w, false);
    ASSERT_OK(kmsd_store_change(w, k->family.id, now, schedule, NULL, NULL));
    kmsd_store_sweep(w, now + 7 * DAY_MS);
    AUTO_FREE char *file = str_format("%s/keys/%s.json", west_dir, k->family.id);
    assert_int_equal(access(file, F_OK), -1);
    kmsd_store_close(w);
}

static void paging(void **state) {
    struct kmsd_store *w = west();
    for (int i = 0; i < 5; i++) {
        AUTO(kmsd_key_unref_auto) struct kmsd_key *k = create(w, i % 2 == 0);
    }
    char after[KMSD_KEY_ID_CHARS + 1] = "";
    size_t total = 0;
    for (bool more = true; more;) {
        AUTO_FREE struct kmsd_key_id *ids = NULL;
        size_t count = 0;
        ASSERT_OK(kmsd_store_list(w, "111122223333", after, 2, now, &ids, &count, &more));
        for (size_t i = 0; i < count; i++) {
            assert_true(strcmp(ids[i].text, after) > 0);
            snprintf(after, sizeof after, "%s", ids[i].text);
        }
        total += count;
    }
    assert_int_equal(total, 5);
    AUTO_FREE struct kmsd_key_id *ids = NULL;
    size_t count = 7;
    bool more = true;
    ASSERT_OK(kmsd_store_list(w, "444455556666", "", 2, now, &ids, &count, &more));
    assert_int_equal(count, 0);
    kmsd_store_close(w);
}

static void refusals_at_opening(void **state) {
    struct kmsd_store *w = west(), *none = NULL;
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = create(w, false);
    ASSERT_ERR(CONFLICT, open_region(west_dir, "us-west-2", &none)); // served already
    kmsd_store_close(w);
    ASSERT_ERR(CONFLICT, open_region(west_dir, "us-east-1", &none)); // another region's folder
    chmod(key_file, 0644);
    ASSERT_ERR(FORBIDDEN, open_region(west_dir, "us-west-2", &none));
    chmod(key_file, 0600);
    AUTO_FREE char *aside = str_format("%s.aside", key_file);
    rename(key_file, aside);
    ASSERT_ERR(NOT_FOUND, open_region(west_dir, "us-west-2", &none)); // no new root key over old keys
    static const char other[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";
    ASSERT_OK(file_write_atomic(key_file, slice_str(other), 0600));
    ASSERT_ERR(CONFLICT, open_region(west_dir, "us-west-2", &none));
    ASSERT_OK(file_write_atomic(key_file, slice_str("short\n"), 0600));
    ASSERT_ERR(INVALID, open_region(west_dir, "us-west-2", &none));
    rename(aside, key_file);
    AUTO_FREE char *file = str_format("%s/keys/%s.json", west_dir, k->family.id);
    ASSERT_OK(file_write_atomic(file, slice_str("{\"version\":1}"), 0600));
    ASSERT_ERR(INVALID, open_region(west_dir, "us-west-2", &none));
    assert_non_null(strstr(err_detail(), k->family.id));
    assert_null(none);
}

/* Nothing a store writes holds material in the clear. */
static void nothing_in_the_clear(void **state) {
    struct kmsd_store *w = west();
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = create(w, false);
    SECRET_AUTO(material);
    ASSERT_OK(kmsd_store_material(w, k, kmsd_key_current(k), &material));
    AUTO_FREE char *file = str_format("%s/keys/%s.json", west_dir, k->family.id);
    BUF_AUTO(text, KMSD_MAX_FILE_BYTES);
    BUF_AUTO(base64, 128);
    BUF_AUTO(hex, 128);
    ASSERT_OK(file_read(file, KMSD_MAX_FILE_BYTES, &text));
    base64_encode(secret_view(&material), &base64);
    hex_encode(secret_view(&material), &hex);
    assert_null(strstr(buf_str(&text), buf_str(&base64)));
    assert_null(strstr(buf_str(&text), buf_str(&hex)));
    struct stat st;
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    kmsd_store_close(w);
}

static struct result rotate(struct kmsd_store *s, const struct kmsd_key *key, struct kmsd_family *draft, void *arg) {
    return kmsd_store_add_material(s, draft, KMSD_ROTATION_ON_DEMAND, now);
}

static struct result rotate_every_90_days(struct kmsd_store *s, const struct kmsd_key *key, struct kmsd_family *draft,
                                          void *arg) {
    draft->rotates = true;
    draft->rotation_days = 90;
    draft->rotation_since_ms = now;
    return OK;
}

static size_t material_count(struct kmsd_store *s, const char *id) {
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    ASSERT_OK(kmsd_store_find(s, id, now, &k));
    for (size_t i = 0; i < k->family.material_count; i++) {
        SECRET_AUTO(material);
        ASSERT_OK(kmsd_store_material(s, k, &k->family.materials[i], &material));
    }
    return k->family.material_count;
}

static void rotation(void **state) {
    enum { PERIOD_MS = 90 * DAY_MS };
    for (int multi_region = 0; multi_region < 2; multi_region++) {
        struct kmsd_store *w = west(), *e = east();
        AUTO(kmsd_key_unref_auto) struct kmsd_key *k = create(w, multi_region);
        AUTO(kmsd_key_unref_auto) struct kmsd_key *replica = NULL;
        const char *id = k->family.id;
        struct kmsd_state state_there = beginning("there");
        if (multi_region) ASSERT_OK(kmsd_store_replicate(w, id, "us-east-1", now, &state_there, &replica));
        kmsd_state_done(&state_there);
        ASSERT_OK(kmsd_store_change_family(w, id, now, rotate, NULL, NULL));
        assert_int_equal(material_count(w, id), 2);
        ASSERT_OK(kmsd_store_change_family(w, id, now, rotate_every_90_days, NULL, NULL));
        kmsd_store_sweep(w, now + PERIOD_MS - 1);
        assert_int_equal(material_count(w, id), 2);
        if (multi_region) assert_int_equal(material_count(e, id), 2);
        kmsd_store_sweep(e, now + PERIOD_MS); // a replica's region has no say
        assert_int_equal(material_count(w, id), 2);
        kmsd_store_sweep(w, now + PERIOD_MS);
        kmsd_store_sweep(w, now + PERIOD_MS);
        assert_int_equal(material_count(w, id), 3);
        if (multi_region) assert_int_equal(material_count(e, id), 3);
        kmsd_store_close(w);
        w = west();
        assert_int_equal(material_count(w, id), 3);
        ASSERT_OK(kmsd_store_change(w, id, now, disable, NULL, NULL));
        kmsd_store_sweep(w, now + 3 * PERIOD_MS);
        assert_int_equal(material_count(w, id), 3);
        kmsd_store_close(w);
        kmsd_store_close(e);
    }
}

static void drop(json_t *object, const char *const names[]) {
    for (size_t i = 0; names[i] != NULL; i++)
        json_object_del(object, names[i]);
}

/* Files of before there were rotation, kinds, grants and changes of the primary. */
static void old_files(void **state) {
    static const char *const of_family[] = {"rotates", "rotation_days",  "rotation_since_ms", "spec",
                                            "usage",   "former_primary", "primary_since_ms",  NULL};
    static const char *const of_material[] = {"rotation", NULL}, *const of_state[] = {"grants", NULL};
    struct kmsd_store *w = west();
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = create(w, false);
    kmsd_store_close(w);
    AUTO_FREE char *file = str_format("%s/keys/%s.json", west_dir, k->family.id);
    BUF_AUTO(text, KMSD_MAX_FILE_BYTES);
    BUF_AUTO(old, KMSD_MAX_FILE_BYTES);
    ASSERT_OK(file_read(file, KMSD_MAX_FILE_BYTES, &text));
    JSON_AUTO(j);
    ASSERT_OK(json_parse(buf_slice(&text), &j));
    drop(json_object_get(j, "key"), of_family);
    drop(json_array_get(json_object_get(json_object_get(j, "key"), "materials"), 0), of_material);
    drop(json_object_get(j, "state"), of_state);
    ASSERT_OK(json_write(j, &old));
    assert_true(old.len < text.len);
    ASSERT_OK(file_write_atomic(file, buf_slice(&old), 0600));
    w = west();
    AUTO(kmsd_key_unref_auto) struct kmsd_key *again = NULL;
    ASSERT_OK(kmsd_store_find(w, k->family.id, now, &again));
    assert_string_equal(again->family.materials[0].id, k->family.materials[0].id);
    assert_ptr_equal(again->family.kind, kmsd_symmetric);
    assert_false(again->family.rotates);
    assert_null(again->grants);
    ASSERT_OK(kmsd_store_change_family(w, k->family.id, now, rotate, NULL, NULL));
    assert_int_equal(material_count(w, k->family.id), 2);
    kmsd_store_close(w);
}

static void aliases(void **state) {
    struct kmsd_store *w = west();
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = create(w, false);
    struct kmsd_alias alias = {.account = "111122223333", .created_ms = now, .updated_ms = now}, found;
    snprintf(alias.key_id, sizeof alias.key_id, "%s", k->family.id);
    snprintf(alias.name, sizeof alias.name, "alias/b");
    ASSERT_OK(kmsd_aliases_create(kmsd_store_aliases(w), &alias, 2));
    ASSERT_ERR(EXISTS, kmsd_aliases_create(kmsd_store_aliases(w), &alias, 2));
    snprintf(alias.name, sizeof alias.name, "alias/a");
    ASSERT_OK(kmsd_aliases_create(kmsd_store_aliases(w), &alias, 2));
    snprintf(alias.name, sizeof alias.name, "alias/c");
    ASSERT_ERR(TOO_LARGE, kmsd_aliases_create(kmsd_store_aliases(w), &alias, 2));
    kmsd_store_close(w);
    w = west();
    ASSERT_OK(kmsd_aliases_find(kmsd_store_aliases(w), "111122223333", "alias/a", &found));
    ASSERT_ERR(NOT_FOUND, kmsd_aliases_find(kmsd_store_aliases(w), "444455556666", "alias/a", &found));
    AUTO_FREE struct kmsd_alias *list = NULL;
    size_t count = 0;
    bool more = false;
    kmsd_aliases_list(kmsd_store_aliases(w), "111122223333", NULL, "", 1, &list, &count, &more);
    assert_int_equal(count, 1);
    assert_true(more);
    assert_string_equal(list[0].name, "alias/a");
    ASSERT_OK(kmsd_store_change(w, k->family.id, now, schedule, NULL, NULL));
    kmsd_store_sweep(w, now + 8 * DAY_MS); // the key goes, and its aliases with it
    ASSERT_ERR(NOT_FOUND, kmsd_aliases_find(kmsd_store_aliases(w), "111122223333", "alias/a", &found));
    kmsd_store_close(w);
    AUTO_FREE char *file = str_format("%s/aliases.json", west_dir);
    ASSERT_OK(file_write_atomic(file, slice_str("{\"version\":1,\"aliases\":[7]}"), 0600));
    struct kmsd_store *none = NULL;
    ASSERT_ERR(INVALID, open_region(west_dir, "us-west-2", &none));
    assert_non_null(strstr(err_detail(), "aliases.json"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
static const struct CMUnitTest tests[] = {
    TEST(survives_reopening),
    TEST(unknown_and_malformed),
    TEST(regions_agree),
    TEST(replica_before_its_region),
    TEST(deletion),
    TEST(replica_made_again),
    TEST(single_region_deletion),
    TEST(paging),
    TEST(refusals_at_opening),
    TEST(nothing_in_the_clear),
    TEST(rotation),
    TEST(old_files),
    TEST(aliases),
};
TEST_MAIN(tests)
