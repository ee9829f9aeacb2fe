/* What put acknowledges is on the disk: every name on the way to the object was made before a sync of its folder began
 * that has ended well. Watched at the system calls, with threads that make, share and remove folders. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fixture.h"

enum { THREADS = 8, ROUNDS = 40, NAMES_MAX = 65536 };

/* A folder's name in its parent, made at a time. Times are counted, not measured. */
struct made {
    ino_t folder, parent;
    uint64_t time;
};

struct synced {
    ino_t folder;
    uint64_t time; /* at which the last good sync began */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t now;
static struct made made[NAMES_MAX];
static struct synced synced[NAMES_MAX];
static size_t made_count, synced_count, folder_syncs;
static bool folders_fail;

/* Where this thread's last record went. */
static _Thread_local ino_t renamed_into;
static _Thread_local uint64_t renamed_at;

int __real_fsync(int fd);
int __real_mkdirat(int fd, const char *name, mode_t mode);
int __real_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __wrap_fsync(int fd);
int __wrap_mkdirat(int fd, const char *name, mode_t mode);
int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to);

static struct synced *synced_of(ino_t folder) {
    for (size_t i = 0; i < synced_count; i++)
        if (synced[i].folder == folder) return &synced[i];
    return NULL;
}

int __wrap_fsync(int fd) {
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISDIR(st.st_mode)) return __real_fsync(fd);
    pthread_mutex_lock(&lock);
    uint64_t begun = ++now;
    bool fails = folders_fail;
    folder_syncs++;
    pthread_mutex_unlock(&lock);
    if (fails) {
        errno = EIO;
        return -1;
    }
    int r = __real_fsync(fd);
    pthread_mutex_lock(&lock);
    struct synced *s = synced_of(st.st_ino);
    if (!s && synced_count < NAMES_MAX) {
        s = &synced[synced_count++];
        *s = (struct synced){.folder = st.st_ino};
    }
    if (r == 0 && s && s->time < begun) s->time = begun;
    pthread_mutex_unlock(&lock);
    return r;
}

int __wrap_mkdirat(int fd, const char *name, mode_t mode) {
    struct stat parent, child;
    pthread_mutex_lock(&lock);
    int r = __real_mkdirat(fd, name, mode);
    int error = errno;
    if (r == 0 && fstat(fd, &parent) == 0 && fstatat(fd, name, &child, AT_SYMLINK_NOFOLLOW) == 0 &&
        made_count < NAMES_MAX)
        made[made_count++] = (struct made){child.st_ino, parent.st_ino, ++now};
    pthread_mutex_unlock(&lock);
    errno = error;
    return r;
}

int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to) {
    struct stat st;
    pthread_mutex_lock(&lock);
    int r = __real_renameat(from_fd, from, to_fd, to);
    int error = errno;
    if (r == 0 && fstat(to_fd, &st) == 0) {
        renamed_into = st.st_ino;
        renamed_at = ++now;
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return r;
}

/* With the lock held. The latest of that inode: numbers are used again. */
static const struct made *made_of(ino_t folder) {
    for (size_t i = made_count; i-- > 0;)
        if (made[i].folder == folder) return &made[i];
    return NULL;
}

/* From the record that this thread has just put up to the store's own folder. */
static bool is_durable(void) {
    pthread_mutex_lock(&lock);
    ino_t folder = renamed_into;
    uint64_t time = renamed_at;
    bool good = true;
    for (const struct made *m;; folder = m->parent, time = m->time) {
        const struct synced *s = synced_of(folder);
        good = good && s && s->time > time;
        m = made_of(folder);
        if (!m || !good) break;
    }
    pthread_mutex_unlock(&lock);
    return good;
}

static struct fixture fixture;
static atomic_uint refused, not_durable, odd;
static pthread_barrier_t barrier;

static void forget(void) {
    made_count = synced_count = folder_syncs = 0;
    refused = not_durable = odd = 0;
    folders_fail = false;
}

struct worker {
    unsigned number;
    pthread_t thread;
};

static void run(void *(*body)(void *)) {
    struct worker workers[THREADS];
    assert_int_equal(pthread_barrier_init(&barrier, NULL, THREADS), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i].number = i;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, body, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    pthread_barrier_destroy(&barrier);
}

/* Trees of three steps whose upper ones are shared by some, by others, by all, and vanish with their last object. */
static void *put_and_delete(void *arg) {
    const struct worker *w = arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        AUTO_FREE char *key = str_format("a%u/b%u/c%u/%u", i % 2, (i + w->number) % 3, w->number % 2, w->number);
        if (is_err(put(fixture.store, key, 10, i, NULL)))
            odd++;
        else if (!is_durable())
            not_durable++;
        if (i % 4 != w->number % 4 &&
            is_err(store_delete(fixture.store, key, &(struct store_condition){0}, 0, &(bool){0})))
            odd++;
    }
    return NULL;
}

static void test_acknowledged_is_durable(void **state) {
    forget();
    fixture_init(&fixture);
    run(put_and_delete);
    assert_int_equal(odd, 0);
    assert_int_equal(not_durable, 0);
    assert_true(made_count < NAMES_MAX && synced_count < NAMES_MAX);
    fixture_done(&fixture);
}

/* As ClickHouse writes a part: many files at once into one new folder. */
static void *put_together(void *arg) {
    const struct worker *w = arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        AUTO_FREE char *key = str_format("table/part%u/%u", i, w->number);
        pthread_barrier_wait(&barrier);
        if (is_err(put(fixture.store, key, 10, i, NULL)))
            odd++;
        else if (!is_durable())
            not_durable++;
    }
    return NULL;
}

static void test_syncs_are_shared(void **state) {
    forget();
    fixture_init(&fixture);
    run(put_together);
    assert_int_equal(odd, 0);
    assert_int_equal(not_durable, 0);
    /* One each, and another for the folder above, would be twice as many. */
    assert_true(folder_syncs < 2 * THREADS * ROUNDS);
    fixture_done(&fixture);
}

/* A sync that fails, fails for all who waited for it; none of their objects is there. */
static void *put_in_vain(void *arg) {
    const struct worker *w = arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        AUTO_FREE char *key = str_format("table/part%u/%u", i % 3, w->number);
        pthread_barrier_wait(&barrier);
        struct result r = put(fixture.store, key, 10, i, NULL);
        if (r.code == ERR_IO) refused++;
        struct store_info info = {0};
        if (store_head(fixture.store, key, &info).code != ERR_NOT_FOUND) odd++;
        store_info_done(&info);
    }
    return NULL;
}

static void test_a_failed_sync_fails_all(void **state) {
    forget();
    fixture_init(&fixture);
    folders_fail = true;
    run(put_in_vain);
    assert_int_equal(refused, THREADS * ROUNDS);
    assert_int_equal(odd, 0);
    folders_fail = false;
    ASSERT_OK(put(fixture.store, "table/part0/0", 10, 1, NULL));
    assert_true(is_durable());
    assert_content(fixture.store, "table/part0/0", 10, 1);
    fixture_done(&fixture);
}

int main(void) {
    if (is_err(secret_start(1 << 20, true))) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_acknowledged_is_durable),
        cmocka_unit_test(test_syncs_are_shared),
        cmocka_unit_test(test_a_failed_sync_fails_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
