#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/secret.h"
#include "lifecycle/write_priv.h"

enum { LOOKUP_BYTES = 256 * 1024, LOOKUP_MS = 10000, MAX_REPLY_BYTES = 128 * 1024 * 1024, RETRY_AFTER_S = 1 };

void write_run_init(struct write_run *run, const struct write *w, struct refusal *why) {
    *run = (struct write_run){.write = w, .use = KEYLINK_WRITE, .why = why};
    run->collection = tenant_collection(w->tenant, w->collection);
    run->deadline_ns = clock_boottime_ns() + WRITE_TIMEOUT_MS * NS_PER_MS;
}

void write_run_done(struct write_run *run) {
    for (size_t i = 0; i < run->count; i++)
        mem_free(run->rows[i].error);
    mem_free(run->rows);
    *run = (struct write_run){0};
}

struct result write_hold(struct write_run *run, bool alone) {
    int64_t left = (run->deadline_ns - clock_boottime_ns()) / NS_PER_MS;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += left > 0 ? left / 1000 : 0;
    int failed = alone ? pthread_rwlock_timedwrlock(&run->collection->writes, &until)
                       : pthread_rwlock_timedrdlock(&run->collection->writes, &until);
    if (failed == 0) return OK;
    return refuse(run->why, ERR_BUSY, 503, "SERVICEUNAVAILABLE", RETRY_AFTER_S,
                  "Other writes to this collection took too long. Nothing was written: send it again.");
}

void write_release(struct write_run *run) {
    pthread_rwlock_unlock(&run->collection->writes);
}

/* ---- looking up ---- */

void write_found_done(struct write_found_list *l) {
    for (size_t i = 0; i < l->count; i++) {
        mem_free(l->items[i].id);
        if (l->items[i].raw) wipe(l->items[i].raw, strlen(l->items[i].raw));
        mem_free(l->items[i].raw);
    }
    mem_free(l->items);
    *l = (struct write_found_list){0};
}

static int compare_found(const void *a, const void *b) {
    return strcmp(((const struct write_found *)a)->id, ((const struct write_found *)b)->id);
}

struct write_found *write_find(const struct write_found_list *l, struct slice id) {
    if (l->count == 0) return NULL;
    AUTO_FREE char *text = slice_to_str(id);
    struct write_found key = {.id = text};
    return bsearch(&key, l->items, l->count, sizeof key, compare_found);
}

bool write_take_string(struct slice *s, struct slice *ret) {
    uint64_t len = 0;
    for (unsigned shift = 0; shift < 63; shift += 7) {
        uint8_t byte;
        if (!take_u8(s, &byte)) return false;
        len |= (uint64_t)(byte & 0x7f) << shift;
        if (byte & 0x80) continue;
        return len <= s->len && take_bytes(s, (size_t)len, ret);
    }
    return false;
}

static bool take_i64(struct slice *s, int64_t *ret) {
    struct slice bytes;
    if (!take_bytes(s, 8, &bytes)) return false;
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | bytes.data[i];
    *ret = (int64_t)v;
    return true;
}

static struct result take_found(struct slice text, bool with_raw, struct write_found_list *l) {
    while (text.len) {
        struct slice id, raw = {0};
        int64_t time = 0;
        bool good =
            write_take_string(&text, &id) && (!with_raw || (take_i64(&text, &time) && write_take_string(&text, &raw)));
        CHECK(good, ERR_PEER, "the engine's answer can't be read");
        if ((l->count & (l->count - 1)) == 0)
            l->items = mem_resize(l->items, (l->count ? l->count * 2 : 1) * sizeof *l->items);
        l->items[l->count++] = (struct write_found){slice_to_str(id), time, with_raw ? slice_to_str(raw) : NULL};
    }
    return OK;
}

/* One statement; again with the next engine if this one goes away. */
static struct result ask(struct write_run *run, struct slice sql, bool with_raw, struct write_found_list *l) {
    struct tenant *t = run->write->tenant;
    while (true) {
        struct keylink_engine engine;
        TRY(tenant_engine(t, run->use, run->deadline_ns, &engine, run->why));
        struct engine_call call = {.role = ENGINE_WRITER,
                                   .query = sql,
                                   .format = "RowBinary",
                                   .timeout_ms = LOOKUP_MS,
                                   .max_reply_bytes = MAX_REPLY_BYTES};
        AUTO(engine_reply_done) struct engine_reply reply = {0};
        struct result r = tenant_call(t, &engine, &call, &reply);
        if (is_ok(r) && reply.exception_code == 0) return take_found(buf_slice(&reply.body), with_raw, l);
        if (clock_boottime_ns() > run->deadline_ns)
            return refuse(run->why, ERR_UNREACHABLE, 503, "SERVICEUNAVAILABLE", RETRY_AFTER_S,
                          "The engine is busy or being restarted. Nothing was written: send it again.");
        if (is_ok(r) && reply.exception_code != ENGINE_UNKNOWN_TABLE && reply.exception_code != ENGINE_UNKNOWN_DATABASE)
            return refuse(run->why, ERR_INTERNAL, 500, "INTERNALERROR", 0,
                          "The engine can't read the collection (ClickHouse error %d).", reply.exception_code);
        if (is_ok(r))
            clock_sleep_ms(100);
        else
            TRY(tenant_broken(t, &engine, r.code == ERR_TIMEOUT, run->use, run->why));
    }
}

struct result write_lookup(struct write_run *run, bool with_raw, struct write_found_list *ret) {
    AUTO(write_found_done) struct write_found_list list = {0};
    for (size_t i = 0; i < run->count;) {
        BUF_AUTO(sql, LOOKUP_BYTES * 2);
        buf_printf(&sql, "SELECT _id%s FROM lockset_data.`%s` FINAL WHERE _id IN (",
                   with_raw ? ", toUnixTimestamp64Micro(_event_time), __lockset_raw" : "", run->collection->id);
        const char *comma = "";
        for (; i < run->count && sql.len < LOOKUP_BYTES; i++) {
            if (run->rows[i].error) continue;
            buf_append_str(&sql, comma);
            sql_quote_text(run->rows[i].id, &sql);
            comma = ",";
        }
        buf_append_str(&sql, ")");
        if (*comma) TRY(ask(run, buf_slice(&sql), with_raw, &list));
    }
    if (list.count) qsort(list.items, list.count, sizeof *list.items, compare_found);
    *ret = list;
    list = (struct write_found_list){0};
    return OK;
}

/* ---- requests and answers ---- */

struct result write_parse_list(struct slice body, const char *const members[], json_t **ret_root, json_t **ret_data) {
    static const char *const known[] = {"data", NULL};
    CHECK(body.len <= DOCUMENT_MAX_BODY_BYTES, ERR_TOO_LARGE, "the body is over 10 MiB: send several smaller ones");
    JSON_AUTO(root);
    json_t *data;
    TRY(json_parse_object(body, &root));
    TRY(json_only(root, known));
    TRY(json_get_array(root, "data", &data));
    CHECK(json_array_size(data) <= DOCUMENT_MAX_COUNT, ERR_TOO_LARGE,
          "more than %d documents in one request: send several", DOCUMENT_MAX_COUNT);
    for (size_t i = 0; i < json_array_size(data); i++) {
        const json_t *element = json_array_get(data, i);
        CHECK(json_is_object(element), ERR_INVALID, "data[%zu] must be an object with an _id", i);
        struct result r = json_only(element, members);
        if (is_ok(r)) continue;
        AUTO_FREE char *detail = str_dup(err_detail());
        FAIL(r.code, "data[%zu]: %s", i, detail);
    }
    *ret_root = TAKE(root);
    *ret_data = data;
    return OK;
}

const char *write_take_id(const json_t *element, const char **ret_error) {
    const json_t *id = json_object_get(element, "_id");
    *ret_error = NULL;
    if (!json_is_string(id))
        *ret_error = "_id must be there, as a string";
    else if (json_string_length(id) == 0)
        *ret_error = "_id must not be empty";
    else if (json_string_length(id) > DOCUMENT_MAX_ID_BYTES)
        *ret_error = "_id is longer than 512 bytes";
    return *ret_error ? NULL : json_string_value(id);
}

void write_print_fence(uint64_t version, struct buf *out) {
    buf_printf(out, "f1:0:0:0:%llu", (unsigned long long)version);
}

struct result write_parse_fence(const char *fence, uint64_t *ret_version) {
    static const char prefix[] = "f1:0:0:0:";
    struct slice text = slice_str(fence);
    CHECK(slice_starts_with(text, prefix), ERR_INVALID, "'%.60s' is no fence: give the last_offset of a write", fence);
    size_t n = sizeof prefix - 1;
    if (is_err(slice_to_u64(slice_make(text.data + n, text.len - n), UINT64_MAX, ret_version)))
        FAIL(ERR_INVALID, "'%.60s' is no fence: give the last_offset of a write", fence);
    return OK;
}

uint64_t write_committed(struct collection *c) {
    /* Writes are synchronous: every fence that was ever given out is committed, and versions follow the clock. */
    uint64_t now = (uint64_t)clock_unix_us();
    pthread_mutex_lock(&c->lock);
    uint64_t version = c->last_version > now ? c->last_version : now;
    pthread_mutex_unlock(&c->lock);
    return version;
}

void write_answer(const struct write_run *run, struct buf *out) {
    const struct registry_collection *c = run->write->collection;
    buf_append_str(out, "{\"data\":[");
    for (size_t i = 0; i < run->count; i++) {
        const struct write_row *r = &run->rows[i];
        buf_printf(out, "%s{\"_collection\":\"%s.%s\",\"_id\":", i ? "," : "", c->workspace, c->name);
        if (r->id.data)
            json_write_str(r->id, out);
        else
            buf_append_str(out, "null");
        buf_printf(out, ",\"status\":\"%s\",\"error\":", r->error ? "ERROR" : r->status);
        if (r->error) {
            buf_printf(out, "{\"message\":");
            json_write_str(slice_str(r->error), out);
            buf_append_str(out, ",\"type\":\"INVALIDINPUT\"}");
        } else {
            buf_append_str(out, "null");
        }
        buf_append_str(out, ",\"patch_id\":null}");
    }
    buf_append_str(out, "],\"last_offset\":\"");
    write_print_fence(run->last_version ? run->last_version : write_committed(run->collection), out);
    buf_append_str(out, "\"}");
}
