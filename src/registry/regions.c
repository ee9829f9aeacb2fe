/* Regions of organizations: persisted states, epochs, wrapped keys; events. */
#include <string.h>

#include "base/clock.h"
#include "registry/db.h"
#include "registry/rows.h"

void registry_region_done(struct registry_region *g) {
    mem_free(g->org);
    mem_free(g->region);
    mem_free(g->kms_key_arn);
    mem_free(g->state);
    mem_free(g->cause);
    mem_free(g->reason);
    mem_free(g->aws_error);
    *g = (struct registry_region){0};
}

void registry_regions_done(struct registry_regions *list) {
    for (size_t i = 0; i < list->count; i++)
        registry_region_done(&list->items[i]);
    mem_free(list->items);
    *list = (struct registry_regions){0};
}

#define REGION_COLUMNS                                                                                                 \
    "SELECT g.org, g.region, g.kms_key_arn, l.kind, g.state, g.cause, g.reason, g.aws_error, g.since_ms,"              \
    " g.last_success_ms, g.unavailable_ms, g.deletion_ms, g.epoch FROM org_regions g JOIN key_links l ON l.org = "     \
    "g.org"

static void read_region(sqlite3_stmt *s, struct registry_region *ret) {
    *ret = (struct registry_region){
        .org = db_text(s, 0),
        .region = db_text(s, 1),
        .kms_key_arn = db_text(s, 2),
        .kind = rows_kind(s, 3),
        .state = db_text(s, 4),
        .cause = db_text(s, 5),
        .reason = db_text(s, 6),
        .aws_error = db_text(s, 7),
        .since_ms = sqlite3_column_int64(s, 8),
        .last_success_ms = sqlite3_column_int64(s, 9),
        .unavailable_ms = sqlite3_column_int64(s, 10),
        .deletion_ms = sqlite3_column_int64(s, 11),
        .epoch = sqlite3_column_int64(s, 12),
    };
}

struct result registry_list_regions(struct registry *r, const char *org, struct registry_regions *ret) {
    DB_TX(tx);
    TRY(db_begin_read(r, &tx));
    DB_STATEMENT(s);
    TRY(db_prepare(r, &s, REGION_COLUMNS " WHERE ?1 IS NULL OR g.org = ?1 ORDER BY g.org, g.region", "t", org));
    AUTO(registry_regions_done) struct registry_regions list = {0};
    bool row;
    for (;;) {
        TRY(db_next(r, s, &row));
        if (!row) break;
        read_region(s, DB_GROW(&list));
    }
    *ret = list;
    list = (struct registry_regions){0};
    return OK;
}

struct result registry_get_region(struct registry *r, const char *org, const char *region,
                                  struct registry_region *ret) {
    DB_TX(tx);
    TRY(db_begin_read(r, &tx));
    DB_STATEMENT(s);
    bool row;
    TRY(db_prepare(r, &s, REGION_COLUMNS " WHERE g.org = ?1 AND g.region = ?2", "tt", org, region));
    TRY(db_next(r, s, &row));
    CHECK(row, ERR_NOT_FOUND, "organization %.40s has no region %.40s", org, region);
    read_region(s, ret);
    return OK;
}

struct result registry_add_region(struct registry *r, const struct registry_new_region *n) {
    DB_TX(tx);
    TRY(db_begin_write(r, &tx));
    TRY(rows_require_org(r, n->org));
    {
        DB_STATEMENT(s);
        bool row;
        TRY(db_prepare(r, &s, "SELECT 1 FROM org_regions WHERE org = ?1 AND region = ?2", "tt", n->org, n->region));
        TRY(db_next(r, s, &row));
        CHECK(!row, ERR_EXISTS, "the organization operates in %.40s already", n->region);
    }
    TRY(rows_insert_region(r, n->org, n->region, n->kms_key_arn, n->state_reason, n->created_at_ms));
    for (size_t i = 0; i < n->key_count; i++)
        TRY(rows_add_wrapped_key(r, &n->keys[i]));
    AUTO_FREE char *org = str_dup(n->org), *region = str_dup(n->region), *by = str_dup(n->actor);
    AUTO_FREE char *kind = str_dup("region.added"), *state = str_dup("AVAILABLE");
    AUTO_FREE char *reason = str_format("added with key %s", n->kms_key_arn);
    struct registry_event e = {.at_ms = n->created_at_ms,
                               .org = org,
                               .region = region,
                               .kind = kind,
                               .to_state = state,
                               .reason = reason,
                               .actor = by};
    TRY(rows_add_event(r, &e));
    return db_commit(&tx);
}

struct result rows_insert_region(struct registry *r, const char *org, const char *region, const char *kms_key_arn,
                                 const char *state_reason, int64_t at_ms) {
    return db_run(r,
                  "INSERT INTO org_regions(org, region, kms_key_arn, state, reason, since_ms, last_success_ms,"
                  " unavailable_ms) VALUES (?1, ?2, ?3, 'AVAILABLE', ?4, ?5, ?5, 0)",
                  "tttti", org, region, kms_key_arn, state_reason ? state_reason : "", at_ms);
}

struct result registry_set_state(struct registry *r, const struct registry_state_change *c) {
    DB_TX(tx);
    TRY(db_begin_write(r, &tx));
    AUTO_FREE char *from = NULL;
    {
        DB_STATEMENT(s);
        bool row;
        TRY(db_prepare(r, &s, "SELECT state FROM org_regions WHERE org = ?1 AND region = ?2", "tt", c->org, c->region));
        TRY(db_next(r, s, &row));
        CHECK(row, ERR_NOT_FOUND, "organization %.40s has no region %.40s", c->org, c->region);
        from = db_text(s, 0);
    }
    const char *reason = c->reason ? c->reason : "";
    TRY(db_run(r,
               "UPDATE org_regions SET state = ?3, cause = ?4, reason = ?5, aws_error = ?6, since_ms = ?7,"
               " last_success_ms = ?8, unavailable_ms = ?9, deletion_ms = ?10 WHERE org = ?1 AND region = ?2",
               "ttttttiiii", c->org, c->region, c->state, c->cause, reason, c->aws_error, c->since_ms,
               c->last_success_ms, c->unavailable_ms, c->deletion_ms));
    TRY(db_run(r,
               "INSERT INTO events(org, region, at_ms, kind, from_state, to_state, cause, reason, aws_error, actor)"
               " VALUES (?1, ?2, ?3, 'state', ?4, ?5, ?6, ?7, ?8, ?9)",
               "ttitttttt", c->org, c->region, clock_unix_ms(), from, c->state, c->cause, reason, c->aws_error,
               c->actor ? c->actor : "keyring"));
    return db_commit(&tx);
}

struct result registry_note_unavailable(struct registry *r, const char *org, const char *region,
                                        int64_t unavailable_ms) {
    DB_TX(tx);
    TRY(db_begin_write(r, &tx));
    TRY(db_run(r, "UPDATE org_regions SET unavailable_ms = ?3 WHERE org = ?1 AND region = ?2", "tti", org, region,
               unavailable_ms));
    CHECK(db_changes(r) == 1, ERR_NOT_FOUND, "organization %.40s has no region %.40s", org, region);
    return db_commit(&tx);
}

struct result registry_next_epoch(struct registry *r, const char *org, const char *region, int64_t *ret_epoch) {
    DB_TX(tx);
    TRY(db_begin_write(r, &tx));
    int64_t epoch;
    {
        DB_STATEMENT(s);
        bool row;
        TRY(db_prepare(r, &s, "UPDATE org_regions SET epoch = epoch + 1 WHERE org = ?1 AND region = ?2 RETURNING epoch",
                       "tt", org, region));
        TRY(db_next(r, s, &row));
        CHECK(row, ERR_NOT_FOUND, "organization %.40s has no region %.40s", org, region);
        epoch = sqlite3_column_int64(s, 0);
        TRY(db_next(r, s, &row)); /* a RETURNING statement counts only once it ran to its end */
    }
    TRY(db_commit(&tx));
    *ret_epoch = epoch;
    return OK;
}

/* ---- Wrapped keys ---- */

void registry_wrapped_key_done(struct registry_wrapped_key *k) {
    mem_free(k->id);
    mem_free(k->org);
    mem_free(k->region);
    mem_free(k->kms_key_arn);
    mem_free(k->material_id);
    buf_done(&k->wrapped);
    *k = (struct registry_wrapped_key){0};
}

void registry_wrapped_keys_done(struct registry_wrapped_keys *list) {
    for (size_t i = 0; i < list->count; i++)
        registry_wrapped_key_done(&list->items[i]);
    mem_free(list->items);
    *list = (struct registry_wrapped_keys){0};
}

static struct result same_key_exists(struct registry *r, const struct registry_wrapped_key *k, bool *ret) {
    DB_STATEMENT(s);
    struct slice wrapped = buf_slice(&k->wrapped);
    bool row;
    TRY(db_prepare(r, &s, "SELECT org = ?2 AND region = ?3 AND wrapped = ?4 FROM wrapped_keys WHERE id = ?1", "tttb",
                   k->id, k->org, k->region, &wrapped));
    TRY(db_next(r, s, &row));
    CHECK(!row || sqlite3_column_int(s, 0) == 1, ERR_EXISTS, "there is another wrapped key with the id %.40s", k->id);
    *ret = row;
    return OK;
}

struct result rows_add_wrapped_key(struct registry *r, const struct registry_wrapped_key *k) {
    bool is_known;
    TRY(same_key_exists(r, k, &is_known));
    bool is_branch = k->kind == REGISTRY_BRANCH_KEY;
    if (is_branch && k->active) {
        TRY(db_run(r, "UPDATE wrapped_keys SET active = 0 WHERE org = ?1 AND region = ?2 AND kind = 'branch'", "tt",
                   k->org, k->region));
    }
    if (is_known) {
        if (!k->active) return OK;
        return db_run(r, "UPDATE wrapped_keys SET active = 1 WHERE id = ?1", "t", k->id);
    }
    struct slice wrapped = buf_slice(&k->wrapped);
    return db_run(r,
                  "INSERT INTO wrapped_keys(id, org, region, kind, kms_key_arn, material_id, wrapped, created_at_ms,"
                  " active) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                  "ttttttbii", k->id, k->org, k->region, is_branch ? "branch" : "name", k->kms_key_arn,
                  k->material_id ? k->material_id : "", &wrapped, k->created_at_ms, (int64_t)k->active);
}

struct result registry_add_wrapped_key(struct registry *r, const struct registry_wrapped_key *k) {
    DB_TX(tx);
    TRY(db_begin_write(r, &tx));
    TRY(rows_add_wrapped_key(r, k));
    return db_commit(&tx);
}

struct result registry_list_wrapped_keys(struct registry *r, const char *org, const char *region,
                                         struct registry_wrapped_keys *ret) {
    DB_TX(tx);
    TRY(db_begin_read(r, &tx));
    DB_STATEMENT(s);
    TRY(db_prepare(r, &s,
                   "SELECT id, org, region, kind, kms_key_arn, material_id, wrapped, created_at_ms, active"
                   " FROM wrapped_keys WHERE org = ?1 AND region = ?2 ORDER BY created_at_ms, id",
                   "tt", org, region));
    AUTO(registry_wrapped_keys_done) struct registry_wrapped_keys list = {0};
    bool row;
    for (;;) {
        TRY(db_next(r, s, &row));
        if (!row) break;
        struct registry_wrapped_key *k = DB_GROW(&list);
        const void *kind = sqlite3_column_text(s, 3);
        *k = (struct registry_wrapped_key){
            .id = db_text(s, 0),
            .org = db_text(s, 1),
            .region = db_text(s, 2),
            .kind = kind && strcmp(kind, "name") == 0 ? REGISTRY_NAME_KEY : REGISTRY_BRANCH_KEY,
            .kms_key_arn = db_text(s, 4),
            .material_id = db_text(s, 5),
            .created_at_ms = sqlite3_column_int64(s, 7),
            .active = sqlite3_column_int(s, 8) == 1,
        };
        db_blob(s, 6, &k->wrapped);
    }
    *ret = list;
    list = (struct registry_wrapped_keys){0};
    return OK;
}
