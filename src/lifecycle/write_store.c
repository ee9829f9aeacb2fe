#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "lifecycle/write_priv.h"

enum {
    CALL_MS = 10000,
    MAX_INSERT_BYTES = 64 * 1024 * 1024,
    MAX_SCHEMA_BYTES = 1024 * 1024,
    BUSY_MS = 200,
    RETRY_AFTER_S = 2,
};

/* ClickHouse's codes for data it can't take (INCORRECT_DATA, CANNOT_PARSE_*, TYPE_MISMATCH, ...) and for "later". */
static bool is_data_error(int code) {
    static const int codes[] = {6, 26, 27, 33, 38, 41, 43, 53, 69, 70, 72, 117, 131, 190, 321, 349, 467};
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (codes[i] == code) return true;
    return false;
}

static bool is_overload(int code) {
    return code == ENGINE_MEMORY_LIMIT || code == 202 || code == 252 || code == ENGINE_TIMEOUT_EXCEEDED ||
           code == ENGINE_QUERY_CANCELLED;
}

/* The table isn't attached (any more): the engine was exchanged, or is only just being set up. */
static bool is_detached(int code) {
    return code == ENGINE_UNKNOWN_TABLE || code == ENGINE_UNKNOWN_DATABASE || code == 218 || code == 236;
}

struct batch {
    struct write_run *run;
    struct write_row **rows;
    size_t count;
    uint64_t first_version;
    struct buf schema; /* text to be stored as well; empty: none */
    struct write_hidden *hidden;
    size_t hidden_count;
    uint64_t hidden_version; /* of the first of them */
};

static void put_row(struct buf *out, struct slice id, int64_t event_time_us, uint64_t version, bool is_deletion,
                    struct slice raw) {
    rowbinary_string(out, id);
    rowbinary_i64(out, event_time_us);
    rowbinary_u64(out, version);
    rowbinary_u8(out, is_deletion);
    rowbinary_string(out, raw);
}

/* Marked as deleted, so that FINAL hides it from every query. */
static void put_hidden(struct buf *out, const struct write_hidden *h, uint64_t version) {
    put_row(out, h->id, 0, version, true, h->raw);
}

/* Hidden rows stand behind the documents they tell of. */
static struct result encode(const struct batch *b, struct buf *out) {
    for (size_t i = 0; i < b->count; i++) {
        const struct write_row *r = b->rows[i];
        struct slice raw = r->is_deletion ? slice_str("{}") : r->raw;
        put_row(out, r->id, r->event_time_us, b->first_version + i, r->is_deletion, raw);
    }
    for (size_t i = 0; i < b->hidden_count; i++)
        put_hidden(out, &b->hidden[i], b->hidden_version + i);
    return buf_check(out);
}

static bool time_is_up(const struct write_run *run) {
    return clock_boottime_ns() > run->deadline_ns;
}

static struct result refuse_later(struct write_run *run, const char *what) {
    return refuse(
        run->why, ERR_UNREACHABLE, 503, "SERVICEUNAVAILABLE", RETRY_AFTER_S,
        "The write was not acknowledged: %s. Send it again; documents that bring their _id, or requests with an "
        "Idempotency-Key, are stored once.",
        what);
}

static unsigned call_ms(const struct write_run *run) {
    int64_t left = (run->deadline_ns - clock_boottime_ns()) / NS_PER_MS;
    return left < 500 ? 500 : left > CALL_MS ? CALL_MS : (unsigned)left;
}

/* Before the next try: an engine that doesn't know the collection gets it attached, a busy one gets time. */
static struct result settle(struct write_run *run, const struct keylink_engine *engine, int code) {
    clock_sleep_ms(BUSY_MS);
    if (!is_detached(code)) return OK;
    struct result r = collection_attach(run->write->tenant, engine, run->collection);
    if (is_err(r)) log_warn("collection.attach", KV("collection", run->collection->id), KV("why", err_detail()));
    return OK;
}

/* Sends the insert to the engine that serves now, and to the next one if that goes away, until the deadline: the same
 * ids and versions, so that a first try that did arrive is only repeated. ret_code: 0, or a data error. */
static struct result insert_until(struct write_run *run, struct slice body, uint64_t rows, int *ret_code) {
    struct tenant *t = run->write->tenant;
    AUTO_FREE char *sql = str_format(
        "INSERT INTO lockset_data.`%s` (_id, _event_time, __lockset_version, __lockset_deleted, __lockset_raw) "
        "FORMAT RowBinary",
        run->collection->id);
    while (true) {
        struct keylink_engine engine;
        TRY(tenant_engine(t, run->use, run->deadline_ns, &engine, run->why));
        struct engine_call call = {.role = ENGINE_WRITER,
                                   .query = slice_str(sql),
                                   .body = body,
                                   .insert_rows = rows,
                                   .timeout_ms = call_ms(run)};
        AUTO(engine_reply_done) struct engine_reply reply = {0};
        struct result r = tenant_call(t, &engine, &call, &reply);
        int code = is_ok(r) ? reply.exception_code : 0;
        *ret_code = code;
        if (is_ok(r) && (is_data_error(code) || (code == 0 && reply.written_rows == rows))) {
            run->engine = engine;
            return OK;
        }
        if (is_ok(r) && !is_overload(code) && !is_detached(code) && code != 0)
            return refuse(run->why, ERR_INTERNAL, 500, "INTERNALERROR", 0,
                          "The engine refused the write (ClickHouse error %d).", code);
        if (time_is_up(run)) return refuse_later(run, "the engine is busy or being restarted");
        if (is_err(r))
            TRY(tenant_broken(t, &engine, r.code == ERR_TIMEOUT, run->use, run->why));
        else
            TRY(settle(run, &engine, code));
    }
}

static struct result insert_batch(struct batch *b, int *ret_code) {
    BUF_AUTO(body, MAX_INSERT_BYTES);
    body.wipes = true;
    TRY(encode(b, &body));
    return insert_until(b->run, buf_slice(&body), b->count + b->hidden_count, ret_code);
}

/* Stores documents whose data was refused together, as halves, until those that can't be stored stand alone. */
static struct result store_halves(struct batch *b, int code) {
    if (b->count == 1) {
        b->rows[0]->error = str_format("the engine can't hold this document (ClickHouse error %d)", code);
        return OK;
    }
    size_t half = b->count / 2;
    struct batch parts[] = {*b, *b};
    parts[0].count = half;
    parts[1].rows += half;
    parts[1].first_version += half;
    parts[1].count -= half;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        parts[i].hidden_count = 0;
        TRY(insert_batch(&parts[i], &code));
        if (code != 0) TRY(store_halves(&parts[i], code));
    }
    return OK;
}

/* The schema, and what the run wants to have stored beside its rows. */
static struct result gather_hidden(struct batch *b, struct write_hidden list[static WRITE_MAX_HIDDEN + 1]) {
    b->hidden = list;
    b->hidden_count = 0;
    if (b->schema.len)
        list[b->hidden_count++] =
            (struct write_hidden){slice_make(COLLECTION_SCHEMA_ID, COLLECTION_SCHEMA_ID_BYTES), buf_slice(&b->schema)};
    if (!b->run->make_hidden) return OK;
    struct write_hidden *own;
    size_t count;
    TRY(b->run->make_hidden(b->run->arg, &own, &count));
    CHECK(count <= WRITE_MAX_HIDDEN, ERR_INTERNAL, "%zu hidden rows are too many for one insert", count);
    for (size_t i = 0; i < count; i++)
        list[b->hidden_count++] = own[i];
    return OK;
}

/* All in one insert. When some documents are refused, the others first, and then what tells of them all. */
static struct result store_batch(struct batch *b) {
    AUTO_FREE struct write_hidden *list = mem_alloc_array(WRITE_MAX_HIDDEN + 1, sizeof *list);
    TRY(gather_hidden(b, list));
    if (b->count + b->hidden_count == 0) return OK;
    int code = 0;
    TRY(insert_batch(b, &code));
    if (code == 0) return OK;
    if (b->count) TRY(store_halves(b, code));
    TRY(gather_hidden(b, list));
    b->count = 0;
    if (b->hidden_count) TRY(insert_batch(b, &code));
    CHECK(code == 0, ERR_INTERNAL, "the engine can't hold the server's own rows (ClickHouse error %d)", code);
    return OK;
}

/* Versions: a hybrid clock, in microseconds, always above everything the collection has. `n` in a row; the first. */
static uint64_t take_versions(struct collection *c, size_t n) {
    uint64_t now = (uint64_t)clock_unix_us();
    uint64_t first = now > c->last_version ? now : c->last_version + 1;
    c->last_version = first + n - 1;
    return first;
}

/* What must be known before the rows are sent, under one lock: versions, and the schema as it will be then. */
static struct result prepare(struct batch *b, const struct schema *added, struct schema *merged) {
    struct collection *c = b->run->collection;
    pthread_mutex_lock(&c->lock);
    bool grows = added && !schema_covers(&c->schema, added);
    if (grows) {
        schema_merge(merged, &c->schema);
        schema_merge(merged, added);
        schema_write(merged, &b->schema);
    }
    b->first_version = take_versions(c, b->count + 1 + (b->run->make_hidden ? WRITE_MAX_HIDDEN : 0));
    pthread_mutex_unlock(&c->lock);
    b->hidden_version = b->run->last_version = b->first_version + b->count;
    return buf_check(&b->schema);
}

/* The schema is stored now: it counts, and the view must show it before the write is acknowledged. */
static struct result publish(struct write_run *run, const struct schema *merged) {
    struct collection *c = run->collection;
    pthread_mutex_lock(&c->lock);
    if (merged && !schema_covers(&c->schema, merged)) {
        schema_merge(&c->schema, merged);
        c->is_view_stale = true;
    }
    struct result r = OK;
    if (c->is_view_stale && run->engine.epoch == c->epoch)
        r = collection_make_view(run->write->tenant, &run->engine, c);
    pthread_mutex_unlock(&c->lock);
    /* An engine that went away is followed by one that makes its views from what is stored. */
    if (is_err(r)) log_warn("collection.view", KV("collection", c->id), KV("why", err_detail()));
    return OK;
}

static struct result store_rows(struct batch *b, const struct schema *added) {
    AUTO(schema_done) struct schema merged = {0};
    TRY(prepare(b, added, &merged));
    TRY(store_batch(b));
    return publish(b->run, b->schema.len ? &merged : NULL);
}

struct result write_store(struct write_run *run, const struct schema *added) {
    AUTO_FREE struct write_row **rows = mem_alloc_array(run->count + 1, sizeof(struct write_row *));
    struct batch b = {.run = run, .rows = rows};
    for (size_t i = 0; i < run->count; i++)
        if (!run->rows[i].error) rows[b.count++] = &run->rows[i];
    if (b.count == 0 && !run->make_hidden) return OK;
    buf_init_wiping(&b.schema, MAX_SCHEMA_BYTES);
    struct result r = store_rows(&b, added);
    buf_done(&b.schema);
    if (is_ok(r) || run->why->status) return r;
    AUTO_FREE char *detail = str_dup(err_detail());
    return refuse(run->why, r.code, err_http_status(r.code), "INTERNALERROR", 0, "%s", detail);
}
