#include "lifecycle/hidden.h"

#include <string.h>

#include "base/clock.h"
#include "engine/rowbinary.h"

enum { READ_MS = 10000, MAX_REPLY_BYTES = 256 * 1024 * 1024, RETRY_AFTER_S = 1, AGAIN_MS = 100 };

void hidden_rows_done(struct hidden_rows *l) {
    for (size_t i = 0; i < l->count; i++) {
        mem_free(l->items[i].id);
        buf_done(&l->items[i].text);
    }
    mem_free(l->items);
    *l = (struct hidden_rows){0};
}

static struct result take_rows(struct slice text, struct hidden_rows *l) {
    while (text.len) {
        struct slice id, raw;
        CHECK(write_take_string(&text, &id) && write_take_string(&text, &raw) && id.len > 1, ERR_PEER,
              "the engine's answer can't be read");
        if (raw.len == 0) continue;
        if ((l->count & (l->count - 1)) == 0)
            l->items = mem_resize(l->items, (l->count ? l->count * 2 : 1) * sizeof *l->items);
        struct hidden_row *row = &l->items[l->count++];
        row->id = slice_to_str(slice_make(id.data + 1, id.len - 1));
        buf_init_wiping(&row->text, raw.len + 1);
        buf_append_slice(&row->text, raw);
    }
    return OK;
}

static struct result refuse_reading(struct refusal *why, int code) {
    return refuse(why, ERR_INTERNAL, 500, "INTERNALERROR", 0,
                  "The engine can't read the collection (ClickHouse error %d).", code);
}

static bool is_for_later(int code) {
    return code == ENGINE_UNKNOWN_TABLE || code == ENGINE_UNKNOWN_DATABASE || code == ENGINE_MEMORY_LIMIT ||
           code == ENGINE_TIMEOUT_EXCEEDED || code == ENGINE_QUERY_CANCELLED;
}

struct result hidden_read(struct tenant *t, const struct registry_collection *c, enum keylink_use use,
                          const char *prefix, int64_t deadline_ns, struct hidden_rows *ret, struct refusal *why) {
    /* The last byte, increased, bounds the range from above, so that the primary key serves. */
    AUTO_FREE char *end = str_dup(prefix);
    end[strlen(end) - 1]++;
    AUTO_FREE char *sql = str_format("SELECT _id, __lockset_raw FROM lockset_data.`%s` WHERE _id >= '\\0%s' AND _id < "
                                     "'\\0%s' ORDER BY _id, __lockset_version DESC LIMIT 1 BY _id",
                                     c->id, prefix, end);
    while (true) {
        struct keylink_engine engine;
        TRY(tenant_engine(t, use, deadline_ns, &engine, why));
        struct engine_call call = {.role = ENGINE_WRITER,
                                   .query = slice_str(sql),
                                   .format = "RowBinary",
                                   .timeout_ms = READ_MS,
                                   .max_reply_bytes = MAX_REPLY_BYTES};
        AUTO(engine_reply_done) struct engine_reply reply = {0};
        struct result r = tenant_call(t, &engine, &call, &reply);
        if (is_ok(r) && reply.exception_code == 0) {
            AUTO(hidden_rows_done) struct hidden_rows list = {0};
            if (is_err(take_rows(buf_slice(&reply.body), &list))) return refuse_reading(why, 0);
            *ret = list;
            list = (struct hidden_rows){0};
            return OK;
        }
        if (is_ok(r) && !is_for_later(reply.exception_code)) return refuse_reading(why, reply.exception_code);
        if (clock_boottime_ns() > deadline_ns)
            return refuse(why, ERR_UNREACHABLE, 503, "SERVICEUNAVAILABLE", RETRY_AFTER_S,
                          "The engine is busy or being restarted; try again.");
        if (is_ok(r))
            clock_sleep_ms(AGAIN_MS);
        else
            TRY(tenant_broken(t, &engine, r.code == ERR_TIMEOUT, use, why));
    }
}

struct list {
    struct write_hidden *rows;
    size_t count;
};

static struct result give_rows(void *arg, struct write_hidden **ret, size_t *ret_count) {
    const struct list *l = arg;
    *ret = l->rows;
    *ret_count = l->count;
    return OK;
}

struct result hidden_write(struct tenant *t, const struct registry_collection *c, enum keylink_use use,
                           const struct write_hidden *rows, size_t count, struct refusal *why) {
    struct write w = {.tenant = t, .collection = c};
    AUTO(write_run_done) struct write_run run;
    write_run_init(&run, &w, why);
    run.use = use;
    AUTO_FREE struct write_hidden *copy = mem_dup(rows, count * sizeof *rows);
    struct list list = {copy, count};
    run.make_hidden = give_rows;
    run.arg = &list;
    TRY(write_hold(&run, false));
    struct result r = write_store(&run, NULL);
    write_release(&run);
    return r;
}
