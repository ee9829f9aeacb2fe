#include "base/json.h"

#include <string.h>

enum { NESTING_MAX = 200, SHOWN_NAME_BYTES = 64 };

void json_start_wiping(void) {
    json_set_alloc_funcs(mem_alloc, mem_free_wiping);
}

/* Brackets outside of strings. jansson has a limit of its own, but one that a small stack can't bear. */
static struct result nesting_check(struct slice text) {
    unsigned depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (in_string)
            continue;
        else if (c == '{' || c == '[')
            CHECK(++depth <= NESTING_MAX, ERR_INVALID, "JSON is nested deeper than %d levels", NESTING_MAX);
        else if ((c == '}' || c == ']') && depth > 0)
            depth--;
    }
    return OK;
}

struct result json_parse(struct slice text, json_t **ret) {
    TRY(nesting_check(text));
    json_error_t error = {0};
    const char *data = text.len ? (const char *)text.data : "";
    json_t *j = json_loadb(data, text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!j) {
        /* The reason ends with an excerpt of the text, which may be private. */
        char *excerpt = strstr(error.text, " near ");
        if (excerpt) *excerpt = '\0';
        bool is_nul = json_error_code(&error) == json_error_null_character;
        FAIL(ERR_INVALID, "not valid JSON (line %d, column %d): %s", error.line, error.column,
             is_nul ? "the character U+0000 is not allowed" : error.text);
    }
    *ret = j;
    return OK;
}

static const char *type_name(const json_t *j) {
    switch (json_typeof(j)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a fraction";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        return "null";
    default:
        return "something else";
    }
}

struct result json_parse_object(struct slice text, json_t **ret) {
    JSON_AUTO(j);
    TRY(json_parse(text, &j));
    CHECK(json_is_object(j), ERR_INVALID, "the JSON must be an object, not %s", type_name(j));
    *ret = TAKE(j);
    return OK;
}

static struct result wrong_type(const char *name, const char *wanted, const json_t *got) {
    return err_make(ERR_INVALID, "'%s' must be %s, not %s", name, wanted, type_name(got));
}

static struct result member(const json_t *object, const char *name, const json_t **ret) {
    *ret = json_object_get(object, name);
    CHECK(*ret, ERR_INVALID, "'%s' is missing", name);
    return OK;
}

struct result json_opt_str(const json_t *object, const char *name, const char **ret) {
    const json_t *j = json_object_get(object, name);
    if (!j) return OK;
    if (!json_is_string(j)) return wrong_type(name, "a string", j);
    *ret = json_string_value(j);
    return OK;
}

struct result json_get_str(const json_t *object, const char *name, const char **ret) {
    const json_t *j;
    TRY(member(object, name, &j));
    return json_opt_str(object, name, ret);
}

struct result json_opt_int(const json_t *object, const char *name, int64_t min, int64_t max, int64_t *ret) {
    const json_t *j = json_object_get(object, name);
    if (!j) return OK;
    if (!json_is_integer(j)) return wrong_type(name, "an integer", j);
    int64_t value = json_integer_value(j);
    CHECK(value >= min && value <= max, ERR_INVALID, "'%s' must be from %lld to %lld", name, (long long)min,
          (long long)max);
    *ret = value;
    return OK;
}

struct result json_get_int(const json_t *object, const char *name, int64_t min, int64_t max, int64_t *ret) {
    const json_t *j;
    TRY(member(object, name, &j));
    return json_opt_int(object, name, min, max, ret);
}

struct result json_opt_bool(const json_t *object, const char *name, bool *ret) {
    const json_t *j = json_object_get(object, name);
    if (!j) return OK;
    if (!json_is_boolean(j)) return wrong_type(name, "a boolean", j);
    *ret = json_is_true(j);
    return OK;
}

struct result json_opt_array(const json_t *object, const char *name, json_t **ret) {
    json_t *j = json_object_get(object, name);
    if (!j) return OK;
    if (!json_is_array(j)) return wrong_type(name, "an array", j);
    *ret = j;
    return OK;
}

struct result json_get_array(const json_t *object, const char *name, json_t **ret) {
    const json_t *j;
    TRY(member(object, name, &j));
    return json_opt_array(object, name, ret);
}

struct result json_opt_object(const json_t *object, const char *name, json_t **ret) {
    json_t *j = json_object_get(object, name);
    if (!j) return OK;
    if (!json_is_object(j)) return wrong_type(name, "an object", j);
    *ret = j;
    return OK;
}

struct result json_get_object(const json_t *object, const char *name, json_t **ret) {
    const json_t *j;
    TRY(member(object, name, &j));
    return json_opt_object(object, name, ret);
}

static bool is_allowed(const char *name, const char *const allowed[]) {
    for (; *allowed; allowed++)
        if (strcmp(name, *allowed) == 0) return true;
    return false;
}

struct result json_only(const json_t *object, const char *const allowed[]) {
    /* jansson's iterators want a pointer to non-const, though this one changes nothing. */
    json_t *walked = mem_unconst(object);
    for (void *i = json_object_iter(walked); i; i = json_object_iter_next(walked, i)) {
        const char *name = json_object_iter_key(i);
        CHECK(is_allowed(name, allowed), ERR_INVALID, "'%.*s' is not a known member here", SHOWN_NAME_BYTES, name);
    }
    return OK;
}

static int append_piece(const char *piece, size_t len, void *out) {
    buf_append(out, piece, len);
    return 0;
}

struct result json_write(const json_t *j, struct buf *out) {
    CHECK(json_dump_callback(j, append_piece, out, JSON_COMPACT | JSON_ENCODE_ANY) == 0, ERR_INTERNAL,
          "a value can't be written as JSON");
    return buf_check(out);
}

/* RFC 8259 section 7. Bytes that are not UTF-8 become U+FFFD, since JSON can't hold them. */
void json_write_str(struct slice text, struct buf *out) {
    buf_append_byte(out, '"');
    while (text.len > 0) {
        size_t n = slice_utf8_step(text);
        uint8_t c = text.data[0];
        if (n == 0) {
            buf_append_str(out, "\xEF\xBF\xBD");
            n = 1;
        } else if (c == '"' || c == '\\') {
            buf_append_byte(out, '\\');
            buf_append_byte(out, c);
        } else if (c == '\n') {
            buf_append_str(out, "\\n");
        } else if (c < 0x20 || c == 0x7F) {
            buf_printf(out, "\\u%04x", c);
        } else {
            buf_append(out, text.data, n);
        }
        text = slice_make(text.data + n, text.len - n);
    }
    buf_append_byte(out, '"');
}
