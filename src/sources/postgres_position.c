#include "sources/postgres_position.h"

#include <stdio.h>
#include <string.h>

void postgres_lsn_format(uint64_t lsn, char ret[static POSTGRES_LSN_BYTES]) {
    snprintf(ret, POSTGRES_LSN_BYTES, "%X/%X", (unsigned)(lsn >> 32), (unsigned)lsn);
}

static bool take_hex(const char **at, uint32_t *ret) {
    uint64_t value = 0;
    unsigned n = 0;
    for (; n < 9; n++, (*at)++) {
        char c = **at;
        if (c >= '0' && c <= '9')
            value = value * 16 + (uint64_t)(c - '0');
        else if (c >= 'A' && c <= 'F')
            value = value * 16 + (uint64_t)(c - 'A') + 10;
        else
            break;
    }
    *ret = (uint32_t)value;
    return n > 0 && n <= 8;
}

struct result postgres_lsn_parse(const char *text, uint64_t *ret) {
    uint32_t high, low;
    bool good = take_hex(&text, &high) && *text++ == '/' && take_hex(&text, &low) && *text == '\0';
    CHECK(good, ERR_INVALID, "not an LSN");
    *ret = (uint64_t)high << 32 | low;
    return OK;
}

void postgres_position_done(struct postgres_position *p) {
    for (unsigned i = 0; i < POSTGRES_MAX_KEYS; i++) {
        mem_free(p->keys[i]);
        mem_free_wiping(p->after[i]);
    }
    *p = (struct postgres_position){0};
}

static void set_lsn(json_t *j, const char *name, uint64_t lsn) {
    char text[POSTGRES_LSN_BYTES];
    postgres_lsn_format(lsn, text);
    json_object_set_new(j, name, json_string(text));
}

static json_t *texts(unsigned count, char *const list[]) {
    json_t *j = json_array();
    for (unsigned i = 0; i < count; i++)
        json_array_append_new(j, json_string(list[i]));
    return j;
}

json_t *postgres_position_to_json(const struct postgres_position *p) {
    json_t *j = json_object();
    json_object_set_new(j, "system", json_string(p->system));
    json_object_set_new(j, "table", json_integer(p->table));
    json_object_set_new(j, "publication", json_string(p->publication));
    json_object_set_new(j, "key", texts(p->keys_count, p->keys));
    set_lsn(j, "lsn", p->lsn);
    json_object_set_new(j, "phase", json_string(p->is_snapshot ? "snapshot" : "changes"));
    if (p->is_snapshot) json_object_set_new(j, "rows", json_integer(p->rows));
    if (p->is_snapshot && p->has_after) json_object_set_new(j, "after", texts(p->keys_count, p->after));
    if (p->until) set_lsn(j, "until", p->until);
    if (p->in_commit) {
        set_lsn(j, "in_commit", p->in_commit);
        json_object_set_new(j, "done", json_integer((json_int_t)p->done));
    }
    return j;
}

static struct result get_lsn(const json_t *j, const char *name, bool required, uint64_t *ret) {
    const char *text = NULL;
    TRY(required ? json_get_str(j, name, &text) : json_opt_str(j, name, &text));
    return text ? postgres_lsn_parse(text, ret) : OK;
}

static struct result get_texts(const json_t *list, unsigned count, char *ret[static POSTGRES_MAX_KEYS]) {
    CHECK(json_array_size(list) == count, ERR_INVALID, "a list of the wrong length");
    for (unsigned i = 0; i < count; i++) {
        const json_t *text = json_array_get(list, i);
        CHECK(json_is_string(text), ERR_INVALID, "not a text");
        ret[i] = str_ndup(json_string_value(text), json_string_length(text));
    }
    return OK;
}

static struct result get_short(const json_t *j, const char *name, char *ret, size_t size) {
    const char *text = NULL;
    TRY(json_get_str(j, name, &text));
    CHECK(*text && strlen(text) < size, ERR_INVALID, "no %s", name);
    snprintf(ret, size, "%s", text);
    return OK;
}

static struct result read_position(const json_t *j, struct postgres_position *p) {
    static const char *const members[] = {"system", "table", "publication", "key",       "lsn",  "phase",
                                          "rows",   "after", "until",       "in_commit", "done", NULL};
    const char *phase = NULL;
    json_t *keys = NULL, *after = NULL;
    int64_t table, done = 0;
    CHECK(json_is_object(j), ERR_INVALID, "not an object");
    TRY(json_only(j, members));
    TRY(get_short(j, "system", p->system, sizeof p->system));
    TRY(get_short(j, "publication", p->publication, sizeof p->publication));
    TRY(json_get_int(j, "table", 1, UINT32_MAX, &table));
    p->table = (uint32_t)table;
    TRY(json_get_array(j, "key", &keys));
    size_t count = json_array_size(keys);
    CHECK(count > 0 && count <= POSTGRES_MAX_KEYS, ERR_INVALID, "a key of %zu columns", count);
    p->keys_count = (unsigned)count;
    TRY(get_texts(keys, p->keys_count, p->keys));
    TRY(get_lsn(j, "lsn", true, &p->lsn));
    TRY(json_get_str(j, "phase", &phase));
    p->is_snapshot = strcmp(phase, "snapshot") == 0;
    CHECK(p->is_snapshot || strcmp(phase, "changes") == 0, ERR_INVALID, "an unknown phase");
    TRY(json_opt_int(j, "rows", 0, INT64_MAX, &p->rows));
    TRY(json_opt_array(j, "after", &after));
    p->has_after = after != NULL;
    if (after) TRY(get_texts(after, p->keys_count, p->after));
    TRY(get_lsn(j, "until", false, &p->until));
    TRY(get_lsn(j, "in_commit", false, &p->in_commit));
    TRY(json_opt_int(j, "done", 0, INT64_MAX, &done));
    p->done = (uint64_t)done;
    return OK;
}

struct result postgres_position_from_json(const json_t *j, struct postgres_position *ret) {
    *ret = (struct postgres_position){0};
    if (is_err(read_position(j, ret))) {
        AUTO_FREE char *why = str_dup(err_detail());
        FAIL(ERR_CORRUPT, "the position kept of the table can't be read: %s", why);
    }
    return OK;
}
