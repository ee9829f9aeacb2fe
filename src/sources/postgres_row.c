/* Rows as documents. */
#include <string.h>

#include "lifecycle/document.h"
#include "sources/postgres_table.h"

struct result postgres_row_id(const struct postgres_columns *columns, const struct pgoutput_value *values,
                              struct buf *out) {
    for (unsigned i = 0; i < columns->keys_count; i++) {
        const struct pgoutput_value *v = &values[columns->keys[i]];
        CHECK(v->kind == PGOUTPUT_TEXT, ERR_PEER, "a row came without its key");
        CHECK(slice_is_utf8(v->text), ERR_PEER, "a row came with a key that is not UTF-8");
        if (columns->keys_count == 1) {
            buf_append_slice(out, v->text);
            return OK;
        }
        buf_append_byte(out, i ? ',' : '[');
        json_write_str(v->text, out);
    }
    buf_append_byte(out, ']');
    return OK;
}

static struct result write_document(const struct postgres_columns *columns, const struct pgoutput_value *values,
                                    struct buf *out) {
    bool first = true;
    buf_append_byte(out, '{');
    for (unsigned i = 0; i < columns->count; i++) {
        const struct postgres_column *c = &columns->items[i];
        if (c->is_left_out) continue;
        CHECK(values[i].kind != PGOUTPUT_UNCHANGED, ERR_PEER, "a row came without one of its values");
        CHECK(values[i].kind == PGOUTPUT_NULL || slice_is_utf8(values[i].text), ERR_PEER,
              "a row came with a text that is not UTF-8");
        if (!first) buf_append_byte(out, ',');
        first = false;
        json_write_str(slice_str(c->name), out);
        buf_append_byte(out, ':');
        if (values[i].kind == PGOUTPUT_NULL)
            buf_append_str(out, "null");
        else
            postgres_value_write(c->type, values[i].text, out);
    }
    buf_append_byte(out, '}');
    return OK;
}

static void add_origin(struct postgres_batch *b, struct postgres_place *p, const char *origin) {
    p->origin = b->text.len;
    buf_append_str(&b->text, origin);
    p->origin_len = b->text.len - p->origin;
}

/* Notes the key; why it can't be an _id, or NULL. */
static struct result add_id(struct postgres_batch *b, struct postgres_place *p, const struct postgres_columns *columns,
                            const struct pgoutput_value *values, const char **ret_flaw) {
    size_t at = b->text.len;
    TRY(postgres_row_id(columns, values, &b->text));
    size_t len = b->text.len - at;
    *ret_flaw = NULL;
    if (len == 0) *ret_flaw = "the key is an empty text, which can't be an _id";
    if (len > DOCUMENT_MAX_ID_BYTES) *ret_flaw = "the key is longer than 512 bytes, which can't be an _id";
    if (*ret_flaw) {
        postgres_batch_rewind(b, b->count, at);
    } else {
        p->id = at;
        p->id_len = len;
    }
    return OK;
}

struct result postgres_row_add(struct postgres_batch *b, const struct postgres_columns *columns,
                               const struct pgoutput_value *values, const char *origin) {
    const char *flaw;
    struct postgres_place *p = postgres_batch_add(b);
    add_origin(b, p, origin);
    TRY(add_id(b, p, columns, values, &flaw));
    if (!flaw) {
        p->document = b->text.len;
        TRY(write_document(columns, values, &b->text));
        p->document_len = b->text.len - p->document;
        if (!b->text.overflowed && p->document_len <= POSTGRES_MAX_DOCUMENT_BYTES) return OK;
        flaw = "the row is larger than 40 MiB";
        postgres_batch_rewind(b, b->count, p->document);
        p->document = p->document_len = 0;
    }
    p->flaw = b->text.len;
    buf_append_str(&b->text, flaw);
    p->flaw_len = b->text.len - p->flaw;
    return OK;
}

struct result postgres_row_delete(struct postgres_batch *b, const struct postgres_columns *columns,
                                  const struct pgoutput_value *values, const char *origin) {
    const char *flaw;
    size_t count = b->count, text_len = b->text.len;
    struct postgres_place *p = postgres_batch_add(b);
    p->is_deletion = true;
    add_origin(b, p, origin);
    TRY(add_id(b, p, columns, values, &flaw));
    if (flaw) postgres_batch_rewind(b, count, text_len); /* such a row was never a document */
    return OK;
}
