#include "kms/fault_socket.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { PEERS_MAX = 32, LINE_MAX_BYTES = 16384, ANSWER_MAX_BYTES = 1 << 20 };

struct peer {
    int fd;
    struct buf line; /* what has come of it */
};

struct kmsd_fault_socket {
    struct kmsd_faults *faults;
    char *path;
    int listen_fd, stop_fd;
    pthread_t thread;
    struct peer peers[PEERS_MAX];
    size_t count;
};

static void close_peer(struct kmsd_fault_socket *s, size_t i) {
    close(s->peers[i].fd);
    buf_done(&s->peers[i].line);
    s->peers[i] = s->peers[--s->count];
}

static void accept_peer(struct kmsd_fault_socket *s) {
    int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return;
    const struct timeval patience = {.tv_sec = 5}; // with somebody who doesn't read answers
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    struct peer *p = &s->peers[s->count++];
    p->fd = fd;
    buf_init(&p->line, LINE_MAX_BYTES);
}

/* All of it, or false. The tests that talk here read their answers. */
static bool send_whole(int fd, struct slice text) {
    while (text.len > 0) {
        ssize_t n = send(fd, text.data, text.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        text = slice_make(text.data + n, text.len - (size_t)n);
    }
    return true;
}

static bool answer_lines(struct kmsd_fault_socket *s, struct peer *p) {
    struct slice line, rest = buf_slice(&p->line);
    while (slice_cut(rest, '\n', &line, &rest)) {
        BUF_AUTO(answer, ANSWER_MAX_BYTES);
        kmsd_faults_command(s->faults, line, &answer);
        buf_append_byte(&answer, '\n');
        if (is_err(buf_check(&answer)) || !send_whole(p->fd, buf_slice(&answer))) return false;
    }
    BUF_AUTO(kept, LINE_MAX_BYTES);
    buf_append_slice(&kept, line); // the beginning of the next one
    buf_clear(&p->line);
    buf_append_slice(&p->line, buf_slice(&kept));
    return true;
}

static bool read_peer(struct kmsd_fault_socket *s, struct peer *p) {
    uint8_t piece[4096];
    ssize_t n = recv(p->fd, piece, sizeof piece, 0);
    if (n < 0 && errno == EINTR) return true;
    if (n <= 0) return false;
    buf_append(&p->line, piece, (size_t)n);
    return is_ok(buf_check(&p->line)) && answer_lines(s, p);
}

static void *serve(void *arg) {
    struct kmsd_fault_socket *s = arg;
    for (;;) {
        struct pollfd fds[PEERS_MAX + 2] = {{.fd = s->stop_fd, .events = POLLIN},
                                            {.fd = s->count < PEERS_MAX ? s->listen_fd : -1, .events = POLLIN}};
        for (size_t i = 0; i < s->count; i++)
            fds[2 + i] = (struct pollfd){.fd = s->peers[i].fd, .events = POLLIN};
        if (poll(fds, 2 + s->count, -1) < 0) continue;
        if (fds[0].revents != 0) return NULL;
        for (size_t i = s->count; i > 0; i--) // from the end: a closed one is filled from there
            if (fds[1 + i].revents != 0 && !read_peer(s, &s->peers[i - 1])) close_peer(s, i - 1);
        if (fds[1].revents != 0) accept_peer(s);
    }
}

struct result kmsd_fault_socket_start(const char *path, struct kmsd_faults *faults, struct kmsd_fault_socket **ret) {
    int listen_fd = -1;
    TRY(http_listen_unix(path, &listen_fd));
    struct kmsd_fault_socket *s = mem_alloc(sizeof *s);
    *s = (struct kmsd_fault_socket){
        .faults = faults, .path = str_dup(path), .listen_fd = listen_fd, .stop_fd = eventfd(0, EFD_CLOEXEC)};
    if (s->stop_fd >= 0 && pthread_create(&s->thread, NULL, serve, s) == 0) {
        *ret = s;
        return OK;
    }
    close(s->listen_fd);
    if (s->stop_fd >= 0) close(s->stop_fd);
    mem_free(s->path);
    mem_free(s);
    FAIL(ERR_INTERNAL, "no thread for the socket %.100s", path);
}

struct kmsd_fault_socket *kmsd_fault_socket_stop(struct kmsd_fault_socket *s) {
    if (s == NULL) return NULL;
    const uint64_t one = 1;
    if (write(s->stop_fd, &one, sizeof one) == (ssize_t)sizeof one) pthread_join(s->thread, NULL);
    while (s->count > 0)
        close_peer(s, s->count - 1);
    close(s->listen_fd);
    close(s->stop_fd);
    unlink(s->path);
    mem_free(s->path);
    mem_free(s);
    return NULL;
}
