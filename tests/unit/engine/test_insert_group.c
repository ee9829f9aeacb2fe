/* Groups of inserts over a ClickHouse played by the test: a body with a row named BAD makes an INSERT fail. */
#include "testing.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "engine/client.h"
#include "engine/insert_group.h"

enum { SLOW_MS = 60 };

static atomic_int inserts, running, most_running, rows_in_store;
static atomic_bool store_is_down;
static void *const session_object = &(char){0};
static struct chdb_session *session = NULL;

struct fake_result {
    const char *error, *data;
    uint64_t rows;
};

struct fake_insert {
    int rows;
    bool is_bad;
};

static struct chdb_session **fake_connect(int argc, char **argv) {
    return &session;
}
static void fake_close(struct chdb_session **s) {}
static struct chdb_result *fake_query(struct chdb_session *s, const char *q, size_t n, const char *f, size_t fn,
                                      const char *const *names, const size_t *nl, const char *const *values,
                                      const size_t *vl, size_t count) {
    struct fake_result *r = mem_alloc(sizeof(*r));
    r->data = "_id\tString\ndoc\tJSON\n";
    return (struct chdb_result *)(void *)r;
}
static struct chdb_insert *fake_insert(struct chdb_session *s, const char *q, size_t n, const char *f, size_t fn) {
    int now = atomic_fetch_add(&running, 1) + 1;
    if (now > atomic_load(&most_running)) atomic_store(&most_running, now);
    atomic_fetch_add(&inserts, 1);
    clock_sleep_ms(SLOW_MS);
    return mem_alloc(sizeof(struct fake_insert));
}
static int fake_append(struct chdb_insert *i, const void *data, size_t len) {
    struct fake_insert *f = (struct fake_insert *)(void *)i;
    if (memmem(data, len, "BAD", 3)) f->is_bad = true;
    for (size_t at = 0; at < len; at += 1u + ((const uint8_t *)data)[at]) {
        f->rows++;
    }
    return 0;
}
static struct chdb_result *fake_done(struct chdb_insert *i) {
    struct fake_insert *f = (struct fake_insert *)(void *)i;
    struct fake_result *r = mem_alloc(sizeof(*r));
    if (atomic_load(&store_is_down))
        r->error = "Code: 499. DB::Exception: refused";
    else if (f->is_bad)
        r->error = "Code: 117. DB::Exception: bad data";
    else
        atomic_fetch_add(&rows_in_store, f->rows);
    r->rows = (uint64_t)f->rows;
    atomic_fetch_sub(&running, 1);
    return (struct chdb_result *)(void *)r;
}
static const char *fake_insert_error(struct chdb_insert *i) {
    return NULL;
}
static void fake_insert_free(struct chdb_insert *i) {
    mem_free(i);
}
static const char *fake_error(struct chdb_result *r) {
    return ((struct fake_result *)(void *)r)->error;
}
static char *fake_data(struct chdb_result *r) {
    return (char *)(uintptr_t)((struct fake_result *)(void *)r)->data;
}
static size_t fake_len(struct chdb_result *r) {
    return strlen(((struct fake_result *)(void *)r)->data);
}
static double fake_elapsed(struct chdb_result *r) {
    return 0;
}
static uint64_t fake_zero(struct chdb_result *r) {
    return 0;
}
static uint64_t fake_rows(struct chdb_result *r) {
    return ((struct fake_result *)(void *)r)->rows;
}
static void fake_free(struct chdb_result *r) {
    mem_free(r);
}

static struct instance instance;
static struct statement_env env;
static struct insert_groups *groups;

static int set_up(void **state) {
    session = session_object;
    instance = (struct instance){.chdb = {.connect = fake_connect,
                                          .close = fake_close,
                                          .query = fake_query,
                                          .insert = fake_insert,
                                          .insert_append = fake_append,
                                          .insert_done = fake_done,
                                          .insert_error = fake_insert_error,
                                          .insert_free = fake_insert_free,
                                          .result_error = fake_error,
                                          .result_data = fake_data,
                                          .result_len = fake_len,
                                          .result_elapsed_s = fake_elapsed,
                                          .result_rows_read = fake_zero,
                                          .result_bytes_read = fake_zero,
                                          .result_rows_written = fake_rows,
                                          .result_free = fake_free}};
    pthread_mutex_init(&instance.connecting, NULL);
    env.instance = &instance;
    if (!env.watch && is_err(watch_start(&instance, -1, 0, &env.watch))) return 1;
    inserts = running = most_running = rows_in_store = 0;
    store_is_down = false;
    return groups || is_ok(insert_groups_new(&env, &groups)) ? 0 : 1;
}

struct caller {
    pthread_t thread;
    struct writer_sql sql;
    struct buf body;
    uint64_t rows;
    int64_t timeout_ms;
    struct outcome outcome;
};

static void *call(void *arg) {
    struct caller *c = arg;
    insert_groups_insert(groups, &c->sql, buf_slice(&c->body), c->rows, clock_boottime_ns() + c->timeout_ms * NS_PER_MS,
                         &c->outcome);
    return NULL;
}

static void caller_init(struct caller *c, const char *table, const char *id, uint64_t rows) {
    *c = (struct caller){.rows = rows, .timeout_ms = 10000};
    AUTO_FREE char *sql = str_format("INSERT INTO %s (_id) FORMAT RowBinary", table);
    ASSERT_OK(writer_sql_parse(slice_str(sql), &c->sql));
    buf_init(&c->body, 4096);
    rowbinary_string(&c->body, slice_str(id));
}

static void caller_done(struct caller *c) {
    writer_sql_done(&c->sql);
    buf_done(&c->body);
    outcome_done(&c->outcome);
}

static void run_all(struct caller *callers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call, &callers[i]), 0);
    }
    for (size_t i = 0; i < count; i++) {
        pthread_join(callers[i].thread, NULL);
    }
}

static void test_what_waits_is_joined(void **state) {
    enum { N = 40 };
    struct caller callers[N];
    for (int i = 0; i < N; i++) {
        caller_init(&callers[i], "w.a", "row", 1);
    }
    run_all(callers, N);
    for (int i = 0; i < N; i++) {
        assert_int_equal(callers[i].outcome.code, 0);
        assert_int_equal(callers[i].outcome.rows_written, 1);
        caller_done(&callers[i]);
    }
    assert_int_equal(most_running, 1);
    assert_true(inserts < N / 3);
    assert_int_equal(rows_in_store, N);
}

static void test_the_bad_one_fails_alone(void **state) {
    enum { N = 12 };
    struct caller callers[N];
    for (int i = 0; i < N; i++) {
        caller_init(&callers[i], "w.b", i == 5 ? "BAD" : "good", 1);
    }
    run_all(callers, N);
    for (int i = 0; i < N; i++) {
        assert_int_equal(callers[i].outcome.code, i == 5 ? 117 : 0);
        assert_int_equal(callers[i].outcome.rows_written, i == 5 ? 0 : 1);
        caller_done(&callers[i]);
    }
    assert_int_equal(rows_in_store, N - 1);
}

static void test_a_store_that_refuses_fails_all_at_once(void **state) {
    enum { N = 8 };
    struct caller callers[N];
    store_is_down = true;
    for (int i = 0; i < N; i++) {
        caller_init(&callers[i], "w.c", "row", 1);
    }
    run_all(callers, N);
    for (int i = 0; i < N; i++) {
        assert_int_equal(callers[i].outcome.code, ENGINE_S3_ERROR);
        caller_done(&callers[i]);
    }
    assert_true(inserts <= 3);
}

static void test_bodies_are_measured(void **state) {
    struct caller c;
    caller_init(&c, "w.d", "row", 2);
    run_all(&c, 1);
    assert_int_equal(c.outcome.code, 33);
    caller_done(&c);
    caller_init(&c, "w.d", "row", 1);
    c.body.len--;
    run_all(&c, 1);
    assert_int_equal(c.outcome.code, 33);
    caller_done(&c);
    assert_int_equal(inserts, 0);
}

static void test_tables_do_not_wait_for_each_other(void **state) {
    struct caller callers[2];
    caller_init(&callers[0], "w.e", "row", 1);
    caller_init(&callers[1], "w.f", "row", 1);
    run_all(callers, 2);
    assert_int_equal(most_running, 2);
    caller_done(&callers[0]);
    caller_done(&callers[1]);
}

static void test_a_held_table_takes_no_insert(void **state) {
    int64_t soon = clock_boottime_ns() + NS_PER_S;
    assert_true(insert_groups_hold(groups, "w.g", soon));
    assert_false(insert_groups_hold(groups, "w.g", clock_boottime_ns() + 20 * NS_PER_MS));
    struct caller c;
    caller_init(&c, "w.g", "row", 1);
    c.timeout_ms = 50;
    run_all(&c, 1);
    assert_int_equal(c.outcome.code, ENGINE_TIMEOUT_EXCEEDED);
    assert_int_equal(inserts, 0);
    caller_done(&c);
    insert_groups_release(groups, "w.g");
    caller_init(&c, "w.g", "row", 1);
    run_all(&c, 1);
    assert_int_equal(c.outcome.code, 0);
    caller_done(&c);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(test_what_waits_is_joined, set_up),
    cmocka_unit_test_setup(test_the_bad_one_fails_alone, set_up),
    cmocka_unit_test_setup(test_a_store_that_refuses_fails_all_at_once, set_up),
    cmocka_unit_test_setup(test_bodies_are_measured, set_up),
    cmocka_unit_test_setup(test_tables_do_not_wait_for_each_other, set_up),
    cmocka_unit_test_setup(test_a_held_table_takes_no_insert, set_up),
};
TEST_MAIN(tests)
