#include "sources/parquet.h"

#include "base/clock.h"
#include "lifecycle/query.h"
#include "lifecycle/staging.h"

enum {
    MAGIC_BYTES = 4,
    MAX_FOOTER_BYTES = 200 * 1024,
    MAX_SQL_BYTES = ENGINE_MAX_QUERY_BYTES,
    CALL_MS = 60000,
    ENGINE_MS = 20000,
    MAX_DESCRIBE_BYTES = 4 << 20,
    MAX_ROWS_BYTES = 64 << 20,
};

static const char magic[] = "PAR1";

struct table {
    struct staging staging;
};

struct result parquet_footer(struct slice file, struct buf *out) {
    bool whole = file.len >= 3 * MAGIC_BYTES && slice_starts_with(file, magic) &&
                 slice_starts_with(slice_make(file.data + file.len - MAGIC_BYTES, MAGIC_BYTES), magic);
    CHECK(whole, ERR_INVALID, "it is no Parquet file: it doesn't begin and end with PAR1");
    const uint8_t *p = file.data + file.len - 2 * MAGIC_BYTES;
    size_t len = p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
    CHECK(len > 0 && len <= file.len - 3 * MAGIC_BYTES, ERR_INVALID, "it is no whole Parquet file: its end is missing");
    CHECK(len <= MAX_FOOTER_BYTES, ERR_INVALID, "the description of the Parquet file's columns is over %d KiB",
          MAX_FOOTER_BYTES / 1024);
    buf_append_str(out, magic);
    buf_append(out, p - len, len + 2 * MAGIC_BYTES);
    return buf_check(out);
}

/* Memory, and what the file holds: that is the file's fault. What has to do with the engine is tried again. */
static struct result outcome(struct result r, const struct engine_reply *reply) {
    TRY(r);
    if (reply->exception_code == 0) return OK;
    CHECK(reply->exception_code != ENGINE_TIMEOUT_EXCEEDED && reply->exception_code != ENGINE_QUERY_CANCELLED,
          ERR_TIMEOUT, "the engine took too long with a Parquet file");
    CHECK(reply->exception_code != ENGINE_UNKNOWN_DATABASE && reply->exception_code != ENGINE_UNKNOWN_TABLE,
          ERR_UNREACHABLE, "the engine was replaced by a new one");
    CHECK(reply->exception_code != ENGINE_MEMORY_LIMIT, ERR_INVALID,
          "the Parquet file needs more memory than the engine may have: write smaller ones");
    BUF_AUTO(text, 4096);
    query_clean_error(slice_str(reply->exception), &text);
    FAIL(ERR_INVALID, "the Parquet file can't be read: %.180s", buf_str(&text));
}

static struct result run(struct table *t, struct engine_call *call, struct engine_reply *ret) {
    call->role = ENGINE_WRITER;
    call->timeout_ms = CALL_MS;
    return outcome(staging_call(&t->staging, call, ret), ret);
}

/* What columns of what types there are, from the file's end alone. */
static struct result describe(struct table *t, struct slice file, struct buf *columns) {
    BUF_AUTO(footer, MAX_FOOTER_BYTES + 64);
    BUF_AUTO(sql, MAX_SQL_BYTES);
    TRY(parquet_footer(file, &footer));
    buf_append_str(&sql, "DESCRIBE TABLE format(Parquet, '");
    for (size_t i = 0; i < footer.len; i++)
        buf_printf(&sql, "\\x%02x", footer.data[i]);
    buf_append_str(&sql, "')");
    TRY(buf_check(&sql));
    struct engine_call call = {
        .query = buf_slice(&sql), .format = "JSONCompactEachRow", .max_reply_bytes = MAX_DESCRIBE_BYTES};
    AUTO(engine_reply_done) struct engine_reply reply = {0};
    TRY(run(t, &call, &reply));
    struct slice rest = buf_slice(&reply.body), line;
    while (rest.len) {
        slice_cut(rest, '\n', &line, &rest);
        JSON_AUTO(row);
        if (line.len == 0) continue;
        CHECK(is_ok(json_parse(line, &row)), ERR_PEER, "the engine's description of a file can't be read");
        const char *name = json_string_value(json_array_get(row, 0)), *type = json_string_value(json_array_get(row, 1));
        CHECK(name && type, ERR_PEER, "the engine's description of a file has an unknown form");
        buf_append_str(columns, columns->len ? ", " : "");
        sql_quote_name(slice_str(name), columns);
        buf_printf(columns, " %s", type);
    }
    return buf_check(columns);
}

static struct result fill(struct table *t, struct slice file, struct slice columns, uint64_t *ret_rows) {
    const char *database = t->staging.database;
    BUF_AUTO(create, MAX_SQL_BYTES);
    buf_printf(&create, "CREATE TABLE `%s`._rows (", database);
    buf_append_slice(&create, columns);
    buf_append_str(&create, ") ENGINE = Memory");
    TRY(buf_check(&create));
    struct engine_call call = {.query = buf_slice(&create)};
    AUTO(engine_reply_done) struct engine_reply created = {0};
    TRY(run(t, &call, &created));
    AUTO_FREE char *insert = str_format("INSERT INTO `%s`._rows FORMAT Parquet", database);
    call = (struct engine_call){.query = slice_str(insert), .body = file};
    AUTO(engine_reply_done) struct engine_reply inserted = {0};
    TRY(run(t, &call, &inserted));
    *ret_rows = inserted.written_rows;
    return OK;
}

static void table_close(void *table) {
    struct table *t = table;
    staging_close(&t->staging);
    mem_free(t);
}

static struct result fill_new(struct table *t, struct slice file, uint64_t *ret_rows) {
    BUF_AUTO(columns, MAX_SQL_BYTES);
    TRY(describe(t, file, &columns));
    return fill(t, file, buf_slice(&columns), ret_rows);
}

static struct result table_open(void *arg, struct slice file, void **ret_table, uint64_t *ret_rows) {
    struct tenant *tenant = arg;
    struct keylink_engine engine;
    REFUSAL_AUTO(why);
    TRY(tenant_engine(tenant, KEYLINK_WRITE, clock_boottime_ns() + (int64_t)ENGINE_MS * NS_PER_MS, &engine, &why));
    struct table *t = mem_alloc(sizeof *t);
    struct result r = staging_open(tenant, &engine, &t->staging);
    if (is_ok(r)) r = fill_new(t, file, ret_rows);
    if (is_ok(r)) {
        *ret_table = t;
        return OK;
    }
    AUTO_FREE char *detail = str_dup(err_detail());
    table_close(t);
    err_note("%s", detail);
    return r;
}

static struct result table_read(void *table, uint64_t first, uint64_t count, struct buf *out) {
    struct table *t = table;
    static const struct http_field settings[] = {{"max_threads", "1"}, {NULL, NULL}}; /* in the file's order */
    AUTO_FREE char *sql = str_format("SELECT * FROM `%s`._rows LIMIT %llu, %llu", t->staging.database,
                                     (unsigned long long)first, (unsigned long long)count);
    struct engine_call call = {
        .query = slice_str(sql), .format = "JSONEachRow", .settings = settings, .max_reply_bytes = MAX_ROWS_BYTES};
    AUTO(engine_reply_done) struct engine_reply reply = {0};
    TRY(run(t, &call, &reply));
    buf_append_slice(out, buf_slice(&reply.body));
    return buf_check(out);
}

void parquet_engine(struct tenant *t, struct source_engine *ret) {
    *ret = (struct source_engine){
        .arg = t, .parquet_open = table_open, .parquet_read = table_read, .parquet_close = table_close};
}
