#include "base/log.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"

enum { LINE_BYTES = 8192, VALUE_BYTES = 512, PROGRAM_BYTES = 32 };

static char program[PROGRAM_BYTES] = "lockset";
static _Atomic int lowest_level = LOG_INFO;

void log_start(const char *name, enum log_level lowest) {
    snprintf(program, sizeof program, "%s", name);
    atomic_store(&lowest_level, (int)lowest);
}

/* A line under construction on the stack, so that logging works when memory is short. Whatever does not fit is cut;
 * one byte is kept for the line feed. */
struct line {
    char text[LINE_BYTES];
    size_t len;
};

static void line_add(struct line *l, const char *text, size_t n) {
    size_t room = sizeof l->text - 1 - l->len;
    if (n > room) n = room;
    mem_copy(l->text + l->len, text, n);
    l->len += n;
}

static void line_add_str(struct line *l, const char *text) {
    line_add(l, text, strlen(text));
}

static bool is_plain(const char *text) {
    if (*text == '\0') return false;
    for (; *text; text++)
        if (*text <= ' ' || *text >= 0x7F || *text == '"' || *text == '=' || *text == '\\') return false;
    return true;
}

/* Quoted; control characters and whatever is not UTF-8 become \xNN, so that no value can forge a line or drive a
 * terminal. */
static void line_add_quoted(struct line *l, struct slice text) {
    line_add_str(l, "\"");
    while (text.len > 0) {
        size_t n = slice_utf8_step(text);
        uint8_t c = text.data[0];
        bool c1_control = n == 2 && c == 0xC2 && text.data[1] < 0xA0;
        if (n == 0 || c < 0x20 || c == 0x7F || c1_control) {
            char escape[8];
            snprintf(escape, sizeof escape, "\\x%02x", c);
            line_add_str(l, escape);
            n = 1;
        } else {
            if (c == '"' || c == '\\') line_add_str(l, "\\");
            line_add(l, (const char *)text.data, n);
        }
        text = slice_make(text.data + n, text.len - n);
    }
    line_add_str(l, "\"");
}

static void line_add_value(struct line *l, const char *text) {
    struct slice value = slice_str(text);
    bool cut = value.len > VALUE_BYTES;
    if (cut) {
        value.len = VALUE_BYTES;
        /* Not in the middle of a character. */
        while (value.len > 0 && (value.data[value.len] & 0xC0) == 0x80)
            value.len--;
    }
    if (!cut && is_plain(text))
        line_add_str(l, text);
    else
        line_add_quoted(l, value);
    if (cut) line_add_str(l, "...");
}

void log_write(enum log_level level, const char *event, const struct kv *pairs) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    if ((int)level < atomic_load(&lowest_level)) return;
    int saved = errno;
    struct line l;
    l.len = 0;
    char time[CLOCK_ISO_BYTES];
    clock_format_iso(clock_unix_ms(), time);
    line_add_str(&l, time);
    line_add_str(&l, " ");
    line_add_str(&l, names[level]);
    line_add_str(&l, " ");
    line_add_str(&l, program);
    line_add_str(&l, " ");
    line_add_str(&l, event);
    for (; pairs->key; pairs++) {
        line_add_str(&l, " ");
        line_add_str(&l, pairs->key);
        line_add_str(&l, "=");
        if (pairs->text) {
            line_add_value(&l, pairs->text);
        } else {
            char number[24];
            snprintf(number, sizeof number, "%lld", (long long)pairs->number);
            line_add_str(&l, number);
        }
    }
    l.text[l.len++] = '\n';
    /* There is nobody to tell when stderr is gone. */
    while (write(STDERR_FILENO, l.text, l.len) < 0 && errno == EINTR) {
    }
    errno = saved;
}
