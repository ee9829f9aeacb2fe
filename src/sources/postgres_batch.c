#include "sources/postgres_batch.h"

enum { FIRST_PLACES = 256 };

void postgres_batch_init(struct postgres_batch *b) {
    *b = (struct postgres_batch){0};
    /* Two records may be added before a limit is looked at, and a document may be found too large while it is written.
     */
    buf_init_wiping(&b->text, (size_t)SOURCE_BATCH_MAX_BYTES + 4 * (size_t)POSTGRES_MAX_DOCUMENT_BYTES);
}

void postgres_batch_done(struct postgres_batch *b) {
    mem_free(b->places);
    buf_done(&b->text);
    *b = (struct postgres_batch){0};
}

struct postgres_place *postgres_batch_add(struct postgres_batch *b) {
    if (b->count == b->capacity) {
        b->capacity = b->capacity ? 2 * b->capacity : FIRST_PLACES;
        b->places = mem_resize(b->places, b->capacity * sizeof *b->places);
    }
    struct postgres_place *p = &b->places[b->count++];
    *p = (struct postgres_place){0};
    return p;
}

void postgres_batch_rewind(struct postgres_batch *b, size_t count, size_t text_len) {
    b->count = count;
    b->text.len = text_len;
    b->text.overflowed = false;
}

bool postgres_batch_is_over(const struct postgres_batch *b, size_t least) {
    return b->count > least && (b->count > SOURCE_BATCH_MAX_RECORDS || b->text.len > SOURCE_BATCH_MAX_BYTES);
}

static struct slice place(const struct buf *text, size_t at, size_t len) {
    return len ? slice_make(text->data + at, len) : (struct slice){0};
}

void postgres_batch_finish(struct postgres_batch *b, struct source_batch *ret) {
    ret->records = mem_alloc_array(b->count, sizeof *ret->records);
    ret->count = b->count;
    ret->text = b->text;
    for (size_t i = 0; i < b->count; i++) {
        const struct postgres_place *p = &b->places[i];
        ret->records[i] = (struct source_record){.document = place(&ret->text, p->document, p->document_len),
                                                 .id = place(&ret->text, p->id, p->id_len),
                                                 .is_deletion = p->is_deletion,
                                                 .origin = place(&ret->text, p->origin, p->origin_len),
                                                 .flaw = place(&ret->text, p->flaw, p->flaw_len)};
    }
    mem_free(b->places);
    postgres_batch_init(b);
}
