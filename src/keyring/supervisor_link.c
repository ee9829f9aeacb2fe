/* The keyring's end of the supervisor's channel: JSON messages, descriptors with some of them. */
#include <string.h>
#include <unistd.h>

#include "base/ipc.h"
#include "base/log.h"
#include "keyring/keyring.h"

enum { SEND_MS = 100 };

struct supervisor_link {
    struct keyring *k;
    int fd;
    struct loop_source *source;
};

struct result supervisor_ask(struct keyring *k, const char *op, const struct unit *u, int64_t epoch) {
    JSON_AUTO(j);
    j = json_object();
    json_object_set_new(j, "op", json_string(op));
    json_object_set_new(j, "org", json_string(u->org));
    json_object_set_new(j, "region", json_string(u->region->name));
    if (epoch) json_object_set_new(j, "epoch", json_integer(epoch));
    if (strcmp(op, "start") == 0) json_object_set_new(j, "key_arn", json_string(u->kms_key_arn));
    BUF_AUTO(text, IPC_MAX_BYTES);
    TRY(json_write(j, &text));
    TRY(buf_check(&text));
    return ipc_send(k->supervisor->fd, buf_slice(&text), NULL, 0, SEND_MS);
}

static int take_fd(struct ipc_message *m, unsigned i) {
    int fd = m->fds[i];
    m->fds[i] = -1;
    return fd;
}

static struct result handle_started(struct unit *u, const json_t *j, int64_t epoch, bool is_pair,
                                    struct ipc_message *m) {
    int64_t gateway_pid = 0, engine_pid;
    const char *socket;
    bool has_engine = u->k->config->engine_enabled;
    unsigned expected = is_pair && has_engine ? 2 : 1;
    if (is_pair) TRY(json_get_int(j, "gateway_pid", 1, INT32_MAX, &gateway_pid));
    TRY(json_get_int(j, "engine_pid", has_engine, INT32_MAX, &engine_pid));
    TRY(json_get_str(j, "engine_socket", &socket));
    CHECK(m->fd_count == expected, ERR_PEER, "%u descriptors came, not %u", m->fd_count, expected);
    if (is_pair)
        pair_started(u, epoch, (int)gateway_pid, (int)engine_pid, socket, take_fd(m, 0),
                     has_engine ? take_fd(m, 1) : -1);
    else
        pair_engine_started(u, epoch, (int)engine_pid, socket, take_fd(m, 0));
    return OK;
}

static struct result handle(struct keyring *k, struct ipc_message *m) {
    JSON_AUTO(j);
    TRY(json_parse_object(buf_slice(&m->data), &j));
    const char *op, *org, *region, *which, *status, *reason;
    int64_t epoch;
    TRY(json_get_str(j, "op", &op));
    TRY(json_get_str(j, "org", &org));
    TRY(json_get_str(j, "region", &region));
    if (strcmp(op, "ended") == 0) return OK;
    struct unit *u = keyring_find_unit(k, org, region);
    if (!u) return OK; /* it was deleted meanwhile, and its processes have been ended */
    TRY(json_get_int(j, "epoch", 0, INT64_MAX, &epoch));
    if (strcmp(op, "started") == 0) return handle_started(u, j, epoch, true, m);
    if (strcmp(op, "engine_started") == 0) return handle_started(u, j, epoch, false, m);
    if (strcmp(op, "exited") == 0) {
        TRY(json_get_str(j, "which", &which));
        TRY(json_get_str(j, "status", &status));
        pair_exited(u, epoch, strcmp(which, "gateway") == 0, status);
        return OK;
    }
    CHECK(strcmp(op, "start_failed") == 0, ERR_PEER, "unknown message '%.40s'", op);
    TRY(json_get_str(j, "reason", &reason));
    pair_start_failed(u, epoch, reason);
    return OK;
}

static void on_ready(void *arg, int fd) {
    struct supervisor_link *s = arg;
    AUTO(ipc_message_done) struct ipc_message m = {0};
    struct result r = ipc_receive(fd, 0, &m);
    if (r.code == ERR_TIMEOUT) return;
    if (r.code == ERR_UNREACHABLE) {
        log_warn("supervisor.gone");
        _exit(0); /* the processes' timers end what is left */
    }
    if (is_ok(r)) r = handle(s->k, &m);
    if (is_err(r)) log_error("supervisor.bad_message", KV("reason", err_detail()));
}

struct result supervisor_link_new(struct keyring *k, int fd, struct supervisor_link **ret) {
    struct supervisor_link *s = mem_alloc(sizeof *s);
    *s = (struct supervisor_link){.k = k, .fd = fd};
    struct result r = loop_watch(k->loop, fd, on_ready, s, &s->source);
    if (is_err(r)) {
        mem_free(s);
        return r;
    }
    *ret = s;
    return OK;
}
