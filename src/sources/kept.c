#include "sources/kept.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum { MAX_REASON_BYTES = 1024, MAX_ORIGIN_BYTES = 2048 };

void kept_done(struct kept *k) {
    json_decref(k->position);
    mem_free(k->last_item);
    *k = (struct kept){0};
}

char *kept_position_id(const char *source_id) {
    return str_format("source:%s", source_id);
}

char *kept_error_prefix(const char *source_id) {
    return str_format("error:%s:", source_id);
}

/* ---- the position ---- */

struct result kept_write(const struct kept *k, struct buf *out) {
    JSON_AUTO(o);
    o = json_pack("{s:i, s:I, s:I, s:I, s:I, s:b}", "version", 1, "items", (json_int_t)k->items, "bytes",
                  (json_int_t)k->bytes, "errors", (json_int_t)k->errors, "stored_at_ms", (json_int_t)k->stored_at_ms,
                  "has_snapshot", k->has_snapshot);
    if (k->last_item) json_object_set_new(o, "last_item", json_string(k->last_item));
    if (k->position) json_object_set(o, "position", k->position);
    return json_write(o, out);
}

struct result kept_read(struct slice text, struct kept *ret) {
    JSON_AUTO(o);
    AUTO(kept_done) struct kept k = {0};
    int64_t version;
    const char *last_item = NULL;
    struct result r = json_parse_object(text, &o);
    if (is_ok(r)) r = json_get_int(o, "version", 1, 1, &version);
    if (is_ok(r)) r = json_get_int(o, "items", 0, INT64_MAX, &k.items);
    if (is_ok(r)) r = json_get_int(o, "bytes", 0, INT64_MAX, &k.bytes);
    if (is_ok(r)) r = json_get_int(o, "errors", 0, INT64_MAX, &k.errors);
    if (is_ok(r)) r = json_get_int(o, "stored_at_ms", 0, INT64_MAX, &k.stored_at_ms);
    if (is_ok(r)) r = json_opt_str(o, "last_item", &last_item);
    if (is_ok(r)) r = json_opt_bool(o, "has_snapshot", &k.has_snapshot);
    CHECK(is_ok(r), ERR_CORRUPT, "what is kept of a source can't be read");
    k.last_item = str_dup(last_item);
    k.position = json_incref(json_object_get(o, "position"));
    *ret = k;
    k = (struct kept){0};
    return OK;
}

struct result kept_find(const struct hidden_rows *rows, const char *source_id, struct kept *ret) {
    AUTO_FREE char *id = kept_position_id(source_id);
    for (size_t i = 0; i < rows->count; i++)
        if (strcmp(rows->items[i].id, id) == 0) return kept_read(buf_slice(&rows->items[i].text), ret);
    *ret = (struct kept){0};
    return OK;
}

/* ---- rows ---- */

void kept_rows_done(struct kept_rows *r) {
    for (size_t i = 0; i < r->count * 2; i++)
        buf_done(&r->texts[i]);
    mem_free(r->texts);
    mem_free(r->items);
    *r = (struct kept_rows){0};
}

void kept_rows_add(struct kept_rows *r, const char *id, struct slice text) {
    if (r->count == r->capacity) {
        r->capacity = r->capacity ? r->capacity * 2 : 8;
        r->items = mem_resize(r->items, r->capacity * sizeof *r->items);
        r->texts = mem_resize(r->texts, r->capacity * 2 * sizeof *r->texts);
    }
    struct buf *both = &r->texts[r->count * 2];
    buf_init(&both[0], 1024);
    buf_append_byte(&both[0], 0);
    buf_append_str(&both[0], id);
    buf_init_wiping(&both[1], text.len + 1);
    buf_append_slice(&both[1], text);
    r->items[r->count++] = (struct write_hidden){buf_slice(&both[0]), buf_slice(&both[1])};
}

/* At most max bytes, not ending in the middle of a character; what isn't UTF-8 becomes '?'. */
static json_t *clean_text(struct slice s, size_t max) {
    BUF_AUTO(out, max + 8);
    out.wipes = true;
    while (s.len && out.len < max) {
        size_t step = s.data[0] ? slice_utf8_step(s) : 0;
        if (step)
            buf_append(&out, s.data, step);
        else
            buf_append_byte(&out, '?');
        if (step == 0) step = 1;
        s = slice_make(s.data + step, s.len - step);
    }
    return json_stringn(buf_str(&out), out.len);
}

static void add_error(struct kept_rows *r, const char *source_id, const struct write_record *record, int64_t number) {
    char at[CLOCK_ISO_BYTES];
    clock_format_iso(clock_unix_ms(), at);
    JSON_AUTO(o);
    o = json_pack("{s:I, s:s, s:o, s:o, s:o}", "number", (json_int_t)number, "at", at, "origin",
                  clean_text(record->origin, MAX_ORIGIN_BYTES), "reason",
                  clean_text(slice_str(record->flaw), MAX_REASON_BYTES), "record",
                  clean_text(record->document, KEPT_EXCERPT_BYTES));
    BUF_AUTO(text, 64 * 1024);
    text.wipes = true;
    if (is_err(json_write(o, &text)) || is_err(buf_check(&text))) return; /* made of clean strings just above */
    AUTO_FREE char *prefix = kept_error_prefix(source_id);
    AUTO_FREE char *id = str_format("%s%04d", prefix, (int)(number % KEPT_MAX_ERRORS));
    kept_rows_add(r, id, buf_slice(&text));
}

size_t kept_rows_add_errors(struct kept_rows *r, const char *source_id, const struct write_record *records,
                            size_t count, int64_t first) {
    size_t flaws = 0, seen = 0;
    for (size_t i = 0; i < count; i++)
        flaws += records[i].flaw != NULL;
    for (size_t i = 0; i < count; i++) {
        if (!records[i].flaw) continue;
        size_t place = seen++;
        if (place + KEPT_MAX_ERRORS >= flaws) add_error(r, source_id, &records[i], first + (int64_t)place);
    }
    return flaws;
}

/* ---- the list of errors ---- */

static int newest_first(const void *a, const void *b) {
    json_int_t x = json_integer_value(json_object_get(*(json_t *const *)a, "number"));
    json_int_t y = json_integer_value(json_object_get(*(json_t *const *)b, "number"));
    return x < y ? 1 : x > y ? -1 : 0;
}

json_t *kept_errors(const struct hidden_rows *rows, size_t limit) {
    AUTO_FREE json_t **all = mem_alloc_array(rows->count + 1, sizeof(json_t *));
    size_t count = 0;
    for (size_t i = 0; i < rows->count; i++)
        if (is_ok(json_parse_object(buf_slice(&rows->items[i].text), &all[count]))) count++;
    qsort(all, count, sizeof(json_t *), newest_first);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        if (i < limit)
            json_array_append_new(list, all[i]);
        else
            json_decref(all[i]);
    }
    return list;
}
