/* 100,000 messages, with a reader that is thrown away at every batch, sometimes before the batch was stored: what was
 * stored in the end is what was produced, each message once and in its partition's order. */
#include "kafka_fixture.h"

#include <inttypes.h>

#include "base/clock.h"

enum { MESSAGES = 100000, PARTITIONS = 4, BURST = 2500, PATIENCE_S = 100 };

struct expected {
    unsigned *numbers[PARTITIONS]; /* produced, in their order */
    size_t counts[PARTITIONS];
    size_t stored[PARTITIONS];
};

static unsigned next_random(unsigned *seed) {
    *seed = *seed * 1664525U + 1013904223U;
    return *seed >> 8;
}

static void produce(struct kafka_fixture *f, struct expected *e, unsigned from, unsigned to, unsigned *seed) {
    for (unsigned i = from; i < to; i++) {
        unsigned p = next_random(seed) % PARTITIONS;
        char value[40];
        snprintf(value, sizeof value, "{\"n\":%u}", i);
        kafka_fixture_produce(f, "exact", (int)p, NULL, value);
        e->numbers[p][e->counts[p]++] = i;
    }
    kafka_fixture_flush(f);
}

/* Stores a batch: each record must be the next one of its partition. */
static size_t store(struct expected *e, const struct source_batch *b) {
    for (size_t i = 0; i < b->count; i++) {
        const struct source_record *r = &b->records[i];
        unsigned p = r->origin.data[6] - (unsigned)'0'; /* "exact[p]@..." */
        assert_true(p < PARTITIONS);
        assert_true(e->stored[p] < e->counts[p]);
        char origin[40], document[40];
        snprintf(origin, sizeof origin, "exact[%u]@%zu", p, e->stored[p]);
        snprintf(document, sizeof document, "{\"n\":%u}", e->numbers[p][e->stored[p]]);
        ASSERT_SLICE(r->origin, origin);
        ASSERT_SLICE(r->document, document);
        e->stored[p]++;
    }
    return b->count;
}

static void test_exact(void **state) {
    const struct source_driver *driver = source_driver_find("kafka");
    struct kafka_fixture f;
    kafka_fixture_start(&f, 3);
    kafka_fixture_topic(&f, "exact", PARTITIONS);
    struct expected e = {0};
    for (int p = 0; p < PARTITIONS; p++)
        e.numbers[p] = mem_alloc_array(MESSAGES, sizeof(unsigned));
    struct kafka_source s;
    kafka_source_init(&s, &f, "exact", NULL);

    unsigned seed = 7, produced = 0;
    size_t stored = 0, restarts = 0, crashes = 0;
    json_t *position = NULL;
    int64_t deadline = clock_boottime_ns() + PATIENCE_S * NS_PER_S;
    while (stored < MESSAGES) {
        if (clock_boottime_ns() > deadline) fail_msg("%zu stored", stored);
        if (produced < MESSAGES && produced < stored + BURST) {
            unsigned to = produced + 1 + next_random(&seed) % BURST;
            produce(&f, &e, produced, to < MESSAGES ? to : MESSAGES, &seed);
            produced = to < MESSAGES ? to : MESSAGES;
        }
        struct source_reader *r = NULL;
        ASSERT_OK(driver->open(&s.spec, position, &r));
        restarts++;
        unsigned batches = 1 + next_random(&seed) % 3;
        for (unsigned i = 0; i < batches; i++) {
            struct source_batch b;
            ASSERT_OK(driver->next(r, 500, &b));
            bool crash = next_random(&seed) % 4 == 0; /* read, and lost before it was stored */
            if (!crash) {
                stored += store(&e, &b);
                if (b.position) {
                    json_decref(position);
                    position = json_incref(b.position);
                }
                ASSERT_OK(driver->stored(r));
            }
            source_batch_done(&b);
            crashes += crash;
            if (crash) break;
        }
        driver->close(r);
    }
    print_message("%zu readers, %zu of them gone before a batch was stored\n", restarts, crashes);
    assert_true(restarts > 20 && crashes > 5);
    /* and nothing more */
    struct source_reader *r = NULL;
    ASSERT_OK(driver->open(&s.spec, position, &r));
    struct kafka_read rest = {0};
    kafka_read_rest(r, &rest);
    assert_int_equal(rest.records, 0);
    kafka_read_done(&rest);
    driver->close(r);
    for (int p = 0; p < PARTITIONS; p++) {
        assert_int_equal(e.stored[p], e.counts[p]);
        mem_free(e.numbers[p]);
    }
    assert_int_equal(json_integer_value(json_object_get(position, "records")), MESSAGES);
    json_decref(position);
    kafka_source_done(&s);
    kafka_fixture_end(&f);
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(test_exact)};
TEST_MAIN(tests)
