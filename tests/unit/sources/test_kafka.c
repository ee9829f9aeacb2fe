/* Reading from a Kafka cluster: beginnings, positions, deletions, flaws, and what can't be read any more. */
#include "kafka_fixture.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"

static const struct source_driver *driver;
static struct kafka_fixture cluster;

static int start(void **state) {
    driver = source_driver_find("kafka");
    kafka_fixture_start(&cluster, 2);
    return 0;
}

static int end(void **state) {
    kafka_fixture_end(&cluster);
    return 0;
}

static struct source_reader *open_at(const struct kafka_source *s, const json_t *position) {
    struct source_reader *r = NULL;
    ASSERT_OK(driver->open(&s->spec, position, &r));
    return r;
}

/* "topic[p]@offset id=... document" of each record of one partition, a line each. */
static char *lines_of(const struct kafka_read *read, const char *origin_prefix) {
    struct buf out;
    buf_init(&out, 1 << 20);
    for (size_t i = 0; i < read->records; i++) {
        const struct source_record *r = kafka_read_at(read, i);
        if (!slice_starts_with(r->origin, origin_prefix)) continue;
        buf_append_slice(&out, r->origin);
        buf_append_str(&out, r->is_deletion ? " delete " : r->flaw.len ? " flaw " : " put ");
        buf_append_slice(&out, r->id);
        buf_append_str(&out, " ");
        buf_append_slice(&out, r->document);
        buf_append_str(&out, "\n");
    }
    return buf_take_str(&out);
}

static void assert_lines(const struct kafka_read *read, const char *prefix, const char *wanted) {
    AUTO_FREE char *lines = lines_of(read, prefix);
    assert_string_equal(lines, wanted);
}

static void test_first_read(void **state) {
    kafka_fixture_topic(&cluster, "first", 3);
    kafka_fixture_produce(&cluster, "first", 0, "a", "{\"n\":1}");
    kafka_fixture_produce(&cluster, "first", 0, "b", "{\"n\":2}");
    kafka_fixture_produce(&cluster, "first", 0, "a", NULL);
    kafka_fixture_produce(&cluster, "first", 1, NULL, "{\"n\":3}");
    kafka_fixture_produce(&cluster, "first", 1, NULL, "poison");
    kafka_fixture_produce(&cluster, "first", 1, NULL, NULL);
    kafka_fixture_produce(&cluster, "first", 1, "c", "{\"n\":4}");
    kafka_fixture_flush(&cluster);
    struct kafka_source s;
    kafka_source_init(&s, &cluster, "first", NULL);
    struct source_reader *r = open_at(&s, NULL);
    struct source_progress p;
    driver->progress(r, &p);
    assert_int_equal(p.state, SOURCE_SCANNING);
    assert_int_equal(p.total_items, 7);
    assert_int_equal(p.done_items, 0);
    assert_int_equal(p.lag, 7);
    json_decref(p.partitions);

    struct kafka_read read = {0};
    kafka_read(r, &read, 7);
    assert_true(read.is_snapshot_end);
    kafka_read_rest(r, &read);
    assert_int_equal(read.records, 7);
    assert_lines(&read, "first[0]", "first[0]@0 put a {\"n\":1}\nfirst[0]@1 put b {\"n\":2}\nfirst[0]@2 delete a \n");
    assert_lines(&read, "first[1]",
                 "first[1]@0 put  {\"n\":3}\nfirst[1]@1 flaw  poison\nfirst[1]@2 flaw  \nfirst[1]@3 put c {\"n\":4}\n");
    const char *cluster_id = NULL;
    ASSERT_OK(json_get_str(read.position, "cluster", &cluster_id));
    assert_true(strlen(cluster_id) > 0);
    json_object_del(read.position, "cluster");
    AUTO(json_unref) json_t *wanted = json_of("{'partitions':{'0':3,'1':4,'2':0},'records':7}");
    assert_true(json_equal(read.position, wanted));

    driver->progress(r, &p);
    assert_int_equal(p.state, SOURCE_WATCHING);
    assert_int_equal(p.total_items, -1);
    assert_int_equal(p.done_items, 7);
    assert_int_equal(p.lag, 0);
    assert_true(strncmp(p.last_item, "first[", 6) == 0);
    AUTO(json_unref)
    json_t *partitions = json_of("[{'partition':0,'offset':3,'lag':0},{'partition':1,'offset':4,'lag':0},"
                                 "{'partition':2,'offset':0,'lag':0}]");
    assert_true(json_equal(p.partitions, partitions));
    json_decref(p.partitions);
    kafka_read_done(&read);
    driver->close(r);
    kafka_source_done(&s);
}

/* The very first batch tells where the source begins, also when there is nothing to read. */
static void test_empty_topic(void **state) {
    kafka_fixture_topic(&cluster, "empty", 2);
    struct kafka_source s;
    kafka_source_init(&s, &cluster, "empty", NULL);
    struct source_reader *r = open_at(&s, NULL);
    struct source_batch b;
    ASSERT_OK(driver->next(r, 60000, &b));
    assert_int_equal(b.count, 0);
    assert_true(b.is_snapshot_end);
    AUTO(json_unref) json_t *partitions = json_of("{'0':0,'1':0}");
    assert_true(json_equal(json_object_get(b.position, "partitions"), partitions));
    source_batch_done(&b);
    ASSERT_OK(driver->next(r, 10, &b));
    assert_null(b.position);
    assert_false(b.is_snapshot_end);
    source_batch_done(&b);
    driver->close(r);
    kafka_source_done(&s);
}

static void test_resume(void **state) {
    kafka_fixture_topic(&cluster, "resume", 1);
    for (int i = 0; i < 10; i++)
        kafka_fixture_produce(&cluster, "resume", 0, NULL, "{}");
    kafka_fixture_flush(&cluster);
    struct kafka_source s;
    kafka_source_init(&s, &cluster, "resume", NULL);
    AUTO(json_unref) json_t *position = json_of("{'partitions':{'0':4},'records':4,'initial':{'0':6}}");
    for (int again = 0; again < 2; again++) { /* the same each time */
        struct source_reader *r = open_at(&s, position);
        struct kafka_read read = {0};
        kafka_read(r, &read, 6);
        assert_true(read.is_snapshot_end);
        ASSERT_SLICE(kafka_read_at(&read, 0)->origin, "resume[0]@4");
        ASSERT_SLICE(kafka_read_at(&read, 5)->origin, "resume[0]@9");
        AUTO(json_unref) json_t *partitions = json_of("{'0':10}");
        assert_true(json_equal(json_object_get(read.position, "partitions"), partitions));
        assert_int_equal(json_integer_value(json_object_get(read.position, "records")), 10);
        assert_null(json_object_get(read.position, "initial"));
        kafka_read_done(&read);
        driver->close(r);
    }
    kafka_source_done(&s);
}

static void test_latest(void **state) {
    kafka_fixture_topic(&cluster, "latest", 2);
    kafka_fixture_produce(&cluster, "latest", 0, NULL, "{\"old\":1}");
    kafka_fixture_flush(&cluster);
    struct kafka_source s;
    kafka_source_init(&s, &cluster, "latest", "{'offset_reset_policy':'LATEST'}");
    struct source_reader *r = open_at(&s, NULL);
    struct kafka_read read = {0};
    kafka_read_rest(r, &read);
    assert_int_equal(read.records, 0);
    assert_true(read.is_snapshot_end);
    driver->close(r); /* a crash: only the position is left */

    kafka_fixture_produce(&cluster, "latest", 0, NULL, "{\"new\":1}");
    kafka_fixture_produce(&cluster, "latest", 1, NULL, "{\"new\":2}");
    kafka_fixture_flush(&cluster);
    r = open_at(&s, read.position);
    kafka_read(r, &read, 2);
    assert_lines(&read, "latest[0]", "latest[0]@1 put  {\"new\":1}\n");
    assert_lines(&read, "latest[1]", "latest[1]@0 put  {\"new\":2}\n");
    kafka_read_done(&read);
    driver->close(r);
    kafka_source_done(&s);
}

/* A partition that came after the position is read from its beginning, under either policy. */
static void test_new_partition(void **state) {
    kafka_fixture_topic(&cluster, "grown", 2);
    kafka_fixture_produce(&cluster, "grown", 0, NULL, "{\"n\":1}");
    kafka_fixture_produce(&cluster, "grown", 1, NULL, "{\"n\":2}");
    kafka_fixture_flush(&cluster);
    struct kafka_source s;
    kafka_source_init(&s, &cluster, "grown", "{'offset_reset_policy':'LATEST'}");
    AUTO(json_unref) json_t *position = json_of("{'partitions':{'0':1}}");
    struct source_reader *r = open_at(&s, position);
    struct kafka_read read = {0};
    kafka_read(r, &read, 1);
    kafka_read_rest(r, &read);
    assert_int_equal(read.records, 1);
    assert_lines(&read, "grown[1]", "grown[1]@0 put  {\"n\":2}\n");
    AUTO(json_unref) json_t *partitions = json_of("{'0':1,'1':1}");
    assert_true(json_equal(json_object_get(read.position, "partitions"), partitions));
    kafka_read_done(&read);
    driver->close(r);
    kafka_source_done(&s);
}

static void test_no_topic(void **state) {
    rd_kafka_mock_topic_set_error(cluster.mock, "nowhere", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    struct kafka_source s;
    kafka_source_init(&s, &cluster, "nowhere", NULL);
    struct source_reader *r = NULL;
    ASSERT_ERR(NOT_FOUND, driver->open(&s.spec, NULL, &r));
    bool has = true;
    char *why = NULL;
    ASSERT_OK(driver->still_has(&s.spec, NULL, &has, &why));
    assert_false(has);
    assert_string_equal(why, "the topic nowhere is not there any more");
    mem_free(why);
    kafka_source_done(&s);
}

/* The customer deletes the topic while it is read. */
static void test_topic_goes(void **state) {
    kafka_fixture_topic(&cluster, "going", 1);
    struct kafka_source s;
    kafka_source_init(&s, &cluster, "going", NULL);
    struct source_reader *r = open_at(&s, NULL);
    struct kafka_read read = {0};
    kafka_read_rest(r, &read);
    rd_kafka_mock_topic_set_error(cluster.mock, "going", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    struct result got = OK;
    int64_t deadline = clock_boottime_ns() + 30 * NS_PER_S;
    while (is_ok(got) && clock_boottime_ns() < deadline) {
        struct source_batch b;
        got = driver->next(r, 100, &b);
        if (is_ok(got)) source_batch_done(&b);
    }
    assert_int_equal(got.code, ERR_NOT_FOUND);
    bool has = true;
    char *why = NULL;
    ASSERT_OK(driver->still_has(&s.spec, read.position, &has, &why));
    assert_false(has);
    mem_free(why);
    kafka_read_done(&read);
    driver->close(r);
    kafka_source_done(&s);
}

static void test_denied_topic(void **state) {
    kafka_fixture_topic(&cluster, "denied", 1);
    rd_kafka_mock_topic_set_error(cluster.mock, "denied", RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    struct kafka_source s;
    kafka_source_init(&s, &cluster, "denied", NULL);
    struct source_reader *r = NULL;
    ASSERT_ERR(FORBIDDEN, driver->open(&s.spec, NULL, &r));
    bool has = true;
    char *why = NULL;
    ASSERT_ERR(FORBIDDEN, driver->still_has(&s.spec, NULL, &has, &why));
    assert_non_null(strstr(why, "denied"));
    mem_free(why);
    kafka_source_done(&s);
}

/* next() and still_has() say the same of a position. */
static void assert_lost(const struct kafka_source *s, const char *position_text, const char *says) {
    AUTO(json_unref) json_t *position = json_of(position_text);
    bool has = true;
    char *why = NULL;
    ASSERT_OK(driver->still_has(&s->spec, position, &has, &why));
    assert_false(has);
    if (!strstr(why, says)) fail_msg("'%s' lacks '%s'", why, says);
    struct source_reader *r = open_at(s, position);
    struct result got = OK;
    int64_t deadline = clock_boottime_ns() + 20 * NS_PER_S;
    while (is_ok(got) && clock_boottime_ns() < deadline) {
        struct source_batch b;
        got = driver->next(r, 100, &b);
        if (is_err(got)) break;
        source_batch_done(&b); /* of other partitions */
    }
    assert_int_equal(got.code, ERR_CORRUPT);
    assert_string_equal(err_detail(), why);
    struct source_batch b;
    ASSERT_ERR(CORRUPT, driver->next(r, 100, &b)); /* and again */
    driver->close(r);
    mem_free(why);
}

static void assert_kept(const struct kafka_source *s, const char *position_text) {
    AUTO(json_unref) json_t *position = position_text ? json_of(position_text) : NULL;
    bool has = false;
    char *why = NULL;
    ASSERT_OK(driver->still_has(&s->spec, position, &has, &why));
    if (!has) fail_msg("%s: %s", position_text, why);
    assert_null(why);
}

static void test_lost(void **state) {
    kafka_fixture_topic(&cluster, "lost", 2);
    kafka_fixture_produce(&cluster, "lost", 0, NULL, "{}");
    kafka_fixture_produce(&cluster, "lost", 0, NULL, "{}");
    kafka_fixture_flush(&cluster);
    int64_t low = kafka_fixture_overflow(&cluster, "lost", 1);
    struct kafka_source s;
    kafka_source_init(&s, &cluster, "lost", NULL);
    BUF_AUTO(at_low, 200);
    buf_printf(&at_low, "{'partitions':{'0':2,'1':%" PRId64 "}}", low);
    assert_kept(&s, NULL);
    assert_kept(&s, buf_str(&at_low));
    /* retention */
    BUF_AUTO(below, 200);
    buf_printf(&below, "{'partitions':{'0':1,'1':%" PRId64 "}}", low - 1);
    BUF_AUTO(says, 300);
    buf_printf(&says, "lost[1]: the messages from offset %" PRId64 " to %" PRId64 " were removed", low - 1, low - 1);
    assert_lost(&s, buf_str(&below), buf_str(&says));
    /* made anew */
    BUF_AUTO(beyond, 200);
    buf_printf(&beyond, "{'partitions':{'0':3,'1':%" PRId64 "}}", low);
    assert_lost(&s, buf_str(&beyond), "lost[0]: it ends at offset 2, before the kept offset 3");
    BUF_AUTO(fewer, 200);
    buf_printf(&fewer, "{'partitions':{'0':2,'1':%" PRId64 ",'2':0}}", low);
    assert_lost(&s, buf_str(&fewer), "lost[2]: this partition is not there any more");
    /* came later, and has lost messages by now */
    assert_lost(&s, "{'partitions':{'0':2}}", "lost[1]: this partition was added since");
    assert_lost(&s, "{'partitions':{'0':2,'1':0},'cluster':'other'}", "another Kafka cluster (other, now ");
    kafka_source_done(&s);
}

static void test_lost_while_reading(void **state) {
    kafka_fixture_topic(&cluster, "outrun", 1);
    kafka_fixture_produce(&cluster, "outrun", 0, NULL, "{}");
    kafka_fixture_flush(&cluster);
    struct kafka_source s;
    kafka_source_init(&s, &cluster, "outrun", NULL);
    struct source_reader *r = open_at(&s, NULL);
    struct kafka_read read = {0};
    kafka_read(r, &read, 1);
    driver->close(r);
    kafka_fixture_overflow(&cluster, "outrun", 0);
    BUF_AUTO(text, 1000);
    ASSERT_OK(json_write(read.position, &text));
    assert_lost(&s, buf_str(&text), "outrun[0]: the messages from offset 1 to ");
    kafka_read_done(&read);
    kafka_source_done(&s);
}

static void test_damaged_position(void **state) {
    kafka_fixture_topic(&cluster, "damaged", 1);
    struct kafka_source s;
    kafka_source_init(&s, &cluster, "damaged", NULL);
    AUTO(json_unref) json_t *position = json_of("{'partitions':{'0':'x'}}");
    struct source_reader *r = NULL;
    ASSERT_ERR(CORRUPT, driver->open(&s.spec, position, &r));
    bool has;
    char *why = NULL;
    ASSERT_ERR(CORRUPT, driver->still_has(&s.spec, position, &has, &why));
    assert_non_null(why);
    mem_free(why);
    kafka_source_done(&s);
}

/* More than a batch may hold, in big messages. */
static void test_big_messages(void **state) {
    enum { PARTITIONS = 6, EACH = 5, BYTES = 800000 };
    kafka_fixture_topic(&cluster, "big", PARTITIONS);
    AUTO_FREE char *text = mem_alloc(BYTES + 1);
    memset(text, ' ', BYTES);
    text[0] = '{';
    text[BYTES - 1] = '}';
    for (int i = 0; i < EACH; i++) {
        for (int p = 0; p < PARTITIONS; p++)
            kafka_fixture_produce(&cluster, "big", p, NULL, text);
        kafka_fixture_flush(&cluster);
    }
    struct kafka_source s;
    kafka_source_init(&s, &cluster, "big", NULL);
    struct source_reader *r = open_at(&s, NULL);
    struct kafka_read read = {0};
    kafka_read(r, &read, PARTITIONS * EACH);
    size_t bytes = 0;
    for (size_t i = 0; i < read.records; i++)
        bytes += kafka_read_at(&read, i)->document.len;
    assert_int_equal(bytes, (size_t)PARTITIONS * EACH * BYTES);
    kafka_read_done(&read);
    driver->close(r);
    kafka_source_done(&s);
}

/* The group's offsets, for the customer's monitoring, follow what is stored. */
static void test_commits(void **state) {
    kafka_fixture_topic(&cluster, "told", 1);
    for (int i = 0; i < 3; i++)
        kafka_fixture_produce(&cluster, "told", 0, NULL, "{}");
    kafka_fixture_flush(&cluster);
    struct kafka_source s;
    kafka_source_init(&s, &cluster, "told", NULL);
    s.spec.source_id = "the-id";
    struct source_reader *r = open_at(&s, NULL);
    struct kafka_read read = {0};
    kafka_read(r, &read, 3);

    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", cluster.servers, why, sizeof why);
    rd_kafka_conf_set(conf, "group.id", "lockset-the-id", why, sizeof why);
    rd_kafka_t *monitor = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    assert_non_null(monitor);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, "told", 0);
    assert_int_equal(rd_kafka_committed(monitor, list, 10000), RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(list->elems[0].offset, RD_KAFKA_OFFSET_INVALID); /* nothing before it is stored */
    ASSERT_OK(driver->stored(r));
    int64_t deadline = clock_boottime_ns() + 20 * NS_PER_S;
    while (list->elems[0].offset != 3 && clock_boottime_ns() < deadline) {
        kafka_read_rest(r, &read);
        assert_int_equal(rd_kafka_committed(monitor, list, 10000), RD_KAFKA_RESP_ERR_NO_ERROR);
    }
    assert_int_equal(list->elems[0].offset, 3);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(monitor);
    kafka_read_done(&read);
    driver->close(r);
    kafka_source_done(&s);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_first_read),
    cmocka_unit_test(test_empty_topic),
    cmocka_unit_test(test_resume),
    cmocka_unit_test(test_latest),
    cmocka_unit_test(test_new_partition),
    cmocka_unit_test(test_no_topic),
    cmocka_unit_test(test_lost),
    cmocka_unit_test(test_lost_while_reading),
    cmocka_unit_test(test_damaged_position),
    cmocka_unit_test(test_big_messages),
    cmocka_unit_test(test_commits),
    cmocka_unit_test(test_topic_goes),
    cmocka_unit_test(test_denied_topic),
};

int main(void) {
    if (is_err(secret_start(1 << 20, true))) return 1;
    return cmocka_run_group_tests(tests, start, end);
}
