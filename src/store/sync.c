/* Syncing folders of names/. A sync is the dearest step of a put, and ClickHouse puts the ten files of a part at once
 * into one new folder; so writers of a folder share: each waits for a sync that began after it called. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/store_priv.h"

/* One sync, with all who wait for it. */
struct sync_round {
    size_t from;
    unsigned users;
    bool is_done;
    struct result outcome;
};

struct sync_folder {
    ino_t inode; /* a path may come to name another folder meanwhile */
    unsigned users;
    bool is_running;
    struct sync_round *next_round; /* has not begun: may still be joined */
    struct sync_folder *next;
};

void store_syncs_init(struct store_syncs *s) {
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->folders = NULL;
}

void store_syncs_done(struct store_syncs *s) {
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
}

/* Syncs the folders above that of the place whose paths are not shorter than `from`. One that is missing was emptied by
 * somebody else meanwhile, who syncs what is left. */
static struct result sync_above(int names_fd, struct slice dir, size_t from) {
    FD_AUTO(fd) = openat(names_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return err_from_errno(errno, "opening a folder of the store");
    size_t len = 0;
    for (struct slice rest = dir; rest.len > 0;) {
        if (len >= from && fsync(fd) != 0) return err_from_errno(errno, "syncing a folder of the store");
        struct slice step;
        slice_cut(rest, '/', &step, &rest);
        len += (len > 0) + step.len;
        char name[NAME_FILE_BYTES];
        mem_copy(name, step.data, step.len);
        name[step.len] = '\0';
        int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0 && errno == ENOENT) return OK;
        if (next < 0) return err_from_errno(errno, "opening a folder of the store");
        fd_close(&fd);
        fd = next;
    }
    return OK;
}

static struct result sync_now(int names_fd, struct slice dir, int fd, size_t from) {
    if (fsync(fd) != 0) return err_from_errno(errno, "syncing a folder of the store");
    return from < dir.len ? sync_above(names_fd, dir, from) : OK;
}

static struct sync_folder *folder_enter(struct store_syncs *s, ino_t inode) {
    struct sync_folder *f = s->folders;
    while (f && f->inode != inode)
        f = f->next;
    if (!f) {
        f = mem_alloc(sizeof *f);
        f->inode = inode;
        f->next = s->folders;
        s->folders = f;
    }
    f->users++;
    return f;
}

static void folder_leave(struct store_syncs *s, struct sync_folder *f) {
    if (--f->users > 0) return;
    struct sync_folder **at = &s->folders;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    mem_free(f);
}

static struct sync_round *round_enter(struct sync_folder *f, size_t from) {
    struct sync_round *r = f->next_round;
    if (!r) {
        r = f->next_round = mem_alloc(sizeof *r);
        r->from = from;
    }
    if (from < r->from) r->from = from;
    r->users++;
    return r;
}

/* Waits until the round is over, or runs it when its turn has come. */
static void round_await(struct store *s, struct sync_folder *f, struct sync_round *r, struct slice dir, int fd) {
    struct store_syncs *syncs = &s->syncs;
    while (!r->is_done) {
        if (f->is_running) {
            pthread_cond_wait(&syncs->changed, &syncs->lock);
            continue;
        }
        f->next_round = NULL;
        f->is_running = true;
        size_t from = r->from;
        pthread_mutex_unlock(&syncs->lock);
        struct result outcome = sync_now(s->names_fd, dir, fd, from);
        pthread_mutex_lock(&syncs->lock);
        r->outcome = outcome;
        r->is_done = true;
        f->is_running = false;
        pthread_cond_broadcast(&syncs->changed);
    }
}

struct result store_sync_folder(struct store *s, struct slice dir, int fd, size_t from) {
    struct stat st;
    if (fstat(fd, &st) != 0) return err_from_errno(errno, "syncing a folder of the store");
    pthread_mutex_lock(&s->syncs.lock);
    struct sync_folder *f = folder_enter(&s->syncs, st.st_ino);
    struct sync_round *r = round_enter(f, from);
    round_await(s, f, r, dir, fd);
    struct result outcome = r->outcome;
    if (--r->users == 0) mem_free(r);
    folder_leave(&s->syncs, f);
    pthread_mutex_unlock(&s->syncs.lock);
    CHECK(is_ok(outcome), outcome.code, "a folder of the store could not be synced");
    return OK;
}
