#include "kms/context.h"

#include <stdlib.h>
#include <string.h>

static int compare_names(const void *a, const void *b) {
    const struct kmsd_pair *x = a, *y = b;
    return strcmp(x->name, y->name);
}

struct result kmsd_context_from_json(json_t *object, struct kmsd_context *ret) {
    size_t count = json_object_size(object);
    AUTO(kmsd_context_done) struct kmsd_context c = {mem_alloc_array(count, sizeof *c.pairs), 0};
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value) {
        CHECK(json_is_string(value), ERR_INVALID, "a value of the encryption context is not a string");
        c.pairs[c.count++] = (struct kmsd_pair){name, json_string_value(value)};
    }
    qsort(c.pairs, c.count, sizeof *c.pairs, compare_names);
    *ret = c;
    c = (struct kmsd_context){0};
    return OK;
}

void kmsd_context_done(struct kmsd_context *c) {
    mem_free(c->pairs);
    *c = (struct kmsd_context){0};
}

static void write_string(const char *s, struct buf *out) {
    put_u32(out, (uint32_t)strlen(s));
    buf_append_str(out, s);
}

void kmsd_context_write(const struct kmsd_context *c, struct buf *out) {
    put_u32(out, (uint32_t)c->count);
    for (size_t i = 0; i < c->count; i++) {
        write_string(c->pairs[i].name, out);
        write_string(c->pairs[i].value, out);
    }
}
