/* The initial load: pages in the order of the key. Why this is right stands in postgres_position.h. */
#include <string.h>

#include "base/clock.h"
#include "sources/postgres_reader.h"

enum { SQL_MAX_BYTES = 4 << 20 };

void postgres_snapshot_reset(struct source_reader *r) {
    struct postgres_snapshot *s = &r->snapshot;
    PQclear(s->held);
    for (unsigned i = 0; i < POSTGRES_MAX_KEYS; i++)
        mem_free_wiping(s->last[i]);
    *s = (struct postgres_snapshot){0};
}

static void append_key_name(const struct postgres_table *t, unsigned i, struct buf *out) {
    postgres_quote_name(t->layout.items[t->layout.keys[i]].name, out);
}

/* "(a, b) > ($1::x, $2::y)", which an index serves best; with operators of their own the same is spelled out:
 * "a >= x AND (a > x OR (a = x AND (b > y)))", where the first part is for the index. */
static void append_after(const struct postgres_table *t, struct buf *out) {
    unsigned count = t->layout.keys_count;
    bool plain = true;
    for (unsigned i = 0; i < count; i++)
        plain = plain && t->keys[i].is_plain;
    if (plain) {
        for (unsigned i = 0; i < count; i++) {
            buf_append_str(out, i ? ", " : "(");
            append_key_name(t, i, out);
        }
        for (unsigned i = 0; i < count; i++)
            buf_printf(out, "%s$%u::%s", i ? ", " : ") > (", i + 1, t->keys[i].type);
        buf_append_byte(out, ')');
        return;
    }
    buf_append_str(out, "NOT (");
    append_key_name(t, 0, out);
    buf_printf(out, " %s $1::%s) AND (", t->keys[0].less, t->keys[0].type);
    for (unsigned i = 0; i < count; i++) {
        append_key_name(t, i, out);
        buf_printf(out, " %s $%u::%s", t->keys[i].greater, i + 1, t->keys[i].type);
        if (i + 1 == count) break;
        buf_append_str(out, " OR (");
        append_key_name(t, i, out);
        buf_printf(out, " %s $%u::%s AND (", t->keys[i].equal, i + 1, t->keys[i].type);
    }
    for (unsigned i = 0; i + 1 < count; i++)
        buf_append_str(out, "))");
    buf_append_byte(out, ')');
}

static struct result open_page(struct source_reader *r) {
    const struct postgres_table *t = &r->table;
    const char *params[POSTGRES_MAX_KEYS];
    unsigned count = t->layout.keys_count;
    BUF_AUTO(sql, SQL_MAX_BYTES);
    buf_printf(&sql, "SELECT %s FROM ONLY %s", t->columns, t->sql);
    if (r->position.has_after) {
        buf_append_str(&sql, " WHERE ");
        append_after(t, &sql);
    }
    for (unsigned i = 0; i < count; i++) {
        buf_append_str(&sql, i ? ", " : " ORDER BY ");
        append_key_name(t, i, &sql);
        buf_printf(&sql, " USING %s", t->keys[i].less);
        params[i] = r->position.after[i];
    }
    buf_printf(&sql, " LIMIT %d", SOURCE_BATCH_MAX_RECORDS);
    TRY(buf_check(&sql));
    TRY(postgres_link_send(r->sql, buf_str(&sql), r->position.has_after ? count : 0, params, true));
    r->snapshot.is_open = true;
    r->snapshot.page_rows = 0;
    return OK;
}

/* A row into the batch; *is_full: it had no room, and waits. */
static struct result add_row(struct source_reader *r, PGresult *row, struct postgres_batch *b, bool *is_full) {
    struct pgoutput_value *values = r->stream.values;
    const struct postgres_columns *layout = &r->table.layout;
    CHECK((unsigned)PQnfields(row) == layout->count && layout->count <= PGOUTPUT_MAX_COLUMNS, ERR_PEER,
          "PostgreSQL answered with other columns than were asked for");
    for (unsigned i = 0; i < layout->count; i++) {
        bool is_null = PQgetisnull(row, 0, (int)i);
        values[i] = (struct pgoutput_value){
            .kind = is_null ? PGOUTPUT_NULL : PGOUTPUT_TEXT,
            .text = slice_make(PQgetvalue(row, 0, (int)i), (size_t)PQgetlength(row, 0, (int)i))};
    }
    BUF_AUTO(origin, 4096);
    BUF_AUTO(key, 1 << 20);
    key.wipes = true;
    size_t count = b->count, text_len = b->text.len;
    TRY(postgres_row_id(layout, values, &key));
    TRY(buf_check(&key));
    buf_printf(&origin, "%s.%s@snapshot#%s", r->config.schema, r->config.table, buf_str(&key));
    TRY(postgres_row_add(b, layout, values, buf_str(&origin)));
    *is_full = postgres_batch_is_over(b, 1);
    if (*is_full) {
        postgres_batch_rewind(b, count, text_len);
        return OK;
    }
    for (unsigned i = 0; i < layout->keys_count; i++) {
        mem_free_wiping(r->snapshot.last[i]);
        r->snapshot.last[i] = slice_to_str(values[layout->keys[i]].text);
    }
    r->snapshot.page_rows++;
    return OK;
}

/* Whatever is visible to a page was logged before this mark. As a transaction it is also flushed, so that the stream
 * comes past it on a server where nothing else happens. */
static struct result end_load(struct source_reader *r) {
    POSTGRES_RESULT_AUTO(mark);
    TRY(postgres_link_query(r->sql, "SELECT pg_logical_emit_message(true, 'lockset', '')", 0, NULL, &mark));
    CHECK(PQntuples(mark) == 1, ERR_PEER, "PostgreSQL told no place in its log");
    struct postgres_position *p = &r->position;
    TRY(postgres_lsn_parse(PQgetvalue(mark, 0, 0), &p->until));
    p->is_snapshot = p->has_after = false;
    for (unsigned i = 0; i < POSTGRES_MAX_KEYS; i++) {
        mem_free_wiping(p->after[i]);
        p->after[i] = NULL;
    }
    return OK;
}

static void take_place(struct source_reader *r, const struct postgres_batch *b) {
    struct postgres_position *p = &r->position;
    if (b->count == 0) return;
    for (unsigned i = 0; i < r->table.layout.keys_count; i++) {
        mem_free_wiping(p->after[i]);
        p->after[i] = TAKE(r->snapshot.last[i]);
    }
    p->has_after = true;
    p->rows += (int64_t)b->count;
}

/* Rows until the batch is full, the page is at its end (*is_end), or the moment came. */
static struct result read_rows(struct source_reader *r, int64_t until_ns, struct postgres_batch *b, bool *is_end) {
    bool is_full = false;
    *is_end = false;
    if (!r->snapshot.is_open) TRY(open_page(r));
    if (r->snapshot.held) {
        POSTGRES_RESULT_AUTO(row);
        row = TAKE(r->snapshot.held);
        TRY(add_row(r, row, b, &is_full));
    }
    while (!is_full && b->count < SOURCE_BATCH_MAX_RECORDS) {
        POSTGRES_RESULT_AUTO(row);
        bool ready;
        TRY(postgres_link_take(r->sql, until_ns, &ready, &row));
        if (!ready) return OK;
        *is_end = row == NULL;
        if (*is_end) return OK;
        if (PQresultStatus(row) != PGRES_SINGLE_TUPLE) continue; /* the count that ends them */
        TRY(add_row(r, row, b, &is_full));
        if (is_full) r->snapshot.held = TAKE(row);
    }
    return OK;
}

struct result postgres_snapshot_next(struct source_reader *r, int64_t until_ns, struct postgres_batch *b, bool *moved) {
    bool is_end = false, is_last = false;
    struct result result = OK;
    do {
        result = read_rows(r, until_ns, b, &is_end);
        if (is_err(result) || !is_end) break;
        r->snapshot.is_open = false;
        is_last = r->snapshot.page_rows < SOURCE_BATCH_MAX_RECORDS;
    } while (!is_last && b->count == 0);
    if (is_err(result)) {
        AUTO_FREE char *why = str_dup(err_detail());
        bool changed = r->sql && strcmp(postgres_link_state(r->sql), "42703") == 0;
        postgres_reader_disconnect(r);
        if (changed) FAIL(ERR_UNREACHABLE, "the columns of %s changed while it was read", r->table.sql);
        return err_make(result.code, "%s", why);
    }
    if (is_last) {
        result = end_load(r);
        if (is_err(result)) {
            AUTO_FREE char *why = str_dup(err_detail());
            postgres_reader_disconnect(r);
            return err_make(result.code, "%s", why);
        }
    }
    bool had_rows = b->count > 0;
    if (!is_last)
        take_place(r, b);
    else
        r->position.rows += (int64_t)b->count;
    *moved = had_rows || is_last;
    return OK;
}
