#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "kms/blob.h"
#include "kms/fault.h"

enum { LOOK_MS = 20 };

/* The id of the key that a request is about: its KeyId's, or that of its ciphertext. "": it can't be told. */
static void find_key_id(struct slice body, char ret[static KMSD_KEY_ID_CHARS + 1]) {
    JSON_AUTO(input);
    ret[0] = '\0';
    if (is_err(json_parse_object(body, &input))) return;
    const char *key_id = json_string_value(json_object_get(input, "KeyId"));
    const char *text = json_string_value(json_object_get(input, "CiphertextBlob"));
    struct kmsd_blob blob = {0};
    BUF_AUTO(ciphertext, KMSD_BLOB_MAX_BYTES + 1);
    if (key_id != NULL) {
        const char *slash = strrchr(key_id, '/');
        key_id = slash != NULL ? slash + 1 : key_id;
    } else if (text != NULL && is_ok(base64_decode(slice_str(text), &ciphertext)) &&
               is_ok(kmsd_blob_parse(buf_slice(&ciphertext), &blob))) {
        key_id = blob.key_id;
    }
    if (key_id != NULL && strlen(key_id) <= KMSD_KEY_ID_CHARS) mem_copy(ret, key_id, strlen(key_id) + 1);
}

/* Until the time is over (ms < 0: never), the fault is cleared, or the client is gone: false. */
static bool wait_for(struct kmsd_faults *f, const struct kmsd_fault *fault, struct http_request *r, int64_t ms) {
    int64_t until_ns = clock_boottime_ns() + ms * NS_PER_MS;
    struct pollfd client = {.fd = http_client_fd(r), .events = POLLRDHUP};
    while (kmsd_faults_has(f, fault->id)) {
        int64_t left_ms = (until_ns - clock_boottime_ns() + NS_PER_MS - 1) / NS_PER_MS;
        if (ms >= 0 && left_ms <= 0) return true;
        int wait_ms = ms >= 0 && left_ms < LOOK_MS ? (int)left_ms : LOOK_MS;
        if (poll(&client, 1, wait_ms) > 0) return false;
    }
    return true;
}

static void answer_error(struct http_request *r, const struct kmsd_fault *fault) {
    static const struct http_field fields[] = {{"Content-Type", "application/x-amz-json-1.1"}, {NULL, NULL}};
    bool is_denied = strstr(fault->error, "AccessDeniedException") != NULL;
    BUF_AUTO(body, 16384);
    buf_append_str(&body, "{\"__type\":");
    json_write_str(slice_str(fault->error), &body);
    if (fault->message != NULL) {
        buf_printf(&body, ",\"%s\":", is_denied ? "Message" : "message");
        json_write_str(slice_str(fault->message), &body);
    }
    buf_append_byte(&body, '}');
    http_answer(r, fault->status, fields, buf_slice(&body));
}

/* The client sees the connection end without a byte. */
static void drop(struct http_request *r) {
    shutdown(http_client_fd(r), SHUT_RDWR);
    http_answer(r, 500, NULL, (struct slice){0});
}

bool kmsd_faults_apply(struct kmsd_faults *f, struct http_request *r, const char *operation) {
    if (f == NULL) return false;
    char key_id[KMSD_KEY_ID_CHARS + 1];
    AUTO(kmsd_fault_done) struct kmsd_fault fault = {0};
    find_key_id(http_body(r), key_id);
    if (!kmsd_faults_take(f, operation, key_id, &fault)) return false;
    log_info("kms.fault", KV("operation", operation), KV("key", key_id), KVI("fault", fault.id));
    switch (fault.kind) {
    case KMSD_FAULT_DELAY:
    case KMSD_FAULT_HANG:
        if (wait_for(f, &fault, r, fault.kind == KMSD_FAULT_HANG ? -1 : fault.delay_ms)) return false;
        drop(r);
        return true;
    case KMSD_FAULT_ERROR:
        answer_error(r, &fault);
        return true;
    case KMSD_FAULT_DROP:
        break;
    }
    drop(r);
    return true;
}
