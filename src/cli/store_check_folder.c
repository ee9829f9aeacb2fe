/* What a store asks of a file system: durable writes, names as long as sealed names are, links, locks, room. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/file.h"
#include "cli/store_check.h"

enum { PROBE_BYTES = 1 << 20, NAME_BYTES = 255 };
static const uint64_t room_wanted = UINT64_C(1) << 30;

struct probe {
    char *folder, *file;
    uint8_t content[PROBE_BYTES];
};

static struct result write_synced(struct probe *p) {
    TRY(random_bytes(p->content, sizeof p->content));
    TRY(file_write_atomic(p->file, slice_make(p->content, sizeof p->content), 0600));
    return file_sync_dir(p->folder);
}

static struct result read_back(const struct probe *p) {
    BUF_AUTO(found, PROBE_BYTES);
    TRY(file_read(p->file, PROBE_BYTES, &found));
    CHECK(slice_equal(buf_slice(&found), slice_make(p->content, sizeof p->content)), ERR_CORRUPT,
          "%s: other bytes than were written", p->file);
    return OK;
}

static struct result try_link(const struct probe *p) {
    AUTO_FREE char *second = str_format("%s/second", p->folder);
    if (link(p->file, second) != 0) return err_from_errno(errno, "a hard link in %s", p->folder);
    return unlink(second) == 0 ? OK : err_from_errno(errno, "%s", second);
}

static struct result try_exchange(const struct probe *p) {
    AUTO_FREE char *other = str_format("%s/other", p->folder);
    if (rename(p->file, other) != 0 || rename(other, p->file) != 0)
        return err_from_errno(errno, "renaming in %s", p->folder);
    return OK;
}

/* Two names that differ in the case of a letter must be two files. */
static struct result try_long_names(const struct probe *p) {
    char name[NAME_BYTES + 1];
    memset(name, 'a', NAME_BYTES);
    name[NAME_BYTES] = '\0';
    AUTO_FREE char *lower = str_format("%s/%s", p->folder, name);
    name[0] = 'A';
    AUTO_FREE char *upper = str_format("%s/%s", p->folder, name);
    FD_AUTO(fd) = open(lower, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0) return err_from_errno(errno, "a name of %d bytes in %s", NAME_BYTES, p->folder);
    FD_AUTO(second) = open(upper, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (second < 0) return err_from_errno(errno, "two names that differ in the case of a letter in %s", p->folder);
    return OK;
}

static struct result try_lock(const struct probe *p) {
    FD_AUTO(one) = open(p->file, O_RDONLY | O_CLOEXEC);
    FD_AUTO(two) = open(p->file, O_RDONLY | O_CLOEXEC);
    if (one < 0 || two < 0) return err_from_errno(errno, "%s", p->file);
    if (flock(one, LOCK_EX | LOCK_NB) != 0) return err_from_errno(errno, "a lock in %s", p->folder);
    CHECK(flock(two, LOCK_EX | LOCK_NB) != 0, ERR_IO, "two locks on one file in %s were both given", p->folder);
    return OK;
}

static void check_room(struct store_check *c, const struct probe *p) {
    struct statvfs v;
    if (statvfs(p->folder, &v) != 0) {
        store_check_note(c, "free space", err_from_errno(errno, "%s", p->folder), NULL, "");
        return;
    }
    uint64_t bytes = (uint64_t)v.f_bavail * v.f_frsize;
    AUTO_FREE char *text =
        str_format("%.1f GiB, %llu files", (double)bytes / (1 << 30), (unsigned long long)v.f_favail);
    bool is_enough = bytes >= room_wanted && (v.f_files == 0 || v.f_favail >= 1000);
    struct result r = is_enough ? OK : err_make(ERR_NO_SPACE, "only %s are left", text);
    store_check_note(c, "free space", r, text, "give the store a larger disk, or remove what isn't needed");
}

static void check_mode(struct store_check *c, const char *folder) {
    struct stat st;
    struct result r = OK;
    if (stat(folder, &st) != 0)
        r = err_from_errno(errno, "%s", folder);
    else if (st.st_mode & 0022)
        r = err_make(ERR_FORBIDDEN, "%s can be written by others (mode %o)", folder, (unsigned)st.st_mode & 07777);
    AUTO_FREE char *mend = str_format("chmod go-w %s", folder);
    store_check_note(c, "only its owner writes", r, "no other user can", mend);
}

static void check_inside(struct store_check *c, struct probe *p) {
    AUTO_FREE char *mend =
        str_format("let the user who runs Lockset write to %s, and see that its disk is sound", p->folder);
    if (!store_check_note(c, "write and sync", write_synced(p), "1 MiB, its file and folder synced", mend)) return;
    store_check_note(c, "read back", read_back(p), "the same bytes", "the disk or file system is not to be trusted");
    const char *other = "use a local file system such as ext4, xfs or zfs";
    store_check_note(c, "hard links", try_link(p), "copies share their bodies", other);
    store_check_note(c, "rename", try_exchange(p), "a file takes another's place", other);
    store_check_note(c, "long names", try_long_names(p), "255 bytes, upper and lower case apart", other);
    store_check_note(c, "locks", try_lock(p), "one process at a time", other);
    check_room(c, p);
}

/* How much of the path is there already? */
static size_t present(const char *folder) {
    AUTO_FREE char *path = str_dup(folder);
    while (access(path, F_OK) != 0 && strrchr(path, '/'))
        *strrchr(path, '/') = '\0';
    return strlen(path);
}

/* Folders that were made for the check only; one that got files meanwhile stays. */
static void remove_made(const char *folder, size_t was_there) {
    AUTO_FREE char *path = str_dup(folder);
    while (strlen(path) > was_there && rmdir(path) == 0)
        *strrchr(path, '/') = '\0';
}

void store_check_folder(struct store_check *c, const char *folder) {
    AUTO_FREE char *mend = str_format("make it, or let the user who runs Lockset do so: mkdir -p -m 700 %s", folder);
    size_t was_there = present(folder);
    if (!store_check_note(c, "folder", file_make_dirs(folder), folder, mend)) {
        remove_made(folder, was_there);
        return;
    }
    check_mode(c, folder);
    char *path = str_format("%s/.check-XXXXXX", folder);
    AUTO_FREE struct probe *p = mem_alloc(sizeof *p);
    p->folder = mkdtemp(path);
    if (!p->folder) {
        store_check_note(c, "write and sync", err_from_errno(errno, "a new folder in %s", folder), NULL, mend);
        mem_free(path);
    } else {
        p->file = str_format("%s/first", p->folder);
        check_inside(c, p);
        store_check_note(c, "remove", file_remove_tree(p->folder), "nothing is left behind", "remove it by hand");
        mem_free(p->file);
        mem_free(p->folder);
    }
    remove_made(folder, was_there);
}
