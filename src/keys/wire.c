#include "keys/wire.h"

#include "base/ipc.h"

/* Codes of NO_BRANCH as they stand on the wire: err_code's values may move, these may not. */
enum { NO_BRANCH_NOT_FOUND = 1, NO_BRANCH_NO_LEASE = 2, NO_BRANCH_UNREACHABLE = 3, NO_BRANCH_CORRUPT = 4 };

static uint8_t code_to_wire(enum err_code code) {
    if (code == ERR_NOT_FOUND) return NO_BRANCH_NOT_FOUND;
    if (code == ERR_NO_LEASE) return NO_BRANCH_NO_LEASE;
    if (code == ERR_CORRUPT) return NO_BRANCH_CORRUPT;
    return NO_BRANCH_UNREACHABLE;
}

static bool code_from_wire(uint8_t byte, enum err_code *ret) {
    static const enum err_code codes[] = {
        [NO_BRANCH_NOT_FOUND] = ERR_NOT_FOUND,
        [NO_BRANCH_NO_LEASE] = ERR_NO_LEASE,
        [NO_BRANCH_UNREACHABLE] = ERR_UNREACHABLE,
        [NO_BRANCH_CORRUPT] = ERR_CORRUPT,
    };
    if (byte == 0 || byte >= ARRAY_LEN(codes)) return false;
    *ret = codes[byte];
    return true;
}

/* Sends a type byte and what `id` and `rest` hold. */
static struct result send_parts(int fd, enum wire_type type, struct slice id, struct slice rest, int timeout_ms) {
    AUTO(buf_done) struct buf b;
    buf_init_wiping(&b, WIRE_MAX_BYTES);
    buf_append_byte(&b, (uint8_t)type);
    buf_append_slice(&b, id);
    buf_append_slice(&b, rest);
    TRY(buf_check(&b));
    return ipc_send(fd, buf_slice(&b), NULL, 0, timeout_ms);
}

static const struct slice nothing = {0};

struct result wire_send_arm(int fd, int64_t expiry_boottime_ns, int timeout_ms) {
    BUF_AUTO(b, 8);
    put_u64(&b, (uint64_t)expiry_boottime_ns);
    return send_parts(fd, WIRE_ARM, nothing, buf_slice(&b), timeout_ms);
}

static struct result check_key(struct slice key) {
    CHECK(key.len == WIRE_KEY_BYTES, ERR_INVALID, "a key on the wire has %d bytes, not %zu", WIRE_KEY_BYTES, key.len);
    return OK;
}

struct result wire_send_branch(int fd, const uint8_t id[static WIRE_ID_BYTES], struct slice key, int timeout_ms) {
    TRY(check_key(key));
    return send_parts(fd, WIRE_BRANCH, slice_make(id, WIRE_ID_BYTES), key, timeout_ms);
}

struct result wire_send_active(int fd, const uint8_t id[static WIRE_ID_BYTES], int timeout_ms) {
    return send_parts(fd, WIRE_ACTIVE, slice_make(id, WIRE_ID_BYTES), nothing, timeout_ms);
}

struct result wire_send_names(int fd, struct slice key, int timeout_ms) {
    TRY(check_key(key));
    return send_parts(fd, WIRE_NAMES, nothing, key, timeout_ms);
}

struct result wire_send_no_branch(int fd, const uint8_t id[static WIRE_ID_BYTES], enum err_code code, int timeout_ms) {
    uint8_t byte = code_to_wire(code);
    return send_parts(fd, WIRE_NO_BRANCH, slice_make(id, WIRE_ID_BYTES), slice_make(&byte, 1), timeout_ms);
}

struct result wire_send_end(int fd, int timeout_ms) {
    return send_parts(fd, WIRE_END, nothing, nothing, timeout_ms);
}

struct result wire_send_retire(int fd, int timeout_ms) {
    return send_parts(fd, WIRE_RETIRE, nothing, nothing, timeout_ms);
}

struct result wire_send_ready(int fd, int timeout_ms) {
    return send_parts(fd, WIRE_READY, nothing, nothing, timeout_ms);
}

struct result wire_send_need_branch(int fd, const uint8_t id[static WIRE_ID_BYTES], int timeout_ms) {
    return send_parts(fd, WIRE_NEED_BRANCH, slice_make(id, WIRE_ID_BYTES), nothing, timeout_ms);
}

struct result wire_send_ended(int fd, const struct wire_wiped *w, int timeout_ms) {
    BUF_AUTO(b, WIRE_MAX_BYTES);
    const uint32_t counts[] = {w->branch_keys, w->name_keys, w->streams, w->namers, w->epoch_keys};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        put_u32(&b, counts[i]);
    put_u64(&b, (uint64_t)w->unix_ms);
    put_u64(&b, (uint64_t)w->boottime_ns);
    return send_parts(fd, WIRE_ENDED, nothing, buf_slice(&b), timeout_ms);
}

static bool take_wiped(struct slice *bytes, struct wire_wiped *ret) {
    uint32_t *const counts[] = {&ret->branch_keys, &ret->name_keys, &ret->streams, &ret->namers, &ret->epoch_keys};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        if (!take_u32(bytes, counts[i])) return false;
    uint64_t unix_ms, boottime_ns;
    if (!take_u64(bytes, &unix_ms) || !take_u64(bytes, &boottime_ns)) return false;
    ret->unix_ms = (int64_t)unix_ms;
    ret->boottime_ns = (int64_t)boottime_ns;
    return ret->unix_ms >= 0 && ret->boottime_ns >= 0;
}

struct result wire_send_key_refused(int fd, enum wire_refusal reason, int timeout_ms) {
    uint8_t byte = (uint8_t)reason;
    return send_parts(fd, WIRE_KEY_REFUSED, nothing, slice_make(&byte, 1), timeout_ms);
}

struct result wire_send_cache_used(int fd, uint64_t hits, uint64_t misses, int timeout_ms) {
    BUF_AUTO(b, 16);
    put_u64(&b, hits);
    put_u64(&b, misses);
    return send_parts(fd, WIRE_CACHE_USED, nothing, buf_slice(&b), timeout_ms);
}

static bool has_id(enum wire_type type) {
    return type == WIRE_BRANCH || type == WIRE_ACTIVE || type == WIRE_NO_BRANCH || type == WIRE_NEED_BRANCH;
}

static bool is_known(uint8_t type) {
    return (type >= WIRE_ARM && type <= WIRE_RETIRE) || (type >= WIRE_READY && type <= WIRE_CACHE_USED);
}

struct result wire_parse(struct slice bytes, struct wire_message *ret) {
    AUTO(wire_message_done) struct wire_message m = {0};
    uint8_t type, code;
    uint64_t expiry;
    CHECK(take_u8(&bytes, &type) && is_known(type), ERR_PEER, "a message of unknown type on a lease's socket");
    m.type = type;
    bool is_whole = true;
    if (has_id(m.type)) {
        struct slice id;
        is_whole = take_bytes(&bytes, WIRE_ID_BYTES, &id);
        if (is_whole) mem_copy(m.id, id.data, WIRE_ID_BYTES);
    }
    if (is_whole && m.type == WIRE_ARM) {
        is_whole = take_u64(&bytes, &expiry) && expiry <= INT64_MAX;
        if (is_whole) m.expiry_boottime_ns = (int64_t)expiry;
    } else if (is_whole && m.type == WIRE_NO_BRANCH) {
        is_whole = take_u8(&bytes, &code) && code_from_wire(code, &m.code);
    } else if (is_whole && m.type == WIRE_ENDED) {
        is_whole = take_wiped(&bytes, &m.wiped);
    } else if (is_whole && m.type == WIRE_KEY_REFUSED) {
        is_whole = take_u8(&bytes, &code) && code > 0 && code < WIRE_REFUSAL_MAX;
        if (is_whole) m.reason = code;
    } else if (is_whole && m.type == WIRE_CACHE_USED) {
        is_whole = take_u64(&bytes, &m.cache_hits) && take_u64(&bytes, &m.cache_misses);
    } else if (is_whole && (m.type == WIRE_BRANCH || m.type == WIRE_NAMES)) {
        struct slice key;
        is_whole = take_bytes(&bytes, WIRE_KEY_BYTES, &key);
        if (is_whole && bytes.len == 0) TRY(secret_from(key.data, key.len, &m.key));
    }
    CHECK(is_whole && bytes.len == 0, ERR_PEER, "a message of type %u with a wrong length or value on a lease's socket",
          type);
    *ret = m;
    m = (struct wire_message){0};
    return OK;
}

struct result wire_receive(int fd, int timeout_ms, struct wire_message *ret) {
    AUTO(ipc_message_done) struct ipc_message raw = {0};
    TRY(ipc_receive(fd, timeout_ms, &raw));
    CHECK(raw.fd_count == 0, ERR_PEER, "descriptors on a lease's socket");
    return wire_parse(buf_slice(&raw.data), ret);
}

void wire_message_done(struct wire_message *m) {
    secret_done(&m->key);
    *m = (struct wire_message){0};
}
