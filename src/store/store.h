/* A bucket of sealed objects in a local directory or in S3: what docs/format.md describes, for one organization and
 * region.
 *
 * The store sees plaintext only in bounded memory; no file, file name or error detail of it ever holds a plaintext
 * byte or name. Success of a write means durable: data, names and folders are synced before it returns. A failure (no
 * space, I/O, expired lease, failed guard) leaves nothing visible. Whatever does not verify is CORRUPT and never
 * returned. Without a working lease every call fails with NO_LEASE.
 *
 * All functions may be called by several threads at once on one store; one writer or reader object belongs to one
 * thread at a time. Only one process has a store open (flock).
 *
 * Keys are UTF-8, 1 to 1,024 bytes, no NUL, else INVALID; anything else is allowed ("a", "a/", "a//b", "." ...). */
#ifndef LOCKSET_STORE_STORE_H
#define LOCKSET_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "keys/lease.h"

enum {
    STORE_KEY_MAX_BYTES = 1024,
    STORE_FIELDS_MAX_BYTES = 16 * 1024, /* names and values together */
    STORE_FIELDS_MAX = 128,
    STORE_ETAG_TEXT_BYTES = 40, /* 32 hex digits, perhaps "-10000", NUL */
    STORE_UPLOAD_ID_BYTES = 33, /* 32 hex digits, NUL */
    STORE_NOTE_BYTES = 64,
    STORE_PART_MAX = 10000,
    STORE_LIST_MAX = 1000,
    STORE_UPLOAD_LIFE_DAYS = 7,
};

struct store;

struct s3_store_client;
struct s3_failure;

/* An organization's objects in S3. */
struct store_s3 {
    struct s3_store_client *client; /* outlives the store; asks for encryption, if it is to */
    const char *prefix;             /* of all keys: "" or ending with '/'; of this organization alone */
    bool in_clear;                  /* S3 encrypts alone: files are only authenticated (format version 2) */
    const char *key_arn; /* SSE-KMS is to be with this key: the first object that is written is looked at again,
                          * and must be; NULL: it is not looked at */
    /* Called when S3 tells that KMS refuses the organization's key (the call then fails with NO_LEASE), by any thread,
     * without locks; NULL: nobody is told. */
    void (*key_refused)(void *arg, const struct s3_failure *why);
    void *arg;
};

struct store_options {
    const char *dir; /* exists already; names/, bodies/, uploads/, tmp/ and a lock file are made in it; with s3 only the
                      * lock file, and NULL makes none */
    const struct store_s3 *s3; /* NULL: all of it is in dir */
    const char *bucket;        /* bound into every file: the folder can't be served as another bucket */
    struct lease *lease;       /* must work already, and outlive the store */
    size_t cache_entries;      /* object entries kept in memory; 0: 200,000 (about 25 MB) */
};

/* Opens and sweeps: temporary files, bodies no record names, overwritten versions, empty folders, uploads older than
 * STORE_UPLOAD_LIFE_DAYS. BUSY when another process has it open. In S3 the sweep runs beside the work, and touches only
 * what is older than an hour. */
struct result store_open(const struct store_options *options, struct store **ret);
/* Writers and readers must be gone. Accepts NULL, returns NULL. */
struct store *store_close(struct store *s);

/* Called under the store's commit lock immediately before something becomes visible or disappears (put, copy, delete,
 * part, complete, begin, abort), with the token that the call brought; if it fails, nothing happens and its error is
 * returned. It must not call the store. Set it before other threads use the store; NULL: no guard. */
typedef struct result store_guard_fn(void *arg, uint64_t token);
void store_set_commit_guard(struct store *s, store_guard_fn *guard, void *arg);

/* Reads ask the cache first, and bring it what it wants (store/cache.h). Borrowed: it must outlive the store. Set it
 * before other threads use the store; NULL: none. */
struct cache;
void store_set_cache(struct store *s, struct cache *cache);

/* ---- What is known of an object ---- */

/* S3's ETag: 16 bytes in hex, for multipart objects followed by "-<parts>". The bytes are an MD5 only where the caller
 * handed one in, else random: compare, don't interpret. */
struct store_etag {
    uint8_t bytes[16];
    uint32_t parts; /* 0: not multipart */
};
/* "9e107d9d372bb6826bd81d3542a419d6-3", without quotes. */
void store_etag_format(const struct store_etag *etag, char ret[static STORE_ETAG_TEXT_BYTES]);
/* INVALID unless exactly of that form (upper-case digits are accepted). */
struct result store_etag_parse(struct slice text, struct store_etag *ret);
bool store_etag_equal(const struct store_etag *a, const struct store_etag *b);

/* Metadata: content-type, content-encoding, x-amz-meta-... as the caller likes; kept sealed, in order, unchanged. */
struct store_field {
    const char *name;
    const char *value;
};

struct store_info {
    char *key;
    uint64_t size;
    int64_t mtime_ms; /* since 1970 UTC; S3 shows whole seconds */
    struct store_etag etag;
    struct store_field *fields; /* owned, and their texts */
    size_t field_count;
};
void store_info_done(struct store_info *info); /* accepts zeroed, leaves it zeroed */
/* The value of a field, by exact name; NULL if absent. */
const char *store_info_field(const struct store_info *info, const char *name);

/* NOT_FOUND, CORRUPT. On success the caller calls store_info_done. */
struct result store_head(struct store *s, const char *key, struct store_info *ret);

/* ---- Reading ---- */

struct store_reader;

/* Keeps the object as it is now readable to the end, whatever is written or deleted meanwhile. NOT_FOUND, CORRUPT. */
struct result store_reader_new(struct store *s, const char *key, struct store_reader **ret);
struct store_reader *store_reader_free(struct store_reader *r); /* accepts NULL, returns NULL */
static inline void store_reader_free_auto(struct store_reader **r) {
    store_reader_free(*r);
}
const struct store_info *store_reader_info(const struct store_reader *r); /* owned by the reader */
/* Reads min(max, size - offset) bytes; *ret_len = 0 only at or past the end. Every 64 KiB chunk is verified, and the
 * lease checked, before a byte of it is in `to`. Cheapest when chunks are read in order and whole (128 KiB at a time is
 * good). After a failure the content of `to` is undefined and must not be sent: CORRUPT, NO_LEASE, IO. */
struct result store_reader_read(struct store_reader *r, uint64_t offset, uint8_t *to, size_t max, size_t *ret_len);
/* Where part `number` (as numbered at upload) lies: for GET ?partNumber=. An object that was not uploaded in parts has
 * the part 1. NOT_FOUND if there is no such part. *ret_count: how many parts there are. */
struct result store_reader_part(const struct store_reader *r, unsigned number, uint64_t *ret_offset, uint64_t *ret_size,
                                unsigned *ret_count);

/* ---- Writing ---- */

struct store_condition {
    enum { STORE_ALWAYS, STORE_IF_ABSENT, STORE_IF_MATCH } kind;
    struct store_etag etag; /* for STORE_IF_MATCH */
};
/* Whether a condition holds is decided under the commit lock. Failures: PRECONDITION; NOT_FOUND for STORE_IF_MATCH of a
 * key that does not exist (S3: 404 NoSuchKey). */

struct store_commit {
    const char *key;
    const struct store_field *fields;
    size_t field_count;
    const uint8_t *md5; /* 16 bytes of the content's MD5 to become the ETag; NULL: random */
    struct store_condition condition;
    uint64_t token; /* for the guard */
};

/* What a write answers with. */
struct store_written {
    struct store_etag etag;
    int64_t mtime_ms;
    uint64_t size;
};

struct store_writer;

/* Starts a new object of any size; invisible, and its key not yet needed, until committed. */
struct result store_writer_new(struct store *s, struct store_writer **ret);
/* Without a commit: aborts, and removes what was written. Accepts NULL, returns NULL. */
struct store_writer *store_writer_free(struct store_writer *w);
static inline void store_writer_free_auto(struct store_writer **w) {
    store_writer_free(*w);
}
/* Content in pieces of any size; memory stays bounded. NO_SPACE, IO, NO_LEASE, TOO_LARGE (over 2^48 bytes). After a
 * failure only store_writer_free is allowed. */
struct result store_writer_append(struct store_writer *w, struct slice piece);
/* Makes it visible under the key and replaces what was there. The writer can only be freed afterwards, also after
 * a failure. */
struct result store_writer_commit(struct store_writer *w, const struct store_commit *commit, struct store_written *ret);

struct store_copy {
    const char *from;
    bool if_match; /* the source must have source_etag, else PRECONDITION */
    struct store_etag source_etag;
    bool replace_fields; /* false: the fields of the source; true: commit.fields */
};
/* Copies without reading the content: only a record is written (the bodies are shared). commit->key may equal from.
 * The ETag stays the source's; commit->md5 is not used. NOT_FOUND: no source. */
struct result store_copy(struct store *s, const struct store_copy *copy, const struct store_commit *commit,
                         struct store_written *ret);

/* Deleting what isn't there is a success with *ret_existed = false. Condition as for writes. */
struct result store_delete(struct store *s, const char *key, const struct store_condition *condition, uint64_t token,
                           bool *ret_existed);

/* ---- Listing ---- */

struct store_list_query {
    const char *prefix;      /* NULL or "": everything */
    const char *delimiter;   /* NULL or "": none; any string */
    const char *start_after; /* NULL or "": from the beginning; a common prefix given here is skipped as a whole, so the
                              * last entry of a page is where the next one starts */
    size_t max;              /* at most STORE_LIST_MAX entries; 0: an empty page that is not truncated */
};

struct store_list_entry {
    char *key; /* the object's key, or the common prefix */
    bool is_prefix;
    uint64_t size; /* from here on only for objects */
    int64_t mtime_ms;
    struct store_etag etag;
};

struct store_list {
    struct store_list_entry *entries; /* in UTF-8 byte order, prefixes and objects mixed */
    size_t count;
    bool truncated; /* there is more: start_after the last entry's key */
};
/* One page; sizes and ETags are the plaintext ones, from sealed file names: no object is opened. CORRUPT when a name in
 * a folder that had to be read does not verify. On success the caller calls store_list_done. */
struct result store_list_page(struct store *s, const struct store_list_query *query, struct store_list *ret);
void store_list_done(struct store_list *list);

/* ---- Multipart. Uploads survive restarts and are swept after STORE_UPLOAD_LIFE_DAYS. ---- */

/* commit: key, fields and token are used. */
struct result store_upload_begin(struct store *s, const struct store_commit *commit,
                                 char ret_id[static STORE_UPLOAD_ID_BYTES]);

/* A writer for one attempt at a part (1 to STORE_PART_MAX, else INVALID); append and free as for objects. Attempts at
 * one part may run in parallel: the one that is committed last wins. NOT_FOUND: no such upload of that key. */
struct result store_part_new(struct store *s, const char *upload_id, const char *key, unsigned number,
                             struct store_writer **ret);
/* Before the commit: a text of less than STORE_NOTE_BYTES to be kept, sealed, with the part (its checksum, say). */
void store_part_note(struct store_writer *w, const char *note);
struct result store_part_commit(struct store_writer *w, const uint8_t *md5, uint64_t token, struct store_written *ret);

struct store_part_copy {
    const char *upload_id;
    const char *key; /* of the upload */
    unsigned number;
    const char *from; /* the source object */
    bool if_match;    /* the source must have source_etag, else PRECONDITION */
    struct store_etag source_etag;
    bool whole; /* all of it; else the range below */
    uint64_t offset, length;
    uint64_t token;
};
/* A part from a range of an object: shares bodies when the range covers whole ones, else seals anew in bounded memory.
 * RANGE if it is not inside of the source. */
struct result store_part_copy(struct store *s, const struct store_part_copy *copy, struct store_written *ret);

struct store_part {
    unsigned number;
    struct store_etag etag;
    uint64_t size;               /* in lists only */
    int64_t mtime_ms;            /* in lists only */
    char note[STORE_NOTE_BYTES]; /* in lists only; "" if none */
};

/* What is wrong with a list of parts; S3 has a code for each. */
enum store_complete_problem {
    STORE_COMPLETE_OK,
    STORE_COMPLETE_ORDER,     /* InvalidPartOrder: numbers don't ascend */
    STORE_COMPLETE_PART,      /* InvalidPart: no such part, or another ETag */
    STORE_COMPLETE_TOO_SMALL, /* EntityTooSmall: a part but the last is under min_part_bytes */
};
struct store_complete {
    const char *upload_id;
    const struct store_part *parts; /* number and etag */
    size_t part_count;
    uint64_t min_part_bytes; /* S3: 5 MiB; 0: any */
};
/* Joins the listed parts into the object commit->key (which must be the upload's; commit's fields come behind those
 * given at begin; md5 is not used) and removes the upload. The ETag is the MD5 of the parts' ETag bytes, with
 * "-<parts>". Asked again with the same list after a success in this process it succeeds again. INVALID with
 * *ret_problem set; NOT_FOUND: no such upload. */
struct result store_upload_complete(struct store *s, const struct store_complete *complete,
                                    const struct store_commit *commit, enum store_complete_problem *ret_problem,
                                    struct store_written *ret);
/* NOT_FOUND: no such upload of that key. */
struct result store_upload_abort(struct store *s, const char *upload_id, const char *key, uint64_t token);

struct store_part_list {
    struct store_part *parts; /* ascending */
    size_t count;
    bool truncated;
};
/* At most max parts with numbers over `after`. */
struct result store_upload_parts(struct store *s, const char *upload_id, const char *key, unsigned after, size_t max,
                                 struct store_part_list *ret);
void store_part_list_done(struct store_part_list *list);

struct store_upload {
    char *key;
    char id[STORE_UPLOAD_ID_BYTES];
    int64_t begun_ms;
};
struct store_upload_list {
    struct store_upload *uploads; /* by key, then by time of begin */
    size_t count;
    bool truncated;
};
/* At most max uploads whose keys start with prefix, after (after_key, after_id); an after_id of NULL or "" means all
 * uploads of after_key are past. */
struct result store_upload_list(struct store *s, const char *prefix, const char *after_key, const char *after_id,
                                size_t max, struct store_upload_list *ret);
void store_upload_list_done(struct store_upload_list *list);

#endif
