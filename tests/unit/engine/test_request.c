/* Requests as they come from the wire: a server that takes each apart and tells what it understood. */
#include "testing.h"

#include <string.h>

#include "base/clock.h"
#include "base/http_client.h"
#include "base/http_server.h"
#include "engine/request.h"

static struct http_server *server;
static struct http_pool *pool;
static unsigned port;

static void finish(void *context, struct http_request *http) {
    AUTO(request_done) struct request r = {0};
    BUF_AUTO(text, 1 << 20);
    struct result parsed = request_parse(http, &r);
    if (is_err(parsed)) {
        buf_append_str(&text, err_name(parsed.code));
        http_answer(http, 400, NULL, buf_slice(&text));
        return;
    }
    int64_t left_ms = (r.deadline_ns - clock_boottime_ns()) / NS_PER_MS;
    buf_printf(&text, "%s%s|%s|%s|%s|%s|%lld|%lld", r.is_writer ? "writer" : "reader", r.is_readonly ? " readonly" : "",
               r.url_query, r.format, r.database ? r.database : "-", r.query_id ? r.query_id : "-",
               r.rows == UINT64_MAX ? -1LL : (long long)r.rows, (long long)(left_ms + 999) / 1000);
    for (size_t i = 0; i < r.param_count; i++) {
        buf_printf(&text, "|%s=%.*s", r.names[i], (int)r.value_lens[i], r.values[i]);
    }
    for (size_t i = 0; i < r.setting_count; i++) {
        buf_printf(&text, "|--%s", r.settings[i]);
    }
    http_answer(http, 200, NULL, buf_slice(&text));
}

static int start(void **state) {
    int fd;
    http_client_start();
    if (is_err(http_listen_tcp("127.0.0.1", 0, &fd, &port)) || is_err(http_pool_new(&pool))) return 1;
    struct http_server_options o = {.listen_fd = fd, .handler = {.finish = finish}, .collect_max_bytes = 1024};
    return is_ok(http_server_start(&o, &server)) ? 0 : 1;
}

static int stop(void **state) {
    pool = http_pool_free(pool);
    server = http_server_stop(server, true);
    return 0;
}

static void expect(const char *method, const char *target, const struct http_field *fields, int status,
                   const char *answer) {
    AUTO_FREE char *url = str_format("http://127.0.0.1:%u%s", port, target);
    struct http_call call = {.method = method, .url = url, .fields = fields, .timeout_ms = 5000};
    struct http_reply reply;
    ASSERT_OK(http_call(pool, &call, &reply));
    if (reply.status != status || strcmp(buf_str(&reply.body), answer) != 0)
        fail_msg("%s: %d %s, wanted %d %s", target, reply.status, buf_str(&reply.body), status, answer);
    http_reply_done(&reply);
}

static const struct http_field writer[] = {{"X-ClickHouse-User", "writer"}, {0}};

static void test_defaults(void **state) {
    expect("POST", "/", NULL, 200, "reader readonly||TabSeparated|-|-|-1|120");
    expect("POST", "/", writer, 200, "writer||TabSeparated|-|-|-1|120");
    expect("GET", "/", writer, 200, "writer readonly||TabSeparated|-|-|-1|120");
}

static void test_fields(void **state) {
    const struct http_field fields[] = {
        {"X-ClickHouse-User", "writer"}, {"X-Lockset-Rows", "12"}, {"X-Lockset-Deadline-Ms", "3000"}, {0}};
    expect("POST",
           "/?query=SELECT+%7Bx:String%7D&param_x=a%20b%2B&default_format=JSON&database=w&query_id=q&max_threads=2",
           fields, 200, "writer|SELECT {x:String}|JSON|w|q|12|3|x=a b+|--max_threads=2");
    const struct http_field headers[] = {{"X-ClickHouse-Format", "CSV"}, {"X-ClickHouse-Database", "d"}, {0}};
    expect("POST", "/?session_id=1&enable_http_compression=0", headers, 200, "reader readonly||CSV|d|-|-1|120");
}

static void test_refused(void **state) {
    const struct http_field other[] = {{"X-ClickHouse-User", "default"}, {0}};
    const struct http_field late[] = {{"X-Lockset-Deadline-Ms", "600001"}, {0}};
    const struct http_field sign[] = {{"X-Lockset-Rows", "-1"}, {0}};
    expect("POST", "/", other, 400, "FORBIDDEN");
    expect("POST", "/", late, 400, "INVALID");
    expect("POST", "/", sign, 400, "INVALID");
    expect("POST", "/?max_threads=2", NULL, 400, "FORBIDDEN");
    expect("POST", "/?readonly=0", writer, 400, "FORBIDDEN");
    expect("POST", "/?log_comment=x", writer, 400, "FORBIDDEN");
    expect("POST", "/?path=/x", writer, 400, "FORBIDDEN");
    expect("POST", "/?a-b=1", writer, 400, "INVALID");
    expect("POST", "/?param_a%20b=1", NULL, 400, "INVALID");
    expect("POST", "/?query=%zz", NULL, 400, "INVALID");
    expect("POST", "/?query=a%00b", NULL, 400, "INVALID");
    expect("POST", "/?default_format=a%20b", NULL, 400, "INVALID");
    expect("POST", "/?database=System", NULL, 400, "FORBIDDEN");
    expect("POST", "/?database=information_schema", NULL, 400, "FORBIDDEN");
    expect("POST", "/?database=lockset_data", NULL, 400, "FORBIDDEN");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_defaults),
    cmocka_unit_test(test_fields),
    cmocka_unit_test(test_refused),
};

int main(void) {
    if (is_err(secret_start(1 << 20, true))) return 1;
    return cmocka_run_group_tests(tests, start, stop);
}
