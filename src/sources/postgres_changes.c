/* The stream of changes behind the initial load, transaction by transaction in the order of their commits.
 *
 * Large values that an update did not touch are not sent ("unchanged"). With REPLICA IDENTITY FULL the old row has
 * them. Else the row is fetched as it is now, which is a later state than the stream's, or none: every later change
 * of it is still to come, so the last one decides either way. But the fetch must not see the row older than this
 * change: it only counts once this transaction is visible, which may be a moment after its commit reached the log. */
#include <string.h>

#include "base/clock.h"
#include "sources/postgres_reader.h"

enum {
    STATUS_MS = 10000,  /* a status is told at least that often */
    SILENCE_MS = 90000, /* a server that says nothing for so long is gone; it is asked to answer every STATUS_MS */
    MOVE_MS = 10000,    /* a position that only moves because others wrote is given out that often at most ... */
    ASKED_MS = 200,     /* (that often if the server asks, as it does at a shutdown, which waits for us) */
    CHECK_MS = 10000,   /* table, publication and lag are looked at that often */
    VISIBLE_MS = 20,    /* between looks whether a transaction is visible */
    ATTACH_MS = 5000,   /* how long a connection before this one may still hold the slot */
    HEADER_BYTES = 25,  /* of a row of the stream: letter, two LSNs, a time */
    SQL_MAX_BYTES = 4 << 20,
};
static const uint64_t move_bytes = 1 << 20; /* ... and if it moves that far */

/* Microseconds between 1970 and 2000, where PostgreSQL's time begins. */
static const int64_t epoch_us = 946684800000000;

void postgres_changes_reset(struct source_reader *r) {
    struct postgres_stream *s = &r->stream;
    s->link = postgres_link_close(s->link);
    if (s->held) PQfreemem(TAKE(s->held));
    postgres_columns_done(&s->relation);
    s->has_relation = s->in_transaction = s->is_asked = false;
}

struct result postgres_changes_confirm(struct source_reader *r, bool wants_answer) {
    struct postgres_stream *s = &r->stream;
    if (!s->link) return OK;
    BUF_AUTO(message, 64);
    buf_append_byte(&message, 'r');
    put_u64(&message, s->lsn > r->stored ? s->lsn : r->stored);
    put_u64(&message, r->stored);
    put_u64(&message, r->stored);
    put_u64(&message, (uint64_t)(clock_unix_us() - epoch_us));
    buf_append_byte(&message, wants_answer);
    s->told_ns = clock_boottime_ns();
    return postgres_link_tell(s->link, buf_slice(&message));
}

/* The slot may be held for a moment by a connection of ours that the server does not know to be gone. */
static struct result attach(struct postgres_link *l, const char *command) {
    int64_t deadline = clock_boottime_ns() + ATTACH_MS * NS_PER_MS;
    for (;;) {
        struct result r = postgres_link_stream(l, command);
        bool in_use = is_err(r) && strcmp(postgres_link_state(l), "55006") == 0;
        if (!in_use || clock_boottime_ns() >= deadline) return r;
        clock_sleep_ms(VISIBLE_MS);
    }
}

/* The server refuses the slot: for good, if it then says why. */
static struct result attach_failed(struct source_reader *r, struct result failed) {
    AUTO_FREE char *said = str_dup(err_detail()), *why = NULL;
    if (failed.code == ERR_CANCELLED || failed.code == ERR_TIMEOUT) return failed;
    TRY(postgres_slot_trouble(r->sql, r->config.slot, r->position.lsn, &why));
    CHECK(!why, ERR_CORRUPT, "%s", why);
    return err_make(failed.code, "%s", said);
}

static struct result start(struct source_reader *r) {
    struct postgres_stream *s = &r->stream;
    struct postgres_link *link = NULL;
    char lsn[POSTGRES_LSN_BYTES];
    BUF_AUTO(command, 1024);
    BUF_AUTO(quoted, 256);
    TRY(postgres_link_open(&r->config.address, true, r->spec->cancelled, &link));
    s->link = link;
    s->lsn = r->position.lsn;
    s->until = r->position.until;
    s->resume_commit = r->position.in_commit;
    s->resume_done = r->position.done;
    s->moved_ns = s->heard_ns = clock_boottime_ns();
    if (!s->message) s->message = pgoutput_message_new();
    postgres_lsn_format(s->lsn, lsn);
    postgres_quote_name(r->config.publication, &quoted);
    buf_append_str(&command, "START_REPLICATION SLOT ");
    postgres_quote_name(r->config.slot, &command);
    buf_printf(&command, " LOGICAL %s (proto_version '1', publication_names ", lsn);
    postgres_quote_text(buf_str(&quoted), &command);
    buf_append_byte(&command, ')');
    TRY(buf_check(&command));
    struct result started = attach(s->link, buf_str(&command));
    return is_err(started) ? attach_failed(r, started) : postgres_changes_confirm(r, true);
}

/* How the table's rows come from now on. */
static struct result take_relation(struct source_reader *r) {
    struct postgres_stream *s = &r->stream;
    const struct pgoutput_message *m = s->message;
    const struct postgres_position *p = &r->position;
    if (m->relation != r->table.oid) return OK;
    postgres_columns_done(&s->relation);
    s->has_relation = false;
    s->relation.items = mem_alloc_array(m->columns_count, sizeof *s->relation.items);
    for (unsigned i = 0; i < m->columns_count; i++) {
        struct postgres_column *c = &s->relation.items[s->relation.count++];
        c->name = slice_to_str(m->columns[i].name);
        c->is_left_out = strcmp(c->name, "_id") == 0 || strcmp(c->name, "_meta") == 0;
        TRY(postgres_types_find(&r->types, r->sql, m->columns[i].type, &c->type));
    }
    for (unsigned k = 0; k < p->keys_count; k++) {
        unsigned at = 0;
        while (at < s->relation.count && strcmp(s->relation.items[at].name, p->keys[k]) != 0)
            at++;
        CHECK(at < s->relation.count && m->columns[at].is_key, ERR_CORRUPT,
              "the key of %s changed, so documents can't be found by it any more: %.60s is no part of it now",
              r->table.sql, p->keys[k]);
        s->relation.keys[k] = at;
    }
    s->relation.keys_count = p->keys_count;
    s->has_relation = true;
    return OK;
}

/* Is this transaction visible to queries, and with which number? The stream's numbers lack the epoch. */
static struct result ask_full_xid(struct source_reader *r) {
    struct postgres_stream *s = &r->stream;
    POSTGRES_RESULT_AUTO(found);
    if (s->full_xid) return OK;
    TRY(postgres_link_query(r->sql, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text", 0, NULL, &found));
    uint64_t next;
    CHECK(PQntuples(found) == 1, ERR_PEER, "PostgreSQL told no transaction");
    TRY(slice_to_u64(slice_str(PQgetvalue(found, 0, 0)), UINT64_MAX, &next));
    int32_t behind =
        (int32_t)((uint32_t)next - s->xid); /* modulo 2^32: a slot can't be further behind than half of it */
    s->full_xid = next - (uint64_t)(int64_t)behind;
    return OK;
}

/* The row with these values' key as it is now. *ret NULL: not yet visible; without rows: there is none. */
static struct result fetch(struct source_reader *r, const struct pgoutput_value *values, PGresult **ret) {
    const struct postgres_table *t = &r->table;
    const struct postgres_columns *relation = &r->stream.relation;
    const char *params[POSTGRES_MAX_KEYS + 1] = {0};
    char xid[24];
    POSTGRES_RESULT_AUTO(found);
    BUF_AUTO(sql, SQL_MAX_BYTES);
    TRY(ask_full_xid(r));
    snprintf(xid, sizeof xid, "%llu", (unsigned long long)r->stream.full_xid);
    buf_printf(&sql,
               "SELECT pg_visible_in_snapshot($1::xid8, pg_current_snapshot()), found.* FROM (SELECT) one LEFT JOIN "
               "LATERAL (SELECT true AS \"found?\", %s FROM ONLY %s WHERE ",
               t->columns, t->sql);
    for (unsigned i = 0; i < t->layout.keys_count; i++) {
        if (i) buf_append_str(&sql, " AND ");
        postgres_quote_name(t->layout.items[t->layout.keys[i]].name, &sql);
        buf_printf(&sql, " %s $%u::%s", t->keys[i].equal, i + 2, t->keys[i].type);
    }
    buf_append_str(&sql, ") found ON true");
    TRY(buf_check(&sql));
    params[0] = xid;
    for (unsigned i = 0; i < t->layout.keys_count; i++)
        params[i + 1] = slice_to_str(values[relation->keys[i]].text);
    struct result result = postgres_link_query(r->sql, buf_str(&sql), t->layout.keys_count + 1, params, &found);
    for (unsigned i = 0; i < t->layout.keys_count; i++)
        mem_free_wiping(mem_unconst(params[i + 1]));
    TRY(result);
    CHECK(PQntuples(found) == 1 && (unsigned)PQnfields(found) == t->layout.count + 2, ERR_PEER,
          "PostgreSQL answered with another row than was asked for");
    if (PQgetvalue(found, 0, 0)[0] == 't') *ret = TAKE(found);
    return OK;
}

/* Adds the row as it is now; *is_held: it can't be had yet. */
static struct result add_fetched(struct source_reader *r, const struct pgoutput_value *values, const char *origin,
                                 struct postgres_batch *b, bool *is_held) {
    POSTGRES_RESULT_AUTO(row);
    TRY(fetch(r, values, &row));
    *is_held = row == NULL;
    if (!row) return OK;
    if (PQgetisnull(row, 0, 1)) return postgres_row_delete(b, &r->stream.relation, values, origin);
    const struct postgres_columns *layout = &r->table.layout;
    struct pgoutput_value *whole = mem_alloc_array(layout->count, sizeof *whole);
    for (unsigned i = 0; i < layout->count; i++) {
        int at = (int)i + 2;
        bool is_null = PQgetisnull(row, 0, at);
        whole[i].kind = is_null ? PGOUTPUT_NULL : PGOUTPUT_TEXT;
        whole[i].text = slice_make(PQgetvalue(row, 0, at), (size_t)PQgetlength(row, 0, at));
    }
    struct result result = postgres_row_add(b, layout, whole, origin);
    mem_free(whole);
    return result;
}

static bool is_same_key(const struct postgres_columns *c, const struct pgoutput_value *a,
                        const struct pgoutput_value *b) {
    for (unsigned i = 0; i < c->keys_count; i++)
        if (!slice_equal(a[c->keys[i]].text, b[c->keys[i]].text)) return false;
    return true;
}

/* The new row, with what it left unchanged from the old one where that has it. *ret_whole: nothing is missing. */
static void complete(struct postgres_stream *s, bool *ret_whole) {
    const struct pgoutput_message *m = s->message;
    *ret_whole = true;
    for (unsigned i = 0; i < s->relation.count; i++) {
        bool from_old = m->new_row.values[i].kind == PGOUTPUT_UNCHANGED && m->old == PGOUTPUT_OLD_ROW;
        s->values[i] = from_old ? m->old_row.values[i] : m->new_row.values[i];
        if (s->values[i].kind == PGOUTPUT_UNCHANGED) *ret_whole = false;
    }
    /* A key that is large and unchanged stands in the old key. */
    for (unsigned k = 0; k < s->relation.keys_count; k++) {
        unsigned at = s->relation.keys[k];
        if (s->values[at].kind == PGOUTPUT_UNCHANGED && m->old == PGOUTPUT_OLD_KEY)
            s->values[at] = m->old_row.values[at];
    }
}

static struct result add_change(struct source_reader *r, struct postgres_batch *b, bool *is_held) {
    struct postgres_stream *s = &r->stream;
    const struct pgoutput_message *m = s->message;
    char lsn[POSTGRES_LSN_BYTES];
    BUF_AUTO(origin, 1024);
    postgres_lsn_format(s->commit, lsn);
    buf_printf(&origin, "%s.%s@%s#%llu", r->config.schema, r->config.table, lsn, (unsigned long long)s->seen);
    BUF_AUTO(old_origin, 1024);
    buf_printf(&old_origin, "%s#old", buf_str(&origin)); /* an update that moves a row to another key is two records */
    CHECK(s->has_relation && (m->kind == PGOUTPUT_DELETE || m->new_row.count == s->relation.count) &&
              (m->old == PGOUTPUT_OLD_NONE || m->old_row.count == s->relation.count),
          ERR_PEER, "the replication stream holds a row that does not fit its table");
    if (m->kind == PGOUTPUT_DELETE) return postgres_row_delete(b, &s->relation, m->old_row.values, buf_str(&origin));
    bool is_whole;
    complete(s, &is_whole);
    for (unsigned k = 0; k < s->relation.keys_count; k++)
        CHECK(s->values[s->relation.keys[k]].kind == PGOUTPUT_TEXT, ERR_PEER, "a row came without its key");
    if (m->old != PGOUTPUT_OLD_NONE && !is_same_key(&s->relation, m->old_row.values, s->values))
        TRY(postgres_row_delete(b, &s->relation, m->old_row.values, buf_str(&old_origin)));
    if (!is_whole) return add_fetched(r, s->values, buf_str(&origin), b, is_held);
    return postgres_row_add(b, &s->relation, s->values, buf_str(&origin));
}

static struct result begin(struct source_reader *r) {
    struct postgres_stream *s = &r->stream;
    CHECK(!s->in_transaction, ERR_PEER, "the replication stream begins a transaction within another");
    s->in_transaction = true;
    s->commit = s->message->final_lsn;
    s->xid = s->message->xid;
    s->seen = s->full_xid = 0;
    s->skip = 0;
    if (s->resume_commit == 0) return OK;
    CHECK(s->commit <= s->resume_commit, ERR_CORRUPT,
          "the transaction that was being read is not in the stream any more");
    if (s->commit < s->resume_commit) return OK; /* of other tables */
    s->skip = s->resume_done;
    s->resume_commit = 0;
    return OK;
}

/* What a message makes of batch and position. *is_held: it had no room, or can't be answered yet. */
static struct result take_message(struct source_reader *r, struct slice text, struct postgres_batch *b, bool *is_held) {
    struct postgres_stream *s = &r->stream;
    const struct pgoutput_message *m = s->message;
    size_t count = b->count, text_len = b->text.len;
    TRY(pgoutput_parse(text, s->message));
    switch (m->kind) {
    case PGOUTPUT_BEGIN:
        return begin(r);
    case PGOUTPUT_COMMIT:
        CHECK(s->in_transaction && m->end_lsn > m->final_lsn, ERR_PEER, "the replication stream ends no transaction");
        s->in_transaction = false;
        if (m->end_lsn > s->lsn) s->lsn = m->end_lsn;
        return OK;
    case PGOUTPUT_RELATION:
        return take_relation(r);
    case PGOUTPUT_TRUNCATE:
        if (!pgoutput_truncates(m, r->table.oid)) return OK;
        *is_held = count > 0; /* first what came before */
        CHECK(*is_held, ERR_CORRUPT,
              "%s was truncated, which does not tell which rows are gone: make the collection anew (DELETE can be "
              "followed)",
              r->table.sql);
        return OK;
    case PGOUTPUT_INSERT:
    case PGOUTPUT_UPDATE:
    case PGOUTPUT_DELETE:
        break;
    case PGOUTPUT_ORIGIN:
    case PGOUTPUT_TYPE:
    case PGOUTPUT_KIND_MAX:
        return OK;
    }
    if (m->relation != r->table.oid) return OK;
    CHECK(s->in_transaction, ERR_PEER, "the replication stream holds a change outside of a transaction");
    if (s->seen < s->skip) {
        s->seen++;
        return OK;
    }
    TRY(add_change(r, b, is_held));
    /* A change may be two records; alone it may be over the limit. */
    if (postgres_batch_is_over(b, count ? 1 : 2)) *is_held = true;
    if (*is_held)
        postgres_batch_rewind(b, count, text_len);
    else
        s->seen++;
    return OK;
}

/* One message of the stream, which is kept if it is held. */
static struct result take_data(struct source_reader *r, char *data, size_t len, struct postgres_batch *b,
                               bool *is_held) {
    struct postgres_stream *s = &r->stream;
    struct slice rest = slice_make(data, len);
    uint8_t letter, wants_answer;
    uint64_t start_lsn, end_lsn, time;
    struct result result = OK;
    if (!take_u8(&rest, &letter)) letter = 0;
    if (letter == 'w' && take_u64(&rest, &start_lsn) && take_u64(&rest, &end_lsn) && take_u64(&rest, &time)) {
        result = take_message(r, rest, b, is_held);
    } else if (letter == 'k' && take_u64(&rest, &end_lsn) && take_u64(&rest, &time) && take_u8(&rest, &wants_answer)) {
        /* Between transactions: all that committed before this place has been sent. */
        if (!s->in_transaction && end_lsn > s->lsn) s->lsn = end_lsn;
        if (wants_answer) {
            s->is_asked = true;
            result = postgres_changes_confirm(r, false);
        }
    } else {
        result = err_make(ERR_PEER, "the replication stream holds something unknown");
    }
    if (is_ok(result) && *is_held) {
        s->held = data;
        s->held_len = len;
    } else {
        PQfreemem(data);
    }
    return result;
}

/* Looks after the stream, every few seconds. */
static struct result look_after(struct source_reader *r) {
    struct postgres_stream *s = &r->stream;
    int64_t now = clock_boottime_ns();
    CHECK(now - s->heard_ns < SILENCE_MS * NS_PER_MS, ERR_UNREACHABLE, "PostgreSQL has been silent for %d s",
          SILENCE_MS / 1000);
    int64_t pace_ms = s->until ? 500 : STATUS_MS; /* the end of the load is waited for */
    if (now - s->told_ns >= pace_ms * NS_PER_MS) TRY(postgres_changes_confirm(r, true));
    if (now - r->checked_ns < CHECK_MS * NS_PER_MS) return OK;
    r->checked_ns = now;
    char mark[POSTGRES_MARK_BYTES];
    POSTGRES_RESULT_AUTO(found);
    TRY(postgres_publication_mark(r->sql, &r->config, &r->table, mark));
    CHECK(strcmp(mark, r->position.publication) == 0, ERR_CORRUPT,
          "%s was dropped, or taken out of publication \"%s\": changes may be missing", r->table.sql,
          r->config.publication);
    TRY(postgres_link_query(r->sql, "SELECT pg_current_wal_lsn()", 0, NULL, &found));
    return postgres_lsn_parse(PQntuples(found) == 1 ? PQgetvalue(found, 0, 0) : "", &r->server_lsn);
}

/* The next message: the one that was held, or one that comes until the moment. NULL: none did. */
static struct result next_data(struct source_reader *r, int64_t until_ns, char **ret, size_t *ret_len) {
    struct postgres_stream *s = &r->stream;
    *ret = TAKE(s->held);
    *ret_len = s->held_len;
    while (!*ret) {
        bool ready;
        int64_t now = clock_boottime_ns(), soon = now + 500 * NS_PER_MS;
        TRY(look_after(r));
        TRY(postgres_link_receive(s->link, until_ns < soon ? until_ns : soon, &ready, ret, ret_len));
        if (ready) s->heard_ns = clock_boottime_ns();
        if (!ready && clock_boottime_ns() >= until_ns) return OK;
    }
    return OK;
}

/* The initial load ends where the stream has come past all that its pages may have seen. */
static bool is_load_over(const struct postgres_stream *s) {
    return s->until && !s->in_transaction && s->lsn >= s->until;
}

/* Nothing of ours came, but the place moved, and the server waits to be told. */
static bool is_waited_for(const struct source_reader *r) {
    const struct postgres_stream *s = &r->stream;
    return s->is_asked && !s->in_transaction && s->lsn > r->position.lsn &&
           clock_boottime_ns() - s->moved_ns >= ASKED_MS * NS_PER_MS;
}

static struct result read_changes(struct source_reader *r, int64_t until_ns, struct postgres_batch *b) {
    struct postgres_stream *s = &r->stream;
    if (!s->link) TRY(start(r));
    for (bool is_held = false; !is_held && !is_load_over(s) && b->count < SOURCE_BATCH_MAX_RECORDS;) {
        if (is_waited_for(r)) return OK;
        char *data;
        size_t len;
        /* With something in hand only the rest of its transaction is worth a wait. */
        bool waits = b->count == 0 || s->in_transaction;
        TRY(next_data(r, waits ? until_ns : 0, &data, &len));
        if (!data) return OK;
        TRY(take_data(r, data, len, b, &is_held));
        if (is_held && b->count == 0) { /* not visible yet */
            if (clock_boottime_ns() >= until_ns) return OK;
            clock_sleep_ms(VISIBLE_MS);
            is_held = false;
        }
    }
    return OK;
}

static bool is_worth_a_position(const struct source_reader *r, const struct postgres_batch *b, bool is_end) {
    const struct postgres_stream *s = &r->stream;
    const struct postgres_position *p = &r->position;
    if (b->count > 0 || is_end || is_waited_for(r)) return true;
    if (p->in_commit && !s->in_transaction && !s->resume_commit) return true; /* the transaction's end, alone */
    return s->lsn > p->lsn && s->lsn - p->lsn >= move_bytes && clock_boottime_ns() - s->moved_ns >= MOVE_MS * NS_PER_MS;
}

static struct result changes_failed(struct source_reader *r, struct result failed) {
    AUTO_FREE char *why = str_dup(err_detail());
    bool is_sql_lost = r->sql && postgres_link_is_broken(r->sql);
    bool changed = r->sql && strcmp(postgres_link_state(r->sql), "42703") == 0;
    bool no_publication = r->stream.link && strcmp(postgres_link_state(r->stream.link), "42704") == 0;
    postgres_changes_reset(r);
    if (is_sql_lost || changed || failed.code == ERR_CANCELLED) postgres_reader_disconnect(r);
    if (changed) FAIL(ERR_UNREACHABLE, "the columns of the table changed while its changes were read");
    CHECK(!no_publication || failed.code == ERR_CORRUPT, ERR_CORRUPT,
          "publication \"%s\" was dropped, so that changes can't be read: %s", r->config.publication, why);
    return err_make(failed.code, "%s", why);
}

struct result postgres_changes_next(struct source_reader *r, int64_t until_ns, struct postgres_batch *b, bool *moved,
                                    bool *is_snapshot_end) {
    struct postgres_stream *s = &r->stream;
    struct postgres_position *p = &r->position;
    struct result result = read_changes(r, until_ns, b);
    if (is_err(result)) return changes_failed(r, result);
    *is_snapshot_end = is_load_over(s);
    *moved = is_worth_a_position(r, b, *is_snapshot_end);
    if (!*moved) return OK;
    if (*is_snapshot_end) s->until = 0;
    s->is_asked = false;
    p->until = s->until;
    p->lsn = s->lsn;
    p->in_commit = s->in_transaction ? s->commit : s->resume_commit;
    p->done = s->in_transaction ? s->seen : s->resume_done;
    s->moved_ns = clock_boottime_ns();
    return OK;
}
