#include "engine/handover.h"

#include <string.h>
#include <unistd.h>

#include "base/ipc.h"
#include "base/json.h"

enum { SEND_TIMEOUT_MS = 5000, KEY_MAX_BYTES = 256 };

/* The keys go into the text of SQL statements: nothing may be in them that means something there. */
static bool is_plain_key(const char *key) {
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=";
    size_t len = strlen(key);
    return len > 0 && len <= KEY_MAX_BYTES && strspn(key, plain) == len;
}

static struct result take_key(const json_t *message, const char *name, struct secret *ret) {
    const char *key = NULL;
    CHECK(is_ok(json_get_str(message, name, &key)) && is_plain_key(key), ERR_PEER,
          "the gateway's %s is not of the form of one", name);
    return secret_from(key, strlen(key), ret);
}

static struct result parse_answer(struct slice text, uint64_t epoch, struct handover_credentials *ret) {
    JSON_AUTO(message);
    const char *op = NULL;
    int64_t answered = 0;
    CHECK(is_ok(json_parse_object(text, &message)) && is_ok(json_get_str(message, "op", &op)) &&
              strcmp(op, "serving") == 0 && is_ok(json_get_int(message, "epoch", 0, INT64_MAX, &answered)),
          ERR_PEER, "the gateway did not say 'serving'");
    CHECK((uint64_t)answered == epoch, ERR_PEER, "the gateway serves epoch %lld, this is epoch %llu",
          (long long)answered, (unsigned long long)epoch);
    AUTO(handover_credentials_done) struct handover_credentials c = {0};
    TRY(take_key(message, "access_key", &c.access_key));
    TRY(take_key(message, "secret_key", &c.secret_key));
    *ret = c;
    c = (struct handover_credentials){0};
    return OK;
}

static struct result exchange(int fd, uint64_t epoch, int listen_fd, unsigned port, int timeout_ms,
                              struct handover_credentials *ret) {
    AUTO_FREE char *offer = str_format("{\"op\":\"listener\",\"port\":%u}", port);
    TRY(ipc_send(fd, slice_str(offer), &listen_fd, 1, SEND_TIMEOUT_MS));
    AUTO(ipc_message_done) struct ipc_message m = {0};
    TRY(ipc_receive(fd, timeout_ms, &m));
    return parse_answer(buf_slice(&m.data), epoch, ret);
}

struct result handover_run(int fd, uint64_t epoch, int listen_fd, unsigned port, int timeout_ms,
                           struct handover_credentials *ret) {
    struct result r = exchange(fd, epoch, listen_fd, port, timeout_ms, ret);
    close(listen_fd);
    close(fd);
    return r;
}

void handover_credentials_done(struct handover_credentials *c) {
    secret_done(&c->access_key);
    secret_done(&c->secret_key);
}
