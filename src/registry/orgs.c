/* Organizations, key links, API keys. */
#include <string.h>

#include "base/clock.h"
#include "registry/db.h"
#include "registry/rows.h"

const char *registry_kind_name(enum registry_kind kind) {
    return kind == REGISTRY_CUSTOMER ? "customer" : "service";
}

enum registry_kind rows_kind(sqlite3_stmt *s, int column) {
    const void *text = sqlite3_column_text(s, column);
    return text && strcmp(text, "customer") == 0 ? REGISTRY_CUSTOMER : REGISTRY_SERVICE;
}

void registry_org_done(struct registry_org *o) {
    mem_free(o->id);
    mem_free(o->name);
    mem_free(o->display_name);
    mem_free(o->created_by);
    mem_free(o->kms_key_arn);
    mem_free(o->home_region);
    *o = (struct registry_org){0};
}

void registry_orgs_done(struct registry_orgs *list) {
    for (size_t i = 0; i < list->count; i++)
        registry_org_done(&list->items[i]);
    mem_free(list->items);
    *list = (struct registry_orgs){0};
}

struct result rows_require_org(struct registry *r, const char *org) {
    DB_STATEMENT(s);
    bool row;
    TRY(db_prepare(r, &s, "SELECT 1 FROM organizations WHERE id = ?1", "t", org));
    TRY(db_next(r, s, &row));
    CHECK(row, ERR_NOT_FOUND, "there is no organization %.40s", org);
    return OK;
}

struct result rows_add_event(struct registry *r, const struct registry_event *e) {
    return db_run(r,
                  "INSERT INTO events(org, region, at_ms, kind, from_state, to_state, cause, reason, aws_error, actor)"
                  " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                  "ttittttttt", e->org, e->region, e->at_ms ? e->at_ms : clock_unix_ms(), e->kind, e->from_state,
                  e->to_state, e->cause, e->reason, e->aws_error, e->actor ? e->actor : "");
}

static struct result require_free(struct registry *r, const struct registry_new_org *n) {
    DB_STATEMENT(s);
    bool row;
    TRY(db_prepare(r, &s, "SELECT 1 FROM organizations WHERE id = ?1 OR name = ?2", "tt", n->id, n->name));
    TRY(db_next(r, s, &row));
    CHECK(!row, ERR_EXISTS, "there is an organization named %.64s already", n->name);
    return OK;
}

struct result registry_create_org(struct registry *r, const struct registry_new_org *n) {
    DB_TX(tx);
    TRY(db_begin_write(r, &tx));
    TRY(require_free(r, n));
    bool is_customer = n->kind == REGISTRY_CUSTOMER;
    /* The link first: the triggers take an organization only with a link, and a link only without an organization. */
    TRY(db_run(r, "INSERT INTO key_links(org, kind, kms_key_arn, home_region) VALUES (?1, ?2, ?3, ?4)", "tttt", n->id,
               registry_kind_name(n->kind), is_customer ? n->kms_key_arn : NULL, n->region));
    TRY(db_run(r,
               "INSERT INTO organizations(id, name, display_name, created_at_ms, created_by)"
               " VALUES (?1, ?2, ?3, ?4, ?5)",
               "tttit", n->id, n->name, n->display_name, n->created_at_ms, n->created_by));
    TRY(rows_insert_region(r, n->id, n->region, n->kms_key_arn, n->state_reason, n->created_at_ms));
    for (size_t i = 0; i < n->key_count; i++)
        TRY(rows_add_wrapped_key(r, &n->keys[i]));
    TRY(db_run(r, "INSERT INTO api_keys(hash, org, name, created_at_ms) VALUES (?1, ?2, ?3, ?4)", "ttti",
               n->api_key_hash, n->id, n->api_key_name, n->created_at_ms));
    TRY(db_run(r,
               "INSERT INTO workspaces(org, name, description, created_at_ms, created_by)"
               " VALUES (?1, 'commons', 'default workspace', ?2, ?3)",
               "tit", n->id, n->created_at_ms, n->created_by));
    AUTO_FREE char *reason =
        str_format("created with %s key %s", is_customer ? "the customer's" : "the service's", n->kms_key_arn);
    AUTO_FREE char *org = str_dup(n->id), *region = str_dup(n->region), *by = str_dup(n->created_by);
    AUTO_FREE char *kind = str_dup("org.created"), *state = str_dup("AVAILABLE");
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

#define ORG_COLUMNS                                                                                                    \
    "SELECT o.id, o.name, o.display_name, o.created_at_ms, o.created_by, l.kind, l.kms_key_arn, l.home_region"         \
    " FROM organizations o JOIN key_links l ON l.org = o.id"

static void read_org(sqlite3_stmt *s, struct registry_org *ret) {
    *ret = (struct registry_org){
        .id = db_text(s, 0),
        .name = db_text(s, 1),
        .display_name = db_text(s, 2),
        .created_at_ms = sqlite3_column_int64(s, 3),
        .created_by = db_text(s, 4),
        .kind = rows_kind(s, 5),
        .kms_key_arn = db_text(s, 6),
        .home_region = db_text(s, 7),
    };
}

static struct result get_org(struct registry *r, const char *sql, const char *key, struct registry_org *ret) {
    DB_TX(tx);
    TRY(db_begin_read(r, &tx));
    DB_STATEMENT(s);
    bool row;
    TRY(db_prepare(r, &s, sql, "t", key));
    TRY(db_next(r, s, &row));
    CHECK(row, ERR_NOT_FOUND, "there is no organization %.64s", key);
    read_org(s, ret);
    return OK;
}

struct result registry_get_org(struct registry *r, const char *id, struct registry_org *ret) {
    return get_org(r, ORG_COLUMNS " WHERE o.id = ?1", id, ret);
}

struct result registry_find_org(struct registry *r, const char *name, struct registry_org *ret) {
    return get_org(r, ORG_COLUMNS " WHERE o.name = ?1", name, ret);
}

struct result registry_list_orgs(struct registry *r, struct registry_orgs *ret) {
    DB_TX(tx);
    TRY(db_begin_read(r, &tx));
    DB_STATEMENT(s);
    TRY(db_prepare(r, &s, ORG_COLUMNS " ORDER BY o.name", ""));
    AUTO(registry_orgs_done) struct registry_orgs list = {0};
    bool row;
    for (;;) {
        TRY(db_next(r, s, &row));
        if (!row) break;
        read_org(s, DB_GROW(&list));
    }
    *ret = list;
    list = (struct registry_orgs){0};
    return OK;
}

struct result registry_set_display_name(struct registry *r, const char *id, const char *display_name,
                                        const char *actor) {
    DB_TX(tx);
    TRY(db_begin_write(r, &tx));
    TRY(db_run(r, "UPDATE organizations SET display_name = ?2 WHERE id = ?1", "tt", id, display_name));
    CHECK(db_changes(r) == 1, ERR_NOT_FOUND, "there is no organization %.40s", id);
    AUTO_FREE char *org = str_dup(id), *by = str_dup(actor), *kind = str_dup("org.changed");
    AUTO_FREE char *reason = str_format("display name set to %.200s", display_name);
    struct registry_event e = {.org = org, .kind = kind, .reason = reason, .actor = by};
    TRY(rows_add_event(r, &e));
    return db_commit(&tx);
}

struct result registry_delete_org(struct registry *r, const char *id, const char *actor) {
    /* What refers before what is referred to; the link last: the triggers keep it while the organization exists. */
    static const char *const steps[] = {
        "DELETE FROM collections WHERE org = ?1",  "DELETE FROM workspaces WHERE org = ?1",
        "DELETE FROM api_keys WHERE org = ?1",     "DELETE FROM wrapped_keys WHERE org = ?1",
        "DELETE FROM s3_keys WHERE org = ?1",      "DELETE FROM org_regions WHERE org = ?1",
        "DELETE FROM organizations WHERE id = ?1", "DELETE FROM key_links WHERE org = ?1",
    };
    {
        DB_TX(tx);
        TRY(db_begin_write(r, &tx));
        TRY(rows_require_org(r, id));
        AUTO_FREE char *org = str_dup(id), *by = str_dup(actor), *kind = str_dup("org.deleted");
        AUTO_FREE char *reason = str_dup("every wrapped data key was deleted with it");
        struct registry_event e = {.org = org, .kind = kind, .reason = reason, .actor = by};
        TRY(rows_add_event(r, &e));
        for (size_t i = 0; i < ARRAY_LEN(steps); i++)
            TRY(db_run(r, steps[i], "t", id));
        TRY(db_commit(&tx));
    }
    return db_forget_log(r); /* the log of changes may still hold what was deleted */
}

struct result registry_is_retired(struct registry *r, const char *id, bool *ret) {
    DB_TX(tx);
    TRY(db_begin_read(r, &tx));
    DB_STATEMENT(s);
    TRY(db_prepare(r, &s, "SELECT 1 FROM retired_orgs WHERE id = ?1", "t", id));
    return db_next(r, s, ret);
}

/* ---- API keys ---- */

void registry_api_key_done(struct registry_api_key *k) {
    mem_free(k->hash);
    mem_free(k->org);
    mem_free(k->name);
    *k = (struct registry_api_key){0};
}

struct result registry_add_api_key(struct registry *r, const char *org, const char *hash, const char *name,
                                   const char *actor) {
    DB_TX(tx);
    TRY(db_begin_write(r, &tx));
    TRY(rows_require_org(r, org));
    DB_STATEMENT(s);
    bool row;
    TRY(db_prepare(r, &s, "SELECT 1 FROM api_keys WHERE hash = ?1 OR (org = ?2 AND name = ?3)", "ttt", hash, org,
                   name));
    TRY(db_next(r, s, &row));
    CHECK(!row, ERR_EXISTS, "the organization has an API key named %.64s already", name);
    TRY(db_run(r, "INSERT INTO api_keys(hash, org, name, created_at_ms) VALUES (?1, ?2, ?3, ?4)", "ttti", hash, org,
               name, clock_unix_ms()));
    AUTO_FREE char *id = str_dup(org), *by = str_dup(actor), *kind = str_dup("api_key.created");
    AUTO_FREE char *reason = str_format("API key %.128s", name);
    struct registry_event e = {.org = id, .kind = kind, .reason = reason, .actor = by};
    TRY(rows_add_event(r, &e));
    return db_commit(&tx);
}

struct result registry_find_api_key(struct registry *r, const char *hash, struct registry_api_key *ret) {
    DB_TX(tx);
    TRY(db_begin_read(r, &tx));
    DB_STATEMENT(s);
    bool row;
    TRY(db_prepare(r, &s, "SELECT hash, org, name, created_at_ms FROM api_keys WHERE hash = ?1", "t", hash));
    TRY(db_next(r, s, &row));
    CHECK(row, ERR_NOT_FOUND, "unknown API key");
    *ret = (struct registry_api_key){.hash = db_text(s, 0),
                                     .org = db_text(s, 1),
                                     .name = db_text(s, 2),
                                     .created_at_ms = sqlite3_column_int64(s, 3)};
    return OK;
}
