/* Events: the history of organizations, and how far others have followed it. */
#include "base/clock.h"
#include "registry/db.h"
#include "registry/rows.h"

#define EVENT_COLUMNS                                                                                                  \
    "SELECT seq, at_ms, org, region, kind, from_state, to_state, cause, reason, aws_error, actor FROM events"

static void read_event(sqlite3_stmt *s, struct registry_event *ret) {
    *ret = (struct registry_event){
        .seq = sqlite3_column_int64(s, 0),
        .at_ms = sqlite3_column_int64(s, 1),
        .org = db_text(s, 2),
        .region = db_text(s, 3),
        .kind = db_text(s, 4),
        .from_state = db_text(s, 5),
        .to_state = db_text(s, 6),
        .cause = db_text(s, 7),
        .reason = db_text(s, 8),
        .aws_error = db_text(s, 9),
        .actor = db_text(s, 10),
    };
}

void registry_event_done(struct registry_event *e) {
    mem_free(e->org);
    mem_free(e->region);
    mem_free(e->kind);
    mem_free(e->from_state);
    mem_free(e->to_state);
    mem_free(e->cause);
    mem_free(e->reason);
    mem_free(e->aws_error);
    mem_free(e->actor);
    *e = (struct registry_event){0};
}

void registry_events_done(struct registry_events *list) {
    for (size_t i = 0; i < list->count; i++)
        registry_event_done(&list->items[i]);
    mem_free(list->items);
    *list = (struct registry_events){0};
}

struct result registry_add_event(struct registry *r, const struct registry_event *e) {
    DB_TX(tx);
    TRY(db_begin_write(r, &tx));
    TRY(rows_require_org(r, e->org));
    TRY(rows_add_event(r, e));
    return db_commit(&tx);
}

struct result registry_list_events(struct registry *r, const char *org, int64_t before_seq, int limit,
                                   struct registry_events *ret) {
    CHECK(limit >= 1 && limit <= 1000, ERR_INVALID, "the limit of a list of events is 1 to 1000, not %d", limit);
    DB_TX(tx);
    TRY(db_begin_read(r, &tx));
    DB_STATEMENT(s);
    TRY(db_prepare(r, &s, EVENT_COLUMNS " WHERE org = ?1 AND (?2 = 0 OR seq < ?2) ORDER BY seq DESC LIMIT ?3", "tii",
                   org, before_seq, (int64_t)limit));
    AUTO(registry_events_done) struct registry_events list = {0};
    bool row;
    for (;;) {
        TRY(db_next(r, s, &row));
        if (!row) break;
        read_event(s, DB_GROW(&list));
    }
    *ret = list;
    list = (struct registry_events){0};
    return OK;
}

static struct result read_number(struct registry *r, const char *sql, const char *types, const char *text,
                                 int64_t number, bool *ret_row, int64_t *ret) {
    DB_STATEMENT(s);
    if (types[0] == 't')
        TRY(db_prepare(r, &s, sql, types, text));
    else
        TRY(db_prepare(r, &s, sql, types, number));
    TRY(db_next(r, s, ret_row));
    if (*ret_row) *ret = sqlite3_column_int64(s, 0);
    return OK;
}

struct result registry_events_after(struct registry *r, int64_t seq, int limit, struct registry_events *ret,
                                    uint64_t *ret_count) {
    DB_TX(tx);
    TRY(db_begin_read(r, &tx));
    int64_t count = 0;
    bool row;
    TRY(read_number(r, "SELECT count(*) FROM events WHERE seq > ?1", "i", NULL, seq, &row, &count));
    DB_STATEMENT(s);
    TRY(db_prepare(r, &s, EVENT_COLUMNS " WHERE seq > ?1 ORDER BY seq LIMIT ?2", "ii", seq, (int64_t)limit));
    AUTO(registry_events_done) struct registry_events list = {0};
    for (;;) {
        TRY(db_next(r, s, &row));
        if (!row) break;
        read_event(s, DB_GROW(&list));
    }
    *ret_count = (uint64_t)count;
    *ret = list;
    list = (struct registry_events){0};
    return OK;
}

struct result registry_last_event(struct registry *r, int64_t *ret_seq) {
    DB_TX(tx);
    TRY(db_begin_read(r, &tx));
    bool row;
    return read_number(r, "SELECT ifnull(max(seq), 0) FROM events WHERE seq >= ?1", "i", NULL, 0, &row, ret_seq);
}

struct result registry_get_mark(struct registry *r, const char *name, int64_t *ret) {
    DB_TX(tx);
    TRY(db_begin_read(r, &tx));
    bool row;
    TRY(read_number(r, "SELECT value FROM marks WHERE name = ?1", "t", name, 0, &row, ret));
    CHECK(row, ERR_NOT_FOUND, "nothing is remembered under '%.40s'", name);
    return OK;
}

struct result registry_set_mark(struct registry *r, const char *name, int64_t value) {
    DB_TX(tx);
    TRY(db_begin_write(r, &tx));
    TRY(db_run(r,
               "INSERT INTO marks(name, value) VALUES (?1, ?2) ON CONFLICT(name) DO UPDATE SET value = excluded.value",
               "ti", name, value));
    return db_commit(&tx);
}
