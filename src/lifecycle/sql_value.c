#include "lifecycle/sql_value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "lifecycle/document.h"
#include "lifecycle/scan.h"

struct result sql_value_check(const json_t *parameters) {
    static const char *const known[] = {"name", "type", "value", NULL};
    if (!parameters) return OK;
    CHECK(json_is_array(parameters), ERR_INVALID, "'parameters' must be an array of {\"name\",\"type\",\"value\"}");
    CHECK(json_array_size(parameters) <= SQL_MAX_PARAMS, ERR_INVALID, "more than %d parameters", SQL_MAX_PARAMS);
    for (size_t i = 0; i < json_array_size(parameters); i++) {
        const json_t *p = json_array_get(parameters, i);
        CHECK(json_is_object(p), ERR_INVALID, "parameters[%zu] must be an object {\"name\",\"type\",\"value\"}", i);
        TRY(json_only(p, known));
        const char *name;
        TRY(json_get_str(p, "name", &name));
        CHECK(json_object_get(p, "value"), ERR_INVALID, "parameter '%.60s' has no 'value'", name);
        for (size_t j = 0; j < i; j++) {
            const char *other = json_string_value(json_object_get(json_array_get(parameters, j), "name"));
            CHECK(strcmp(other, name) != 0, ERR_INVALID, "parameter '%.60s' is given twice", name);
        }
    }
    return OK;
}

/* {pN:Type}, with its value. */
static struct result put_typed(struct sql_text *out, const char *type, struct slice value) {
    CHECK(out->param_count < SQL_MAX_PARAMS, ERR_INVALID, "parameters are used more than %d times", SQL_MAX_PARAMS);
    CHECK(value.len <= SQL_MAX_PARAM_BYTES, ERR_TOO_LARGE, "a parameter's value is over %d bytes", SQL_MAX_PARAM_BYTES);
    struct sql_param *p = &out->params[out->param_count];
    snprintf(p->name, sizeof p->name, "p%zu", out->param_count++);
    buf_init_wiping(&p->value, SQL_MAX_PARAM_BYTES);
    buf_append_slice(&p->value, value);
    buf_printf(&out->text, "{%s:%s}", p->name, type);
    return OK;
}

static struct result wrong(const char *name, const char *type, const char *form) {
    FAIL(ERR_INVALID, "the value of parameter '%.60s' is no %s: give %s", name, type, form);
}

static bool is_int_text(struct slice v) {
    bool negative = v.len && v.data[0] == '-';
    uint64_t n;
    struct slice digits = slice_make(v.data + negative, v.len - negative);
    return is_ok(slice_to_u64(digits, negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX, &n));
}

static bool is_float_text(struct slice v) {
    if (v.len == 0 || v.len > 400) return false;
    for (size_t i = 0; i < v.len; i++)
        if (!strchr("0123456789+-.eE", v.data[i])) return false;
    AUTO_FREE char *text = slice_to_str(v);
    char *end;
    double d = strtod(text, &end);
    return *end == 0 && isfinite(d);
}

static struct result put_bool(struct sql_text *out, const char *name, struct slice v) {
    AUTO_FREE char *text = slice_to_str(v);
    bool yes = strcasecmp(text, "true") == 0, no = strcasecmp(text, "false") == 0;
    if (!yes && !no) return wrong(name, "bool", "true or false");
    buf_append_str(&out->text, yes ? "true" : "false");
    return OK;
}

/* Microseconds since 1970 as "YYYY-MM-DD HH:MM:SS.ffffff" of UTC. */
static void print_time(int64_t us, char ret[static CLOCK_ISO_BYTES]) {
    int64_t ms = us / 1000 - (us % 1000 < 0);
    clock_format_iso(ms, ret); /* 2026-01-02T03:04:05.678Z */
    ret[10] = ' ';
    snprintf(ret + 23, CLOCK_ISO_BYTES - 23, "%03d", (int)(us - ms * 1000));
}

static struct result put_time(struct sql_text *out, const char *name, const char *type, struct slice v) {
    int64_t us;
    bool is_micros = is_int_text(v) && v.len > 8;
    if (is_micros) {
        AUTO_FREE char *text = slice_to_str(v);
        us = strtoll(text, NULL, 10);
    } else if (!document_parse_time(v, &us)) {
        return wrong(name, type, "an ISO 8601 time such as 2026-01-02T03:04:05.123456Z, of the years 1900 to 2299");
    }
    char text[CLOCK_ISO_BYTES];
    print_time(us, text);
    return put_typed(out, "DateTime64(6, 'UTC')", slice_str(text));
}

static struct result put_date(struct sql_text *out, const char *name, struct slice v) {
    int64_t us;
    if (v.len != 10 || !document_parse_time(v, &us))
        return wrong(name, "date", "YYYY-MM-DD, of the years 1900 to 2299");
    return put_typed(out, "Date32", v);
}

/* Names of array types as the engine's JSON has them. */
static const char *array_type(const char *code) {
    static const char *const types[][2] = {{"Ai", "Array(Nullable(Int64))"},
                                           {"Af", "Array(Nullable(Float64))"},
                                           {"As", "Array(Nullable(String))"},
                                           {"Ab", "Array(Nullable(Bool))"},
                                           {"Ae", "Array(Nullable(String))"},
                                           {"An", "Array(Nullable(String))"},
                                           {"Ao", "Array(JSON)"},
                                           {"AAi", "Array(Array(Nullable(Int64)))"},
                                           {"AAf", "Array(Array(Nullable(Float64)))"}};
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (strcmp(types[i][0], code) == 0) return types[i][1];
    return NULL;
}

static struct result put_call(struct sql_text *out, const char *before, struct slice value, const char *after) {
    buf_append_str(&out->text, before);
    TRY(put_typed(out, "String", value));
    buf_append_str(&out->text, after);
    return OK;
}

/* "HH:MM:SS", with at most 6 digits of fraction. */
static struct result put_clock_time(struct sql_text *out, const char *name, struct slice v) {
    BUF_AUTO(moment, 64);
    buf_append_str(&moment, "2000-01-01T");
    buf_append_slice(&moment, v);
    int64_t us;
    bool good = v.len >= 8 && v.len <= 15 && v.data[v.len - 1] != 'Z' && !memchr(v.data, '+', v.len) &&
                !memchr(v.data, '-', v.len) && document_parse_time(buf_slice(&moment), &us);
    return good ? put_typed(out, "String", v) : wrong(name, "time", "HH:MM:SS or HH:MM:SS.ffffff");
}

/* A value given as JSON text. */
static struct result put_json(struct sql_text *out, const char *name, struct slice v) {
    struct scan s;
    struct slice span;
    struct scan_type type;
    scan_init(&s, v);
    struct result r = scan_value(&s, &span, &type);
    if (is_ok(r)) r = scan_end(&s);
    if (is_err(r)) return put_typed(out, "String", v); /* no JSON: a string that came without quotes */
    if (s.flaw) FAIL(ERR_INVALID, "the value of parameter '%.60s' %s", name, s.flaw);
    BUF_AUTO(text, SQL_MAX_PARAM_BYTES);
    switch (type.code[0]) {
    case 'n':
        buf_append_str(&out->text, "NULL");
        return OK;
    case 'b':
        return put_bool(out, name, span);
    case 'i':
        return put_typed(out, "Int64", span);
    case 'f':
        return put_typed(out, "Float64", span);
    case 's':
        scan_decode(span, &text);
        return put_typed(out, "String", buf_slice(&text));
    case 'o':
        return put_call(out, "CAST(", span, ", 'JSON')");
    default:
        break;
    }
    const char *array = array_type(type.code);
    if (!array) return wrong(name, "array of one type", "an array whose elements are all of one type");
    BUF_AUTO(after, 128);
    buf_printf(&after, ", '%s')", array);
    return put_call(out, "JSONExtract(", span, buf_str(&after));
}

static struct result put_as(struct sql_text *out, const char *name, const char *type, struct slice v) {
    if (strcasecmp(type, "int") == 0 || strcasecmp(type, "integer") == 0 || strcasecmp(type, "int64") == 0)
        return is_int_text(v) ? put_typed(out, "Int64", v) : wrong(name, "int", "a whole number of 64 bits");
    if (strcasecmp(type, "float") == 0 || strcasecmp(type, "double") == 0 || strcasecmp(type, "number") == 0)
        return is_float_text(v) ? put_typed(out, "Float64", v) : wrong(name, "float", "a number such as 1.5");
    if (strcasecmp(type, "bool") == 0 || strcasecmp(type, "boolean") == 0) return put_bool(out, name, v);
    if (strcasecmp(type, "string") == 0) return put_typed(out, "String", v);
    if (strcasecmp(type, "date") == 0) return put_date(out, name, v);
    if (strcasecmp(type, "datetime") == 0 || strcasecmp(type, "timestamp") == 0) return put_time(out, name, type, v);
    if (strcasecmp(type, "time") == 0) return put_clock_time(out, name, v);
    if (strcasecmp(type, "null") == 0) {
        buf_append_str(&out->text, "NULL");
        return OK;
    }
    bool is_object = strcasecmp(type, "object") == 0, is_array = strcasecmp(type, "array") == 0;
    if (is_object || is_array) {
        struct scan s;
        scan_init(&s, v);
        struct slice span;
        bool good =
            scan_peek(&s) == (is_object ? '{' : '[') && is_ok(scan_value(&s, &span, NULL)) && is_ok(scan_end(&s));
        return good ? put_json(out, name, v) : wrong(name, type, is_object ? "a JSON object" : "a JSON array");
    }
    if (*type == 0) return put_json(out, name, v);
    FAIL(ERR_INVALID,
         "parameter '%.60s' has the unknown type '%.30s': there are int, float, bool, string, date, datetime, "
         "timestamp, "
         "time, array, object, null",
         name, type);
}

struct result sql_value_put(const json_t *parameter, struct sql_text *out) {
    const char *name = json_string_value(json_object_get(parameter, "name"));
    const json_t *type = json_object_get(parameter, "type"), *value = json_object_get(parameter, "value");
    CHECK(!type || json_is_string(type) || json_is_null(type), ERR_INVALID,
          "the 'type' of parameter '%.60s' must be a string", name);
    const char *type_name = json_is_string(type) ? json_string_value(type) : "";
    if (json_is_string(value)) {
        struct slice v = slice_make(json_string_value(value), json_string_length(value));
        return put_as(out, name, type_name, v);
    }
    /* Rockset's values are strings; real JSON values are understood too. */
    BUF_AUTO(text, SQL_MAX_PARAM_BYTES * 2);
    TRY(json_write(value, &text));
    bool is_plain = *type_name == 0 || json_is_null(value);
    return is_plain ? put_json(out, name, buf_slice(&text)) : put_as(out, name, type_name, buf_slice(&text));
}
