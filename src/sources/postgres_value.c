#include "sources/postgres_value.h"

#include <math.h>
#include <stdlib.h>

#include "base/json.h"

enum { NUMERIC_MAX_DIGITS = 15, NUMERIC_MAX_BYTES = 300, FLOAT_MAX_BYTES = 40, ARRAY_MAX_DEPTH = 6 };

struct postgres_type postgres_type_builtin(uint32_t oid) {
    static const struct {
        uint32_t oid, array;
        enum postgres_kind kind;
    } types[] = {
        {16, 1000, POSTGRES_BOOL},        {17, 1001, POSTGRES_BYTEA},         {20, 1016, POSTGRES_INTEGER},
        {21, 1005, POSTGRES_INTEGER},     {23, 1007, POSTGRES_INTEGER},       {25, 1009, POSTGRES_TEXT},
        {26, 1028, POSTGRES_INTEGER},     {114, 199, POSTGRES_JSON},          {700, 1021, POSTGRES_FLOAT},
        {701, 1022, POSTGRES_FLOAT},      {1042, 1014, POSTGRES_TEXT},        {1043, 1015, POSTGRES_TEXT},
        {1082, 1182, POSTGRES_TEXT},      {1083, 1183, POSTGRES_TEXT},        {1266, 1270, POSTGRES_TEXT},
        {1114, 1115, POSTGRES_TIMESTAMP}, {1184, 1185, POSTGRES_TIMESTAMPTZ}, {1186, 1187, POSTGRES_TEXT},
        {1700, 1231, POSTGRES_NUMERIC},   {2950, 2951, POSTGRES_TEXT},        {3802, 3807, POSTGRES_JSON},
        {869, 1041, POSTGRES_TEXT},       {650, 651, POSTGRES_TEXT},          {829, 1040, POSTGRES_TEXT},
        {18, 1002, POSTGRES_TEXT},        {19, 1003, POSTGRES_TEXT},          {142, 143, POSTGRES_TEXT},
    };
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (oid == types[i].oid || oid == types[i].array)
            return (struct postgres_type){.kind = types[i].kind, .is_array = oid == types[i].array};
    return (struct postgres_type){.kind = POSTGRES_TEXT};
}

static bool take_digits(struct slice *s, size_t *count) {
    size_t n = 0;
    while (n < s->len && s->data[n] >= '0' && s->data[n] <= '9')
        n++;
    *s = slice_make(s->data + n, s->len - n);
    *count = n;
    return n > 0;
}

static bool take_byte(struct slice *s, uint8_t byte) {
    if (s->len == 0 || s->data[0] != byte) return false;
    *s = slice_make(s->data + 1, s->len - 1);
    return true;
}

/* A number as JSON writes it? *integral: it has neither fraction nor exponent. */
static bool is_number(struct slice text, bool *integral) {
    size_t whole, rest;
    take_byte(&text, '-');
    bool zero_first = text.len > 0 && text.data[0] == '0';
    if (!take_digits(&text, &whole) || (zero_first && whole > 1)) return false;
    *integral = text.len == 0;
    if (take_byte(&text, '.') && !take_digits(&text, &rest)) return false;
    if (take_byte(&text, 'e')) {
        if (!take_byte(&text, '+')) take_byte(&text, '-');
        if (!take_digits(&text, &rest)) return false;
    }
    return text.len == 0;
}

static bool fits_int64(struct slice text) {
    bool negative = take_byte(&text, '-');
    uint64_t value;
    struct result r = slice_to_u64(text, (uint64_t)INT64_MAX + (negative ? 1 : 0), &value);
    return is_ok(r);
}

/* Digits between the first and the last that isn't zero. */
static size_t significant_digits(struct slice text) {
    size_t seen = 0, counted = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c < '0' || c > '9' || (c == '0' && seen == 0)) continue;
        seen++;
        if (c != '0') counted = seen;
    }
    return counted;
}

/* A double that isn't too large for one? */
static bool is_finite(struct slice text) {
    char copy[FLOAT_MAX_BYTES + 1] = {0};
    if (text.len > FLOAT_MAX_BYTES) return false;
    mem_copy(copy, text.data, text.len);
    return isfinite(strtod(copy, NULL));
}

static bool is_plain_fraction(struct slice text) {
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] == 'e') return false;
    return text.len <= NUMERIC_MAX_BYTES && significant_digits(text) <= NUMERIC_MAX_DIGITS;
}

static void write_number(enum postgres_kind kind, struct slice text, struct buf *out) {
    bool integral = false;
    bool good = is_number(text, &integral);
    if (good && kind == POSTGRES_INTEGER) good = integral && fits_int64(text);
    if (good && kind == POSTGRES_NUMERIC) good = integral ? fits_int64(text) : is_plain_fraction(text);
    if (good && kind == POSTGRES_FLOAT) good = is_finite(text);
    if (!good) {
        json_write_str(text, out);
        return;
    }
    buf_append_slice(out, text);
    if (kind == POSTGRES_FLOAT && integral) buf_append_str(out, ".0"); /* a column's values stay of one type */
}

static void write_json(struct slice text, struct buf *out) {
    JSON_AUTO(parsed);
    BUF_AUTO(wrapped, text.len + 2);
    wrapped.wipes = true;
    buf_append_byte(&wrapped, '[');
    buf_append_slice(&wrapped, text);
    buf_append_byte(&wrapped, ']');
    if (is_ok(json_parse(buf_slice(&wrapped), &parsed)) && json_is_array(parsed) && json_array_size(parsed) == 1)
        buf_append_slice(out, text);
    else
        json_write_str(text, out);
}

/* "2026-01-02 03:04:05.5+00" */
static void write_timestamp(enum postgres_kind kind, struct slice text, struct buf *out) {
    static const char shape[] = "dddd-dd-dd dd:dd:dd";
    bool good = text.len >= sizeof shape - 1;
    for (size_t i = 0; good && shape[i]; i++) {
        bool digit = text.data[i] >= '0' && text.data[i] <= '9';
        good = shape[i] == 'd' ? digit : text.data[i] == (uint8_t)shape[i];
    }
    for (size_t i = sizeof shape - 1; good && i < text.len; i++)
        good = text.data[i] != ' '; /* " BC" */
    if (!good) {
        json_write_str(text, out);
        return;
    }
    struct slice time = slice_make(text.data + 11, text.len - 11);
    bool utc = kind == POSTGRES_TIMESTAMPTZ && time.len > 3 && slice_is(slice_make(time.data + time.len - 3, 3), "+00");
    if (utc) time.len -= 3;
    BUF_AUTO(iso, text.len);
    buf_append(&iso, text.data, 10);
    buf_append_byte(&iso, 'T');
    buf_append_slice(&iso, time);
    if (utc) buf_append_byte(&iso, 'Z');
    json_write_str(buf_slice(&iso), out);
}

static void write_bytea(struct slice text, struct buf *out) {
    BUF_AUTO(bytes, text.len);
    bytes.wipes = true;
    if (!slice_starts_with(text, "\\x") || is_err(hex_decode(slice_make(text.data + 2, text.len - 2), &bytes))) {
        json_write_str(text, out);
        return;
    }
    buf_append_byte(out, '"');
    base64_encode(buf_slice(&bytes), out);
    buf_append_byte(out, '"');
}

static void write_scalar(enum postgres_kind kind, struct slice text, struct buf *out) {
    switch (kind) {
    case POSTGRES_BOOL:
        if (slice_is(text, "t"))
            buf_append_str(out, "true");
        else if (slice_is(text, "f"))
            buf_append_str(out, "false");
        else
            json_write_str(text, out);
        return;
    case POSTGRES_INTEGER:
    case POSTGRES_FLOAT:
    case POSTGRES_NUMERIC:
        write_number(kind, text, out);
        return;
    case POSTGRES_JSON:
        write_json(text, out);
        return;
    case POSTGRES_TIMESTAMP:
    case POSTGRES_TIMESTAMPTZ:
        write_timestamp(kind, text, out);
        return;
    case POSTGRES_BYTEA:
        write_bytea(text, out);
        return;
    case POSTGRES_TEXT:
        break;
    }
    json_write_str(text, out);
}

/* An array's element: quoted with backslashes, or bare, where NULL means null. */
static bool write_element(struct slice *s, struct postgres_type type, char delimiter, struct buf *out) {
    BUF_AUTO(element, s->len);
    element.wipes = true;
    bool quoted = take_byte(s, '"');
    while (s->len > 0) {
        uint8_t c = s->data[0];
        if (quoted ? c == '"' : c == (uint8_t)delimiter || c == '}' || c == '{' || c == '"') break;
        take_byte(s, c);
        if (c == '\\') {
            if (s->len == 0) return false;
            c = s->data[0];
            take_byte(s, c);
        }
        buf_append_byte(&element, c);
    }
    if (quoted ? !take_byte(s, '"') : element.len == 0) return false;
    if (!quoted && slice_is(buf_slice(&element), "NULL"))
        buf_append_str(out, "null");
    else
        write_scalar(type.kind, buf_slice(&element), out);
    return true;
}

/* "{1,2}", "{{1,2},{3,4}}"; false if it is none, and out then holds half of it. */
static bool write_array(struct slice *s, struct postgres_type type, unsigned depth, struct buf *out) {
    char delimiter = type.delimiter ? type.delimiter : ',';
    if (depth > ARRAY_MAX_DEPTH || !take_byte(s, '{')) return false;
    buf_append_byte(out, '[');
    bool first = true;
    while (!(first && take_byte(s, '}'))) {
        if (!first && take_byte(s, '}')) break;
        if (!first) {
            if (!take_byte(s, (uint8_t)delimiter)) return false;
            buf_append_byte(out, ',');
        }
        first = false;
        bool nested = s->len > 0 && s->data[0] == '{';
        if (!(nested ? write_array(s, type, depth + 1, out) : write_element(s, type, delimiter, out))) return false;
    }
    buf_append_byte(out, ']');
    return true;
}

/* "[0:1][2:3]={{1,2},{3,4}}": an array whose lower bounds are not 1. */
static struct slice without_bounds(struct slice text) {
    struct slice bounds, rest;
    bool has = text.len > 0 && text.data[0] == '[' && slice_cut(text, '=', &bounds, &rest);
    return has ? rest : text;
}

void postgres_value_write(struct postgres_type type, struct slice text, struct buf *out) {
    if (!type.is_array) {
        write_scalar(type.kind, text, out);
        return;
    }
    size_t before = out->len;
    struct slice rest = without_bounds(text);
    if (write_array(&rest, type, 1, out) && rest.len == 0) return;
    if (!out->overflowed) out->len = before;
    json_write_str(text, out);
}
