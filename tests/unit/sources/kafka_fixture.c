#include "kafka_fixture.h"

#include <dirent.h>
#include <string.h>

#include "base/clock.h"

enum { PATIENCE_MS = 60000, QUIET_MS = 700 };

void kafka_fixture_start(struct kafka_fixture *f, int brokers) {
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    const char *const settings[][2] = {{"linger.ms", "5"},          {"batch.num.messages", "1000"},
                                       {"compression.type", "lz4"}, {"queue.buffering.max.messages", "1000000"},
                                       {"log_level", "3"},          {"reconnect.backoff.max.ms", "200"}};
    for (size_t i = 0; i < ARRAY_LEN(settings); i++)
        assert_int_equal(rd_kafka_conf_set(conf, settings[i][0], settings[i][1], why, sizeof why), RD_KAFKA_CONF_OK);
    f->producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    assert_non_null(f->producer);
    f->mock = rd_kafka_mock_cluster_new(f->producer, brokers);
    assert_non_null(f->mock);
    f->servers = rd_kafka_mock_cluster_bootstraps(f->mock);
    assert_true(rd_kafka_brokers_add(f->producer, f->servers) > 0);
}

void kafka_fixture_end(struct kafka_fixture *f) {
    rd_kafka_mock_cluster_destroy(f->mock);
    rd_kafka_destroy(f->producer);
    *f = (struct kafka_fixture){0};
}

void kafka_fixture_topic(struct kafka_fixture *f, const char *topic, int partitions) {
    assert_int_equal(rd_kafka_mock_topic_create(f->mock, topic, partitions, 1), RD_KAFKA_RESP_ERR_NO_ERROR);
}

void kafka_fixture_produce_bytes(struct kafka_fixture *f, const char *topic, int partition, struct slice key,
                                 struct slice value) {
    rd_kafka_resp_err_t e = rd_kafka_producev(f->producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
                                              RD_KAFKA_V_KEY(mem_unconst(key.data), key.len),
                                              RD_KAFKA_V_VALUE(mem_unconst(value.data), value.len),
                                              RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
    if (e) fail_msg("produce: %s", rd_kafka_err2str(e));
}

void kafka_fixture_produce(struct kafka_fixture *f, const char *topic, int partition, const char *key,
                           const char *value) {
    kafka_fixture_produce_bytes(f, topic, partition, slice_str(key), slice_str(value));
}

void kafka_fixture_flush(struct kafka_fixture *f) {
    assert_int_equal(rd_kafka_flush(f->producer, PATIENCE_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
}

static void bounds(struct kafka_fixture *f, const char *topic, int partition, int64_t *low, int64_t *high) {
    rd_kafka_resp_err_t e = rd_kafka_query_watermark_offsets(f->producer, topic, partition, low, high, 10000);
    if (e) fail_msg("bounds: %s", rd_kafka_err2str(e));
}

int64_t kafka_fixture_overflow(struct kafka_fixture *f, const char *topic, int partition) {
    BUF_AUTO(value, 1 << 20);
    buf_append_str(&value, "{\"filler\":\"");
    while (value.len < 200000) { /* not to be compressed away */
        char digits[20];
        snprintf(digits, sizeof digits, "%lx", (unsigned long)((value.len + 7) * 0x9E3779B97F4A7C15UL));
        buf_append_str(&value, digits);
    }
    buf_append_str(&value, "\"}");
    int64_t low = 0, low_before = 0, high = 0;
    bounds(f, topic, partition, &low_before, &high);
    for (int i = 0; i < 200 && low <= low_before; i++) {
        kafka_fixture_produce_bytes(f, topic, partition, slice_make(NULL, 0), buf_slice(&value));
        kafka_fixture_flush(f);
        bounds(f, topic, partition, &low, &high);
    }
    assert_true(low > low_before);
    return low;
}

json_t *json_of(const char *text) {
    BUF_AUTO(quoted, 1 << 16);
    for (; *text; text++)
        buf_append_byte(&quoted, *text == '\'' ? '"' : (uint8_t)*text);
    json_t *j = NULL;
    ASSERT_OK(json_parse(buf_slice(&quoted), &j));
    return j;
}

void kafka_source_init(struct kafka_source *s, const struct kafka_fixture *f, const char *topic, const char *config) {
    *s = (struct kafka_source){0};
    s->config = config ? json_of(config) : json_object();
    json_object_set_new(s->config, "kafka_topic_name", json_string(topic));
    s->integration = json_object();
    json_object_set_new(s->integration, "bootstrap_servers", json_string(f->servers));
    s->spec = (struct source_spec){.source_id = "s1",
                                   .region = "local",
                                   .config = s->config,
                                   .integration = s->integration,
                                   .cancelled = &s->cancelled};
}

void kafka_source_done(struct kafka_source *s) {
    json_decref(s->config);
    json_decref(s->integration);
}

static bool read_one(struct source_reader *r, struct kafka_read *to, unsigned wait_ms) {
    to->batches = mem_resize(to->batches, (to->count + 1) * sizeof *to->batches);
    struct source_batch *b = &to->batches[to->count];
    ASSERT_OK(source_driver_find("kafka")->next(r, wait_ms, b));
    to->count++;
    to->records += b->count;
    assert_true(b->count <= SOURCE_BATCH_MAX_RECORDS);
    assert_true(b->count == 1 || b->text.len <= SOURCE_BATCH_MAX_BYTES);
    assert_true(b->count == 0 || b->position);
    assert_true(!b->is_snapshot_end || !to->is_snapshot_end);
    if (b->position) {
        json_decref(to->position);
        to->position = json_incref(b->position);
    }
    to->is_snapshot_end = to->is_snapshot_end || b->is_snapshot_end;
    return b->count > 0 || b->position;
}

void kafka_read(struct source_reader *r, struct kafka_read *to, size_t records) {
    int64_t deadline = clock_boottime_ns() + PATIENCE_MS * NS_PER_MS;
    while (to->records < records) {
        if (clock_boottime_ns() > deadline) fail_msg("%zu records of %zu came", to->records, records);
        read_one(r, to, 200);
    }
}

void kafka_read_rest(struct source_reader *r, struct kafka_read *to) {
    while (read_one(r, to, QUIET_MS))
        ;
}

const struct source_record *kafka_read_at(const struct kafka_read *read, size_t at) {
    for (size_t i = 0; i < read->count; i++) {
        if (at < read->batches[i].count) return &read->batches[i].records[at];
        at -= read->batches[i].count;
    }
    fail_msg("there are only %zu records", read->records);
    return NULL;
}

void kafka_read_done(struct kafka_read *read) {
    for (size_t i = 0; i < read->count; i++)
        source_batch_done(&read->batches[i]);
    mem_free(read->batches);
    json_decref(read->position);
    *read = (struct kafka_read){0};
}

static size_t count_entries(const char *folder) {
    DIR *d = opendir(folder);
    assert_non_null(d);
    size_t n = 0;
    for (const struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

size_t count_threads(void) {
    return count_entries("/proc/self/task");
}

size_t count_descriptors(void) {
    return count_entries("/proc/self/fd");
}
