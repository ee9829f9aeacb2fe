#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/ipc.h"
#include "testing.h"

static void test_messages_arrive_whole(void **state) {
    int pair[2];
    ASSERT_OK(ipc_pair(pair));
    static uint8_t big[IPC_MAX_BYTES];
    memset(big, 7, sizeof big);
    ASSERT_OK(ipc_send(pair[0], slice_str("one"), NULL, 0, 100));
    ASSERT_OK(ipc_send(pair[0], slice_make(big, sizeof big), NULL, 0, 100));
    struct ipc_message m;
    ASSERT_OK(ipc_receive(pair[1], 100, &m));
    assert_string_equal(buf_str(&m.data), "one");
    ipc_message_done(&m);
    ASSERT_OK(ipc_receive(pair[1], 100, &m));
    assert_int_equal(m.data.len, IPC_MAX_BYTES);
    assert_int_equal(m.data.data[IPC_MAX_BYTES - 1], 7);
    ipc_message_done(&m);
    ASSERT_ERR(TOO_LARGE, ipc_send(pair[0], slice_make(big, sizeof big + 1), NULL, 0, 100));
    ASSERT_ERR(TOO_LARGE, ipc_send(pair[0], (struct slice){0}, NULL, 0, 100));
    close(pair[0]);
    close(pair[1]);
}

static void test_descriptors(void **state) {
    int pair[2];
    ASSERT_OK(ipc_pair(pair));
    int fds[IPC_MAX_FDS];
    for (int i = 0; i < IPC_MAX_FDS; i++)
        fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ASSERT_OK(ipc_send(pair[0], slice_str("x"), fds, IPC_MAX_FDS, 100));
    struct ipc_message m;
    ASSERT_OK(ipc_receive(pair[1], 100, &m));
    assert_int_equal(m.fd_count, IPC_MAX_FDS);
    for (int i = 0; i < IPC_MAX_FDS; i++) {
        assert_int_equal(fcntl(m.fds[i], F_GETFD), FD_CLOEXEC);
        close(fds[i]); /* ours are still ours */
    }
    int taken = TAKE_FD(m.fds[0]), left = m.fds[1];
    ipc_message_done(&m);
    assert_int_not_equal(fcntl(taken, F_GETFD), -1);
    assert_int_equal(fcntl(left, F_GETFD), -1);
    close(taken);
    ASSERT_ERR(TOO_LARGE, ipc_send(pair[0], slice_str("x"), fds, IPC_MAX_FDS + 1, 100));
    close(pair[0]);
    close(pair[1]);
}

static void test_oversized_peer(void **state) {
    int pair[2];
    ASSERT_OK(ipc_pair(pair));
    static uint8_t big[IPC_MAX_BYTES + 1];
    assert_int_equal(send(pair[0], big, sizeof big, 0), sizeof big);
    struct ipc_message m;
    ASSERT_ERR(PEER, ipc_receive(pair[1], 100, &m));
    close(pair[0]);
    close(pair[1]);
}

static void test_timeouts_and_ends(void **state) {
    int pair[2];
    ASSERT_OK(ipc_pair(pair));
    struct ipc_message m;
    int64_t before = clock_boottime_ns();
    ASSERT_ERR(TIMEOUT, ipc_receive(pair[1], 50, &m));
    assert_true(clock_boottime_ns() - before >= 50 * NS_PER_MS);
    ASSERT_ERR(TIMEOUT, ipc_receive(pair[1], 0, &m));
    static uint8_t big[IPC_MAX_BYTES];
    struct result r = OK;
    for (int i = 0; i < 1000 && is_ok(r); i++)
        r = ipc_send(pair[0], slice_make(big, sizeof big), NULL, 0, 20);
    assert_int_equal(r.code, ERR_TIMEOUT);
    close(pair[1]);
    ASSERT_ERR(UNREACHABLE, ipc_send(pair[0], slice_str("x"), NULL, 0, 20));
    ASSERT_ERR(UNREACHABLE, ipc_receive(pair[0], 20, &m));
    close(pair[0]);
}

static void *send_later(void *arg) {
    clock_sleep_ms(30);
    result_ignore(ipc_send(*(int *)arg, slice_str("late"), NULL, 0, 1000));
    return NULL;
}

static void test_waits_for_ever(void **state) {
    int pair[2];
    ASSERT_OK(ipc_pair(pair));
    pthread_t thread;
    pthread_create(&thread, NULL, send_later, &pair[0]);
    struct ipc_message m;
    ASSERT_OK(ipc_receive(pair[1], -1, &m));
    assert_string_equal(buf_str(&m.data), "late");
    ipc_message_done(&m);
    pthread_join(thread, NULL);
    close(pair[0]);
    close(pair[1]);
}

static void test_listen_and_connect(void **state) {
    char dir[] = "/tmp/lockset-ipc-XXXXXX";
    assert_non_null(mkdtemp(dir));
    AUTO_FREE char *path = str_format("%s/socket", dir);
    FD_AUTO(client) = -1;
    FD_AUTO(server) = -1;
    FD_AUTO(listener) = -1;
    ASSERT_ERR(UNREACHABLE, ipc_connect(path, &client));
    ASSERT_OK(ipc_listen(path, &listener));
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    ASSERT_ERR(TIMEOUT, ipc_accept(listener, 10, &server));
    ASSERT_OK(ipc_connect(path, &client));
    ASSERT_OK(ipc_accept(listener, 1000, &server));
    ASSERT_OK(ipc_send(client, slice_str("hi"), NULL, 0, 100));
    struct ipc_message m;
    ASSERT_OK(ipc_receive(server, 100, &m));
    assert_string_equal(buf_str(&m.data), "hi");
    ipc_message_done(&m);
    fd_close(&listener);
    fd_close(&client);
    ASSERT_ERR(UNREACHABLE, ipc_connect(path, &client));
    ASSERT_OK(ipc_listen(path, &listener)); /* replaces the old socket */
    AUTO_FREE char *file = str_format("%s/file", dir), *far = str_format("%s/%0200d", dir, 1);
    ASSERT_OK(file_write_atomic(file, slice_str("kept"), 0600));
    int none = -1;
    ASSERT_ERR(EXISTS, ipc_listen(file, &none)); /* but nothing else */
    ASSERT_ERR(INVALID, ipc_listen(far, &none));
    ASSERT_ERR(INVALID, ipc_connect(far, &none));
    assert_int_equal(none, -1);
    ASSERT_OK(file_remove_tree(dir));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_messages_arrive_whole), cmocka_unit_test(test_descriptors),
    cmocka_unit_test(test_oversized_peer),        cmocka_unit_test(test_timeouts_and_ends),
    cmocka_unit_test(test_waits_for_ever),        cmocka_unit_test(test_listen_and_connect),
};

TEST_MAIN(tests)
