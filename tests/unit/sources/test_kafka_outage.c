/* Brokers that are away, silent or refuse us; cancelling; what is left behind. */
#include <arpa/inet.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "kafka_fixture.h"
#include "sources/resolve.h"

static const struct source_driver *driver;
static struct kafka_fixture cluster;

static int start(void **state) {
    driver = source_driver_find("kafka");
    kafka_fixture_start(&cluster, 1);
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

/* A port that takes connections and never says a word; *ret_servers names it. */
static int silent_port(char ret_servers[static 40]) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(fd, 50), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    snprintf(ret_servers, 40, "127.0.0.1:%d", ntohs(at.sin_port));
    return fd;
}

static void *cancel_soon(void *flag) {
    clock_sleep_ms(300);
    atomic_store((_Atomic bool *)flag, true);
    return NULL;
}

static int64_t ms_since(int64_t ns) {
    return (clock_boottime_ns() - ns) / NS_PER_MS;
}

/* Broker down and up again: reading goes on, without a gap and without a message twice. */
static void test_down_and_up(void **state) {
    kafka_fixture_topic(&cluster, "down", 1);
    for (int i = 0; i < 5; i++)
        kafka_fixture_produce(&cluster, "down", 0, NULL, "{}");
    kafka_fixture_flush(&cluster);
    struct kafka_source s;
    kafka_source_init(&s, &cluster, "down", NULL);
    struct source_reader *r = open_at(&s, NULL);
    struct kafka_read read = {0};
    kafka_read(r, &read, 5);
    rd_kafka_mock_broker_set_down(cluster.mock, 1);
    struct result got = OK;
    int64_t deadline = clock_boottime_ns() + 30 * NS_PER_S;
    while (is_ok(got) && clock_boottime_ns() < deadline) {
        struct source_batch b;
        got = driver->next(r, 100, &b);
        if (is_ok(got)) source_batch_done(&b);
    }
    assert_int_equal(got.code, ERR_UNREACHABLE);
    bool has;
    char *why = NULL;
    ASSERT_ERR(UNREACHABLE, driver->still_has(&s.spec, read.position, &has, &why));
    assert_non_null(why);
    mem_free(why);
    struct source_reader *none = NULL;
    ASSERT_ERR(UNREACHABLE, driver->open(&s.spec, NULL, &none));

    rd_kafka_mock_broker_set_up(cluster.mock, 1);
    for (int i = 0; i < 5; i++)
        kafka_fixture_produce(&cluster, "down", 0, NULL, "{\"later\":1}");
    kafka_fixture_flush(&cluster);
    deadline = clock_boottime_ns() + 30 * NS_PER_S;
    while (read.records < 10 && clock_boottime_ns() < deadline) {
        struct source_batch b;
        got = driver->next(r, 100, &b);
        if (is_err(got)) {
            assert_int_equal(got.code, ERR_UNREACHABLE);
            continue;
        }
        for (size_t i = 0; i < b.count; i++) {
            char origin[20];
            snprintf(origin, sizeof origin, "down[0]@%zu", read.records++);
            ASSERT_SLICE(b.records[i].origin, origin);
            ASSERT_SLICE(b.records[i].document, "{\"later\":1}");
        }
        source_batch_done(&b);
    }
    assert_int_equal(read.records, 10);
    kafka_read_done(&read);
    driver->close(r);
    kafka_source_done(&s);
}

static void test_cancel_while_waiting(void **state) {
    kafka_fixture_topic(&cluster, "waiting", 1);
    struct kafka_source s;
    kafka_source_init(&s, &cluster, "waiting", NULL);
    struct source_reader *r = open_at(&s, NULL);
    struct kafka_read read = {0};
    kafka_read_rest(r, &read);
    pthread_t thread;
    pthread_create(&thread, NULL, cancel_soon, &s.cancelled);
    int64_t started = clock_boottime_ns();
    struct source_batch b;
    ASSERT_ERR(CANCELLED, driver->next(r, 60000, &b));
    assert_true(ms_since(started) < 300 + SOURCE_CANCEL_MS);
    pthread_join(thread, NULL);
    started = clock_boottime_ns();
    driver->close(r);
    assert_true(ms_since(started) < SOURCE_CANCEL_MS);
    struct source_reader *none = NULL;
    ASSERT_ERR(CANCELLED, driver->open(&s.spec, NULL, &none));
    kafka_read_done(&read);
    kafka_source_done(&s);
}

static void test_cancel_silent(void **state) {
    char servers[40];
    int fd = silent_port(servers);
    struct kafka_source s;
    kafka_source_init(&s, &cluster, "t", NULL);
    json_object_set_new(s.integration, "bootstrap_servers", json_string(servers));
    for (int with_tls = 0; with_tls < 2; with_tls++) {
        if (with_tls) json_object_set_new(s.integration, "security_config", json_of("{'api_key':'k','secret':'s'}"));
        for (int asks = 0; asks < 2; asks++) {
            atomic_store(&s.cancelled, false);
            pthread_t thread;
            pthread_create(&thread, NULL, cancel_soon, &s.cancelled);
            int64_t started = clock_boottime_ns();
            struct source_reader *r = NULL;
            bool has;
            char *why = NULL;
            if (asks)
                ASSERT_ERR(CANCELLED, driver->still_has(&s.spec, NULL, &has, &why));
            else
                ASSERT_ERR(CANCELLED, driver->open(&s.spec, NULL, &r));
            assert_true(ms_since(started) >= 300);
            assert_true(ms_since(started) < 300 + SOURCE_CANCEL_MS);
            pthread_join(thread, NULL);
            mem_free(why);
        }
    }
    close(fd);
    kafka_source_done(&s);
}

/* TLS is wanted of a broker that has none: no credential leaves, and none is told. */
static void test_no_tls_there(void **state) {
    struct kafka_source s;
    kafka_source_init(&s, &cluster, "t", NULL);
    json_object_set_new(s.integration, "security_config", json_of("{'api_key':'theApiKey','secret':'theSecret'}"));
    struct source_reader *r = NULL;
    ASSERT_ERR(UNREACHABLE, driver->open(&s.spec, NULL, &r));
    assert_null(strstr(err_detail(), "theApiKey"));
    assert_null(strstr(err_detail(), "theSecret"));
    kafka_source_done(&s);
}

static void test_no_such_host(void **state) {
    struct kafka_source s;
    kafka_source_init(&s, &cluster, "t", NULL);
    json_object_set_new(s.integration, "bootstrap_servers", json_string("nowhere.invalid:9092"));
    struct source_reader *r = NULL;
    ASSERT_ERR(UNREACHABLE, driver->open(&s.spec, NULL, &r));
    assert_non_null(strstr(err_detail(), "nowhere.invalid"));
    kafka_source_done(&s);
}

/* Threads and sockets are gone once a reader is closed, in whatever state it was. */
static void test_leaves_nothing(void **state) {
    kafka_fixture_topic(&cluster, "clean", 2);
    for (int i = 0; i < 1000; i++)
        kafka_fixture_produce(&cluster, "clean", i % 2, NULL, "{}");
    kafka_fixture_flush(&cluster);
    struct kafka_source s;
    kafka_source_init(&s, &cluster, "clean", NULL);
    driver->close(open_at(&s, NULL)); /* what is made once only, is there now */
    char servers[40];
    int fd = silent_port(servers);
    /* The mock's own sockets close a moment after ours. */
    size_t threads = count_threads(), descriptors = 0;
    for (int i = 0; i < 100 && descriptors != count_descriptors(); i++) {
        descriptors = count_descriptors();
        clock_sleep_ms(100);
    }
    for (int i = 0; i < 6; i++) {
        bool silent = i >= 4;
        json_object_set_new(s.integration, "bootstrap_servers", json_string(silent ? servers : cluster.servers));
        atomic_store(&s.cancelled, false);
        if (silent) {
            pthread_t thread;
            pthread_create(&thread, NULL, cancel_soon, &s.cancelled);
            struct source_reader *r = NULL;
            ASSERT_ERR(CANCELLED, driver->open(&s.spec, NULL, &r));
            pthread_join(thread, NULL);
        } else {
            struct source_reader *r = open_at(&s, NULL);
            struct kafka_read read = {0};
            if (i) kafka_read(r, &read, (size_t)i * 300);
            assert_true(count_threads() > threads);
            int64_t started = clock_boottime_ns();
            driver->close(r);
            assert_true(ms_since(started) < SOURCE_CANCEL_MS);
            kafka_read_done(&read);
        }
        assert_int_equal(count_threads(), threads);
    }
    int64_t deadline = clock_boottime_ns() + 20 * NS_PER_S;
    while (count_descriptors() > descriptors && clock_boottime_ns() < deadline)
        clock_sleep_ms(20);
    assert_int_equal(count_descriptors(), descriptors);
    close(fd);
    kafka_source_done(&s);
}

static _Atomic int lookups_running;
static _Atomic bool lookup_may_end;

static int slow_lookup(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret) {
    atomic_fetch_add(&lookups_running, 1);
    while (!atomic_load(&lookup_may_end))
        clock_sleep_ms(5);
    int status = getaddrinfo("127.0.0.1", service, hints, ret);
    atomic_fetch_sub(&lookups_running, 1);
    return status;
}

/* A look-up of a name can't be interrupted; it is left alone. */
static void test_slow_lookup(void **state) {
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    _Atomic bool closing = false;
    struct addrinfo *found = NULL;
    size_t threads = count_threads();
    assert_int_equal(resolve(getaddrinfo, "127.0.0.1", "9092", &hints, 60000, &closing, &found), 0);
    assert_int_equal(ntohs(((struct sockaddr_in *)found->ai_addr)->sin_port), 9092);
    freeaddrinfo(found);
    while (count_threads() > threads) /* the first one's */
        clock_sleep_ms(5);
    pthread_t thread;
    pthread_create(&thread, NULL, cancel_soon, &closing);
    int64_t started = clock_boottime_ns();
    assert_int_equal(resolve(slow_lookup, "b", "9092", &hints, 60000, &closing, &found), EAI_AGAIN);
    assert_true(ms_since(started) < 300 + SOURCE_CANCEL_MS);
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&lookups_running), 1);
    started = clock_boottime_ns();
    atomic_store(&closing, false);
    assert_int_equal(resolve(slow_lookup, "b", "9092", &hints, 200, &closing, &found), EAI_AGAIN);
    assert_true(ms_since(started) >= 200 && ms_since(started) < 200 + SOURCE_CANCEL_MS);
    atomic_store(&lookup_may_end, true);
    while (count_threads() > threads)
        clock_sleep_ms(5);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_leaves_nothing), cmocka_unit_test(test_slow_lookup),
    cmocka_unit_test(test_down_and_up),    cmocka_unit_test(test_cancel_while_waiting),
    cmocka_unit_test(test_cancel_silent),  cmocka_unit_test(test_no_tls_there),
    cmocka_unit_test(test_no_such_host),
};

int main(void) {
    if (is_err(secret_start(1 << 20, true))) return 1;
    return cmocka_run_group_tests(tests, start, end);
}
