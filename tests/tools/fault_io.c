/* Loaded into a program with LD_PRELOAD, this counts what the program does to files below the folder FAULT_ROOT, and at
 * the call that a plan names, lets the disk fail or the machine die. The plan is a file of eight 64-bit numbers, named
 * by FAULT_PLAN and mapped, so that a test changes it while the program runs:
 *
 *     armed     0: nothing is counted
 *     mode      what happens: enum mode
 *     at        at which call, from 0; for BUDGET the bytes that still fit
 *     error     errno of a failure; for POWER, how much is lost: 0 everything that was not synced, else by chance from
 * this kinds     which calls count: a sum of enum kind counted   by this library: calls since the test set it to 0
 *     fired     by this library: the plan came true
 *
 * POWER keeps a journal of what was done to files and folders and not synced yet, and undoes it, as a disk may that
 * loses its power: unsynced files lose half of their content, names appear and disappear. */
#undef _FILE_OFFSET_BITS /* both names of each call are defined here */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum mode {
    MODE_FAIL = 1,  /* this call fails */
    MODE_FAIL_FROM, /* this one and all later ones */
    MODE_KILL,      /* SIGKILL before the call */
    MODE_TORN,      /* half of the write, then SIGKILL; other calls: SIGKILL afterwards */
    MODE_SHORT,     /* half of the write, then this and all later ones fail */
    MODE_POWER,     /* what was not synced is undone, then SIGKILL */
    MODE_BUDGET,    /* ENOSPC once so many bytes were written */
};

enum kind {
    KIND_CREATE = 1,
    KIND_WRITE = 2,
    KIND_SYNC = 4,
    KIND_RENAME = 8,
    KIND_LINK = 16,
    KIND_UNLINK = 32,
    KIND_MKDIR = 64,
    KIND_READ = 128,
    KIND_OPEN = 256,
};

struct plan {
    int64_t armed, mode, at, error, kinds, counted, fired;
};

static volatile struct plan *plan;
static const char *root;
static size_t root_len;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void open_plan(void) {
    const char *path = getenv("FAULT_PLAN");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    root = getenv("FAULT_ROOT");
    if (fd < 0 || !root) abort();
    root_len = strlen(root);
    void *at = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) abort();
    close(fd);
    plan = at;
}

/* ---- The journal ---- */

enum { JOURNAL_MAX = 4096, NAME_BYTES = 256 };

struct change {
    enum kind kind;
    bool is_dir;
    int dir, from_dir; /* descriptors of our own */
    ino_t inode;       /* of the folder whose sync keeps the change, or of the file that was written */
    char name[NAME_BYTES], from[NAME_BYTES];
};

static struct change journal[JOURNAL_MAX];
static unsigned journal_count, stash_count;

static int own_fd(int fd) {
    return fcntl(fd, F_DUPFD_CLOEXEC, 100);
}

static ino_t inode_of(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static struct change *note(enum kind kind, int dir, const char *name) {
    if (journal_count == JOURNAL_MAX) abort();
    struct change *c = &journal[journal_count++];
    *c = (struct change){.kind = kind, .dir = own_fd(dir), .from_dir = -1};
    if (c->dir < 0) abort();
    c->inode = inode_of(dir);
    snprintf(c->name, sizeof c->name, "%s", name);
    return c;
}

static void forget(unsigned i) {
    close(journal[i].dir);
    if (journal[i].from_dir >= 0) close(journal[i].from_dir);
    memmove(&journal[i], &journal[i + 1], (--journal_count - i) * sizeof journal[0]);
}

static void journal_synced(int fd) {
    ino_t inode = inode_of(fd);
    for (unsigned i = journal_count; i-- > 0;)
        if (journal[i].inode == inode) forget(i);
}

/* What is unlinked lives on beside the root until its folder is synced. */
static void stash(int dir, const char *name, bool is_dir) {
    char kept[NAME_BYTES];
    snprintf(kept, sizeof kept, "%s.stash-%d-%u", root, (int)getpid(), stash_count++);
    if (!is_dir && syscall(SYS_linkat, dir, name, AT_FDCWD, kept, 0) != 0) return; /* there is nothing to unlink */
    struct change *c = note(KIND_UNLINK, dir, name);
    c->is_dir = is_dir;
    snprintf(c->from, sizeof c->from, "%s", kept);
}

static void undo(const struct change *c) {
    struct stat st;
    switch (c->kind) {
    case KIND_CREATE:
    case KIND_LINK:
        syscall(SYS_unlinkat, c->dir, c->name, 0);
        break;
    case KIND_MKDIR:
        syscall(SYS_unlinkat, c->dir, c->name, AT_REMOVEDIR);
        break;
    case KIND_WRITE:
        if (fstat(c->dir, &st) == 0) syscall(SYS_ftruncate, c->dir, st.st_size / 2);
        break;
    case KIND_RENAME:
        syscall(SYS_renameat2, c->dir, c->name, c->from_dir, c->from, 0);
        break;
    case KIND_UNLINK:
        if (c->is_dir)
            syscall(SYS_mkdirat, c->dir, c->name, 0700);
        else
            syscall(SYS_linkat, AT_FDCWD, c->from, c->dir, c->name, 0);
        break;
    case KIND_SYNC:
    case KIND_READ:
    case KIND_OPEN:
        break;
    }
}

/* Each folder keeps what was done first and loses the rest; how much, chance decides for each. */
static void lose_power(uint64_t seed) {
    unsigned ranks[JOURNAL_MAX], totals[JOURNAL_MAX];
    for (unsigned i = 0; i < journal_count; i++) {
        ranks[i] = totals[i] = 0;
        for (unsigned k = 0; k < journal_count; k++) {
            if (journal[k].inode != journal[i].inode) continue;
            totals[i]++;
            if (k < i) ranks[i]++;
        }
    }
    for (unsigned i = journal_count; i-- > 0;) {
        uint64_t chance = (seed * 0x9E3779B97F4A7C15u) ^ (journal[i].inode * 0xD1B54A32D192ED03u);
        chance ^= chance >> 29;
        unsigned kept = seed == 0 ? 0 : (unsigned)(chance * 0xBF58476D1CE4E5B9u >> 33) % (totals[i] + 1);
        if (ranks[i] >= kept) undo(&journal[i]);
    }
}

/* ---- The plan ---- */

static bool below_root(const char *path) {
    return strncmp(path, root, root_len) == 0 && (path[root_len] == '/' || path[root_len] == '\0');
}

static bool is_ours(int fd, const char *path) {
    if (path && path[0] == '/') return below_root(path);
    char link[64], target[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, target, sizeof target - 1);
    if (n <= 0) return false;
    target[n] = '\0';
    return below_root(target);
}

static _Noreturn void die(void) {
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

enum verdict { GO, REFUSED, HALF, THEN_DIE };

/* With the lock held. */
static enum verdict judge(enum kind kind, size_t bytes) {
    if (plan->mode == MODE_BUDGET) {
        if (kind != KIND_WRITE) return GO;
        plan->at -= (int64_t)bytes;
        if (plan->at >= 0) return GO;
        plan->fired = 1;
        errno = ENOSPC;
        return REFUSED;
    }
    int64_t n = plan->counted++;
    bool is_it = n == plan->at, is_later = n > plan->at;
    if (is_it) plan->fired = 1;
    errno = (int)plan->error;
    switch ((enum mode)plan->mode) {
    case MODE_FAIL:
        return is_it ? REFUSED : GO;
    case MODE_FAIL_FROM:
        return is_it || is_later ? REFUSED : GO;
    case MODE_SHORT:
        return is_it && kind == KIND_WRITE ? HALF : is_it || is_later ? REFUSED : GO;
    case MODE_KILL:
        if (is_it) die();
        return GO;
    case MODE_TORN:
        return is_it ? THEN_DIE : GO;
    case MODE_POWER:
        if (is_it) {
            lose_power((uint64_t)plan->error);
            die();
        }
        return GO;
    case MODE_BUDGET:
        break;
    }
    return GO;
}

/* Is this call one that counts? Then the lock is held until leave(). */
static bool enter(enum kind kind, int fd, const char *path) {
    if (!plan || !plan->armed || !(plan->kinds & kind)) return false;
    int before = errno;
    bool is_one = is_ours(fd, path);
    errno = before;
    if (is_one) pthread_mutex_lock(&lock);
    return is_one;
}

static long leave(enum verdict verdict, long outcome) {
    if (verdict == THEN_DIE) die();
    int before = errno;
    pthread_mutex_unlock(&lock);
    errno = before;
    return outcome;
}

static bool keeps_journal(void) {
    return plan->mode == MODE_POWER;
}

/* ---- The calls ---- */

static int open_it(int dir, const char *path, int flags, unsigned mode) {
    enum kind kind = flags & O_CREAT ? KIND_CREATE : KIND_OPEN;
    if (!enter(kind, dir, path)) return (int)syscall(SYS_openat, dir, path, flags, mode);
    enum verdict verdict = judge(kind, 0);
    if (verdict == REFUSED) return (int)leave(verdict, -1);
    int fd = (int)syscall(SYS_openat, dir, path, flags, mode);
    if (fd >= 0 && kind == KIND_CREATE && keeps_journal() && path[0] != '/') note(KIND_CREATE, dir, path);
    return (int)leave(verdict, fd);
}

#define OPEN_MODE(flags)                                                                                               \
    ({                                                                                                                 \
        va_list args_;                                                                                                 \
        va_start(args_, flags);                                                                                        \
        unsigned mode_ = ((flags) & (O_CREAT | __O_TMPFILE)) ? va_arg(args_, unsigned) : 0;                            \
        va_end(args_);                                                                                                 \
        mode_;                                                                                                         \
    })

int open(const char *path, int flags, ...) {
    return open_it(AT_FDCWD, path, flags, OPEN_MODE(flags));
}

int open64(const char *path, int flags, ...) {
    return open_it(AT_FDCWD, path, flags, OPEN_MODE(flags));
}

int openat(int dir, const char *path, int flags, ...) {
    return open_it(dir, path, flags, OPEN_MODE(flags));
}

int openat64(int dir, const char *path, int flags, ...) {
    return open_it(dir, path, flags, OPEN_MODE(flags));
}

static ssize_t write_it(int number, int fd, const void *data, size_t size, off_t offset) {
    if (!enter(KIND_WRITE, fd, NULL)) return syscall(number, fd, data, size, offset);
    enum verdict verdict = judge(KIND_WRITE, size);
    if (verdict == REFUSED) return leave(verdict, -1);
    if (keeps_journal()) note(KIND_WRITE, fd, "");
    if (verdict != GO && size > 1) size /= 2;
    return leave(verdict, syscall(number, fd, data, size, offset));
}

ssize_t write(int fd, const void *data, size_t size) {
    return write_it(SYS_write, fd, data, size, 0);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) {
    return write_it(SYS_pwrite64, fd, data, size, offset);
}

static ssize_t read_it(int number, int fd, void *data, size_t size, off_t offset) {
    if (!enter(KIND_READ, fd, NULL)) return syscall(number, fd, data, size, offset);
    enum verdict verdict = judge(KIND_READ, size);
    if (verdict == REFUSED) return leave(verdict, -1);
    if (verdict == HALF && size > 1) size /= 2;
    return leave(verdict, syscall(number, fd, data, size, offset));
}

ssize_t read(int fd, void *data, size_t size) {
    return read_it(SYS_read, fd, data, size, 0);
}

ssize_t pread64(int fd, void *data, size_t size, off_t offset) {
    return read_it(SYS_pread64, fd, data, size, offset);
}

static int sync_it(int number, int fd) {
    if (!enter(KIND_SYNC, fd, NULL)) return (int)syscall(number, fd);
    enum verdict verdict = judge(KIND_SYNC, 0);
    if (verdict == REFUSED) return (int)leave(verdict, -1);
    if (keeps_journal()) journal_synced(fd);
    return (int)leave(verdict, syscall(number, fd));
}

int fsync(int fd) {
    return sync_it(SYS_fsync, fd);
}

int fdatasync(int fd) {
    return sync_it(SYS_fdatasync, fd);
}

int renameat(int from_dir, const char *from, int dir, const char *name) {
    if (!enter(KIND_RENAME, dir, name)) return (int)syscall(SYS_renameat2, from_dir, from, dir, name, 0);
    enum verdict verdict = judge(KIND_RENAME, 0);
    if (verdict == REFUSED) return (int)leave(verdict, -1);
    int outcome = (int)syscall(SYS_renameat2, from_dir, from, dir, name, 0);
    if (outcome == 0 && keeps_journal()) {
        struct change *c = note(KIND_RENAME, dir, name);
        c->from_dir = own_fd(from_dir);
        snprintf(c->from, sizeof c->from, "%s", from);
    }
    return (int)leave(verdict, outcome);
}

int linkat(int from_dir, const char *from, int dir, const char *name, int flags) {
    if (!enter(KIND_LINK, dir, name)) return (int)syscall(SYS_linkat, from_dir, from, dir, name, flags);
    enum verdict verdict = judge(KIND_LINK, 0);
    if (verdict == REFUSED) return (int)leave(verdict, -1);
    int outcome = (int)syscall(SYS_linkat, from_dir, from, dir, name, flags);
    if (outcome == 0 && keeps_journal()) {
        /* Bodies are linked by a path below their folder: it is that folder whose sync counts. */
        const char *slash = strrchr(name, '/');
        char folder[NAME_BYTES];
        snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - name) : 1, slash ? name : ".");
        int own = (int)syscall(SYS_openat, dir, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        note(KIND_LINK, own, slash ? slash + 1 : name);
        close(own);
    }
    return (int)leave(verdict, outcome);
}

int unlinkat(int dir, const char *name, int flags) {
    if (!enter(KIND_UNLINK, dir, name)) return (int)syscall(SYS_unlinkat, dir, name, flags);
    enum verdict verdict = judge(KIND_UNLINK, 0);
    if (verdict == REFUSED) return (int)leave(verdict, -1);
    unsigned before = journal_count;
    if (keeps_journal()) stash(dir, name, flags & AT_REMOVEDIR);
    int outcome = (int)syscall(SYS_unlinkat, dir, name, flags);
    if (outcome != 0 && journal_count > before) {
        int error = errno;
        forget(before);
        errno = error;
    }
    return (int)leave(verdict, outcome);
}

int mkdirat(int dir, const char *name, mode_t mode) {
    if (!enter(KIND_MKDIR, dir, name)) return (int)syscall(SYS_mkdirat, dir, name, mode);
    enum verdict verdict = judge(KIND_MKDIR, 0);
    if (verdict == REFUSED) return (int)leave(verdict, -1);
    int outcome = (int)syscall(SYS_mkdirat, dir, name, mode);
    if (outcome == 0 && keeps_journal()) note(KIND_MKDIR, dir, name);
    return (int)leave(verdict, outcome);
}
