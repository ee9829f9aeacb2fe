/* Access keys for S3 clients: who may ask a gateway. */
#include <string.h>

#include "base/clock.h"
#include "registry/db.h"
#include "registry/rows.h"

void registry_s3_key_done(struct registry_s3_key *k) {
    mem_free(k->id);
    mem_free(k->org);
    mem_free(k->region);
    mem_free(k->name);
    mem_free(k->created_by);
    *k = (struct registry_s3_key){0};
}

void registry_s3_keys_done(struct registry_s3_keys *list) {
    for (size_t i = 0; i < list->count; i++)
        registry_s3_key_done(&list->items[i]);
    mem_free(list->items);
    *list = (struct registry_s3_keys){0};
}

#define KEY_COLUMNS "SELECT id, org, region, name, created_at_ms, created_by FROM s3_keys"

static void read_key(sqlite3_stmt *s, struct registry_s3_key *ret) {
    *ret = (struct registry_s3_key){.id = db_text(s, 0),
                                    .org = db_text(s, 1),
                                    .region = db_text(s, 2),
                                    .name = db_text(s, 3),
                                    .created_at_ms = sqlite3_column_int64(s, 4),
                                    .created_by = db_text(s, 5)};
}

static struct result note(struct registry *r, const char *org, const char *region, const char *kind, const char *id,
                          const char *actor) {
    AUTO_FREE char *o = str_dup(org), *g = str_dup(region), *k = str_dup(kind), *by = str_dup(actor);
    AUTO_FREE char *reason = str_format("access key %.32s", id);
    struct registry_event e = {.org = o, .region = g, .kind = k, .reason = reason, .actor = by};
    return rows_add_event(r, &e);
}

static struct result check_new(struct registry *r, const struct registry_s3_key *k) {
    DB_STATEMENT(s);
    bool row;
    TRY(db_prepare(r, &s,
                   "SELECT EXISTS(SELECT 1 FROM s3_keys WHERE id = ?1),"
                   " EXISTS(SELECT 1 FROM org_regions WHERE org = ?2 AND region = ?3),"
                   " (SELECT count(*) FROM s3_keys WHERE org = ?2 AND region = ?3)",
                   "ttt", k->id, k->org, k->region));
    TRY(db_next(r, s, &row));
    CHECK(row && sqlite3_column_int(s, 0) == 0, ERR_EXISTS, "the access key %.32s exists already", k->id);
    CHECK(sqlite3_column_int(s, 1) == 1, ERR_NOT_FOUND, "organization %.40s has no region %.40s", k->org, k->region);
    CHECK(sqlite3_column_int(s, 2) < REGISTRY_S3_KEYS_MAX, ERR_TOO_LARGE,
          "the organization has %d access keys in %.40s already: delete some first", REGISTRY_S3_KEYS_MAX, k->region);
    return OK;
}

struct result registry_add_s3_key(struct registry *r, const struct registry_s3_key *k) {
    DB_TX(tx);
    TRY(db_begin_write(r, &tx));
    TRY(check_new(r, k));
    TRY(db_run(r,
               "INSERT INTO s3_keys(id, org, region, name, created_at_ms, created_by)"
               " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
               "ttttit", k->id, k->org, k->region, k->name, k->created_at_ms ? k->created_at_ms : clock_unix_ms(),
               k->created_by));
    TRY(note(r, k->org, k->region, "s3_key.created", k->id, k->created_by));
    return db_commit(&tx);
}

struct result registry_get_s3_key(struct registry *r, const char *id, struct registry_s3_key *ret) {
    DB_TX(tx);
    TRY(db_begin_read(r, &tx));
    DB_STATEMENT(s);
    bool row;
    TRY(db_prepare(r, &s, KEY_COLUMNS " WHERE id = ?1", "t", id));
    TRY(db_next(r, s, &row));
    CHECK(row, ERR_NOT_FOUND, "there is no access key %.32s", id);
    read_key(s, ret);
    return OK;
}

struct result registry_list_s3_keys(struct registry *r, const char *org, const char *region,
                                    struct registry_s3_keys *ret) {
    DB_TX(tx);
    TRY(db_begin_read(r, &tx));
    DB_STATEMENT(s);
    TRY(db_prepare(r, &s, KEY_COLUMNS " WHERE org = ?1 AND region = ?2 ORDER BY created_at_ms, id", "tt", org, region));
    AUTO(registry_s3_keys_done) struct registry_s3_keys list = {0};
    bool row;
    for (;;) {
        TRY(db_next(r, s, &row));
        if (!row) break;
        read_key(s, DB_GROW(&list));
    }
    *ret = list;
    list = (struct registry_s3_keys){0};
    return OK;
}

struct result registry_delete_s3_key(struct registry *r, const char *org, const char *region, const char *id,
                                     const char *actor) {
    DB_TX(tx);
    TRY(db_begin_write(r, &tx));
    TRY(db_run(r, "DELETE FROM s3_keys WHERE id = ?1 AND org = ?2 AND region = ?3", "ttt", id, org, region));
    CHECK(db_changes(r) == 1, ERR_NOT_FOUND, "there is no access key %.32s", id);
    TRY(note(r, org, region, "s3_key.deleted", id, actor));
    return db_commit(&tx);
}
