#include "lifecycle/refusal.h"

#include <stdarg.h>
#include <stdio.h>

enum { MAX_MESSAGE_BYTES = 4096 };

void refusal_done(struct refusal *r) {
    mem_free(r->message);
    json_decref(r->checks);
    *r = (struct refusal){0};
}

struct result refuse(struct refusal *why, enum err_code code, int status, const char *type, unsigned retry_after_s,
                     const char *format, ...) {
    char *message = mem_alloc(MAX_MESSAGE_BYTES);
    va_list args;
    va_start(args, format);
    vsnprintf(message, MAX_MESSAGE_BYTES, format, args);
    va_end(args);
    refusal_done(why);
    *why = (struct refusal){.status = status, .type = type, .message = message, .retry_after_s = retry_after_s};
    FAIL(code, "%s", message);
}
