#include "kms/refusal.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/json.h"

static const struct {
    int status;
    const char *member, *name;
} rows[KMSD_ERROR_MAX] = {
#define REFUSAL(symbol, status, member, name) [KMSD_##symbol] = {status, member, name},
#include "kms/refusal.def"
#undef REFUSAL
};

void kmsd_refusal_done(struct kmsd_refusal *r) {
    mem_free(r->text);
    *r = (struct kmsd_refusal){0};
}

struct result kmsd_refuse(struct kmsd_refusal *r, enum kmsd_error error, const char *format, ...) {
    kmsd_refusal_done(r);
    r->error = error;
    if (format != NULL) {
        char text[4096]; // an ARN has at most 2,048 bytes
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        r->text = str_dup(text);
    }
    FAIL(ERR_INVALID, "%s", rows[error].name);
}

int kmsd_error_status(enum kmsd_error e) {
    return rows[e].status;
}

const char *kmsd_error_name(enum kmsd_error e) {
    return rows[e].name != NULL ? rows[e].name : "";
}

void kmsd_refusal_write(const struct kmsd_refusal *r, struct buf *out) {
    buf_printf(out, "{\"__type\":\"%s\"", rows[r->error].name);
    if (r->text != NULL) {
        buf_printf(out, ",\"%s\":", rows[r->error].member);
        json_write_str(slice_str(r->text), out);
    }
    buf_append_byte(out, '}');
}
