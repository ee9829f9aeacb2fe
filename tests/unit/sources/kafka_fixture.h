/* A Kafka cluster within the process (librdkafka's mock, which speaks the real protocol over TCP), and readers of it.
 */
#ifndef LOCKSET_TESTS_KAFKA_FIXTURE_H
#define LOCKSET_TESTS_KAFKA_FIXTURE_H

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdatomic.h>

#include "sources/driver.h"
#include "testing.h"

struct kafka_fixture {
    rd_kafka_t *producer;
    rd_kafka_mock_cluster_t *mock;
    const char *servers;
};
void kafka_fixture_start(struct kafka_fixture *f, int brokers);
void kafka_fixture_end(struct kafka_fixture *f);
void kafka_fixture_topic(struct kafka_fixture *f, const char *topic, int partitions);
/* key, value: NULL for none. Waits until it is there only in flush. */
void kafka_fixture_produce(struct kafka_fixture *f, const char *topic, int partition, const char *key,
                           const char *value);
void kafka_fixture_produce_bytes(struct kafka_fixture *f, const char *topic, int partition, struct slice key,
                                 struct slice value);
void kafka_fixture_flush(struct kafka_fixture *f);
/* Fills a partition until the cluster removes its oldest messages; returns the oldest offset that is left. */
int64_t kafka_fixture_overflow(struct kafka_fixture *f, const char *topic, int partition);

/* A source's spec that owns what it points to. */
struct kafka_source {
    struct source_spec spec;
    json_t *config, *integration;
    _Atomic bool cancelled;
};
/* config: JSON with ' for ", or NULL for {'kafka_topic_name': topic}. */
void kafka_source_init(struct kafka_source *s, const struct kafka_fixture *f, const char *topic, const char *config);
void kafka_source_done(struct kafka_source *s);

/* JSON with ' for "; the caller owns it. */
json_t *json_of(const char *text);

/* Records read in a row, by value. */
struct kafka_read {
    struct source_batch *batches; /* owned */
    size_t count, records;
    json_t *position; /* the last one; owned */
    bool is_snapshot_end;
};
/* Reads until there are at least `records` in all (fails after a while without any). */
void kafka_read(struct source_reader *r, struct kafka_read *to, size_t records);
/* Reads on until nothing comes for a moment. */
void kafka_read_rest(struct source_reader *r, struct kafka_read *to);
const struct source_record *kafka_read_at(const struct kafka_read *read, size_t at);
void kafka_read_done(struct kafka_read *read);

/* Of this process. */
size_t count_threads(void);
size_t count_descriptors(void);

#endif
