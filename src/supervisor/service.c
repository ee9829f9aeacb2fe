#include "supervisor/service.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

enum { BACKOFF_FIRST_MS = 200, BACKOFF_MAX_MS = 5000, BACKOFF_RESET_S = 60 };

static void schedule(struct service *s) {
    if (clock_boottime_ns() - s->started_ns > BACKOFF_RESET_S * NS_PER_S) s->backoff_ms = 0;
    s->backoff_ms = s->backoff_ms ? s->backoff_ms * 2 : BACKOFF_FIRST_MS;
    if (s->backoff_ms > BACKOFF_MAX_MS) s->backoff_ms = BACKOFF_MAX_MS;
    s->restart_at_ns = clock_boottime_ns() + s->backoff_ms * NS_PER_MS;
}

static void close_stdout(struct service *s) {
    if (s->stdout_fd >= 0) close(s->stdout_fd);
    s->stdout_fd = -1;
}

void service_start(struct service *s) {
    s->restart_at_ns = 0;
    s->held = false;
    s->said_ready = false;
    s->started_ns = clock_boottime_ns();
    if (is_ok(s->start(s->arg, s, &s->pid))) {
        log_info("service.started", KV("name", s->name), KVI("pid", s->pid));
        return;
    }
    log_error("service.start_failed", KV("name", s->name), KV("reason", err_detail()));
    s->pid = 0;
    schedule(s);
}

void service_reaped(struct service *s, int status) {
    char text[32];
    child_describe_status(status, text);
    s->pid = 0;
    close_stdout(s);
    if (s->held) {
        log_info("service.stopped", KV("name", s->name));
        return;
    }
    s->exits += WIFEXITED(status);
    schedule(s);
    log_warn("service.exited", KV("name", s->name), KV("status", text), KVI("restart_in_ms", s->backoff_ms));
}

int service_tick(struct service *s) {
    if (s->pid > 0 || s->held || s->restart_at_ns == 0) return -1;
    int64_t left_ms = (s->restart_at_ns - clock_boottime_ns()) / NS_PER_MS;
    if (left_ms > 0) return (int)left_ms;
    service_start(s);
    return s->pid > 0 ? -1 : (int)s->backoff_ms;
}

void service_read(struct service *s) {
    char text[512];
    ssize_t n = read(s->stdout_fd, text, sizeof(text) - 1);
    if (n <= 0) {
        close_stdout(s);
        return;
    }
    text[n] = '\0';
    if (!strncmp(text, "ready:", 6) || strstr(text, "\nready:")) s->said_ready = true;
}

void service_done(struct service *s) {
    close_stdout(s);
    mem_free(s->name);
    s->name = NULL;
}
