#include "engine/sql_text.h"

#include <ctype.h>
#include <string.h>

/* '$' that begin no heredoc; nobody needs that many. */
enum { MAX_DOLLARS = 256 };

static bool is_space(uint8_t c) {
    return c == ' ' || (c >= '\t' && c <= '\r') || c == 0;
}

static bool is_word_begin(uint8_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(uint8_t c) {
    return c >= '0' && c <= '9';
}

static bool is_quote(uint8_t c) {
    return c == '\'' || c == '"' || c == '`';
}

static bool is_word(uint8_t c) {
    return is_word_begin(c) || is_digit(c) || c == '$';
}

/* The length of white space in other scripts' encodings that the lexer skips too: U+00A0, U+FEFF, U+2000..U+200B and
 * friends. Taken as white space so that it can't glue or hide a word. */
static size_t wide_space(struct slice s) {
    if (s.len >= 2 && s.data[0] == 0xc2 && (s.data[1] == 0xa0 || s.data[1] == 0x85)) return 2;
    if (s.len < 3) return 0;
    static const char *const triples[] = {"\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaf",
                                          "\xe2\x81\x9f", "\xe2\x81\xa0", "\xe3\x80\x80",
                                          "\xef\xbb\xbf", "\xe1\xa0\x8e", "\xe1\x9a\x80"};
    for (size_t i = 0; i < ARRAY_LEN(triples); i++) {
        if (mem_order(s.data, triples[i], 3) == 0) return 3;
    }
    return s.data[0] == 0xe2 && s.data[1] == 0x80 && s.data[2] >= 0x80 && s.data[2] <= 0x8d ? 3 : 0;
}

/* The length of a C comment, which may hold others; SIZE_MAX if it never ends. */
static size_t comment_len(struct slice s) {
    size_t at = 2, depth = 1;
    while (at + 1 < s.len) {
        if (s.data[at] == '*' && s.data[at + 1] == '/') {
            at += 2;
            if (--depth == 0) return at;
        } else if (s.data[at] == '/' && s.data[at + 1] == '*') {
            at += 2;
            depth++;
        } else {
            at++;
        }
    }
    return SIZE_MAX;
}

/* Bytes of white space and comments at the front; SIZE_MAX for a comment that never ends. */
static size_t skip_blank(struct slice s) {
    static const char *const line_comments[] = {"--", "//", "#!", "# "};
    size_t at = 0;
    while (at < s.len) {
        struct slice rest = {s.data + at, s.len - at};
        size_t wide = wide_space(rest);
        bool is_line = false;
        for (size_t i = 0; i < ARRAY_LEN(line_comments); i++) {
            is_line |= slice_starts_with(rest, line_comments[i]);
        }
        if (is_space(rest.data[0])) {
            at++;
        } else if (wide) {
            at += wide;
        } else if (is_line) {
            const uint8_t *newline = memchr(rest.data, '\n', rest.len);
            at = newline ? (size_t)(newline - s.data) + 1 : s.len;
        } else if (slice_starts_with(rest, "/*")) {
            size_t n = comment_len(rest);
            if (n == SIZE_MAX) return SIZE_MAX;
            at += n;
        } else {
            break;
        }
    }
    return at;
}

/* The length of a quoted piece with its quotes; 0 if it isn't closed. A backslash escapes, a doubled quote stands for
 * itself. */
static size_t quoted_len(struct slice s) {
    uint8_t quote = s.data[0];
    for (size_t i = 1; i < s.len; i++) {
        if (s.data[i] == '\\') {
            i++;
        } else if (s.data[i] == quote) {
            if (i + 1 < s.len && s.data[i + 1] == quote) {
                i++;
            } else {
                return i + 1;
            }
        }
    }
    return 0;
}

/* $tag$ ... $tag$; 0 if this is none. */
static size_t heredoc_len(struct slice s) {
    size_t tag = 1;
    while (tag < s.len && (is_word_begin(s.data[tag]) || is_digit(s.data[tag]))) {
        tag++;
    }
    if (tag >= s.len || s.data[tag] != '$') return 0;
    tag++;
    const uint8_t *end = memmem(s.data + tag, s.len - tag, s.data, tag);
    return end ? (size_t)(end - s.data) + tag : 0;
}

static unsigned hex_value(uint8_t c) {
    return is_digit(c) ? (unsigned)(c - '0') : (unsigned)((c | 32) - 'a' + 10) & 15;
}

static uint8_t unescape(uint8_t c) {
    static const char from[] = "bfnrt0av";
    static const char to[] = "\b\f\n\r\t\0\a\v";
    const char *found = c ? strchr(from, c) : NULL;
    return found ? (uint8_t)to[found - from] : c;
}

/* Appends the name inside of the quotes; returns its length. */
static size_t decode_name(struct slice quoted, struct buf *names) {
    size_t before = names->len;
    for (size_t i = 1; i + 1 < quoted.len; i++) {
        uint8_t c = quoted.data[i];
        if (c == '\\' && i + 4 < quoted.len && quoted.data[i + 1] == 'x') {
            c = (uint8_t)(hex_value(quoted.data[i + 2]) << 4 | hex_value(quoted.data[i + 3]));
            i += 3;
        } else if (c == '\\' && i + 2 < quoted.len) {
            c = unescape(quoted.data[++i]);
        } else if (c == quoted.data[0]) {
            i++;
        }
        buf_append_byte(names, c);
    }
    return names->len - before;
}

static size_t run_len(struct slice s, bool (*accept)(uint8_t c)) {
    size_t n = 1;
    while (n < s.len && accept(s.data[n])) {
        n++;
    }
    return n;
}

static bool is_number_part(uint8_t c) {
    return is_word(c) && c != '$';
}

/* A number, which may have a sign in its exponent; 0 for one that ClickHouse's lexer could end elsewhere, and so take
 * for code what looks like a comment or a string here. */
static size_t number_len(struct slice s, bool behind_dot) {
    size_t n = run_len(s, is_number_part);
    if (n < s.len && s.data[n] == '.' && !behind_dot)
        n += run_len((struct slice){s.data + n, s.len - n}, is_number_part);
    uint8_t last = s.data[n - 1] | 32;
    if (n < s.len && (last == 'e' || last == 'p') && (s.data[n] == '-' || s.data[n] == '+')) {
        if (n + 1 >= s.len || !is_digit(s.data[n + 1])) return 0;
        n += run_len((struct slice){s.data + n, s.len - n}, is_digit);
    }
    if (n < s.len && (is_word(s.data[n]) || is_quote(s.data[n]))) return 0;
    return n;
}

/* x'41' or b'01', in which nothing is escaped; 0 if it has other digits or no end. */
static size_t digits_len(struct slice s) {
    bool is_hex = (s.data[0] | 32) == 'x';
    for (size_t n = 2; n < s.len; n++) {
        uint8_t c = s.data[n];
        if (c == '\'') return n + 1;
        if (is_hex ? !isxdigit(c) : c != '0' && c != '1') return 0;
    }
    return 0;
}

static bool begins_digits(struct slice s) {
    uint8_t c = s.data[0] | 32;
    return (c == 'x' || c == 'b') && s.len > 1 && s.data[1] == '\'';
}

static struct sql_token make_token(enum sql_token_kind kind, struct slice rest, size_t len) {
    if (len == 0) return (struct sql_token){.kind = SQL_BROKEN, .text = rest, .end = rest.len};
    return (struct sql_token){.kind = kind, .text = {rest.data, len}, .end = len};
}

static struct sql_token next_token(struct slice rest, bool behind_dot, struct buf *names) {
    uint8_t c = rest.data[0];
    if (begins_digits(rest)) return make_token(SQL_STRING, rest, digits_len(rest));
    if (is_word_begin(c)) return make_token(SQL_WORD, rest, run_len(rest, is_word));
    if (is_digit(c)) return make_token(SQL_NUMBER, rest, number_len(rest, behind_dot));
    if (c == '\'') return make_token(SQL_STRING, rest, quoted_len(rest));
    if (is_quote(c)) {
        struct sql_token t = make_token(SQL_IDENTIFIER, rest, quoted_len(rest));
        if (t.kind == SQL_IDENTIFIER) t.text = slice_make(NULL, decode_name(t.text, names));
        return t;
    }
    if (c == '$') {
        size_t n = heredoc_len(rest);
        if (n) return make_token(SQL_STRING, rest, n);
        bool is_name = rest.len > 1 && is_number_part(rest.data[1]);
        return is_name ? make_token(SQL_WORD, rest, run_len(rest, is_word)) : make_token(SQL_MARK, rest, 1);
    }
    /* Beyond ASCII only inside of quotes: what the lexer might take for white space must not glue words together. */
    bool is_mark = c > ' ' && c < 0x7f && c != '\\' && c != '#';
    return make_token(SQL_MARK, rest, is_mark ? 1 : 0);
}

/* Decoded names lie one after another in `names`, which may have moved while it grew: point to them at the end. */
static void place_names(struct sql_tokens *t) {
    size_t at = 0;
    for (size_t i = 0; i < t->count; i++) {
        if (t->items[i].kind != SQL_IDENTIFIER) continue;
        t->items[i].text.data = t->names.data ? t->names.data + at : (const uint8_t *)"";
        at += t->items[i].text.len;
    }
}

struct result sql_tokenize(struct slice sql, struct sql_tokens *ret) {
    CHECK(sql.len <= SQL_MAX_BYTES, ERR_TOO_LARGE, "the statement has %zu bytes; the limit is %d", sql.len,
          SQL_MAX_BYTES);
    struct sql_tokens t = {0};
    buf_init(&t.names, SQL_MAX_BYTES + 1);
    size_t capacity = 64;
    t.items = mem_alloc_array(capacity, sizeof(*t.items));
    size_t at = 0, dollars = 0;
    while (at < sql.len) {
        size_t blank = skip_blank((struct slice){sql.data + at, sql.len - at});
        bool endless = blank == SIZE_MAX;
        if (!endless) at += blank;
        if (at >= sql.len) break;
        if (t.count + 2 >= capacity) t.items = mem_resize(t.items, (capacity *= 2) * sizeof(*t.items));
        struct slice rest = {sql.data + at, sql.len - at};
        bool behind_dot = t.count > 0 && sql_is_mark(&t.items[t.count - 1], '.');
        struct sql_token token =
            endless ? make_token(SQL_BROKEN, rest, rest.len) : next_token(rest, behind_dot, &t.names);
        /* Each is looked for to the end of the text. */
        if (token.kind != SQL_STRING && token.text.len > 0 && rest.data[0] == '$' && ++dollars > MAX_DOLLARS)
            token.kind = SQL_BROKEN;
        token.begin = at;
        token.end = at += token.end;
        t.items[t.count++] = token;
        if (token.kind == SQL_BROKEN) break;
    }
    t.items[t.count] = (struct sql_token){.kind = SQL_END, .begin = sql.len, .end = sql.len};
    place_names(&t);
    *ret = t;
    return OK;
}

void sql_tokens_done(struct sql_tokens *t) {
    mem_free(TAKE(t->items));
    t->count = 0;
    buf_done(&t->names);
}

bool sql_equal_nocase(struct slice a, const char *b) {
    return a.len == strlen(b) && strncasecmp((const char *)a.data, b, a.len) == 0;
}

bool sql_is_word(const struct sql_token *t, const char *word) {
    return t->kind == SQL_WORD && sql_equal_nocase(t->text, word);
}

bool sql_is_name(const struct sql_token *t) {
    return t->kind == SQL_WORD || t->kind == SQL_IDENTIFIER;
}

bool sql_is_mark(const struct sql_token *t, char mark) {
    return t->kind == SQL_MARK && t->text.data[0] == (uint8_t)mark;
}
