#include "sources/records_csv.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lifecycle/scan.h"

/* ---- the format ---- */

static struct result read_char(const json_t *params, const char *name, char *ret) {
    const json_t *v = json_object_get(params, name);
    if (!v || json_is_null(v)) return OK;
    const char *text;
    TRY(json_get_str(params, name, &text));
    if (strcmp(text, "\\t") == 0) text = "\t";
    CHECK(strlen(text) == 1 && !strchr("\r\n", *text), ERR_INVALID, "format_params.csv.%s is one character", name);
    *ret = *text;
    return OK;
}

static struct result read_list(const json_t *params, const char *name, const json_t **ret) {
    json_t *v = json_object_get(params, name);
    if (!v || json_is_null(v)) return OK;
    json_t *list, *item;
    size_t i;
    TRY(json_get_array(params, name, &list));
    CHECK(json_array_size(list) <= RECORDS_MAX_COLUMNS, ERR_INVALID, "format_params.csv.%s has over %d entries", name,
          RECORDS_MAX_COLUMNS);
    json_array_foreach(list, i, item)
        CHECK(json_is_string(item), ERR_INVALID, "format_params.csv.%s is an array of strings", name);
    if (json_array_size(list)) *ret = list;
    return OK;
}

struct result csv_format_read(const json_t *params, struct csv_format *ret) {
    static const char *const members[] = {"separator",   "encoding",    "firstLineAsColumnNames",
                                          "columnNames", "columnTypes", "quoteChar",
                                          "escapeChar",  NULL};
    struct csv_format f = {.separator = ',', .quote = '"', .has_header = true};
    if (params && !json_is_boolean(params)) {
        CHECK(json_is_object(params), ERR_INVALID, "format_params.csv is an object");
        TRY(json_only(params, members));
        TRY(read_char(params, "separator", &f.separator));
        TRY(read_char(params, "quoteChar", &f.quote));
        TRY(read_char(params, "escapeChar", &f.escape));
        TRY(read_list(params, "columnNames", &f.names));
        TRY(read_list(params, "columnTypes", &f.types));
        f.has_header = f.names == NULL;
        TRY(json_opt_bool(params, "firstLineAsColumnNames", &f.has_header));
        const char *encoding = "UTF-8";
        TRY(json_opt_str(params, "encoding", &encoding));
        CHECK(strcasecmp(encoding, "UTF-8") == 0, ERR_INVALID, "format_params.csv.encoding: only UTF-8 is read");
    }
    CHECK(f.separator != f.quote, ERR_INVALID, "format_params.csv: separator and quoteChar are the same");
    CHECK(f.names || f.has_header, ERR_INVALID,
          "format_params.csv: without firstLineAsColumnNames the columns need their names in columnNames");
    if (f.escape == f.quote) f.escape = 0;
    *ret = f;
    return OK;
}

/* ---- names ---- */

static bool has_name(const struct csv *c, const char *json) {
    for (size_t i = 0; i < c->name_count; i++)
        if (strcmp(c->names[i], json) == 0) return true;
    return false;
}

/* An empty name becomes the column's number; one that was there already gets a number behind it. */
static void add_name(struct csv *c, struct slice name) {
    for (unsigned again = 1;; again++) {
        BUF_AUTO(plain, RECORDS_MAX_BYTES + 64);
        buf_append_slice(&plain, name);
        if (name.len == 0) buf_printf(&plain, "c%zu", c->name_count + 1);
        if (again > 1) buf_printf(&plain, "_%u", again);
        BUF_AUTO(json, RECORDS_MAX_BYTES * 6);
        json_write_str(buf_slice(&plain), &json);
        if (has_name(c, buf_str(&json))) continue;
        c->names = mem_resize(c->names, (c->name_count + 1) * sizeof(char *));
        c->names[c->name_count++] = buf_take_str(&json);
        return;
    }
}

void csv_init(struct csv *c, const struct csv_format *format) {
    *c = (struct csv){0};
    buf_init_wiping(&c->fields_text, RECORDS_MAX_BYTES * 3);
    buf_init_wiping(&c->document, RECORDS_MAX_BYTES * 6);
    if (!format) return;
    c->is_used = true;
    c->format = *format;
    size_t i;
    json_t *name;
    json_array_foreach(format->names, i, name)
        add_name(c, slice_make(json_string_value(name), json_string_length(name)));
    c->has_names = !format->has_header;
}

void csv_done(struct csv *c) {
    for (size_t i = 0; i < c->name_count; i++)
        mem_free(c->names[i]);
    mem_free(c->names);
    mem_free(c->fields);
    buf_done(&c->fields_text);
    buf_done(&c->document);
}

bool csv_has_names(const struct csv *c) {
    return c->has_names || !c->is_used;
}

struct slice csv_document(const struct csv *c) {
    return buf_slice(&c->document);
}

const char *csv_flaw(const struct csv *c) {
    return c->flaw;
}

/* ---- a row into its fields ---- */

static void begin_field(struct csv *c, bool is_quoted) {
    if (c->field_count == c->field_capacity) {
        c->field_capacity = c->field_capacity ? c->field_capacity * 2 : 32;
        c->fields = mem_resize(c->fields, c->field_capacity * sizeof *c->fields);
    }
    c->fields[c->field_count++] = (struct csv_field){.at = c->fields_text.len, .is_quoted = is_quoted};
}

static void end_field(struct csv *c) {
    struct csv_field *f = &c->fields[c->field_count - 1];
    f->len = c->fields_text.len - f->at;
}

/* Behind the opening quote at i: the place behind the closing one; SIZE_MAX: it isn't there yet. */
static size_t quoted_field(struct csv *c, struct slice text, size_t i, bool is_ended) {
    const struct csv_format *f = &c->format;
    while (i < text.len) {
        char ch = (char)text.data[i];
        bool doubled = ch == f->quote && i + 1 < text.len && (char)text.data[i + 1] == f->quote;
        bool escaped = f->escape && ch == f->escape && i + 1 < text.len;
        if (doubled || escaped) {
            buf_append_byte(&c->fields_text, text.data[i + 1]);
            i += 2;
        } else if (ch == f->quote) {
            return i + 1 < text.len || is_ended ? i + 1 : SIZE_MAX;
        } else {
            buf_append_byte(&c->fields_text, text.data[i++]);
        }
    }
    return SIZE_MAX;
}

/* To the separator or the end of the line. */
static size_t plain_field(struct csv *c, struct slice text, size_t i) {
    size_t begin = i;
    while (i < text.len && (char)text.data[i] != c->format.separator && text.data[i] != '\n' && text.data[i] != '\r')
        i++;
    buf_append(&c->fields_text, text.data + begin, i - begin);
    return i;
}

/* The bytes of the row with its line end; SIZE_MAX: it isn't all there. */
static size_t read_fields(struct csv *c, struct slice text, bool is_ended) {
    size_t i = 0;
    c->field_count = 0;
    buf_clear(&c->fields_text);
    while (true) {
        bool quoted = i < text.len && (char)text.data[i] == c->format.quote;
        begin_field(c, quoted);
        if (quoted) i = quoted_field(c, text, i + 1, is_ended);
        if (i == SIZE_MAX) return SIZE_MAX;
        i = plain_field(c, text, i); /* behind a closing quote nothing should stand; what does belongs to the value */
        end_field(c);
        if (i == text.len) return is_ended ? i : SIZE_MAX;
        if ((char)text.data[i] == c->format.separator) {
            i++;
            continue;
        }
        if (text.data[i] == '\n') return i + 1;
        if (i + 1 == text.len) return is_ended ? i + 1 : SIZE_MAX;
        return text.data[i + 1] == '\n' ? i + 2 : i + 1;
    }
}

/* ---- fields into JSON ---- */

static struct slice field_text(const struct csv *c, size_t i) {
    return slice_make(c->fields_text.data + c->fields[i].at, c->fields[i].len);
}

/* A number that JSON and the engine take as it stands? */
static bool is_number(struct slice s, bool whole_only) {
    if (s.len == 0 || !((s.data[0] >= '0' && s.data[0] <= '9') || s.data[0] == '-')) return false;
    struct scan scan;
    struct slice value;
    struct scan_type type;
    scan_init(&scan, s);
    bool good = is_ok(scan_value(&scan, &value, &type)) && value.len == s.len && !scan.flaw;
    return good && (type.code[0] == 'i' || (type.code[0] == 'f' && !whole_only));
}

static bool is_bool(struct slice s, bool *ret) {
    *ret = s.len == 4 && strncasecmp((const char *)s.data, "true", 4) == 0;
    return *ret || (s.len == 5 && strncasecmp((const char *)s.data, "false", 5) == 0);
}

enum wanted { BY_LOOK, WANT_BOOL, WANT_INT, WANT_FLOAT, WANT_STRING };

static enum wanted wanted_type(const struct csv *c, size_t i) {
    static const struct {
        const char *name;
        enum wanted type;
    } types[] = {{"BOOLEAN", WANT_BOOL}, {"BOOL", WANT_BOOL},     {"INTEGER", WANT_INT}, {"INT", WANT_INT},
                 {"FLOAT", WANT_FLOAT},  {"STRING", WANT_STRING}, {"UNKNOWN", BY_LOOK}};
    const char *name = json_string_value(json_array_get(c->format.types, i));
    if (!name) return BY_LOOK;
    for (size_t t = 0; t < ARRAY_LEN(types); t++)
        if (strcasecmp(name, types[t].name) == 0) return types[t].type;
    return WANT_STRING; /* dates and times are texts */
}

static const char *const wanted_names[] = {"a value", "a boolean", "an integer", "a number", "a text"};

/* Appends the value. False: it isn't what its column should hold. */
static bool put_value(struct csv *c, struct slice text, bool is_quoted, enum wanted wanted) {
    bool truth, look = wanted == BY_LOOK && !is_quoted;
    if ((look || wanted == WANT_BOOL) && is_bool(text, &truth))
        buf_append_str(&c->document, truth ? "true" : "false");
    else if ((look || wanted == WANT_FLOAT || wanted == WANT_INT) && is_number(text, wanted == WANT_INT))
        buf_append_slice(&c->document, text);
    else if (wanted == BY_LOOK || wanted == WANT_STRING)
        json_write_str(text, &c->document);
    else
        return false;
    return true;
}

static enum csv_outcome flawed(struct csv *c, const char *what) {
    snprintf(c->flaw, sizeof c->flaw, "%s", what);
    return CSV_FLAW;
}

static enum csv_outcome make_document(struct csv *c) {
    buf_clear(&c->document);
    if (c->field_count != c->name_count) {
        AUTO_FREE char *text =
            str_format("the row has %zu values, there are %zu columns", c->field_count, c->name_count);
        return flawed(c, text);
    }
    if (!slice_is_utf8(buf_slice(&c->fields_text))) return flawed(c, "the row holds bytes that are not UTF-8");
    buf_append_byte(&c->document, '{');
    for (size_t i = 0; i < c->field_count; i++) {
        struct slice text = field_text(c, i);
        if (text.len == 0 && !c->fields[i].is_quoted) continue; /* no value */
        if (c->document.len > 1) buf_append_byte(&c->document, ',');
        buf_append_str(&c->document, c->names[i]);
        buf_append_byte(&c->document, ':');
        enum wanted wanted = wanted_type(c, i);
        if (put_value(c, text, c->fields[i].is_quoted, wanted)) continue;
        AUTO_FREE char *why =
            str_format("the value of column %zu (%.60s) is not %s", i + 1, c->names[i], wanted_names[wanted]);
        return flawed(c, why);
    }
    buf_append_byte(&c->document, '}');
    return is_ok(buf_check(&c->document)) ? CSV_ROW : flawed(c, "the row is too large");
}

enum csv_outcome csv_row(struct csv *c, struct slice text, bool is_ended, size_t *ret_taken) {
    *ret_taken = 0;
    if (text.len == 0) return CSV_MORE;
    size_t taken = read_fields(c, text, is_ended);
    if (taken == SIZE_MAX) {
        if (!is_ended) return CSV_MORE;
        *ret_taken = text.len;
        return flawed(c, "it ends in the middle of a quoted value");
    }
    *ret_taken = taken;
    bool is_empty = c->field_count == 1 && c->fields[0].len == 0 && !c->fields[0].is_quoted;
    if (is_empty) return CSV_NOTHING;
    if (!c->has_names) {
        bool named = c->name_count > 0; /* columnNames win over the header */
        for (size_t i = 0; i < c->field_count && !named; i++)
            add_name(c, field_text(c, i));
        c->has_names = true;
        return CSV_NOTHING;
    }
    return make_document(c);
}
