#include "supervisor/control.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/ipc.h"
#include "base/json.h"
#include "supervisor/supervisor.h"

static void close_auto(int *fd) {
    if (*fd >= 0) close(*fd);
}

static struct result handle(int fd, control_act *act, void *arg) {
    AUTO(ipc_message_done) struct ipc_message message = {0};
    TRY(ipc_receive(fd, 1000, &message));
    JSON_AUTO(object);
    TRY(json_parse_object(buf_slice(&message.data), &object));
    const char *action, *process;
    TRY(json_get_str(object, "op", &action));
    TRY(json_get_str(object, "process", &process));
    return act(arg, action, process);
}

void control_serve(int listener, control_act *act, void *arg) {
    AUTO(close_auto) int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return;
    struct result r = handle(fd, act, arg);
    BUF_AUTO(answer, 4096);
    if (is_ok(r)) {
        buf_append_str(&answer, "{\"ok\":true}");
    } else {
        buf_printf(&answer, "{\"ok\":false,\"code\":\"%s\",\"message\":", err_name(r.code));
        json_write_str(slice_str(err_detail()), &answer);
        buf_append_str(&answer, "}");
    }
    result_ignore(ipc_send(fd, buf_slice(&answer), NULL, 0, 1000)); /* the client may have gone: its loss */
}

struct result supervisor_control(const char *data, const char *action, const char *process) {
    AUTO_FREE char *path = str_format("%s/run/control.sock", data);
    AUTO(close_auto) int fd = -1;
    if (is_err(ipc_connect(path, &fd))) FAIL(ERR_UNREACHABLE, "no `lockset dev` or `lockset serve` runs on %s", data);
    JSON_AUTO(object);
    object = json_pack("{s:s,s:s}", "op", action, "process", process);
    CHECK(object, ERR_INVALID, "the process name is not valid text");
    BUF_AUTO(text, 4096);
    TRY(json_write(object, &text));
    TRY(buf_check(&text));
    TRY(ipc_send(fd, buf_slice(&text), NULL, 0, 1000));
    AUTO(ipc_message_done) struct ipc_message message = {0};
    TRY(ipc_receive(fd, 15000, &message));
    JSON_AUTO(answer);
    TRY(json_parse_object(buf_slice(&message.data), &answer));
    if (json_is_true(json_object_get(answer, "ok"))) return OK;
    const char *why, *code;
    TRY(json_get_str(answer, "message", &why));
    TRY(json_get_str(answer, "code", &code));
    FAIL(!strcmp(code, "NOT_FOUND") ? ERR_NOT_FOUND : ERR_INVALID, "%s", why);
}
