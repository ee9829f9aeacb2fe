#include "lifecycle/rows.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "lifecycle/scan.h"

void rows_init(struct rows *r, bool is_star) {
    *r = (struct rows){.is_star = is_star};
    buf_init_wiping(&r->line, ROWS_MAX_BYTES);
    buf_init_wiping(&r->results, ROWS_MAX_BYTES);
    buf_append_byte(&r->results, '[');
}

void rows_done(struct rows *r) {
    for (size_t i = 0; i < r->column_count; i++)
        mem_free(r->columns[i].key);
    mem_free(r->columns);
    buf_done(&r->line);
    buf_done(&r->results);
    schema_done(&r->empty_arrays);
    *r = (struct rows){0};
}

/* ---- header ---- */

/* "count()" -> "?count": an expression that got no name from the query. Only a whole call counts: letters, then
 * parentheses that close at the very end. */
static bool function_name(struct slice name, struct buf *out) {
    size_t n = 0;
    while (n < name.len && (isalnum(name.data[n]) || name.data[n] == '_'))
        n++;
    if (n == 0 || n == name.len || name.data[n] != '(' || name.data[name.len - 1] != ')') return false;
    int depth = 0;
    for (size_t i = n; i < name.len; i++) {
        depth += name.data[i] == '(' ? 1 : name.data[i] == ')' ? -1 : 0;
        if (depth == 0 && i + 1 < name.len) return false;
    }
    buf_append_byte(out, '?');
    for (size_t i = 0; i < n; i++)
        buf_append_byte(out, (uint8_t)tolower(name.data[i]));
    return true;
}

static bool has_key(const struct rows *r, const char *key) {
    for (size_t i = 0; i < r->column_count; i++)
        if (strcmp(r->columns[i].key, key) == 0) return true;
    return false;
}

/* The column's key, made unique: x, x_2, x_3... */
static char *make_key(const struct rows *r, struct slice quoted) {
    BUF_AUTO(name, ROWS_MAX_BYTES);
    BUF_AUTO(shown, ROWS_MAX_BYTES);
    scan_decode(quoted, &name);
    bool renamed = !r->is_star && function_name(buf_slice(&name), &shown);
    struct slice base = renamed ? buf_slice(&shown) : buf_slice(&name);
    for (unsigned n = 1;; n++) {
        BUF_AUTO(numbered, ROWS_MAX_BYTES);
        BUF_AUTO(key, ROWS_MAX_BYTES);
        buf_append_slice(&numbered, base);
        if (n > 1) buf_printf(&numbered, "_%u", n);
        json_write_str(buf_slice(&numbered), &key);
        if (!has_key(r, buf_str(&key))) return buf_take_str(&key);
    }
}

static struct result take_names(struct rows *r, struct slice line) {
    struct scan s;
    scan_init(&s, line);
    TRY(scan_expect(&s, '['));
    if (scan_take(&s, ']')) return OK;
    do {
        struct slice quoted;
        bool plain;
        TRY(scan_string(&s, &quoted, &plain));
        CHECK(r->column_count < ROWS_MAX_COLUMNS, ERR_TOO_LARGE, "the result has more than %d columns",
              ROWS_MAX_COLUMNS);
        if ((r->column_count & (r->column_count - 1)) == 0)
            r->columns = mem_resize(r->columns, (r->column_count ? r->column_count * 2 : 1) * sizeof *r->columns);
        char *key = make_key(r, quoted);
        BUF_AUTO(name, ROWS_MAX_BYTES);
        scan_decode(quoted, &name);
        /* Only whether empty ones are real; the type comes with the next line. */
        bool is_array = !schema_has(&r->empty_arrays, buf_slice(&name));
        r->columns[r->column_count++] = (struct rows_column){.key = key, .is_array = is_array};
    } while (scan_take(&s, ','));
    return scan_expect(&s, ']');
}

/* What a ClickHouse type is behind Nullable() and LowCardinality(). */
static void set_kind(struct rows_column *c, struct slice type) {
    static const char *const wrappers[] = {"Nullable(", "LowCardinality("};
    for (size_t i = 0; i < ARRAY_LEN(wrappers); i++)
        if (slice_starts_with(type, wrappers[i])) {
            size_t n = strlen(wrappers[i]);
            type = slice_make(type.data + n, type.len - n);
            i = (size_t)-1;
        }
    if (slice_starts_with(type, "DateTime"))
        c->kind = ROWS_TIMESTAMP;
    else if (slice_starts_with(type, "Date"))
        c->kind = ROWS_DATE;
    else if (slice_starts_with(type, "Time"))
        c->kind = ROWS_TIME;
    c->is_object = slice_starts_with(type, "JSON");
    c->is_array &= slice_starts_with(type, "Array");
}

static struct result take_types(struct rows *r, struct slice line) {
    struct scan s;
    scan_init(&s, line);
    TRY(scan_expect(&s, '['));
    for (size_t i = 0; i < r->column_count; i++) {
        struct slice quoted;
        bool plain;
        if (i) TRY(scan_expect(&s, ','));
        TRY(scan_string(&s, &quoted, &plain));
        BUF_AUTO(type, ROWS_MAX_BYTES);
        scan_decode(quoted, &type);
        set_kind(&r->columns[i], buf_slice(&type));
    }
    return scan_expect(&s, ']');
}

/* ---- rows ---- */

/* "2026-01-02T03:04:05.123456789Z": at most 6 digits of fraction, a T between, a Z behind. */
static void put_timestamp(struct slice quoted, struct buf *out) {
    struct slice v = slice_make(quoted.data + 1, quoted.len - 2);
    if (v.len < 19 || (v.data[10] != ' ' && v.data[10] != 'T')) {
        buf_append_slice(out, quoted);
        return;
    }
    buf_append_byte(out, '"');
    buf_append(out, v.data, 10);
    buf_append_byte(out, 'T');
    buf_append(out, v.data + 11, 8);
    size_t end = 19;
    while (end < v.len && v.data[end] != 'Z')
        end++;
    buf_append(out, v.data + 19, (end > 26 ? 26 : end) - 19);
    buf_append_str(out, "Z\"");
}

static void put_wrapped(const char *type, struct slice quoted, struct buf *out) {
    buf_printf(out, "{\"__rockset_type\":\"%s\",\"value\":", type);
    buf_append_slice(out, quoted);
    buf_append_byte(out, '}');
}

static void put_value(const struct rows_column *c, struct slice value, struct buf *out) {
    bool is_text = value.len >= 2 && value.data[0] == '"';
    if (!is_text || c->kind == ROWS_PLAIN)
        buf_append_slice(out, value);
    else if (c->kind == ROWS_TIMESTAMP)
        put_timestamp(value, out);
    else
        put_wrapped(c->kind == ROWS_DATE ? "DATE" : "TIME", value, out);
}

static struct result take_row(struct rows *r, struct slice line) {
    struct scan s;
    scan_init(&s, line);
    TRY(scan_expect(&s, '['));
    buf_append_str(&r->results, r->count++ ? ",{" : "{");
    const char *comma = "";
    for (size_t i = 0; i < r->column_count; i++) {
        struct slice value;
        if (i) TRY(scan_expect(&s, ','));
        TRY(scan_value(&s, &value, NULL));
        const struct rows_column *c = &r->columns[i];
        bool is_nothing = slice_is(value, "null") || (c->is_object && slice_is(value, "{}")) ||
                          (c->is_array && slice_is(value, "[]"));
        if (r->is_star && is_nothing) continue;
        buf_append_str(&r->results, comma);
        buf_append_str(&r->results, c->key);
        buf_append_byte(&r->results, ':');
        put_value(c, value, &r->results);
        comma = ",";
    }
    buf_append_byte(&r->results, '}');
    return scan_expect(&s, ']');
}

/* What a query computes may be no text: unhex(), say. JSON can't hold such bytes: U+FFFD stands for each. */
static struct result take_row_of_bytes(struct rows *r, struct slice line) {
    BUF_AUTO(text, ROWS_MAX_BYTES);
    text.wipes = true;
    while (line.len) {
        size_t n = slice_utf8_step(line);
        buf_append(&text, n ? line.data : (const uint8_t *)"\xef\xbf\xbd", n ? n : 3);
        n += n == 0;
        line = slice_make(line.data + n, line.len - n);
    }
    CHECK(!text.overflowed, ERR_TOO_LARGE, "a row of the result is over %d MiB", ROWS_MAX_BYTES >> 20);
    return take_row(r, buf_slice(&text));
}

static struct result take_any_row(struct rows *r, struct slice line) {
    size_t len = r->results.len;
    uint64_t count = r->count;
    struct result outcome = take_row(r, line);
    if (outcome.code != ERR_INVALID || slice_is_utf8(line)) return outcome;
    r->results.len = len;
    r->count = count;
    return take_row_of_bytes(r, line);
}

static struct result take_line(struct rows *r, struct slice line) {
    if (line.len == 0) return OK;
    struct result outcome;
    if (r->lines == 0)
        outcome = take_names(r, line);
    else if (r->lines == 1)
        outcome = take_types(r, line);
    else
        outcome = take_any_row(r, line);
    if (r->lines < 2) r->lines++;
    if (outcome.code == ERR_INVALID) FAIL(ERR_PEER, "the engine's answer can't be read");
    TRY(outcome);
    CHECK(!r->results.overflowed, ERR_TOO_LARGE, "the result is over %d MiB", ROWS_MAX_BYTES >> 20);
    return OK;
}

struct result rows_feed(struct rows *r, struct slice piece) {
    while (piece.len) {
        const uint8_t *end = memchr(piece.data, '\n', piece.len);
        size_t n = end ? (size_t)(end - piece.data) : piece.len;
        if (end && r->line.len == 0) {
            TRY(take_line(r, slice_make(piece.data, n)));
        } else {
            buf_append(&r->line, piece.data, n);
            CHECK(!r->line.overflowed, ERR_TOO_LARGE, "a row of the result is over %d MiB", ROWS_MAX_BYTES >> 20);
            if (end) {
                TRY(take_line(r, buf_slice(&r->line)));
                buf_clear(&r->line);
            }
        }
        n += end != NULL;
        piece = slice_make(piece.data + n, piece.len - n);
    }
    return OK;
}

struct result rows_finish(struct rows *r) {
    TRY(take_line(r, buf_slice(&r->line)));
    buf_clear(&r->line);
    buf_append_byte(&r->results, ']');
    CHECK(!r->results.overflowed, ERR_TOO_LARGE, "the result is over %d MiB", ROWS_MAX_BYTES >> 20);
    return OK;
}

void rows_write_fields(const struct rows *r, struct buf *out) {
    buf_append_byte(out, '[');
    for (size_t i = 0; i < r->column_count; i++)
        buf_printf(out, "%s{\"name\":%s,\"type\":\"\"}", i ? "," : "", r->columns[i].key);
    buf_append_byte(out, ']');
}
