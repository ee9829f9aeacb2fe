/* The store's objects in S3. The names and their levels, records, conditions and uploads are those of directories; what
 * differs is here:
 *
 *   - a body is named by its id (S3 can neither link nor rename), and objects that share one have each a small object
 *     in refs/ for it;
 *   - no request is made with the store's lock held. Writes to one key take turns instead; a level waits with being
 *     loaded until no write of it is under way, and writes wait until it is loaded;
 *   - what is not needed any more is removed by a thread of its own, which also sweeps.
 *
 * Order of a put: bodies answered, record answered, then it is visible here and a success; then the older version's
 * record goes, then its bodies. */
#ifndef LOCKSET_STORE_REMOTE_H
#define LOCKSET_STORE_REMOTE_H

#include "aws/s3_store_client.h"
#include "store/store_priv.h"

enum { REMOTE_SWEEP_AGE_S = 3600 }; /* what is younger may belong to something that is being written */

struct upload;

/* ---- remote.c ---- */

struct result remote_new(const struct store_s3 *options, struct remote **ret);
struct remote *remote_free(struct remote *r); /* accepts NULL */
/* Loads uploads and shares, starts the thread. */
struct result remote_start(struct store *s);
/* Removes what is waiting to be removed, ends the thread. Harmless for directories. */
void remote_stop(struct store *s);
unsigned remote_version(const struct store *s); /* of sealed files */

/* ---- remote_commit.c ---- */

struct result remote_locate(struct store *s, const struct spot *spot, struct store_located *ret);
struct result remote_publish(struct store *s, struct record *record, const uint8_t *shared_from,
                             const struct store_condition *condition, uint64_t token, struct store_written *ret);
struct result remote_delete(struct store *s, const char *key, const struct store_condition *condition, uint64_t token,
                            bool *ret_existed);
/* The level of a key may not be what is in S3: it will be loaded again. */
void remote_doubt(struct store *s, const char *key);
/* NOT_FOUND when it is not there. */
struct result remote_open_record(struct store *s, const char *path, struct slice context, struct buf *out);

/* ---- remote_level.c: with the lock held, which it gives up while it loads ---- */

/* Held until level_release. */
struct result remote_level_get(struct store *s, struct slice prefix, struct level **ret);
/* Only if it is loaded; else BUSY, and *ret_missing has its prefix. Keeps the lock. */
struct result remote_level_find(struct store *s, struct slice prefix, char **ret_missing, struct level **ret);

/* ---- remote_bodies.c ---- */

struct remote_body;
struct result remote_body_new(struct store *s, const uint8_t id[static RECORD_BODY_ID_BYTES], struct remote_body **ret);
struct result remote_body_write(void *body, struct slice bytes);
struct result remote_body_finish(struct remote_body *b);
void remote_body_free(struct remote_body *b, bool published); /* one that was not published goes */
struct result remote_body_open(struct store *s, const struct record_segment *segment, struct slice context,
                               uint64_t first_chunk, struct sealed_reader **ret);
/* With the lock held: the last reader of something doomed is gone. */
struct remote_bodies;
void remote_bodies_let_go(struct store *s, struct remote_bodies *bodies);

/* ---- remote_upload.c ---- */

struct result remote_upload_begin(struct store *s, struct upload *u, const struct record *record, uint64_t token);
struct result remote_part_publish(struct store *s, const char *upload_id, const char *key, struct record *record,
                                  const uint8_t *shared_from, uint64_t token, struct store_written *ret);
/* The record with which an upload began. */
struct result remote_upload_read(struct store *s, const char *id, struct record *ret);
/* Are the bodies that are to be joined there? Asked of uploads that an earlier process began. */
struct result remote_upload_verify(struct store *s, const struct record *record);
/* After it was completed (with the parts of the record) or aborted (record NULL). Frees the upload, which is in no
 * list any more; an abort that failed puts it back. */
struct result remote_upload_remove(struct store *s, struct upload *u, const struct record *completed);
struct result remote_uploads_load(struct store *s);

#endif
