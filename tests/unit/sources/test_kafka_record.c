/* From messages to records, keys to _ids, and the form of the position. */
#include <string.h>

#include "sources/kafka_position.h"
#include "sources/kafka_record.h"
#include "testing.h"

static struct kafka_message message(const char *key, const char *value) {
    return (struct kafka_message){.topic = "t",
                                  .partition = 3,
                                  .offset = 99,
                                  .has_key = key != NULL,
                                  .has_value = value != NULL,
                                  .key = slice_str(key),
                                  .value = slice_str(value)};
}

static void batch_done(struct source_batch *b) {
    mem_free(b->records);
    buf_done(&b->text);
}

static void make(struct source_batch *b, const char *key, const char *value, bool key_is_id) {
    struct kafka_filling f;
    struct kafka_message m = message(key, value);
    kafka_filling_init(&f, b);
    kafka_filling_add(&f, &m, key_is_id);
    kafka_filling_end(&f);
    assert_int_equal(b->count, 1);
    ASSERT_SLICE(b->records[0].origin, "t[3]@99");
}

static void test_kinds(void **state) {
    static const struct {
        const char *key, *value;
        bool key_is_id;
        const char *document, *id, *flaw; /* flaw: a part of it */
        bool is_deletion;
    } cases[] = {
        {NULL, "{\"a\":1}", true, "{\"a\":1}", "", "", false},
        {"k", " {\"a\": 1}\n", true, "{\"a\": 1}", "k", "", false},
        {"k", "{\"_id\":\"x\"}", true, "{\"_id\":\"x\"}", "k", "", false},
        {"k", "{\"_id\":\"x\"}", false, "{\"_id\":\"x\"}", "", "", false},
        {"k", NULL, true, "", "k", "", true},
        {"", NULL, true, "", "base64:", "", true},
        {"k", NULL, false, "", "", "key_is_id", false},
        {NULL, NULL, true, "", "", "neither a value nor a key", false},
        {NULL, NULL, false, "", "", "neither a value nor a key", false},
        {"k", "", true, "", "", "empty", false},
        {"k", "[1]", true, "[1]", "", "not a JSON object", false},
        {NULL, "plain text", true, "plain text", "", "not a JSON object", false},
        {NULL, "{\"a\":}", true, "{\"a\":}", "", "not JSON", false},
        {NULL, "{\"a\":1} {}", true, "{\"a\":1} {}", "", "not JSON", false},
        {NULL, "{\"a\":\"\xff\"}", true, "{\"a\":\"\xff\"}", "", "not JSON", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(batch_done) struct source_batch b = {0};
        make(&b, cases[i].key, cases[i].value, cases[i].key_is_id);
        const struct source_record *r = &b.records[0];
        ASSERT_SLICE(r->document, cases[i].document);
        ASSERT_SLICE(r->id, cases[i].id);
        assert_int_equal(r->is_deletion, cases[i].is_deletion);
        AUTO_FREE char *flaw = slice_to_str(r->flaw);
        if ((cases[i].flaw[0] == 0) != (flaw[0] == 0) || !strstr(flaw, cases[i].flaw))
            fail_msg("case %zu: '%s' lacks '%s'", i, flaw, cases[i].flaw);
    }
}

static void assert_id(struct slice key, const char *id) {
    BUF_AUTO(out, 1000);
    kafka_id_of_key(key, &out);
    assert_string_equal(buf_str(&out), id);
}

static void test_ids(void **state) {
    assert_id(slice_str("plain"), "plain");
    assert_id(slice_str("\xc3\xbc"), "\xc3\xbc");
    assert_id(slice_make("\0\0\0\x2a", 4), "base64:AAAAKg==");
    assert_id(slice_str("\xff\xfe"), "base64://4=");
    assert_id(slice_str("base64:AAAAKg=="), "base64:YmFzZTY0OkFBQUFLZz09");
    assert_id(slice_str("sha256:x"), "base64:c2hhMjU2Ong=");
    char text[513];
    memset(text, 'a', sizeof text);
    BUF_AUTO(same, 1000);
    kafka_id_of_key(slice_make(text, 512), &same);
    assert_true(slice_equal(buf_slice(&same), slice_make(text, 512)));
    assert_id(slice_make(text, 513), "sha256:02425c0f5b0dabf3d2b9115f3f7723a02ad8bcfb1534a0d231614fd42b8188f6");
}

static void test_limits(void **state) {
    AUTO(batch_done) struct source_batch b = {0};
    struct kafka_filling f;
    kafka_filling_init(&f, &b);
    struct kafka_message m = message("k", "{}");
    while (!kafka_filling_is_full(&f, &m))
        kafka_filling_add(&f, &m, true);
    kafka_filling_end(&f);
    assert_int_equal(b.count, SOURCE_BATCH_MAX_RECORDS);
    ASSERT_SLICE(b.records[b.count - 1].origin, "t[3]@99");
}

static void test_bytes_limit(void **state) {
    size_t n = SOURCE_BATCH_MAX_BYTES + 1;
    AUTO_FREE char *text = mem_alloc(n);
    memset(text, ' ', n);
    text[0] = '{';
    text[n - 1] = '}';
    AUTO(batch_done) struct source_batch b = {0};
    struct kafka_filling f;
    kafka_filling_init(&f, &b);
    struct kafka_message m = message("k", "{}");
    m.value = slice_make(text, n);
    assert_false(kafka_filling_is_full(&f, &m)); /* the first one always */
    kafka_filling_add(&f, &m, true);
    m = message("k", "{}");
    assert_true(kafka_filling_is_full(&f, &m));
    kafka_filling_end(&f);
    assert_int_equal(b.count, 1);
    assert_int_equal(b.records[0].document.len, n);
}

static void test_position(void **state) {
    AUTO(kafka_position_done) struct kafka_position p = {0};
    kafka_position_add(&p, 7, 5);
    kafka_position_add(&p, 0, 10)->until = 12;
    kafka_position_add(&p, 3, 0);
    p.cluster = str_dup("c");
    p.records = 4;
    assert_int_equal(kafka_position_find(&p, 3)->next, 0);
    assert_null(kafka_position_find(&p, 1));
    assert_null(kafka_position_find(&p, 8));
    assert_true(kafka_position_is_initial(&p));
    assert_int_equal(kafka_position_initial_left(&p), 2);
    AUTO(json_unref) json_t *j = kafka_position_write(&p);
    BUF_AUTO(text, 1000);
    ASSERT_OK(json_write(j, &text));
    assert_string_equal(buf_str(&text), "{\"partitions\":{\"0\":10,\"3\":0,\"7\":5},\"cluster\":\"c\",\"records\":4,"
                                        "\"initial\":{\"0\":12}}");
    AUTO(kafka_position_done) struct kafka_position again = {0};
    ASSERT_OK(kafka_position_read(j, &again));
    assert_int_equal(again.count, 3);
    assert_int_equal(again.records, 4);
    assert_string_equal(again.cluster, "c");
    assert_int_equal(kafka_position_find(&again, 0)->until, 12);
    assert_int_equal(kafka_position_find(&again, 7)->until, KAFKA_UNKNOWN);
    kafka_part_advance(kafka_position_find(&again, 0), 11);
    assert_true(kafka_position_is_initial(&again));
    kafka_part_advance(kafka_position_find(&again, 0), 12);
    assert_false(kafka_position_is_initial(&again));
}

static void test_damaged_position(void **state) {
    static const char *const damaged[] = {
        "[]",
        "{}",
        "{\"partitions\":[]}",
        "{\"partitions\":{\"x\":1}}",
        "{\"partitions\":{\"-1\":1}}",
        "{\"partitions\":{\"01\":1}}",
        "{\"partitions\":{\"2147483648\":1}}",
        "{\"partitions\":{\"0\":-1}}",
        "{\"partitions\":{\"0\":1.5}}",
        "{\"partitions\":{\"0\":\"1\"}}",
        "{\"partitions\":{\"0\":1},\"initial\":{\"1\":5}}",
        "{\"partitions\":{\"0\":1},\"cluster\":5}",
        "{\"partitions\":{\"0\":1},\"records\":-5}",
    };
    for (size_t i = 0; i < ARRAY_LEN(damaged); i++) {
        AUTO(json_unref) json_t *j = NULL;
        ASSERT_OK(json_parse(slice_str(damaged[i]), &j));
        struct kafka_position p = {0};
        ASSERT_ERR(CORRUPT, kafka_position_read(j, &p));
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_kinds),       cmocka_unit_test(test_ids),      cmocka_unit_test(test_limits),
    cmocka_unit_test(test_bytes_limit), cmocka_unit_test(test_position), cmocka_unit_test(test_damaged_position),
};
TEST_MAIN(tests)
