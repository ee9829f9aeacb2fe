#include "sources/records.h"

#include <string.h>

#include "lifecycle/scan.h"
#include "sources/records_csv.h"

enum { MAX_FLAW_BYTES = 200 };

/* Of UTF-8; some programs write it first. */
static const char byte_order_mark[] = "\xef\xbb\xbf";

struct records {
    struct records_place place;
    struct records_place given; /* behind the last record */
    struct csv csv;
    struct buf text; /* from place.offset on, without what was given */
    size_t taken;    /* bytes of `text` that were given; cut off with the next feed */
    size_t seen;     /* bytes behind `taken` in which no end was found */
    bool is_ended, is_begun, skips_line;
    bool has_closed;      /* the array's ']' was seen */
    uint64_t blank_lines; /* before the first record */
    struct buf flaw;
};

struct records *records_new(const struct csv_format *csv, const struct records_place *place) {
    struct records *r = mem_alloc(sizeof *r);
    r->place = r->given = *place;
    r->is_begun = place->offset > 0;
    buf_init_wiping(&r->text, RECORDS_MAX_BYTES * 3);
    buf_init_wiping(&r->flaw, MAX_FLAW_BYTES);
    csv_init(&r->csv, csv);
    return r;
}

struct records *records_free(struct records *r) {
    if (!r) return NULL;
    buf_done(&r->text);
    buf_done(&r->flaw);
    csv_done(&r->csv);
    mem_free(r);
    return NULL;
}

void records_feed(struct records *r, struct slice piece) {
    if (r->taken) {
        size_t left = r->text.len - r->taken;
        mem_move(r->text.data, r->text.data + r->taken, left);
        r->text.len = left;
        r->taken = 0;
    }
    buf_append_slice(&r->text, piece);
}

void records_end(struct records *r) {
    r->is_ended = true;
}

struct records_place records_place(const struct records *r) {
    return r->given;
}

/* ---- what is left ---- */

static struct slice rest(const struct records *r) {
    return slice_make(r->text.data + r->taken, r->text.len - r->taken);
}

static void take(struct records *r, size_t n) {
    r->taken += n;
    r->place.offset += n;
    r->seen = 0;
    csv_forget(&r->csv);
}

static bool is_blank(uint8_t c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_blanks(struct records *r, bool commas) {
    struct slice s = rest(r);
    size_t n = 0;
    while (n < s.len && (is_blank(s.data[n]) || (commas && s.data[n] == ',')))
        n++;
    if (n) take(r, n);
}

static bool give(struct records *r, size_t from, size_t to, size_t taken, struct record *ret) {
    *ret = (struct record){.document = slice_make(rest(r).data + from, to - from), .number = r->place.number};
    take(r, taken);
    r->given = r->place;
    return true;
}

static bool give_flaw(struct records *r, size_t taken, const char *flaw, struct record *ret) {
    buf_clear(&r->flaw);
    buf_append_str(&r->flaw, flaw);
    *ret = (struct record){.number = r->place.number, .flaw = buf_str(&r->flaw)};
    take(r, taken);
    r->given = r->place;
    return true;
}

/* ---- lines ---- */

/* The end of a line that is too long to be kept. False: not yet. */
static bool skip_line(struct records *r) {
    struct slice s = rest(r);
    const uint8_t *end = s.len ? memchr(s.data, '\n', s.len) : NULL;
    take(r, end ? (size_t)(end - s.data) + 1 : s.len);
    r->skips_line = !end;
    return end || r->is_ended;
}

static bool next_line(struct records *r, struct record *ret) {
    if (r->skips_line && !skip_line(r)) return false;
    while (true) {
        struct slice s = rest(r);
        const uint8_t *end = s.len > r->seen ? memchr(s.data + r->seen, '\n', s.len - r->seen) : NULL;
        if (!end && s.len > RECORDS_MAX_BYTES) {
            r->place.number++;
            r->skips_line = true;
            return give_flaw(r, s.len, "the line is longer than 10 MiB", ret);
        }
        if (!end && (!r->is_ended || s.len == 0)) {
            r->seen = s.len;
            return false;
        }
        size_t len = end ? (size_t)(end - s.data) : s.len, taken = end ? len + 1 : len, from = 0;
        r->place.number++;
        while (len > from && is_blank(s.data[len - 1]))
            len--;
        while (from < len && is_blank(s.data[from]))
            from++;
        if (len - from > RECORDS_MAX_BYTES) return give_flaw(r, taken, "the line is longer than 10 MiB", ret);
        if (len > from) return give(r, from, len, taken, ret);
        take(r, taken);
    }
}

/* ---- values over several lines ---- */

/* Follows one JSON value by its brackets and strings. The end of it; 0: not there yet. */
static size_t value_end(struct slice s) {
    size_t depth = 0;
    bool in_string = false, escaped = false;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.data[i];
        if (in_string) {
            if (escaped)
                escaped = false;
            else if (c == '\\')
                escaped = true;
            else if (c == '"')
                in_string = false;
            if (in_string || depth) continue;
            return i + 1; /* a string alone */
        }
        if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (depth == 0) return i; /* the end of what it stands in */
            if (--depth == 0) return i + 1;
        } else if (depth == 0 && (c == ',' || is_blank(c))) {
            return i;
        }
    }
    return 0;
}

/* Nothing behind it can be trusted. */
static bool give_rest_as_flaw(struct records *r, const char *flaw, struct record *ret) {
    r->place.mode = RECORDS_OVER;
    r->place.number++;
    return give_flaw(r, rest(r).len, flaw, ret);
}

static bool next_value(struct records *r, struct record *ret) {
    skip_blanks(r, r->place.mode == RECORDS_ARRAY);
    struct slice s = rest(r);
    if (s.len == 0) {
        if (r->is_ended && r->place.mode == RECORDS_ARRAY && !r->has_closed) {
            return give_rest_as_flaw(r, "the array has no end: ']' is missing", ret);
        }
        return false;
    }
    if (r->has_closed) return give_rest_as_flaw(r, "something stands behind the end of the array", ret);
    if (r->place.mode == RECORDS_ARRAY && s.data[0] == ']') {
        take(r, 1);
        r->has_closed = true;
        return next_value(r, ret);
    }
    /* A value is looked through again only when twice as much of it is there. */
    size_t end = s.len >= 2 * r->seen || r->is_ended || s.len > RECORDS_MAX_BYTES ? value_end(s) : 0;
    if (end == 0 && r->is_ended && s.data[0] != '{' && s.data[0] != '[' && s.data[0] != '"') end = s.len;
    if (end == 0 && s.len > RECORDS_MAX_BYTES) return give_rest_as_flaw(r, "a value is longer than 10 MiB", ret);
    if (end == 0 && r->is_ended) return give_rest_as_flaw(r, "it ends in the middle of a value", ret);
    if (end == 0) {
        if (s.len >= 2 * r->seen) r->seen = s.len;
        return false;
    }
    if (end > RECORDS_MAX_BYTES) return give_rest_as_flaw(r, "a value is longer than 10 MiB", ret);
    r->place.number++;
    return give(r, 0, end, end, ret);
}

/* ---- CSV ---- */

static bool next_row(struct records *r, struct record *ret) {
    if (r->skips_line && !skip_line(r)) return false;
    while (true) {
        struct slice s = rest(r);
        size_t taken = 0;
        enum csv_outcome outcome = csv_row(&r->csv, s, r->is_ended, &taken);
        if (outcome == CSV_MORE && s.len > RECORDS_MAX_BYTES) {
            r->place.number++;
            r->skips_line = true;
            return give_flaw(r, s.len, "the row is longer than 10 MiB: is a quote without its end?", ret);
        }
        if (outcome == CSV_MORE) return false;
        if (outcome == CSV_NOTHING) {
            take(r, taken);
            continue;
        }
        r->place.number++;
        if (taken > RECORDS_MAX_BYTES)
            return give_flaw(r, taken, "the row is longer than 10 MiB: is a quote without its end?", ret);
        if (outcome == CSV_FLAW) return give_flaw(r, taken, csv_flaw(&r->csv), ret);
        *ret = (struct record){.document = csv_document(&r->csv), .number = r->place.number};
        take(r, taken);
        r->given = r->place;
        return true;
    }
}

bool records_feed_header(struct records *r, struct slice piece, bool is_end) {
    if (csv_has_names(&r->csv)) return true;
    buf_append_slice(&r->text, piece);
    if (r->taken == 0 && slice_starts_with(rest(r), byte_order_mark)) r->taken = strlen(byte_order_mark);
    size_t taken;
    enum csv_outcome outcome;
    while ((outcome = csv_row(&r->csv, rest(r), is_end, &taken)) == CSV_NOTHING && !csv_has_names(&r->csv) && taken)
        r->taken += taken;
    bool done = csv_has_names(&r->csv) || is_end || outcome == CSV_FLAW || r->text.len > RECORDS_MAX_BYTES;
    if (done) {
        buf_clear(&r->text);
        r->taken = 0;
    }
    csv_forget(&r->csv);
    return done;
}

/* ---- which it is ---- */

/* Is the first line nothing but '{'? */
static bool begins_tall_object(struct slice s, bool is_ended, bool *ret_known) {
    size_t i = 1;
    while (i < s.len && (s.data[i] == ' ' || s.data[i] == '\t' || s.data[i] == '\r'))
        i++;
    *ret_known = i < s.len || is_ended;
    return i < s.len && s.data[i] == '\n';
}

/* False: too little is known. */
static bool find_mode(struct records *r) {
    struct slice s = rest(r);
    for (size_t i = 0; i < s.len && is_blank(s.data[i]); i++)
        r->blank_lines += s.data[i] == '\n';
    skip_blanks(r, false);
    s = rest(r);
    if (s.len == 0) return false;
    bool known = true;
    if (s.data[0] == '[') {
        r->place.mode = RECORDS_ARRAY;
        take(r, 1);
    } else if (s.data[0] == '{' && begins_tall_object(s, r->is_ended, &known)) {
        r->place.mode = RECORDS_OBJECTS;
    } else if (known) {
        r->place.mode = RECORDS_LINES;
        r->place.number = r->blank_lines;
    }
    return known;
}

/* False: too little is known. */
static bool begin(struct records *r) {
    struct slice s = rest(r);
    size_t len = strlen(byte_order_mark);
    if (s.len < len && !r->is_ended) return false;
    if (slice_starts_with(s, byte_order_mark)) take(r, len);
    r->is_begun = true;
    return true;
}

bool records_next(struct records *r, struct record *ret) {
    if (!r->is_begun && !begin(r)) return false;
    if (r->place.mode == RECORDS_UNKNOWN && !find_mode(r)) return false;
    switch (r->place.mode) {
    case RECORDS_LINES:
        return next_line(r, ret);
    case RECORDS_CSV:
        return next_row(r, ret);
    case RECORDS_ARRAY:
    case RECORDS_OBJECTS:
        return next_value(r, ret);
    case RECORDS_OVER:
        take(r, rest(r).len);
        return false;
    case RECORDS_UNKNOWN:
        break;
    }
    return false;
}
