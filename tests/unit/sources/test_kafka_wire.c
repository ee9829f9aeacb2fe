/* What shows on the wire: logins over TLS, partitions that come later, damaged and silent connections, offsets without
 * messages. */
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "kafka_fixture.h"
#include "kafka_proxy.h"

static const struct source_driver *driver;
static struct kafka_fixture cluster;
static char certificate[] = "/tmp/lockset-kafka-XXXXXX", other[] = "/tmp/lockset-kafka-XXXXXX";

static int start(void **state) {
    driver = source_driver_find("kafka");
    kafka_fixture_start(&cluster, 1);
    close(mkstemp(certificate));
    close(mkstemp(other));
    return 0;
}

static int end(void **state) {
    kafka_fixture_end(&cluster);
    unlink(certificate);
    unlink(other);
    return 0;
}

static void through(struct kafka_source *s, const struct kafka_proxy *p, const char *topic, const char *secret) {
    kafka_source_init(s, &cluster, topic, NULL);
    json_object_set_new(s->integration, "bootstrap_servers", json_string(p->servers));
    if (!secret) return;
    json_t *security = json_object();
    json_object_set_new(security, "api_key", json_string("theApiKey"));
    json_object_set_new(security, "secret", json_string(secret));
    json_object_set_new(s->integration, "security_config", security);
}

static void fill_topic(const char *topic, int partitions, int messages) {
    kafka_fixture_topic(&cluster, topic, partitions);
    for (int i = 0; i < messages; i++)
        kafka_fixture_produce(&cluster, topic, i % partitions, NULL, "{}");
    kafka_fixture_flush(&cluster);
}

static void test_login(void **state) {
    fill_topic("secured", 1, 3);
    struct kafka_proxy p;
    kafka_proxy_start(&p, cluster.servers, certificate);
    setenv("SSL_CERT_FILE", certificate, 1);
    struct kafka_source s;
    through(&s, &p, "secured", "theSecret");
    struct source_reader *r = NULL;
    ASSERT_OK(driver->open(&s.spec, NULL, &r));
    struct kafka_read read = {0};
    kafka_read(r, &read, 3);
    assert_true(atomic_load(&p.logins) > 0);
    assert_int_equal(atomic_load(&p.refusals), 0);
    bool has = false;
    char *why = NULL;
    ASSERT_OK(driver->still_has(&s.spec, read.position, &has, &why));
    assert_true(has);
    kafka_read_done(&read);
    driver->close(r);
    kafka_source_done(&s);
    kafka_proxy_end(&p);
}

/* The broker repeats what it was sent: neither our details nor our log do. */
static void test_refused_login(void **state) {
    struct kafka_proxy p;
    kafka_proxy_start(&p, cluster.servers, certificate);
    setenv("SSL_CERT_FILE", certificate, 1);
    struct kafka_source s;
    through(&s, &p, "secured", "anotherSecret");
    char log[] = "/tmp/lockset-kafka-log-XXXXXX";
    int file = mkstemp(log), screen = dup(STDERR_FILENO);
    dup2(file, STDERR_FILENO);
    struct source_reader *r = NULL;
    struct result got = driver->open(&s.spec, NULL, &r);
    dup2(screen, STDERR_FILENO);
    close(screen);
    assert_int_equal(got.code, ERR_FORBIDDEN);
    assert_non_null(strstr(err_detail(), "bad login"));
    assert_null(strstr(err_detail(), "anotherSecret"));
    assert_null(strstr(err_detail(), "theApiKey"));
    assert_true(atomic_load(&p.refusals) > 0);
    char text[20000] = "";
    assert_true(pread(file, text, sizeof text - 1, 0) > 0);
    assert_non_null(strstr(text, "kafka.library"));
    assert_non_null(strstr(text, "bad login"));
    assert_null(strstr(text, "anotherSecret"));
    assert_null(strstr(text, "theApiKey"));
    close(file);
    unlink(log);
    bool has = false;
    char *why = NULL;
    ASSERT_ERR(FORBIDDEN, driver->still_has(&s.spec, NULL, &has, &why));
    assert_null(strstr(why, "anotherSecret"));
    mem_free(why);
    kafka_source_done(&s);
    kafka_proxy_end(&p);
}

/* A broker that isn't the one it should be never sees the credentials. */
static void test_false_broker(void **state) {
    struct kafka_proxy p, unused;
    kafka_proxy_start(&unused, cluster.servers, other); /* makes another authority */
    kafka_proxy_end(&unused);
    kafka_proxy_start(&p, cluster.servers, certificate);
    struct kafka_source s;
    through(&s, &p, "secured", "theSecret");
    struct source_reader *r = NULL;
    setenv("SSL_CERT_FILE", other, 1);
    ASSERT_ERR(UNREACHABLE, driver->open(&s.spec, NULL, &r));
    setenv("SSL_CERT_FILE", certificate, 1); /* trusted, but for another name */
    char by_address[40];
    snprintf(by_address, sizeof by_address, "127.0.0.1:%d", p.port);
    json_object_set_new(s.integration, "bootstrap_servers", json_string(by_address));
    ASSERT_ERR(UNREACHABLE, driver->open(&s.spec, NULL, &r));
    assert_int_equal(atomic_load(&p.logins) + atomic_load(&p.refusals), 0);
    kafka_source_done(&s);
    kafka_proxy_end(&p);
}

/* Partitions are added while the topic is read. */
static void test_partitions_come(void **state) {
    fill_topic("wider", 3, 30);
    struct kafka_proxy p;
    kafka_proxy_start(&p, cluster.servers, NULL);
    atomic_store(&p.shown_partitions, 1);
    struct kafka_source s;
    through(&s, &p, "wider", NULL);
    struct source_reader *r = NULL;
    ASSERT_OK(driver->open(&s.spec, NULL, &r));
    struct kafka_read read = {0};
    kafka_read(r, &read, 10);
    kafka_read_rest(r, &read);
    assert_int_equal(read.records, 10);
    atomic_store(&p.shown_partitions, 0);
    kafka_read(r, &read, 30);
    kafka_read_rest(r, &read);
    assert_int_equal(read.records, 30);
    AUTO(json_unref) json_t *partitions = json_of("{'0':10,'1':10,'2':10}");
    assert_true(json_equal(json_object_get(read.position, "partitions"), partitions));
    kafka_read_done(&read);
    driver->close(r);
    kafka_source_done(&s);
    kafka_proxy_end(&p);
}

/* What doesn't fit its checksum is fetched again, and nothing is passed over. */
static void test_damage(void **state) {
    fill_topic("damage", 1, 0);
    for (int i = 0; i < 500; i++) {
        kafka_fixture_produce(&cluster, "damage", 0, NULL, "{}");
        if (i % 50 == 49) kafka_fixture_flush(&cluster); /* ten batches, of which one in the middle is hit */
    }
    struct kafka_proxy p;
    kafka_proxy_start(&p, cluster.servers, NULL);
    struct kafka_source s;
    through(&s, &p, "damage", NULL);
    struct source_reader *r = NULL;
    ASSERT_OK(driver->open(&s.spec, NULL, &r));
    atomic_store(&p.damage, 2);
    size_t records = 0, failures = 0;
    int64_t deadline = clock_boottime_ns() + 30 * NS_PER_S;
    while (records < 500 && clock_boottime_ns() < deadline) {
        struct source_batch b;
        struct result got = driver->next(r, 100, &b);
        failures += is_err(got);
        if (is_err(got)) {
            assert_int_equal(got.code, ERR_UNREACHABLE);
            continue;
        }
        for (size_t i = 0; i < b.count; i++) {
            char origin[30];
            snprintf(origin, sizeof origin, "damage[0]@%zu", records++);
            ASSERT_SLICE(b.records[i].origin, origin);
        }
        source_batch_done(&b);
    }
    assert_int_equal(records, 500);
    assert_true(failures > 0);
    driver->close(r);
    kafka_source_done(&s);
    kafka_proxy_end(&p);
}

/* Brokers fall silent in the middle: closing does not wait for them. */
static void test_silence(void **state) {
    fill_topic("silence", 1, 10);
    struct kafka_proxy p;
    kafka_proxy_start(&p, cluster.servers, NULL);
    struct kafka_source s;
    through(&s, &p, "silence", NULL);
    struct source_reader *r = NULL;
    ASSERT_OK(driver->open(&s.spec, NULL, &r));
    struct kafka_read read = {0};
    kafka_read(r, &read, 10);
    atomic_store(&p.frozen, true);
    ASSERT_OK(driver->stored(r)); /* a commit that is never answered */
    struct source_batch b;
    ASSERT_OK(driver->next(r, 500, &b));
    source_batch_done(&b);
    atomic_store(&s.cancelled, true);
    int64_t started = clock_boottime_ns();
    ASSERT_ERR(CANCELLED, driver->next(r, 500, &b));
    driver->close(r);
    assert_true(clock_boottime_ns() - started < SOURCE_CANCEL_MS * NS_PER_MS);
    kafka_read_done(&read);
    kafka_source_done(&s);
    kafka_proxy_end(&p);
}

/* Offsets that are no messages: marks of transactions, and what compaction removed. */
static void test_gaps(void **state) {
    static const int one[] = {0}, compacted[] = {0, 4};
    fill_topic("gaps", 1, 2);                                      /* 0, 1 */
    kafka_raw_produce(cluster.servers, "gaps", true, one, 1, 0);   /* 2 is a mark */
    kafka_fixture_produce(&cluster, "gaps", 0, NULL, "{\"n\":3}"); /* 3 */
    kafka_fixture_flush(&cluster);
    kafka_raw_produce(cluster.servers, "gaps", false, compacted, 2, 4); /* 4, 8; 5 to 7 are gone */
    for (int i = 0; i < 4; i++) /* the mock counts these from 6: it is asked for 9 next */
        kafka_fixture_produce(&cluster, "gaps", 0, NULL, "{}");
    kafka_fixture_flush(&cluster);
    kafka_raw_produce(cluster.servers, "gaps", true, one, 1, 0); /* 10 is a mark, and the end */
    struct kafka_source s;
    kafka_source_init(&s, &cluster, "gaps", NULL);
    struct source_reader *r = NULL;
    ASSERT_OK(driver->open(&s.spec, NULL, &r));
    struct kafka_read read = {0};
    kafka_read(r, &read, 6);
    kafka_read_rest(r, &read);
    static const int offsets[] = {0, 1, 3, 4, 8, 9};
    assert_int_equal(read.records, ARRAY_LEN(offsets));
    for (size_t i = 0; i < ARRAY_LEN(offsets); i++) {
        char origin[20];
        snprintf(origin, sizeof origin, "gaps[0]@%d", offsets[i]);
        ASSERT_SLICE(kafka_read_at(&read, i)->origin, origin);
    }
    /* So that retention of the mark is not taken for a loss. */
    AUTO(json_unref) json_t *partitions = json_of("{'0':11}");
    assert_true(json_equal(json_object_get(read.position, "partitions"), partitions));
    assert_true(read.is_snapshot_end);
    kafka_read_done(&read);
    driver->close(r);
    kafka_source_done(&s);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_login),        cmocka_unit_test(test_refused_login),
    cmocka_unit_test(test_false_broker), cmocka_unit_test(test_partitions_come),
    cmocka_unit_test(test_damage),       cmocka_unit_test(test_silence),
    cmocka_unit_test(test_gaps),
};

int main(void) {
    if (is_err(secret_start(1 << 20, true))) return 1;
    return cmocka_run_group_tests(tests, start, end);
}
