#include "engine/rowbinary.h"

#include <string.h>

#include "engine/client.h"

static const struct {
    const char *name;
    unsigned bytes;
} fixed_types[] = {
    {"UInt8", 1},    {"Int8", 1},    {"Bool", 1},     {"UInt16", 2},     {"Int16", 2},    {"Date", 2},
    {"UInt32", 4},   {"Int32", 4},   {"Float32", 4},  {"Date32", 4},     {"DateTime", 4}, {"IPv4", 4},
    {"UInt64", 8},   {"Int64", 8},   {"Float64", 8},  {"DateTime64", 8}, {"UUID", 16},    {"IPv6", 16},
    {"UInt128", 16}, {"Int128", 16}, {"UInt256", 32}, {"Int256", 32},
};

/* "Name(inner)" -> inner; false if it isn't of this shape. */
static bool unwrap(struct slice type, const char *name, struct slice *ret) {
    size_t n = strlen(name);
    if (!slice_starts_with(type, name) || type.len < n + 2 || type.data[n] != '(' || type.data[type.len - 1] != ')')
        return false;
    *ret = slice_make(type.data + n + 1, type.len - n - 2);
    return true;
}

bool rowbinary_column_of(struct slice type, struct rowbinary_column *ret) {
    struct slice inner, arguments;
    if (unwrap(type, "LowCardinality", &inner)) return rowbinary_column_of(inner, ret);
    if (unwrap(type, "Nullable", &inner)) {
        struct rowbinary_column c;
        if (!rowbinary_column_of(inner, &c) || c.is_nullable) return false;
        c.is_nullable = true;
        *ret = c;
        return true;
    }
    if (slice_is(type, "String")) {
        *ret = (struct rowbinary_column){0};
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(fixed_types); i++) {
        bool has_arguments = slice_starts_with(slice_str(fixed_types[i].name), "DateTime") &&
                             unwrap(type, fixed_types[i].name, &arguments);
        if (!has_arguments && !slice_is(type, fixed_types[i].name)) continue;
        *ret = (struct rowbinary_column){.fixed_bytes = fixed_types[i].bytes};
        return true;
    }
    return false;
}

static bool take_leb128(struct slice *s, uint64_t *ret) {
    uint64_t value = 0;
    uint8_t byte;
    for (unsigned shift = 0; shift < 63; shift += 7) {
        if (!take_u8(s, &byte)) return false;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            *ret = value;
            return true;
        }
    }
    return false;
}

static bool skip_value(struct slice *s, struct rowbinary_column column) {
    uint64_t len = column.fixed_bytes;
    struct slice value;
    uint8_t is_null = 0;
    if (column.is_nullable && !take_u8(s, &is_null)) return false;
    if (is_null) return is_null == 1;
    if (len == 0 && !take_leb128(s, &len)) return false;
    return len <= s->len && take_bytes(s, (size_t)len, &value);
}

struct result rowbinary_count(struct slice body, const struct rowbinary_column *columns, size_t count,
                              uint64_t *ret_rows) {
    CHECK(count > 0, ERR_INVALID, "rows without columns can't be counted");
    uint64_t rows = 0;
    for (; body.len > 0; rows++) {
        for (size_t i = 0; i < count; i++) {
            CHECK(skip_value(&body, columns[i]), ERR_INVALID, "the data is cut short in row %llu",
                  (unsigned long long)rows + 1);
        }
    }
    *ret_rows = rows;
    return OK;
}

void rowbinary_string(struct buf *out, struct slice s) {
    size_t left = s.len;
    for (; left >= 128; left >>= 7) {
        buf_append_byte(out, (uint8_t)(left | 128));
    }
    buf_append_byte(out, (uint8_t)left);
    buf_append_slice(out, s);
}

void rowbinary_u8(struct buf *out, uint8_t v) {
    buf_append_byte(out, v);
}

void rowbinary_u64(struct buf *out, uint64_t v) {
    for (unsigned shift = 0; shift < 64; shift += 8) {
        buf_append_byte(out, (uint8_t)(v >> shift));
    }
}

void rowbinary_i64(struct buf *out, int64_t v) {
    rowbinary_u64(out, (uint64_t)v);
}
