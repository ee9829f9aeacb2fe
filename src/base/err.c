#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { DETAIL_BYTES = 1024 };

static _Thread_local char detail[DETAIL_BYTES];

static const struct {
    const char *name;
    int status;
} rows[ERR_MAX] = {
    [ERR_NONE] = {"NONE", 200},
#define ERR_ROW(symbol, status, text) [ERR_##symbol] = {#symbol, status},
#include "base/err.def"
#undef ERR_ROW
};

/* A detail may be built from the one before ("reading x: <err_detail()>"), so it is formatted beside it first. */
__attribute__((format(printf, 1, 0))) static void detail_set(const char *format, va_list args) {
    char text[DETAIL_BYTES];
    if (vsnprintf(text, sizeof text, format, args) < 0) text[0] = '\0';
    snprintf(detail, sizeof detail, "%s", text);
}

void err_note(const char *format, ...) {
    va_list args;
    va_start(args, format);
    detail_set(format, args);
    va_end(args);
}

struct result err_from_errno(int error_number, const char *format, ...) {
    va_list args;
    va_start(args, format);
    detail_set(format, args);
    va_end(args);
    char reason[128];
    /* The GNU strerror_r may return a static text instead of filling the buffer. */
    const char *text = strerror_r(error_number, reason, sizeof reason);
    size_t len = strlen(detail);
    snprintf(detail + len, sizeof detail - len, ": %s", text);
    switch (error_number) {
    case ENOENT:
        return (struct result){ERR_NOT_FOUND};
    case EEXIST:
        return (struct result){ERR_EXISTS};
    case ENOSPC:
    case EDQUOT:
        return (struct result){ERR_NO_SPACE};
    default:
        return (struct result){ERR_IO};
    }
}

const char *err_detail(void) {
    return detail;
}

void err_forget(void) {
    detail[0] = '\0';
}

static enum err_code known(enum err_code code) {
    return (unsigned)code < ERR_MAX ? code : ERR_INTERNAL;
}

const char *err_name(enum err_code code) {
    return rows[known(code)].name;
}

int err_http_status(enum err_code code) {
    return rows[known(code)].status;
}
