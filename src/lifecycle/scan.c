#include "lifecycle/scan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct result scan_any(struct scan *s, unsigned depth, struct scan_type *ret_type);

void scan_init(struct scan *s, struct slice text) {
    *s = (struct scan){.text = text};
}

static void note_flaw(struct scan *s, const char *flaw, size_t at) {
    if (s->flaw) return;
    s->flaw = flaw;
    s->flaw_at = at;
}

static uint8_t current(const struct scan *s) {
    return s->at < s->text.len ? s->text.data[s->at] : 0;
}

uint8_t scan_peek(struct scan *s) {
    while (s->at < s->text.len) {
        uint8_t c = s->text.data[s->at];
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return c;
        s->at++;
    }
    return 0;
}

bool scan_take(struct scan *s, char c) {
    if (scan_peek(s) != (uint8_t)c) return false;
    s->at++;
    return true;
}

/* What stands at the place of trouble, in words. */
static struct result unexpected(const struct scan *s, const char *wanted) {
    if (s->at >= s->text.len) FAIL(ERR_INVALID, "not JSON: it ends at byte %zu where %s should be", s->at, wanted);
    uint8_t c = current(s);
    if (c >= 0x21 && c < 0x7f)
        FAIL(ERR_INVALID, "not JSON: at byte %zu stands '%c' where %s should be", s->at, c, wanted);
    FAIL(ERR_INVALID, "not JSON: at byte %zu stands the byte 0x%02x where %s should be", s->at, c, wanted);
}

struct result scan_expect(struct scan *s, char c) {
    if (scan_take(s, c)) return OK;
    char wanted[] = {'\'', c, '\'', 0};
    return unexpected(s, wanted);
}

struct result scan_end(struct scan *s) {
    scan_peek(s);
    if (s->at < s->text.len) return unexpected(s, "the end");
    return OK;
}

static int hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Four hexadecimal digits at p; -1 if they aren't. */
static int32_t hex4(const uint8_t *p, size_t len) {
    if (len < 4) return -1;
    int32_t v = 0;
    for (int i = 0; i < 4; i++) {
        int d = hex_digit(p[i]);
        if (d < 0) return -1;
        v = v * 16 + d;
    }
    return v;
}

/* The four digits behind "\u" at s->at; notes surrogates that stand alone, and NUL. */
static struct result scan_unicode_escape(struct scan *s) {
    size_t start = s->at;
    int32_t v = hex4(s->text.data + s->at, s->text.len - s->at);
    if (v < 0) return unexpected(s, "four hexadecimal digits");
    s->at += 4;
    if (v == 0) note_flaw(s, "holds the character U+0000, which can't be stored: leave it out", start);
    bool is_low = v >= 0xdc00 && v <= 0xdfff;
    bool is_high = v >= 0xd800 && v <= 0xdbff;
    if (is_high && s->text.len - s->at >= 6 && s->text.data[s->at] == '\\' && s->text.data[s->at + 1] == 'u') {
        int32_t low = hex4(s->text.data + s->at + 2, s->text.len - s->at - 2);
        if (low >= 0xdc00 && low <= 0xdfff) {
            s->at += 6;
            return OK;
        }
    }
    if (is_low || is_high)
        note_flaw(s, "holds half of a surrogate pair (\\ud800 to \\udfff), which is no character", start);
    return OK;
}

struct result scan_string(struct scan *s, struct slice *ret, bool *ret_plain) {
    if (scan_peek(s) != '"') return unexpected(s, "a string");
    size_t start = s->at++;
    bool plain = true, ascii = true;
    while (true) {
        if (s->at >= s->text.len) return unexpected(s, "the end of the string");
        uint8_t c = s->text.data[s->at];
        if (c == '"') break;
        if (c < 0x20)
            FAIL(ERR_INVALID, "not JSON: a raw control character (0x%02x) in a string at byte %zu; escape it", c,
                 s->at);
        s->at++;
        if (c >= 0x80) ascii = false;
        if (c != '\\') continue;
        plain = false;
        uint8_t e = current(s);
        if (e == 'u') {
            s->at++;
            TRY(scan_unicode_escape(s));
        } else if (e && strchr("\"\\/bfnrt", e)) {
            s->at++;
        } else {
            return unexpected(s, "an escape (one of \" \\ / b f n r t u)");
        }
    }
    s->at++;
    struct slice quoted = slice_make(s->text.data + start, s->at - start);
    CHECK(ascii || slice_is_utf8(quoted), ERR_INVALID, "not JSON: the string at byte %zu is not valid UTF-8", start);
    *ret = quoted;
    *ret_plain = plain;
    return OK;
}

static void put_utf8(uint32_t c, struct buf *out) {
    if (c < 0x80) {
        buf_append_byte(out, (uint8_t)c);
    } else if (c < 0x800) {
        buf_append_byte(out, (uint8_t)(0xc0 | c >> 6));
        buf_append_byte(out, (uint8_t)(0x80 | (c & 0x3f)));
    } else if (c < 0x10000) {
        buf_append_byte(out, (uint8_t)(0xe0 | c >> 12));
        buf_append_byte(out, (uint8_t)(0x80 | (c >> 6 & 0x3f)));
        buf_append_byte(out, (uint8_t)(0x80 | (c & 0x3f)));
    } else {
        buf_append_byte(out, (uint8_t)(0xf0 | c >> 18));
        buf_append_byte(out, (uint8_t)(0x80 | (c >> 12 & 0x3f)));
        buf_append_byte(out, (uint8_t)(0x80 | (c >> 6 & 0x3f)));
        buf_append_byte(out, (uint8_t)(0x80 | (c & 0x3f)));
    }
}

/* One escape; p points behind the backslash. Returns how many bytes it took. */
static size_t decode_escape(const uint8_t *p, size_t left, struct buf *out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (*p != 'u') {
        const char *found = strchr(from, *p);
        buf_append_byte(out, found && *found ? (uint8_t)to[found - from] : *p);
        return 1;
    }
    int32_t v = hex4(p + 1, left - 1);
    if (v < 0) return 1;
    size_t took = 5;
    uint32_t c = (uint32_t)v;
    if (c >= 0xd800 && c <= 0xdbff && left >= 11 && p[5] == '\\' && p[6] == 'u') {
        int32_t low = hex4(p + 7, left - 7);
        if (low >= 0xdc00 && low <= 0xdfff) {
            c = 0x10000 + ((c - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
            took = 11;
        }
    }
    if (c >= 0xd800 && c <= 0xdfff) c = 0xfffd; /* half a pair; such documents are refused anyhow */
    put_utf8(c, out);
    return took;
}

void scan_decode(struct slice quoted, struct buf *out) {
    if (quoted.len < 2) return;
    const uint8_t *p = quoted.data + 1, *end = quoted.data + quoted.len - 1;
    while (p < end) {
        const uint8_t *escape = memchr(p, '\\', (size_t)(end - p));
        const uint8_t *stop = escape ? escape : end;
        buf_append(out, p, (size_t)(stop - p));
        p = stop;
        if (escape && ++p < end) p += decode_escape(p, (size_t)(end - p), out);
    }
}

/* Digits at s->at; how many. */
static size_t scan_digits(struct scan *s) {
    size_t start = s->at;
    while (current(s) >= '0' && current(s) <= '9')
        s->at++;
    return s->at - start;
}

/* Whole numbers must fit 64 bits with sign, others a double. */
static void check_number(struct scan *s, size_t start, bool is_whole) {
    size_t len = s->at - start;
    const uint8_t *p = s->text.data + start;
    if (is_whole) {
        bool negative = p[0] == '-';
        size_t digits = len - negative;
        if (digits < 19) return;
        const char *limit = negative ? "9223372036854775808" : "9223372036854775807";
        if (digits > 19 || strncmp((const char *)p + negative, limit, 19) > 0)
            note_flaw(s, "holds an integer beyond 64 bits: send it as a string, or with a fraction to store a float",
                      start);
        return;
    }
    AUTO_FREE char *text = str_ndup((const char *)p, len);
    if (!isfinite(strtod(text, NULL)))
        note_flaw(s, "holds a number beyond the range of a 64-bit float: send it as a string", start);
}

static struct result scan_number(struct scan *s, struct scan_type *ret_type) {
    size_t start = s->at;
    bool is_whole = true;
    if (current(s) == '-') s->at++;
    bool leading_zero = current(s) == '0';
    size_t digits = scan_digits(s);
    if (digits == 0) return unexpected(s, "a digit");
    if (leading_zero && digits > 1) FAIL(ERR_INVALID, "not JSON: the number at byte %zu begins with 0", start);
    if (current(s) == '.') {
        is_whole = false;
        s->at++;
        if (scan_digits(s) == 0) return unexpected(s, "a digit");
    }
    if (current(s) == 'e' || current(s) == 'E') {
        is_whole = false;
        s->at++;
        if (current(s) == '+' || current(s) == '-') s->at++;
        if (scan_digits(s) == 0) return unexpected(s, "a digit");
    }
    check_number(s, start, is_whole);
    *ret_type = (struct scan_type){.code = {is_whole ? 'i' : 'f'}};
    return OK;
}

static struct result scan_word(struct scan *s, const char *word, char code, struct scan_type *ret_type) {
    size_t len = strlen(word);
    struct slice rest = slice_make(s->text.data + s->at, s->text.len - s->at);
    if (!slice_starts_with(rest, word)) return unexpected(s, "a value");
    s->at += len;
    *ret_type = (struct scan_type){.code = {code}};
    return OK;
}

static struct scan_type type_of(const char *code) {
    struct scan_type t = {0};
    for (size_t i = 0; code[i] && i + 1 < SCAN_TYPE_BYTES; i++)
        t.code[i] = code[i];
    return t;
}

/* "A" before the elements' type; too deep: unknown. */
static struct scan_type array_of(struct scan_type element) {
    if (element.code[0] == '?' || strlen(element.code) + 2 > SCAN_TYPE_BYTES) return type_of("?");
    struct scan_type t = type_of("A");
    for (size_t i = 0; element.code[i]; i++)
        t.code[i + 1] = element.code[i];
    return t;
}

struct scan_type scan_unify(struct scan_type a, struct scan_type b) {
    if (strcmp(a.code, b.code) == 0) return a;
    char x = a.code[0], y = b.code[0];
    if (x == '?' || y == '?') return type_of("?");
    if (x == 'd' || y == 'd') return type_of("d");
    if (x == 'e') return b;
    if (y == 'e') return a;
    if (x == 'n' || y == 'n') {
        struct scan_type other = x == 'n' ? b : a;
        return other.code[0] == 'o' ? type_of("O") : other;
    }
    if ((x == 'i' && y == 'f') || (x == 'f' && y == 'i')) return type_of("f");
    if ((x == 'o' && y == 'O') || (x == 'O' && y == 'o')) return type_of("O");
    if ((x == 'b' && (y == 'i' || y == 'f')) || (y == 'b' && (x == 'i' || x == 'f'))) return type_of("?");
    if (x == 'A' && y == 'A') {
        struct scan_type inner = scan_unify(type_of(a.code + 1), type_of(b.code + 1));
        return inner.code[0] == 'd' || inner.code[0] == '?' ? inner : array_of(inner);
    }
    return type_of("d");
}

static struct result scan_array(struct scan *s, unsigned depth, struct scan_type *ret_type) {
    s->at++;
    struct scan_type element = type_of("e");
    if (scan_take(s, ']')) {
        *ret_type = type_of("Ae");
        return OK;
    }
    do {
        struct scan_type t;
        TRY(scan_any(s, depth + 1, &t));
        element = scan_unify(element, t);
    } while (scan_take(s, ','));
    TRY(scan_expect(s, ']'));
    *ret_type = array_of(element);
    return OK;
}

/* Keys of one object, to find a key that is there twice. Compared as the engine does: unescaped. */
struct key_set {
    struct buf names; /* NUL-terminated names, one behind the other */
    uint32_t *starts;
    size_t count, capacity;
};

static void key_set_done(struct key_set *k) {
    buf_done(&k->names);
    mem_free(k->starts);
}

static int compare_keys(const void *a, const void *b, void *names) {
    const char *base = names;
    return strcmp(base + *(const uint32_t *)a, base + *(const uint32_t *)b);
}

/* Adds a key; false when it holds a character that can't be stored, which was noted already. */
static void key_set_add(struct key_set *k, struct slice quoted) {
    if (k->count == k->capacity) {
        k->capacity = k->capacity ? k->capacity * 2 : 16;
        k->starts = mem_resize(k->starts, k->capacity * sizeof *k->starts);
    }
    k->starts[k->count++] = (uint32_t)k->names.len;
    scan_decode(quoted, &k->names);
    buf_append_byte(&k->names, 0);
}

static bool has_repeated_key(struct key_set *k) {
    if (k->count < 2) return false;
    char *base = (char *)k->names.data;
    qsort_r(k->starts, k->count, sizeof *k->starts, compare_keys, base);
    for (size_t i = 1; i < k->count; i++)
        if (strcmp(base + k->starts[i - 1], base + k->starts[i]) == 0) return true;
    return false;
}

static struct result scan_object(struct scan *s, unsigned depth, struct scan_type *ret_type) {
    size_t start = s->at++;
    *ret_type = type_of("o");
    if (scan_take(s, '}')) return OK;
    AUTO(key_set_done) struct key_set keys = {0};
    buf_init(&keys.names, s->text.len + 1024 * 1024);
    do {
        struct slice key;
        bool plain;
        struct scan_type t;
        TRY(scan_string(s, &key, &plain));
        key_set_add(&keys, key);
        TRY(scan_expect(s, ':'));
        TRY(scan_any(s, depth + 1, &t));
    } while (scan_take(s, ','));
    TRY(scan_expect(s, '}'));
    if (has_repeated_key(&keys)) note_flaw(s, "holds an object with the same key twice", start);
    return OK;
}

static struct result scan_any(struct scan *s, unsigned depth, struct scan_type *ret_type) {
    uint8_t c = scan_peek(s);
    CHECK(depth <= SCAN_MAX_DEPTH, ERR_INVALID, "nested deeper than %d levels (byte %zu)", SCAN_MAX_DEPTH, s->at);
    switch (c) {
    case '{':
        return scan_object(s, depth, ret_type);
    case '[':
        return scan_array(s, depth, ret_type);
    case '"': {
        struct slice ignored;
        bool plain;
        *ret_type = type_of("s");
        return scan_string(s, &ignored, &plain);
    }
    case 't':
        return scan_word(s, "true", 'b', ret_type);
    case 'f':
        return scan_word(s, "false", 'b', ret_type);
    case 'n':
        return scan_word(s, "null", 'n', ret_type);
    default:
        if (c == '-' || (c >= '0' && c <= '9')) return scan_number(s, ret_type);
        return unexpected(s, "a value");
    }
}

struct result scan_value(struct scan *s, struct slice *ret, struct scan_type *ret_type) {
    scan_peek(s);
    size_t start = s->at;
    struct scan_type t;
    TRY(scan_any(s, 1, &t));
    *ret = slice_make(s->text.data + start, s->at - start);
    if (ret_type) *ret_type = t;
    return OK;
}
