/* Workspaces and collections. */
#include "base/clock.h"
#include "registry/db.h"
#include "registry/rows.h"

void registry_workspace_done(struct registry_workspace *w) {
    mem_free(w->org);
    mem_free(w->name);
    mem_free(w->description);
    mem_free(w->created_by);
    *w = (struct registry_workspace){0};
}

void registry_workspaces_done(struct registry_workspaces *list) {
    for (size_t i = 0; i < list->count; i++)
        registry_workspace_done(&list->items[i]);
    mem_free(list->items);
    *list = (struct registry_workspaces){0};
}

/* Is there a row? With `count` a number to be over 0. */
static struct result exists(struct registry *r, const char *sql, const char *a, const char *b, bool *ret) {
    DB_STATEMENT(s);
    TRY(db_prepare(r, &s, sql, "tt", a, b));
    return db_next(r, s, ret);
}

static const char *const workspace_exists = "SELECT 1 FROM workspaces WHERE org = ?1 AND name = ?2";

struct result registry_create_workspace(struct registry *r, const struct registry_workspace *w) {
    DB_TX(tx);
    TRY(db_begin_write(r, &tx));
    TRY(rows_require_org(r, w->org));
    bool found;
    TRY(exists(r, workspace_exists, w->org, w->name, &found));
    CHECK(!found, ERR_EXISTS, "there is a workspace named %.128s already", w->name);
    TRY(db_run(r,
               "INSERT INTO workspaces(org, name, description, created_at_ms, created_by) VALUES (?1, ?2, ?3, ?4, ?5)",
               "tttit", w->org, w->name, w->description ? w->description : "",
               w->created_at_ms ? w->created_at_ms : clock_unix_ms(), w->created_by ? w->created_by : ""));
    return db_commit(&tx);
}

#define WORKSPACE_COLUMNS                                                                                              \
    "SELECT w.org, w.name, w.description, w.created_at_ms, w.created_by,"                                              \
    " (SELECT count(*) FROM collections c WHERE c.org = w.org AND c.workspace = w.name) FROM workspaces w"

static void read_workspace(sqlite3_stmt *s, struct registry_workspace *ret) {
    *ret = (struct registry_workspace){
        .org = db_text(s, 0),
        .name = db_text(s, 1),
        .description = db_text(s, 2),
        .created_at_ms = sqlite3_column_int64(s, 3),
        .created_by = db_text(s, 4),
        .collection_count = sqlite3_column_int64(s, 5),
    };
}

struct result registry_get_workspace(struct registry *r, const char *org, const char *name,
                                     struct registry_workspace *ret) {
    DB_TX(tx);
    TRY(db_begin_read(r, &tx));
    DB_STATEMENT(s);
    bool row;
    TRY(db_prepare(r, &s, WORKSPACE_COLUMNS " WHERE w.org = ?1 AND w.name = ?2", "tt", org, name));
    TRY(db_next(r, s, &row));
    CHECK(row, ERR_NOT_FOUND, "there is no workspace named %.128s", name);
    read_workspace(s, ret);
    return OK;
}

struct result registry_list_workspaces(struct registry *r, const char *org, struct registry_workspaces *ret) {
    DB_TX(tx);
    TRY(db_begin_read(r, &tx));
    DB_STATEMENT(s);
    TRY(db_prepare(r, &s, WORKSPACE_COLUMNS " WHERE w.org = ?1 ORDER BY w.name", "t", org));
    AUTO(registry_workspaces_done) struct registry_workspaces list = {0};
    bool row;
    for (;;) {
        TRY(db_next(r, s, &row));
        if (!row) break;
        read_workspace(s, DB_GROW(&list));
    }
    *ret = list;
    list = (struct registry_workspaces){0};
    return OK;
}

struct result registry_delete_workspace(struct registry *r, const char *org, const char *name) {
    DB_TX(tx);
    TRY(db_begin_write(r, &tx));
    bool found;
    TRY(exists(r, workspace_exists, org, name, &found));
    CHECK(found, ERR_NOT_FOUND, "there is no workspace named %.128s", name);
    TRY(exists(r, "SELECT 1 FROM collections WHERE org = ?1 AND workspace = ?2", org, name, &found));
    CHECK(!found, ERR_CONFLICT, "workspace %.128s still holds collections: delete them first", name);
    TRY(db_run(r, "DELETE FROM workspaces WHERE org = ?1 AND name = ?2", "tt", org, name));
    return db_commit(&tx);
}

/* ---- Collections ---- */

void registry_collection_done(struct registry_collection *c) {
    mem_free(c->id);
    mem_free(c->org);
    mem_free(c->region);
    mem_free(c->workspace);
    mem_free(c->name);
    mem_free(c->description);
    mem_free(c->status);
    mem_free(c->created_by);
    buf_done(&c->sealed);
    *c = (struct registry_collection){0};
}

void registry_collections_done(struct registry_collections *list) {
    for (size_t i = 0; i < list->count; i++)
        registry_collection_done(&list->items[i]);
    mem_free(list->items);
    *list = (struct registry_collections){0};
}

static struct result require_place(struct registry *r, const struct registry_collection *c) {
    bool found;
    TRY(exists(r, "SELECT 1 FROM org_regions WHERE org = ?1 AND region = ?2", c->org, c->region, &found));
    CHECK(found, ERR_NOT_FOUND, "organization %.40s has no region %.40s", c->org, c->region);
    TRY(exists(r, workspace_exists, c->org, c->workspace, &found));
    CHECK(found, ERR_NOT_FOUND, "there is no workspace named %.128s", c->workspace);
    DB_STATEMENT(s);
    TRY(db_prepare(r, &s,
                   "SELECT 1 FROM collections WHERE id = ?5 OR"
                   " (org = ?1 AND region = ?2 AND workspace = ?3 AND name = ?4)",
                   "ttttt", c->org, c->region, c->workspace, c->name, c->id));
    TRY(db_next(r, s, &found));
    CHECK(!found, ERR_EXISTS, "there is a collection named %.128s in workspace %.64s already", c->name, c->workspace);
    return OK;
}

struct result registry_create_collection(struct registry *r, const struct registry_collection *c) {
    DB_TX(tx);
    TRY(db_begin_write(r, &tx));
    TRY(require_place(r, c));
    struct slice sealed = buf_slice(&c->sealed);
    TRY(db_run(r,
               "INSERT INTO collections(id, org, region, workspace, name, description, status, created_at_ms,"
               " created_by, retention_secs, sealed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
               "tttttttitib", c->id, c->org, c->region, c->workspace, c->name, c->description ? c->description : "",
               c->status ? c->status : "CREATED", c->created_at_ms ? c->created_at_ms : clock_unix_ms(),
               c->created_by ? c->created_by : "", c->retention_secs, &sealed));
    return db_commit(&tx);
}

#define COLLECTION_COLUMNS                                                                                             \
    "SELECT id, org, region, workspace, name, description, status, created_at_ms, created_by, retention_secs, sealed"  \
    " FROM collections"

static void read_collection(sqlite3_stmt *s, struct registry_collection *ret) {
    *ret = (struct registry_collection){
        .id = db_text(s, 0),
        .org = db_text(s, 1),
        .region = db_text(s, 2),
        .workspace = db_text(s, 3),
        .name = db_text(s, 4),
        .description = db_text(s, 5),
        .status = db_text(s, 6),
        .created_at_ms = sqlite3_column_int64(s, 7),
        .created_by = db_text(s, 8),
        .retention_secs = sqlite3_column_int64(s, 9),
    };
    db_blob(s, 10, &ret->sealed);
}

struct result registry_get_collection(struct registry *r, const char *org, const char *region, const char *workspace,
                                      const char *name, struct registry_collection *ret) {
    DB_TX(tx);
    TRY(db_begin_read(r, &tx));
    DB_STATEMENT(s);
    bool row;
    TRY(db_prepare(r, &s, COLLECTION_COLUMNS " WHERE org = ?1 AND region = ?2 AND workspace = ?3 AND name = ?4", "tttt",
                   org, region, workspace, name));
    TRY(db_next(r, s, &row));
    CHECK(row, ERR_NOT_FOUND, "there is no collection named %.128s in workspace %.64s", name, workspace);
    read_collection(s, ret);
    return OK;
}

struct result registry_list_collections(struct registry *r, const char *org, const char *region, const char *workspace,
                                        struct registry_collections *ret) {
    DB_TX(tx);
    TRY(db_begin_read(r, &tx));
    DB_STATEMENT(s);
    TRY(db_prepare(r, &s,
                   COLLECTION_COLUMNS " WHERE org = ?1 AND region = ?2 AND (?3 IS NULL OR workspace = ?3)"
                                      " ORDER BY workspace, name",
                   "ttt", org, region, workspace));
    AUTO(registry_collections_done) struct registry_collections list = {0};
    bool row;
    for (;;) {
        TRY(db_next(r, s, &row));
        if (!row) break;
        read_collection(s, DB_GROW(&list));
    }
    *ret = list;
    list = (struct registry_collections){0};
    return OK;
}

/* Runs a statement whose ?1 is a collection's id and which must change one row. */
static struct result change_one(struct registry *r, const char *sql, const char *id, const char *types,
                                const void *value) {
    DB_TX(tx);
    TRY(db_begin_write(r, &tx));
    TRY(db_run(r, sql, types, id, value));
    CHECK(db_changes(r) == 1, ERR_NOT_FOUND, "there is no collection with the id %.40s", id);
    return db_commit(&tx);
}

struct result registry_set_collection_status(struct registry *r, const char *id, const char *status) {
    return change_one(r, "UPDATE collections SET status = ?2 WHERE id = ?1", id, "tt", status);
}

struct result registry_set_collection_description(struct registry *r, const char *id, const char *description) {
    return change_one(r, "UPDATE collections SET description = ?2 WHERE id = ?1", id, "tt", description);
}

struct result registry_set_collection_sealed(struct registry *r, const char *id, struct slice sealed) {
    return change_one(r, "UPDATE collections SET sealed = ?2 WHERE id = ?1", id, "tb", &sealed);
}

struct result registry_delete_collection(struct registry *r, const char *id) {
    return change_one(r, "DELETE FROM collections WHERE id = ?1", id, "t", NULL);
}
