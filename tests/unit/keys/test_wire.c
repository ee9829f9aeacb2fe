#include "testing.h"

#include <string.h>
#include <unistd.h>

#include "base/ipc.h"
#include "keys/wire.h"

static const uint8_t id[WIRE_ID_BYTES] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
static uint8_t key[WIRE_KEY_BYTES];

static int pair_setup(void **state) {
    int *fds = mem_alloc_array(2, sizeof(int));
    if (is_err(ipc_pair(fds))) return 1;
    for (unsigned i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)(200 - i);
    *state = fds;
    return 0;
}

static int pair_teardown(void **state) {
    int *fds = *state;
    close(fds[0]);
    close(fds[1]);
    mem_free(fds);
    return 0;
}

static struct wire_message receive(int fd, enum wire_type type) {
    struct wire_message m = {0};
    ASSERT_OK(wire_receive(fd, 1000, &m));
    assert_int_equal(m.type, type);
    return m;
}

static void every_message_arrives(void **state) {
    const int *fds = *state;
    struct wire_message m;

    ASSERT_OK(wire_send_arm(fds[0], 123456789012345LL, 1000));
    m = receive(fds[1], WIRE_ARM);
    assert_int_equal(m.expiry_boottime_ns, 123456789012345LL);
    wire_message_done(&m);

    ASSERT_OK(wire_send_branch(fds[0], id, slice_make(key, 32), 1000));
    m = receive(fds[1], WIRE_BRANCH);
    assert_memory_equal(m.id, id, sizeof id);
    assert_int_equal(m.key.len, 32);
    assert_memory_equal(m.key.data, key, 32);
    wire_message_done(&m);
    assert_null(m.key.data);

    ASSERT_OK(wire_send_active(fds[0], id, 1000));
    m = receive(fds[1], WIRE_ACTIVE);
    assert_memory_equal(m.id, id, sizeof id);

    ASSERT_OK(wire_send_names(fds[0], slice_make(key, 32), 1000));
    m = receive(fds[1], WIRE_NAMES);
    assert_memory_equal(m.key.data, key, 32);
    wire_message_done(&m);

    ASSERT_OK(wire_send_end(fds[0], 1000));
    receive(fds[1], WIRE_END);
    ASSERT_OK(wire_send_cache_used(fds[1], 7, UINT64_C(1) << 40, 1000));
    m = receive(fds[0], WIRE_CACHE_USED);
    assert_true(m.cache_hits == 7 && m.cache_misses == UINT64_C(1) << 40);
    ASSERT_OK(wire_send_retire(fds[0], 1000));
    receive(fds[1], WIRE_RETIRE);
    ASSERT_OK(wire_send_ready(fds[1], 1000));
    receive(fds[0], WIRE_READY);
    ASSERT_OK(wire_send_need_branch(fds[1], id, 1000));
    m = receive(fds[0], WIRE_NEED_BRANCH);
    assert_memory_equal(m.id, id, sizeof id);
    const struct wire_wiped wiped = {1, 2, 3, 4, 5, 1234567890123LL, 987654321LL};
    ASSERT_OK(wire_send_ended(fds[1], &wiped, 1000));
    m = receive(fds[0], WIRE_ENDED);
    assert_memory_equal(&m.wiped, &wiped, sizeof wiped);
    for (unsigned reason = 1; reason < WIRE_REFUSAL_MAX; reason++) {
        ASSERT_OK(wire_send_key_refused(fds[1], reason, 1000));
        assert_int_equal(receive(fds[0], WIRE_KEY_REFUSED).reason, reason);
    }
}

static void no_branch_keeps_its_code(void **state) {
    const int *fds = *state;
    static const struct {
        enum err_code sent, got;
    } rows[] = {{ERR_NOT_FOUND, ERR_NOT_FOUND}, {ERR_NO_LEASE, ERR_NO_LEASE}, {ERR_UNREACHABLE, ERR_UNREACHABLE},
                {ERR_CORRUPT, ERR_CORRUPT},     {ERR_IO, ERR_UNREACHABLE},    {ERR_TIMEOUT, ERR_UNREACHABLE}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        ASSERT_OK(wire_send_no_branch(fds[0], id, rows[i].sent, 1000));
        struct wire_message m = receive(fds[1], WIRE_NO_BRANCH);
        assert_int_equal(m.code, rows[i].got);
    }
}

static void keys_of_another_length_are_refused(void **state) {
    const int *fds = *state;
    ASSERT_ERR(INVALID, wire_send_branch(fds[0], id, slice_make(key, 31), 100));
    ASSERT_ERR(INVALID, wire_send_names(fds[0], slice_make(key, 16), 100));
    struct wire_message m;
    ASSERT_ERR(TIMEOUT, wire_receive(fds[1], 0, &m)); /* nothing was sent */
}

/* Every type with every length: only its own is taken. */
static void wrong_lengths_and_types_are_refused(void **state) {
    uint8_t bytes[WIRE_MAX_BYTES + 2] = {0};
    for (unsigned type = 0; type < 256; type++) {
        size_t want = type == WIRE_ARM                                                ? 9
                      : type == WIRE_BRANCH                                           ? 49
                      : type == WIRE_ACTIVE || type == WIRE_NEED_BRANCH               ? 17
                      : type == WIRE_NAMES                                            ? 33
                      : type == WIRE_NO_BRANCH                                        ? 18
                      : type == WIRE_KEY_REFUSED                                      ? 2
                      : type == WIRE_END || type == WIRE_READY || type == WIRE_RETIRE ? 1
                      : type == WIRE_ENDED                                            ? 37
                      : type == WIRE_CACHE_USED                                       ? 17
                                                                                      : 0;
        for (size_t len = 0; len <= sizeof bytes; len++) {
            bytes[0] = (uint8_t)type;
            bytes[17] = 1; /* a good code for NO_BRANCH */
            bytes[1] = type == WIRE_KEY_REFUSED;
            struct wire_message m = {0};
            if (want != 0 && len == want) {
                ASSERT_OK(wire_parse(slice_make(bytes, len), &m));
                wire_message_done(&m);
            } else {
                ASSERT_ERR(PEER, wire_parse(slice_make(bytes, len), &m));
            }
        }
    }
    bytes[0] = WIRE_NO_BRANCH;
    struct wire_message m;
    bytes[17] = 0;
    ASSERT_ERR(PEER, wire_parse(slice_make(bytes, 18), &m));
    bytes[17] = 5;
    ASSERT_ERR(PEER, wire_parse(slice_make(bytes, 18), &m));
    uint8_t refusal[2] = {WIRE_KEY_REFUSED, 0};
    ASSERT_ERR(PEER, wire_parse(slice_make(refusal, 2), &m));
    refusal[1] = WIRE_REFUSAL_MAX;
    ASSERT_ERR(PEER, wire_parse(slice_make(refusal, 2), &m));
    uint8_t negative[9] = {WIRE_ARM, 0x80};
    ASSERT_ERR(PEER, wire_parse(slice_make(negative, 9), &m));
}

static void descriptors_are_refused(void **state) {
    const int *fds = *state;
    uint8_t end = WIRE_END;
    ASSERT_OK(ipc_send(fds[0], slice_make(&end, 1), &fds[0], 1, 1000));
    struct wire_message m;
    ASSERT_ERR(PEER, wire_receive(fds[1], 1000, &m));
}

static void a_closed_peer_is_unreachable(void **state) {
    int fds[2];
    ASSERT_OK(ipc_pair(fds));
    close(fds[0]);
    struct wire_message m;
    ASSERT_ERR(UNREACHABLE, wire_receive(fds[1], 1000, &m));
    ASSERT_ERR(UNREACHABLE, wire_send_ready(fds[1], 1000));
    close(fds[1]);
}

int main(void) {
    if (is_err(secret_start(1 << 20, true))) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_message_arrives, pair_setup, pair_teardown),
        cmocka_unit_test_setup_teardown(no_branch_keeps_its_code, pair_setup, pair_teardown),
        cmocka_unit_test_setup_teardown(keys_of_another_length_are_refused, pair_setup, pair_teardown),
        cmocka_unit_test(wrong_lengths_and_types_are_refused),
        cmocka_unit_test_setup_teardown(descriptors_are_refused, pair_setup, pair_teardown),
        cmocka_unit_test(a_closed_peer_is_unreachable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
