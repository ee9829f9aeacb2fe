#include "sources/kafka_client.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "sources/resolve.h"

enum {
    SLICE_MS = 600,              /* of waiting, so that cancelling is noticed in time */
    ALL_DOWN_PATIENCE_MS = 2000, /* librdkafka says that all brokers are down at the first refusal */
    RETRY_MS = 20,
    RESOLVE_MS = 60000,
    TEXT_MAX_BYTES = 1000,
    SYSLOG_ERROR = 3,
};

/* ---- what is told of ---- */

/* Appends text with the credentials taken out. */
static void append_clean(const struct kafka_client *c, const char *text, struct buf *out) {
    const char *const hidden[] = {c->secret, c->api_key};
    while (*text) {
        size_t skip = 0;
        for (size_t i = 0; i < ARRAY_LEN(hidden) && !skip; i++)
            if (hidden[i] && strncmp(text, hidden[i], strlen(hidden[i])) == 0) skip = strlen(hidden[i]);
        if (skip)
            buf_append_str(out, "***");
        else
            buf_append_byte(out, (uint8_t)*text);
        text += skip ? skip : 1;
    }
}

static enum err_code code_of(rd_kafka_resp_err_t e) {
    static const struct {
        rd_kafka_resp_err_t theirs;
        enum err_code ours;
    } table[] = {
        {RD_KAFKA_RESP_ERR__AUTHENTICATION, ERR_FORBIDDEN},
        {RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED, ERR_FORBIDDEN},
        {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, ERR_FORBIDDEN},
        {RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, ERR_FORBIDDEN},
        {RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, ERR_NOT_FOUND},
        {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, ERR_NOT_FOUND},
        {RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, ERR_NOT_FOUND},
        {RD_KAFKA_RESP_ERR__TIMED_OUT, ERR_TIMEOUT},
        {RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, ERR_TIMEOUT},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (table[i].theirs == e) return table[i].ours;
    return ERR_UNREACHABLE;
}

struct result kafka_fail(const struct kafka_client *c, rd_kafka_resp_err_t e, const char *what, const char *text) {
    BUF_AUTO(clean, TEXT_MAX_BYTES);
    append_clean(c, text && *text ? text : rd_kafka_err2str(e), &clean);
    enum err_code code = code_of(e);
    if (what) FAIL(code, "Kafka: %s: %.200s", what, buf_str(&clean));
    FAIL(code, "Kafka: %.220s", buf_str(&clean));
}

struct result kafka_client_trouble(struct kafka_client *c) {
    enum err_code code = c->code;
    if (code == ERR_NONE) return OK;
    c->code = ERR_NONE;
    FAIL(code, "%s", c->trouble);
}

/* Called by librdkafka within our own calls of rd_kafka_poll. */
static void on_error(rd_kafka_t *rk, int error, const char *reason, void *opaque) {
    struct kafka_client *c = opaque;
    rd_kafka_resp_err_t e = error;
    if (c->code == ERR_FORBIDDEN) return; /* that is the one that matters */
    struct result r = kafka_fail(c, e, NULL, reason);
    mem_free(c->trouble);
    c->trouble = str_dup(err_detail());
    /* A refused connection is of interest as a reason only once all of them are. */
    if (r.code == ERR_FORBIDDEN || e == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) c->code = r.code;
}

/* Called by librdkafka in any thread. */
static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text) {
    const struct kafka_client *c = rk ? rd_kafka_opaque(rk) : NULL;
    BUF_AUTO(clean, TEXT_MAX_BYTES);
    if (c) append_clean(c, text, &clean);
    bool matters = level <= SYSLOG_ERROR && c && !atomic_load(&c->closing);
    log_write(matters ? LOG_INFO : LOG_DEBUG, "kafka.library",
              LOG_PAIRS(KV("about", facility), KV("text", buf_str(&clean))));
}

static int on_resolve(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found,
                      void *opaque) {
    if (!node && !service) {
        if (*found) freeaddrinfo(*found);
        return 0;
    }
    const struct kafka_client *c = opaque;
    return resolve(getaddrinfo, node, service, hints, RESOLVE_MS, &c->closing, found);
}

/* ---- making and freeing ---- */

static void conf_free(rd_kafka_conf_t **conf) {
    if (*conf) rd_kafka_conf_destroy(*conf);
}

static struct result set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char why[256] = "";
    /* The reason may hold the value: it is not shown. */
    CHECK(rd_kafka_conf_set(conf, name, value, why, sizeof why) == RD_KAFKA_CONF_OK, ERR_INTERNAL,
          "librdkafka refuses the setting %s", name);
    return OK;
}

static struct result set_all(rd_kafka_conf_t *conf, const struct kafka_config *config) {
    static const char *const fixed[][2] = {
        {"client.id", "lockset"},
        /* Offsets are ours alone. */
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"auto.offset.reset", "error"},
        {"allow.auto.create.topics", "false"},
        {"enable.partition.eof", "true"},
        {"isolation.level", "read_committed"},
        {"check.crcs", "true"},
        /* Memory: about 32 MiB for each source. */
        {"fetch.max.bytes", "16777216"},
        {"queued.max.messages.kbytes", "16384"},
        {"socket.nagle.disable", "true"},
        {"socket.keepalive.enable", "true"},
        {"socket.timeout.ms", "30000"},
        {"socket.connection.setup.timeout.ms", "10000"},
        {"reconnect.backoff.max.ms", "2000"},
        {"fetch.error.backoff.ms", "200"},
        {"log.connection.close", "false"},
        {"log.thread.name", "false"},
        {"log_level", "4"},
    };
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        TRY(set(conf, fixed[i][0], fixed[i][1]));
    TRY(set(conf, "bootstrap.servers", config->servers));
    TRY(set(conf, "security.protocol", config->api_key ? "sasl_ssl" : "plaintext"));
    if (config->api_key) {
        TRY(set(conf, "sasl.mechanisms", "PLAIN"));
        TRY(set(conf, "sasl.username", config->api_key));
        TRY(set(conf, "sasl.password", config->secret));
    }
    return OK;
}

struct result kafka_client_new(const struct kafka_config *config, const _Atomic bool *cancelled,
                               struct kafka_client **ret) {
    CHECK(!atomic_load(cancelled), ERR_CANCELLED, "Kafka: cancelled");
    AUTO(kafka_client_free_auto) struct kafka_client *c = mem_alloc(sizeof *c);
    c->cancelled = cancelled;
    c->api_key = str_dup(config->api_key);
    c->secret = str_dup(config->secret);
    AUTO(conf_free) rd_kafka_conf_t *conf = rd_kafka_conf_new();
    TRY(set_all(conf, config));
    rd_kafka_conf_set_opaque(conf, c);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_resolve_cb(conf, on_resolve);
    char why[256] = "";
    c->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    if (!c->rk) {
        BUF_AUTO(clean, TEXT_MAX_BYTES);
        append_clean(c, why, &clean);
        FAIL(ERR_INTERNAL, "Kafka: %.200s", buf_str(&clean));
    }
    conf = NULL; /* it is rk's now */
    c->answers = rd_kafka_queue_new(c->rk);
    c->topic = rd_kafka_topic_new(c->rk, config->topic, NULL);
    CHECK(c->topic, ERR_INTERNAL, "Kafka: %s", rd_kafka_err2str(rd_kafka_last_error()));
    *ret = TAKE(c);
    return OK;
}

/* The partitions' messages that were not taken go with the queue. */
static void stop_reading(struct kafka_client *c) {
    for (size_t i = 0; i < c->reading_count; i++)
        rd_kafka_consume_stop(c->topic, c->reading[i]); /* fails if it isn't there any more, and is stopped by that */
    c->reading_count = 0;
    if (c->messages) rd_kafka_queue_destroy(c->messages);
    c->messages = NULL;
}

struct kafka_client *kafka_client_free(struct kafka_client *c) {
    if (!c) return NULL;
    atomic_store(&c->closing, true);
    stop_reading(c);
    if (c->answers) rd_kafka_queue_destroy(c->answers);
    if (c->topic) rd_kafka_topic_destroy(c->topic);
    if (c->rk) rd_kafka_destroy(c->rk);
    mem_free_wiping(c->api_key);
    mem_free_wiping(c->secret);
    mem_free(c->reading);
    mem_free(c->trouble);
    mem_free(c);
    return NULL;
}

/* ---- asking ---- */

/* An attempt failed with e: may there be another one? */
static struct result may_try_again(struct kafka_client *c, rd_kafka_resp_err_t e, const char *what, int64_t started,
                                   int64_t deadline) {
    CHECK(!atomic_load(c->cancelled), ERR_CANCELLED, "Kafka: %s: cancelled", what);
    enum err_code code = code_of(e);
    if (code == ERR_FORBIDDEN || code == ERR_NOT_FOUND) return kafka_fail(c, e, what, NULL);
    int64_t now = clock_boottime_ns();
    bool all_down = c->code == ERR_UNREACHABLE && now - started > ALL_DOWN_PATIENCE_MS * NS_PER_MS;
    if (c->code == ERR_FORBIDDEN || all_down) return kafka_client_trouble(c);
    if (now < deadline) return OK;
    if (c->trouble && code != ERR_TIMEOUT) FAIL(code, "%s", c->trouble);
    return kafka_fail(c, e, what, c->trouble);
}

/* Asking is in slices, with a moment between them as some failures come at once. */
static struct result ask_again(struct kafka_client *c, rd_kafka_resp_err_t e, const char *what, int64_t started,
                               int64_t deadline) {
    rd_kafka_poll(c->rk, 0);
    TRY(may_try_again(c, e, what, started, deadline));
    clock_sleep_ms(RETRY_MS);
    return OK;
}

static rd_kafka_resp_err_t topic_error(const struct rd_kafka_metadata *m) {
    if (m->topic_cnt != 1) return RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
    if (m->topics[0].err) return m->topics[0].err;
    return m->topics[0].partition_cnt > 0 ? RD_KAFKA_RESP_ERR_NO_ERROR : RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
}

struct result kafka_client_partitions(struct kafka_client *c, int64_t deadline, int32_t *ret_count,
                                      char **ret_cluster) {
    int64_t started = clock_boottime_ns();
    for (;;) {
        const struct rd_kafka_metadata *m = NULL;
        rd_kafka_resp_err_t e = rd_kafka_metadata(c->rk, 0, c->topic, &m, SLICE_MS);
        if (!e) e = topic_error(m);
        if (!e) *ret_count = m->topics[0].partition_cnt;
        if (m) rd_kafka_metadata_destroy(m);
        if (!e) break;
        TRY(ask_again(c, e, rd_kafka_topic_name(c->topic), started, deadline));
    }
    char *cluster = rd_kafka_clusterid(c->rk, 0);
    *ret_cluster = str_dup(cluster);
    if (cluster) rd_kafka_mem_free(c->rk, cluster);
    return OK;
}

struct result kafka_client_bounds(struct kafka_client *c, int32_t partition, int64_t deadline, int64_t *ret_low,
                                  int64_t *ret_high) {
    int64_t started = clock_boottime_ns();
    for (;;) {
        rd_kafka_resp_err_t e = rd_kafka_query_watermark_offsets(c->rk, rd_kafka_topic_name(c->topic), partition,
                                                                 ret_low, ret_high, SLICE_MS);
        if (!e) return OK;
        TRY(ask_again(c, e, rd_kafka_topic_name(c->topic), started, deadline));
    }
}

/* ---- reading ---- */

struct result kafka_client_read_from(struct kafka_client *c, const struct kafka_position *p) {
    stop_reading(c);
    c->messages = rd_kafka_queue_new(c->rk);
    c->reading = mem_resize(c->reading, p->count * sizeof *c->reading);
    for (size_t i = 0; i < p->count; i++) {
        const struct kafka_part *part = &p->parts[i];
        if (rd_kafka_consume_start_queue(c->topic, part->id, part->next, c->messages) != 0)
            return kafka_fail(c, rd_kafka_last_error(), rd_kafka_topic_name(c->topic), NULL);
        c->reading[c->reading_count++] = part->id;
    }
    return OK;
}

rd_kafka_message_t *kafka_client_next(struct kafka_client *c, int wait_ms) {
    return rd_kafka_consume_queue(c->messages, wait_ms);
}

bool kafka_client_commit(struct kafka_client *c, const char *group, const struct kafka_position *p) {
    rd_kafka_event_t *answer = rd_kafka_queue_poll(c->answers, 0);
    if (answer) {
        c->is_committing = false;
        rd_kafka_event_destroy(answer);
    }
    if (c->is_committing) return false;
    rd_kafka_topic_partition_list_t *offsets = rd_kafka_topic_partition_list_new((int)p->count);
    for (size_t i = 0; i < p->count; i++)
        rd_kafka_topic_partition_list_add(offsets, rd_kafka_topic_name(c->topic), p->parts[i].id)->offset =
            p->parts[i].next;
    rd_kafka_AlterConsumerGroupOffsets_t *alter = rd_kafka_AlterConsumerGroupOffsets_new(group, offsets);
    rd_kafka_topic_partition_list_destroy(offsets);
    rd_kafka_AlterConsumerGroupOffsets(c->rk, &alter, 1, NULL, c->answers);
    rd_kafka_AlterConsumerGroupOffsets_destroy(alter);
    c->is_committing = true;
    return true;
}
