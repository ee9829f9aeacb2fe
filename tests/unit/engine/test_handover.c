/* The engine's side of the hand-over against a gateway played by the test. */
#include "testing.h"

#include <pthread.h>
#include <unistd.h>

#include "base/http_server.h"
#include "base/ipc.h"
#include "engine/handover.h"

struct peer {
    int fd;
    const char *answer; /* NULL: hang up */
    char offer[128];
    unsigned fds;
};

static void *play_gateway(void *arg) {
    struct peer *p = arg;
    struct ipc_message m = {0};
    if (is_ok(ipc_receive(p->fd, 5000, &m))) {
        snprintf(p->offer, sizeof(p->offer), "%s", buf_str(&m.data));
        p->fds = m.fd_count;
        ipc_message_done(&m);
        if (p->answer) result_ignore(ipc_send(p->fd, slice_str(p->answer), NULL, 0, 1000));
    }
    close(p->fd);
    return NULL;
}

static struct result run(struct peer *p, const char *answer, struct handover_credentials *ret) {
    int pair[2], listener;
    unsigned port;
    ASSERT_OK(ipc_pair(pair));
    ASSERT_OK(http_listen_tcp("127.0.0.1", 0, &listener, &port));
    *p = (struct peer){.fd = pair[1], .answer = answer};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, play_gateway, p), 0);
    struct result r = handover_run(pair[0], 5, listener, port, 2000, ret);
    pthread_join(thread, NULL);
    return r;
}

static void test_credentials_arrive(void **state) {
    struct peer p;
    struct handover_credentials c = {0};
    ASSERT_OK(run(&p, "{\"op\":\"serving\",\"epoch\":5,\"access_key\":\"AK1\",\"secret_key\":\"s/K+1=_-\"}", &c));
    ASSERT_SLICE(secret_view(&c.access_key), "AK1");
    ASSERT_SLICE(secret_view(&c.secret_key), "s/K+1=_-");
    assert_int_equal(p.fds, 1);
    assert_memory_equal(p.offer, "{\"op\":\"listener\",\"port\":", 24);
    handover_credentials_done(&c);
}

static void test_wrong_answers(void **state) {
    static const char *const wrong[] = {
        "{\"op\":\"serving\",\"epoch\":4,\"access_key\":\"A\",\"secret_key\":\"S\"}",
        "{\"op\":\"other\",\"epoch\":5,\"access_key\":\"A\",\"secret_key\":\"S\"}",
        "{\"op\":\"serving\",\"epoch\":5,\"access_key\":\"A'\",\"secret_key\":\"S\"}",
        "{\"op\":\"serving\",\"epoch\":5,\"access_key\":\"A\",\"secret_key\":\"\"}",
        "{\"op\":\"serving\",\"epoch\":\"5\",\"access_key\":\"A\",\"secret_key\":\"S\"}",
        "{\"op\":\"serving\",\"epoch\":5,\"access_key\":\"A\"}",
        "no json",
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct peer p;
        struct handover_credentials c = {0};
        ASSERT_ERR(PEER, run(&p, wrong[i], &c));
        assert_null(c.access_key.data);
    }
}

static void test_a_gateway_that_hangs_up(void **state) {
    struct peer p;
    struct handover_credentials c = {0};
    ASSERT_ERR(UNREACHABLE, run(&p, NULL, &c));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_credentials_arrive),
    cmocka_unit_test(test_wrong_answers),
    cmocka_unit_test(test_a_gateway_that_hangs_up),
};
TEST_MAIN(tests)
