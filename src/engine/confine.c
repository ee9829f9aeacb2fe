#include "engine/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/syscalls.h"

/* Newer than the oldest header we build with. */
#define FS_REFER (1ULL << 13)
#define FS_TRUNCATE (1ULL << 14)
#define FS_IOCTL_DEV (1ULL << 15)
#define NET_BIND_TCP (1ULL << 0)
#define NET_CONNECT_TCP (1ULL << 1)
#define SCOPE_ABSTRACT_UNIX_SOCKET (1ULL << 0)
#define SCOPE_SIGNAL (1ULL << 1)
enum { RULE_NET_PORT = 2 };

/* landlock_ruleset_attr and landlock_net_port_attr as of ABI 6. */
struct ruleset {
    uint64_t fs, net, scoped;
};
struct net_port {
    uint64_t access, port;
};

static const uint64_t FS_FIRST =
    LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE |
    LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
    LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
    LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
    LANDLOCK_ACCESS_FS_MAKE_SYM;
static const uint64_t FS_DATA = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE |
                                LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                                LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
                                LANDLOCK_ACCESS_FS_MAKE_REG | FS_REFER | FS_TRUNCATE;

static struct result allow_path(int ruleset, const char *path, uint64_t access) {
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0) return err_from_errno(errno, "opening %s", path);
    struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};
    long rc = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    int error = errno;
    close(fd);
    if (rc != 0) return err_from_errno(error, "allowing %s in Landlock", path);
    return OK;
}

static struct result fill_ruleset(int fd, const struct confine_options *o, const struct ruleset *all) {
    TRY(allow_path(fd, o->data_path, FS_DATA & all->fs));
    TRY(allow_path(fd, "/dev/null", (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE) & all->fs));
    TRY(allow_path(fd, "/dev/urandom", LANDLOCK_ACCESS_FS_READ_FILE));
    if (o->has_proc) {
        /* glibc looks up a thread's stack in /proc/self/maps: it copes without the file, but not without permission.
         * The descriptor stays open, which keeps the folder the one that the rule is about. */
        result_ignore(open("/proc/self", O_PATH | O_CLOEXEC) >= 0 ? OK : (struct result){ERR_IO});
        TRY(allow_path(fd, "/proc/self", LANDLOCK_ACCESS_FS_READ_FILE));
    }
    if (all->net) {
        struct net_port rule = {.access = NET_CONNECT_TCP, .port = o->gateway_port};
        if (syscall(SYS_landlock_add_rule, fd, RULE_NET_PORT, &rule, 0) != 0)
            return err_from_errno(errno, "allowing the gateway in Landlock");
    }
    if (syscall(SYS_landlock_restrict_self, fd, 0) != 0) return err_from_errno(errno, "entering Landlock");
    return OK;
}

static struct result enter_landlock(const struct confine_options *o, int *ret_abi) {
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1) {
        *ret_abi = 0;
        return OK;
    }
    struct ruleset all = {.fs = FS_FIRST};
    if (abi >= 2) all.fs |= FS_REFER;
    if (abi >= 3) all.fs |= FS_TRUNCATE;
    if (abi >= 4) all.net = NET_BIND_TCP | NET_CONNECT_TCP;
    if (abi >= 5) all.fs |= FS_IOCTL_DEV;
    if (abi >= 6) all.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
    size_t size = abi >= 6 ? sizeof(all) : abi >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
    int fd = (int)syscall(SYS_landlock_create_ruleset, &all, size, 0);
    if (fd < 0) return err_from_errno(errno, "making a Landlock ruleset");
    struct result r = fill_ruleset(fd, o, &all);
    close(fd);
    TRY(r);
    *ret_abi = (int)abi;
    return OK;
}

static struct result drop_capabilities(void) {
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++) {
        /* Refused without CAP_SETPCAP, and then there is nothing to drop: capset below decides. */
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno != EPERM)
            return err_from_errno(errno, "dropping capability %d", capability);
    }
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {0};
    if (syscall(SYS_capset, &header, none) != 0) return err_from_errno(errno, "dropping capabilities");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return err_from_errno(errno, "forbidding new privileges");
    return OK;
}

static struct result set_limit(int which, const char *name, rlim_t value) {
    struct rlimit limit;
    if (getrlimit(which, &limit) != 0) return err_from_errno(errno, "reading %s", name);
    if (limit.rlim_max == RLIM_INFINITY || limit.rlim_max > value) limit.rlim_max = value;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(which, &limit) != 0) return err_from_errno(errno, "setting %s", name);
    return OK;
}

static struct result set_limits(uint64_t memory_bytes) {
    enum { OPEN_FILES = 8192 };
    /* ClickHouse's allocator keeps address space it does not use, so this is a wall far out, not the limit: that is
     * ClickHouse's own accounting and the memory watch. */
    TRY(set_limit(RLIMIT_DATA, "RLIMIT_DATA", 2 * memory_bytes + (1ULL << 30)));
    TRY(set_limit(RLIMIT_CORE, "RLIMIT_CORE", 0));
    return set_limit(RLIMIT_NOFILE, "RLIMIT_NOFILE", OPEN_FILES);
}

struct result confine_enter(const struct confine_options *options, struct confinement *ret) {
    struct confinement c = {0};
    TRY(set_limits(options->memory_bytes));
    TRY(drop_capabilities());
    TRY(enter_landlock(options, &c.landlock_abi));
    TRY(syscalls_restrict());
    *ret = c;
    return OK;
}
