/* One connection to a Kafka cluster through librdkafka: what the driver asks of it, in our errors, and given up when
 * *cancelled is set. librdkafka has threads of its own; they and their sockets are gone once kafka_client_free returns.
 * Its log lines go to ours, its errors into details; neither ever holds the credentials. One thread at a time. */
#ifndef LOCKSET_SOURCES_KAFKA_CLIENT_H
#define LOCKSET_SOURCES_KAFKA_CLIENT_H

#include <librdkafka/rdkafka.h>
#include <stdatomic.h>

#include "base/err.h"
#include "sources/kafka_config.h"
#include "sources/kafka_position.h"

struct kafka_client {
    rd_kafka_t *rk;
    rd_kafka_topic_t *topic;
    const _Atomic bool *cancelled; /* borrowed */
    _Atomic bool closing;
    rd_kafka_queue_t *messages; /* of the partitions being read; NULL: none are */
    int32_t *reading;           /* those partitions; owned */
    size_t reading_count;
    rd_kafka_queue_t *answers; /* to commits */
    bool is_committing;
    char *api_key, *secret; /* what nothing may show; owned */
    enum err_code code;     /* of the last trouble that librdkafka told of, ERR_NONE: none */
    char *trouble;          /* its text; owned */
};

/* config is borrowed for the call. Nothing is waited for. CANCELLED, INTERNAL. */
struct result kafka_client_new(const struct kafka_config *config, const _Atomic bool *cancelled,
                               struct kafka_client **ret);
struct kafka_client *kafka_client_free(struct kafka_client *c); /* accepts NULL; within SOURCE_CANCEL_MS */
static inline void kafka_client_free_auto(struct kafka_client **c) {
    kafka_client_free(*c);
}

/* What a failure of librdkafka's is in our terms; what: a few words on what was tried, or NULL. */
struct result kafka_fail(const struct kafka_client *c, rd_kafka_resp_err_t e, const char *what, const char *text);
/* What librdkafka had to tell since the last call: that it is refused, or that all brokers are down. Else OK. */
struct result kafka_client_trouble(struct kafka_client *c);

/* The topic's partitions (their ids are 0 to *ret_count - 1), and the cluster's id (owned; NULL: it has none). The
 * answer is waited for until clock_boottime_ns() passes deadline, at least once for a moment. NOT_FOUND, FORBIDDEN,
 * UNREACHABLE, TIMEOUT, CANCELLED. */
struct result kafka_client_partitions(struct kafka_client *c, int64_t deadline, int32_t *ret_count, char **ret_cluster);
/* The oldest offset of a partition and the one behind its newest. The same failures. */
struct result kafka_client_bounds(struct kafka_client *c, int32_t partition, int64_t deadline, int64_t *ret_low,
                                  int64_t *ret_high);

/* Begins reading at the position, and forgets whatever was being read before. */
struct result kafka_client_read_from(struct kafka_client *c, const struct kafka_position *p);
/* The next message or error, NULL if there is none within wait_ms; the caller owns it. */
rd_kafka_message_t *kafka_client_next(struct kafka_client *c, int wait_ms);
/* Tells the cluster the group's offsets, if it has answered to the last ones. Not waited for; failures are ignored.
 * False: not now. */
bool kafka_client_commit(struct kafka_client *c, const char *group, const struct kafka_position *p);

/* Begins reading at the position, and forgets whatever was being read before. */
struct result kafka_client_read_from(struct kafka_client *c, const struct kafka_position *p);
/* The next message or error, NULL if there is none within wait_ms; the caller owns it. */
rd_kafka_message_t *kafka_client_next(struct kafka_client *c, int wait_ms);
/* Tells the cluster the group's offsets, if it has answered to the last ones. Not waited for; failures are ignored.
 * False: not now. */
bool kafka_client_commit(struct kafka_client *c, const char *group, const struct kafka_position *p);

/* Like getaddrinfo (the results are freed with freeaddrinfo), but gives up with EAI_AGAIN as soon as *closing is set:
 * the look-up then ends by itself in a thread of its own. */
typedef int kafka_lookup(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret);
int kafka_resolve(kafka_lookup *lookup, const char *node, const char *service, const struct addrinfo *hints,
                  const _Atomic bool *closing, struct addrinfo **ret);

#endif
