/* The driver for buckets. */
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "sources/drivers.h"
#include "sources/s3_config.h"
#include "sources/s3_position.h"

enum {
    REQUEST_MS = 60000,
    MAX_TEXT_BYTES = SOURCE_BATCH_MAX_BYTES + RECORDS_MAX_BYTES + (8 << 20),
    MAX_ORIGIN_BYTES = 2048,
    STILL_PAGES = 100000,
    SLICE_MS = 50,
};

enum step { STEP_LIST, STEP_READ, STEP_WAIT };

struct source_reader {
    struct source_spec spec;
    struct s3_config config;
    struct http_pool *pool;
    struct s3_client *client;
    struct s3_position position;
    enum step step;
    /* the chunk */
    struct s3_object *queue; /* beside position.pending */
    size_t queue_at, queue_count;
    char *token; /* of the listing that goes on; NULL: begin behind the cursor */
    bool is_listing, is_relisting;
    uint64_t *wanted; /* of a relisting: what was pending when the position was kept */
    size_t wanted_count;
    struct s3_object_reader *object;
    int64_t poll_at_ns;
    char last_item[256];
    bool has_news; /* the position has changed since it was last given */
};

/* ---- batches: slices are made when the text stands still ---- */

struct span {
    size_t at, len;
};
struct draft {
    struct buf text;
    struct {
        struct span document, origin, flaw;
    } * items;
    size_t count, capacity;
};

static void draft_done(struct draft *d) {
    buf_done(&d->text);
    mem_free(d->items);
}

static struct span put(struct draft *d, struct slice s) {
    struct span span = {d->text.len, s.len};
    buf_append_slice(&d->text, s);
    return span;
}

static void draft_add(struct draft *d, struct slice document, struct slice origin, const char *flaw) {
    if (d->count == d->capacity) {
        d->capacity = d->capacity ? d->capacity * 2 : 256;
        d->items = mem_resize(d->items, d->capacity * sizeof *d->items);
    }
    size_t i = d->count++;
    d->items[i].document = put(d, document);
    d->items[i].origin = put(d, origin);
    d->items[i].flaw = put(d, slice_str(flaw));
}

static struct slice at_span(const struct buf *text, struct span s) {
    return slice_make(text->data + s.at, s.len);
}

static struct result draft_finish(struct draft *d, struct source_batch *ret) {
    TRY(buf_check(&d->text));
    ret->text = d->text;
    d->text = (struct buf){0};
    ret->count = d->count;
    ret->records = mem_alloc_array(d->count + 1, sizeof *ret->records);
    for (size_t i = 0; i < d->count; i++)
        ret->records[i] = (struct source_record){.document = at_span(&ret->text, d->items[i].document),
                                                 .origin = at_span(&ret->text, d->items[i].origin),
                                                 .flaw = at_span(&ret->text, d->items[i].flaw)};
    return OK;
}

static bool is_full(const struct draft *d) {
    return d->count >= SOURCE_BATCH_MAX_RECORDS || d->text.len >= SOURCE_BATCH_MAX_BYTES;
}

/* ---- opening and closing ---- */

static struct result s3_check(const json_t *config, const json_t *format, const json_t *integration) {
    AUTO(s3_config_done) struct s3_config c = {0};
    return s3_config_read(config, format, integration, &c);
}

static struct result make_client(const struct source_spec *spec, const struct s3_config *c, struct http_pool *pool,
                                 struct s3_client **ret) {
    struct s3_client_options o = {.pool = pool,
                                  .endpoint = c->endpoint,
                                  .region = c->region ? c->region : spec->region,
                                  .bucket = c->bucket,
                                  .access_key_id = c->access_key_id,
                                  .secret_key = slice_str(c->secret),
                                  .session_token = slice_str(c->session_token),
                                  .timeout_ms = REQUEST_MS,
                                  /* Read atomically there too. */
                                  .cancelled = mem_unconst(spec->cancelled)};
    return s3_client_new(&o, ret);
}

static void free_queue(struct source_reader *r) {
    for (size_t i = r->queue_at; i < r->queue_count; i++) {
        mem_free(r->queue[i].key);
        mem_free(r->queue[i].etag);
    }
    mem_free(TAKE(r->queue));
    r->queue_at = r->queue_count = 0;
}

static void s3_close(struct source_reader *r) {
    s3_object_free(r->object);
    free_queue(r);
    s3_position_done(&r->position);
    s3_client_free(r->client);
    http_pool_free(r->pool);
    s3_config_done(&r->config);
    mem_free(r->token);
    mem_free(r->wanted);
    mem_free(r);
}

static void close_auto(struct source_reader **r) {
    if (*r) s3_close(*r);
}

/* What was pending is found again by listing the same range. */
static void prepare_relisting(struct source_reader *r) {
    struct s3_position *p = &r->position;
    r->is_relisting = p->pending_count > 0;
    r->wanted_count = p->pending_count;
    r->wanted = mem_dup(p->pending, p->pending_count * sizeof *p->pending);
    p->pending_count = 0;
}

static struct result s3_open(const struct source_spec *spec, const json_t *position, struct source_reader **ret) {
    AUTO(close_auto) struct source_reader *r = mem_alloc(sizeof *r);
    r->spec = *spec;
    s3_position_init(&r->position);
    TRY(s3_config_read(spec->config, spec->format, spec->integration, &r->config));
    TRY(http_pool_new(&r->pool));
    TRY(make_client(spec, &r->config, r->pool, &r->client));
    if (position) TRY(s3_position_read(position, &r->position));
    if (r->position.pass_began_ms == 0) r->position.pass_began_ms = clock_unix_ms();
    prepare_relisting(r);
    /* That the bucket can be read is found out now. */
    AUTO(s3_page_done) struct s3_page page = {0};
    TRY(s3_client_list(r->client, r->config.list_prefix, "", NULL, 1, &page));
    r->step = STEP_LIST;
    *ret = TAKE(r);
    return OK;
}

/* ---- listing ---- */

static bool is_wanted(const struct source_reader *r, uint64_t hash) {
    for (size_t i = 0; i < r->wanted_count; i++)
        if (r->wanted[i] == hash) return true;
    return false;
}

static void take_object(struct source_reader *r, struct s3_object *o) {
    struct s3_position *p = &r->position;
    uint64_t hash = s3_hash(o->key, o->etag);
    bool wants = r->is_relisting ? is_wanted(r, hash)
                                 : o->size > 0 && s3_config_wants_key(&r->config, o->key) &&
                                       s3_position_wants(p, hash, o->modified_ms);
    if (!wants) return;
    r->queue = mem_resize(r->queue, (r->queue_count + 1) * sizeof *r->queue);
    r->queue[r->queue_count++] = *o;
    p->pending = mem_resize(p->pending, (p->pending_count + 1) * sizeof *p->pending);
    p->pending[p->pending_count++] = hash;
    if (!r->is_relisting) {
        p->listed_objects++;
        p->listed_bytes += o->size;
    }
    *o = (struct s3_object){0};
}

/* The objects that were pending and are not there any more, or were changed. */
static void note_lost(struct source_reader *r, struct draft *d) {
    size_t lost = r->wanted_count - r->position.pending_count;
    if (lost == 0) return;
    AUTO_FREE char *origin = str_format("s3://%s/%s#?", r->config.bucket, r->config.list_prefix);
    AUTO_FREE char *flaw =
        str_format("%zu object(s) that were listed were deleted or changed before they were (wholly) read", lost);
    draft_add(d, (struct slice){0}, slice_str(origin), flaw);
    r->has_news = true;
}

static void end_listing(struct source_reader *r, const char *last_key, bool is_last, struct draft *d) {
    struct s3_position *p = &r->position;
    if (r->is_relisting) {
        note_lost(r, d);
        if (p->pending_count == 0 || (p->object_key && p->pending[0] != s3_hash(p->object_key, p->object_etag))) {
            mem_free(TAKE(p->object_key));
            mem_free(TAKE(p->object_etag));
            p->place = (struct records_place){0};
        }
        mem_free(TAKE(r->wanted));
        r->wanted_count = 0;
    } else {
        char *end = str_dup(last_key);
        mem_free(p->chunk_end);
        p->chunk_end = end;
        p->is_last_chunk = is_last;
    }
    mem_free(TAKE(r->token));
    r->is_listing = r->is_relisting = false;
    r->step = STEP_READ;
}

/* One page. */
static struct result list_some(struct source_reader *r, struct draft *d) {
    struct s3_position *p = &r->position;
    AUTO(s3_page_done) struct s3_page page = {0};
    TRY(s3_client_list(r->client, r->config.list_prefix, p->cursor, r->token, S3_CLIENT_PAGE_KEYS, &page));
    r->is_listing = true;
    bool is_past_end = false;
    AUTO_FREE char *last_key = str_dup(page.count ? page.items[page.count - 1].key : p->cursor);
    for (size_t i = 0; i < page.count && !is_past_end; i++) {
        is_past_end = r->is_relisting && strcmp(page.items[i].key, p->chunk_end) > 0;
        if (!is_past_end) take_object(r, &page.items[i]);
    }
    bool is_last = !page.next_token;
    if (is_last || is_past_end || (!r->is_relisting && p->pending_count >= S3_CHUNK_OBJECTS)) {
        end_listing(r, last_key, is_last, d);
        return OK;
    }
    mem_free(r->token);
    r->token = TAKE(page.next_token);
    return OK;
}

/* ---- reading ---- */

static void finish_object(struct source_reader *r, bool is_read) {
    struct s3_object *o = &r->queue[r->queue_at++];
    s3_object_free(TAKE(r->object));
    s3_position_finish_object(&r->position, o->key, o->modified_ms, is_read);
    mem_free(o->key);
    mem_free(o->etag);
    r->has_news = true;
}

/* The next of the queue, or what comes behind it. */
static void begin_object(struct source_reader *r, bool *ret_snapshot_end) {
    struct s3_position *p = &r->position;
    if (r->queue_at < r->queue_count) {
        const struct s3_object *o = &r->queue[r->queue_at];
        struct s3_reading reading = {.client = r->client,
                                     .engine = r->spec.engine,
                                     .format = &r->config.format,
                                     .key = o->key,
                                     .etag = o->etag,
                                     .place = p->object_key ? p->place : (struct records_place){0}};
        r->object = s3_object_new(&reading);
        return;
    }
    free_queue(r);
    char *cursor = str_dup(p->chunk_end);
    mem_free(p->cursor);
    p->cursor = cursor;
    r->step = STEP_LIST;
    if (!p->is_last_chunk) return;
    *ret_snapshot_end = p->pass == 0;
    r->has_news |= p->pass == 0;
    s3_position_finish_pass(p);
    r->poll_at_ns = clock_boottime_ns() + r->config.poll_s * NS_PER_S;
    r->step = STEP_WAIT;
}

static void note_place(struct source_reader *r) {
    struct s3_position *p = &r->position;
    const struct s3_object *o = &r->queue[r->queue_at];
    if (!p->object_key) {
        p->object_key = str_dup(o->key);
        p->object_etag = str_dup(o->etag);
    }
    p->place = s3_object_place(r->object);
    r->has_news = true;
}

static void add_record(struct source_reader *r, const struct record *record, struct draft *d) {
    const struct s3_object *o = &r->queue[r->queue_at];
    BUF_AUTO(origin, MAX_ORIGIN_BYTES);
    buf_printf(&origin, "s3://%s/%s#%llu", r->config.bucket, o->key, (unsigned long long)record->number);
    draft_add(d, record->document, buf_slice(&origin), record->flaw);
    AUTO_FREE char *item = str_ndup(o->key, sizeof r->last_item - 1);
    mem_copy(r->last_item, item, strlen(item) + 1);
}

/* The object is gone, or another one by now (then a later pass reads that). */
static void lose_object(struct source_reader *r, struct result why, struct draft *d) {
    const struct s3_object *o = &r->queue[r->queue_at];
    if (why.code == ERR_NOT_FOUND) {
        AUTO_FREE char *origin = str_format("s3://%s/%s#?", r->config.bucket, o->key);
        draft_add(d, (struct slice){0}, slice_str(origin), "the object was deleted before it was (wholly) read");
    }
    finish_object(r, false);
}

/* Records of the object that is open, until the batch is full, the object ends, or the network is to be asked again
 * with something in hand. */
static struct result read_some(struct source_reader *r, struct draft *d) {
    while (!is_full(d)) {
        struct record record;
        bool end;
        struct result got = s3_object_next(r->object, &record, &end);
        if (got.code == ERR_NOT_FOUND || got.code == ERR_CONFLICT) {
            lose_object(r, got, d);
            return OK;
        }
        TRY(got);
        if (end) {
            finish_object(r, true);
            return OK;
        }
        add_record(r, &record, d);
        note_place(r);
        if (s3_object_must_wait(r->object)) return OK;
    }
    return OK;
}

/* ---- next ---- */

static bool is_cancelled(const struct source_reader *r) {
    return atomic_load(r->spec.cancelled);
}

static void begin_pass(struct source_reader *r) {
    r->position.pass_began_ms = clock_unix_ms();
    r->step = STEP_LIST;
}

static struct result advance(struct source_reader *r, struct draft *d, bool *ret_snapshot_end) {
    switch (r->step) {
    case STEP_LIST:
        return list_some(r, d);
    case STEP_READ:
        if (r->object) return read_some(r, d);
        begin_object(r, ret_snapshot_end);
        return OK;
    case STEP_WAIT:
        if (clock_boottime_ns() >= r->poll_at_ns)
            begin_pass(r);
        else
            clock_sleep_ms(SLICE_MS);
        return OK;
    }
    return OK;
}

static struct result s3_next(struct source_reader *r, unsigned wait_ms, struct source_batch *ret) {
    AUTO(draft_done) struct draft d = {0};
    buf_init_wiping(&d.text, MAX_TEXT_BYTES);
    bool snapshot_end = false;
    int64_t until = clock_boottime_ns() + (int64_t)wait_ms * NS_PER_MS;
    while (!is_full(&d) && !snapshot_end && !(r->step == STEP_WAIT && d.count) && clock_boottime_ns() < until) {
        CHECK(!is_cancelled(r), ERR_CANCELLED, "cancelled");
        struct result went = advance(r, &d, &snapshot_end);
        /* What is in hand comes first; the failure comes again with the next call. */
        if (is_err(went) && d.count == 0) return went;
        if (is_err(went)) break;
    }
    AUTO(source_batch_done) struct source_batch batch = {0};
    TRY(draft_finish(&d, &batch));
    batch.is_snapshot_end = snapshot_end;
    if (r->has_news) batch.position = s3_position_write(&r->position);
    r->has_news = false;
    *ret = batch;
    batch = (struct source_batch){0};
    return OK;
}

static struct result s3_stored(struct source_reader *r) {
    return OK;
}

static void s3_progress(struct source_reader *r, struct source_progress *ret) {
    const struct s3_position *p = &r->position;
    int64_t lag = 0;
    for (size_t i = r->queue_at; i < r->queue_count; i++)
        lag += r->queue[i].size;
    if (r->object) lag -= s3_object_bytes_done(r->object);
    ret->state = p->pass > 0 ? SOURCE_WATCHING : p->listed_objects > 0 ? SOURCE_SCANNING : SOURCE_INITIALIZING;
    ret->total_items = p->listed_objects;
    ret->done_items = p->read_objects;
    ret->total_bytes = p->listed_bytes;
    ret->lag = lag > 0 ? lag : 0;
    mem_copy(ret->last_item, r->last_item, sizeof ret->last_item);
}

/* ---- after a pause ---- */

/* How many of the pending objects the bucket still has as they were listed. */
static struct result count_pending(struct s3_client *client, const struct s3_config *c, const struct s3_position *p,
                                   size_t *ret_found) {
    AUTO_FREE char *token = NULL;
    *ret_found = 0;
    for (unsigned n = 0; n < STILL_PAGES; n++) {
        AUTO(s3_page_done) struct s3_page page = {0};
        TRY(s3_client_list(client, c->list_prefix, p->cursor, token, S3_CLIENT_PAGE_KEYS, &page));
        for (size_t i = 0; i < page.count; i++) {
            if (strcmp(page.items[i].key, p->chunk_end) > 0) return OK;
            uint64_t hash = s3_hash(page.items[i].key, page.items[i].etag);
            for (size_t k = 0; k < p->pending_count; k++)
                *ret_found += p->pending[k] == hash;
        }
        mem_free(token);
        token = TAKE(page.next_token);
        if (!token) return OK;
    }
    FAIL(ERR_TOO_LARGE, "the bucket has too many objects to look through");
}

static struct result ask_still_has(const struct source_spec *spec, const json_t *position, bool *ret, char **ret_why) {
    AUTO(s3_config_done) struct s3_config c = {0};
    TRY(s3_config_read(spec->config, spec->format, spec->integration, &c));
    struct s3_position p;
    s3_position_init(&p);
    AUTO(s3_position_done) struct s3_position owned = p;
    if (position) TRY(s3_position_read(position, &owned));
    struct http_pool *pool;
    struct s3_client *client = NULL;
    TRY(http_pool_new(&pool));
    size_t found = 0;
    struct result r = make_client(spec, &c, pool, &client);
    if (is_ok(r)) r = count_pending(client, &c, &owned, &found);
    s3_client_free(client);
    http_pool_free(pool);
    if (r.code == ERR_NOT_FOUND) {
        *ret = false;
        *ret_why = str_format("bucket '%s' is not there any more.", c.bucket);
        return OK;
    }
    TRY(r);
    *ret = found >= owned.pending_count;
    if (!*ret)
        *ret_why =
            str_format("%zu of %zu objects of bucket '%s' that were listed but not wholly read are gone or changed.",
                       owned.pending_count - found, owned.pending_count, c.bucket);
    return OK;
}

static struct result s3_still_has(const struct source_spec *spec, const json_t *position, bool *ret, char **ret_why) {
    struct result r = ask_still_has(spec, position, ret, ret_why);
    if (is_err(r)) *ret_why = str_dup(err_detail());
    return r;
}

const struct source_driver s3_driver = {.kind = "s3",
                                        .check = s3_check,
                                        .open = s3_open,
                                        .next = s3_next,
                                        .stored = s3_stored,
                                        .progress = s3_progress,
                                        .close = s3_close,
                                        .still_has = s3_still_has,
                                        .check_integration = s3_config_check_integration};
