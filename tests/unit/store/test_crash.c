/* A child writes, and is killed with SIGKILL somewhere; whatever it had acknowledged must be there, whole; whatever it
 * had not must be there whole or not at all. Then no room on the device. LOCKSET_CRASH_SECONDS: how long (5). */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "fixture.h"

enum { KEYS = 6 };

/* What the child reports through a pipe before and after each operation. */
struct step {
    uint32_t key, seed, is_delete, is_done;
    uint64_t size;
};

/* For every key: the last state that was acknowledged, and what was under way when the child died. */
struct expected {
    bool exists, has_pending;
    struct step current, pending;
};

static size_t size_of(unsigned seed) {
    static const size_t sizes[] = {0, 10, 70000, 65536, 200000, 1000};
    return sizes[seed % ARRAY_LEN(sizes)];
}

static void tell(int fd, struct step *s, bool is_done) {
    s->is_done = is_done;
    if (write(fd, s, sizeof *s) != sizeof *s) _exit(3);
}

static struct result put_multipart(struct store *s, const char *key, size_t n, unsigned seed) {
    char id[STORE_UPLOAD_ID_BYTES];
    TRY(store_upload_begin(s, &(struct store_commit){.key = key}, id));
    struct store_part parts[2];
    for (unsigned i = 0; i < 2; i++) {
        size_t from = i ? n / 2 : 0, len = i ? n - n / 2 : n / 2;
        AUTO(store_writer_free_auto) struct store_writer *w = NULL;
        AUTO_FREE uint8_t *data = mem_alloc(len);
        fill(data, len, seed, from);
        TRY(store_part_new(s, id, key, i + 1, &w));
        TRY(store_writer_append(w, slice_make(data, len)));
        struct store_written written;
        TRY(store_part_commit(w, NULL, 0, &written));
        parts[i] = (struct store_part){.number = i + 1, .etag = written.etag};
    }
    enum store_complete_problem problem;
    struct store_complete c = {.upload_id = id, .parts = parts, .part_count = 2};
    return store_upload_complete(s, &c, &(struct store_commit){.key = key}, &problem, &(struct store_written){0});
}

static struct result put_copied(struct store *s, const char *key, size_t n, unsigned seed) {
    TRY(put(s, "scratch/x", n, seed, NULL));
    TRY(store_copy(s, &(struct store_copy){.from = "scratch/x"}, &(struct store_commit){.key = key},
                   &(struct store_written){0}));
    return store_delete(s, "scratch/x", &(struct store_condition){0}, 0, &(bool){0});
}

static void key_name(unsigned number, char *to) {
    snprintf(to, 64, number % 2 ? "folder%u/sub/key" : "key%u", number);
}

static void child(const struct fixture *f, int fd, unsigned seed) {
    struct lease *lease = fixture_lease();
    struct store *s;
    struct store_options options = {.dir = f->dir, .bucket = "lockset", .lease = lease};
    if (is_err(store_open(&options, &s))) _exit(2);
    for (;; seed++) {
        struct step step = {.key = seed * 7 % KEYS, .seed = seed, .size = size_of(seed), .is_delete = seed % 5 == 4};
        char key[64];
        key_name(step.key, key);
        tell(fd, &step, false);
        struct result r;
        if (step.is_delete)
            r = store_delete(s, key, &(struct store_condition){0}, 0, &(bool){0});
        else if (seed % 7 == 3)
            r = put_multipart(s, key, step.size, seed);
        else if (seed % 7 == 5)
            r = put_copied(s, key, step.size, seed);
        else
            r = put(s, key, step.size, seed, NULL);
        if (is_err(r)) _exit(4);
        tell(fd, &step, true);
    }
}

static bool is_absent(struct store *s, const char *key) {
    struct store_info info = {0};
    struct result r = store_head(s, key, &info);
    store_info_done(&info);
    return r.code == ERR_NOT_FOUND;
}

static bool content_is(struct store *s, const char *key, const struct step *step) {
    struct store_info info;
    if (is_err(store_head(s, key, &info))) return false;
    bool right_size = info.size == step->size;
    store_info_done(&info);
    if (!right_size) return false;
    AUTO(store_reader_free_auto) struct store_reader *r = NULL;
    ASSERT_OK(store_reader_new(s, key, &r));
    AUTO_FREE uint8_t *got = mem_alloc(step->size + 1);
    AUTO_FREE uint8_t *wanted = mem_alloc(step->size + 1);
    size_t n;
    ASSERT_OK(store_reader_read(r, 0, got, step->size, &n));
    fill(wanted, step->size, step->seed, 0);
    return n == step->size && memcmp(got, wanted, n) == 0;
}

static void check(struct store *s, struct expected *expected) {
    for (unsigned i = 0; i < KEYS; i++) {
        struct expected *e = &expected[i];
        char key[64];
        key_name(i, key);
        bool is_old = e->exists ? content_is(s, key, &e->current) : is_absent(s, key);
        if (!is_old && e->has_pending) {
            bool is_new = e->pending.is_delete ? is_absent(s, key) : content_is(s, key, &e->pending);
            if (is_new) {
                e->exists = !e->pending.is_delete;
                e->current = e->pending;
                is_old = true;
            }
        }
        if (!is_old) fail_msg("%s is neither what was acknowledged nor what was under way", key);
        e->has_pending = false;
    }
}

static void follow(int fd, struct expected *expected, unsigned *acknowledged, unsigned *seed) {
    struct step step;
    while (read(fd, &step, sizeof step) == sizeof step) {
        struct expected *e = &expected[step.key];
        *seed = step.seed + 1;
        if (!step.is_done) {
            e->pending = step;
            e->has_pending = true;
            continue;
        }
        (*acknowledged)++;
        e->current = step;
        e->exists = !step.is_delete;
        e->has_pending = false;
    }
}

static void test_killed(void **state) {
    struct fixture f;
    fixture_init(&f);
    fixture_close(&f);
    const char *text = getenv("LOCKSET_CRASH_SECONDS");
    int64_t end = clock_boottime_ns() + (text ? strtol(text, NULL, 10) : 5) * NS_PER_S;
    struct expected expected[KEYS] = {0};
    unsigned kills = 0, acknowledged = 0, seed = 1;
    srandom(3);
    while (clock_boottime_ns() < end) {
        int fds[2];
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        pid_t pid = fork();
        if (pid == 0) {
            close(fds[0]);
            child(&f, fds[1], seed);
        }
        close(fds[1]);
        usleep((useconds_t)(random() % 60000));
        kill(pid, SIGKILL);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status)); /* else it met an error by itself */
        follow(fds[0], expected, &acknowledged, &seed);
        close(fds[0]);
        kills++;
        fixture_reopen(&f);
        check(f.store, expected);
        fixture_close(&f);
    }
    print_message("%u kills, %u acknowledged operations\n", kills, acknowledged);
    assert_true(kills > 5 && acknowledged > 20);
    /* Nothing is left but the files of what exists. */
    fixture_reopen(&f);
    for (unsigned i = 0; i < KEYS; i++) {
        char key[64];
        key_name(i, key);
        ASSERT_OK(store_delete(f.store, key, &(struct store_condition){0}, 0, &(bool){0}));
    }
    ASSERT_OK(store_delete(f.store, "scratch/x", &(struct store_condition){0}, 0, &(bool){0}));
    struct store_upload_list uploads;
    ASSERT_OK(store_upload_list(f.store, "", NULL, NULL, 1000, &uploads));
    for (size_t i = 0; i < uploads.count; i++)
        ASSERT_OK(store_upload_abort(f.store, uploads.uploads[i].id, uploads.uploads[i].key, 0));
    store_upload_list_done(&uploads);
    assert_int_equal(paths_count(f.dir), 1);
    fixture_done(&f);
}

/* A limit on file sizes stands in for a full device: writes fail in the middle. */
static void test_no_room(void **state) {
    struct fixture f;
    fixture_init(&f);
    ASSERT_OK(put(f.store, "k", 100000, 1, NULL));
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    const rlim_t limits[] = {0, 100, 50000, 70000, 150000};
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        small = (struct rlimit){limits[i], old.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        struct result r = put(f.store, "k", 200000, 2, NULL);
        struct result in_new_folder = put(f.store, "new/folder/k", 200000, 2, NULL);
        char id[STORE_UPLOAD_ID_BYTES];
        struct result begun = store_upload_begin(f.store, &(struct store_commit){.key = "u"}, id);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_int_equal(r.code, ERR_IO);
        assert_int_equal(in_new_folder.code, ERR_IO);
        if (limits[i] <= 100)
            assert_int_equal(begun.code, ERR_IO);
        else
            ASSERT_OK(store_upload_abort(f.store, id, "u", 0));
        assert_content(f.store, "k", 100000, 1);
        ASSERT_LIST(f.store, "", "", "", 9, "k");
        assert_int_equal(paths_count(f.dir), 3); /* lock, record, body */
    }
    fixture_done(&f);
}

static uint64_t resident_bytes(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long size, resident;
    assert_int_equal(fscanf(file, "%lu %lu", &size, &resident), 2);
    fclose(file);
    return (uint64_t)resident * 4096;
}

/* A large object passes through bounded memory. LOCKSET_LARGE_MIB: its size (256). */
static void test_large(void **state) {
    struct fixture f;
    fixture_init(&f);
    const char *text = getenv("LOCKSET_LARGE_MIB");
    uint64_t size = (uint64_t)(text ? strtol(text, NULL, 10) : 256) << 20;
    enum { PIECE = 1 << 20 };
    AUTO_FREE uint8_t *piece = mem_alloc(PIECE);
    AUTO_FREE uint8_t *wanted = mem_alloc(PIECE);
    fill(wanted, PIECE, 1, 0);
    uint64_t before = resident_bytes();
    int64_t t0 = clock_boottime_ns();
    AUTO(store_writer_free_auto) struct store_writer *w = NULL;
    ASSERT_OK(store_writer_new(f.store, &w));
    for (uint64_t at = 0; at < size; at += PIECE)
        ASSERT_OK(store_writer_append(w, slice_make(wanted, PIECE)));
    ASSERT_OK(store_writer_commit(w, &(struct store_commit){.key = "large"}, &(struct store_written){0}));
    w = store_writer_free(w);
    int64_t t1 = clock_boottime_ns();
    AUTO(store_reader_free_auto) struct store_reader *r = NULL;
    ASSERT_OK(store_reader_new(f.store, "large", &r));
    for (uint64_t at = 0; at < size; at += PIECE) {
        size_t n;
        ASSERT_OK(store_reader_read(r, at, piece, PIECE, &n));
        assert_int_equal(n, PIECE);
        assert_memory_equal(piece, wanted, PIECE);
    }
    int64_t t2 = clock_boottime_ns();
    r = store_reader_free(r);
    uint64_t grown = resident_bytes() - before;
    print_message("%llu MiB written in %lld ms, read in %lld ms, %llu KiB more memory\n",
                  (unsigned long long)(size >> 20), (long long)((t1 - t0) / NS_PER_MS),
                  (long long)((t2 - t1) / NS_PER_MS), (unsigned long long)(grown >> 10));
    assert_true(grown < 16 << 20);
    fixture_done(&f);
}

int main(void) {
    if (is_err(secret_start(1 << 20, true))) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
