/* What is particular to a store in S3: which objects there are, sharing, sweeping, and what becomes of every request
 * that fails. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "fixture.h"
#include "s3_double.h"

#define PREFIX "some/prefix/o1/"

#define AWAIT(condition)                                                                                               \
    do {                                                                                                               \
        int64_t end_ = clock_boottime_ns() + 20 * NS_PER_S;                                                            \
        while (!(condition) && clock_boottime_ns() < end_)                                                             \
            usleep(1000);                                                                                              \
        assert_true(condition);                                                                                        \
    } while (0)

/* With its sweep behind it, so that requests are those of the test. */
static void reopen(struct fixture *f) {
    unsigned before = s3_double_sweeps(f->s3);
    fixture_reopen(f);
    AWAIT(s3_double_sweeps(f->s3) > before);
}

static int setup(void **state) {
    struct fixture *f = mem_alloc(sizeof *f);
    fixture_init(f);
    AWAIT(s3_double_sweeps(f->s3) > 0);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture_done(*state);
    mem_free(*state);
    return 0;
}

static size_t count(const struct fixture *f, const char *folder) {
    AUTO_FREE char *prefix = str_format(PREFIX "%s/", folder);
    return s3_double_count(f->s3, prefix);
}

static void remove_key(struct fixture *f, const char *key) {
    bool existed = false;
    ASSERT_OK(store_delete(f->store, key, &(struct store_condition){0}, 0, &existed));
    assert_true(existed);
}

static struct result copy_to(struct fixture *f, const char *from, const char *to) {
    return store_copy(f->store, &(struct store_copy){.from = from}, &(struct store_commit){.key = to},
                      &(struct store_written){0});
}

/* One small object is one request and one object in the bucket; a body of many pieces is one object, too. */
static void test_layout(void **state) {
    struct fixture *f = *state;
    ASSERT_OK(put(f->store, "a/b/c", 10, 1, NULL));
    s3_double_plan(f->s3, &(struct s3_double_plan){0});
    ASSERT_OK(put(f->store, "a/b/d", 65536, 1, NULL));
    assert_int_equal(s3_double_requests(f->s3), 1);
    assert_int_equal(count(f, "names"), 2);
    assert_int_equal(count(f, "bodies"), 0);
    const size_t large = (17 << 20) + 5;
    ASSERT_OK(put(f->store, "a/large", large, 2, NULL));
    assert_int_equal(count(f, "bodies"), 1);
    assert_int_equal(s3_double_uploads(f->s3), 0);
    reopen(f);
    assert_content(f->store, "a/large", large, 2);
    /* Read in order it takes few requests; somewhere in the middle, few bytes. */
    AUTO(store_reader_free_auto) struct store_reader *r = NULL;
    ASSERT_OK(store_reader_new(f->store, "a/large", &r));
    s3_double_plan(f->s3, &(struct s3_double_plan){0});
    AUTO_FREE uint8_t *got = mem_alloc(131072);
    for (uint64_t at = 0; at < large;) {
        size_t n;
        ASSERT_OK(store_reader_read(r, at, got, 131072, &n));
        at += n;
    }
    assert_true(s3_double_requests(f->s3) <= 12);
    s3_double_plan(f->s3, &(struct s3_double_plan){0});
    size_t n;
    ASSERT_OK(store_reader_read(r, 9 << 20, got, 1000, &n));
    assert_int_equal(n, 1000);
    assert_true(s3_double_requests(f->s3) <= 2);
}

static void test_too_long(void **state) {
    struct fixture *f = *state;
    char key[STORE_KEY_MAX_BYTES + 1];
    memset(key, '/', STORE_KEY_MAX_BYTES);
    key[STORE_KEY_MAX_BYTES] = '\0';
    ASSERT_ERR(INVALID, put(f->store, key, 1, 1, NULL));
    memset(key, 'x', 400);
    key[400] = '\0';
    ASSERT_OK(put(f->store, key, 1, 1, NULL));
    reopen(f);
    assert_content(f->store, key, 1, 1);
    ASSERT_LIST(f->store, "xx", "", "", 10, key);
}

/* A body goes with the last object that has it, in whatever order they go, and whatever happens in between. */
static void test_sharing(void **state) {
    struct fixture *f = *state;
    const char *const keys[] = {"a", "b", "c"};
    for (unsigned order = 0; order < 6; order++) {
        ASSERT_OK(put(f->store, "a", 100000, order, NULL));
        ASSERT_OK(copy_to(f, "a", "b"));
        if (order % 2) reopen(f);
        ASSERT_OK(copy_to(f, "b", "c"));
        ASSERT_OK(copy_to(f, "c", "c"));
        AWAIT(count(f, "bodies") == 1 && count(f, "refs") == 3);
        unsigned left = 7;
        for (unsigned i = 0; i < 3; i++) {
            unsigned next = (order + i * (order < 3 ? 1 : 2)) % 3;
            remove_key(f, keys[next]);
            left &= ~(1U << next);
            if (order == 4) reopen(f);
            for (unsigned k = 0; k < 3; k++)
                if (left >> k & 1) assert_content(f->store, keys[k], 100000, order);
        }
        assert_files(f, 1);
    }
}

static struct result put_part(struct fixture *f, const char *id, unsigned number, size_t n, unsigned seed,
                              struct store_part *ret) {
    AUTO(store_writer_free_auto) struct store_writer *w = NULL;
    AUTO_FREE uint8_t *data = mem_alloc(n);
    fill(data, n, seed, 0);
    struct store_written written;
    TRY(store_part_new(f->store, id, "u", number, &w));
    TRY(store_writer_append(w, slice_make(data, n)));
    TRY(store_part_commit(w, NULL, 0, &written));
    *ret = (struct store_part){.number = number, .etag = written.etag};
    return OK;
}

static struct result complete(struct fixture *f, const char *id, const struct store_part *parts, size_t n) {
    enum store_complete_problem problem;
    return store_upload_complete(f->store, &(struct store_complete){.upload_id = id, .parts = parts, .part_count = n},
                                 &(struct store_commit){.key = "u"}, &problem, &(struct store_written){0});
}

/* The upload of an object that is there already (its removal failed): completed again, aborted, the object stays. */
static void test_completed_twice(void **state) {
    struct fixture *f = *state;
    for (int how = 0; how < 3; how++) {
        char id[STORE_UPLOAD_ID_BYTES];
        struct store_part parts[2];
        ASSERT_OK(store_upload_begin(f->store, &(struct store_commit){.key = "u"}, id));
        ASSERT_OK(put_part(f, id, 1, 70000, 3, &parts[0]));
        ASSERT_OK(put_part(f, id, 2, 100, 4, &parts[1]));               /* will not be in the object */
        ASSERT_ERR(NOT_FOUND, read_all(f->store, "u", &(uint64_t){0})); /* the level is loaded */
        s3_double_plan(f->s3, &(struct s3_double_plan){3, 1000000, S3_TROUBLE_UNREACHABLE, false});
        ASSERT_OK(complete(f, id, parts, 1)); /* record read, record put; nothing after that works */
        s3_double_plan(f->s3, &(struct s3_double_plan){0});
        reopen(f);
        assert_content(f->store, "u", 70000, 3);
        if (how == 0) ASSERT_OK(complete(f, id, parts, 1));
        if (how == 1) ASSERT_OK(store_upload_abort(f->store, id, "u", 0));
        if (how == 2) {
            remove_key(f, "u");
            reopen(f);
            ASSERT_ERR(INVALID, complete(f, id, parts, 1));
            ASSERT_OK(store_upload_abort(f->store, id, "u", 0));
        } else {
            assert_content(f->store, "u", 70000, 3);
            reopen(f);
            assert_content(f->store, "u", 70000, 3);
            remove_key(f, "u");
        }
        /* What stayed behind is swept when it is old. */
        fixture_close(f);
        s3_double_age(f->s3, 7200);
        reopen(f);
        assert_files(f, 1);
    }
}

/* Bodies and refs that nothing stands for go once they are old, and only if every name opens. */
static void test_sweep(void **state) {
    struct fixture *f = *state;
    ASSERT_OK(put(f->store, "stays", 100000, 1, NULL));
    ASSERT_OK(put(f->store, "x/from", 100000, 2, NULL));
    ASSERT_OK(copy_to(f, "x/from", "x/to"));
    char id[STORE_UPLOAD_ID_BYTES];
    struct store_part part;
    ASSERT_OK(store_upload_begin(f->store, &(struct store_commit){.key = "u"}, id));
    ASSERT_OK(put_part(f, id, 1, 70000, 3, &part));
    fixture_close(f);
    size_t whole = s3_double_count(f->s3, "");
    AUTO_FREE char *body = str_dup(s3_double_name(f->s3, PREFIX "bodies/", 0));
    s3_double_copy(f->s3, body, PREFIX "bodies/00/00112233445566778899aabbccddeeff");
    s3_double_copy(f->s3, body, PREFIX "refs/00112233445566778899aabbccddeeff/00112233445566778899aabbccddeeff");
    char *upload;
    ASSERT_OK(s3_store_upload_create(f->s3, PREFIX "bodies/00/00112233445566778899aabbccddeefa", &upload, NULL));
    mem_free(upload);
    /* Young: they stay. */
    reopen(f);
    fixture_close(f);
    assert_int_equal(s3_double_count(f->s3, ""), whole + 2);
    assert_int_equal(s3_double_uploads(f->s3), 1);
    /* Old, but a name is damaged: it may be repaired. */
    s3_double_age(f->s3, 7200);
    s3_double_copy(f->s3, body, PREFIX "names/damaged");
    reopen(f);
    AWAIT(s3_double_uploads(f->s3) == 0);
    assert_int_equal(s3_double_count(f->s3, ""), whole + 3);
    ASSERT_OK(s3_store_delete(f->s3, PREFIX "names/damaged", NULL, NULL));
    reopen(f);
    AWAIT(s3_double_count(f->s3, "") == whole);
    reopen(f);
    assert_content(f->store, "stays", 100000, 1);
    assert_content(f->store, "x/from", 100000, 2);
    assert_content(f->store, "x/to", 100000, 2);
    ASSERT_OK(complete(f, id, &part, 1));
    assert_content(f->store, "u", 70000, 3);
}

/* Whatever is changed in the bucket is noticed, or is the same as if nothing was. */
static void test_tampering(void **state) {
    struct fixture *f = *state;
    ASSERT_OK(put(f->store, "one", 70000, 1, NULL));
    ASSERT_OK(put(f->store, "two", 70000, 2, NULL));
    fixture_close(f);
    const char *const folders[] = {PREFIX "names/", PREFIX "bodies/"};
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        size_t *len;
        uint8_t *content = s3_double_content(f->s3, folders[i], 0, &len);
        size_t whole = *len;
        for (size_t at = 0; at < whole; at += at < 300 ? 7 : 997) {
            content[at] ^= 0x10;
            fixture_reopen(f);
            uint64_t n;
            struct result one = read_all(f->store, "one", &n), two = read_all(f->store, "two", &n);
            assert_true((one.code == ERR_CORRUPT) + (two.code == ERR_CORRUPT) == 1);
            assert_true(is_ok(one) + is_ok(two) == 1);
            fixture_close(f);
            content[at] ^= 0x10;
        }
        for (size_t cut = 1; cut < whole; cut += 1013) {
            *len = whole - cut;
            fixture_reopen(f);
            uint64_t n;
            struct result one = read_all(f->store, "one", &n), two = read_all(f->store, "two", &n);
            assert_true((one.code == ERR_CORRUPT) + (two.code == ERR_CORRUPT) == 1);
            fixture_close(f);
        }
        *len = whole;
    }
    /* One body in the other's place. */
    AUTO_FREE char *first = str_dup(s3_double_name(f->s3, PREFIX "bodies/", 0));
    AUTO_FREE char *second = str_dup(s3_double_name(f->s3, PREFIX "bodies/", 1));
    s3_double_copy(f->s3, first, second);
    fixture_reopen(f);
    uint64_t n;
    struct result one = read_all(f->store, "one", &n), two = read_all(f->store, "two", &n);
    assert_true((one.code == ERR_CORRUPT) + (two.code == ERR_CORRUPT) == 1);
}

/* A refused key is told to whoever wants to know. */
static void refused(void *arg, const struct s3_failure *why) {
    assert_int_equal(why->trouble, S3_TROUBLE_KEY_REFUSED);
    (*(unsigned *)arg)++;
}

static void test_key_refused(void **state) {
    struct fixture *f = *state;
    fixture_close(f);
    unsigned times = 0;
    struct store_s3 s3 = fixture_s3(f);
    s3.key_refused = refused;
    s3.arg = &times;
    ASSERT_OK(store_open(&(struct store_options){.dir = f->dir, .s3 = &s3, .bucket = "lockset", .lease = f->lease},
                         &f->store));
    ASSERT_OK(put(f->store, "k", 70000, 1, NULL));
    s3_double_plan(f->s3, &(struct s3_double_plan){1, 1000000, S3_TROUBLE_KEY_REFUSED, false});
    ASSERT_ERR(NO_LEASE, put(f->store, "k", 10, 2, NULL));
    assert_true(times >= 1);
    unsigned before = times;
    ASSERT_ERR(NO_LEASE, read_all(f->store, "k", &(uint64_t){0}));
    assert_true(times > before);
    s3_double_plan(f->s3, &(struct s3_double_plan){0});
    assert_content(f->store, "k", 70000, 1);
    const enum s3_trouble others[] = {S3_TROUBLE_ACCESS, S3_TROUBLE_NO_BUCKET, S3_TROUBLE_THROTTLED};
    before = times;
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        s3_double_plan(f->s3, &(struct s3_double_plan){1, 1000000, others[i], false});
        ASSERT_ERR(UNREACHABLE, put(f->store, "k", 10, 2, NULL));
        ASSERT_ERR(UNREACHABLE, read_all(f->store, "k", &(uint64_t){0}));
    }
    s3_double_plan(f->s3, &(struct s3_double_plan){S3_TROUBLE_NONE});
    assert_int_equal(times, before);
}

/* A store that says that it encrypts and does not: nothing is acknowledged, nothing stays. */
static void test_not_encrypted(void **state) {
    struct fixture *f = *state;
    const char *const told[] = {NULL, "arn:another", "arn:this"};
    for (size_t i = 0; i < ARRAY_LEN(told); i++) {
        fixture_close(f);
        struct store_s3 s3 = fixture_s3(f);
        s3.key_arn = "arn:this";
        s3_double_key(f->s3, told[i]);
        ASSERT_OK(store_open(&(struct store_options){.dir = f->dir, .s3 = &s3, .bucket = "lockset", .lease = f->lease},
                             &f->store));
        for (unsigned size = 10; size < 1000000; size = size * 7000 + 1) {
            struct result r = put(f->store, "k", size, 1, NULL);
            assert_int_equal(r.code, i < 2 ? ERR_IO : ERR_NONE);
        }
        if (i < 2) {
            ASSERT_ERR(NOT_FOUND, read_all(f->store, "k", &(uint64_t){0}));
            assert_files(f, 1);
        }
    }
    assert_content(f->store, "k", 70001, 1);
}

/* ---- Every request fails once ---- */

enum { KEYS = 3 };
static const char *const keys[KEYS] = {"f/a", "f/b", "g/c"};

/* What a key may have: bit n for version n, bit 31 for nothing. */
struct model {
    uint32_t may[KEYS];
};

static size_t size_of(unsigned version) {
    const size_t sizes[] = {10, 70000, 0, 9 << 20, 100000};
    return sizes[version % ARRAY_LEN(sizes)];
}

static void outcome(struct model *m, unsigned key, bool ok, uint32_t state) {
    m->may[key] = ok ? state : m->may[key] | state;
}

static uint32_t what_is_there(struct fixture *f, unsigned key, unsigned versions) {
    struct store_info info = {0};
    struct result r = store_head(f->store, keys[key], &info);
    if (r.code == ERR_NOT_FOUND) return 1U << 31;
    ASSERT_OK(r);
    size_t size = (size_t)info.size;
    const char *text = store_info_field(&info, "version");
    unsigned version = text ? (unsigned)strtoul(text, NULL, 10) : 0;
    store_info_done(&info);
    assert_true(version < versions);
    assert_int_equal(size, size_of(version));
    assert_content(f->store, keys[key], size, version);
    return 1U << version;
}

static struct result put_version(struct fixture *f, const char *key, unsigned version) {
    AUTO(store_writer_free_auto) struct store_writer *w = NULL;
    TRY(store_writer_new(f->store, &w));
    AUTO_FREE uint8_t *data = mem_alloc(size_of(version) + 1);
    fill(data, size_of(version), version, 0);
    TRY(store_writer_append(w, slice_make(data, size_of(version))));
    char text[16];
    snprintf(text, sizeof text, "%u", version);
    const struct store_field field = {"version", text};
    return store_writer_commit(w, &(struct store_commit){.key = key, .fields = &field, .field_count = 1},
                               &(struct store_written){0});
}

static struct result put_in_parts(struct fixture *f, const char *key, unsigned version) {
    char id[STORE_UPLOAD_ID_BYTES], text[16];
    snprintf(text, sizeof text, "%u", version);
    const struct store_field field = {"version", text};
    TRY(store_upload_begin(f->store, &(struct store_commit){.key = key, .fields = &field, .field_count = 1}, id));
    size_t size = size_of(version), half = size / 2;
    struct store_part parts[2];
    for (unsigned i = 0; i < 2; i++) {
        AUTO(store_writer_free_auto) struct store_writer *w = NULL;
        size_t n = i ? size - half : half;
        AUTO_FREE uint8_t *data = mem_alloc(n + 1);
        fill(data, n, version, i ? half : 0);
        TRY(store_part_new(f->store, id, key, i + 1, &w));
        TRY(store_writer_append(w, slice_make(data, n)));
        struct store_written written;
        TRY(store_part_commit(w, NULL, 0, &written));
        parts[i] = (struct store_part){.number = i + 1, .etag = written.etag};
    }
    enum store_complete_problem problem;
    return store_upload_complete(f->store, &(struct store_complete){.upload_id = id, .parts = parts, .part_count = 2},
                                 &(struct store_commit){.key = key}, &problem, &(struct store_written){0});
}

/* All kinds of writes once, each outcome noted. */
static unsigned run(struct fixture *f, struct model *m) {
    unsigned version = 0;
    for (int round = 0; round < 2; round++)
        for (unsigned i = 0; i < ARRAY_LEN(((struct model *)NULL)->may); i++, version++)
            outcome(m, i, is_ok(put_version(f, keys[i], version)), 1U << version);
    outcome(m, 0, is_ok(put_in_parts(f, keys[0], 4)), 1U << 4);
    uint32_t source = m->may[0];
    outcome(m, 1, is_ok(copy_to(f, keys[0], keys[1])), source);
    outcome(m, 0, is_ok(store_delete(f->store, keys[0], &(struct store_condition){0}, 0, &(bool){0})), 1U << 31);
    outcome(m, 2, is_ok(put_version(f, keys[2], 6)), 1U << 6);
    return 7;
}

static void check(struct fixture *f, struct model *m, unsigned versions, unsigned n) {
    for (unsigned i = 0; i < KEYS; i++) {
        uint32_t there = what_is_there(f, i, versions);
        if (!(there & m->may[i])) fail_msg("request %u: %s is %x, may be %x", n, keys[i], there, m->may[i]);
        m->may[i] = there;
    }
    struct store_list list;
    ASSERT_OK(store_list_page(f->store, &(struct store_list_query){.max = 10}, &list));
    size_t exist = 0;
    for (unsigned i = 0; i < KEYS; i++)
        exist += m->may[i] != 1U << 31;
    assert_int_equal(list.count, exist);
    store_list_done(&list);
}

/* From request n on, `count` of them fail, or all: then the process is gone. Nothing acknowledged is lost, nothing else
 * is there, and in the end nothing is left over. */
static bool fault(unsigned n, unsigned count, bool done_first) {
    struct fixture f;
    fixture_init(&f);
    struct model m;
    for (unsigned i = 0; i < KEYS; i++)
        m.may[i] = 1U << 31;
    s3_double_plan(f.s3, &(struct s3_double_plan){n, count, S3_TROUBLE_UNREACHABLE, done_first});
    unsigned versions = run(&f, &m);
    bool reached = s3_double_requests(f.s3) >= n;
    bool survives = count < 1000;
    s3_double_plan(f.s3, &(struct s3_double_plan){0});
    if (survives) check(&f, &m, versions, n);
    /* A process that is gone does not tidy up. */
    if (!survives) s3_double_plan(f.s3, &(struct s3_double_plan){1, 1000000, S3_TROUBLE_UNREACHABLE, false});
    fixture_close(&f);
    s3_double_plan(f.s3, &(struct s3_double_plan){0});
    fixture_reopen(&f);
    check(&f, &m, versions, n);
    for (unsigned i = 0; i < KEYS; i++)
        ASSERT_OK(store_delete(f.store, keys[i], &(struct store_condition){0}, 0, &(bool){0}));
    struct store_upload_list uploads;
    ASSERT_OK(store_upload_list(f.store, "", NULL, NULL, 100, &uploads));
    for (size_t i = 0; i < uploads.count; i++)
        ASSERT_OK(store_upload_abort(f.store, uploads.uploads[i].id, uploads.uploads[i].key, 0));
    store_upload_list_done(&uploads);
    fixture_close(&f);
    s3_double_age(f.s3, 7200);
    fixture_reopen(&f);
    assert_files(&f, 1);
    AWAIT(s3_double_uploads(f.s3) == 0);
    fixture_done(&f);
    return reached;
}

static void test_faults(void **state) {
    unsigned n = 1;
    while (fault(n, 1, false) && fault(n, 1, true))
        n++;
    assert_true(n > 30);
}

static void test_crashes(void **state) {
    unsigned n = 1;
    while (fault(n, 1000000, false) && fault(n, 1000000, true))
        n++;
    assert_true(n > 30);
}

int main(void) {
    char *arguments[] = {NULL, str_dup("--s3")};
    fixture_choose(2, arguments);
    if (is_err(secret_start(1 << 20, true))) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_layout, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_long, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sharing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_completed_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sweep, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tampering, setup, teardown),
        cmocka_unit_test_setup_teardown(test_key_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_encrypted, setup, teardown),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_crashes),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mem_free(arguments[1]);
    return failed;
}
