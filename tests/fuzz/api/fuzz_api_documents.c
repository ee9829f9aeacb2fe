/* Bodies of adds. Whatever is taken, without a flaw, is JSON to an independent parser as well, and its schema reads
 * back as it was written. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "lifecycle/document.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PROMISE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "broken: %s (%s)\n", #condition, err_detail());                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static void check_schema(const struct schema *s) {
    BUF_AUTO(text, 1 << 22);
    BUF_AUTO(again, 1 << 22);
    BUF_AUTO(columns, 1 << 22);
    schema_write(s, &text);
    AUTO(schema_done) struct schema read = {0};
    PROMISE(is_ok(schema_read(buf_slice(&text), &read)));
    PROMISE(schema_covers(&read, s) && schema_covers(s, &read));
    schema_write(&read, &again);
    PROMISE(slice_equal(buf_slice(&text), buf_slice(&again)));
    schema_columns(s, "d", &columns);
    PROMISE(is_ok(buf_check(&columns)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    AUTO(documents_done) struct documents d;
    documents_init(&d);
    if (is_err(documents_parse(slice_make(data, size), &d))) return 0;
    for (size_t i = 0; i < d.count; i++) {
        if (d.items[i].flaw) continue;
        JSON_AUTO(parsed);
        struct slice raw = slice_make(d.raw.data + d.items[i].raw_at, d.items[i].raw_len);
        PROMISE(is_ok(json_parse_object(raw, &parsed)));
        PROMISE(!json_object_get(parsed, "_id") && !json_object_get(parsed, "_meta"));
    }
    check_schema(&d.schema);
    return 0;
}
