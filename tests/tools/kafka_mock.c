/* kafka-mock [BROKERS]: a Kafka cluster for tests (librdkafka's mock: the real protocol over TCP, all in memory, at
 * most 5 MB in a partition). The first line on stdout is {"bootstrap_servers": "..."}. Each line on stdin is a command,
 * each gets a line back, {"ok": true, ...} or {"ok": false, "why"}; the end of stdin ends it.
 *
 *     {"do": "topic", "topic", "partitions"}                    makes a topic
 *     {"do": "produce", "topic", "partition", "key", "value"}   texts; left out or null: none
 *     {"do": "flush"}                                           waits until all that was produced is there
 *     {"do": "bounds", "topic", "partition"}                    "low", "high"
 *     {"do": "overflow", "topic", "partition"}                  retention: removes all that was there; "low", "high"
 *     {"do": "delete", "topic"}                                 clients are told that there is no such topic
 *     {"do": "down"}, {"do": "up"}                              all brokers
 *     {"do": "committed", "group", "topic", "partition"}        "offset", -1001: none */
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

enum { WAIT_MS = 30000, FILLER_BYTES = 200000, PARTITION_BYTES = 6000000 };

struct cluster {
    rd_kafka_t *producer;
    rd_kafka_mock_cluster_t *mock;
};

static struct result of(rd_kafka_resp_err_t e) {
    CHECK(!e, ERR_IO, "%s", rd_kafka_err2str(e));
    return OK;
}

static rd_kafka_t *client(rd_kafka_type_t type, const char *const settings[][2]) {
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    for (size_t i = 0; settings[i][0]; i++)
        if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], why, sizeof why)) {
            fprintf(stderr, "kafka-mock: %s\n", why);
            exit(1);
        }
    rd_kafka_t *rk = rd_kafka_new(type, conf, why, sizeof why);
    if (!rk) {
        fprintf(stderr, "kafka-mock: %s\n", why);
        exit(1);
    }
    return rk;
}

static struct result get_partition(const json_t *j, int32_t *ret) {
    int64_t partition = 0;
    TRY(json_get_int(j, "partition", 0, INT32_MAX, &partition));
    *ret = (int32_t)partition;
    return OK;
}

static struct result put(struct cluster *c, const char *topic, int32_t partition, const char *key, const char *value) {
    return of(rd_kafka_producev(c->producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
                                RD_KAFKA_V_KEY(mem_unconst(key), key ? strlen(key) : 0),
                                RD_KAFKA_V_VALUE(mem_unconst(value), value ? strlen(value) : 0),
                                RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY | RD_KAFKA_MSG_F_BLOCK), RD_KAFKA_V_END));
}

static struct result flush(struct cluster *c) {
    return of(rd_kafka_flush(c->producer, WAIT_MS));
}

static struct result do_topic(struct cluster *c, const char *topic, const json_t *j, json_t *ret) {
    int64_t partitions = 1;
    TRY(json_opt_int(j, "partitions", 1, 1000, &partitions));
    return of(rd_kafka_mock_topic_create(c->mock, topic, (int)partitions, 1));
}

static struct result do_produce(struct cluster *c, const char *topic, const json_t *j, json_t *ret) {
    int32_t partition = 0;
    TRY(get_partition(j, &partition));
    return put(c, topic, partition, json_string_value(json_object_get(j, "key")),
               json_string_value(json_object_get(j, "value")));
}

static struct result do_flush(struct cluster *c, const char *topic, const json_t *j, json_t *ret) {
    return flush(c);
}

static struct result do_bounds(struct cluster *c, const char *topic, const json_t *j, json_t *ret) {
    int32_t partition = 0;
    int64_t low = 0, high = 0;
    TRY(get_partition(j, &partition));
    TRY(of(rd_kafka_query_watermark_offsets(c->producer, topic, partition, &low, &high, WAIT_MS)));
    json_object_set_new(ret, "low", json_integer(low));
    json_object_set_new(ret, "high", json_integer(high));
    return OK;
}

/* The mock keeps a bounded number of bytes of each partition. */
static struct result do_overflow(struct cluster *c, const char *topic, const json_t *j, json_t *ret) {
    int32_t partition = 0;
    TRY(get_partition(j, &partition));
    BUF_AUTO(value, FILLER_BYTES * 2);
    buf_append_str(&value, "{\"filler\":\"");
    for (uint64_t i = 1; value.len < FILLER_BYTES; i++)
        buf_printf(&value, "%llx", (unsigned long long)(i * 0x9E3779B97F4A7C15ULL));
    buf_append_str(&value, "\"}");
    for (size_t sent = 0; sent < PARTITION_BYTES; sent += value.len) {
        TRY(put(c, topic, partition, NULL, buf_str(&value)));
        TRY(flush(c));
    }
    return do_bounds(c, topic, j, ret);
}

static struct result do_delete(struct cluster *c, const char *topic, const json_t *j, json_t *ret) {
    rd_kafka_mock_topic_set_error(c->mock, topic, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    return OK;
}

static struct result do_down(struct cluster *c, const char *topic, const json_t *j, json_t *ret) {
    return of(rd_kafka_mock_broker_set_down(c->mock, -1));
}

static struct result do_up(struct cluster *c, const char *topic, const json_t *j, json_t *ret) {
    return of(rd_kafka_mock_broker_set_up(c->mock, -1));
}

static struct result do_committed(struct cluster *c, const char *topic, const json_t *j, json_t *ret) {
    int32_t partition = 0;
    const char *group = NULL;
    TRY(get_partition(j, &partition));
    TRY(json_get_str(j, "group", &group));
    rd_kafka_t *rk = client(RD_KAFKA_CONSUMER,
                            (const char *const[][2]){{"bootstrap.servers", rd_kafka_mock_cluster_bootstraps(c->mock)},
                                                     {"group.id", group},
                                                     {NULL, NULL}});
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition);
    struct result r = of(rd_kafka_committed(rk, list, WAIT_MS));
    json_object_set_new(ret, "offset", json_integer(list->elems[0].offset));
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(rk);
    return r;
}

static const struct {
    const char *name;
    bool has_topic;
    struct result (*run)(struct cluster *c, const char *topic, const json_t *j, json_t *ret);
} commands[] = {
    {"topic", true, do_topic},         {"produce", true, do_produce},
    {"flush", false, do_flush},        {"bounds", true, do_bounds},
    {"overflow", true, do_overflow},   {"delete", true, do_delete},
    {"down", false, do_down},          {"up", false, do_up},
    {"committed", true, do_committed},
};

static struct result run(struct cluster *c, struct slice line, json_t *ret) {
    JSON_AUTO(j);
    const char *name = NULL, *topic = NULL;
    TRY(json_parse_object(line, &j));
    TRY(json_get_str(j, "do", &name));
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(commands[i].name, name) != 0) continue;
        if (commands[i].has_topic) TRY(json_get_str(j, "topic", &topic));
        return commands[i].run(c, topic, j, ret);
    }
    FAIL(ERR_INVALID, "there is no '%s'", name);
}

static void say(json_t *j) {
    BUF_AUTO(text, 1 << 20);
    result_ignore(json_write(j, &text));
    printf("%s\n", buf_str(&text));
    fflush(stdout);
    json_decref(j);
}

int main(int argc, char **argv) {
    struct cluster c = {0};
    c.producer = client(RD_KAFKA_PRODUCER, (const char *const[][2]){{"linger.ms", "5"},
                                                                    {"batch.num.messages", "500"},
                                                                    {"log_level", "2"},
                                                                    {"reconnect.backoff.max.ms", "200"},
                                                                    {NULL, NULL}});
    c.mock = rd_kafka_mock_cluster_new(c.producer, argc > 1 ? (int)strtol(argv[1], NULL, 10) : 1);
    if (!c.mock) {
        fprintf(stderr, "kafka-mock: no cluster of that many brokers\n");
        return 1;
    }
    const char *servers = rd_kafka_mock_cluster_bootstraps(c.mock);
    rd_kafka_brokers_add(c.producer, servers);
    json_t *first = json_object();
    json_object_set_new(first, "bootstrap_servers", json_string(servers));
    say(first);
    char *line = NULL;
    size_t size = 0;
    for (ssize_t n; (n = getline(&line, &size, stdin)) > 0;) {
        rd_kafka_poll(c.producer, 0);
        json_t *answer = json_object();
        struct result r = run(&c, slice_make(line, (size_t)n), answer);
        json_object_set_new(answer, "ok", json_boolean(is_ok(r)));
        if (is_err(r)) json_object_set_new(answer, "why", json_string(err_detail()));
        say(answer);
    }
    free(line);
    rd_kafka_mock_cluster_destroy(c.mock);
    rd_kafka_destroy(c.producer);
    return 0;
}
