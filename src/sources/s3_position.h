/* Where the reading of a bucket stands. A bucket is gone through in passes, each in the order of the keys. A pass is
 * cut into chunks: the objects that are to be read are listed (at most S3_CHUNK_OBJECTS), then read one after the
 * other.
 *
 * The first pass reads everything. Each later one reads what was not read before: what is known as read is the window,
 * the objects last modified within S3_WINDOW_MS before the last finished pass began, each by a hash of key and ETag.
 * Everything older was there in an earlier pass, and was read. So a position stays small however large the bucket is,
 * and an object is missed only if its upload took longer than the window. When more than S3_WINDOW_OBJECTS objects are
 * in it the window becomes shorter, but it never begins later than S3_SLACK_MS before the pass that is going on.
 *
 * Pure; one owner. */
#ifndef LOCKSET_SOURCES_S3_POSITION_H
#define LOCKSET_SOURCES_S3_POSITION_H

#include "sources/records.h"

enum { S3_CHUNK_OBJECTS = 10000, S3_WINDOW_OBJECTS = 20000 };
#define S3_WINDOW_MS (7 * 86400000LL)
#define S3_SLACK_MS (15 * 60000LL)

struct s3_read {
    uint64_t hash;
    uint32_t modified_s;
};

struct s3_position {
    uint64_t pass; /* 0: the first */
    int64_t pass_began_ms;
    char *cursor;    /* everything up to this key is dealt with; "" none; owned */
    char *chunk_end; /* the listing of the chunk went up to this key; owned */
    bool is_last_chunk;
    uint64_t *pending; /* hashes of the listed objects that are not wholly read, in the order of their keys */
    size_t pending_count;
    char *object_key, *object_etag; /* the first of the pending ones, if it is being read; else NULL; owned */
    struct records_place place;     /* in it */
    int64_t window_ms;              /* what was modified before counts as read */
    struct s3_read *window;
    size_t window_count;
    int64_t listed_objects, listed_bytes, read_objects; /* all passes together */
};
void s3_position_init(struct s3_position *p);
void s3_position_done(struct s3_position *p); /* accepts zeroed */

uint64_t s3_hash(const char *key, const char *etag);

/* Is this object to be read in this pass? */
bool s3_position_wants(const struct s3_position *p, uint64_t hash, int64_t modified_ms);
/* The first of the pending ones is dealt with: read, or found to be gone (then is_read is false). */
void s3_position_finish_object(struct s3_position *p, const char *key, int64_t modified_ms, bool is_read);
/* All chunks are read. */
void s3_position_finish_pass(struct s3_position *p);

json_t *s3_position_write(const struct s3_position *p);
/* CORRUPT. */
struct result s3_position_read(const json_t *text, struct s3_position *p);

#endif
