#include "gateway/confine.h"

#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct result drop_capabilities(void) {
    for (int cap = 0; cap <= CAP_LAST_CAP; cap++) {
        /* EINVAL: a kernel older than the header; EPERM: there was nothing to drop. */
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0 && errno != EINVAL && errno != EPERM)
            return err_from_errno(errno, "PR_CAPBSET_DROP");
    }
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
    if (syscall(SYS_capset, &header, none) != 0) return err_from_errno(errno, "capset");
    return OK;
}

struct result confine_process(void) {
    pid_t parent = getppid();
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return err_from_errno(errno, "PR_SET_PDEATHSIG");
    CHECK(getppid() == parent, ERR_CANCELLED, "the parent is gone already");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return err_from_errno(errno, "PR_SET_NO_NEW_PRIVS");
    return drop_capabilities();
}
