#include "engine/insert_group.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "engine/client.h"
#include "engine/rowbinary.h"

enum { CODE_CANNOT_READ_ALL_DATA = 33, MAX_TYPES_BYTES = 1 << 20 };

/* One body and its caller, who waits. Lives on the caller's stack. */
struct member {
    const struct writer_sql *sql;
    struct slice body;
    uint64_t rows;
    int64_t deadline_ns;
    struct outcome *outcome;
    bool is_joinable; /* measured: may be committed together with others */
    bool is_taken;    /* by the INSERT in flight */
    bool is_done;
    struct member *next;
};

/* The column list of an INSERT that was met, and how its values lie. Forgotten when the table changes. */
struct layout {
    char *insert;
    struct rowbinary_column columns[WRITER_MAX_COLUMNS];
    size_t count; /* 0: can't be measured */
    struct layout *next;
};

struct table {
    char *name;
    bool is_busy; /* an INSERT or a change runs */
    struct member *first, **last;
    struct layout *layouts;
    pthread_cond_t changed;
    struct table *next;
};

struct insert_groups {
    struct statement_env *env;
    pthread_mutex_t lock;
    struct table *tables;
};

struct result insert_groups_new(struct statement_env *env, struct insert_groups **ret) {
    struct insert_groups *g = mem_alloc(sizeof(*g));
    g->env = env;
    pthread_mutex_init(&g->lock, NULL);
    *ret = g;
    return OK;
}

/* Under the lock. Tables are few and never forgotten. */
static struct table *find_table(struct insert_groups *g, const char *name) {
    for (struct table *t = g->tables; t; t = t->next) {
        if (strcmp(t->name, name) == 0) return t;
    }
    struct table *t = mem_alloc(sizeof(*t));
    t->name = str_dup(name);
    t->last = &t->first;
    pthread_cond_init(&t->changed, NULL);
    t->next = g->tables;
    g->tables = t;
    return t;
}

/* Waits for a change, at most to the deadline, and at least a little. */
static void wait_for_change(struct insert_groups *g, struct table *t, int64_t deadline_ns) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    int64_t left = deadline_ns - clock_boottime_ns();
    if (left < NS_PER_MS) left = NS_PER_MS;
    if (left > NS_PER_S) left = NS_PER_S; /* CLOCK_REALTIME may step: look again */
    left += until.tv_nsec;
    until.tv_sec += left / NS_PER_S;
    until.tv_nsec = left % NS_PER_S;
    pthread_cond_timedwait(&t->changed, &g->lock, &until);
}

bool insert_groups_hold(struct insert_groups *g, const char *table, int64_t deadline_ns) {
    pthread_mutex_lock(&g->lock);
    struct table *t = find_table(g, table);
    while (t->is_busy && clock_boottime_ns() < deadline_ns) {
        wait_for_change(g, t, deadline_ns);
    }
    bool held = !t->is_busy;
    if (held) t->is_busy = true;
    pthread_mutex_unlock(&g->lock);
    return held;
}

void insert_groups_release(struct insert_groups *g, const char *table) {
    pthread_mutex_lock(&g->lock);
    struct table *t = find_table(g, table);
    t->is_busy = false;
    while (t->layouts) {
        struct layout *l = t->layouts;
        t->layouts = l->next;
        mem_free(l->insert);
        mem_free(l);
    }
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&g->lock);
}

static bool type_of(struct slice types, const char *column, struct slice *ret) {
    struct slice line, name;
    while (types.len > 0) {
        slice_cut(types, '\n', &line, &types);
        if (slice_cut(line, '\t', &name, ret) && slice_is(name, column)) return true;
    }
    return false;
}

/* Asks ClickHouse for the columns' types. A layout of no columns when something can't be measured. */
static void read_layout(struct insert_groups *g, const struct writer_sql *sql, int64_t deadline_ns, struct layout *l) {
    static const char query[] = "SELECT name, type FROM system.columns WHERE table = {t:String} AND database = "
                                "if({d:String} = '', currentDatabase(), {d:String})";
    static const char *const names[] = {"t", "d"};
    static const size_t name_lens[] = {1, 1};
    const char *values[] = {sql->table_part, sql->database_part ? sql->database_part : ""};
    size_t value_lens[] = {strlen(values[0]), strlen(values[1])};
    struct statement st = {.query = slice_make(query, sizeof(query) - 1),
                           .format = "TSVRaw",
                           .names = names,
                           .name_lens = name_lens,
                           .values = values,
                           .value_lens = value_lens,
                           .param_count = 2,
                           .deadline_ns = deadline_ns,
                           .client_fd = -1};
    BUF_AUTO(types, MAX_TYPES_BYTES);
    AUTO(outcome_done) struct outcome o = {0};
    statement_run(g->env, &st, &types, &o);
    struct slice type;
    for (size_t i = 0; o.code == 0 && i < sql->column_count; i++) {
        if (!type_of(buf_slice(&types), sql->columns[i], &type) || !rowbinary_column_of(type, &l->columns[i])) return;
    }
    if (o.code == 0) l->count = sql->column_count;
}

/* Copies the layout of this INSERT, read now if it hasn't been. False: not to be measured. */
static bool find_layout(struct insert_groups *g, const struct writer_sql *sql, int64_t deadline_ns,
                        struct layout *ret) {
    if (strcmp(sql->format, "RowBinary") != 0 || sql->column_count == 0) return false;
    pthread_mutex_lock(&g->lock);
    struct layout *l = find_table(g, sql->table)->layouts;
    while (l && strcmp(l->insert, sql->insert) != 0) {
        l = l->next;
    }
    if (l) *ret = *l;
    pthread_mutex_unlock(&g->lock);
    if (l) return ret->count > 0;
    l = mem_alloc(sizeof(*l));
    l->insert = str_dup(sql->insert);
    read_layout(g, sql, deadline_ns, l);
    *ret = *l;
    if (l->count == 0) { /* perhaps there is no such table yet: don't remember */
        mem_free(l->insert);
        mem_free(l);
        return false;
    }
    pthread_mutex_lock(&g->lock);
    struct table *t = find_table(g, sql->table);
    l->next = t->layouts;
    t->layouts = l;
    pthread_mutex_unlock(&g->lock);
    return true;
}

static bool measure(struct insert_groups *g, struct member *m) {
    struct layout layout;
    if (m->rows == UINT64_MAX || !find_layout(g, m->sql, m->deadline_ns, &layout)) return true;
    uint64_t rows = 0;
    if (is_err(rowbinary_count(m->body, layout.columns, layout.count, &rows))) {
        outcome_fail(m->outcome, CODE_CANNOT_READ_ALL_DATA, err_detail());
        return false;
    }
    if (rows != m->rows) {
        outcome_fail(m->outcome, CODE_CANNOT_READ_ALL_DATA, "The data has another number of rows than announced");
        return false;
    }
    m->is_joinable = true;
    return true;
}

/* Was it the data, so that others may fare better without it? Everything else fails all of them. */
static bool is_about_data(int code) {
    switch (code) {
    case ENGINE_TIMEOUT_EXCEEDED:
    case ENGINE_MEMORY_LIMIT:
    case ENGINE_QUERY_CANCELLED:
    case ENGINE_UNKNOWN_TABLE:
    case ENGINE_UNKNOWN_DATABASE:
    case ENGINE_S3_ERROR:
    case 210: /* NETWORK_ERROR */
    case 242: /* TABLE_IS_READ_ONLY */
    case 243: /* NOT_ENOUGH_SPACE */
    case 252: /* TOO_MANY_PARTS */
        return false;
    default:
        return true;
    }
}

static void write_members(struct insert_groups *g, struct member **members, size_t count) {
    AUTO_FREE struct slice *bodies = mem_alloc_array(count, sizeof(*bodies));
    struct statement st = {.query = slice_str(members[0]->sql->insert),
                           .format = members[0]->sql->format,
                           .deadline_ns = 0,
                           .client_fd = -1};
    uint64_t rows = 0;
    for (size_t i = 0; i < count; i++) {
        bodies[i] = members[i]->body;
        rows += members[i]->rows;
        if (members[i]->deadline_ns > st.deadline_ns) st.deadline_ns = members[i]->deadline_ns;
    }
    AUTO(outcome_done) struct outcome o = {0};
    statement_insert(g->env, &st, bodies, count, &o);
    if (o.code != 0 && count > 1 && is_about_data(o.code)) {
        write_members(g, members, count / 2);
        write_members(g, members + count / 2, count - count / 2);
        return;
    }
    if (o.code == 0 && members[0]->rows != UINT64_MAX && o.rows_written != rows)
        outcome_fail(&o, ENGINE_UNKNOWN_EXCEPTION, "ClickHouse wrote another number of rows than it was given");
    for (size_t i = 0; i < count; i++) {
        struct outcome *to = members[i]->outcome;
        to->code = o.code;
        to->text = str_dup(o.text);
        to->elapsed_ns = o.elapsed_ns;
        if (o.code == 0) to->rows_written = members[i]->rows == UINT64_MAX ? o.rows_written : members[i]->rows;
    }
}

/* Under the lock: takes the first waiting body, and those that can be committed with it, off the queue. */
static size_t take_group(struct table *t, struct member **ret) {
    size_t count = 0, bytes = 0;
    const struct member *lead = t->first;
    for (struct member **at = &t->first; *at && count < INSERT_GROUP_MAX_BODIES;) {
        struct member *m = *at;
        bool joins =
            m == lead || (lead->is_joinable && m->is_joinable && strcmp(m->sql->insert, lead->sql->insert) == 0 &&
                          bytes + m->body.len <= INSERT_GROUP_MAX_BYTES);
        if (!joins) {
            at = &m->next;
            continue;
        }
        *at = m->next;
        m->is_taken = true;
        bytes += m->body.len;
        ret[count++] = m;
    }
    t->last = &t->first;
    while (*t->last) {
        t->last = &(*t->last)->next;
    }
    return count;
}

static void leave_queue(struct table *t, struct member *m) {
    struct member **at = &t->first;
    while (*at != m) {
        at = &(*at)->next;
    }
    *at = m->next;
    if (t->last == &m->next) t->last = at;
}

void insert_groups_insert(struct insert_groups *g, const struct writer_sql *sql, struct slice body, uint64_t rows,
                          int64_t deadline_ns, struct outcome *ret) {
    struct member me = {.sql = sql, .body = body, .rows = rows, .deadline_ns = deadline_ns, .outcome = ret};
    if (!measure(g, &me)) return;
    pthread_mutex_lock(&g->lock);
    struct table *t = find_table(g, sql->table);
    *t->last = &me;
    t->last = &me.next;
    while (!me.is_done) {
        if (!me.is_taken && clock_boottime_ns() >= deadline_ns) {
            leave_queue(t, &me);
            outcome_fail(ret, ENGINE_TIMEOUT_EXCEEDED, "Timeout exceeded while waiting for earlier inserts");
            break;
        }
        if (t->is_busy || me.is_taken) {
            wait_for_change(g, t, deadline_ns);
            continue;
        }
        t->is_busy = true;
        struct member *group[INSERT_GROUP_MAX_BODIES];
        size_t count = take_group(t, group);
        pthread_mutex_unlock(&g->lock);
        if (count > 0) write_members(g, group, count);
        pthread_mutex_lock(&g->lock);
        for (size_t i = 0; i < count; i++) {
            group[i]->is_done = true;
        }
        t->is_busy = false;
        pthread_cond_broadcast(&t->changed);
    }
    pthread_mutex_unlock(&g->lock);
}
