#include "lifecycle/retention.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "lifecycle/write_priv.h"

enum {
    STEP_MS = 100,
    CALL_MS = 60000,
    MERGE_MS = 300000,
    HOLD_S = 5,
    IDS_AT_ONCE = 5000,
    STATEMENT_BYTES = 256 * 1024,
    MAX_STATEMENT_BYTES = 1000 * 1000,
    MAX_REPLY_BYTES = 16 << 20,
};

/* When a collection was last merged after a purge. */
struct merged {
    char id[REGISTRY_ID_BYTES];
    int64_t at_ms;
};

struct retention {
    struct tenants *tenants;
    _Atomic bool stopping;
    pthread_t thread;
    bool has_thread;
    struct merged *merges;
    size_t merge_count;
};

struct purge {
    struct retention *r;
    struct tenant *tenant;
    struct keylink_engine engine;
    struct collection *collection;
    int64_t before_us;
    size_t removed;
};

static struct result run(struct purge *p, struct engine_call *call, struct engine_reply *ret) {
    call->role = ENGINE_WRITER;
    TRY(tenant_call(p->tenant, &p->engine, call, ret));
    CHECK(ret->exception_code == 0, ERR_PEER, "the engine refuses a purge (ClickHouse error %d)", ret->exception_code);
    return OK;
}

/* Ids of documents that are too old, as RowBinary. */
static struct result find_old(struct purge *p, int limit, struct engine_reply *ret) {
    AUTO_FREE char *sql =
        str_format("SELECT _id FROM lockset_data.`%s` FINAL WHERE _event_time < fromUnixTimestamp64Micro(%" PRId64
                   ", 'UTC') LIMIT %d",
                   p->collection->id, p->before_us, limit);
    struct engine_call call = {
        .query = slice_str(sql), .format = "RowBinary", .timeout_ms = CALL_MS, .max_reply_bytes = MAX_REPLY_BYTES};
    return run(p, &call, ret);
}

/* With all their versions, so that none of an earlier time comes to light. */
static struct result remove_ids(struct purge *p, struct slice *ids, size_t *ret_count) {
    BUF_AUTO(sql, MAX_STATEMENT_BYTES);
    buf_printf(&sql, "DELETE FROM lockset_data.`%s` WHERE _id IN (", p->collection->id);
    for (*ret_count = 0; ids->len && sql.len < STATEMENT_BYTES; ++*ret_count) {
        struct slice id;
        CHECK(write_take_string(ids, &id), ERR_PEER, "the engine's answer can't be read");
        if (*ret_count) buf_append_byte(&sql, ',');
        sql_quote_text(id, &sql);
    }
    buf_append_byte(&sql, ')');
    TRY(buf_check(&sql));
    static const struct http_field settings[] = {{"lightweight_delete_mode", "lightweight_update_force"}, {NULL, NULL}};
    struct engine_call call = {.query = buf_slice(&sql), .settings = settings, .timeout_ms = CALL_MS};
    AUTO(engine_reply_done) struct engine_reply reply = {0};
    return run(p, &call, &reply);
}

/* Nothing is written meanwhile: what was found stays what is too old. */
static struct result purge_held(struct purge *p, size_t *ret_found) {
    AUTO(engine_reply_done) struct engine_reply found = {0};
    TRY(find_old(p, IDS_AT_ONCE, &found));
    struct slice ids = buf_slice(&found.body);
    while (ids.len) {
        size_t count;
        TRY(remove_ids(p, &ids, &count));
        *ret_found += count;
    }
    return OK;
}

static struct result purge_some(struct purge *p, size_t *ret_found) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += HOLD_S;
    CHECK(pthread_rwlock_timedwrlock(&p->collection->writes, &until) == 0, ERR_BUSY, "writes don't end");
    struct result r = purge_held(p, ret_found);
    pthread_rwlock_unlock(&p->collection->writes);
    return r;
}

/* ---- merging ---- */

static struct merged *merge_of(struct retention *r, const char *id) {
    for (size_t i = 0; i < r->merge_count; i++)
        if (strcmp(r->merges[i].id, id) == 0) return &r->merges[i];
    r->merges = mem_resize(r->merges, (r->merge_count + 1) * sizeof *r->merges);
    struct merged *m = &r->merges[r->merge_count++];
    *m = (struct merged){.at_ms = INT64_MIN};
    mem_copy(m->id, id, strlen(id) + 1);
    return m;
}

/* Removed rows leave the store when their part is merged; that this happens soon is seen to here. */
static struct result merge(struct purge *p) {
    struct merged *m = merge_of(p->r, p->collection->id);
    int64_t now = clock_boottime_ns() / NS_PER_MS;
    if (m->at_ms != INT64_MIN && now < m->at_ms + RETENTION_MERGE_EVERY_MS) return OK;
    AUTO_FREE char *sql = str_format("OPTIMIZE TABLE lockset_data.`%s` FINAL", p->collection->id);
    struct engine_call call = {.query = slice_str(sql), .timeout_ms = MERGE_MS};
    AUTO(engine_reply_done) struct engine_reply reply = {0};
    TRY(run(p, &call, &reply));
    m->at_ms = now;
    return OK;
}

/* ---- all collections ---- */

static struct result purge_collection(struct purge *p) {
    AUTO(engine_reply_done) struct engine_reply any = {0};
    TRY(find_old(p, 1, &any));
    size_t found = any.body.len ? IDS_AT_ONCE : 0;
    while (found && !atomic_load(&p->r->stopping)) {
        found = 0;
        TRY(purge_some(p, &found));
        p->removed += found;
    }
    /* Also what an earlier purge removed and no merge has taken out yet. */
    return p->removed || merge_of(p->r, p->collection->id)->at_ms != INT64_MIN ? merge(p) : OK;
}

static void purge_organization(void *arg, struct tenant *t, const struct keylink_engine *engine) {
    struct retention *r = arg;
    AUTO(registry_collections_done) struct registry_collections rows = {0};
    if (is_err(registry_list_collections(tenants_registry(r->tenants), tenant_org(t), tenants_region(r->tenants), NULL,
                                         &rows)))
        return;
    for (size_t i = 0; i < rows.count && !atomic_load(&r->stopping); i++) {
        const struct registry_collection *row = &rows.items[i];
        if (row->retention_secs == 0 || strcmp(row->status, "READY") != 0) continue;
        struct purge p = {.r = r, .tenant = t, .engine = *engine, .collection = tenant_collection(t, row)};
        p.before_us = clock_unix_us() - row->retention_secs * 1000000;
        if (is_err(purge_collection(&p)))
            log_warn("retention.failed", KV("collection", row->id), KV("why", err_detail()));
        if (p.removed) log_info("retention.purged", KV("collection", row->id), KVI("documents", p.removed));
    }
}

static void *retention_main(void *arg) {
    struct retention *r = arg;
    for (int64_t waited = 0; !atomic_load(&r->stopping); waited += STEP_MS) {
        clock_sleep_ms(STEP_MS);
        if (waited % RETENTION_EVERY_MS == RETENTION_EVERY_MS - STEP_MS)
            tenants_each_attached(r->tenants, purge_organization, r);
    }
    return NULL;
}

struct result retention_new(struct tenants *tenants, struct retention **ret) {
    struct retention *r = mem_alloc(sizeof *r);
    r->tenants = tenants;
    r->has_thread = pthread_create(&r->thread, NULL, retention_main, r) == 0;
    if (!r->has_thread) {
        retention_free(r);
        FAIL(ERR_IO, "no thread for retention");
    }
    *ret = r;
    return OK;
}

struct retention *retention_free(struct retention *r) {
    if (!r) return NULL;
    atomic_store(&r->stopping, true);
    if (r->has_thread) pthread_join(r->thread, NULL);
    mem_free(r->merges);
    mem_free(r);
    return NULL;
}
