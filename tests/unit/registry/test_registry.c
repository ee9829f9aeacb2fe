#include "testing.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "registry/registry.h"

static const char *const ARN = "arn:aws:kms:us-west-2:111122223333:key/mrk-0123456789abcdef0123456789abcdef";
static const char *const OTHER_ARN = "arn:aws:kms:us-west-2:111122223333:key/mrk-ffffffffffffffffffffffffffffffff";
static const char *const EAST_ARN = "arn:aws:kms:us-east-1:111122223333:key/mrk-0123456789abcdef0123456789abcdef";
static const char *const HASH = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
static const char *const HASH2 = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

struct place {
    char folder[64];
    char path[96];
    struct registry *r;
};

static int setup(void **state) {
    struct place *p = mem_alloc(sizeof *p);
    snprintf(p->folder, sizeof p->folder, "/tmp/lockset-registry-XXXXXX");
    if (!mkdtemp(p->folder)) return 1;
    snprintf(p->path, sizeof p->path, "%s/registry.db", p->folder);
    if (is_err(registry_open(p->path, &p->r))) return 1;
    *state = p;
    return 0;
}

static int teardown(void **state) {
    struct place *p = *state;
    registry_close(p->r);
    result_ignore(file_remove_tree(p->folder)); /* only a temporary folder */
    mem_free(p);
    return 0;
}

static struct result create(struct registry *r, const char *id, const char *name, enum registry_kind kind,
                            const char *hash) {
    struct registry_wrapped_key keys[2] = {0};
    AUTO_FREE char *a = str_format("%.*s0000000000a", 21, id), *b = str_format("%.*s0000000000b", 21, id);
    char *org = str_dup(id), *region = str_dup("us-west-2"), *arn = str_dup(ARN), *material = str_dup("");
    for (int i = 0; i < 2; i++) {
        keys[i] = (struct registry_wrapped_key){.id = i ? b : a,
                                                .org = org,
                                                .region = region,
                                                .kms_key_arn = arn,
                                                .material_id = material,
                                                .created_at_ms = 5,
                                                .active = i == 0,
                                                .kind = i ? REGISTRY_NAME_KEY : REGISTRY_BRANCH_KEY};
        buf_init(&keys[i].wrapped, 100);
        buf_append_str(&keys[i].wrapped, "wrapped");
    }
    struct registry_new_org n = {.id = id,
                                 .name = name,
                                 .display_name = "Display",
                                 .created_by = "operator",
                                 .created_at_ms = 1000,
                                 .region = "us-west-2",
                                 .kind = kind,
                                 .kms_key_arn = ARN,
                                 .state_reason = "fine",
                                 .api_key_hash = hash,
                                 .api_key_name = "first",
                                 .keys = keys,
                                 .key_count = 2};
    struct result done = registry_create_org(r, &n);
    buf_done(&keys[0].wrapped);
    buf_done(&keys[1].wrapped);
    mem_free(org);
    mem_free(region);
    mem_free(arn);
    mem_free(material);
    return done;
}

static const char *const ORG = "o00000000000000000001";
static const char *const ORG2 = "o00000000000000000002";
static const char *const COLLECTION = "c00000000000000000001";

/* Runs a statement as another program would; the error text, or NULL. The caller frees. */
static char *raw(const struct place *p, const char *sql) {
    sqlite3 *db;
    assert_int_equal(sqlite3_open(p->path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 2000);
    char *error = NULL;
    int code = sqlite3_exec(db, sql, NULL, NULL, &error);
    char *text = code == SQLITE_OK ? NULL : str_dup(error ? error : "error");
    sqlite3_free(error);
    sqlite3_close(db);
    return text;
}

static void assert_refused(const struct place *p, const char *sql, const char *with) {
    AUTO_FREE char *text = raw(p, sql);
    if (!text) fail_msg("went through: %s", sql);
    if (!strstr(text, with)) fail_msg("%s: %s", sql, text);
}

static void creates_and_reads_back(void **state) {
    struct place *p = *state;
    ASSERT_OK(create(p->r, ORG, "acme", REGISTRY_CUSTOMER, HASH));
    struct registry_org o;
    ASSERT_OK(registry_find_org(p->r, "acme", &o));
    assert_string_equal(o.id, ORG);
    assert_int_equal(o.kind, REGISTRY_CUSTOMER);
    assert_string_equal(o.kms_key_arn, ARN);
    assert_string_equal(o.home_region, "us-west-2");
    registry_org_done(&o);
    struct registry_region g;
    ASSERT_OK(registry_get_region(p->r, ORG, "us-west-2", &g));
    assert_string_equal(g.state, "AVAILABLE");
    assert_null(g.cause);
    assert_int_equal(g.epoch, 0);
    registry_region_done(&g);
    struct registry_api_key k;
    ASSERT_OK(registry_find_api_key(p->r, HASH, &k));
    assert_string_equal(k.org, ORG);
    registry_api_key_done(&k);
    struct registry_workspace w;
    ASSERT_OK(registry_get_workspace(p->r, ORG, "commons", &w));
    registry_workspace_done(&w);
    ASSERT_ERR(NOT_FOUND, registry_get_org(p->r, ORG2, &o));
    ASSERT_ERR(NOT_FOUND, registry_find_api_key(p->r, HASH2, &k));
}

static void a_name_is_taken_once_and_nothing_is_left(void **state) {
    struct place *p = *state;
    ASSERT_OK(create(p->r, ORG, "acme", REGISTRY_CUSTOMER, HASH));
    ASSERT_ERR(EXISTS, create(p->r, ORG2, "acme", REGISTRY_SERVICE, HASH2));
    ASSERT_ERR(EXISTS, create(p->r, ORG, "other", REGISTRY_SERVICE, HASH2));
    /* the API key's hash is taken: fails late in the transaction */
    ASSERT_ERR(CONFLICT, create(p->r, ORG2, "other", REGISTRY_SERVICE, HASH));
    AUTO(registry_orgs_done) struct registry_orgs list = {0};
    ASSERT_OK(registry_list_orgs(p->r, &list));
    assert_int_equal(list.count, 1);
    AUTO(registry_regions_done) struct registry_regions regions = {0};
    ASSERT_OK(registry_list_regions(p->r, NULL, &regions));
    assert_int_equal(regions.count, 1);
    /* ORG2's link went with its transaction, so that it can be made now */
    ASSERT_OK(create(p->r, ORG2, "other", REGISTRY_SERVICE, HASH2));
}

static void a_key_link_is_permanent(void **state) {
    struct place *p = *state;
    ASSERT_OK(create(p->r, ORG, "acme", REGISTRY_CUSTOMER, HASH));
    ASSERT_OK(create(p->r, ORG2, "plain", REGISTRY_SERVICE, HASH2));
    AUTO_FREE char *update = str_format("UPDATE key_links SET kms_key_arn = '%s' WHERE org = '%s'", OTHER_ARN, ORG);
    assert_refused(p, update, "permanent");
    assert_refused(p, "UPDATE key_links SET kms_key_arn = NULL, kind = 'service'", "permanent");
    assert_refused(p, "UPDATE key_links SET org = 'x'", "permanent");
    assert_refused(p, "UPDATE OR REPLACE key_links SET org = 'o00000000000000000002' WHERE org LIKE '%1'", "permanent");
    assert_refused(p, "DELETE FROM key_links", "permanent");
    AUTO_FREE char *insert =
        str_format("INSERT INTO key_links VALUES ('%s', 'customer', '%s', 'us-west-2')", ORG2, ARN);
    assert_refused(p, insert, "never later");
    AUTO_FREE char *replace =
        str_format("INSERT OR REPLACE INTO key_links VALUES ('%s', 'customer', '%s', 'us-west-2')", ORG2, ARN);
    assert_refused(p, replace, "never later");
    AUTO_FREE char *upsert = str_format("INSERT INTO key_links VALUES ('%s', 'customer', '%s', 'us-west-2')"
                                        " ON CONFLICT(org) DO UPDATE SET kind = excluded.kind",
                                        ORG2, ARN);
    assert_refused(p, upsert, "never later");
    AUTO_FREE char *region = str_format("UPDATE org_regions SET kms_key_arn = '%s'", OTHER_ARN);
    assert_refused(p, region, "permanent");
    AUTO_FREE char *further =
        str_format("INSERT INTO org_regions(org, region, kms_key_arn, state, reason, since_ms, last_success_ms,"
                   " unavailable_ms) VALUES ('%s', 'us-east-1', '%s', 'AVAILABLE', '', 0, 0, 0)",
                   ORG, OTHER_ARN);
    assert_refused(p, further, "the linked key with its region replaced");
}

static void an_organization_needs_a_link_and_an_id_is_used_once(void **state) {
    struct place *p = *state;
    ASSERT_OK(create(p->r, ORG, "acme", REGISTRY_SERVICE, HASH));
    assert_refused(p, "INSERT INTO organizations VALUES ('o00000000000000000009', 'x', 'x', 0, '')", "link first");
    assert_refused(p, "INSERT OR REPLACE INTO organizations VALUES ('o00000000000000000001', 'acme', 'x', 0, '')",
                   "exists or existed");
    assert_refused(p, "UPDATE organizations SET id = 'o00000000000000000007'", "display name");
    assert_refused(p, "UPDATE OR REPLACE organizations SET name = 'y'", "display name");
    /* Delete and make again under another key: the id is spent. */
    AUTO_FREE char *gone = raw(p, "DELETE FROM organizations; DELETE FROM key_links;");
    assert_null(gone);
    assert_refused(p, "INSERT INTO key_links VALUES ('o00000000000000000001', 'customer', 'arn', 'r')", "never later");
    assert_refused(p, "DELETE FROM retired_orgs", "never used again");
    assert_refused(p, "UPDATE retired_orgs SET id = 'x'", "never used again");
    assert_refused(p, "UPDATE events SET actor = 'x'", "never changed");
}

static void epochs_only_grow(void **state) {
    struct place *p = *state;
    ASSERT_OK(create(p->r, ORG, "acme", REGISTRY_CUSTOMER, HASH));
    int64_t epoch;
    for (int i = 1; i <= 5; i++) {
        ASSERT_OK(registry_next_epoch(p->r, ORG, "us-west-2", &epoch));
        assert_int_equal(epoch, i);
    }
    assert_refused(p, "UPDATE org_regions SET epoch = 2", "only grow");
    p->r = registry_close(p->r);
    ASSERT_OK(registry_open(p->path, &p->r));
    ASSERT_OK(registry_next_epoch(p->r, ORG, "us-west-2", &epoch));
    assert_int_equal(epoch, 6);
    ASSERT_ERR(NOT_FOUND, registry_next_epoch(p->r, ORG, "us-east-1", &epoch));
}

static void states_leave_events(void **state) {
    struct place *p = *state;
    ASSERT_OK(create(p->r, ORG, "acme", REGISTRY_CUSTOMER, HASH));
    struct registry_state_change c = {.org = ORG,
                                      .region = "us-west-2",
                                      .state = "UNAVAILABLE",
                                      .cause = "DENIED",
                                      .reason = "the key is disabled",
                                      .aws_error = "DisabledException",
                                      .since_ms = 77,
                                      .last_success_ms = 76,
                                      .deletion_ms = 99,
                                      .actor = "keyring"};
    ASSERT_OK(registry_set_state(p->r, &c));
    struct registry_region g;
    ASSERT_OK(registry_get_region(p->r, ORG, "us-west-2", &g));
    assert_string_equal(g.state, "UNAVAILABLE");
    assert_string_equal(g.cause, "DENIED");
    assert_string_equal(g.aws_error, "DisabledException");
    assert_int_equal(g.since_ms, 77);
    assert_int_equal(g.last_success_ms, 76);
    assert_int_equal(g.deletion_ms, 99);
    registry_region_done(&g);
    AUTO(registry_events_done) struct registry_events events = {0};
    ASSERT_OK(registry_list_events(p->r, ORG, 0, 10, &events));
    assert_int_equal(events.count, 2);
    assert_string_equal(events.items[0].kind, "state");
    assert_string_equal(events.items[0].from_state, "AVAILABLE");
    assert_string_equal(events.items[0].to_state, "UNAVAILABLE");
    assert_string_equal(events.items[1].kind, "org.created");
    struct registry_events older = {0};
    ASSERT_OK(registry_list_events(p->r, ORG, events.items[0].seq, 10, &older));
    assert_int_equal(older.count, 1);
    registry_events_done(&older);
    ASSERT_ERR(INVALID, registry_list_events(p->r, ORG, 0, 0, &older));
    c.org = ORG2;
    ASSERT_ERR(NOT_FOUND, registry_set_state(p->r, &c));
}

static void wrapped_keys_have_one_active_branch(void **state) {
    struct place *p = *state;
    ASSERT_OK(create(p->r, ORG, "acme", REGISTRY_CUSTOMER, HASH));
    char id[] = "11111111111111111111111111111111", org[] = "o00000000000000000001", region[] = "us-west-2";
    char arn[] = "arn", material[] = "m2";
    struct registry_wrapped_key k = {.id = id,
                                     .org = org,
                                     .region = region,
                                     .kind = REGISTRY_BRANCH_KEY,
                                     .kms_key_arn = arn,
                                     .material_id = material,
                                     .created_at_ms = 9,
                                     .active = true};
    AUTO(buf_done) struct buf wrapped;
    buf_init(&wrapped, 100);
    buf_append_str(&wrapped, "blob");
    k.wrapped = wrapped;
    ASSERT_OK(registry_add_wrapped_key(p->r, &k));
    ASSERT_OK(registry_add_wrapped_key(p->r, &k)); /* the same again */
    AUTO(registry_wrapped_keys_done) struct registry_wrapped_keys list = {0};
    ASSERT_OK(registry_list_wrapped_keys(p->r, ORG, "us-west-2", &list));
    assert_int_equal(list.count, 3);
    unsigned active = 0;
    for (size_t i = 0; i < list.count; i++)
        active += list.items[i].active;
    assert_int_equal(active, 1);
    assert_true(list.items[2].active);
    assert_string_equal(list.items[2].id, id);
    ASSERT_SLICE(buf_slice(&list.items[2].wrapped), "blob");
    wrapped.data[0] = 'B';
    ASSERT_ERR(EXISTS, registry_add_wrapped_key(p->r, &k));
}

static struct result make_collection(struct registry *r, const char *id, const char *workspace, const char *name) {
    AUTO_FREE char *i = str_dup(id), *w = str_dup(workspace), *n = str_dup(name), *o = str_dup(ORG);
    AUTO_FREE char *g = str_dup("us-west-2"), *s = str_dup("CREATED");
    struct registry_collection c = {.id = i, .org = o, .region = g, .workspace = w, .name = n, .status = s};
    return registry_create_collection(r, &c);
}

static void workspaces_and_collections(void **state) {
    struct place *p = *state;
    ASSERT_OK(create(p->r, ORG, "acme", REGISTRY_CUSTOMER, HASH));
    char org[] = "o00000000000000000001", name[] = "w", text[] = "text";
    struct registry_workspace w = {.org = org, .name = name, .description = text};
    ASSERT_OK(registry_create_workspace(p->r, &w));
    ASSERT_ERR(EXISTS, registry_create_workspace(p->r, &w));
    ASSERT_OK(make_collection(p->r, COLLECTION, "w", "c"));
    ASSERT_ERR(EXISTS, make_collection(p->r, "c00000000000000000002", "w", "c"));
    ASSERT_ERR(EXISTS, make_collection(p->r, COLLECTION, "w", "d"));
    ASSERT_ERR(NOT_FOUND, make_collection(p->r, "c00000000000000000003", "none", "c"));
    ASSERT_ERR(CONFLICT, registry_delete_workspace(p->r, ORG, "w"));
    struct registry_workspace read;
    ASSERT_OK(registry_get_workspace(p->r, ORG, "w", &read));
    assert_int_equal(read.collection_count, 1);
    registry_workspace_done(&read);
    ASSERT_OK(registry_set_collection_status(p->r, COLLECTION, "READY"));
    ASSERT_OK(registry_set_collection_sealed(p->r, COLLECTION, slice_str("sealed")));
    struct registry_collection c;
    ASSERT_OK(registry_get_collection(p->r, ORG, "us-west-2", "w", "c", &c));
    assert_string_equal(c.status, "READY");
    ASSERT_SLICE(buf_slice(&c.sealed), "sealed");
    registry_collection_done(&c);
    struct registry_collections list = {0};
    ASSERT_OK(registry_list_collections(p->r, ORG, "us-west-2", NULL, &list));
    assert_int_equal(list.count, 1);
    registry_collections_done(&list);
    ASSERT_OK(registry_list_collections(p->r, ORG, "us-west-2", "commons", &list));
    assert_int_equal(list.count, 0);
    registry_collections_done(&list);
    ASSERT_OK(registry_delete_collection(p->r, COLLECTION));
    ASSERT_ERR(NOT_FOUND, registry_delete_collection(p->r, COLLECTION));
    ASSERT_OK(registry_delete_workspace(p->r, ORG, "w"));
    ASSERT_ERR(NOT_FOUND, registry_delete_workspace(p->r, ORG, "w"));
}

static void api_keys_are_added(void **state) {
    struct place *p = *state;
    ASSERT_OK(create(p->r, ORG, "acme", REGISTRY_CUSTOMER, HASH));
    ASSERT_OK(registry_add_api_key(p->r, ORG, HASH2, "second", "operator"));
    ASSERT_ERR(EXISTS, registry_add_api_key(p->r, ORG, HASH2, "third", "operator"));
    ASSERT_ERR(NOT_FOUND, registry_add_api_key(p->r, ORG2, HASH, "x", "operator"));
    ASSERT_OK(registry_set_display_name(p->r, ORG, "Acme, Inc.", "operator"));
    ASSERT_ERR(NOT_FOUND, registry_set_display_name(p->r, ORG2, "x", "operator"));
}

static void a_newer_or_changed_file_is_refused(void **state) {
    struct place *p = *state;
    struct stat st;
    assert_int_equal(stat(p->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    struct registry *r;
    AUTO_FREE char *none = raw(p, "PRAGMA user_version = 4");
    assert_null(none);
    ASSERT_ERR(CONFLICT, registry_open(p->path, &r));
    AUTO_FREE char *back = raw(p, "PRAGMA user_version = 3; DROP TRIGGER key_links_permanent");
    assert_null(back);
    ASSERT_ERR(CORRUPT, registry_open(p->path, &r));
    AUTO_FREE char *weaker =
        raw(p, "CREATE TRIGGER key_links_permanent BEFORE UPDATE ON key_links BEGIN SELECT 1; END");
    assert_null(weaker);
    ASSERT_ERR(CORRUPT, registry_open(p->path, &r));
    AUTO_FREE char *other = str_format("%s/other.db", p->folder);
    ASSERT_OK(file_write_atomic(other, slice_str("this is not a database, nor anything like one........."), 0600));
    ASSERT_ERR(CORRUPT, registry_open(other, &r));
}

static void a_file_of_version_1_is_brought_up_to_date(void **state) {
    struct place *p = *state;
    ASSERT_OK(create(p->r, ORG, "acme", REGISTRY_CUSTOMER, HASH));
    AUTO_FREE char *older =
        raw(p, "DROP TABLE recoveries; DROP TABLE marks; DROP TABLE s3_keys; PRAGMA user_version = 1");
    assert_null(older);
    struct registry *r;
    ASSERT_OK(registry_open(p->path, &r));
    AUTO(registry_org_done) struct registry_org org = {0};
    ASSERT_OK(registry_find_org(r, "acme", &org));
    registry_close(r);
    ASSERT_OK(registry_open(p->path, &r));
    registry_close(r);
}

static struct registry_s3_key s3_key(const char *id, const char *region) {
    return (struct registry_s3_key){.id = mem_unconst(id),
                                    .org = mem_unconst(ORG),
                                    .region = mem_unconst(region),
                                    .name = mem_unconst("a loader's"),
                                    .created_by = mem_unconst("operator")};
}

static void s3_keys_belong_to_one_region(void **state) {
    struct place *p = *state;
    ASSERT_OK(create(p->r, ORG, "acme", REGISTRY_CUSTOMER, HASH));
    struct registry_s3_key one = s3_key("LSKAAAAAAAAAAAAAAAA2", "us-west-2"),
                           two = s3_key("LSKAAAAAAAAAAAAAAAA3", "us-west-2");
    struct registry_s3_key nowhere = s3_key("LSKAAAAAAAAAAAAAAAA4", "us-east-1");
    ASSERT_OK(registry_add_s3_key(p->r, &one));
    ASSERT_ERR(EXISTS, registry_add_s3_key(p->r, &one));
    ASSERT_ERR(NOT_FOUND, registry_add_s3_key(p->r, &nowhere));
    ASSERT_OK(registry_add_s3_key(p->r, &two));
    AUTO(registry_s3_key_done) struct registry_s3_key got = {0};
    ASSERT_OK(registry_get_s3_key(p->r, one.id, &got));
    assert_string_equal(got.org, ORG);
    assert_string_equal(got.region, "us-west-2");
    assert_string_equal(got.name, "a loader's");
    assert_true(got.created_at_ms > 0);
    ASSERT_ERR(NOT_FOUND, registry_get_s3_key(p->r, "lskaaaaaaaaaaaaaaaa2", &got)); /* ids are not folded */
    AUTO(registry_s3_keys_done) struct registry_s3_keys list = {0};
    ASSERT_OK(registry_list_s3_keys(p->r, ORG, "us-west-2", &list));
    assert_int_equal(list.count, 2);
    ASSERT_ERR(NOT_FOUND, registry_delete_s3_key(p->r, ORG2, "us-west-2", one.id, "operator"));
    ASSERT_ERR(NOT_FOUND, registry_delete_s3_key(p->r, ORG, "us-east-1", one.id, "operator"));
    ASSERT_OK(registry_delete_s3_key(p->r, ORG, "us-west-2", one.id, "operator"));
    ASSERT_ERR(NOT_FOUND, registry_delete_s3_key(p->r, ORG, "us-west-2", one.id, "operator"));
    struct registry_s3_key none = {0};
    ASSERT_ERR(NOT_FOUND, registry_get_s3_key(p->r, one.id, &none));
    AUTO(registry_events_done) struct registry_events events = {0};
    ASSERT_OK(registry_list_events(p->r, ORG, 0, 10, &events));
    assert_string_equal(events.items[0].kind, "s3_key.deleted");
    assert_string_equal(events.items[1].kind, "s3_key.created");
    ASSERT_OK(registry_delete_org(p->r, ORG, "operator"));
    ASSERT_ERR(NOT_FOUND, registry_get_s3_key(p->r, two.id, &none));
}

static void a_file_of_version_2_is_brought_up_to_date(void **state) {
    struct place *p = *state;
    ASSERT_OK(create(p->r, ORG, "acme", REGISTRY_CUSTOMER, HASH));
    AUTO_FREE char *older = raw(p, "DROP TABLE s3_keys; PRAGMA user_version = 2");
    assert_null(older);
    AUTO(registry_close_auto) struct registry *r = NULL;
    ASSERT_OK(registry_open(p->path, &r));
    struct registry_s3_key one = s3_key("LSKAAAAAAAAAAAAAAAA2", "us-west-2");
    ASSERT_OK(registry_add_s3_key(r, &one));
}

static void regions_are_added(void **state) {
    struct place *p = *state;
    ASSERT_OK(create(p->r, ORG, "acme", REGISTRY_CUSTOMER, HASH));
    struct registry_new_region n = {.org = ORG, .region = "us-east-1", .kms_key_arn = EAST_ARN, .actor = "operator"};
    ASSERT_OK(registry_add_region(p->r, &n));
    ASSERT_ERR(EXISTS, registry_add_region(p->r, &n));
    n.region = "eu-west-1"; /* with the key of another region: the file itself refuses that */
    ASSERT_ERR(CONFLICT, registry_add_region(p->r, &n));
    n.org = ORG2;
    ASSERT_ERR(NOT_FOUND, registry_add_region(p->r, &n));
    AUTO(registry_regions_done) struct registry_regions list = {0};
    ASSERT_OK(registry_list_regions(p->r, ORG, &list));
    assert_int_equal(list.count, 2);
    ASSERT_OK(registry_note_unavailable(p->r, ORG, "us-east-1", 1234));
    ASSERT_ERR(NOT_FOUND, registry_note_unavailable(p->r, ORG, "eu-west-1", 1));
    AUTO(registry_region_done) struct registry_region g = {0};
    ASSERT_OK(registry_get_region(p->r, ORG, "us-east-1", &g));
    assert_int_equal(g.unavailable_ms, 1234);
}

static void recoveries_are_remembered_and_go_with_their_collection(void **state) {
    struct place *p = *state;
    ASSERT_OK(create(p->r, ORG, "acme", REGISTRY_CUSTOMER, HASH));
    char id[REGISTRY_ID_BYTES];
    ASSERT_OK(registry_new_id('c', id));
    AUTO(registry_collection_done)
    struct registry_collection c = {.id = str_dup(id),
                                    .org = str_dup(ORG),
                                    .region = str_dup("us-west-2"),
                                    .workspace = str_dup("commons"),
                                    .name = str_dup("c"),
                                    .status = str_dup("READY")};
    ASSERT_OK(registry_create_collection(p->r, &c));
    struct registry_recovery v = {0};
    ASSERT_ERR(NOT_FOUND, registry_get_recovery(p->r, id, &v));
    char reason[] = "the topic was deleted";
    v = (struct registry_recovery){.reason = reason, .at_ms = 7};
    ASSERT_OK(registry_set_recovery(p->r, id, &v));
    AUTO(registry_recovery_done) struct registry_recovery back = {0};
    ASSERT_OK(registry_get_recovery(p->r, id, &back));
    assert_int_equal(back.verdict, REGISTRY_LOST);
    assert_false(back.is_readable);
    assert_string_equal(back.reason, reason);
    AUTO(registry_collection_done) struct registry_collection row = {0};
    ASSERT_OK(registry_get_collection(p->r, ORG, "us-west-2", "commons", "c", &row));
    assert_string_equal(row.status, "PAUSED");
    ASSERT_OK(registry_delete_collection(p->r, id));
    AUTO(registry_recovery_done) struct registry_recovery gone = {0};
    ASSERT_ERR(NOT_FOUND, registry_get_recovery(p->r, id, &gone));
    ASSERT_ERR(NOT_FOUND, registry_set_recovery(p->r, id, &v));
}

static void a_deleted_organization_leaves_its_history_only(void **state) {
    struct place *p = *state;
    ASSERT_OK(create(p->r, ORG, "acme", REGISTRY_CUSTOMER, HASH));
    bool is_retired = true;
    ASSERT_OK(registry_is_retired(p->r, ORG, &is_retired));
    assert_false(is_retired);
    ASSERT_OK(registry_delete_org(p->r, ORG, "operator"));
    ASSERT_ERR(NOT_FOUND, registry_delete_org(p->r, ORG, "operator"));
    ASSERT_OK(registry_is_retired(p->r, ORG, &is_retired));
    assert_true(is_retired);
    AUTO(registry_org_done) struct registry_org org = {0};
    ASSERT_ERR(NOT_FOUND, registry_get_org(p->r, ORG, &org));
    AUTO(registry_wrapped_keys_done) struct registry_wrapped_keys keys = {0};
    ASSERT_OK(registry_list_wrapped_keys(p->r, ORG, "us-west-2", &keys));
    assert_int_equal(keys.count, 0);
    AUTO(registry_events_done) struct registry_events events = {0};
    ASSERT_OK(registry_list_events(p->r, ORG, 0, 10, &events));
    assert_string_equal(events.items[0].kind, "org.deleted");
    /* Its id is never used again; its name may be. */
    assert_true(is_err(create(p->r, ORG, "other", REGISTRY_CUSTOMER, HASH)));
    ASSERT_OK(create(p->r, ORG2, "acme", REGISTRY_CUSTOMER, HASH));
}

static void ids_look_as_they_should(void **state) {
    char a[REGISTRY_ID_BYTES], b[REGISTRY_ID_BYTES];
    ASSERT_OK(registry_new_id('o', a));
    ASSERT_OK(registry_new_id('o', b));
    assert_int_equal(strlen(a), 21);
    assert_int_equal(a[0], 'o');
    assert_int_equal(strspn(a + 1, "0123456789abcdef"), 20);
    assert_string_not_equal(a, b);
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
static const struct CMUnitTest tests[] = {
    IN_PLACE(creates_and_reads_back),
    IN_PLACE(a_name_is_taken_once_and_nothing_is_left),
    IN_PLACE(a_key_link_is_permanent),
    IN_PLACE(an_organization_needs_a_link_and_an_id_is_used_once),
    IN_PLACE(epochs_only_grow),
    IN_PLACE(states_leave_events),
    IN_PLACE(wrapped_keys_have_one_active_branch),
    IN_PLACE(workspaces_and_collections),
    IN_PLACE(api_keys_are_added),
    IN_PLACE(a_newer_or_changed_file_is_refused),
    IN_PLACE(a_file_of_version_1_is_brought_up_to_date),
    IN_PLACE(a_file_of_version_2_is_brought_up_to_date),
    IN_PLACE(s3_keys_belong_to_one_region),
    IN_PLACE(regions_are_added),
    IN_PLACE(a_deleted_organization_leaves_its_history_only),
    IN_PLACE(recoveries_are_remembered_and_go_with_their_collection),
    cmocka_unit_test(ids_look_as_they_should),
};
TEST_MAIN(tests)
