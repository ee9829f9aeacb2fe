/* Messages with file descriptors between Lockset's own processes, over SOCK_SEQPACKET unix sockets: a message arrives
 * whole or not at all. At most 64 KiB and 8 descriptors each. Sending is thread-safe; one thread receives. */
#ifndef LOCKSET_BASE_IPC_H
#define LOCKSET_BASE_IPC_H

#include "base/buf.h"

enum { IPC_MAX_BYTES = 65536, IPC_MAX_FDS = 8 };

struct ipc_message {
    struct buf data;      /* a wiping buffer */
    int fds[IPC_MAX_FDS]; /* the receiver owns them; close-on-exec is set */
    unsigned fd_count;
};

/* A connected pair, close-on-exec. */
struct result ipc_pair(int ret[2]);
/* A listening socket at path, mode 0600, and a connection to it. */
struct result ipc_listen(const char *path, int *ret_fd);
struct result ipc_connect(const char *path, int *ret_fd);
/* The next connection of a listening socket, close-on-exec. Waits at most timeout_ms (-1: for ever): TIMEOUT. */
struct result ipc_accept(int listen_fd, int timeout_ms, int *ret_fd);
/* A listening unix socket of any type (SOCK_SEQPACKET, SOCK_STREAM) at path, mode 0600; an old one is replaced. */
struct result ipc_listen_type(const char *path, int type, int *ret_fd);
/* data must not be empty. Blocks at most timeout_ms (-1: for ever) for room. UNREACHABLE when the peer is gone,
 * TIMEOUT. fds stay the caller's.
 */
struct result ipc_send(int fd, struct slice data, const int *fds, unsigned fd_count, int timeout_ms);
/* Waits at most timeout_ms. UNREACHABLE at end of file, TIMEOUT, PEER for a message over the limits. Call
 * ipc_message_done afterwards. */
struct result ipc_receive(int fd, int timeout_ms, struct ipc_message *ret);
void ipc_message_done(struct ipc_message *m); /* closes fds not taken (set to -1 when taken) */

#endif
