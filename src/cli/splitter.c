#include "cli/splitter.h"

#include <errno.h>

enum { DOCUMENT_MAX = 10 << 20 };

void splitter_init(struct splitter *s, FILE *file) {
    *s = (struct splitter){.file = file, .line = 1};
    buf_init(&s->document, DOCUMENT_MAX);
}

void splitter_done(struct splitter *s) {
    buf_done(&s->document);
}

static int next_byte(struct splitter *s) {
    int c = getc_unlocked(s->file);
    if (c == EOF) {
        if (ferror(s->file)) s->error_number = errno;
        return EOF;
    }
    s->offset++;
    if (c == '\n') s->line++;
    return c;
}

/* Behind a byte order mark, which some programs put before UTF-8. */
static int first_byte(struct splitter *s) {
    int c = next_byte(s);
    bool is_mark = c == 0xEF && next_byte(s) == 0xBB && next_byte(s) == 0xBF;
    return is_mark ? next_byte(s) : c;
}

static bool is_space(int c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Reads to the brace that closes the document; its '{' was read. */
static struct result read_document(struct splitter *s) {
    uint64_t first_line = s->line;
    unsigned depth = 1;
    bool in_string = false, escaped = false;
    buf_clear(&s->document);
    buf_append_byte(&s->document, '{');
    while (depth > 0) {
        int c = next_byte(s);
        if (s->error_number) return err_from_errno(s->error_number, "reading it");
        CHECK(c != EOF, ERR_INVALID, "line %llu: the document that begins here is not complete",
              (unsigned long long)first_line);
        buf_append_byte(&s->document, (uint8_t)c);
        CHECK(!s->document.overflowed, ERR_TOO_LARGE, "line %llu: the document that begins here is over 10 MiB",
              (unsigned long long)first_line);
        if (in_string) {
            if (escaped) {
                escaped = false;
            } else if (c == '\\') {
                escaped = true;
            } else if (c == '"') {
                in_string = false;
            }
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return OK;
}

struct result splitter_next(struct splitter *s, struct slice *ret) {
    for (;;) {
        int c = s->offset ? next_byte(s) : first_byte(s);
        if (s->error_number) return err_from_errno(s->error_number, "reading it");
        if (c == EOF) {
            CHECK(!s->is_array, ERR_INVALID, "line %llu: the array is not closed: the file seems to be cut off",
                  (unsigned long long)s->line);
            *ret = (struct slice){0};
            return OK;
        }
        if (is_space(c) || (c == ',' && s->started)) continue;
        if (c == '[' && !s->started) {
            s->is_array = s->started = true;
            continue;
        }
        if (c == ']' && s->is_array) {
            s->is_array = false;
            continue;
        }
        CHECK(c == '{', ERR_INVALID,
              "line %llu: expected a document, that is a JSON object; the file must be a JSON array of objects or one "
              "object a line",
              (unsigned long long)s->line);
        s->started = true;
        TRY(read_document(s));
        *ret = buf_slice(&s->document);
        return OK;
    }
}
