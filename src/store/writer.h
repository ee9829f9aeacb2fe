/* A writer's insides, which parts of uploads share. */
#ifndef LOCKSET_STORE_WRITER_H
#define LOCKSET_STORE_WRITER_H

#include "store/remote.h"

struct store_writer {
    struct store *store;
    bool finished; /* committed or failed: can only be freed */
    uint64_t size;
    struct buf waiting;           /* the content, as long as a record can hold it */
    struct sealed_writer *sealer; /* of the body; NULL before it was needed */
    int fd;
    char temporary[STORE_PATH_BYTES];
    uint8_t body_id[RECORD_BODY_ID_BYTES];
    struct remote_body *remote; /* in S3, instead of fd and temporary */
    bool published;
    /* Of a part's writer: */
    char *key; /* NULL: an object's */
    char upload_id[STORE_UPLOAD_ID_BYTES];
    unsigned number;
    char note[STORE_NOTE_BYTES];
};

/* Puts all of the content into a synced body (none for an empty one). */
struct result writer_finish_body(struct store_writer *w);
/* Tells a record of the body, if there is one. */
void writer_add_segment(const struct store_writer *w, struct record *record);
/* The MD5, or random bytes. */
struct result writer_etag(const uint8_t *md5, struct store_etag *ret);

/* Bodies first, first + 1, ... of an object that is being read. */
struct writer_copied {
    struct store *store;
    const struct store_reader *reader;
    size_t first;
};
struct bodies_source writer_copied_source(const struct writer_copied *from, size_t count);

#endif
