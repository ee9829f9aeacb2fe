#include "engine/writer_sql.h"

#include <string.h>

#include "engine/sql_text.h"

void writer_sql_done(struct writer_sql *w) {
    mem_free(TAKE(w->table));
    mem_free(TAKE(w->database_part));
    mem_free(TAKE(w->table_part));
    mem_free(TAKE(w->insert));
    mem_free(TAKE(w->format));
    for (size_t i = 0; i < w->column_count; i++) {
        mem_free(TAKE(w->columns[i]));
    }
    w->column_count = 0;
}

/* [db.]table at *at; moves behind it. */
static bool take_table(const struct sql_tokens *t, size_t *at, struct writer_sql *w) {
    const struct sql_token *name = &t->items[*at];
    if (!sql_is_name(name)) return false;
    *at += 1;
    if (sql_is_mark(name + 1, '.') && sql_is_name(name + 2)) {
        w->database_part = slice_to_str(name->text);
        name += 2;
        *at += 2;
    }
    w->table_part = slice_to_str(name->text);
    w->table = w->database_part ? str_format("%s.%s", w->database_part, w->table_part) : str_dup(w->table_part);
    return true;
}

static bool skip_word(const struct sql_tokens *t, size_t *at, const char *word) {
    if (!sql_is_word(&t->items[*at], word)) return false;
    *at += 1;
    return true;
}

static struct result parse_insert(struct slice sql, const struct sql_tokens *t, struct writer_sql *w) {
    size_t at = 1;
    skip_word(t, &at, "into");
    skip_word(t, &at, "table");
    CHECK(take_table(t, &at, w), ERR_INVALID, "INSERT names no table");
    if (sql_is_mark(&t->items[at], '(')) {
        do {
            at++;
            CHECK(sql_is_name(&t->items[at]) && w->column_count < WRITER_MAX_COLUMNS, ERR_INVALID,
                  "the list of columns of INSERT can't be read");
            w->columns[w->column_count++] = slice_to_str(t->items[at++].text);
        } while (sql_is_mark(&t->items[at], ','));
        CHECK(sql_is_mark(&t->items[at], ')'), ERR_INVALID, "the list of columns of INSERT does not end");
        at++;
    }
    if (!sql_is_word(&t->items[at], "format")) return OK;
    CHECK(sql_is_name(&t->items[at + 1]) && at + 2 == t->count, ERR_INVALID,
          "INSERT must end with its FORMAT; the data is the request's body");
    w->kind = WRITER_INSERT;
    w->insert = str_ndup((const char *)sql.data, t->items[at].begin);
    w->format = slice_to_str(t->items[at + 1].text);
    return OK;
}

static void parse_table_change(const struct sql_tokens *t, struct writer_sql *w) {
    static const char *const verbs[] = {"create", "attach", "detach", "drop", "truncate", "optimize"};
    bool known = false;
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        known |= sql_is_word(&t->items[0], verbs[i]);
    }
    size_t at = 1;
    if (!known || !skip_word(t, &at, "table")) return;
    if (skip_word(t, &at, "if")) {
        skip_word(t, &at, "not");
        skip_word(t, &at, "exists");
    }
    if (take_table(t, &at, w)) w->kind = WRITER_TABLE;
}

struct result writer_sql_parse(struct slice sql, struct writer_sql *ret) {
    AUTO(sql_tokens_done) struct sql_tokens t = {0};
    TRY(sql_tokenize(sql, &t));
    CHECK(t.count > 0 && t.items[t.count - 1].kind != SQL_BROKEN, ERR_INVALID, "the statement can't be read");
    AUTO(writer_sql_done) struct writer_sql w = {.kind = WRITER_OTHER};
    if (sql_is_word(&t.items[0], "insert"))
        TRY(parse_insert(sql, &t, &w));
    else
        parse_table_change(&t, &w);
    *ret = w;
    w = (struct writer_sql){0};
    return OK;
}

enum { COLLECTION_ID_BYTES = 21 };

static bool is_collection_id(struct slice s) {
    if (s.len != COLLECTION_ID_BYTES || s.data[0] != 'c') return false;
    for (size_t i = 1; i < s.len; i++) {
        uint8_t c = s.data[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
    }
    return true;
}

/* A retry costs little and a hang costs the organization its engine: the gateway is on the same machine and answers at
 * once, or never. Checksums are SHA-256's anyhow. */
static void write_disk(struct slice collection, const struct writer_disk *disk, struct buf *out) {
    buf_printf(out,
               "disk(type=object_storage, object_storage_type=s3, metadata_type=plain_rewritable, "
               "endpoint='http://127.0.0.1:%u/lockset/%.*s/', access_key_id='%.*s', secret_access_key='%.*s', "
               "s3_retry_attempts=4, request_timeout_ms=10000, connect_timeout_ms=500, s3_max_single_read_retries=2, "
               "s3_max_unexpected_write_error_retries=1, s3_max_single_operation_copy_size=5000000000, "
               "disable_checksum=1)",
               disk->port, (int)collection.len, (const char *)collection.data, (int)disk->access_key.len,
               (const char *)disk->access_key.data, (int)disk->secret_key.len, (const char *)disk->secret_key.data);
}

struct result writer_fill_disks(struct slice sql, const struct writer_disk *disk, struct buf *out) {
    AUTO(sql_tokens_done) struct sql_tokens t = {0};
    TRY(sql_tokenize(sql, &t));
    size_t copied = 0;
    for (size_t i = 0; i + 1 < t.count; i++) {
        const struct sql_token *at = &t.items[i];
        if (!sql_is_mark(at, '@') || !sql_is_word(at + 1, "disk")) continue;
        CHECK(i + 4 < t.count && sql_is_mark(at + 2, '(') && at[3].kind == SQL_WORD && is_collection_id(at[3].text) &&
                  sql_is_mark(at + 4, ')'),
              ERR_INVALID, "@disk stands with a collection's id in parentheses");
        buf_append(out, sql.data + copied, at->begin - copied);
        write_disk(at[3].text, disk, out);
        copied = at[4].end;
    }
    buf_append(out, sql.data + copied, sql.len - copied);
    return buf_check(out);
}
