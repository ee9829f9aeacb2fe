/* Uploads in memory: what uploads/ holds, loaded at open. Called with the store's lock held unless said. */
#ifndef LOCKSET_STORE_UPLOAD_H
#define LOCKSET_STORE_UPLOAD_H

#include "store/writer.h"

enum { UPLOAD_ATTEMPT_BYTES = 16 };
#define UPLOAD_NOTE_FIELD "note" /* of a part's record */

/* The attempt at a part that counts. Its files in the upload's folder are p<attempt in hex> (a sealed record) and
 * b<attempt in hex>.<index> (bodies). */
struct upload_part {
    unsigned number;
    uint8_t attempt[UPLOAD_ATTEMPT_BYTES];
    uint64_t sequence;
    uint64_t size;
    int64_t mtime_ms;
    struct store_etag etag;
    char note[STORE_NOTE_BYTES];
    struct record_segment *segments;
    size_t segment_count;
};

struct upload {
    char id[STORE_UPLOAD_ID_BYTES];
    char *key;
    int64_t begun_ms;
    bool is_closing;           /* being completed: no more parts */
    bool maybe_completed;      /* in S3: an object may have its parts' bodies already */
    unsigned busy;             /* in S3: parts whose records are being written */
    struct upload_part *parts; /* by number */
    size_t part_count, part_capacity;
    struct upload *next;
};

/* NOT_FOUND, also for another key's upload or a malformed id. */
struct result upload_find(struct store *s, const char *id, const char *key, struct upload **ret);
/* The position of a part, or where it belongs. */
size_t upload_position(const struct upload *u, unsigned number, bool *ret_found);
/* Puts the attempt that a part's record tells of in place of the one before. Takes over `segments`: the record's, or a
 * copy of them. */
void upload_put_record(struct upload *u, const struct record *record, const uint8_t *attempt,
                       struct record_segment *segments);
/* Reads the parts from the folder. With `cleans`, which only the opening of the store may set, files that belong to no
 * part are removed. */
struct result upload_read_parts(struct store *s, struct upload *u, bool cleans);
struct upload *upload_free(struct upload *u);
void upload_unlink(struct store *s, struct upload *u); /* from the list */

/* Without the lock. */
struct result upload_open_folder(struct store *s, const char *id, int *ret_fd);
struct result upload_id_bytes(const char *id, uint8_t ret[static 16]);
struct result upload_record_context(const struct store *s, const char *id, struct buf *out);
struct result upload_part_context(const struct store *s, const char *id, const uint8_t *attempt, struct buf *out);
void upload_record_path(const uint8_t *attempt, char ret[static STORE_PATH_BYTES]);
void upload_body_path(const uint8_t *attempt, size_t index, char ret[static STORE_PATH_BYTES]);

#endif
