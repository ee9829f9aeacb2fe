#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "lifecycle/staging.h"
#include "lifecycle/tenant.h"

enum { STATEMENT_MS = 30000, MAX_VIEW_BYTES = 1000 * 1000, MAX_STATE_BYTES = 4 * 1024 * 1024 };

struct result tenant_run(struct tenant *t, const struct keylink_engine *engine, const char *sql) {
    struct engine_call call = {.role = ENGINE_WRITER, .query = slice_str(sql), .timeout_ms = STATEMENT_MS};
    AUTO(engine_reply_done) struct engine_reply reply = {0};
    TRY(tenant_call(t, engine, &call, &reply));
    CHECK(reply.exception_code == 0, ERR_PEER,
          "the engine refused a statement of the server's own (ClickHouse error %d)", reply.exception_code);
    return OK;
}

/* A UUID that belongs to the collection's id alone: 80 bits of it are that id. */
static void table_uuid(const char *id, char ret[static 37]) {
    snprintf(ret, 37, "10c75e70-%.4s-4%.3s-8%.3s-%.10s00", id + 1, id + 5, id + 8, id + 11);
}

static struct result attach_table(struct tenant *t, const struct keylink_engine *engine, const struct collection *c) {
    char uuid[37];
    table_uuid(c->id, uuid);
    /* ATTACH serves a collection without any object yet as well, so there is no CREATE. Names of columns begin with
     * __lockset so that no field of a document can stand for them in the view. */
    AUTO_FREE char *sql = str_format(
        "ATTACH TABLE IF NOT EXISTS lockset_data.`%s` UUID '%s' (\n"
        "  _id String, _event_time DateTime64(6, 'UTC'), __lockset_version UInt64, __lockset_deleted UInt8,\n"
        "  __lockset_raw String CODEC(ZSTD(1)),\n"
        "  __lockset_doc JSON(max_dynamic_paths=128)\n"
        "    DEFAULT CAST(if(__lockset_deleted = 1, '{}', __lockset_raw), 'JSON(max_dynamic_paths=128)')\n"
        ") ENGINE = ReplacingMergeTree(__lockset_version, __lockset_deleted) ORDER BY _id\n"
        "SETTINGS disk = @disk(%s), table_disk = 1, min_bytes_for_wide_part = 134217728,\n"
        "  enable_block_number_column = 1, enable_block_offset_column = 1, old_parts_lifetime = 60",
        c->id, uuid, c->id);
    return tenant_run(t, engine, sql);
}

/* Reads [highest version, schema, mapping] from the answer's one row. */
static struct result take_state(struct slice text, struct collection *c) {
    JSON_AUTO(row);
    TRY(json_parse(text, &row));
    const char *version = json_string_value(json_array_get(row, 0));
    const json_t *schema = json_array_get(row, 1);
    CHECK(version, ERR_PEER, "the engine's answer about a collection has an unknown form");
    uint64_t highest;
    TRY(slice_to_u64(slice_str(version), UINT64_MAX, &highest));
    if (highest > c->last_version) c->last_version = highest;
    const char *mapping = json_string_value(json_array_get(row, 2));
    mem_free(c->mapping);
    c->mapping = mapping && *mapping ? str_dup(mapping) : NULL;
    if (!json_is_string(schema) || json_string_length(schema) == 0) return OK;
    return schema_read(slice_make(json_string_value(schema), json_string_length(schema)), &c->schema);
}

static struct result read_state(struct tenant *t, const struct keylink_engine *engine, struct collection *c) {
    static const char newest[] = "ifNull((SELECT __lockset_raw FROM lockset_data.`%s` WHERE _id = '\\0%s' ORDER BY "
                                 "__lockset_version DESC LIMIT 1), '')";
    AUTO_FREE char *schema = str_format(newest, c->id, "schema");
    AUTO_FREE char *mapping = str_format(newest, c->id, "mapping");
    AUTO_FREE char *sql =
        str_format("SELECT toString(ifNull((SELECT max(__lockset_version) FROM lockset_data.`%s`), 0)), %s, %s", c->id,
                   schema, mapping);
    struct engine_call call = {.role = ENGINE_WRITER,
                               .query = slice_str(sql),
                               .format = "JSONCompactEachRow",
                               .timeout_ms = STATEMENT_MS,
                               .max_reply_bytes = MAX_STATE_BYTES};
    AUTO(engine_reply_done) struct engine_reply reply = {0};
    TRY(tenant_call(t, engine, &call, &reply));
    CHECK(reply.exception_code == 0, ERR_PEER, "the engine can't read a collection (ClickHouse error %d)",
          reply.exception_code);
    return take_state(buf_slice(&reply.body), c);
}

static struct result run_view(struct tenant *t, const struct keylink_engine *engine, const struct collection *c,
                              struct slice columns) {
    BUF_AUTO(sql, MAX_VIEW_BYTES + 1024);
    buf_append_str(&sql, "CREATE OR REPLACE VIEW ");
    sql_quote_name(slice_str(c->workspace), &sql);
    buf_append_str(&sql, ".");
    sql_quote_name(slice_str(c->name), &sql);
    buf_append_str(&sql, " AS SELECT _id, _event_time");
    buf_append_slice(&sql, columns);
    buf_printf(&sql, "\nFROM lockset_data.`%s` FINAL", c->id);
    if (c->retention_secs)
        buf_printf(&sql, " WHERE _event_time >= now64(6) - toIntervalSecond(%" PRId64 ")", c->retention_secs);
    TRY(buf_check(&sql));
    return tenant_run(t, engine, buf_str(&sql));
}

struct result collection_make_view(struct tenant *t, const struct keylink_engine *engine, struct collection *c) {
    if (c->is_hidden) return OK;
    BUF_AUTO(columns, MAX_VIEW_BYTES);
    schema_columns(&c->schema, "__lockset_doc", &columns);
    struct result r = buf_check(&columns);
    if (is_ok(r)) r = run_view(t, engine, c, buf_slice(&columns));
    if (r.code == ERR_PEER || r.code == ERR_TOO_LARGE) {
        /* A field's name or type that the engine doesn't take must not hide the documents. */
        log_warn("collection.plain_view", KV("collection", c->id), KV("why", err_detail()));
        r = run_view(t, engine, c, slice_str(", __lockset_doc AS _doc"));
    }
    if (is_ok(r)) c->is_view_stale = false;
    return r;
}

static struct result attach_locked(struct tenant *t, const struct keylink_engine *engine, struct collection *c) {
    if (c->epoch == engine->epoch) return OK;
    BUF_AUTO(database, 1024);
    buf_append_str(&database, "CREATE DATABASE IF NOT EXISTS ");
    sql_quote_name(slice_str(c->workspace), &database);
    buf_append_str(&database, " ENGINE = Memory");
    TRY(tenant_run(t, engine, buf_str(&database)));
    TRY(attach_table(t, engine, c));
    TRY(read_state(t, engine, c));
    TRY(collection_make_view(t, engine, c));
    c->epoch = engine->epoch;
    return OK;
}

struct result collection_attach(struct tenant *t, const struct keylink_engine *engine, struct collection *c) {
    pthread_mutex_lock(&c->lock);
    struct result r = attach_locked(t, engine, c);
    pthread_mutex_unlock(&c->lock);
    return r;
}

static struct result drop_view(struct tenant *t, const struct keylink_engine *engine, const struct collection *c) {
    BUF_AUTO(view, 1024);
    buf_append_str(&view, "DROP VIEW IF EXISTS ");
    sql_quote_name(slice_str(c->workspace), &view);
    buf_append_str(&view, ".");
    sql_quote_name(slice_str(c->name), &view);
    return tenant_run(t, engine, buf_str(&view));
}

static void set_hidden(struct collection *c, bool is_hidden) {
    pthread_mutex_lock(&c->lock);
    c->is_hidden = is_hidden;
    pthread_mutex_unlock(&c->lock);
}

struct result collection_hide(struct tenant *t, const struct keylink_engine *engine, struct collection *c) {
    set_hidden(c, true);
    TRY(collection_attach(t, engine, c));
    return drop_view(t, engine, c);
}

struct result collection_show(struct tenant *t, const struct keylink_engine *engine, struct collection *c) {
    set_hidden(c, false);
    TRY(collection_attach(t, engine, c));
    pthread_mutex_lock(&c->lock);
    struct result r = collection_make_view(t, engine, c);
    pthread_mutex_unlock(&c->lock);
    return r;
}

struct result collection_drop(struct tenant *t, const struct keylink_engine *engine, struct collection *c) {
    TRY(drop_view(t, engine, c));
    AUTO_FREE char *table = str_format("DROP TABLE IF EXISTS lockset_data.`%s` SYNC", c->id);
    return tenant_run(t, engine, table);
}

/* A deletion that was cut off goes on. */
static struct result finish_deletion(struct tenant *t, const struct keylink_engine *engine, struct collection *c) {
    TRY(collection_attach(t, engine, c));
    TRY(collection_drop(t, engine, c));
    struct result r = registry_delete_collection(tenants_registry(tenant_all(t)), c->id);
    return r.code == ERR_NOT_FOUND ? OK : r;
}

/* Unrecoverable after a pause, and the operator didn't ask for it to stay readable: nobody sees it again. */
static bool is_lost(struct tenants *all, const struct registry_collection *c) {
    if (strcmp(c->status, "PAUSED") != 0) return false;
    AUTO(registry_recovery_done) struct registry_recovery v = {0};
    struct result r = registry_get_recovery(tenants_registry(all), c->id, &v);
    return is_err(r) || !v.is_readable;
}

struct result tenant_attach(struct tenant *t, const struct keylink_engine *engine) {
    TRY(staging_clear(t, engine));
    TRY(tenant_run(t, engine, "CREATE DATABASE IF NOT EXISTS lockset_data ENGINE = Memory"));
    TRY(tenant_run(t, engine, "CREATE DATABASE IF NOT EXISTS commons ENGINE = Memory"));
    struct tenants *all = tenant_all(t);
    AUTO(registry_collections_done) struct registry_collections list = {0};
    TRY(registry_list_collections(tenants_registry(all), tenant_org(t), tenants_region(all), NULL, &list));
    for (size_t i = 0; i < list.count; i++) {
        struct collection *c = tenant_collection(t, &list.items[i]);
        bool is_going = strcmp(list.items[i].status, "DELETED") == 0;
        set_hidden(c, is_lost(all, &list.items[i]));
        struct result r = is_going ? finish_deletion(t, engine, c) : collection_attach(t, engine, c);
        if (is_ok(r)) continue;
        if (r.code != ERR_PEER) return r;
        /* One damaged collection must not take the others with it. */
        log_error("collection.not_attached", KV("collection", c->id), KV("why", err_detail()));
    }
    return OK;
}
