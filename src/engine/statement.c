#include "engine/statement.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "engine/client.h"
#include "engine/exception.h"
#include "engine/sql_text.h"

enum { DEEP_STACK_BYTES = 8 << 20, MAX_OWN_SETTINGS = 4 };

void outcome_done(struct outcome *o) {
    mem_free(TAKE(o->text));
}

void outcome_fail(struct outcome *o, int code, const char *text) {
    BUF_AUTO(message, 4096);
    exception_write(code, text, &message);
    mem_free(o->text);
    o->code = code;
    o->text = buf_take_str(&message);
}

void outcome_fail_from(struct outcome *o, struct result r) {
    int code = r.code == ERR_FORBIDDEN   ? ENGINE_GATE_REFUSED
               : r.code == ERR_INVALID   ? ENGINE_SYNTAX_ERROR
               : r.code == ERR_TOO_LARGE ? ENGINE_RESULT_TOO_LARGE
                                         : ENGINE_UNKNOWN_EXCEPTION;
    outcome_fail(o, code, err_detail());
}

struct deep_call {
    void (*function)(void *arg);
    void *arg;
};

static void *deep_thread(void *arg) {
    struct deep_call *call = arg;
    call->function(call->arg);
    return NULL;
}

/* Runs function(arg) on a deep stack and waits for its end. */
static void call_deep(void (*function)(void *arg), void *arg) {
    struct deep_call call = {function, arg};
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, DEEP_STACK_BYTES);
    if (pthread_create(&thread, &attributes, deep_thread, &call) == 0)
        pthread_join(thread, NULL);
    else
        function(arg); /* out of threads: on the stack we have, ClickHouse stops at its end by itself */
    pthread_attr_destroy(&attributes);
}

struct running {
    struct statement_env *env;
    const struct statement *st;
    struct chdb_session **session;
    struct watch_item item;
};

/* Opens the session and begins the watch. False: ret says why. */
static bool open_session(struct running *r, struct outcome *ret) {
    const struct statement *st = r->st;
    int64_t left_ms = (st->deadline_ns - clock_boottime_ns()) / NS_PER_MS;
    if (left_ms <= 0) {
        outcome_fail(ret, ENGINE_TIMEOUT_EXCEEDED, "Timeout exceeded: the statement's time was over before it began");
        return false;
    }
    r->item = (struct watch_item){
        .id = watch_new_id(r->env->watch), .deadline_ns = st->deadline_ns, .client_fd = st->client_fd};
    char comment[64], limit[64];
    snprintf(comment, sizeof(comment), "log_comment=lockset-%llu", (unsigned long long)r->item.id);
    snprintf(limit, sizeof(limit), "max_execution_time=%lld", (long long)(left_ms / 1000 + 1));
    AUTO_FREE const char **settings = mem_alloc_array(st->setting_count + MAX_OWN_SETTINGS, sizeof(*settings));
    size_t n = 0;
    for (; n < st->setting_count; n++) {
        settings[n] = st->settings[n];
    }
    settings[n++] = comment;
    settings[n++] = limit;
    /* chDB sets this in each session, whatever the profile says: a text that is no statement would become one. */
    settings[n++] = "implicit_select=0";
    if (st->is_readonly) settings[n++] = "readonly=1";
    struct result connected = instance_connect(r->env->instance, settings, n, &r->session);
    if (is_err(connected)) {
        outcome_fail_from(ret, connected);
        return false;
    }
    watch_add(r->env->watch, &r->item);
    return true;
}

static void end(struct running *r) {
    watch_remove(r->env->watch, &r->item);
    instance_close(r->env->instance, TAKE(r->session));
}

/* Takes the outcome of a result; true if it is a success, whose data may then be read. */
static bool take_outcome(const struct running *r, struct chdb_result *result, struct outcome *ret) {
    const struct chdb *chdb = &r->env->instance->chdb;
    const char *error = result ? chdb->result_error(result) : "Code: 1001. DB::Exception: no result";
    if (!error) {
        ret->rows_read += chdb->result_rows_read(result);
        ret->bytes_read += chdb->result_bytes_read(result);
        ret->rows_written += chdb->result_rows_written(result);
        ret->elapsed_ns += (uint64_t)(chdb->result_elapsed_s(result) * 1e9);
        return true;
    }
    int code = exception_code(slice_str(error));
    if (code == ENGINE_QUERY_CANCELLED && r->item.killed && clock_boottime_ns() >= r->st->deadline_ns) {
        outcome_fail(ret, ENGINE_TIMEOUT_EXCEEDED, "Timeout exceeded: the statement was ended at its deadline");
        return false;
    }
    mem_free(ret->text);
    ret->code = code;
    ret->text = str_dup(error);
    return false;
}

static bool use_database(struct running *r, struct outcome *ret) {
    const struct statement *st = r->st;
    if (!st->database) return true;
    const struct chdb *chdb = &r->env->instance->chdb;
    static const char sql[] = "USE {lockset_database:Identifier}";
    const char *name = "lockset_database";
    size_t name_len = strlen(name), value_len = strlen(st->database);
    struct chdb_result *result =
        chdb->query(*r->session, sql, sizeof(sql) - 1, "Null", 4, &name, &name_len, &st->database, &value_len, 1);
    struct outcome used = {0};
    bool ok = take_outcome(r, result, &used);
    if (result) chdb->result_free(result);
    if (!ok) *ret = used;
    return ok;
}

/* A parameter's value: text in tab-separated escaping. */
static void escape_value(struct slice s, struct buf *out) {
    static const char from[] = "\\\t\n\r", to[] = "\\tnr";
    for (size_t i = 0; i < s.len; i++) {
        const char *found = s.data[i] ? strchr(from, s.data[i]) : NULL;
        if (found || s.data[i] == 0) buf_append_byte(out, '\\');
        buf_append_byte(out, found ? (uint8_t)to[found - from] : s.data[i] ? s.data[i] : '0');
    }
}

/* The statement as ClickHouse writes it. */
static struct result write_canonical(struct running *r, struct buf *out) {
    static const char sql[] = "SELECT formatQuerySingleLine({q:String})", format[] = "RawBLOB";
    static const char *const names[] = {"q"};
    static const size_t name_lens[] = {1};
    const struct chdb *chdb = &r->env->instance->chdb;
    BUF_AUTO(value, 2 * r->st->query.len + 1);
    value.wipes = true;
    escape_value(r->st->query, &value);
    const char *values[] = {buf_str(&value)};
    size_t value_lens[] = {value.len};
    struct chdb_result *result = chdb->query(*r->session, sql, sizeof(sql) - 1, format, sizeof(format) - 1, names,
                                             name_lens, values, value_lens, 1);
    AUTO(outcome_done) struct outcome o = {0};
    if (take_outcome(r, result, &o)) buf_append(out, chdb->result_data(result), chdb->result_len(result));
    if (result) chdb->result_free(result);
    CHECK(o.code == 0, ERR_FORBIDDEN, "ClickHouse can't write the statement back (its error %d)", o.code);
    return buf_check(out);
}

static struct result check_statement(struct running *r) {
    const struct statement *st = r->st;
    struct chdb_analysis a = {.struct_size = sizeof(a)};
    CHECK(r->env->instance->chdb.classify(*r->session, (const char *)st->query.data, st->query.len, NULL, 0, &a) == 0,
          ERR_INTERNAL, "ClickHouse does not classify the statement");
    /* What doesn't parse doesn't run: ClickHouse itself says what is wrong with it. */
    if (a.query_class == CHDB_UNKNOWN) return OK;
    CHECK(a.statement_count == 1, ERR_FORBIDDEN, "one statement a request");
    CHECK(a.query_class == CHDB_READ_ONLY, ERR_FORBIDDEN, "only statements that read are available in queries");
    BUF_AUTO(canonical, SQL_MAX_BYTES);
    canonical.wipes = true;
    TRY(write_canonical(r, &canonical));
    return st->check(st->check_arg, buf_slice(&canonical));
}

/* Makes ready to run the statement. False: ret says why not. */
static bool begin(struct running *r, struct outcome *ret) {
    if (!open_session(r, ret)) return false;
    struct result checked = r->st->check ? check_statement(r) : OK;
    if (is_err(checked)) outcome_fail_from(ret, checked);
    if (is_ok(checked) && use_database(r, ret)) return true;
    end(r);
    return false;
}

struct run_call {
    struct running r;
    struct buf *out;
    struct outcome *ret;
    const struct slice *bodies;
    size_t count;
};

static void run_whole(void *arg) {
    struct run_call *call = arg;
    struct running *r = &call->r;
    const struct statement *st = r->st;
    if (!begin(r, call->ret)) return;
    const struct chdb *chdb = &r->env->instance->chdb;
    struct chdb_result *result =
        chdb->query(*r->session, (const char *)st->query.data, st->query.len, st->format, strlen(st->format), st->names,
                    st->name_lens, st->values, st->value_lens, st->param_count);
    if (take_outcome(r, result, call->ret)) {
        buf_append(call->out, chdb->result_data(result), chdb->result_len(result));
        if (is_err(buf_check(call->out)))
            outcome_fail(call->ret, ENGINE_RESULT_TOO_LARGE, "The result is larger than may be held in memory");
    }
    if (result) chdb->result_free(result);
    end(r);
}

void statement_run(struct statement_env *env, const struct statement *st, struct buf *out, struct outcome *ret) {
    struct run_call call = {.r = {.env = env, .st = st}, .out = out, .ret = ret};
    call_deep(run_whole, &call);
}

static void run_insert(void *arg) {
    struct run_call *call = arg;
    struct running *r = &call->r;
    const struct statement *st = r->st;
    if (!begin(r, call->ret)) return;
    const struct chdb *chdb = &r->env->instance->chdb;
    struct chdb_insert *insert =
        chdb->insert(*r->session, (const char *)st->query.data, st->query.len, st->format, strlen(st->format));
    const char *error = chdb->insert_error(insert);
    if (error) {
        call->ret->code = exception_code(slice_str(error));
        call->ret->text = str_dup(error);
    } else {
        /* A piece that isn't taken ends the stream; the reason is in the result. */
        for (size_t i = 0; i < call->count; i++) {
            if (chdb->insert_append(insert, call->bodies[i].data, call->bodies[i].len) != 0) break;
        }
        struct chdb_result *result = chdb->insert_done(insert);
        take_outcome(r, result, call->ret);
        if (result) chdb->result_free(result);
    }
    chdb->insert_free(insert);
    end(r);
}

void statement_insert(struct statement_env *env, const struct statement *st, const struct slice *bodies, size_t count,
                      struct outcome *ret) {
    struct run_call call = {.r = {.env = env, .st = st}, .ret = ret, .bodies = bodies, .count = count};
    call_deep(run_insert, &call);
}

/* Text formats whose header is a known number of lines without line ends inside, and formats without a header. */
static const struct {
    const char *name;
    unsigned header_lines;
} streamable[] = {
    {"JSONCompactEachRowWithNamesAndTypes", 2},
    {"JSONCompactStringsEachRowWithNamesAndTypes", 2},
    {"JSONCompactEachRowWithNames", 1},
    {"TabSeparatedWithNamesAndTypes", 2},
    {"TabSeparatedWithNames", 1},
    {"TSVWithNamesAndTypes", 2},
    {"TSVWithNames", 1},
    {"JSONCompactEachRow", 0},
    {"JSONEachRow", 0},
    {"JSONStringsEachRow", 0},
    {"TabSeparated", 0},
    {"TSV", 0},
    {"CSV", 0},
    {"RowBinary", 0},
    {"Native", 0},
};

bool statement_can_stream(const char *format, unsigned *ret_header_lines) {
    for (size_t i = 0; i < ARRAY_LEN(streamable); i++) {
        if (strcmp(format, streamable[i].name) != 0) continue;
        *ret_header_lines = streamable[i].header_lines;
        return true;
    }
    return false;
}

struct cursor {
    struct running r;
    struct statement st;
    struct chdb_result *stream;
    unsigned header_lines;
    bool is_first;
    /* Arguments of the step that runs on the deep stack. */
    struct buf *out;
    struct outcome *ret;
};

static void open_deep(void *arg) {
    struct cursor *c = arg;
    const struct statement *st = c->r.st;
    if (!begin(&c->r, c->ret)) return;
    const struct chdb *chdb = &c->r.env->instance->chdb;
    c->stream = chdb->stream(*c->r.session, (const char *)st->query.data, st->query.len, st->format, strlen(st->format),
                             st->names, st->name_lens, st->values, st->value_lens, st->param_count);
    const char *error = c->stream ? chdb->result_error(c->stream) : "Code: 1001. DB::Exception: no result";
    if (error) {
        c->ret->code = exception_code(slice_str(error));
        c->ret->text = str_dup(error);
    }
    watch_idle(c->r.env->watch, &c->r.item, true);
}

struct cursor *cursor_open(struct statement_env *env, const struct statement *st, struct outcome *ret) {
    struct cursor *c = mem_alloc(sizeof(*c));
    c->st = *st;
    c->r = (struct running){.env = env, .st = &c->st};
    c->is_first = true;
    c->ret = ret;
    statement_can_stream(st->format, &c->header_lines);
    call_deep(open_deep, c);
    if (ret->code == 0) return c;
    cursor_close(c);
    return NULL;
}

static struct slice drop_lines(struct slice s, unsigned lines) {
    while (lines > 0 && s.len > 0) {
        const uint8_t *end = memchr(s.data, '\n', s.len);
        if (!end) return slice_make(s.data, 0);
        s = slice_make(end + 1, s.len - (size_t)(end + 1 - s.data));
        lines--;
    }
    return s;
}

static void fetch_piece(struct cursor *c) {
    const struct chdb *chdb = &c->r.env->instance->chdb;
    if (clock_boottime_ns() >= c->r.st->deadline_ns) {
        outcome_fail(c->ret, ENGINE_TIMEOUT_EXCEEDED, "Timeout exceeded: the answer was not taken in time");
        return;
    }
    /* A piece of nothing but the header is not the end. */
    for (bool again = true; again;) {
        struct chdb_result *piece = chdb->stream_fetch(*c->r.session, c->stream);
        again = false;
        if (take_outcome(&c->r, piece, c->ret)) {
            struct slice data = slice_make(chdb->result_data(piece), chdb->result_len(piece));
            bool at_end = data.len == 0;
            if (!c->is_first) data = drop_lines(data, c->header_lines);
            buf_append_slice(c->out, data);
            c->is_first = false;
            again = !at_end && data.len == 0;
        }
        if (piece) chdb->result_free(piece);
    }
}

static void next_deep(void *arg) {
    struct cursor *c = arg;
    watch_idle(c->r.env->watch, &c->r.item, false);
    fetch_piece(c);
    watch_idle(c->r.env->watch, &c->r.item, true);
}

void cursor_next(struct cursor *c, struct buf *out, struct outcome *ret) {
    buf_clear(out);
    c->out = out;
    c->ret = ret;
    call_deep(next_deep, c);
    if (is_err(buf_check(out))) outcome_fail(ret, ENGINE_RESULT_TOO_LARGE, "A piece of the result is too large");
}

void cursor_close(struct cursor *c) {
    if (!c) return;
    if (c->r.session) {
        const struct chdb *chdb = &c->r.env->instance->chdb;
        watch_idle(c->r.env->watch, &c->r.item, false);
        if (c->stream) {
            chdb->stream_cancel(*c->r.session, c->stream);
            chdb->result_free(c->stream);
        }
        end(&c->r);
    }
    mem_free(c);
}
