#include "lifecycle/schema.h"

#include <string.h>

enum { SCHEMA_INDEX = 4096 };

void schema_init(struct schema *s) {
    *s = (struct schema){0};
}

void schema_done(struct schema *s) {
    for (size_t i = 0; i < s->count; i++)
        mem_free(s->fields[i].name);
    mem_free(s->fields);
    mem_free(s->index);
    *s = (struct schema){0};
}

static uint32_t hash_name(struct slice name) {
    uint32_t h = 2166136261U;
    for (size_t i = 0; i < name.len; i++)
        h = (h ^ name.data[i]) * 16777619U;
    return h ^ h >> 15;
}

/* The slot where the name is, or where it would go. */
static size_t find_slot(const struct schema *s, struct slice name) {
    size_t slot = hash_name(name) % SCHEMA_INDEX;
    while (s->index[slot]) {
        const struct schema_field *f = &s->fields[s->index[slot] - 1];
        if (f->name_len == name.len && slice_equal(slice_make(f->name, f->name_len), name)) break;
        slot = (slot + 1) % SCHEMA_INDEX;
    }
    return slot;
}

static struct schema_field *find_field(const struct schema *s, struct slice name) {
    if (!s->index) return NULL;
    size_t slot = find_slot(s, name);
    return s->index[slot] ? &s->fields[s->index[slot] - 1] : NULL;
}

/* The field of that name, made if need be; NULL when it can't be a column. */
static struct schema_field *want_field(struct schema *s, struct slice name) {
    if (!s->index) s->index = mem_alloc_array(SCHEMA_INDEX, sizeof *s->index);
    size_t slot = find_slot(s, name);
    if (s->index[slot]) return &s->fields[s->index[slot] - 1];
    if (s->count >= SCHEMA_MAX_FIELDS || name.len > SCHEMA_MAX_NAME_BYTES ||
        s->names_bytes + name.len > SCHEMA_MAX_NAMES_BYTES || slice_starts_with(name, "__lockset")) {
        s->has_more = true;
        return NULL;
    }
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? s->capacity * 2 : 32;
        s->fields = mem_resize(s->fields, s->capacity * sizeof *s->fields);
    }
    s->names_bytes += name.len;
    struct schema_field *f = &s->fields[s->count++];
    *f = (struct schema_field){.name = slice_to_str(name), .name_len = name.len};
    s->index[slot] = (uint16_t)s->count;
    return f;
}

static unsigned kind_of(char code) {
    switch (code) {
    case 'b':
        return SCHEMA_BOOL;
    case 'i':
        return SCHEMA_INT;
    case 'f':
        return SCHEMA_FLOAT;
    case 's':
        return SCHEMA_STRING;
    case 'o':
        return SCHEMA_OBJECT;
    case 'A':
        return SCHEMA_ARRAY;
    case 'n':
        return 0;
    default:
        return SCHEMA_UNKNOWN;
    }
}

static bool has_array(const struct schema_field *f, const char *code) {
    for (unsigned i = 0; i < f->array_count; i++)
        if (strcmp(f->arrays[i], code) == 0) return true;
    return false;
}

static void field_add_type(struct schema_field *f, struct scan_type type) {
    f->kinds |= kind_of(type.code[0]);
    if (type.code[0] != 'A' || has_array(f, type.code)) return;
    if (f->array_count == SCHEMA_MAX_ARRAYS)
        f->kinds |= SCHEMA_UNKNOWN;
    else
        mem_copy(f->arrays[f->array_count++], type.code, SCAN_TYPE_BYTES);
}

void schema_add(struct schema *s, struct slice name, struct scan_type type) {
    struct schema_field *f = want_field(s, name);
    if (f) field_add_type(f, type);
}

bool schema_has(const struct schema *s, struct slice name) {
    return find_field(s, name) != NULL;
}

void schema_empty_arrays(const struct schema *s, struct schema *names) {
    for (size_t i = 0; i < s->count; i++)
        if (has_array(&s->fields[i], "Ae")) want_field(names, slice_make(s->fields[i].name, s->fields[i].name_len));
}

static struct scan_type array_type(const struct schema_field *f, unsigned i) {
    struct scan_type t = {0};
    mem_copy(t.code, f->arrays[i], SCAN_TYPE_BYTES);
    return t;
}

void schema_merge(struct schema *s, const struct schema *other) {
    s->has_more |= other->has_more;
    for (size_t i = 0; i < other->count; i++) {
        const struct schema_field *from = &other->fields[i];
        struct schema_field *to = want_field(s, slice_make(from->name, from->name_len));
        if (!to) continue;
        to->kinds |= from->kinds;
        for (unsigned a = 0; a < from->array_count; a++)
            field_add_type(to, array_type(from, a));
    }
}

static bool field_covers(const struct schema_field *f, const struct schema_field *part) {
    if (part->kinds & ~f->kinds) return false;
    if (f->kinds & SCHEMA_UNKNOWN) return true;
    for (unsigned i = 0; i < part->array_count; i++)
        if (!has_array(f, part->arrays[i])) return false;
    return true;
}

bool schema_covers(const struct schema *s, const struct schema *part) {
    if (part->has_more && !s->has_more) return false;
    for (size_t i = 0; i < part->count; i++) {
        const struct schema_field *p = &part->fields[i];
        const struct schema_field *f = find_field(s, slice_make(p->name, p->name_len));
        /* A full schema takes no new field: it only has to know that there are more. */
        bool is_full =
            s->has_more && (s->count >= SCHEMA_MAX_FIELDS || s->names_bytes + p->name_len > SCHEMA_MAX_NAMES_BYTES);
        if (f ? !field_covers(f, p) : !is_full) return false;
    }
    return true;
}

/* ---- text ---- */

static const struct {
    unsigned kind;
    char code;
} kind_codes[] = {{SCHEMA_BOOL, 'b'},   {SCHEMA_INT, 'i'},    {SCHEMA_FLOAT, 'f'},
                  {SCHEMA_STRING, 's'}, {SCHEMA_OBJECT, 'o'}, {SCHEMA_UNKNOWN, '?'}};

void schema_write(const struct schema *s, struct buf *out) {
    buf_printf(out, "{\"version\":1,\"more\":%s,\"fields\":[", s->has_more ? "true" : "false");
    for (size_t i = 0; i < s->count; i++) {
        const struct schema_field *f = &s->fields[i];
        buf_append_str(out, i ? ",[" : "[");
        json_write_str(slice_make(f->name, f->name_len), out);
        buf_append_str(out, ",\"");
        const char *comma = "";
        for (size_t k = 0; k < ARRAY_LEN(kind_codes); k++) {
            if (!(f->kinds & kind_codes[k].kind)) continue;
            buf_printf(out, "%s%c", comma, kind_codes[k].code);
            comma = ",";
        }
        for (unsigned a = 0; a < f->array_count; a++) {
            buf_printf(out, "%s%s", comma, f->arrays[a]);
            comma = ",";
        }
        buf_append_str(out, "\"]");
    }
    buf_append_str(out, "]}");
}

static struct result read_types(struct schema_field *f, struct slice types) {
    while (types.len) {
        struct slice one, rest;
        slice_cut(types, ',', &one, &rest);
        CHECK(one.len > 0 && one.len < SCAN_TYPE_BYTES, ERR_INVALID, "a stored schema has a type of %zu letters",
              one.len);
        struct scan_type t = {0};
        mem_copy(t.code, one.data, one.len);
        if (f) field_add_type(f, t);
        types = rest;
    }
    return OK;
}

struct result schema_read(struct slice text, struct schema *s) {
    JSON_AUTO(root);
    TRY(json_parse_object(text, &root));
    int64_t version;
    TRY(json_get_int(root, "version", 1, 1, &version));
    bool more = false;
    TRY(json_opt_bool(root, "more", &more));
    json_t *fields, *pair;
    TRY(json_get_array(root, "fields", &fields));
    size_t i;
    json_array_foreach(fields, i, pair) {
        const json_t *name = json_array_get(pair, 0), *types = json_array_get(pair, 1);
        CHECK(json_is_string(name) && json_is_string(types), ERR_INVALID, "a stored schema has a bad field");
        struct schema_field *f = want_field(s, slice_make(json_string_value(name), json_string_length(name)));
        TRY(read_types(f, slice_str(json_string_value(types))));
    }
    s->has_more |= more;
    return OK;
}

/* ---- the view's columns ---- */

static void put_escaped(struct slice text, char quote, struct buf *out) {
    buf_append_byte(out, (uint8_t)quote);
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == (uint8_t)quote || c == '\\') buf_append_byte(out, '\\');
        if (c == 0)
            buf_append_str(out, "\\0");
        else if (c == '\n')
            buf_append_str(out, "\\n");
        else
            buf_append_byte(out, c);
    }
    buf_append_byte(out, (uint8_t)quote);
}

void sql_quote_name(struct slice name, struct buf *out) {
    put_escaped(name, '`', out);
}

void sql_quote_text(struct slice text, struct buf *out) {
    put_escaped(text, '\'', out);
}

/* A field's path inside the JSON column: dots in a name are written %2E, as json_type_escape_dots_in_keys does. */
static void put_path(const struct schema_field *f, struct buf *out) {
    BUF_AUTO(path, SCHEMA_MAX_NAME_BYTES * 3 + 1);
    for (size_t i = 0; i < f->name_len; i++) {
        if (f->name[i] == '.')
            buf_append_str(&path, "%2E");
        else
            buf_append_byte(&path, (uint8_t)f->name[i]);
    }
    sql_quote_name(buf_slice(&path), out);
}

/* ClickHouse's name of an array type: "Ai" -> Array(Nullable(Int64)). */
static void put_array_type(const char *code, struct buf *out) {
    size_t depth = 0;
    for (; *code == 'A'; code++, depth++)
        buf_append_str(out, "Array(");
    switch (*code) {
    case 'b':
        buf_append_str(out, "Nullable(Bool)");
        break;
    case 'i':
        buf_append_str(out, "Nullable(Int64)");
        break;
    case 'f':
        buf_append_str(out, "Nullable(Float64)");
        break;
    case 'o':
        buf_append_str(out, "JSON(max_dynamic_types=16, max_dynamic_paths=32)");
        break;
    case 'O':
        buf_append_str(out, "Nullable(JSON(max_dynamic_types=16, max_dynamic_paths=32))");
        break;
    case 'd':
        buf_append_str(out, "Dynamic");
        break;
    default:
        buf_append_str(out, "Nullable(String)");
        break; /* strings, nothing but nulls, empty */
    }
    while (depth--)
        buf_append_byte(out, ')');
}

struct column {
    const struct schema_field *field;
    const char *doc;
    struct buf *out;
};

/* doc.path, doc.^path, doc.path.:Type */
static void put_value(const struct column *c) {
    buf_printf(c->out, "%s.", c->doc);
    put_path(c->field, c->out);
}

static void put_object(const struct column *c) {
    buf_printf(c->out, "%s.^", c->doc);
    put_path(c->field, c->out);
}

static void put_typed(const struct column *c, const char *type) {
    put_value(c);
    buf_printf(c->out, ".:%s", type);
}

static void put_array(const struct column *c, const char *code) {
    put_value(c);
    buf_append_str(c->out, ".:`");
    put_array_type(code, c->out);
    buf_append_str(c->out, "`");
}

/* Text for fields of several types: strings as they are, everything else as JSON. */
static void put_text(const struct column *c) {
    buf_append_str(c->out, "coalesce(");
    put_typed(c, "String");
    buf_append_str(c->out, ", nullIf(toJSONString(");
    put_value(c);
    buf_append_str(c->out, "), 'null')");
    if (c->field->kinds & SCHEMA_OBJECT) {
        buf_append_str(c->out, ", nullIf(toJSONString(");
        put_object(c);
        buf_append_str(c->out, "), '{}')");
    }
    buf_append_str(c->out, ")");
}

static void put_numbers(const struct column *c) {
    buf_append_str(c->out, "coalesce(");
    put_typed(c, "Float64");
    buf_append_str(c->out, ", toFloat64(");
    put_typed(c, "Int64");
    buf_append_str(c->out, "))");
}

/* Ends in 'e' or 'n': such arrays are stored as arrays of strings, and fit any other. */
static bool is_vague_array(const char *code) {
    char last = code[strlen(code) - 1];
    return last == 'e' || last == 'n';
}

/* Are these arrays of whole numbers and of floats, of the same depth? */
static bool are_number_arrays(const char *a, const char *b) {
    size_t n = strlen(a);
    return strlen(b) == n && strncmp(a, b, n - 1) == 0 &&
           ((a[n - 1] == 'i' && b[n - 1] == 'f') || (a[n - 1] == 'f' && b[n - 1] == 'i'));
}

static void put_number_arrays(const struct column *c, const char *a, const char *b) {
    bool a_is_int = a[strlen(a) - 1] == 'i';
    const char *ints = a_is_int ? a : b, *floats = a_is_int ? b : a;
    buf_append_str(c->out, "if(notEmpty(");
    put_array(c, floats);
    buf_append_str(c->out, "), ");
    put_array(c, floats);
    buf_append_str(c->out, ", CAST(");
    put_array(c, ints);
    buf_append_str(c->out, ", '");
    put_array_type(floats, c->out);
    buf_append_str(c->out, "'))");
}

static void put_arrays(const struct column *c) {
    const struct schema_field *f = c->field;
    const char *clear[SCHEMA_MAX_ARRAYS];
    unsigned count = 0;
    for (unsigned i = 0; i < f->array_count; i++)
        if (!is_vague_array(f->arrays[i])) clear[count++] = f->arrays[i];
    if (count == 0)
        put_array(c, f->arrays[0]);
    else if (count == 1)
        put_array(c, clear[0]);
    else if (count == 2 && are_number_arrays(clear[0], clear[1]))
        put_number_arrays(c, clear[0], clear[1]);
    else
        put_text(c);
}

static void put_expression(const struct column *c) {
    switch (c->field->kinds) {
    case 0:
        buf_append_str(c->out, "CAST(NULL, 'Nullable(String)')");
        break;
    case SCHEMA_BOOL:
        put_typed(c, "Bool");
        break;
    case SCHEMA_INT:
        put_typed(c, "Int64");
        break;
    case SCHEMA_FLOAT:
        put_typed(c, "Float64");
        break;
    case SCHEMA_STRING:
        put_typed(c, "String");
        break;
    case SCHEMA_OBJECT:
        put_object(c);
        break;
    case SCHEMA_ARRAY:
        put_arrays(c);
        break;
    case SCHEMA_UNKNOWN:
        put_value(c);
        break;
    case SCHEMA_INT | SCHEMA_FLOAT:
        put_numbers(c);
        break;
    default:
        put_text(c);
        break;
    }
}

void schema_columns(const struct schema *s, const char *doc, struct buf *out) {
    bool has_doc = false;
    for (size_t i = 0; i < s->count; i++) {
        const struct schema_field *f = &s->fields[i];
        struct column c = {.field = f, .doc = doc, .out = out};
        buf_append_str(out, ",\n  ");
        put_expression(&c);
        buf_append_str(out, " AS ");
        sql_quote_name(slice_make(f->name, f->name_len), out);
        has_doc |= slice_is(slice_make(f->name, f->name_len), "_doc");
    }
    if (s->has_more && !has_doc) buf_printf(out, ",\n  %s AS _doc", doc);
}
