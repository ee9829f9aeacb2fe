#include "lifecycle/keylink.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/ipc.h"
#include "base/log.h"

enum {
    RECONNECT_MS = 200,
    RECEIVE_SLICE_MS = 500,
    SEND_MS = 2000,
    COME_BACK_MS = 1000,
    FIRST_NEWS_MS = 1000,
    MAX_MESSAGE = IPC_MAX_BYTES
};

struct keylink {
    char *socket_path, *region;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* anything below */
    bool stopping, has_thread;
    bool is_informed;    /* of the states, on this connection */
    int fd;              /* -1: not connected */
    uint64_t connection; /* counts connections: calls of an older one fail */
    int64_t next_id;
    json_t *answers;    /* id in decimal -> answer, for calls that wait; null while there is none */
    json_t *states;     /* organization -> state in this region */
    json_t *all_states; /* "organization region" -> state */
    json_t *engines;    /* organization -> {"socket","epoch"} */
};

static struct timespec deadline_in(unsigned ms) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += (long)(ms % 1000) * 1000000L;
    if (t.tv_nsec >= 1000000000L) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000L;
    }
    return t;
}

/* ---- what comes in (lock held) ---- */

static char *state_key(const char *org, const char *region) {
    return str_format("%s %s", org, region);
}

static void learn_state(struct keylink *k, json_t *state) {
    const char *org = json_string_value(json_object_get(state, "org"));
    const char *region = json_string_value(json_object_get(state, "region"));
    if (!org || !region) return;
    AUTO_FREE char *key = state_key(org, region);
    if (json_is_true(json_object_get(state, "deleted"))) {
        json_object_del(k->all_states, key);
        if (strcmp(region, k->region) == 0) json_object_del(k->states, org);
        return;
    }
    json_object_set(k->all_states, key, state);
    if (strcmp(region, k->region) == 0) json_object_set(k->states, org, state);
}

static void learn_engine(struct keylink *k, const json_t *message) {
    const char *org = json_string_value(json_object_get(message, "org"));
    const char *region = json_string_value(json_object_get(message, "region"));
    const json_t *epoch = json_object_get(message, "epoch");
    const json_t *socket = json_object_get(message, "engine_socket");
    if (!org || (region && strcmp(region, k->region) != 0)) return;
    if (!json_is_string(socket) || !json_is_integer(epoch)) {
        json_object_del(k->engines, org);
        return;
    }
    if (json_string_length(socket) >= KEYLINK_SOCKET_BYTES) return;
    json_object_set_new(
        k->engines, org,
        json_pack("{s:s, s:I}", "socket", json_string_value(socket), "epoch", json_integer_value(epoch)));
}

static void learn_all(struct keylink *k, json_t *answer) {
    json_t *list = json_object_get(answer, "states"), *item;
    size_t i;
    json_array_foreach(list, i, item) learn_state(k, item);
    list = json_object_get(answer, "engines");
    json_array_foreach(list, i, item) learn_engine(k, item);
}

static void keep_answer(struct keylink *k, json_t *answer, json_int_t id) {
    char key[24];
    snprintf(key, sizeof key, "%lld", (long long)id);
    if (id == 0) {
        learn_all(k, answer);
        k->is_informed = true;
    }
    if (json_object_get(k->answers, key)) json_object_set(k->answers, key, answer);
}

/* ---- the receiving thread ---- */

static void send_json(int fd, json_t *message) {
    BUF_AUTO(text, MAX_MESSAGE);
    if (is_err(json_write(message, &text)) || is_err(buf_check(&text))) return;
    /* A failure here is a broken connection, which receiving notices as well. */
    result_ignore(ipc_send(fd, buf_slice(&text), NULL, 0, SEND_MS));
}

static void take_message(struct keylink *k, int fd, struct slice data) {
    JSON_AUTO(message);
    if (is_err(json_parse_object(data, &message))) {
        log_warn("keylink.bad_message", KVI("bytes", data.len));
        return;
    }
    const char *push = json_string_value(json_object_get(message, "push"));
    JSON_AUTO(ack);
    const json_t *seq = json_object_get(message, "seq");
    if (push && seq) ack = json_pack("{s:I}", "ack", json_integer_value(seq));
    pthread_mutex_lock(&k->lock);
    if (push && strcmp(push, "state") == 0)
        learn_state(k, json_object_get(message, "state"));
    else if (push && strcmp(push, "engine") == 0)
        learn_engine(k, message);
    else if (!push)
        keep_answer(k, message, json_integer_value(json_object_get(message, "id")));
    /* Parts of it are kept: from here on they are dropped, and shared, under the lock only; others get copies. */
    json_decref(TAKE(message));
    pthread_cond_broadcast(&k->changed);
    pthread_mutex_unlock(&k->lock);
    if (ack) send_json(fd, ack);
}

static bool is_stopping(struct keylink *k) {
    pthread_mutex_lock(&k->lock);
    bool stopping = k->stopping;
    pthread_mutex_unlock(&k->lock);
    return stopping;
}

static void receive_until_gone(struct keylink *k, int fd) {
    while (!is_stopping(k)) {
        AUTO(ipc_message_done) struct ipc_message m = {0};
        struct result r = ipc_receive(fd, RECEIVE_SLICE_MS, &m);
        if (r.code == ERR_TIMEOUT) continue;
        if (is_err(r)) return;
        take_message(k, fd, buf_slice(&m.data));
    }
}

static void set_connection(struct keylink *k, int fd) {
    pthread_mutex_lock(&k->lock);
    k->fd = fd;
    k->is_informed = false;
    k->connection++;
    pthread_cond_broadcast(&k->changed);
    pthread_mutex_unlock(&k->lock);
}

static void *keylink_run(void *arg) {
    struct keylink *k = arg;
    while (!is_stopping(k)) {
        int fd;
        if (is_err(ipc_connect(k->socket_path, &fd))) {
            clock_sleep_ms(RECONNECT_MS);
            continue;
        }
        JSON_AUTO(hello);
        hello = json_pack("{s:i, s:s}", "id", 0, "op", "hello");
        send_json(fd, hello);
        set_connection(k, fd);
        log_info("keylink.connected", KV("region", k->region));
        receive_until_gone(k, fd);
        set_connection(k, -1);
        close(fd);
        if (!is_stopping(k)) log_warn("keylink.lost", KV("region", k->region));
    }
    return NULL;
}

struct result keylink_new(const char *socket_path, const char *region, struct keylink **ret) {
    struct keylink *k = mem_alloc(sizeof *k);
    k->socket_path = str_dup(socket_path);
    k->region = str_dup(region);
    k->fd = -1;
    k->answers = json_object();
    k->states = json_object();
    k->all_states = json_object();
    k->engines = json_object();
    pthread_mutex_init(&k->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&k->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    k->has_thread = pthread_create(&k->thread, NULL, keylink_run, k) == 0;
    if (!k->has_thread) {
        keylink_free(k);
        FAIL(ERR_IO, "no thread for the connection to the keyring");
    }
    *ret = k;
    return OK;
}

struct keylink *keylink_free(struct keylink *k) {
    if (!k) return NULL;
    pthread_mutex_lock(&k->lock);
    k->stopping = true;
    pthread_cond_broadcast(&k->changed);
    pthread_mutex_unlock(&k->lock);
    if (k->has_thread) pthread_join(k->thread, NULL);
    pthread_cond_destroy(&k->changed);
    pthread_mutex_destroy(&k->lock);
    json_decref(k->answers);
    json_decref(k->states);
    json_decref(k->all_states);
    json_decref(k->engines);
    mem_free(k->socket_path);
    mem_free(k->region);
    mem_free(k);
    return NULL;
}

bool keylink_is_connected(struct keylink *k) {
    pthread_mutex_lock(&k->lock);
    bool connected = k->fd >= 0 && k->is_informed;
    pthread_mutex_unlock(&k->lock);
    return connected;
}

/* ---- calls ---- */

/* Waits for the answer to `key`, lock held. */
static struct result wait_answer(struct keylink *k, const char *key, uint64_t connection, unsigned timeout_ms,
                                 json_t **ret) {
    struct timespec deadline = deadline_in(timeout_ms);
    int waited = 0;
    while (waited == 0) {
        json_t *answer = json_object_get(k->answers, key);
        if (json_is_object(answer)) {
            *ret = json_deep_copy(answer);
            return OK;
        }
        CHECK(k->connection == connection && !k->stopping, ERR_UNREACHABLE, "the keyring went away before it answered");
        waited = pthread_cond_timedwait(&k->changed, &k->lock, &deadline);
    }
    FAIL(ERR_TIMEOUT, "the keyring gave no answer within %u ms", timeout_ms);
}

/* Waits up to a second for a connection; lock held. */
static struct result wait_connection(struct keylink *k) {
    struct timespec deadline = deadline_in(COME_BACK_MS);
    while (k->fd < 0 && !k->stopping)
        if (pthread_cond_timedwait(&k->changed, &k->lock, &deadline) != 0) break;
    CHECK(k->fd >= 0, ERR_UNREACHABLE, "the keyring isn't running");
    return OK;
}

static struct result call_locked(struct keylink *k, json_t *request, unsigned timeout_ms, json_t **ret) {
    TRY(wait_connection(k));
    json_int_t id = ++k->next_id;
    char key[24];
    snprintf(key, sizeof key, "%lld", (long long)id);
    json_object_set_new(request, "id", json_integer(id));
    json_object_set_new(k->answers, key, json_null());
    BUF_AUTO(text, MAX_MESSAGE);
    struct result r = json_write(request, &text);
    if (is_ok(r)) r = buf_check(&text);
    if (is_ok(r)) r = ipc_send(k->fd, buf_slice(&text), NULL, 0, SEND_MS);
    if (is_ok(r)) r = wait_answer(k, key, k->connection, timeout_ms, ret);
    json_object_del(k->answers, key);
    return r;
}

struct result keylink_call(struct keylink *k, json_t *request, unsigned timeout_ms, json_t **ret) {
    pthread_mutex_lock(&k->lock);
    struct result r = call_locked(k, request, timeout_ms, ret);
    pthread_mutex_unlock(&k->lock);
    return r;
}

/* ---- states and engines ---- */

json_t *keylink_state(struct keylink *k, const char *org) {
    pthread_mutex_lock(&k->lock);
    json_t *state = json_deep_copy(json_object_get(k->states, org));
    pthread_mutex_unlock(&k->lock);
    return state;
}

json_t *keylink_state_in(struct keylink *k, const char *org, const char *region) {
    AUTO_FREE char *key = state_key(org, region);
    pthread_mutex_lock(&k->lock);
    json_t *state = json_deep_copy(json_object_get(k->all_states, key));
    pthread_mutex_unlock(&k->lock);
    return state;
}

json_t *keylink_orgs_in_state(struct keylink *k, const char *state_name) {
    json_t *list = json_array(), *state;
    const char *org;
    pthread_mutex_lock(&k->lock);
    json_object_foreach(k->states, org, state) {
        const char *name = json_string_value(json_object_get(state, "state"));
        if (name && strcmp(name, state_name) == 0) json_array_append_new(list, json_string(org));
    }
    pthread_mutex_unlock(&k->lock);
    return list;
}

json_t *keylink_states(struct keylink *k) {
    json_t *list = json_array(), *state;
    const char *org;
    pthread_mutex_lock(&k->lock);
    json_object_foreach(k->states, org, state) json_array_append_new(list, json_deep_copy(state));
    pthread_mutex_unlock(&k->lock);
    return list;
}

bool keylink_engine(struct keylink *k, const char *org, struct keylink_engine *ret) {
    pthread_mutex_lock(&k->lock);
    const json_t *e = json_object_get(k->engines, org);
    if (e) {
        snprintf(ret->socket_path, sizeof ret->socket_path, "%s", json_string_value(json_object_get(e, "socket")));
        ret->epoch = (uint64_t)json_integer_value(json_object_get(e, "epoch"));
    }
    pthread_mutex_unlock(&k->lock);
    return e != NULL;
}

void keylink_note_engine(struct keylink *k, const char *org, const struct keylink_engine *engine) {
    pthread_mutex_lock(&k->lock);
    json_object_set_new(k->engines, org,
                        json_pack("{s:s, s:I}", "socket", engine->socket_path, "epoch", (json_int_t)engine->epoch));
    pthread_cond_broadcast(&k->changed);
    pthread_mutex_unlock(&k->lock);
}

static bool has_engine(const struct keylink *k, const char *org, uint64_t epoch) {
    const json_t *e = json_object_get(k->engines, org);
    return e && (uint64_t)json_integer_value(json_object_get(e, "epoch")) == epoch;
}

void keylink_forget_engine(struct keylink *k, const char *org, uint64_t epoch) {
    pthread_mutex_lock(&k->lock);
    if (has_engine(k, org, epoch)) json_object_del(k->engines, org);
    pthread_mutex_unlock(&k->lock);
}

static bool is_available(const json_t *state) {
    const char *s = json_string_value(json_object_get(state, "state"));
    return s && strcmp(s, "AVAILABLE") == 0;
}

void keylink_wait_news(struct keylink *k, const char *org, uint64_t epoch, unsigned timeout_ms) {
    struct timespec deadline = deadline_in(timeout_ms);
    pthread_mutex_lock(&k->lock);
    while (!k->stopping) {
        bool has_other = json_object_get(k->engines, org) && !has_engine(k, org, epoch);
        if (has_other || !is_available(json_object_get(k->states, org))) break;
        if (pthread_cond_timedwait(&k->changed, &k->lock, &deadline) != 0) break;
    }
    pthread_mutex_unlock(&k->lock);
}

/* The state, for which an organization or region that was created a moment ago (through another region's api, say) may
 * have to wait. */
static json_t *await_state(struct keylink *k, const char *org) {
    struct timespec deadline = deadline_in(FIRST_NEWS_MS);
    pthread_mutex_lock(&k->lock);
    while (!json_object_get(k->states, org) && !k->stopping)
        if (pthread_cond_timedwait(&k->changed, &k->lock, &deadline) != 0) break;
    json_t *state = json_deep_copy(json_object_get(k->states, org));
    pthread_mutex_unlock(&k->lock);
    return state;
}

struct result keylink_check(struct keylink *k, const char *org, enum keylink_use use, struct refusal *why) {
    JSON_AUTO(state);
    state = await_state(k, org);
    return keylink_judge(state, use, why);
}
