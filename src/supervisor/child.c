#include "supervisor/child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FIRST_FD = 3, PARKED_FD = 64 };

/* In the child: only async-signal-safe calls. Exit codes 126 and 127 as a shell has them. */
static void become(const struct child_spec *spec, char *const argv[], pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(126); /* the supervisor died before the line above */
    setpgid(0, 0);
    struct sigaction preset = {.sa_handler = SIG_DFL};
    for (int s = 1; s < NSIG; s++)
        sigaction(s, &preset, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int null_fd = open("/dev/null", O_RDWR);
    if (null_fd < 0) _exit(126);
    int parked[CHILD_MAX_FDS];
    for (unsigned i = 0; i < spec->fd_count; i++) {
        parked[i] = fcntl(spec->fds[i], F_DUPFD, PARKED_FD);
        if (parked[i] < 0) _exit(126);
    }
    dup2(null_fd, 0);
    dup2(spec->stdout_fd >= 0 ? spec->stdout_fd : null_fd, 1);
    for (unsigned i = 0; i < spec->fd_count; i++) {
        if (dup2(parked[i], FIRST_FD + (int)i) < 0) _exit(126);
    }
    close_range(FIRST_FD + spec->fd_count, ~0U, 0);
    execv(spec->program, argv);
    _exit(127);
}

struct result child_start(const struct child_spec *spec, pid_t *ret) {
    char *argv[CHILD_MAX_ARGS + 2] = {0};
    const char *base = strrchr(spec->program, '/');
    AUTO_FREE char *name = str_dup(base ? base + 1 : spec->program);
    argv[0] = name;
    for (size_t i = 0; i < CHILD_MAX_ARGS && spec->args[i]; i++)
        argv[i + 1] = mem_unconst(spec->args[i]);
    if (access(spec->program, X_OK) != 0) return err_from_errno(errno, "program %s", spec->program);
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0) return err_from_errno(errno, "starting %s", name);
    if (pid == 0) become(spec, argv, parent);
    *ret = pid;
    return OK;
}

void child_kill(pid_t pid, int *ret_status) {
    if (pid <= 0) return;
    kill(pid, SIGKILL);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (ret_status) *ret_status = status;
}

void child_describe_status(int status, char ret[static 32]) {
    if (WIFSIGNALED(status)) {
        snprintf(ret, 32, "killed by %d", WTERMSIG(status));
    } else {
        snprintf(ret, 32, "exit %d", WEXITSTATUS(status));
    }
}

struct result child_program(const char *name, char **ret) {
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n < 0) return err_from_errno(errno, "the running program's path");
    self[n] = '\0';
    char *slash = strrchr(self, '/');
    CHECK(slash, ERR_INTERNAL, "the running program has no folder");
    *slash = '\0';
    *ret = str_format("%s/%s", self, name);
    return OK;
}
