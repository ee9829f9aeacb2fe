#include "gateway/handover.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/ipc.h"
#include "base/json.h"

enum { SEND_TIMEOUT_MS = 5000 };

/* One message: a JSON object of this "op" with one descriptor. */
static struct result receive(int fd, int timeout_ms, const char *op, json_t **ret, int *ret_fd) {
    AUTO(ipc_message_done) struct ipc_message m = {0};
    TRY(ipc_receive(fd, timeout_ms, &m));
    JSON_AUTO(object);
    const char *found = NULL;
    CHECK(is_ok(json_parse_object(buf_slice(&m.data), &object)) && is_ok(json_get_str(object, "op", &found)) &&
              strcmp(found, op) == 0,
          ERR_PEER, "a message '%s' was expected", op);
    CHECK(m.fd_count == 1, ERR_PEER, "'%s' must bring exactly one descriptor", op);
    *ret = TAKE(object);
    *ret_fd = m.fds[0];
    m.fds[0] = -1;
    return OK;
}

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
}

struct result handover_next_engine(int supervisor_fd, uint64_t *ret_epoch, int *ret_engine_fd) {
    JSON_AUTO(object);
    AUTO(close_fd) int fd = -1;
    TRY(receive(supervisor_fd, -1, "engine", &object, &fd));
    int64_t epoch = 0;
    CHECK(is_ok(json_get_int(object, "epoch", 1, INT64_MAX, &epoch)), ERR_PEER, "'engine' must bring an epoch");
    *ret_epoch = (uint64_t)epoch;
    *ret_engine_fd = fd;
    fd = -1;
    return OK;
}

static bool is_listening(int fd) {
    int listening = 0, type = 0;
    socklen_t size = sizeof listening;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || listening == 0) return false;
    size = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

struct result handover_take_listener(int engine_fd, int timeout_ms, int *ret_listen_fd, unsigned *ret_port) {
    JSON_AUTO(object);
    AUTO(close_fd) int fd = -1;
    TRY(receive(engine_fd, timeout_ms, "listener", &object, &fd));
    int64_t port = 0;
    CHECK(is_ok(json_get_int(object, "port", 1, 65535, &port)), ERR_PEER, "'listener' must bring its port");
    CHECK(is_listening(fd), ERR_PEER, "what the engine passed is no listening stream socket");
    *ret_listen_fd = fd;
    *ret_port = (unsigned)port;
    fd = -1;
    return OK;
}

struct result handover_answer(int engine_fd, uint64_t epoch, const struct gateway_credentials *credentials) {
    AUTO(buf_done) struct buf text;
    buf_init_wiping(&text, 512);
    buf_printf(&text, "{\"op\":\"serving\",\"epoch\":%llu,\"access_key\":\"%s\",\"secret_key\":\"%s\"}",
               (unsigned long long)epoch, credentials->access_key, credentials->secret_key);
    TRY(buf_check(&text));
    return ipc_send(engine_fd, buf_slice(&text), NULL, 0, SEND_TIMEOUT_MS);
}
