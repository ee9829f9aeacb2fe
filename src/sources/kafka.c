/* The driver: partitions are assigned by hand, at offsets of our own. See kafka_position.h for what is kept, and
 * kafka_record.h for what becomes of a message. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "sources/drivers.h"
#include "sources/kafka_client.h"
#include "sources/kafka_record.h"

enum {
    CONNECT_MS = 20000,          /* open and still_has give up after this */
    BOUNDS_MS = 5000,            /* for one partition's bounds while reading */
    POLL_SLICE_MS = 100,         /* of waiting for a message, so that cancelling is noticed */
    PARTITIONS_EVERY_MS = 10000, /* how often new partitions are looked for */
    COMMIT_EVERY_MS = 1000,
    LOST_MAX_BYTES = 1000,
};

struct source_reader {
    const _Atomic bool *cancelled;
    struct kafka_config config;
    struct kafka_client *client;
    struct kafka_position position;
    rd_kafka_message_t *held; /* the first one of the next batch */
    bool must_assign;         /* reading has to begin anew at the position */
    bool is_new_position;     /* it differs from what the last batch said */
    bool was_initial;         /* the end of the initial load was not told yet */
    char *lost;               /* why the position can't be served; NULL: it can */
    int64_t partitions_at;    /* new partitions are looked for then */
    char *group;
    struct kafka_position given;     /* that of the last batch */
    struct kafka_position to_commit; /* the last stored one; empty: the cluster was told of it */
    int64_t commit_at;
    char last_item[sizeof((struct source_progress){0}.last_item)];
};

static int64_t in_ms(int64_t ms) {
    return clock_boottime_ns() + ms * NS_PER_MS;
}

static void message_free(rd_kafka_message_t **m) {
    if (*m) rd_kafka_message_destroy(*m);
    *m = NULL;
}

static struct result check(const json_t *config, const json_t *format, const json_t *integration) {
    struct kafka_config read;
    return kafka_config_read(config, format, integration, &read);
}

/* ---- what is there, and what is not any more ---- */

/* Is anything between the next offset and the end gone? */
static bool is_lost(const char *topic, const struct kafka_part *part, int64_t low, int64_t high, struct buf *why) {
    if (part->next < low) {
        buf_printf(why,
                   "%s[%d]: the messages from offset %" PRId64 " to %" PRId64
                   " were removed before they were read (retention); the oldest one there is %" PRId64,
                   topic, part->id, part->next, low - 1, low);
        return true;
    }
    if (part->next > high) {
        buf_printf(why,
                   "%s[%d]: it ends at offset %" PRId64 ", before the kept offset %" PRId64
                   ": the topic was made anew, or lost messages",
                   topic, part->id, high, part->next);
        return true;
    }
    return false;
}

/* A partition that came after the position: all of it must be there still. */
static bool is_new_lost(const char *topic, int32_t id, int64_t low, struct buf *why) {
    if (low == 0) return false;
    buf_printf(why,
               "%s[%d]: this partition was added since, and its messages up to offset %" PRId64
               " were removed before they were read (retention)",
               topic, id, low - 1);
    return true;
}

/* Partitions and cluster, against what the position knows. */
static bool is_topic_lost(const char *topic, const struct kafka_position *p, int32_t count, const char *cluster,
                          struct buf *why) {
    if (p->cluster && cluster && strcmp(p->cluster, cluster) != 0) {
        buf_printf(why, "%s: the kept offsets belong to another Kafka cluster (%s, now %s)", topic, p->cluster,
                   cluster);
        return true;
    }
    if (p->count && p->parts[p->count - 1].id >= count) {
        buf_printf(why, "%s[%d]: this partition is not there any more: the topic was made anew", topic,
                   p->parts[p->count - 1].id);
        return true;
    }
    return false;
}

static struct result note_lost(struct source_reader *r, const struct buf *why) {
    if (!r->lost) r->lost = str_dup(buf_str(why));
    FAIL(ERR_CORRUPT, "%s", r->lost);
}

/* ---- opening ---- */

static struct result add_partition(struct source_reader *r, int32_t id, bool is_first_start, int64_t deadline) {
    int64_t low = 0, high = 0;
    TRY(kafka_client_bounds(r->client, id, deadline, &low, &high));
    BUF_AUTO(why, LOST_MAX_BYTES);
    if (!is_first_start && is_new_lost(r->config.topic, id, low, &why)) return note_lost(r, &why);
    bool skips = is_first_start && r->config.from_latest;
    struct kafka_part *part = kafka_position_add(&r->position, id, skips ? high : low);
    part->high = high;
    if (is_first_start && part->next < high) part->until = high;
    return OK;
}

/* Takes in the partitions that there are. CORRUPT (r->lost is set) if the position doesn't fit to them. */
static struct result find_partitions(struct source_reader *r, bool is_first_start, int64_t deadline) {
    int32_t count = 0;
    AUTO_FREE char *cluster = NULL;
    TRY(kafka_client_partitions(r->client, deadline, &count, &cluster));
    r->partitions_at = in_ms(PARTITIONS_EVERY_MS);
    BUF_AUTO(why, LOST_MAX_BYTES);
    if (is_topic_lost(r->config.topic, &r->position, count, cluster, &why)) return note_lost(r, &why);
    if (!r->position.cluster && cluster) {
        r->position.cluster = TAKE(cluster);
        r->is_new_position = true;
    }
    for (int32_t id = 0; id < count; id++) {
        if (kafka_position_find(&r->position, id)) continue;
        int64_t patience = is_first_start ? deadline : in_ms(BOUNDS_MS);
        TRY(add_partition(r, id, is_first_start, patience));
        r->is_new_position = true;
        r->must_assign = true;
    }
    return OK;
}

static void reader_free(struct source_reader *r) {
    if (!r) return;
    message_free(&r->held);
    kafka_client_free(r->client);
    kafka_position_done(&r->given);
    kafka_position_done(&r->to_commit);
    mem_free(r->group);
    kafka_position_done(&r->position);
    mem_free(r->lost);
    mem_free(r);
}

static void reader_free_auto(struct source_reader **r) {
    reader_free(*r);
}

static struct result open_reader(const struct source_spec *spec, const json_t *position, struct source_reader **ret) {
    AUTO(reader_free_auto) struct source_reader *r = mem_alloc(sizeof *r);
    r->cancelled = spec->cancelled;
    TRY(kafka_config_read(spec->config, spec->format, spec->integration, &r->config));
    if (position) TRY(kafka_position_read(position, &r->position));
    r->group = str_format("lockset-%s", spec->source_id);
    TRY(kafka_client_new(&r->config, spec->cancelled, &r->client));
    r->was_initial = !position || kafka_position_is_initial(&r->position);
    r->is_new_position = !position;
    r->must_assign = true;
    struct result found = find_partitions(r, !position, in_ms(CONNECT_MS));
    if (is_err(found) && !r->lost) return found; /* what is lost, next() tells */
    *ret = TAKE(r);
    return OK;
}

/* ---- reading ---- */

/* Begins reading at the position; whatever was fetched already is forgotten. */
static struct result assign(struct source_reader *r) {
    message_free(&r->held);
    TRY(kafka_client_read_from(r->client, &r->position));
    r->must_assign = false;
    return OK;
}

/* The brokers say that the next offset is out of range. */
static struct result out_of_range(struct source_reader *r, const struct kafka_part *part) {
    int64_t low = 0, high = 0;
    TRY(kafka_client_bounds(r->client, part->id, in_ms(BOUNDS_MS), &low, &high));
    BUF_AUTO(why, LOST_MAX_BYTES);
    if (is_lost(r->config.topic, part, low, high, &why)) return note_lost(r, &why);
    FAIL(ERR_UNREACHABLE, "Kafka: %s[%d]: a broker refuses offset %" PRId64 ", though there is %" PRId64 " to %" PRId64,
         r->config.topic, part->id, part->next, low, high);
}

/* Of an error in place of a message. */
static struct result take_error(struct source_reader *r, const rd_kafka_message_t *m) {
    struct kafka_part *part = m->rkt ? kafka_position_find(&r->position, m->partition) : NULL;
    if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        /* What stands between the last message and here is no message: marks of transactions, aborted messages. */
        if (part && m->offset > part->next) {
            kafka_part_advance(part, m->offset);
            r->is_new_position = true;
        }
        r->client->code = ERR_NONE;
        return OK;
    }
    /* Messages may be missing behind this. */
    r->must_assign = true;
    if (part && m->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET) return out_of_range(r, part);
    return kafka_fail(r->client, m->err, r->config.topic, rd_kafka_message_errstr(m));
}

static struct kafka_message view(const struct source_reader *r, const rd_kafka_message_t *m) {
    return (struct kafka_message){
        .topic = r->config.topic,
        .partition = m->partition,
        .offset = m->offset,
        .has_key = m->key != NULL,
        .has_value = m->payload != NULL,
        .key = slice_make(m->key, m->key ? m->key_len : 0),
        .value = slice_make(m->payload, m->payload ? m->len : 0),
    };
}

/* Puts a message into the batch and moves the position behind it. False: it has to wait for the next batch. */
static bool take_message(struct source_reader *r, const rd_kafka_message_t *m, struct kafka_filling *f) {
    struct kafka_part *part = kafka_position_find(&r->position, m->partition);
    if (!part || m->offset < part->next) return true;
    struct kafka_message message = view(r, m);
    if (kafka_filling_is_full(f, &message)) return false;
    kafka_filling_add(f, &message, r->config.key_is_id);
    kafka_part_advance(part, m->offset + 1);
    r->position.records++;
    r->is_new_position = true;
    return true;
}

/* Messages until the batch is full or none are there; the first is waited for until deadline. An error that comes
 * behind messages waits for the next batch. */
static struct result fill(struct source_reader *r, int64_t deadline, struct kafka_filling *f) {
    size_t *count = &f->batch->count;
    for (;;) {
        if (*count == 0) CHECK(!atomic_load(r->cancelled), ERR_CANCELLED, "Kafka: cancelled");
        int64_t left = (deadline - clock_boottime_ns()) / NS_PER_MS;
        int wait = *count || left <= 0 ? 0 : (int)(left < POLL_SLICE_MS ? left : POLL_SLICE_MS);
        AUTO(message_free)
        rd_kafka_message_t *m = r->held ? TAKE(r->held) : kafka_client_next(r->client, wait);
        if (m && m->err && *count && m->err != RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            r->held = TAKE(m);
            return OK;
        }
        if (m && m->err) {
            TRY(take_error(r, m));
        } else if (m) {
            if (take_message(r, m, f)) continue;
            r->held = TAKE(m);
            return OK;
        }
        if (m) continue;
        rd_kafka_poll(r->client->rk, 0);
        if (*count) {
            r->client->code = ERR_NONE;
            return OK;
        }
        TRY(kafka_client_trouble(r->client));
        if (clock_boottime_ns() >= deadline) return OK;
    }
}

/* Looks for new partitions, when it is time to. What can't be found out now can be later. */
static struct result refresh(struct source_reader *r) {
    if (clock_boottime_ns() < r->partitions_at) return OK;
    r->partitions_at = in_ms(PARTITIONS_EVERY_MS);
    struct result found = find_partitions(r, false, clock_boottime_ns());
    if (found.code == ERR_UNREACHABLE || found.code == ERR_TIMEOUT) return OK;
    return found;
}

static void commit(struct source_reader *r) {
    if (r->to_commit.count == 0 || clock_boottime_ns() < r->commit_at) return;
    r->commit_at = in_ms(COMMIT_EVERY_MS);
    if (kafka_client_commit(r->client, r->group, &r->to_commit)) kafka_position_done(&r->to_commit);
}

static void end_batch(struct source_reader *r, struct source_batch *b) {
    if (b->count) {
        struct slice origin = b->records[b->count - 1].origin;
        snprintf(r->last_item, sizeof r->last_item, "%.*s", (int)origin.len, (const char *)origin.data);
    }
    if (!r->is_new_position) return;
    r->is_new_position = false;
    b->position = kafka_position_write(&r->position);
    b->is_snapshot_end = r->was_initial && !kafka_position_is_initial(&r->position);
    if (b->is_snapshot_end) r->was_initial = false;
    kafka_position_done(&r->given);
    r->given.parts = mem_dup(r->position.parts, r->position.count * sizeof *r->position.parts);
    r->given.count = r->position.count;
}

static struct result next(struct source_reader *r, unsigned wait_ms, struct source_batch *ret) {
    CHECK(!atomic_load(r->cancelled), ERR_CANCELLED, "Kafka: cancelled");
    CHECK(!r->lost, ERR_CORRUPT, "%s", r->lost);
    /* Where the first start began must be known before anything else: it can't be found out a second time. */
    int64_t deadline = in_ms(r->is_new_position ? 0 : wait_ms);
    commit(r);
    TRY(refresh(r));
    if (r->must_assign) TRY(assign(r));
    AUTO(source_batch_done) struct source_batch b;
    struct kafka_filling f;
    kafka_filling_init(&f, &b);
    TRY(fill(r, deadline, &f));
    kafka_filling_end(&f);
    end_batch(r, &b);
    *ret = b;
    b = (struct source_batch){0};
    return OK;
}

static struct result stored(struct source_reader *r) {
    if (r->given.count) {
        kafka_position_done(&r->to_commit);
        r->to_commit = r->given;
        r->given = (struct kafka_position){0};
    }
    commit(r);
    return OK;
}

static void progress(struct source_reader *r, struct source_progress *ret) {
    const struct kafka_position *p = &r->position;
    bool is_initial = kafka_position_is_initial(p);
    *ret = (struct source_progress){
        .state = is_initial ? SOURCE_SCANNING : SOURCE_WATCHING,
        .total_items = is_initial ? p->records + kafka_position_initial_left(p) : KAFKA_UNKNOWN,
        .done_items = p->records,
        .total_bytes = KAFKA_UNKNOWN,
        .partitions = json_array(),
    };
    mem_copy(ret->last_item, r->last_item, sizeof ret->last_item);
    for (size_t i = 0; i < p->count; i++) {
        struct kafka_part *part = &p->parts[i];
        int64_t low = 0, high = 0;
        rd_kafka_resp_err_t e = rd_kafka_get_watermark_offsets(r->client->rk, r->config.topic, part->id, &low, &high);
        if (!e && high >= 0) part->high = high;
        int64_t lag = part->high < 0 ? KAFKA_UNKNOWN : part->high > part->next ? part->high - part->next : 0;
        ret->lag = lag < 0 || ret->lag < 0 ? KAFKA_UNKNOWN : ret->lag + lag;
        json_t *j = json_object();
        json_object_set_new(j, "partition", json_integer(part->id));
        json_object_set_new(j, "offset", json_integer(part->next));
        json_object_set_new(j, "lag", json_integer(lag));
        json_array_append_new(ret->partitions, j);
    }
}

/* ---- after a pause ---- */

static struct result find_loss(struct kafka_client *c, const struct kafka_config *config,
                               const struct kafka_position *p, struct buf *why) {
    int64_t deadline = in_ms(CONNECT_MS);
    int32_t count = 0;
    AUTO_FREE char *cluster = NULL;
    struct result r = kafka_client_partitions(c, deadline, &count, &cluster);
    if (r.code == ERR_NOT_FOUND) {
        buf_printf(why, "the topic %s is not there any more", config->topic);
        return OK;
    }
    TRY(r);
    if (p->count == 0 || is_topic_lost(config->topic, p, count, cluster, why)) return OK;
    for (int32_t id = 0; id < count; id++) {
        int64_t low = 0, high = 0;
        TRY(kafka_client_bounds(c, id, in_ms(BOUNDS_MS) > deadline ? in_ms(BOUNDS_MS) : deadline, &low, &high));
        const struct kafka_part *part = kafka_position_find(p, id);
        if (part ? is_lost(config->topic, part, low, high, why) : is_new_lost(config->topic, id, low, why)) return OK;
    }
    return OK;
}

static struct result still_has_all(const struct source_spec *spec, const json_t *position, struct buf *why) {
    struct kafka_config config;
    AUTO(kafka_position_done) struct kafka_position p = {0};
    AUTO(kafka_client_free_auto) struct kafka_client *c = NULL;
    TRY(kafka_config_read(spec->config, spec->format, spec->integration, &config));
    if (position) TRY(kafka_position_read(position, &p));
    TRY(kafka_client_new(&config, spec->cancelled, &c));
    return find_loss(c, &config, &p, why);
}

static struct result still_has(const struct source_spec *spec, const json_t *position, bool *ret, char **ret_why) {
    BUF_AUTO(why, LOST_MAX_BYTES);
    struct result r = still_has_all(spec, position, &why);
    if (is_err(r)) {
        *ret_why = str_dup(err_detail());
        return r;
    }
    *ret = why.len == 0;
    *ret_why = why.len ? buf_take_str(&why) : NULL;
    return OK;
}

const struct source_driver kafka_driver = {
    .kind = "kafka",
    .check = check,
    .open = open_reader,
    .next = next,
    .stored = stored,
    .progress = progress,
    .close = reader_free,
    .still_has = still_has,
    .check_integration = kafka_config_check_integration,
};
