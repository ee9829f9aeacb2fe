/* The plaintext of a record: what is known of an object, a part or an upload, and where its content is. Encoding and
 * parsing only; sealing is sealed.h's. */
#ifndef LOCKSET_STORE_RECORD_H
#define LOCKSET_STORE_RECORD_H

#include "store/store.h"

enum {
    RECORD_BODY_ID_BYTES = 16,
    RECORD_INLINE_MAX_BYTES = 64 * 1024, /* content up to this size stands in the record itself */
    RECORD_SEGMENTS_MAX = 100000,
    RECORD_MAX_BYTES = 4 * 1024 * 1024, /* of the encoded form */
};

enum record_type { RECORD_OBJECT = 1, RECORD_UPLOAD = 2, RECORD_PART = 3 };

/* One sealed body file, wholly used. */
struct record_segment {
    uint8_t body_id[RECORD_BODY_ID_BYTES];
    uint64_t size;
};

/* Which segments a part brought: for GET ?partNumber=. */
struct record_part {
    uint16_t number;
    uint32_t segments;
};

struct record {
    enum record_type type;
    uint64_t sequence;
    struct store_info info; /* owned; an upload's mtime_ms is when it began */
    struct record_part *parts;
    size_t part_count; /* 0 unless multipart */
    struct record_segment *segments;
    size_t segment_count; /* 0: the content is inline */
    struct buf content;   /* inline; wiped */
};
void record_init(struct record *r);
void record_done(struct record *r);
#define RECORD_AUTO(name)                                                                                              \
    AUTO(record_done) struct record name;                                                                              \
    record_init(&name)

/* Copies fields in place of those that are there. INVALID over the limits of store.h. */
struct result record_set_fields(struct record *r, const struct store_field *fields, size_t count);

/* Appends the encoded form. */
struct result record_write(const struct record *r, struct buf *out);
/* Parses into an initialized record. CORRUPT on anything that record_write would not write, sums that don't add up
 * included. */
struct result record_parse(struct slice bytes, struct record *ret);

#endif
