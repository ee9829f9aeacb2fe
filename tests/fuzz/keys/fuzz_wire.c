/* Messages on a lease's socket, as an engine that was taken over may send them to the keyring. */
#include "fuzz.h"
#include "keys/wire.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    PROMISE(is_ok(secret_start(1 << 16, true)));
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct wire_message m = {0};
    err_forget();
    struct result r = wire_parse(slice_make(data, size), &m);
    PROMISE(is_settled(r));
    if (is_err(r)) {
        PROMISE(r.code == ERR_PEER && !m.key.data);
        return 0;
    }
    PROMISE(size >= 1 && size <= WIRE_MAX_BYTES && m.type == (enum wire_type)data[0]);
    bool has_key = m.type == WIRE_BRANCH || m.type == WIRE_NAMES;
    PROMISE(has_key ? m.key.len == WIRE_KEY_BYTES : !m.key.data);
    PROMISE(m.expiry_boottime_ns >= 0 && (m.type == WIRE_ARM || m.expiry_boottime_ns == 0));
    if (m.type == WIRE_READY || m.type == WIRE_END || m.type == WIRE_RETIRE) PROMISE(size == 1);
    if (m.type == WIRE_NEED_BRANCH) PROMISE(slice_equal(slice_make(m.id, sizeof m.id), slice_make(data + 1, size - 1)));
    PROMISE(m.type != WIRE_KEY_REFUSED || (size == 2 && m.reason > 0 && m.reason < WIRE_REFUSAL_MAX));
    wire_message_done(&m);
    PROMISE(!m.key.data);
    return 0;
}
