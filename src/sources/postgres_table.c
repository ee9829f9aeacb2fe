#include "sources/postgres_table.h"

#include <stdlib.h>
#include <string.h>

static uint32_t oid_of(const PGresult *result, int row, int column) {
    return (uint32_t)strtoul(PQgetvalue(result, row, column), NULL, 10);
}

static bool is_true(const PGresult *result, int row, int column) {
    return PQgetvalue(result, row, column)[0] == 't';
}

void postgres_columns_done(struct postgres_columns *c) {
    for (unsigned i = 0; i < c->count; i++)
        mem_free(c->items[i].name);
    mem_free(c->items);
    *c = (struct postgres_columns){0};
}

void postgres_types_done(struct postgres_types *t) {
    mem_free(t->items);
    *t = (struct postgres_types){0};
}

void postgres_table_done(struct postgres_table *t) {
    for (unsigned i = 0; i < POSTGRES_MAX_KEYS; i++) {
        mem_free(t->keys[i].type);
        mem_free(t->keys[i].less);
        mem_free(t->keys[i].equal);
        mem_free(t->keys[i].greater);
    }
    postgres_columns_done(&t->layout);
    mem_free(t->sql);
    mem_free(t->columns);
    *t = (struct postgres_table){0};
}

/* The type behind any number of domains, whether it is an array, and of what. */
static struct result ask_type(struct postgres_link *l, uint32_t oid, uint32_t *ret_base, uint32_t *ret_element,
                              char *ret_delimiter) {
    char text[16];
    snprintf(text, sizeof text, "%u", oid);
    const char *params[] = {text};
    POSTGRES_RESULT_AUTO(result);
    TRY(postgres_link_query(
        l,
        "WITH RECURSIVE base AS (SELECT oid, typtype, typbasetype, typelem, typinput FROM pg_type WHERE oid = $1 "
        "UNION ALL SELECT t.oid, t.typtype, t.typbasetype, t.typelem, t.typinput FROM pg_type t JOIN base b ON "
        "b.typtype = 'd' AND t.oid = b.typbasetype) "
        "SELECT base.oid, CASE WHEN base.typinput = 'array_in'::regproc THEN base.typelem ELSE 0 END, "
        "coalesce(e.typdelim, ',') FROM base LEFT JOIN pg_type e ON e.oid = base.typelem WHERE base.typtype <> 'd'",
        1, params, &result));
    *ret_base = *ret_element = 0;
    *ret_delimiter = ',';
    if (PQntuples(result) != 1) return OK;
    *ret_base = oid_of(result, 0, 0);
    *ret_element = oid_of(result, 0, 1);
    *ret_delimiter = PQgetvalue(result, 0, 2)[0];
    return OK;
}

static struct result resolve_type(struct postgres_link *l, uint32_t oid, struct postgres_type *ret) {
    uint32_t base, element, element_base, inner;
    char delimiter, ignored;
    TRY(ask_type(l, oid, &base, &element, &delimiter));
    if (!element) {
        *ret = postgres_type_builtin(base);
        return OK;
    }
    TRY(ask_type(l, element, &element_base, &inner, &ignored));
    *ret = inner ? (struct postgres_type){.kind = POSTGRES_TEXT} : postgres_type_builtin(element_base);
    ret->is_array = true;
    ret->delimiter = delimiter;
    return OK;
}

struct result postgres_types_find(struct postgres_types *t, struct postgres_link *l, uint32_t oid,
                                  struct postgres_type *ret) {
    if (oid < POSTGRES_FIRST_CUSTOM_OID) {
        *ret = postgres_type_builtin(oid);
        return OK;
    }
    for (unsigned i = 0; i < t->count; i++)
        if (t->items[i].oid == oid) {
            *ret = t->items[i].type;
            return OK;
        }
    TRY(resolve_type(l, oid, ret));
    t->items = mem_resize(t->items, (t->count + 1) * sizeof *t->items);
    t->items[t->count++] = (struct postgres_known_type){.oid = oid, .type = *ret};
    return OK;
}

/* Is it a table that can be read and followed? *ret_identity: pg_class.relreplident. */
static struct result load_class(struct postgres_link *l, const struct postgres_config *c, struct postgres_table *t,
                                char *ret_identity) {
    const char *params[] = {c->schema, c->table};
    POSTGRES_RESULT_AUTO(found);
    TRY(postgres_link_query(l,
                            "SELECT c.oid, c.relkind, c.relpersistence, c.relreplident, c.reltuples::bigint, "
                            "has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), "
                            "current_user FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                            "WHERE n.nspname = $1 AND c.relname = $2",
                            2, params, &found));
    CHECK(PQntuples(found) == 1, ERR_NOT_FOUND, "the database has no table %s (case counts)", t->sql);
    char kind = PQgetvalue(found, 0, 1)[0];
    CHECK(kind != 'p', ERR_INVALID,
          "%s is partitioned, and partitions may be emptied or detached without a record: name one partition as the "
          "table",
          t->sql);
    CHECK(kind == 'r', ERR_INVALID, "%s is not a table, and what is not a table has no changes to follow", t->sql);
    CHECK(PQgetvalue(found, 0, 2)[0] == 'p', ERR_INVALID,
          "%s is unlogged or temporary, so its changes can't be followed: ALTER TABLE %s SET LOGGED", t->sql, t->sql);
    CHECK(is_true(found, 0, 5), ERR_FORBIDDEN, "the role may not read the table: GRANT SELECT ON %s TO \"%s\"", t->sql,
          PQgetvalue(found, 0, 6));
    t->oid = oid_of(found, 0, 0);
    t->estimate = strtoll(PQgetvalue(found, 0, 4), NULL, 10);
    *ret_identity = PQgetvalue(found, 0, 3)[0];
    CHECK(*ret_identity != 'n', ERR_INVALID,
          "%s has REPLICA IDENTITY NOTHING, so changes don't tell which row: ALTER TABLE %s REPLICA IDENTITY DEFAULT",
          t->sql, t->sql);
    return OK;
}

static struct result load_columns(struct postgres_link *l, const char *oid, struct postgres_types *types,
                                  struct postgres_table *t) {
    const char *params[] = {oid};
    POSTGRES_RESULT_AUTO(found);
    TRY(postgres_link_query(l,
                            "SELECT attname, atttypid FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT "
                            "attisdropped AND attgenerated = '' ORDER BY attnum",
                            1, params, &found));
    BUF_AUTO(names, 1 << 20);
    unsigned count = (unsigned)PQntuples(found);
    t->layout.items = mem_alloc_array(count, sizeof *t->layout.items);
    for (unsigned i = 0; i < count; i++) {
        struct postgres_column *c = &t->layout.items[t->layout.count++];
        c->name = str_dup(PQgetvalue(found, (int)i, 0));
        c->is_left_out = strcmp(c->name, "_id") == 0 || strcmp(c->name, "_meta") == 0;
        TRY(postgres_types_find(types, l, oid_of(found, (int)i, 1), &c->type));
        if (i) buf_append_str(&names, ", ");
        postgres_quote_name(c->name, &names);
    }
    TRY(buf_check(&names));
    t->columns = buf_take_str(&names);
    return OK;
}

static struct result set_key(struct postgres_table *t, const PGresult *found, unsigned row) {
    const char *name = PQgetvalue(found, (int)row, 0);
    unsigned at = 0;
    while (at < t->layout.count && strcmp(t->layout.items[at].name, name) != 0)
        at++;
    CHECK(at < t->layout.count, ERR_INVALID, "the key of %s holds a generated column, which is not replicated", t->sql);
    t->layout.keys[row] = at;
    t->layout.keys_count = row + 1;
    t->keys[row] = (struct postgres_key_column){.type = str_dup(PQgetvalue(found, (int)row, 1)),
                                                .less = str_dup(PQgetvalue(found, (int)row, 2)),
                                                .equal = str_dup(PQgetvalue(found, (int)row, 3)),
                                                .greater = str_dup(PQgetvalue(found, (int)row, 4)),
                                                .is_plain = is_true(found, (int)row, 5)};
    return OK;
}

/* The key is what deletions tell: the primary key, or the index that was chosen as the replica identity. Its operators
 * are those of its index, never found by name: a type like citext has its own. */
static struct result load_key(struct postgres_link *l, const char *oid, char identity, struct postgres_table *t) {
    const char *params[] = {oid, identity == 'i' ? "i" : "p"};
    POSTGRES_RESULT_AUTO(found);
    TRY(postgres_link_query(
        l,
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod), ops.sql[1], ops.sql[2], ops.sql[3], ops.plain "
        "FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indclass::oid[]) WITH ORDINALITY k (att, class, "
        "place) JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.att "
        "JOIN pg_opclass c ON c.oid = k.class CROSS JOIN LATERAL ("
        "SELECT array_agg(format('OPERATOR(%I.%s)', n.nspname, o.oprname) ORDER BY m.amopstrategy) AS sql, "
        "bool_and(n.nspname = 'pg_catalog' AND o.oprname IN ('<', '=', '>')) AS plain "
        "FROM pg_amop m JOIN pg_operator o ON o.oid = m.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace "
        "WHERE m.amopfamily = c.opcfamily AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype "
        "AND m.amopstrategy IN (1, 3, 5)) ops "
        "WHERE i.indrelid = $1 AND CASE WHEN $2 = 'i' THEN i.indisreplident ELSE i.indisprimary END "
        "AND k.place <= i.indnkeyatts ORDER BY k.place",
        2, params, &found));
    int count = PQntuples(found);
    CHECK(
        count > 0, ERR_INVALID,
        "%s has no primary key, so its rows have no identity: add one, or ALTER TABLE %s REPLICA IDENTITY USING INDEX "
        "with a unique index over NOT NULL columns",
        t->sql, t->sql);
    CHECK(count <= POSTGRES_MAX_KEYS, ERR_INVALID, "the key of %s has more than %d columns", t->sql, POSTGRES_MAX_KEYS);
    for (int i = 0; i < count; i++)
        TRY(set_key(t, found, (unsigned)i));
    return OK;
}

static struct result load(struct postgres_link *l, const struct postgres_config *config, struct postgres_types *types,
                          struct postgres_table *t) {
    char identity, oid[16];
    BUF_AUTO(sql, 1024);
    postgres_quote_name(config->schema, &sql);
    buf_append_byte(&sql, '.');
    postgres_quote_name(config->table, &sql);
    t->sql = buf_take_str(&sql);
    TRY(load_class(l, config, t, &identity));
    snprintf(oid, sizeof oid, "%u", t->oid);
    TRY(load_columns(l, oid, types, t));
    return load_key(l, oid, identity, t);
}

struct result postgres_table_load(struct postgres_link *l, const struct postgres_config *config,
                                  struct postgres_types *types, struct postgres_table *ret) {
    *ret = (struct postgres_table){0};
    struct result r = load(l, config, types, ret);
    if (is_err(r)) postgres_table_done(ret);
    return r;
}
