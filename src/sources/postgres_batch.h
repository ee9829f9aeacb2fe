/* A batch while it grows: its texts move as their buffer does, so records are kept as places until it is finished. */
#ifndef LOCKSET_SOURCES_POSTGRES_BATCH_H
#define LOCKSET_SOURCES_POSTGRES_BATCH_H

#include "sources/driver.h"

struct postgres_place {
    size_t document, document_len, id, id_len, origin, origin_len, flaw, flaw_len;
    bool is_deletion;
};

struct postgres_batch {
    struct postgres_place *places;
    size_t count, capacity;
    struct buf text; /* wiping */
};

enum { POSTGRES_MAX_DOCUMENT_BYTES = 40 << 20 };

void postgres_batch_init(struct postgres_batch *b);
void postgres_batch_done(struct postgres_batch *b);

/* A new record, whose parts are then appended to text in the order in which they are noted. */
struct postgres_place *postgres_batch_add(struct postgres_batch *b);
/* Back to a state before: what count and text.len were. */
void postgres_batch_rewind(struct postgres_batch *b, size_t count, size_t text_len);
/* Is it over a limit of driver.h, while there is more than `least` in it? */
bool postgres_batch_is_over(const struct postgres_batch *b, size_t least);
/* Moves everything into ret and leaves b empty. */
void postgres_batch_finish(struct postgres_batch *b, struct source_batch *ret);

#endif
