/* What was decided about collections after a pause. */
#include "base/clock.h"
#include "registry/db.h"

void registry_recovery_done(struct registry_recovery *v) {
    mem_free(v->reason);
    *v = (struct registry_recovery){0};
}

struct result registry_set_recovery(struct registry *r, const char *collection_id, const struct registry_recovery *v) {
    DB_TX(tx);
    TRY(db_begin_write(r, &tx));
    TRY(db_run(r, "UPDATE collections SET status = ?2 WHERE id = ?1 AND status <> 'DELETED'", "tt", collection_id,
               v->verdict == REGISTRY_RECOVERED ? "READY" : "PAUSED"));
    CHECK(db_changes(r) == 1, ERR_NOT_FOUND, "there is no collection with the id %.40s", collection_id);
    TRY(db_run(r,
               "INSERT INTO recoveries(collection, verdict, readable, reason, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)"
               " ON CONFLICT(collection) DO UPDATE SET verdict = excluded.verdict, readable = excluded.readable,"
               " reason = excluded.reason, at_ms = excluded.at_ms",
               "tiiti", collection_id, (int64_t)v->verdict, (int64_t)v->is_readable, v->reason ? v->reason : "",
               v->at_ms ? v->at_ms : clock_unix_ms()));
    return db_commit(&tx);
}

struct result registry_get_recovery(struct registry *r, const char *collection_id, struct registry_recovery *ret) {
    DB_TX(tx);
    TRY(db_begin_read(r, &tx));
    DB_STATEMENT(s);
    bool row;
    TRY(db_prepare(r, &s, "SELECT verdict, readable, reason, at_ms FROM recoveries WHERE collection = ?1", "t",
                   collection_id));
    TRY(db_next(r, s, &row));
    CHECK(row, ERR_NOT_FOUND, "collection %.40s went through no recovery", collection_id);
    *ret = (struct registry_recovery){.verdict = (enum registry_verdict)sqlite3_column_int(s, 0),
                                      .is_readable = sqlite3_column_int(s, 1) == 1,
                                      .reason = db_text(s, 2),
                                      .at_ms = sqlite3_column_int64(s, 3)};
    return OK;
}
