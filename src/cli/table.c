#include "cli/table.h"

#include <stdio.h>
#include <string.h>

enum { COLUMNS_MAX = 64, WIDTH_MAX = 80 };

struct column {
    const char *name;
    size_t width;
};

/* Terminal columns of UTF-8 text, taking every character as one wide. */
static size_t width_of(const char *text) {
    size_t n = 0;
    for (; *text; text++)
        n += ((uint8_t)*text & 0xC0) != 0x80;
    return n;
}

/* A value on one line; control characters (which could steer a terminal) become spaces; too long ones are cut if
 * `is_cut`. Freed by the caller. */
static char *cell(const json_t *value, bool is_cut) {
    char *text;
    if (!value || json_is_null(value)) {
        text = str_dup("");
    } else if (json_is_string(value)) {
        text = str_dup(json_string_value(value));
    } else {
        char *dumped = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));
        text = str_dup(dumped ? dumped : "");
        mem_free(dumped);
    }
    size_t seen = 0;
    for (char *p = text; *p; p++) {
        if ((uint8_t)*p < 0x20 || *p == 0x7F) *p = ' ';
        if (is_cut && ((uint8_t)*p & 0xC0) != 0x80 && ++seen > WIDTH_MAX) {
            *p = '\0';
            char *cut = str_format("%s...", text);
            mem_free(text);
            return cut;
        }
    }
    return text;
}

static size_t add_column(struct column *columns, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++) {
        if (!strcmp(columns[i].name, name)) return count;
    }
    if (count < COLUMNS_MAX) columns[count++] = (struct column){name, width_of(name)};
    return count;
}

static void print_cell(const char *text, size_t width, bool right, bool last) {
    size_t have = width_of(text);
    int gap = have < width ? (int)(width - have) : 0;
    if (right) {
        printf("%*s%s%s", gap, "", text, last ? "" : "  ");
    } else {
        printf("%s%*s%s", text, last ? 0 : gap, "", last ? "" : "  ");
    }
}

void table_print(const json_t *rows, const char *const *names) {
    struct column columns[COLUMNS_MAX];
    size_t count = 0, i;
    json_t *row;
    for (; names && *names; names++)
        count = add_column(columns, count, *names);
    if (count == 0) {
        json_array_foreach(rows, i, row) {
            const char *name;
            json_t *value;
            json_object_foreach(row, name, value) count = add_column(columns, count, name);
        }
    }
    json_array_foreach(rows, i, row) {
        for (size_t c = 0; c < count; c++) {
            AUTO_FREE char *text = cell(json_object_get(row, columns[c].name), c + 1 < count);
            size_t width = width_of(text);
            if (width > columns[c].width) columns[c].width = width;
        }
    }
    for (size_t c = 0; c < count; c++)
        print_cell(columns[c].name, columns[c].width, false, c + 1 == count);
    if (count > 0) printf("\n");
    json_array_foreach(rows, i, row) {
        for (size_t c = 0; c < count; c++) {
            const json_t *value = json_object_get(row, columns[c].name);
            AUTO_FREE char *text = cell(value, c + 1 < count);
            print_cell(text, columns[c].width, json_is_number(value), c + 1 == count);
        }
        printf("\n");
    }
}
