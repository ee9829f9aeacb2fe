#include <string.h>

#include "lifecycle/sql_text.h"

static bool is_word_start(uint8_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80;
}

static bool is_digit(uint8_t c) {
    return c >= '0' && c <= '9';
}

static bool is_word_byte(uint8_t c) {
    return is_word_start(c) || is_digit(c) || c == '$';
}

static uint8_t byte_at(struct slice text, size_t at) {
    return at < text.len ? text.data[at] : 0;
}

static bool begins_with(struct slice text, size_t at, const char *prefix) {
    return at <= text.len && slice_starts_with(slice_make(text.data + at, text.len - at), prefix);
}

/* Behind the closing `needle`, searched from `at`; the end of the text if there is none. */
static size_t behind(struct slice text, size_t at, const char *needle, size_t needle_len) {
    const uint8_t *found = at < text.len ? memmem(text.data + at, text.len - at, needle, needle_len) : NULL;
    return found ? (size_t)(found - text.data) + needle_len : text.len;
}

/* Behind a comment of slash-star at `at`, which may hold others. */
static size_t comment_end(struct slice text, size_t at) {
    size_t depth = 0;
    while (at < text.len) {
        bool opens = begins_with(text, at, "/*"), closes = begins_with(text, at, "*/");
        at += opens || closes ? 2 : 1;
        if (opens) depth++;
        if (closes && --depth == 0) return at;
    }
    return text.len;
}

static bool begins_line_comment(struct slice text, size_t at) {
    return begins_with(text, at, "--") || begins_with(text, at, "//") || begins_with(text, at, "# ") ||
           begins_with(text, at, "#!");
}

/* White space and comments as ClickHouse's lexer knows them: --, //, # followed by space or !, slash-star. */
static size_t space_end(struct slice text, size_t at) {
    while (at < text.len) {
        uint8_t c = text.data[at];
        if (c == ' ' || (c >= '\t' && c <= '\r'))
            at++;
        else if (begins_line_comment(text, at))
            at = behind(text, at, "\n", 1);
        else if (begins_with(text, at, "/*"))
            at = comment_end(text, at);
        else
            break;
    }
    return at;
}

/* Behind a quoted text whose opening quote stands at `at`: backslash escapes, and the quote doubled. */
static size_t quoted_end(struct slice text, size_t at) {
    uint8_t quote = text.data[at++];
    while (at < text.len) {
        uint8_t c = text.data[at];
        if (c == '\\') {
            at += 2;
        } else if (c != quote) {
            at++;
        } else if (byte_at(text, at + 1) == quote) {
            at += 2;
        } else {
            return at + 1;
        }
    }
    return text.len;
}

/* $tag$ at `at`: behind the closing one; `at` if it begins no such string. */
static size_t heredoc_end(struct slice text, size_t at) {
    size_t end = at + 1;
    while (end < text.len && is_word_byte(text.data[end]) && text.data[end] != '$')
        end++;
    if (byte_at(text, end) != '$') return at;
    size_t tag_len = end + 1 - at;
    return behind(text, end + 1, (const char *)text.data + at, tag_len);
}

static size_t number_end(struct slice text, size_t at) {
    while (is_word_byte(byte_at(text, at)) || byte_at(text, at) == '.') {
        uint8_t c = text.data[at];
        if (c == '.' && byte_at(text, at + 1) == ':') break;
        at++;
        bool is_exponent = (c == 'e' || c == 'E') && (byte_at(text, at) == '+' || byte_at(text, at) == '-');
        if (is_exponent && is_digit(byte_at(text, at + 1))) at++;
    }
    return at;
}

static size_t word_end(struct slice text, size_t at) {
    while (is_word_byte(byte_at(text, at)))
        at++;
    return at;
}

/* Typographic quotes, which ClickHouse takes for strings (single) and identifiers (double). */
static size_t curly_end(struct slice text, size_t at, enum sql_token_kind *kind) {
    if (begins_with(text, at, "\xe2\x80\x98")) {
        *kind = SQL_STRING;
        return behind(text, at + 3, "\xe2\x80\x99", 3);
    }
    if (begins_with(text, at, "\xe2\x80\x9c")) {
        *kind = SQL_QUOTED_NAME;
        return behind(text, at + 3, "\xe2\x80\x9d", 3);
    }
    return at;
}

static size_t colon_end(struct slice text, size_t at, enum sql_token_kind *kind) {
    uint8_t next = byte_at(text, at + 1);
    if (next == ':') return at + 2;
    if (is_word_start(next)) {
        *kind = SQL_PARAM;
        return word_end(text, at + 1);
    }
    if (next == '"') {
        *kind = SQL_PARAM;
        return quoted_end(text, at + 1);
    }
    return at + 1;
}

static size_t token_end(struct slice text, size_t at, enum sql_token_kind *kind) {
    uint8_t c = text.data[at];
    size_t end = space_end(text, at);
    if (end > at) {
        *kind = SQL_SPACE;
        return end;
    }
    end = curly_end(text, at, kind);
    if (end > at) return end;
    if (c == '\'') {
        *kind = SQL_STRING;
        return quoted_end(text, at);
    }
    if (c == '"' || c == '`') {
        *kind = SQL_QUOTED_NAME;
        return quoted_end(text, at);
    }
    if (is_digit(c)) {
        *kind = SQL_NUMBER;
        return number_end(text, at);
    }
    if (is_word_start(c)) {
        *kind = SQL_WORD;
        return word_end(text, at);
    }
    *kind = SQL_PUNCTUATION;
    if (c == ':') return colon_end(text, at, kind);
    if (c == '.' && byte_at(text, at + 1) == ':') return at + 2;
    if (c == '$') {
        end = heredoc_end(text, at);
        if (end > at) *kind = SQL_STRING;
        if (end > at) return end;
    }
    return at + 1;
}

bool sql_next_token(struct slice text, size_t *at, struct sql_token *ret) {
    if (*at >= text.len) return false;
    enum sql_token_kind kind = SQL_PUNCTUATION;
    size_t end = token_end(text, *at, &kind);
    if (end > text.len) end = text.len;
    *ret = (struct sql_token){kind, slice_make(text.data + *at, end - *at)};
    *at = end;
    return true;
}

void sql_token_name(struct slice text, struct buf *out) {
    if (text.len && text.data[0] == ':') text = slice_make(text.data + 1, text.len - 1);
    uint8_t quote = text.len ? text.data[0] : 0;
    if (quote != '"' && quote != '`') {
        bool curly = begins_with(text, 0, "\xe2\x80\x9c") && text.len >= 6;
        buf_append_slice(out, curly ? slice_make(text.data + 3, text.len - 6) : text);
        return;
    }
    size_t end = text.len > 1 && text.data[text.len - 1] == quote ? text.len - 1 : text.len;
    for (size_t i = 1; i < end; i++) {
        if ((text.data[i] == '\\' || text.data[i] == quote) && i + 1 < end) i++;
        buf_append_byte(out, text.data[i]);
    }
}
