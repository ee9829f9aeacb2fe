/* What HTTP runs over: TLS, listeners of another network namespace; and how much memory long bodies take. */
#include "base/http_client.h"

#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "base/ipc.h"
#include "http_fixture.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static struct http_pool *pool;

static uint64_t peak_memory_kib(void) {
    BUF_AUTO(b, 65536);
    ASSERT_OK(file_read("/proc/self/status", 65535, &b));
    const char *line = strstr(buf_str(&b), "VmHWM:");
    assert_non_null(line);
    return strtoull(line + 6, NULL, 10);
}

struct flow {
    uint64_t at, length;
    bool wrong;
};

static bool check_piece(void *arg, struct slice piece) {
    struct flow *f = arg;
    /* A sample is enough: every byte would take longer than the transfer. */
    for (size_t i = 0; i < piece.len; i += 997)
        f->wrong |= piece.data[i] != tap_byte(f->at + i);
    f->at += piece.len;
    return !f->wrong;
}

static ssize_t make_piece(void *arg, uint8_t *to, size_t max) {
    struct flow *f = arg;
    size_t n = f->length - f->at < max ? (size_t)(f->length - f->at) : max;
    memset(to, 'x', n);
    f->at += n;
    return (ssize_t)n;
}

static void test_long_bodies_take_little_memory(void **state) {
    uint64_t length = SANITIZED ? 64ULL << 20 : 1ULL << 30;
    struct service s;
    service_start_streaming(&s);
    AUTO_FREE char *down_url = str_format("http://127.0.0.1:%u/stream?n=%llu", s.port, (unsigned long long)length);
    struct flow down = {0};
    struct http_call get = {.method = "GET", .url = down_url, .write_body = check_piece, .arg = &down};
    struct http_reply r = {0};
    ASSERT_OK(http_call(pool, &get, &r));
    http_reply_done(&r);
    assert_false(down.wrong);
    assert_true(down.at == length);
    AUTO_FREE char *up_url = str_format("http://127.0.0.1:%u/sink", s.port);
    struct flow up = {.length = length};
    struct http_call put = {
        .method = "PUT", .url = up_url, .read_body = make_piece, .read_body_length = (int64_t)length, .arg = &up};
    ASSERT_OK(http_call(pool, &put, &r));
    assert_int_equal(r.status, 200);
    http_reply_done(&r);
    assert_true(s.body_bytes == length);
    http_server_stop(s.server, false);
    if (!SANITIZED) assert_in_range(peak_memory_kib(), 1, 30 * 1024);
}

static void test_slow_reader_takes_little_memory(void **state) {
    struct service s;
    service_start(&s, (struct http_server_options){0});
    int fds[8];
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = raw_connect(s.port);
        raw_send(fds[i], slice_str("GET /stream?n=10000000000 HTTP/1.1\r\nHost: x\r\n\r\n"));
    }
    clock_sleep_ms(500); /* nobody reads */
    if (!SANITIZED) assert_in_range(peak_memory_kib(), 1, 30 * 1024);
    http_server_stop(s.server, true);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
    assert_int_equal(s.closed, 8);
}

static char *read_text(const char *path) {
    BUF_AUTO(b, 65536);
    ASSERT_OK(file_read(path, 65535, &b));
    return buf_take_str(&b);
}

static void test_tls(void **state) {
    char dir[] = "/tmp/lockset-tls-XXXXXX";
    assert_non_null(mkdtemp(dir));
    AUTO_FREE char *key_path = str_format("%s/key", dir), *cert_path = str_format("%s/cert", dir);
    AUTO_FREE char *command =
        str_format("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost "
                   "-addext subjectAltName=DNS:localhost -keyout %s -out %s 2>/dev/null",
                   key_path, cert_path);
    assert_int_equal(system(command), 0);
    AUTO_FREE char *key = read_text(key_path), *cert = read_text(cert_path);
    struct service s;
    service_start(
        &s, (struct http_server_options){.tls_cert_pem = cert, .tls_key_pem = key, .handler = {.body = service_body}});
    AUTO_FREE char *url = str_format("https://localhost:%u/hello", s.port);
    struct http_call call = {.method = "GET", .url = url};
    struct http_reply r = {0};
    ASSERT_ERR(UNREACHABLE, http_call(pool, &call, &r)); /* not a certificate we trust */
    call.ca_file = cert_path;
    ASSERT_OK(http_call(pool, &call, &r));
    assert_string_equal(buf_str(&r.body), "hello");
    http_reply_done(&r);
    AUTO_FREE char *wrong_name = str_format("https://127.0.0.1:%u/hello", s.port);
    call.url = wrong_name;
    ASSERT_ERR(UNREACHABLE, http_call(pool, &call, &r));
    AUTO_FREE char *plain = str_format("http://localhost:%u/hello", s.port);
    call.url = plain;
    assert_true(is_err(http_call(pool, &call, &r)));

    AUTO_FREE char *sink = str_format("https://localhost:%u/sink", s.port);
    struct flow up = {.length = 20 << 20};
    struct http_call put = {.method = "PUT",
                            .url = sink,
                            .ca_file = cert_path,
                            .read_body = make_piece,
                            .read_body_length = 20 << 20,
                            .arg = &up};
    ASSERT_OK(http_call(pool, &put, &r));
    http_reply_done(&r);
    assert_int_equal(s.body_bytes, 20 << 20);

    /* Answers past the library go through TLS, too. */
    const struct http_field expects[] = {{"Expect", "100-continue"}, {0}};
    static const char *const paths[] = {"refuse", "fail-in-body"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        AUTO_FREE char *early = str_format("https://localhost:%u/%s", s.port, paths[i]);
        up.at = 0;
        put.url = early;
        put.fields = expects;
        ASSERT_OK(http_call(pool, &put, &r));
        assert_int_equal(r.status, i == 0 ? 403 : 507);
        assert_string_equal(buf_str(&r.body), i == 0 ? "refused" : "full");
        http_reply_done(&r);
        if (i == 0) assert_int_equal(up.at, 0);
    }
    AUTO_FREE char *old =
        str_format("curl -s --tls-max 1.1 --cacert %s https://localhost:%u/ -o /dev/null", cert_path, s.port);
    assert_int_not_equal(system(old), 0);
    int stalled = raw_connect(s.port);
    raw_send(stalled, slice_str("\x16\x03\x01"));
    clock_sleep_ms(50);
    int64_t before = clock_boottime_ns();
    http_server_stop(s.server, true);
    assert_true(clock_boottime_ns() - before < NS_PER_S);
    close(stalled);
    ASSERT_OK(file_remove_tree(dir));
}

/* In a network namespace of its own: listens, hands the listener over, asks the server. */
static int isolated_child(int channel) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0 && unshare(CLONE_NEWNET) != 0) return 77;
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    if (ioctl(control, SIOCSIFFLAGS, &loopback) != 0) return 77;
    int fd = -1;
    unsigned port;
    if (is_err(http_listen_tcp("127.0.0.1", 0, &fd, &port))) return 3;
    if (is_err(ipc_send(channel, slice_str("listener"), &fd, 1, 1000))) return 4;
    close(fd);
    struct ipc_message m;
    if (is_err(ipc_receive(channel, 5000, &m))) return 5;
    ipc_message_done(&m);
    bool ended;
    char *got = raw_exchange(port, slice_str("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"), 1000, &ended);
    return strstr(got, "\r\n\r\nhello") ? 0 : 6;
}

static void test_listener_of_another_namespace(void **state) {
    int pair[2];
    ASSERT_OK(ipc_pair(pair));
    pid_t pid = fork();
    if (pid == 0) _exit(isolated_child(pair[1]));
    close(pair[1]);
    struct ipc_message m = {0};
    struct result r = ipc_receive(pair[0], 5000, &m);
    int status = 0;
    if (is_err(r)) {
        assert_int_equal(waitpid(pid, &status, 0), pid);
        close(pair[0]);
        assert_int_equal(WEXITSTATUS(status), 77);
        skip(); /* namespaces can't be made here */
    }
    assert_int_equal(m.fd_count, 1);
    struct service s;
    service_start(&s, (struct http_server_options){.listen_fd = TAKE_FD(m.fds[0])});
    ipc_message_done(&m);
    ASSERT_OK(ipc_send(pair[0], slice_str("go"), NULL, 0, 1000));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 0);
    http_server_stop(s.server, true);
    close(pair[0]);
}

static int set_up(void **state) {
    return is_ok(http_pool_new(&pool)) ? 0 : 1;
}

static int tear_down(void **state) {
    pool = http_pool_free(pool);
    return 0;
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_listener_of_another_namespace),
    cmocka_unit_test(test_long_bodies_take_little_memory),
    cmocka_unit_test(test_slow_reader_takes_little_memory),
    cmocka_unit_test(test_tls),
};

int main(void) {
    http_client_start();
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
