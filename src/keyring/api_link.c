/* The socket on which the api asks and is told. Messages wait in a bounded queue for a reader that is slow; one that is
 * too slow is disconnected, connects again and is told everything. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/ipc.h"
#include "base/log.h"
#include "keyring/keyring.h"

enum { CONNECTIONS_MAX = 16, QUEUE_MAX_BYTES = 64 << 20, MESSAGES_AT_ONCE = 32 };

struct outgoing {
    struct outgoing *next;
    size_t len;
    uint8_t bytes[];
};

struct connection {
    struct api_link *link;
    uint64_t number;
    int fd;
    struct loop_source *source;
    struct outgoing *first, **last;
    size_t queued_bytes;
    bool waits_for_room, is_broken;
    uint64_t acked;
    struct connection *next;
};

struct api_link {
    struct keyring *k;
    int fd;
    struct loop_source *source;
    struct connection *connections;
    uint64_t last_number, last_seq;
};

/* ---- Sending ---- */

static void close_connection(struct connection *c) {
    struct api_link *l = c->link;
    for (struct connection **place = &l->connections; *place; place = &(*place)->next) {
        if (*place != c) continue;
        *place = c->next;
        break;
    }
    loop_forget(c->source);
    close(c->fd);
    while (c->first) {
        struct outgoing *o = c->first;
        c->first = o->next;
        mem_free(o);
    }
    log_info("api.gone", KVI("connection", (int64_t)c->number));
    mem_free(c);
}

static void flush(struct connection *c);

static void on_room(void *arg, int fd) {
    flush(arg);
}

/* Sends what fits. Never frees the connection: it may be in use further up. */
static void flush(struct connection *c) {
    while (c->first && !c->is_broken) {
        struct outgoing *o = c->first;
        struct result r = ipc_send(c->fd, slice_make(o->bytes, o->len), NULL, 0, 0);
        if (r.code == ERR_TIMEOUT) break;
        if (is_err(r)) c->is_broken = true;
        c->first = o->next;
        if (!c->first) c->last = &c->first;
        c->queued_bytes -= o->len;
        mem_free(o);
    }
    bool wants_room = c->first && !c->is_broken;
    if (wants_room != c->waits_for_room) {
        c->waits_for_room = wants_room;
        if (is_err(loop_watch_room(c->source, wants_room ? on_room : NULL))) c->is_broken = true;
    }
}

static void send_json(struct connection *c, const json_t *j) {
    BUF_AUTO(text, IPC_MAX_BYTES);
    struct result r = json_write(j, &text);
    if (is_ok(r)) r = buf_check(&text);
    if (is_err(r)) {
        log_error("api.message_too_large", KV("reason", err_detail()));
        return;
    }
    struct outgoing *o = mem_alloc(sizeof *o + text.len);
    o->len = text.len;
    mem_copy(o->bytes, text.data, text.len);
    *c->last = o;
    c->last = &o->next;
    c->queued_bytes += o->len;
    if (c->queued_bytes > QUEUE_MAX_BYTES) c->is_broken = true;
    flush(c);
    /* A broken one can't be freed here, in the middle of a walk: shut down, it reads as closed in the next step. */
    if (c->is_broken) shutdown(c->fd, SHUT_RDWR);
}

static struct connection *find(struct keyring *k, uint64_t number) {
    for (struct connection *c = k->api->connections; c; c = c->next)
        if (c->number == number && !c->is_broken) return c;
    return NULL;
}

void api_reply(struct keyring *k, struct api_call call, json_t *fields) {
    JSON_AUTO(j);
    j = json_object();
    json_object_set_new(j, "id", json_integer(call.id));
    json_object_set_new(j, "ok", json_true());
    if (fields) json_object_update(j, fields);
    json_decref(fields);
    struct connection *c = find(k, call.connection);
    if (c) send_json(c, j);
}

void api_fail(struct keyring *k, struct api_call call, const char *code, const char *message, json_t *checks,
              json_t *state) {
    JSON_AUTO(j);
    j = json_object();
    json_object_set_new(j, "id", json_integer(call.id));
    json_object_set_new(j, "ok", json_false());
    json_object_set_new(j, "code", json_string(code));
    json_object_set_new(j, "message", json_string(message ? message : ""));
    if (checks) json_object_set_new(j, "checks", checks);
    if (state) json_object_set_new(j, "state", state);
    struct connection *c = find(k, call.connection);
    if (c) send_json(c, j);
}

void api_fail_result(struct keyring *k, struct api_call call, struct result failure) {
    AUTO_FREE char *message = str_dup(err_detail());
    api_fail(k, call, err_name(failure.code), message, NULL, NULL);
}

static void push_all(struct keyring *k, const json_t *j) {
    for (struct connection *c = k->api->connections; c; c = c->next)
        if (!c->is_broken) send_json(c, j);
}

uint64_t api_push_state(struct keyring *k, const struct unit *u) {
    uint64_t seq = ++k->api->last_seq;
    JSON_AUTO(j);
    j = json_object();
    json_object_set_new(j, "push", json_string("state"));
    json_object_set_new(j, "seq", json_integer((json_int_t)seq));
    json_object_set_new(j, "state", unit_state(u));
    push_all(k, j);
    return seq;
}

void api_push_engine(struct keyring *k, const struct unit *u, int64_t epoch, const char *engine_socket) {
    JSON_AUTO(j);
    j = json_object();
    json_object_set_new(j, "push", json_string("engine"));
    json_object_set_new(j, "org", json_string(u->org));
    json_object_set_new(j, "region", json_string(u->region->name));
    json_object_set_new(j, "epoch", json_integer(epoch));
    json_object_set_new(j, "engine_socket", engine_socket ? json_string(engine_socket) : json_null());
    push_all(k, j);
}

bool api_has_acked(const struct keyring *k, uint64_t seq) {
    for (const struct connection *c = k->api->connections; c; c = c->next)
        if (!c->is_broken && c->acked < seq) return false;
    return true;
}

/* ---- Receiving ---- */

static void take_ack(struct connection *c, const json_t *j) {
    int64_t seq = 0;
    if (is_err(json_get_int(j, "ack", 1, INT64_MAX, &seq)) || (uint64_t)seq > c->link->last_seq) {
        c->is_broken = true;
        return;
    }
    if ((uint64_t)seq <= c->acked) return;
    c->acked = (uint64_t)seq;
    struct keyring *k = c->link->k;
    for (size_t i = 0; k->acks_awaited > 0 && i < k->unit_count; i++)
        if (k->units[i]->ending == ENDING_ACKS) unit_acked(k->units[i]);
}

static void on_message(void *arg, int fd) {
    struct connection *c = arg;
    for (int n = 0; n < MESSAGES_AT_ONCE && !c->is_broken; n++) {
        AUTO(ipc_message_done) struct ipc_message m = {0};
        struct result r = ipc_receive(fd, 0, &m);
        if (r.code == ERR_TIMEOUT) break;
        JSON_AUTO(j);
        if (is_ok(r)) r = json_parse_object(buf_slice(&m.data), &j);
        if (is_err(r)) {
            if (r.code != ERR_UNREACHABLE) log_error("api.bad_message", KV("reason", err_detail()));
            c->is_broken = true;
            break;
        }
        if (json_object_get(j, "ack"))
            take_ack(c, j);
        else
            request_handle(c->link->k, c->number, j);
    }
    if (c->is_broken) close_connection(c);
}

static void on_connection(void *arg, int listener) {
    struct api_link *l = arg;
    int fd;
    if (is_err(ipc_accept(listener, 0, &fd))) return;
    unsigned count = 0;
    for (struct connection *c = l->connections; c; c = c->next)
        count++;
    struct connection *c = mem_alloc(sizeof *c);
    *c = (struct connection){.link = l, .number = ++l->last_number, .fd = fd, .acked = l->last_seq};
    c->last = &c->first;
    if (count >= CONNECTIONS_MAX || is_err(loop_watch(l->k->loop, fd, on_message, c, &c->source))) {
        log_error("api.too_many_connections", KVI("connections", count));
        close(fd);
        mem_free(c);
        return;
    }
    c->next = l->connections;
    l->connections = c;
    log_info("api.connected", KVI("connection", (int64_t)c->number));
}

struct result api_link_new(struct keyring *k, const char *path, struct api_link **ret) {
    struct api_link *l = mem_alloc(sizeof *l);
    l->k = k;
    struct result r = ipc_listen(path, &l->fd);
    if (is_ok(r)) r = loop_watch(k->loop, l->fd, on_connection, l, &l->source);
    if (is_err(r)) {
        mem_free(l);
        return r;
    }
    *ret = l;
    return OK;
}
