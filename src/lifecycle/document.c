#include "lifecycle/document.h"

#include <stdio.h>
#include <string.h>

enum { MAX_FIELD_NAMES_BYTES = 16 * 1024 * 1024 };

void documents_init(struct documents *d) {
    *d = (struct documents){0};
    buf_init_wiping(&d->raw, DOCUMENT_MAX_BODY_BYTES * 2);
    schema_init(&d->schema);
}

void documents_done(struct documents *d) {
    for (size_t i = 0; i < d->count; i++) {
        mem_free(d->items[i].id);
        mem_free(d->items[i].flaw);
    }
    mem_free(d->items);
    buf_done(&d->raw);
    schema_done(&d->schema);
    *d = (struct documents){0};
}

/* Days from 1970-01-01 to a date of the Gregorian calendar. */
static int64_t days_from_civil(int64_t y, unsigned m, unsigned d) {
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    unsigned year_of_era = (unsigned)(y - era * 400);
    unsigned day_of_year = (153 * (m + (m > 2 ? -3U : 9U)) + 2) / 5 + d - 1;
    unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + (int64_t)day_of_era - 719468;
}

/* Exactly n digits at *p; advances. */
static bool take_digits(struct slice *p, size_t n, unsigned *ret) {
    if (p->len < n) return false;
    unsigned v = 0;
    for (size_t i = 0; i < n; i++) {
        if (p->data[i] < '0' || p->data[i] > '9') return false;
        v = v * 10 + (unsigned)(p->data[i] - '0');
    }
    *p = slice_make(p->data + n, p->len - n);
    *ret = v;
    return true;
}

static bool take_char(struct slice *p, char c) {
    if (p->len == 0 || p->data[0] != (uint8_t)c) return false;
    *p = slice_make(p->data + 1, p->len - 1);
    return true;
}

static bool take_fraction(struct slice *p, int64_t *ret_us) {
    int64_t us = 0, unit = 100000;
    size_t digits = 0;
    while (p->len && p->data[0] >= '0' && p->data[0] <= '9') {
        us += (p->data[0] - '0') * unit;
        unit /= 10;
        digits++;
        *p = slice_make(p->data + 1, p->len - 1);
    }
    *ret_us = us;
    return digits > 0 && digits <= 9;
}

static bool take_zone(struct slice *p, int64_t *ret_minutes) {
    *ret_minutes = 0;
    if (p->len == 0 || take_char(p, 'Z')) return true;
    bool negative = p->data[0] == '-';
    unsigned hours, minutes;
    if (!take_char(p, '+') && !take_char(p, '-')) return false;
    if (!take_digits(p, 2, &hours)) return false;
    take_char(p, ':');
    if (!take_digits(p, 2, &minutes) || hours > 18 || minutes > 59) return false;
    *ret_minutes = (int64_t)(hours * 60 + minutes) * (negative ? -1 : 1);
    return true;
}

static unsigned days_in_month(unsigned y, unsigned m) {
    static const unsigned days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    return m == 2 && leap ? 29 : days[m - 1];
}

static bool is_storable_time(int64_t us) {
    return us >= days_from_civil(1900, 1, 1) * 86400000000LL && us < days_from_civil(2299, 12, 31) * 86400000000LL;
}

bool document_parse_time(struct slice p, int64_t *ret_us) {
    unsigned y, mo, d, h = 0, mi = 0, s = 0;
    int64_t fraction = 0, zone = 0;
    if (!take_digits(&p, 4, &y) || !take_char(&p, '-') || !take_digits(&p, 2, &mo) || !take_char(&p, '-') ||
        !take_digits(&p, 2, &d))
        return false;
    if (mo < 1 || mo > 12 || d < 1 || d > days_in_month(y, mo)) return false;
    if (p.len) {
        if (!take_char(&p, 'T') && !take_char(&p, ' ')) return false;
        if (!take_digits(&p, 2, &h) || !take_char(&p, ':') || !take_digits(&p, 2, &mi)) return false;
        if (take_char(&p, ':') && !take_digits(&p, 2, &s)) return false;
        if (take_char(&p, '.') && !take_fraction(&p, &fraction)) return false;
        if (h > 23 || mi > 59 || s > 59 || !take_zone(&p, &zone) || p.len) return false;
    }
    int64_t seconds = days_from_civil(y, mo, d) * 86400 + h * 3600 + mi * 60 + s - zone * 60;
    int64_t us = seconds * 1000000 + fraction;
    if (!is_storable_time(us)) return false;
    *ret_us = us;
    return true;
}

/* ---- one document ---- */

struct field {
    struct slice name; /* unescaped, in parse.names or the body */
    size_t name_at;    /* in parse.names when has_copy */
    bool has_copy;
    struct scan_type type;
};

struct parse {
    struct documents *d;
    struct field *fields;
    size_t field_count, field_capacity;
    struct buf names;
};

static void parse_done(struct parse *p) {
    mem_free(p->fields);
    buf_done(&p->names);
}

static void set_flaw(struct document *doc, const char *text) {
    if (!doc->flaw) doc->flaw = str_dup(text);
}

static void take_id(struct document *doc, struct slice value, struct scan_type type) {
    if (type.code[0] != 's') {
        set_flaw(doc, "_id must be a string: put it in quotes, or leave it out to have one made");
        return;
    }
    BUF_AUTO(text, DOCUMENT_MAX_BODY_BYTES);
    scan_decode(value, &text);
    if (text.len == 0)
        set_flaw(doc, "_id must not be empty: leave it out to have one made");
    else if (text.len > DOCUMENT_MAX_ID_BYTES)
        set_flaw(doc, "_id is longer than 512 bytes");
    else if (slice_has_nul(buf_slice(&text)))
        set_flaw(doc, "_id holds the character U+0000");
    else if (!doc->id) /* twice is a flaw that is told later */
        doc->id = slice_to_str(buf_slice(&text));
}

static bool parse_micros(struct slice text, int64_t *ret) {
    bool negative = text.len && text.data[0] == '-';
    uint64_t v;
    if (is_err(slice_to_u64(slice_make(text.data + negative, text.len - negative), INT64_MAX, &v))) return false;
    *ret = negative ? -(int64_t)v : (int64_t)v;
    return is_storable_time(*ret);
}

static void take_event_time(struct document *doc, struct slice value, struct scan_type type) {
    char t = type.code[0];
    if (t == 'n') return;
    bool good = false;
    if (t == 'i') good = parse_micros(value, &doc->event_time_us);
    if (t == 's') good = document_parse_time(slice_make(value.data + 1, value.len - 2), &doc->event_time_us);
    if (good)
        doc->has_event_time = true;
    else
        set_flaw(doc, "_event_time must be whole microseconds since 1970, or an ISO 8601 time such as "
                      "\"2026-01-02T03:04:05.123456Z\", between the years 1900 and 2299");
}

static void note_field(struct parse *p, struct slice quoted, bool plain, struct scan_type type) {
    if (p->field_count == p->field_capacity) {
        p->field_capacity = p->field_capacity ? p->field_capacity * 2 : 64;
        p->fields = mem_resize(p->fields, p->field_capacity * sizeof *p->fields);
    }
    struct field f = {.name = slice_make(quoted.data + 1, quoted.len - 2), .type = type};
    if (!plain) {
        f.has_copy = true;
        f.name_at = p->names.len;
        scan_decode(quoted, &p->names);
        f.name.len = p->names.len - f.name_at;
    }
    p->fields[p->field_count++] = f;
}

static struct slice field_name(const struct parse *p, const struct field *f) {
    return f->has_copy ? slice_make(p->names.data + f->name_at, f->name.len) : f->name;
}

static int compare_fields(const void *a, const void *b, void *arg) {
    struct slice x = field_name(arg, a), y = field_name(arg, b);
    size_t n = x.len < y.len ? x.len : y.len;
    for (size_t i = 0; i < n; i++)
        if (x.data[i] != y.data[i]) return x.data[i] < y.data[i] ? -1 : 1;
    return x.len < y.len ? -1 : x.len > y.len;
}

static bool has_repeated_field(struct parse *p) {
    if (p->field_count < 2) return false;
    struct field *sorted = mem_dup(p->fields, p->field_count * sizeof *p->fields);
    qsort_r(sorted, p->field_count, sizeof *sorted, compare_fields, p);
    bool repeated = false;
    for (size_t i = 1; i < p->field_count && !repeated; i++)
        repeated = compare_fields(&sorted[i - 1], &sorted[i], p) == 0;
    mem_free(sorted);
    return repeated;
}

/* A member of a document. Appends it to the raw text unless the server owns that name. */
static struct result take_member(struct parse *p, struct scan *s, struct document *doc) {
    struct slice key, value;
    bool plain;
    struct scan_type type;
    TRY(scan_string(s, &key, &plain));
    TRY(scan_expect(s, ':'));
    TRY(scan_value(s, &value, &type));
    note_field(p, key, plain, type);
    struct field *f = &p->fields[p->field_count - 1];
    struct slice name = field_name(p, f);
    if (slice_is(name, "_id")) {
        take_id(doc, value, type);
    } else if (slice_is(name, "_event_time")) {
        take_event_time(doc, value, type);
    } else if (!slice_is(name, "_meta")) {
        if (name.len == 0) set_flaw(doc, "holds a field with an empty name");
        struct buf *raw = &p->d->raw;
        buf_append_str(raw, raw->len > doc->raw_at + 1 ? "," : "");
        buf_append_slice(raw, key);
        buf_append_byte(raw, ':');
        buf_append_slice(raw, value);
    }
    return OK;
}

static bool is_server_field(struct slice name) {
    return slice_is(name, "_id") || slice_is(name, "_event_time") || slice_is(name, "_meta");
}

static struct result take_document(struct parse *p, struct scan *s, struct document *doc) {
    p->field_count = 0;
    buf_clear(&p->names);
    s->flaw = NULL;
    doc->raw_at = p->d->raw.len;
    buf_append_byte(&p->d->raw, '{');
    TRY(scan_expect(s, '{'));
    if (!scan_take(s, '}')) {
        do {
            TRY(take_member(p, s, doc));
        } while (scan_take(s, ','));
        TRY(scan_expect(s, '}'));
    }
    buf_append_byte(&p->d->raw, '}');
    doc->raw_len = p->d->raw.len - doc->raw_at;
    if (s->flaw) set_flaw(doc, s->flaw);
    if (has_repeated_field(p)) set_flaw(doc, "holds the same field twice");
    if (doc->flaw) return OK;
    for (size_t i = 0; i < p->field_count; i++) {
        struct slice name = field_name(p, &p->fields[i]);
        if (!is_server_field(name)) schema_add(&p->d->schema, name, p->fields[i].type);
    }
    return OK;
}

static struct document *next_document(struct documents *d) {
    /* Grown in powers of two, seen from the count alone. */
    if ((d->count & (d->count - 1)) == 0)
        d->items = mem_resize(d->items, (d->count ? d->count * 2 : 1) * sizeof *d->items);
    d->items[d->count] = (struct document){0};
    return &d->items[d->count++];
}

static struct result take_data(struct parse *p, struct scan *s) {
    CHECK(scan_peek(s) == '[', ERR_INVALID, "'data' must be an array of documents");
    s->at++;
    if (scan_take(s, ']')) return OK;
    do {
        CHECK(p->d->count < DOCUMENT_MAX_COUNT, ERR_TOO_LARGE, "more than %d documents in one request: send several",
              DOCUMENT_MAX_COUNT);
        uint8_t c = scan_peek(s);
        if (c != '{' && c && strchr("[\"-0123456789tfn", c))
            FAIL(ERR_INVALID, "data[%zu] must be an object: each document is one", p->d->count);
        TRY(take_document(p, s, next_document(p->d)));
    } while (scan_take(s, ','));
    return scan_expect(s, ']');
}

struct result documents_parse(struct slice body, struct documents *d) {
    CHECK(body.len <= DOCUMENT_MAX_BODY_BYTES, ERR_TOO_LARGE, "the body is over 10 MiB: send several smaller ones");
    AUTO(parse_done) struct parse p = {.d = d};
    buf_init(&p.names, MAX_FIELD_NAMES_BYTES);
    struct scan s;
    scan_init(&s, body);
    CHECK(scan_peek(&s) != 0, ERR_INVALID, "the body is empty: send {\"data\":[{...}]}");
    CHECK(scan_peek(&s) == '{', ERR_INVALID, "the body must be an object: {\"data\":[{...}]}");
    s.at++;
    bool seen = false;
    if (!scan_take(&s, '}')) {
        do {
            struct slice key;
            bool plain;
            TRY(scan_string(&s, &key, &plain));
            TRY(scan_expect(&s, ':'));
            BUF_AUTO(name, DOCUMENT_MAX_BODY_BYTES);
            scan_decode(key, &name);
            CHECK(slice_is(buf_slice(&name), "data"), ERR_INVALID, "unknown field '%.60s': only 'data' is known here",
                  buf_str(&name));
            CHECK(!seen, ERR_INVALID, "'data' is there twice");
            seen = true;
            TRY(take_data(&p, &s));
        } while (scan_take(&s, ','));
        TRY(scan_expect(&s, '}'));
    }
    TRY(scan_end(&s));
    CHECK(seen, ERR_INVALID, "'data' is missing: send {\"data\":[{...}]}");
    return buf_check(&d->raw);
}

struct result documents_add(struct documents *d, struct slice object) {
    AUTO(parse_done) struct parse p = {.d = d};
    buf_init(&p.names, MAX_FIELD_NAMES_BYTES);
    struct scan s;
    scan_init(&s, object);
    TRY(take_document(&p, &s, next_document(d)));
    TRY(scan_end(&s));
    return buf_check(&d->raw);
}
