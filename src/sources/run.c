#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "lifecycle/writes.h"
#include "sources/parquet.h"
#include "sources/sources_priv.h"

enum {
    WAIT_MS = 1000,
    FIRST_PAUSE_MS = 1000,
    MAX_PAUSE_MS = 60000,
    SLOW_PAUSE_MS = 60000, /* what a person has to mend */
    LOST_PAUSE_MS = 600000,
    STORE_PAUSE_MS = 500,
    SLICE_MS = 50,
};

struct run {
    struct tenant *tenant;
    struct registry_collection collection;
    json_t *source, *integration;
    const struct source_driver *driver;
    struct source_spec spec;
    struct source_engine engine;
    _Atomic bool cancelled;
    pthread_t thread;
    bool has_thread;
    unsigned pause_ms; /* the next one */
    pthread_mutex_t lock;
    struct run_status status;
};

void run_status_done(struct run_status *s) {
    mem_free(s->message);
    kept_done(&s->kept);
    json_decref(s->progress.partitions);
    *s = (struct run_status){0};
}

const struct registry_collection *run_collection(const struct run *r) {
    return &r->collection;
}

const json_t *run_source(const struct run *r) {
    return r->source;
}

bool run_is_of(const struct run *r, const json_t *source, const json_t *integration) {
    bool same =
        integration && r->integration ? json_equal(r->integration, integration) : !integration == !r->integration;
    return same && json_equal(r->source, source);
}

static const char *source_id(const struct run *r) {
    return r->spec.source_id;
}

static bool is_cancelled(const struct run *r) {
    return atomic_load(&r->cancelled);
}

/* ---- status ---- */

static struct kept copy_kept(const struct kept *k) {
    struct kept copy = *k;
    copy.position = json_incref(k->position);
    copy.last_item = str_dup(k->last_item);
    return copy;
}

void run_read_status(struct run *r, struct run_status *ret) {
    pthread_mutex_lock(&r->lock);
    *ret = r->status;
    ret->message = str_dup(r->status.message);
    ret->kept.last_item = str_dup(r->status.kept.last_item);
    ret->progress.partitions = json_deep_copy(r->status.progress.partitions);
    pthread_mutex_unlock(&r->lock);
}

/* Without the position: its count of references belongs to the run's own thread. */
static void note_kept(struct run *r, const struct kept *k) {
    struct kept copy = *k;
    copy.position = NULL;
    copy.last_item = str_dup(k->last_item);
    pthread_mutex_lock(&r->lock);
    kept_done(&r->status.kept);
    r->status.kept = copy;
    pthread_mutex_unlock(&r->lock);
}

static void progress_done(struct source_progress *p) {
    json_decref(p->partitions);
}

/* Takes it over. */
static void note_progress(struct run *r, struct source_progress *p) {
    pthread_mutex_lock(&r->lock);
    json_decref(r->status.progress.partitions);
    r->status.progress = *p;
    pthread_mutex_unlock(&r->lock);
    p->partitions = NULL;
}

static void note_phase(struct run *r, enum run_phase phase, const char *message) {
    char *copy = str_dup(message);
    pthread_mutex_lock(&r->lock);
    r->status.phase = phase;
    mem_free(r->status.message);
    r->status.message = copy;
    pthread_mutex_unlock(&r->lock);
}

/* ---- storing a batch ---- */

struct store {
    struct run *run;
    const struct source_batch *batch;
    const char *last_item;
    struct write_record *records;
    struct kept before, after;
    struct kept_rows rows;
};

static void store_done(struct store *s) {
    for (size_t i = 0; s->records && i < s->batch->count; i++)
        mem_free(s->records[i].flaw);
    mem_free(s->records);
    kept_done(&s->after);
    kept_rows_done(&s->rows);
}

/* The position, and the errors that are known by now. */
static struct result make_hidden(void *arg, struct write_hidden **ret, size_t *ret_count) {
    struct store *s = arg;
    kept_rows_done(&s->rows);
    size_t flaws = kept_rows_add_errors(&s->rows, source_id(s->run), s->records, s->batch->count, s->before.errors);
    s->after.errors = s->before.errors + (int64_t)flaws;
    s->after.items = s->before.items + (int64_t)(s->batch->count - flaws);
    BUF_AUTO(text, KEPT_MAX_BYTES);
    text.wipes = true;
    TRY(kept_write(&s->after, &text));
    CHECK(is_ok(buf_check(&text)), ERR_TOO_LARGE, "the position of a source takes more than %d MiB",
          KEPT_MAX_BYTES >> 20);
    AUTO_FREE char *id = kept_position_id(source_id(s->run));
    kept_rows_add(&s->rows, id, buf_slice(&text));
    *ret = s->rows.items;
    *ret_count = s->rows.count;
    return OK;
}

static void prepare_store(struct store *s, const struct kept *kept) {
    const struct source_batch *b = s->batch;
    s->records = mem_alloc_array(b->count + 1, sizeof *s->records);
    s->before = *kept;
    s->after = copy_kept(kept);
    for (size_t i = 0; i < b->count; i++) {
        const struct source_record *from = &b->records[i];
        s->records[i] = (struct write_record){.document = from->document,
                                              .id = from->id,
                                              .origin = from->origin,
                                              .is_deletion = from->is_deletion,
                                              .flaw = from->flaw.len ? slice_to_str(from->flaw) : NULL};
        s->after.bytes += (int64_t)from->document.len;
    }
    if (b->position) {
        json_decref(s->after.position);
        s->after.position = json_incref(b->position);
    }
    s->after.has_snapshot |= b->is_snapshot_end;
    s->after.stored_at_ms = clock_unix_ms();
    if (b->count && *s->last_item) {
        mem_free(s->after.last_item);
        s->after.last_item = str_dup(s->last_item);
    }
}

/* Sleeps, but not longer than until it is cancelled. */
static void pause_for(struct run *r, unsigned ms) {
    for (unsigned slept = 0; slept < ms && !is_cancelled(r); slept += SLICE_MS)
        clock_sleep_ms(SLICE_MS);
}

static bool is_for_later(struct result r) {
    return r.code == ERR_UNREACHABLE || r.code == ERR_TIMEOUT || r.code == ERR_BUSY;
}

/* The same batch until it is stored: an engine that is exchanged costs no reading again. */
static struct result store_batch(struct run *r, const struct source_batch *batch, const char *last_item,
                                 struct kept *kept) {
    while (true) {
        AUTO(store_done) struct store s = {.run = r, .batch = batch, .last_item = last_item};
        prepare_store(&s, kept);
        struct write_records w = {.tenant = r->tenant,
                                  .collection = &r->collection,
                                  .source_id = source_id(r),
                                  .items = s.records,
                                  .count = batch->count,
                                  .make_hidden = make_hidden,
                                  .arg = &s};
        REFUSAL_AUTO(why);
        struct result stored = write_source_records(&w, &why);
        if (is_ok(stored)) {
            kept_done(kept);
            *kept = s.after;
            s.after = (struct kept){0};
            note_kept(r, kept);
            return OK;
        }
        CHECK(!is_cancelled(r), ERR_CANCELLED, "cancelled");
        if (!is_for_later(stored)) return stored;
        pause_for(r, STORE_PAUSE_MS);
    }
}

/* ---- the thread ---- */

static struct result load_kept(struct run *r, struct kept *ret) {
    AUTO_FREE char *prefix = kept_position_id(source_id(r));
    AUTO(hidden_rows_done) struct hidden_rows rows = {0};
    REFUSAL_AUTO(why);
    TRY(hidden_read(r->tenant, &r->collection, KEYLINK_WRITE, prefix,
                    clock_boottime_ns() + (int64_t)CATALOG_MS * NS_PER_MS, &rows, &why));
    return kept_find(&rows, source_id(r), ret);
}

static struct result read_on(struct run *r, struct source_reader *reader, struct kept *kept) {
    while (!is_cancelled(r)) {
        AUTO(source_batch_done) struct source_batch batch = {0};
        TRY(r->driver->next(reader, WAIT_MS, &batch));
        /* Told when what it tells of is stored. */
        AUTO(progress_done) struct source_progress p = {.total_items = -1, .total_bytes = -1, .lag = -1};
        r->driver->progress(reader, &p);
        if (batch.count || batch.position || batch.is_snapshot_end) {
            TRY(store_batch(r, &batch, p.last_item, kept));
            if (is_err(r->driver->stored(reader)))
                log_warn("source.not_told", KV("source", source_id(r)), KV("why", err_detail()));
        }
        note_progress(r, &p);
        r->pause_ms = FIRST_PAUSE_MS;
        note_phase(r, RUN_READING, NULL);
    }
    return OK;
}

/* From the kept position until something fails, or the end. */
static struct result read_from_kept(struct run *r) {
    AUTO(kept_done) struct kept kept = {0};
    TRY(load_kept(r, &kept));
    note_kept(r, &kept);
    CHECK(!is_cancelled(r), ERR_CANCELLED, "cancelled");
    struct source_reader *reader = NULL;
    TRY(r->driver->open(&r->spec, kept.position, &reader));
    log_info("source.attached", KV("source", source_id(r)), KV("collection", r->collection.id),
             KV("kind", r->driver->kind));
    struct result result = read_on(r, reader, &kept);
    AUTO_FREE char *detail = str_dup(err_detail());
    r->driver->close(reader);
    log_info("source.detached", KV("source", source_id(r)), KV("collection", r->collection.id));
    err_note("%s", detail);
    return result;
}

/* How long to wait after a failure; those that time mends, longer each time. */
static unsigned pause_after(struct run *r, struct result failed) {
    unsigned ms = r->pause_ms;
    if (failed.code == ERR_CORRUPT)
        ms = LOST_PAUSE_MS;
    else if (!is_for_later(failed) && failed.code != ERR_NO_LEASE && failed.code != ERR_PEER)
        ms = SLOW_PAUSE_MS;
    else
        r->pause_ms = r->pause_ms * 2 > MAX_PAUSE_MS ? MAX_PAUSE_MS : r->pause_ms * 2;
    uint8_t random = 128;
    result_ignore(random_bytes(&random, 1)); /* only spreads the load */
    return ms / 2 + ms * random / 510;       /* half of it to all of it */
}

static void *run_main(void *arg) {
    struct run *r = arg;
    r->pause_ms = FIRST_PAUSE_MS;
    while (!is_cancelled(r)) {
        struct result failed = read_from_kept(r);
        if (is_cancelled(r) || is_ok(failed)) break;
        note_phase(r, RUN_FAILING, err_detail());
        log_warn("source.failed", KV("source", source_id(r)), KV("collection", r->collection.id),
                 KV("code", err_name(failed.code)));
        pause_for(r, pause_after(r, failed));
    }
    return NULL;
}

/* ---- making and ending ---- */

void run_fill_spec(struct source_spec *spec, const char *region, const json_t *source, const json_t *integration,
                   const _Atomic bool *cancelled) {
    *spec = (struct source_spec){.source_id = json_string_value(json_object_get(source, "id")),
                                 .region = region,
                                 .config = json_object_get(source, "config"),
                                 .format = json_object_get(source, "format_params"),
                                 .integration = json_object_get(integration, "config"),
                                 .cancelled = cancelled};
}

void run_copy_collection(const struct registry_collection *from, struct registry_collection *ret) {
    *ret = (struct registry_collection){.id = str_dup(from->id),
                                        .org = str_dup(from->org),
                                        .region = str_dup(from->region),
                                        .workspace = str_dup(from->workspace),
                                        .name = str_dup(from->name),
                                        .description = str_dup(from->description),
                                        .status = str_dup(from->status),
                                        .created_at_ms = from->created_at_ms,
                                        .created_by = str_dup(from->created_by),
                                        .retention_secs = from->retention_secs};
}

static void run_drop(struct run *r) {
    pthread_mutex_destroy(&r->lock);
    registry_collection_done(&r->collection);
    run_status_done(&r->status);
    json_decref(r->source);
    json_decref(r->integration);
    mem_free(r);
}

struct result run_new(const struct run_options *o, struct run **ret) {
    const struct source_driver *driver = config_driver(o->source);
    CHECK(driver, ERR_UNSUPPORTED, "this server doesn't know that kind of source");
    struct run *r = mem_alloc(sizeof *r);
    r->tenant = o->tenant;
    r->driver = driver;
    r->source = json_deep_copy(o->source);
    r->integration = json_deep_copy(o->integration);
    r->status.progress = (struct source_progress){.total_items = -1, .total_bytes = -1, .lag = -1};
    run_copy_collection(o->collection, &r->collection);
    run_fill_spec(&r->spec, r->collection.region, r->source, r->integration, &r->cancelled);
    parquet_engine(r->tenant, &r->engine);
    r->spec.engine = &r->engine;
    pthread_mutex_init(&r->lock, NULL);
    r->has_thread = pthread_create(&r->thread, NULL, run_main, r) == 0;
    if (!r->has_thread) {
        run_drop(r);
        FAIL(ERR_IO, "no thread for a source");
    }
    *ret = r;
    return OK;
}

void run_cancel(struct run *r) {
    atomic_store(&r->cancelled, true);
}

struct run *run_free(struct run *r) {
    if (!r) return NULL;
    run_cancel(r);
    pthread_join(r->thread, NULL);
    run_drop(r);
    return NULL;
}
