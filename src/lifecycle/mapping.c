#include "lifecycle/mapping.h"

#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "lifecycle/query.h"

enum {
    CALL_MS = 20000,
    CHECK_MS = 20000,
    MAX_STATEMENT_BYTES = 1000 * 1000,
    MAX_BODY_BYTES = 48 * 1024 * 1024,
    MAX_REPLY_BYTES = 64 * 1024 * 1024,
    MAX_HEADER_BYTES = 4 * 1024 * 1024,
    AGAIN_MS = 100,
    /* ClickHouse's */
    ILLEGAL_AGGREGATION = 184,
    NOT_AN_AGGREGATE = 215,
};

/* ClickHouse's codes that say something about the SQL itself, whatever the documents are. */
static bool is_about_sql(int code) {
    static const int codes[] = {
        ENGINE_SYNTAX_ERROR, ENGINE_GATE_REFUSED, ENGINE_UNKNOWN_TABLE, 42, 46, 47, 63, 184, 207, 215, 352};
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (codes[i] == code) return true;
    return false;
}

void mapped_done(struct mapped *m) {
    documents_done(&m->documents);
    mem_free(m->from);
    mem_free(m->is_deletion);
    for (size_t i = 0; m->flaws && i < m->input_count; i++)
        mem_free(m->flaws[i]);
    mem_free(m->flaws);
    *m = (struct mapped){0};
}

size_t *mapped_order(const struct mapped *m) {
    size_t *starts = mem_alloc_array(m->input_count + 2, sizeof *starts);
    size_t *order = mem_alloc_array(m->documents.count + 1, sizeof *order);
    for (size_t i = 0; i < m->documents.count; i++)
        starts[m->from[i] + 1]++;
    for (size_t i = 0; i < m->input_count; i++)
        starts[i + 1] += starts[i];
    for (size_t i = 0; i < m->documents.count; i++)
        order[starts[m->from[i]]++] = i;
    mem_free(starts);
    return order;
}

/* ---- the rows of the answer ---- */

enum role { ROLE_FIELD, ROLE_ROW, ROLE_SKIPPED, ROLE_ID, ROLE_EVENT_TIME, ROLE_OP };

struct column {
    char *key; /* as JSON; owned */
    enum role role;
    bool is_json, is_array; /* empty ones may mean that there is none */
    bool has_real_empties;
};

struct take {
    struct mapped *mapped;
    const struct mapping_input *inputs;
    size_t from, to; /* the range of inputs that is mapped now */
    struct schema empties;
    struct column *columns;
    size_t column_count;
    unsigned *row_counts; /* by input of the range: how many rows came from it so far */
};

static void take_done(struct take *k) {
    schema_done(&k->empties);
    for (size_t i = 0; i < k->column_count; i++)
        mem_free(k->columns[i].key);
    mem_free(k->columns);
    mem_free(k->row_counts);
}

static enum role role_of(const char *name, size_t place) {
    if (place == 0) return ROLE_ROW;
    if (strcmp(name, "__lockset_row") == 0 || strncmp(name, "_input.", 7) == 0) return ROLE_SKIPPED;
    if (strcmp(name, "_id") == 0) return ROLE_ID;
    if (strcmp(name, "_event_time") == 0) return ROLE_EVENT_TIME;
    return strcmp(name, "_op") == 0 ? ROLE_OP : ROLE_FIELD;
}

static struct result take_header(struct take *k, struct slice names, struct slice types) {
    JSON_AUTO(name_list);
    JSON_AUTO(type_list);
    struct result r = json_parse(names, &name_list);
    if (is_ok(r)) r = json_parse(types, &type_list);
    CHECK(is_ok(r) && json_array_size(name_list) == json_array_size(type_list), ERR_PEER,
          "the engine's answer has no header");
    k->columns = mem_alloc_array(json_array_size(name_list) + 1, sizeof *k->columns);
    for (size_t i = 0; i < json_array_size(name_list); i++) {
        const json_t *name = json_array_get(name_list, i);
        const char *type = json_string_value(json_array_get(type_list, i));
        CHECK(json_is_string(name) && type, ERR_PEER, "the engine's answer has a header of an unknown form");
        struct column *c = &k->columns[k->column_count++];
        struct slice text = slice_make(json_string_value(name), json_string_length(name));
        BUF_AUTO(key, MAX_HEADER_BYTES);
        json_write_str(text, &key);
        *c = (struct column){.key = buf_take_str(&key),
                             .role = role_of(json_string_value(name), i),
                             .is_json = strncmp(type, "JSON", 4) == 0,
                             .is_array = strncmp(type, "Array", 5) == 0,
                             .has_real_empties = schema_has(&k->empties, text)};
        for (size_t before = 0; before < i; before++)
            if (before && strcmp(k->columns[before].key, c->key) == 0)
                k->columns[before].role = ROLE_SKIPPED; /* the last wins */
    }
    return OK;
}

/* Has the document a field of this name (as JSON)? */
static bool has_field(struct slice raw, const char *key) {
    struct scan s;
    scan_init(&s, raw);
    if (!scan_take(&s, '{')) return false;
    BUF_AUTO(wanted, MAX_HEADER_BYTES);
    scan_decode(slice_str(key), &wanted);
    do {
        struct slice name, value;
        bool plain;
        BUF_AUTO(decoded, MAX_HEADER_BYTES);
        if (is_err(scan_string(&s, &name, &plain)) || !scan_take(&s, ':') || is_err(scan_value(&s, &value, NULL)))
            return false;
        scan_decode(name, &decoded);
        if (slice_equal(buf_slice(&decoded), buf_slice(&wanted))) return true;
    } while (scan_take(&s, ','));
    return false;
}

/* Columns of objects and arrays hold empty ones where a document has none. */
static bool is_nothing(const struct take *k, const struct column *c, struct slice value, char type, size_t input) {
    if (type == 'n') return true;
    if (c->is_json && slice_is(value, "{}")) return true;
    if (!c->is_array || !slice_is(value, "[]")) return false;
    return !c->has_real_empties || !has_field(k->inputs[input].raw, c->key);
}

struct row {
    size_t input;
    struct slice id, event_time; /* JSON; empty: none */
    bool id_is_number, is_deletion;
    struct buf fields;
};

static struct result take_value(struct take *k, const struct column *c, struct slice value, char type,
                                struct row *row) {
    uint64_t number;
    switch (c->role) {
    case ROLE_ROW:
        TRY(slice_to_u64(value, UINT32_MAX, &number));
        CHECK(number >= k->from && number < k->to, ERR_PEER, "the engine's answer is of another batch");
        row->input = (size_t)number;
        break;
    case ROLE_ID:
        if (type == 'n') break;
        row->id = value;
        row->id_is_number = type == 'i' || type == 'f';
        break;
    case ROLE_EVENT_TIME:
        if (type != 'n') row->event_time = value;
        break;
    case ROLE_OP:
        row->is_deletion = value.len == 8 && strncasecmp((const char *)value.data, "\"DELETE\"", 8) == 0;
        break;
    case ROLE_SKIPPED:
        break;
    case ROLE_FIELD:
        if (is_nothing(k, c, value, type, row->input)) break;
        buf_append_str(&row->fields, c->key);
        buf_append_byte(&row->fields, ':');
        buf_append_slice(&row->fields, value);
        buf_append_byte(&row->fields, ',');
        break;
    }
    return OK;
}

static void set_flaw(struct mapped *m, size_t input, const char *text) {
    if (!m->flaws[input]) m->flaws[input] = str_format("the field mapping fails on it: %s", text);
}

/* The id of a row that brings none of its own: the document's, numbered from its second row on. */
static char *own_id(const char *id, unsigned row_count) {
    return row_count > 1 ? str_format("%s#%u", id, row_count) : str_dup(id);
}

static struct document *add_document(struct take *k, const struct row *row) {
    struct mapped *m = k->mapped;
    BUF_AUTO(text, MAX_REPLY_BYTES);
    text.wipes = true;
    buf_append_byte(&text, '{');
    if (!row->is_deletion) buf_append_slice(&text, buf_slice(&row->fields));
    if (row->event_time.len)
        buf_printf(&text, "\"_event_time\":%.*s,", (int)row->event_time.len, (const char *)row->event_time.data);
    if (row->id.len) {
        const char *quote = row->id_is_number ? "\"" : "";
        buf_printf(&text, "\"_id\":%s%.*s%s,", quote, (int)row->id.len, (const char *)row->id.data, quote);
    }
    if (text.len > 1) text.len--;
    buf_append_byte(&text, '}');
    struct result r = documents_add(&m->documents, buf_slice(&text));
    struct document *doc = &m->documents.items[m->documents.count - 1];
    if (is_err(r) && !doc->flaw) doc->flaw = str_dup(err_detail());
    return doc;
}

static void grow(struct mapped *m) {
    if (m->documents.count < m->capacity) return;
    m->capacity = m->capacity ? m->capacity * 2 : 256;
    m->from = mem_resize(m->from, m->capacity * sizeof *m->from);
    m->is_deletion = mem_resize(m->is_deletion, m->capacity * sizeof *m->is_deletion);
}

static void put_row(struct take *k, const struct row *row) {
    struct mapped *m = k->mapped;
    const struct mapping_input *input = &k->inputs[row->input];
    unsigned row_count = ++k->row_counts[row->input - k->from];
    grow(m);
    m->from[m->documents.count] = row->input;
    m->is_deletion[m->documents.count] = row->is_deletion;
    struct document *doc = add_document(k, row);
    if (doc->flaw) set_flaw(m, row->input, doc->flaw);
    if (!doc->has_event_time) doc->event_time_us = input->event_time_us;
    if (doc->id && strcmp(doc->id, input->id) != 0) return;
    mem_free(doc->id);
    doc->id = own_id(input->id, row_count);
}

static void row_done(struct row *row) {
    buf_done(&row->fields);
}

static struct result take_line(struct take *k, struct slice line) {
    AUTO(row_done) struct row row = {0};
    buf_init_wiping(&row.fields, MAX_REPLY_BYTES);
    struct scan s;
    scan_init(&s, line);
    TRY(scan_expect(&s, '['));
    for (size_t i = 0; i < k->column_count; i++) {
        struct slice value;
        struct scan_type type;
        if (i) TRY(scan_expect(&s, ','));
        TRY(scan_value(&s, &value, &type));
        TRY(take_value(k, &k->columns[i], value, type.code[0], &row));
    }
    TRY(scan_expect(&s, ']'));
    put_row(k, &row);
    return OK;
}

static struct result take_answer(struct take *k, struct slice text) {
    struct slice names, types, line;
    slice_cut(text, '\n', &names, &text);
    slice_cut(text, '\n', &types, &text);
    TRY(take_header(k, names, types));
    while (text.len) {
        slice_cut(text, '\n', &line, &text);
        if (line.len) TRY(take_line(k, line));
    }
    return OK;
}

/* ---- one attempt ---- */

struct run {
    const struct mapping_text *text;
    const struct mapping_input *inputs;
    struct staging staging;
    struct mapped *mapped;
    int code; /* of the engine's refusal; 0: none */
    char *refusal;
};

/* Without what was added to the tenant's SQL. */
static void clean_refusal(const char *text, const char *database, struct buf *out) {
    BUF_AUTO(clean, 4096);
    query_clean_error(slice_str(text), &clean);
    AUTO_FREE char *quoted = str_format("`%s`.", database);
    const char *const added[] = {quoted, "__lockset_row, "};
    for (const char *p = buf_str(&clean); *p;) {
        size_t skip = 0;
        for (size_t i = 0; i < ARRAY_LEN(added) && !skip; i++)
            if (strncmp(p, added[i], strlen(added[i])) == 0) skip = strlen(added[i]);
        if (!skip) buf_append_byte(out, (uint8_t)*p);
        p += skip ? skip : 1;
    }
}

static struct result note_refusal(struct run *r, const struct engine_reply *reply) {
    bool is_rollup = reply->exception_code == NOT_AN_AGGREGATE || reply->exception_code == ILLEGAL_AGGREGATION;
    BUF_AUTO(text, 4096);
    if (is_rollup)
        buf_append_str(&text, "aggregate functions (rollups) are not served: each row must come from one document");
    else
        clean_refusal(reply->exception ? reply->exception : "", r->staging.database, &text);
    mem_free(r->refusal);
    r->code = reply->exception_code;
    r->refusal = slice_to_str(buf_slice(&text));
    return OK;
}

static struct result call(struct run *r, struct engine_call *c) {
    AUTO(engine_reply_done) struct engine_reply reply = {0};
    c->role = ENGINE_WRITER;
    c->timeout_ms = CALL_MS;
    TRY(staging_call(&r->staging, c, &reply));
    return reply.exception_code ? note_refusal(r, &reply) : OK;
}

static void put_inputs(const struct run *r, size_t from, size_t to, struct buf *out) {
    for (size_t i = from; i < to; i++) {
        rowbinary_u64(out, i);
        rowbinary_string(out, slice_str(r->inputs[i].id));
        rowbinary_i64(out, r->inputs[i].event_time_us);
        rowbinary_string(out, r->inputs[i].raw);
    }
}

static struct result fill(struct run *r, size_t from, size_t to) {
    const char *db = r->staging.database;
    AUTO_FREE char *create = str_format(
        "CREATE TABLE `%s`._raw (__lockset_row UInt64, _id String, _event_time DateTime64(6, 'UTC'), __lockset_raw "
        "String, "
        "__lockset_doc JSON(max_dynamic_paths=128) DEFAULT CAST(__lockset_raw, 'JSON(max_dynamic_paths=128)')) "
        "ENGINE = Memory",
        db);
    struct engine_call made = {.query = slice_str(create)};
    TRY(call(r, &made));
    if (r->code || from == to) return OK;
    BUF_AUTO(body, MAX_BODY_BYTES);
    body.wipes = true;
    put_inputs(r, from, to, &body);
    TRY(buf_check(&body));
    AUTO_FREE char *insert =
        str_format("INSERT INTO `%s`._raw (__lockset_row, _id, _event_time, __lockset_raw) FORMAT RowBinary", db);
    struct engine_call filled = {.query = slice_str(insert), .body = buf_slice(&body), .insert_rows = to - from};
    return call(r, &filled);
}

/* Names of the SQL that no document has. */
static void put_missing(const struct run *r, const struct schema *schema, struct buf *out) {
    for (size_t i = 0; i < r->text->name_count; i++) {
        const struct mapping_name *n = &r->text->names[i];
        if (schema_has(schema, slice_str(n->name))) continue;
        buf_printf(out, ",\n  %s AS ", n->is_object ? "CAST('{}', 'JSON')" : "CAST(NULL, 'Nullable(Nothing)')");
        sql_quote_name(slice_str(n->name), out);
    }
}

static struct result make_view(struct run *r, const struct schema *schema) {
    BUF_AUTO(sql, MAX_STATEMENT_BYTES);
    buf_printf(&sql, "CREATE VIEW `%s`._input AS SELECT __lockset_row, _id, _event_time", r->staging.database);
    schema_columns(schema, "__lockset_doc", &sql);
    put_missing(r, schema, &sql);
    buf_printf(&sql, "\nFROM `%s`._raw", r->staging.database);
    TRY(buf_check(&sql));
    struct engine_call c = {.query = buf_slice(&sql)};
    return call(r, &c);
}

static bool collect(void *arg, struct slice piece) {
    struct buf *out = arg;
    buf_append_slice(out, piece);
    return !out->overflowed;
}

static struct result ask(struct run *r, struct buf *answer) {
    struct engine_call c = {.role = ENGINE_READER,
                            .query = slice_str(r->text->statement),
                            .database = r->staging.database,
                            .timeout_ms = CALL_MS,
                            .write = collect,
                            .arg = answer};
    AUTO(engine_reply_done) struct engine_reply reply = {0};
    struct result done = staging_call(&r->staging, &c, &reply);
    if (answer->overflowed) FAIL(ERR_TOO_LARGE, "it gives more than %d MiB", MAX_REPLY_BYTES >> 20);
    TRY(done);
    return reply.exception_code ? note_refusal(r, &reply) : OK;
}

static struct result read_schema(const struct run *r, size_t from, size_t to, struct schema *ret) {
    AUTO(documents_done) struct documents d;
    documents_init(&d);
    for (size_t i = from; i < to; i++)
        TRY(documents_add(&d, r->inputs[i].raw));
    schema_merge(ret, &d.schema);
    return OK;
}

/* r->code tells what the engine has against it. */
static struct result map_once(struct run *r, size_t from, size_t to) {
    AUTO(schema_done) struct schema schema = {0};
    AUTO(take_done) struct take k = {.mapped = r->mapped, .inputs = r->inputs, .from = from, .to = to};
    k.row_counts = mem_alloc_array(to - from + 1, sizeof *k.row_counts);
    TRY(read_schema(r, from, to, &schema));
    schema_empty_arrays(&schema, &k.empties);
    TRY(fill(r, from, to));
    if (r->code == 0) TRY(make_view(r, &schema));
    BUF_AUTO(answer, MAX_REPLY_BYTES);
    answer.wipes = true;
    if (r->code == 0) TRY(ask(r, &answer));
    if (r->code) return OK;
    TRY(take_answer(&k, buf_slice(&answer)));
    CHECK(is_ok(buf_check(&r->mapped->documents.raw)), ERR_TOO_LARGE, "it gives more than %d MiB",
          MAX_REPLY_BYTES >> 20);
    return OK;
}

static void forget_since(struct mapped *m, size_t count, size_t raw_len) {
    for (size_t i = count; i < m->documents.count; i++) {
        mem_free(m->documents.items[i].id);
        mem_free(m->documents.items[i].flaw);
    }
    m->documents.count = count;
    m->documents.raw.len = raw_len;
    m->documents.raw.overflowed = false;
}

/* In a staging place of its own. */
static struct result map_staged(struct run *r, const struct keylink_engine *engine, struct tenant *t, size_t from,
                                size_t to) {
    size_t before = r->mapped->documents.count, raw_len = r->mapped->documents.raw.len;
    r->code = 0;
    TRY(staging_open(t, engine, &r->staging));
    struct result done = map_once(r, from, to);
    AUTO_FREE char *detail = str_dup(err_detail());
    staging_close(&r->staging);
    if (is_err(done) || r->code) forget_since(r->mapped, before, raw_len);
    err_note("%s", detail);
    return done;
}

/* ---- all of it ---- */

struct job {
    struct tenant *tenant;
    struct run run;
    int64_t deadline_ns;
    struct refusal *why;
};

static struct result refuse_late(struct refusal *why) {
    return refuse(why, ERR_UNREACHABLE, 503, "SERVICEUNAVAILABLE", 2,
                  "The engine is busy or being restarted. Nothing was written: send it again.");
}

/* Is it gone, so that the next engine may fare better? */
static bool is_gone(struct result r) {
    return r.code == ERR_UNREACHABLE || r.code == ERR_TIMEOUT || r.code == ERR_PEER;
}

static struct result map_range(struct job *j, size_t from, size_t to) {
    while (true) {
        struct keylink_engine engine;
        TRY(tenant_engine(j->tenant, KEYLINK_WRITE, j->deadline_ns, &engine, j->why));
        struct result r = map_staged(&j->run, &engine, j->tenant, from, to);
        if (is_ok(r) && j->run.code == 0) return OK;
        if (is_ok(r) && is_about_sql(j->run.code))
            return refuse(j->why, ERR_INVALID, 400, "QUERY_ERROR", 0, "The field mapping can't be run: %s",
                          j->run.refusal);
        if (is_err(r) && is_gone(r)) {
            if (clock_boottime_ns() > j->deadline_ns) return refuse_late(j->why);
            TRY(tenant_broken(j->tenant, &engine, r.code == ERR_TIMEOUT, KEYLINK_WRITE, j->why));
            clock_sleep_ms(AGAIN_MS);
            continue;
        }
        AUTO_FREE char *reason = str_dup(is_ok(r) ? j->run.refusal : err_detail());
        if (to - from <= 1) {
            if (to > from) set_flaw(j->run.mapped, from, reason);
            return OK;
        }
        if (clock_boottime_ns() > j->deadline_ns) return refuse_late(j->why);
        TRY(map_range(j, from, from + (to - from) / 2));
        from += (to - from) / 2;
    }
}

static void job_done(struct job *j) {
    mem_free(j->run.refusal);
}

struct result mapping_run(struct tenant *t, const char *sql, const struct mapping_input *inputs, size_t count,
                          int64_t deadline_ns, struct mapped *ret, struct refusal *why) {
    AUTO(mapping_text_done) struct mapping_text text = {0};
    struct result r = mapping_text_parse(slice_str(sql), &text);
    if (is_err(r)) {
        AUTO_FREE char *detail = str_dup(err_detail());
        return refuse(why, r.code, 400, "INVALIDINPUT", 0, "The field mapping is no good: %s.", detail);
    }
    AUTO(mapped_done) struct mapped mapped = {.input_count = count};
    documents_init(&mapped.documents);
    mapped.documents.raw.max = MAX_REPLY_BYTES;
    mapped.flaws = mem_alloc_array(count + 1, sizeof *mapped.flaws);
    AUTO(job_done) struct job j = {.tenant = t, .deadline_ns = deadline_ns, .why = why};
    j.run = (struct run){.text = &text, .inputs = inputs, .mapped = &mapped};
    TRY(map_range(&j, 0, count));
    *ret = mapped;
    mapped = (struct mapped){0};
    return OK;
}

struct result mapping_check(struct tenant *t, const char *sql, struct refusal *why) {
    AUTO(mapped_done) struct mapped nothing = {0};
    return mapping_run(t, sql, NULL, 0, clock_boottime_ns() + (int64_t)CHECK_MS * NS_PER_MS, &nothing, why);
}
