/* The pure parts of buckets as sources: patterns, forms by name, positions. */
#include "testing.h"

#include <string.h>

#include "sources/drivers.h"
#include "sources/glob.h"
#include "sources/s3_config.h"
#include "sources/s3_position.h"

static void test_glob(void **state) {
    static const struct {
        const char *pattern, *text;
        bool matches;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"a", "a", true},
        {"a", "ab", false},
        {"*", "", true},
        {"*", "abc", true},
        {"*", "a/b", false},
        {"**", "a/b", true},
        {"a/*.json", "a/b.json", true},
        {"a/*.json", "a/b/c.json", false},
        {"a/**.json", "a/b/c.json", true},
        {"a/**/c", "a/b/c", true},
        {"a/**/c", "a/c", false},
        {"?", "a", true},
        {"?", "/", false},
        {"?", "", false},
        {"a?c", "abc", true},
        {"*a*b*", "xxaxxbxx", true},
        {"*a*b*", "xxbxxaxx", false},
        {"a*", "b", false},
        {"**x**y", "1x/2/y", true},
        {"[a]", "[a]", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (glob_matches(cases[i].pattern, cases[i].text) != cases[i].matches)
            fail_msg("%s on %s", cases[i].pattern, cases[i].text);
    assert_int_equal(glob_literal("logs/2026/*.json"), 10);
    assert_int_equal(glob_literal("plain"), 5);
    char hostile[GLOB_MAX_BYTES + 1] = {0}, text[1025] = {0};
    for (size_t i = 0; i < GLOB_MAX_BYTES; i++)
        hostile[i] = i % 2 ? 'a' : '*';
    for (size_t i = 0; i < 1024; i++)
        text[i] = 'a';
    text[1023] = 'b';
    assert_false(glob_matches(hostile, text)); /* and soon */
}

static void test_forms(void **state) {
    assert_int_equal(s3_form_of_name("a/b.csv"), S3_CSV);
    assert_int_equal(s3_form_of_name("a/b.CSV.gz"), S3_CSV);
    assert_int_equal(s3_form_of_name("b.parquet"), S3_PARQUET);
    assert_int_equal(s3_form_of_name("b.json.zst"), S3_JSON);
    assert_int_equal(s3_form_of_name("b"), S3_JSON);
    assert_int_equal(s3_form_of_name("csv"), S3_JSON);
}

static struct result check(const char *config, const char *format, const char *integration) {
    JSON_AUTO(c);
    JSON_AUTO(f);
    JSON_AUTO(i);
    ASSERT_OK(json_parse(slice_str(config), &c));
    if (format) ASSERT_OK(json_parse(slice_str(format), &f));
    if (integration) ASSERT_OK(json_parse(slice_str(integration), &i));
    return s3_driver.check(c, f, i);
}

static void test_configurations(void **state) {
    ASSERT_OK(check("{\"bucket\":\"logs\"}", NULL, NULL));
    ASSERT_OK(check("{\"bucket\":\"a.b-c\",\"prefix\":\"x/\",\"pattern\":\"x/*.csv\",\"poll_interval_secs\":5}",
                    "{\"csv\":{\"separator\":\";\"}}",
                    "{\"aws_access_key\":{\"aws_access_key_id\":\"A\",\"aws_secret_access_key\":\"S\"},\"endpoint\":"
                    "\"http://127.0.0.1:9000\",\"region\":\"eu-west-1\"}"));
    ASSERT_OK(check("{\"bucket\":\"logs\"}", "{\"json\":true}", "{}"));
    static const char *const bad[] = {"{}",
                                      "{\"bucket\":\"a..b\"}",
                                      "{\"bucket\":\"UPPER\"}",
                                      "{\"bucket\":\"../etc\"}",
                                      "{\"bucket\":\"logs\",\"endpoint\":\"ftp://x\"}",
                                      "{\"bucket\":\"logs\",\"endpoint\":\"http://user@x\"}",
                                      "{\"bucket\":\"logs\",\"endpoint\":\"http://x/path\"}",
                                      "{\"bucket\":\"logs\",\"region\":\"US WEST\"}",
                                      "{\"bucket\":\"logs\",\"poll_interval_secs\":0}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ASSERT_ERR(INVALID, check(bad[i], NULL, NULL));
    ASSERT_ERR(INVALID, check("{\"bucket\":\"logs\"}", "{\"json\":true,\"csv\":{}}", NULL));
    ASSERT_ERR(INVALID, check("{\"bucket\":\"logs\"}", "{\"avro\":{}}", NULL));
    ASSERT_ERR(INVALID, check("{\"bucket\":\"logs\"}", NULL, "{\"aws_role\":{\"aws_role_arn\":\"x\"}}"));
    ASSERT_ERR(INVALID, check("{\"bucket\":\"logs\"}", NULL, "{\"aws_access_key\":{\"aws_access_key_id\":\"A\"}}"));
    JSON_AUTO(c);
    struct s3_config config;
    ASSERT_OK(json_parse(slice_str("{\"bucket\":\"logs\",\"prefix\":\"a/\",\"pattern\":\"a/b/*.json\"}"), &c));
    ASSERT_OK(s3_config_read(c, NULL, NULL, &config));
    assert_string_equal(config.list_prefix, "a/b/");
    assert_true(s3_config_wants_key(&config, "a/b/x.json"));
    assert_false(s3_config_wants_key(&config, "a/x.json"));
    s3_config_done(&config);
}

static void add_pending(struct s3_position *p, const char *key, const char *etag) {
    p->pending = mem_resize(p->pending, (p->pending_count + 1) * sizeof *p->pending);
    p->pending[p->pending_count++] = s3_hash(key, etag);
}

/* Written and read again. */
static void reread(struct s3_position *p) {
    JSON_AUTO(j);
    j = s3_position_write(p);
    ASSERT_OK(s3_position_read(j, p));
}

static const int64_t day_ms = 86400000, begin_ms = 1700000000000;

static void test_a_pass(void **state) {
    struct s3_position p;
    s3_position_init(&p);
    p.pass_began_ms = begin_ms;
    assert_true(s3_position_wants(&p, s3_hash("k1", "e"), 0));
    add_pending(&p, "k1", "e1");
    add_pending(&p, "k2", "e2");
    add_pending(&p, "k3", "e3");
    p.object_key = str_dup("k1");
    p.object_etag = str_dup("e1");
    p.place = (struct records_place){RECORDS_ARRAY, 100, 7};
    reread(&p);
    assert_string_equal(p.object_key, "k1");
    assert_int_equal(p.place.mode, RECORDS_ARRAY);
    assert_int_equal(p.place.offset, 100);
    assert_int_equal(p.place.number, 7);
    assert_int_equal(p.pending_count, 3);
    s3_position_finish_object(&p, "k1", begin_ms - day_ms, true);
    assert_null(p.object_key);
    assert_string_equal(p.cursor, "k1");
    s3_position_finish_object(&p, "k2", begin_ms - 30 * day_ms, true);
    s3_position_finish_object(&p, "k3", begin_ms, false); /* it was gone */
    s3_position_finish_pass(&p);
    reread(&p);
    assert_int_equal(p.pass, 1);
    assert_string_equal(p.cursor, "");
    /* Read, and in the window; read, and older than it; not read; another version; new. */
    assert_false(s3_position_wants(&p, s3_hash("k1", "e1"), begin_ms - day_ms));
    assert_false(s3_position_wants(&p, s3_hash("k2", "e2"), begin_ms - 30 * day_ms));
    assert_true(s3_position_wants(&p, s3_hash("k3", "e3"), begin_ms));
    assert_true(s3_position_wants(&p, s3_hash("k1", "e9"), begin_ms));
    assert_true(s3_position_wants(&p, s3_hash("k9", "e1"), begin_ms - day_ms));
    s3_position_done(&p);
}

/* Very many objects: the position stays small, and nothing that came since the pass began is taken for read. */
static void test_the_window_is_bounded(void **state) {
    struct s3_position p;
    s3_position_init(&p);
    p.pass_began_ms = begin_ms;
    char key[32];
    for (int i = 0; i < 100000; i++) {
        snprintf(key, sizeof key, "k%06d", i);
        p.pending_count = 0;
        add_pending(&p, key, "e");
        s3_position_finish_object(&p, key, begin_ms - day_ms + i * 100, true);
        assert_true(p.window_count <= S3_WINDOW_OBJECTS);
        assert_true(p.window_ms <= begin_ms - S3_SLACK_MS);
    }
    s3_position_finish_pass(&p);
    BUF_AUTO(text, 4 << 20);
    JSON_AUTO(j);
    j = s3_position_write(&p);
    ASSERT_OK(json_write(j, &text));
    assert_true(text.len < 512 * 1024);
    assert_false(s3_position_wants(&p, s3_hash("k099999", "e"), begin_ms - day_ms + 99999 * 100));
    assert_false(s3_position_wants(&p, s3_hash("k000000", "e"), begin_ms - day_ms));
    assert_true(s3_position_wants(&p, s3_hash("new", "e"), begin_ms));
    assert_true(s3_position_wants(&p, s3_hash("new", "e"), begin_ms - S3_SLACK_MS));
    s3_position_done(&p);
}

static void test_damaged_positions(void **state) {
    struct s3_position p;
    s3_position_init(&p);
    add_pending(&p, "k1", "e1");
    JSON_AUTO(good);
    good = s3_position_write(&p);
    static const struct {
        const char *name, *value;
    } damages[] = {{"version", "2"},
                   {"pending", "\"AAA\""},
                   {"pending", "\"AAAA\""},
                   {"window", "\"AAAA\""},
                   {"cursor", "5"},
                   {"object", "{\"key\":\"k2\",\"etag\":\"e1\",\"mode\":1,"
                              "\"offset\":1,\"number\":1}"},
                   {"object", "{}"},
                   {"pass", "-1"}};
    for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
        JSON_AUTO(bad);
        json_t *value = json_loads(damages[i].value, JSON_DECODE_ANY, NULL);
        bad = json_deep_copy(good);
        json_object_set_new(bad, damages[i].name, value);
        ASSERT_ERR(CORRUPT, s3_position_read(bad, &p));
        assert_int_equal(p.pending_count, 1); /* as it was */
    }
    s3_position_done(&p);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_glob),
    cmocka_unit_test(test_forms),
    cmocka_unit_test(test_configurations),
    cmocka_unit_test(test_a_pass),
    cmocka_unit_test(test_the_window_is_bounded),
    cmocka_unit_test(test_damaged_positions),
};
TEST_MAIN(tests)
