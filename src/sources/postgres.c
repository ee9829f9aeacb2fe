/* The driver of PostgreSQL tables: an initial load, then logical replication. postgres_position.h tells why nothing is
 * lost or doubled. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "sources/drivers.h"
#include "sources/postgres_reader.h"

enum { SETTLE_LOOK_MS = 100 };

static struct result check(const json_t *config, const json_t *format, const json_t *integration) {
    struct postgres_config ignored;
    return postgres_config_read(NULL, config, format, integration, &ignored);
}

static struct result check_integration(const json_t *integration) {
    struct postgres_address ignored = {0};
    return postgres_address_read(integration, &ignored);
}

void postgres_reader_disconnect(struct source_reader *r) {
    postgres_snapshot_reset(r);
    postgres_types_done(&r->types);
    postgres_table_done(&r->table);
    r->sql = postgres_link_close(r->sql);
    r->stage = POSTGRES_CONNECTING;
}

/* Why the table, as the server has it now, is not the one that the position is of; NULL: it is. Owned. */
static struct result table_trouble(const struct postgres_config *config, struct postgres_link *l,
                                   const struct postgres_table *t, const char *system,
                                   const struct postgres_position *p, char **ret_why) {
    char mark[POSTGRES_MARK_BYTES];
    *ret_why = NULL;
    TRY(postgres_publication_mark(l, config, t, mark));
    bool same_key = t->layout.keys_count == p->keys_count;
    for (unsigned i = 0; same_key && i < p->keys_count; i++)
        same_key = strcmp(t->layout.items[t->layout.keys[i]].name, p->keys[i]) == 0;
    if (strcmp(system, p->system) != 0)
        *ret_why = str_dup("the server is another one than before (another system identifier)");
    else if (t->oid != p->table)
        *ret_why = str_format("%s was dropped and made anew", t->sql);
    else if (!same_key)
        *ret_why = str_format("the key of %s changed, so that documents can't be found by it any more", t->sql);
    else if (strcmp(mark, p->publication) != 0)
        *ret_why = str_format("publication \"%s\" was dropped or made anew, or the table was taken out of it: changes "
                              "may be missing",
                              config->publication);
    return OK;
}

static struct result trouble(const struct postgres_config *config, struct postgres_link *l,
                             const struct postgres_table *t, const char *system, const struct postgres_position *p,
                             char **ret_why) {
    TRY(postgres_slot_trouble(l, config->slot, p->lsn, ret_why));
    return *ret_why ? OK : table_trouble(config, l, t, system, p, ret_why);
}

static void take_key_names(struct source_reader *r) {
    struct postgres_position *p = &r->position;
    p->table = r->table.oid;
    p->keys_count = r->table.layout.keys_count;
    for (unsigned i = 0; i < p->keys_count; i++)
        p->keys[i] = str_dup(r->table.layout.items[r->table.layout.keys[i]].name);
}

static struct result connect_reader(struct source_reader *r) {
    char system[POSTGRES_SYSTEM_BYTES];
    AUTO_FREE char *why = NULL;
    if (!r->sql) TRY(postgres_link_open(&r->config.address, false, r->spec->cancelled, &r->sql));
    TRY(postgres_server_check(r->sql, system));
    TRY(postgres_table_load(r->sql, &r->config, &r->types, &r->table));
    if (r->has_position) {
        TRY(trouble(&r->config, r->sql, &r->table, system, &r->position, &why));
        CHECK(!why, ERR_CORRUPT, "%s", why);
        r->stage = POSTGRES_READING;
        return OK;
    }
    postgres_position_done(&r->position);
    snprintf(r->position.system, sizeof r->position.system, "%s", system);
    take_key_names(r);
    r->stage = POSTGRES_PREPARING;
    return OK;
}

/* Runs a step; a failure drops the connection, so that the next call begins anew. */
static struct result or_disconnect(struct source_reader *r, struct result result) {
    if (is_ok(result)) return OK;
    AUTO_FREE char *why = str_dup(err_detail());
    postgres_reader_disconnect(r);
    return err_make(result.code, "%s", why);
}

struct result postgres_reader_connect(struct source_reader *r) {
    if (r->stage != POSTGRES_CONNECTING && !postgres_link_is_broken(r->sql)) return OK;
    postgres_reader_disconnect(r);
    return or_disconnect(r, connect_reader(r));
}

/* Publication first: the slot sees the catalog as it was at each change. */
static struct result prepare(struct source_reader *r) {
    const char *params[] = {r->config.slot};
    TRY(postgres_slot_remove(r->sql, r->config.slot));
    TRY(postgres_publication_ensure(r->sql, &r->config, &r->table, r->position.publication));
    TRY(postgres_link_send(r->sql, "SELECT lsn FROM pg_create_logical_replication_slot($1, 'pgoutput')", 1, params,
                           false));
    r->stage = POSTGRES_SLOT;
    return OK;
}

/* The slot comes when the transactions that were running have ended, which may take any time. */
static struct result await_slot(struct source_reader *r, int64_t until_ns) {
    POSTGRES_RESULT_AUTO(result);
    bool ready;
    struct result taken = postgres_link_take(r->sql, until_ns, &ready, &result);
    if (is_err(taken)) return postgres_slot_failed(r->sql, taken);
    if (!ready) return OK;
    if (result) {
        CHECK(PQntuples(result) == 1, ERR_PEER, "PostgreSQL made no replication slot");
        return postgres_lsn_parse(PQgetvalue(result, 0, 0), &r->position.lsn);
    }
    /* A number of our own: all that began before have lower ones. (A snapshot's xmax would not do: it stands behind the
     * last that ended, not behind the last that began.) */
    POSTGRES_RESULT_AUTO(own);
    TRY(postgres_link_query(r->sql, "SELECT pg_current_xact_id()::text", 0, NULL, &own));
    snprintf(r->settle, sizeof r->settle, "%s", PQntuples(own) == 1 ? PQgetvalue(own, 0, 0) : "");
    r->stage = POSTGRES_SETTLING;
    return OK;
}

/* What committed before the slot's LSN has to be visible before a page is read: see postgres_position.h. */
static struct result settle(struct source_reader *r, int64_t until_ns) {
    const char *params[] = {r->settle};
    for (;;) {
        POSTGRES_RESULT_AUTO(found);
        TRY(postgres_link_query(r->sql, "SELECT pg_snapshot_xmin(pg_current_snapshot()) >= $1::xid8", 1, params,
                                &found));
        if (PQntuples(found) == 1 && PQgetvalue(found, 0, 0)[0] == 't') break;
        if (clock_boottime_ns() >= until_ns) return OK;
        clock_sleep_ms(SETTLE_LOOK_MS);
    }
    r->position.is_snapshot = true;
    r->has_position = true;
    r->stored = r->position.lsn;
    r->stage = POSTGRES_READING;
    return OK;
}

/* Up to the first position. */
static struct result first_start(struct source_reader *r, int64_t until_ns) {
    if (r->stage == POSTGRES_PREPARING) TRY(or_disconnect(r, prepare(r)));
    while (r->stage == POSTGRES_SLOT) {
        TRY(or_disconnect(r, await_slot(r, until_ns)));
        if (clock_boottime_ns() >= until_ns) break;
    }
    if (r->stage == POSTGRES_SETTLING) TRY(or_disconnect(r, settle(r, until_ns)));
    return OK;
}

static struct result read_batch(struct source_reader *r, int64_t until_ns, struct postgres_batch *b, bool *moved,
                                bool *is_snapshot_end) {
    TRY(postgres_reader_connect(r));
    if (!r->has_position) {
        TRY(first_start(r, until_ns));
        *moved = r->has_position; /* nothing is read before it is known to be stored where to begin */
        return OK;
    }
    if (r->position.is_snapshot) return postgres_snapshot_next(r, until_ns, b, moved);
    return postgres_changes_next(r, until_ns, b, moved, is_snapshot_end);
}

static struct result next(struct source_reader *r, unsigned wait_ms, struct source_batch *ret) {
    AUTO(postgres_batch_done) struct postgres_batch batch;
    bool moved = false, is_snapshot_end = false;
    *ret = (struct source_batch){0};
    postgres_batch_init(&batch);
    TRY(read_batch(r, clock_boottime_ns() + (int64_t)wait_ms * NS_PER_MS, &batch, &moved, &is_snapshot_end));
    postgres_batch_finish(&batch, ret);
    ret->position = moved ? postgres_position_to_json(&r->position) : NULL;
    ret->is_snapshot_end = is_snapshot_end;
    return OK;
}

static void close_reader(struct source_reader *r) {
    if (!r) return;
    postgres_changes_reset(r);
    postgres_reader_disconnect(r);
    pgoutput_message_free(r->stream.message);
    mem_free(r->stream.values);
    postgres_position_done(&r->position);
    mem_free(r);
}

static struct result open_reader(const struct source_spec *spec, const json_t *position, struct source_reader *r) {
    r->spec = spec;
    r->stream.values = mem_alloc_array(PGOUTPUT_MAX_COLUMNS, sizeof *r->stream.values);
    TRY(postgres_config_read(spec->source_id, spec->config, spec->format, spec->integration, &r->config));
    if (position) {
        TRY(postgres_position_from_json(position, &r->position));
        r->has_position = true;
        r->stored = r->position.lsn;
    }
    return postgres_reader_connect(r);
}

static struct result open_source(const struct source_spec *spec, const json_t *position, struct source_reader **ret) {
    struct source_reader *r = mem_alloc(sizeof *r);
    struct result result = open_reader(spec, position, r);
    if (is_ok(result))
        *ret = r;
    else
        close_reader(r);
    return result;
}

static struct result stored(struct source_reader *r) {
    r->stored = r->position.lsn;
    return postgres_changes_confirm(r, false);
}

static void progress(struct source_reader *r, struct source_progress *ret) {
    const struct postgres_position *p = &r->position;
    *ret = (struct source_progress){.state = SOURCE_INITIALIZING,
                                    .total_items = r->table.oid ? r->table.estimate : -1,
                                    .done_items = p->rows,
                                    .total_bytes = -1,
                                    .lag = -1};
    if (!r->has_position) return;
    ret->state = p->is_snapshot || p->until ? SOURCE_SCANNING : SOURCE_WATCHING;
    if (ret->total_items >= 0 && ret->total_items < p->rows) ret->total_items = p->rows;
    postgres_lsn_format(p->lsn, ret->last_item);
    if (r->server_lsn) ret->lag = r->server_lsn > p->lsn ? (int64_t)(r->server_lsn - p->lsn) : 0;
}

static struct result ask_whether_it_has(const struct postgres_config *config, const struct source_spec *spec,
                                        const json_t *position, struct postgres_link **l, char **ret_why) {
    char system[POSTGRES_SYSTEM_BYTES];
    AUTO(postgres_position_done) struct postgres_position p = {0};
    AUTO(postgres_types_done) struct postgres_types types = {0};
    AUTO(postgres_table_done) struct postgres_table table = {0};
    TRY(postgres_position_from_json(position, &p));
    TRY(postgres_link_open(&config->address, false, spec->cancelled, l));
    TRY(postgres_server_check(*l, system));
    struct result loaded = postgres_table_load(*l, config, &types, &table);
    if (loaded.code == ERR_NOT_FOUND) {
        *ret_why = str_dup(err_detail());
        return OK;
    }
    TRY(loaded);
    return trouble(config, *l, &table, system, &p, ret_why);
}

static struct result still_has(const struct source_spec *spec, const json_t *position, bool *ret, char **ret_why) {
    struct postgres_config config;
    struct postgres_link *l = NULL;
    *ret_why = NULL;
    *ret = true;
    if (!position) return OK; /* nothing was read, so nothing is missing */
    struct result result =
        postgres_config_read(spec->source_id, spec->config, spec->format, spec->integration, &config);
    if (is_ok(result)) result = ask_whether_it_has(&config, spec, position, &l, ret_why);
    if (is_err(result)) {
        mem_free(*ret_why);
        *ret_why = str_dup(err_detail());
    }
    postgres_link_close(l);
    *ret = is_ok(result) && *ret_why == NULL;
    return result;
}

static struct result give_back(const struct postgres_config *config, struct postgres_link *l) {
    TRY(postgres_slot_remove(l, config->slot));
    if (!config->owns_publication) return OK;
    POSTGRES_RESULT_AUTO(dropped);
    BUF_AUTO(sql, 256);
    buf_append_str(&sql, "DROP PUBLICATION IF EXISTS ");
    postgres_quote_name(config->publication, &sql);
    return postgres_link_query(l, buf_str(&sql), 0, NULL, &dropped);
}

static struct result forget(const struct source_spec *spec, const json_t *position) {
    struct postgres_config config;
    struct postgres_link *l = NULL;
    TRY(postgres_config_read(spec->source_id, spec->config, spec->format, spec->integration, &config));
    TRY(postgres_link_open(&config.address, false, spec->cancelled, &l));
    struct result result = give_back(&config, l);
    postgres_link_close(l);
    return result;
}

const struct source_driver postgres_driver = {
    .kind = "postgres",
    .check = check,
    .open = open_source,
    .next = next,
    .stored = stored,
    .progress = progress,
    .close = close_reader,
    .still_has = still_has,
    .forget = forget,
    .check_integration = check_integration,
};
