/* The filter in a child process: what a broken-into engine would try fails with EPERM, what it needs works. */
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/syscalls.h"

/* Runs check() behind the filter; its return value is the number of the first check that failed, 0 for none. */
static int behind_filter(int (*check)(void)) {
    pid_t child = fork();
    if (child == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || is_err(syscalls_restrict())) _exit(99);
        _exit(check());
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

#define REFUSED(number, call)                                                                                          \
    do {                                                                                                               \
        errno = 0;                                                                                                     \
        if ((call) != -1 || errno != EPERM) return (number);                                                           \
    } while (0)

static int check_hostile(void) {
    char *none[] = {NULL};
    REFUSED(1, execve("/bin/true", none, none));
    REFUSED(2, syscall(SYS_fork));
    REFUSED(3, syscall(SYS_vfork));
    REFUSED(4, syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    REFUSED(5, syscall(SYS_clone, CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | CLONE_NEWUSER, 0, 0, 0, 0));
    REFUSED(6, syscall(SYS_ptrace, 0, 0, 0, 0));
    REFUSED(7, syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0));
    REFUSED(8, syscall(SYS_mount, "a", "/", "tmpfs", 0, NULL));
    REFUSED(9, unshare(CLONE_NEWUSER));
    REFUSED(10, syscall(SYS_setns, 0, 0));
    REFUSED(11, syscall(SYS_bpf, 0, NULL, 0));
    REFUSED(12, syscall(SYS_keyctl, 0, 0, 0, 0, 0));
    REFUSED(13, syscall(SYS_perf_event_open, NULL, 0, 0, 0, 0));
    REFUSED(14, syscall(SYS_io_uring_setup, 1, NULL));
    REFUSED(15, syscall(SYS_open_by_handle_at, 0, NULL, 0));
    REFUSED(16, socket(AF_UNIX, SOCK_STREAM, 0));
    REFUSED(17, socket(AF_NETLINK, SOCK_RAW, 0));
    REFUSED(18, socket(AF_INET, SOCK_DGRAM, 0));
    REFUSED(19, socket(AF_INET, SOCK_RAW, 0));
    REFUSED(20, socket(AF_INET6, SOCK_STREAM, 0));
    REFUSED(21, kill(getppid(), 0));
    REFUSED(22, (int)syscall(SYS_tgkill, getppid(), getppid(), 0));
    REFUSED(23, (int)syscall(SYS_pidfd_open, getppid(), 0));
    REFUSED(24, ioctl(0, TIOCSTI, "x"));
    REFUSED(25, prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
    REFUSED(26, prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0));
    REFUSED(27, (int)syscall(SYS_timer_delete, 0));
    REFUSED(28, (int)syscall(SYS_prlimit64, getppid(), 0, NULL, NULL));
    REFUSED(29, chroot("/"));
    REFUSED(30, (int)syscall(SYS_memfd_create, "x", 0));
    REFUSED(31, (int)syscall(SYS_userfaultfd, 0));
    REFUSED(32, setuid(0));
    REFUSED(33, symlink("a", "/tmp/lockset-test-symlink"));
    REFUSED(34, (int)syscall(SYS_seccomp, 0, 0, NULL));
    errno = 0;
    if (syscall(SYS_clone3, NULL, 0) != -1 || errno != ENOSYS) return 35;
    return 0;
}

static void *run(void *arg) {
    return arg;
}

static int check_needed(void) {
    pthread_t thread;
    void *value = NULL;
    if (pthread_create(&thread, NULL, run, &value) != 0) return 1;
    if (pthread_join(thread, &value) != 0 || value != &value) return 2;
    if (socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) < 0) return 3;
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED || munmap(page, 4096) != 0) return 4;
    if (open("/dev/null", O_RDONLY) < 0) return 5;
    if (prctl(PR_SET_NAME, "x", 0, 0, 0) != 0) return 6;
    if (raise(0) != 0) return 7;
    return 0;
}

static void test_hostile_calls_are_refused(void **state) {
    assert_int_equal(behind_filter(check_hostile), 0);
}

static void test_needed_calls_work(void **state) {
    assert_int_equal(behind_filter(check_needed), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_hostile_calls_are_refused),
    cmocka_unit_test(test_needed_calls_work),
};
TEST_MAIN(tests)
