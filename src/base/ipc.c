#include "base/ipc.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

enum { BACKLOG = 128 };

struct result ipc_pair(int ret[2]) {
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret) != 0)
        return err_from_errno(errno, "making a pair of sockets");
    return OK;
}

static struct result address_of(const char *path, struct sockaddr_un *ret) {
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    size_t len = strlen(path);
    CHECK(len > 0 && len < sizeof ret->sun_path, ERR_INVALID, "the socket path %s is longer than %zu bytes", path,
          sizeof ret->sun_path - 1);
    mem_copy(ret->sun_path, path, len);
    return OK;
}

struct result ipc_listen_type(const char *path, int type, int *ret_fd) {
    struct sockaddr_un address;
    TRY(address_of(path, &address));
    FD_AUTO(fd) = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0) return err_from_errno(errno, "making a socket");
    /* Linux gives the socket file the mode of the unbound socket, so there is no moment with a wider one. */
    if (fchmod(fd, 0600) != 0) return err_from_errno(errno, "setting the mode of %s", path);
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) unlink(path); /* if that fails, bind says so */
    if (bind(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        return err_from_errno(errno == EADDRINUSE ? EEXIST : errno, "binding the socket %s", path);
    if (listen(fd, BACKLOG) != 0) return err_from_errno(errno, "listening at %s", path);
    *ret_fd = TAKE_FD(fd);
    return OK;
}

struct result ipc_listen(const char *path, int *ret_fd) {
    return ipc_listen_type(path, SOCK_SEQPACKET, ret_fd);
}

struct result ipc_connect(const char *path, int *ret_fd) {
    struct sockaddr_un address;
    TRY(address_of(path, &address));
    FD_AUTO(fd) = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0) return err_from_errno(errno, "making a socket");
    while (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        if (errno == EINTR) continue;
        CHECK(errno != ENOENT && errno != ECONNREFUSED, ERR_UNREACHABLE, "nobody listens at %s", path);
        return err_from_errno(errno, "connecting to %s", path);
    }
    *ret_fd = TAKE_FD(fd);
    return OK;
}

/* Waits for events until the deadline (boot time; -1: for ever). */
static struct result wait_for(int fd, short events, int64_t deadline_ns, const char *what) {
    for (;;) {
        int64_t left_ms = -1;
        if (deadline_ns >= 0) {
            left_ms = (deadline_ns - clock_boottime_ns() + NS_PER_MS - 1) / NS_PER_MS;
            if (left_ms < 0) left_ms = 0;
        }
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, (int)left_ms);
        if (n > 0) return OK;
        if (n < 0 && errno != EINTR) return err_from_errno(errno, "%s", what);
        CHECK(n != 0, ERR_TIMEOUT, "%s: no answer from the other process in time", what);
    }
}

static int64_t deadline_of(int timeout_ms) {
    return timeout_ms < 0 ? -1 : clock_boottime_ns() + timeout_ms * NS_PER_MS;
}

struct result ipc_accept(int listen_fd, int timeout_ms, int *ret_fd) {
    int64_t deadline = deadline_of(timeout_ms);
    for (;;) {
        TRY(wait_for(listen_fd, POLLIN, deadline, "accepting a connection"));
        int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            *ret_fd = fd;
            return OK;
        }
        /* The client went away again, or another thread was faster. */
        if (errno != EINTR && errno != ECONNABORTED && errno != EAGAIN)
            return err_from_errno(errno, "accepting a connection");
    }
}

/* Room for the descriptors of one message, aligned as the kernel wants it. */
union control {
    char bytes[CMSG_SPACE(sizeof(int) * IPC_MAX_FDS)];
    struct cmsghdr header;
};

static bool peer_is_gone(int error) {
    return error == EPIPE || error == ECONNRESET || error == ENOTCONN || error == ECONNREFUSED;
}

struct result ipc_send(int fd, struct slice data, const int *fds, unsigned fd_count, int timeout_ms) {
    CHECK(data.len > 0 && data.len <= IPC_MAX_BYTES, ERR_TOO_LARGE, "a message must have 1 to %d bytes, not %zu",
          IPC_MAX_BYTES, data.len);
    CHECK(fd_count <= IPC_MAX_FDS, ERR_TOO_LARGE, "a message carries at most %d descriptors", IPC_MAX_FDS);
    /* The interface of sendmsg is shared with recvmsg, hence not const. */
    struct iovec part = {.iov_base = mem_unconst(data.data), .iov_len = data.len};
    union control control = {0};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd_count > 0) {
        m.msg_control = control.bytes;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        mem_copy(CMSG_DATA(c), fds, sizeof(int) * fd_count);
    }
    int64_t deadline = deadline_of(timeout_ms);
    for (;;) {
        if (sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return OK;
        CHECK(!peer_is_gone(errno), ERR_UNREACHABLE, "the other process closed its connection");
        if (errno == EAGAIN)
            TRY(wait_for(fd, POLLOUT, deadline, "sending a message"));
        else if (errno != EINTR)
            return err_from_errno(errno, "sending a message");
    }
}

static void take_descriptors(struct msghdr *m, struct ipc_message *ret) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        unsigned count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (unsigned i = 0; i < count; i++) {
            int fd;
            mem_copy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (ret->fd_count < IPC_MAX_FDS)
                ret->fds[ret->fd_count++] = fd;
            else
                close(fd);
        }
    }
}

struct result ipc_receive(int fd, int timeout_ms, struct ipc_message *ret) {
    AUTO(ipc_message_done) struct ipc_message got = {0};
    buf_init_wiping(&got.data, IPC_MAX_BYTES);
    int64_t deadline = deadline_of(timeout_ms);
    struct iovec part = {.iov_base = buf_reserve(&got.data, IPC_MAX_BYTES), .iov_len = IPC_MAX_BYTES};
    union control control;
    for (;;) {
        TRY(wait_for(fd, POLLIN, deadline, "waiting for a message"));
        struct msghdr m = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
        ssize_t n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        CHECK(n > 0 || (n < 0 && !peer_is_gone(errno)), ERR_UNREACHABLE, "the other process closed its connection");
        if (n < 0) return err_from_errno(errno, "receiving a message");
        take_descriptors(&m, &got);
        CHECK((m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0, ERR_PEER, "the other process sent too large a message");
        got.data.len = (size_t)n;
        *ret = got;
        got = (struct ipc_message){0};
        return OK;
    }
}

void ipc_message_done(struct ipc_message *m) {
    buf_done(&m->data);
    for (unsigned i = 0; i < m->fd_count; i++)
        fd_close(&m->fds[i]);
    m->fd_count = 0;
}
