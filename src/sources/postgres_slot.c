#include "sources/postgres_slot.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

enum { RELEASE_MS = 5000, RELEASE_LOOK_MS = 50 };

static bool is_true(const PGresult *result, int column) {
    return PQgetvalue(result, 0, column)[0] == 't';
}

struct result postgres_server_check(struct postgres_link *l, char ret_system[static POSTGRES_SYSTEM_BYTES]) {
    POSTGRES_RESULT_AUTO(found);
    TRY(postgres_link_query(
        l,
        "SELECT current_setting('wal_level'), pg_is_in_recovery(), current_setting('server_encoding'), "
        "rolsuper OR rolreplication OR EXISTS (SELECT FROM pg_roles g WHERE g.rolname = 'rds_replication' AND "
        "pg_has_role(g.oid, 'MEMBER')), current_user, (SELECT system_identifier FROM pg_control_system()) "
        "FROM pg_roles WHERE rolname = current_user",
        0, NULL, &found));
    CHECK(PQntuples(found) == 1, ERR_PEER, "PostgreSQL does not know its own role");
    const char *level = PQgetvalue(found, 0, 0), *encoding = PQgetvalue(found, 0, 2);
    CHECK(!is_true(found, 1), ERR_INVALID,
          "the server is a standby, which has no changes to publish: name the primary");
    CHECK(strcmp(level, "logical") == 0, ERR_INVALID,
          "wal_level is %s: set wal_level = logical (on RDS: rds.logical_replication = 1) and restart the server",
          level);
    CHECK(strcmp(encoding, "SQL_ASCII") != 0, ERR_INVALID,
          "the database's encoding is SQL_ASCII, so its texts are in no known encoding");
    CHECK(is_true(found, 3), ERR_FORBIDDEN,
          "the role may not replicate: ALTER ROLE \"%s\" REPLICATION (on RDS: GRANT rds_replication TO \"%s\")",
          PQgetvalue(found, 0, 4), PQgetvalue(found, 0, 4));
    snprintf(ret_system, POSTGRES_SYSTEM_BYTES, "%s", PQgetvalue(found, 0, 5));
    return OK;
}

struct result postgres_publication_mark(struct postgres_link *l, const struct postgres_config *config,
                                        const struct postgres_table *table, char ret[static POSTGRES_MARK_BYTES]) {
    char oid[16];
    snprintf(oid, sizeof oid, "%u", table->oid);
    const char *params[] = {config->publication, oid, config->schema, config->table};
    POSTGRES_RESULT_AUTO(found);
    /* to_jsonb: these columns are there since version 15 only. */
    TRY(postgres_link_query(
        l,
        "SELECT p.oid::text || coalesce('.' || r.oid::text, ''), "
        "p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate, "
        "coalesce(to_jsonb(r) ->> 'prqual', '') <> '' OR coalesce(to_jsonb(r) ->> 'prattrs', '') <> '', "
        "EXISTS (SELECT FROM pg_publication_tables t WHERE t.pubname = p.pubname AND t.schemaname = $3 AND "
        "t.tablename = $4) FROM pg_publication p LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = "
        "$2 "
        "WHERE p.pubname = $1",
        4, params, &found));
    ret[0] = '\0';
    if (PQntuples(found) == 0 || !is_true(found, 3)) return OK;
    CHECK(is_true(found, 1), ERR_INVALID,
          "publication \"%s\" leaves out some kinds of changes: ALTER PUBLICATION \"%s\" SET (publish = "
          "'insert, update, delete, truncate')",
          config->publication, config->publication);
    CHECK(!is_true(found, 2), ERR_INVALID, "publication \"%s\" leaves out rows or columns of %s, which must be whole",
          config->publication, table->sql);
    snprintf(ret, POSTGRES_MARK_BYTES, "%s", PQgetvalue(found, 0, 0));
    return OK;
}

static struct result publication_make(struct postgres_link *l, const struct postgres_config *config,
                                      const struct postgres_table *table) {
    POSTGRES_RESULT_AUTO(dropped);
    POSTGRES_RESULT_AUTO(made);
    BUF_AUTO(sql, 4096);
    buf_append_str(&sql, "DROP PUBLICATION IF EXISTS ");
    postgres_quote_name(config->publication, &sql);
    TRY(postgres_link_query(l, buf_str(&sql), 0, NULL, &dropped));
    buf_clear(&sql);
    buf_append_str(&sql, "CREATE PUBLICATION ");
    postgres_quote_name(config->publication, &sql);
    buf_printf(&sql, " FOR TABLE ONLY %s", table->sql);
    TRY(buf_check(&sql));
    struct result r = postgres_link_query(l, buf_str(&sql), 0, NULL, &made);
    if (r.code != ERR_FORBIDDEN) return r;
    FAIL(
        ERR_FORBIDDEN,
        "the role may not make a publication: as the table's owner, CREATE PUBLICATION name FOR TABLE %s, and give its "
        "name as the source's \"publication\"",
        table->sql);
}

struct result postgres_publication_ensure(struct postgres_link *l, const struct postgres_config *config,
                                          const struct postgres_table *table, char ret[static POSTGRES_MARK_BYTES]) {
    if (config->owns_publication) TRY(publication_make(l, config, table));
    TRY(postgres_publication_mark(l, config, table, ret));
    CHECK(ret[0], ERR_NOT_FOUND,
          "there is no publication \"%s\" with the table: CREATE PUBLICATION \"%s\" FOR TABLE %s", config->publication,
          config->publication, table->sql);
    return OK;
}

struct result postgres_slot_remove(struct postgres_link *l, const char *slot) {
    const char *params[] = {slot};
    int64_t deadline = clock_boottime_ns() + RELEASE_MS * NS_PER_MS;
    for (;;) {
        POSTGRES_RESULT_AUTO(dropped);
        struct result r = postgres_link_query(l,
                                              "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
                                              "WHERE slot_name = $1 AND database = current_database()",
                                              1, params, &dropped);
        bool in_use = r.code == ERR_UNREACHABLE && strcmp(postgres_link_state(l), "55006") == 0;
        bool gone = r.code == ERR_NOT_FOUND; /* someone else was faster */
        if (gone) return OK;
        if (!in_use || clock_boottime_ns() >= deadline) return r;
        clock_sleep_ms(RELEASE_LOOK_MS); /* the server has yet to notice that a connection of ours is gone */
    }
}

struct result postgres_slot_failed(const struct postgres_link *l, struct result r) {
    const char *state = postgres_link_state(l);
    CHECK(strcmp(state, "53400") != 0, ERR_UNREACHABLE,
          "all replication slots are in use: raise max_replication_slots, or drop one that nobody needs");
    CHECK(strcmp(state, "42501") != 0, ERR_FORBIDDEN,
          "the role may not make a replication slot: ALTER ROLE ... REPLICATION");
    return r;
}

struct result postgres_slot_trouble(struct postgres_link *l, const char *slot, uint64_t lsn, char **ret_why) {
    char text[POSTGRES_LSN_BYTES];
    postgres_lsn_format(lsn, text);
    const char *params[] = {slot, text};
    POSTGRES_RESULT_AUTO(found);
    TRY(postgres_link_query(
        l,
        "SELECT plugin = 'pgoutput' AND database = current_database(), "
        "CASE WHEN coalesce(to_jsonb(s) ->> 'invalidation_reason', 'wal_removed') <> 'wal_removed' THEN to_jsonb(s) "
        "->> "
        "'invalidation_reason' WHEN wal_status = 'lost' OR restart_lsn IS NULL THEN 'max_slot_wal_keep_size' END, "
        "confirmed_flush_lsn > $2::pg_lsn, confirmed_flush_lsn, pg_current_wal_insert_lsn() < $2::pg_lsn, "
        "pg_current_wal_insert_lsn() FROM pg_replication_slots s WHERE slot_name = $1",
        2, params, &found));
    *ret_why = NULL;
    if (PQntuples(found) == 0)
        *ret_why = str_format("the replication slot %s was dropped, and with it the changes since %s", slot, text);
    else if (!is_true(found, 0))
        *ret_why = str_format("the replication slot %s is another one: not for this database, or not ours", slot);
    else if (!PQgetisnull(found, 0, 1))
        *ret_why =
            str_format("the replication slot %s was invalidated (%s): the server does not have the changes since "
                       "%s any more",
                       slot, PQgetvalue(found, 0, 1), text);
    else if (is_true(found, 2))
        *ret_why = str_format("the replication slot %s stands at %s, so it was made anew or moved on by someone else: "
                              "changes since %s are missing",
                              slot, PQgetvalue(found, 0, 3), text);
    else if (is_true(found, 4))
        *ret_why = str_format("the server's log ends at %s, before the kept position %s: it was set back, for example "
                              "from a backup",
                              PQgetvalue(found, 0, 5), text);
    return OK;
}
