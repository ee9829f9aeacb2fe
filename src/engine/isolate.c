#include "engine/isolate.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NAMESPACES = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP, LISTEN_BACKLOG = 512 };

static const unsigned long ROOT_FLAGS = MS_NOSUID | MS_NODEV | MS_NOEXEC;

/* Where the new root is put together: any folder does, for it is only covered, and only for us. */
static const char *const mount_points[] = {"/mnt", "/srv", "/opt", "/media", "/run", "/tmp"};

static struct result write_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return err_from_errno(errno, "opening %s", path);
    ssize_t n = write(fd, text, strlen(text));
    int error = errno;
    close(fd);
    if (n < 0) return err_from_errno(error, "writing %s", path);
    return OK;
}

static struct result map_user(uid_t uid, gid_t gid) {
    AUTO_FREE char *users = str_format("0 %u 1", uid);
    AUTO_FREE char *groups = str_format("0 %u 1", gid);
    TRY(write_file("/proc/self/setgroups", "deny"));
    TRY(write_file("/proc/self/uid_map", users));
    return write_file("/proc/self/gid_map", groups);
}

static struct result enter_namespaces(struct isolation *it) {
    if (unshare(NAMESPACES) == 0) return OK;
    int privileged = errno;
    uid_t uid = geteuid();
    gid_t gid = getegid();
    CHECK(unshare(CLONE_NEWUSER | NAMESPACES) == 0, ERR_FORBIDDEN,
          "namespaces are not permitted (%s; in a user namespace: %s). Permit user namespaces (sysctl "
          "user.max_user_namespaces), give CAP_SYS_ADMIN, or accept it: engine.allow_weak_isolation",
          strerror(privileged), strerror(errno));
    it->user_namespace = true;
    return map_user(uid, gid);
}

static struct result raise_loopback(void) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return err_from_errno(errno, "making a socket");
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int rc = ioctl(fd, SIOCSIFFLAGS, &request);
    int error = errno;
    close(fd);
    if (rc != 0) return err_from_errno(error, "raising lo");
    return OK;
}

static struct result make_listener(struct isolation *it) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return err_from_errno(errno, "making the gateway's listener");
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    if (bind(fd, (struct sockaddr *)&at, len) != 0 || listen(fd, LISTEN_BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) != 0) {
        int error = errno;
        close(fd);
        return err_from_errno(error, "making the gateway's listener");
    }
    it->listen_fd = fd;
    it->port = ntohs(at.sin_port);
    return OK;
}

/* A device of the machine at `to`: an empty file with the device bound over it. */
static struct result bind_device(const char *device, const char *to) {
    int fd = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return err_from_errno(errno, "making the place of %s", device);
    close(fd);
    if (mount(device, to, NULL, MS_BIND, NULL) != 0) return err_from_errno(errno, "mounting %s", device);
    return OK;
}

static struct result build_root(const char *at, uint64_t data_bytes) {
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return err_from_errno(errno, "making mounts private");
    if (mount("lockset", at, "tmpfs", ROOT_FLAGS, "size=64k,nr_inodes=32,mode=0755") != 0)
        return err_from_errno(errno, "mounting the new root at %s", at);
    if (chdir(at) != 0) return err_from_errno(errno, "entering the new root");
    if (mkdir("data", 0700) != 0 || mkdir("dev", 0755) != 0) return err_from_errno(errno, "filling the new root");
    AUTO_FREE char *size = str_format("size=%llu,mode=0700", (unsigned long long)data_bytes);
    if (mount("lockset-data", "data", "tmpfs", ROOT_FLAGS, size) != 0) return err_from_errno(errno, "mounting /data");
    TRY(bind_device("/dev/null", "dev/null"));
    return bind_device("/dev/urandom", "dev/urandom");
}

static struct result change_root(void) {
    /* Old and new root on the same place: the old one comes to lie on top and is let go. */
    if (syscall(SYS_pivot_root, ".", ".") != 0) return err_from_errno(errno, "changing the root");
    if (umount2(".", MNT_DETACH) != 0) return err_from_errno(errno, "letting go of the old root");
    if (chdir("/") != 0) return err_from_errno(errno, "entering the root");
    if (mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | ROOT_FLAGS, NULL) != 0)
        return err_from_errno(errno, "making the root read-only");
    return OK;
}

static const char *find_mount_point(void) {
    struct stat st;
    for (size_t i = 0; i < ARRAY_LEN(mount_points); i++) {
        if (lstat(mount_points[i], &st) == 0 && S_ISDIR(st.st_mode)) return mount_points[i];
    }
    return NULL;
}

static struct result isolate_weakly(struct isolation *it) {
    static char path[] = "/dev/shm/lockset-engine-XXXXXX";
    it->is_weak = true;
    CHECK(mkdtemp(path), ERR_IO, "no private folder can be made in /dev/shm: %s", strerror(errno));
    it->data_path = path;
    return make_listener(it);
}

struct result isolate_enter(const struct isolate_options *options, struct isolation *ret) {
    struct isolation it = {.listen_fd = -1, .data_path = "/data"};
    it.statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    /* When memory runs out on the machine, the engine goes first: it is the one that may always be killed. */
    result_ignore(write_file("/proc/self/oom_score_adj", "1000"));
    struct result entered = enter_namespaces(&it);
    if (is_err(entered)) {
        if (!options->allow_weak || it.user_namespace) return entered;
        TRY(isolate_weakly(&it));
    } else {
        result_ignore(sethostname("engine", 6) == 0 ? OK : (struct result){ERR_IO}); /* only its name in errors */
        TRY(raise_loopback());
        TRY(make_listener(&it));
        const char *at = find_mount_point();
        CHECK(at, ERR_IO, "there is no folder to put the engine's root together at: make /mnt");
        TRY(build_root(at, options->data_bytes));
        TRY(change_root());
    }
    *ret = it;
    return OK;
}
