/* A client of S3, and of what speaks like it, for a store: writes, reads, deletes and lists in one bucket, and says
 * exactly why something did not work. Retries with back-off and jitter what may be retried, within the call's time;
 * checks lengths, ETags and, when it asks for encryption, that the answer names the very key. Thread-safe but for being
 * freed; memory per call is bounded by what the caller hands in or asks for.
 * Source: https://docs.aws.amazon.com/AmazonS3/latest/API/Welcome.html and, for the headers of encryption,
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/specifying-kms-encryption.html. */
#ifndef LOCKSET_AWS_S3_STORE_CLIENT_H
#define LOCKSET_AWS_S3_STORE_CLIENT_H

#include "aws/credentials_provider.h"

enum {
    S3_STORE_MAX_KEY_BYTES = 1024,
    S3_STORE_PAGE_KEYS = 1000,         /* of a listing, and of one s3_store_delete_many on the wire */
    S3_STORE_ETAG_BYTES = 129,         /* with the terminator, without the quotes */
    S3_STORE_MIN_PART_BYTES = 5 << 20, /* of a multipart upload, but for the last part */
    S3_STORE_MAX_PARTS = 10000
};

struct s3_store_client;

struct s3_store_client_options {
    struct http_pool *pool;                   /* outlives the client */
    struct credentials_provider *credentials; /* outlives the client */
    const char *endpoint;                     /* http(s)://HOST[:PORT]; NULL: AWS's own of the region */
    const char *region, *bucket;
    bool path_style; /* the bucket in the path, not in the host's name */
    /* SSE-KMS: every write asks for it with this key, and the answer must name it. NULL: no encryption is asked for. */
    const char *key_arn;
    const char *context_org, *context_region; /* of the encryption context; needed with key_arn */
    bool bucket_key;                          /* S3 may keep a key of the bucket for a while */
    unsigned attempt_timeout_ms;              /* without an answer's end; 0: 30,000 and a second per 256 KiB sent */
    unsigned total_timeout_ms;                /* of a call with its retries; 0: 60,000; a body's time comes on top */
    unsigned max_attempts;                    /* 1: no retries; 0: 8 */
    const bool *cancelled;                    /* polled atomically; NULL: never */
    const char *ca_file;                      /* as of struct http_call */
};

/* INVALID: the detail names what. All strings are copied, `cancelled` is borrowed. */
struct result s3_store_client_new(const struct s3_store_client_options *o, struct s3_store_client **ret);
struct s3_store_client *s3_store_client_free(struct s3_store_client *c); /* accepts NULL, returns NULL */
static inline void s3_store_client_free_auto(struct s3_store_client **c) {
    s3_store_client_free(*c);
}

/* Why a call failed, beside the error's code (in brackets) and detail. */
enum s3_trouble {
    S3_TROUBLE_NONE,
    S3_TROUBLE_KEY_REFUSED,   /* KMS does not let S3 use the key (NO_LEASE) */
    S3_TROUBLE_ACCESS,        /* credentials or policy (FORBIDDEN) */
    S3_TROUBLE_THROTTLED,     /* S3 or its KMS asked to slow down, for as long as the call lasted (UNREACHABLE) */
    S3_TROUBLE_UNREACHABLE,   /* no answer, or only 5xx, for as long as the call lasted (UNREACHABLE) */
    S3_TROUBLE_NO_BUCKET,     /* (NOT_FOUND) */
    S3_TROUBLE_NOT_FOUND,     /* object, upload (NOT_FOUND) */
    S3_TROUBLE_PRECONDITION,  /* it has another ETag by now, or is there already (PRECONDITION) */
    S3_TROUBLE_RANGE,         /* behind the object's end (RANGE) */
    S3_TROUBLE_UNSUPPORTED,   /* this store has no such operation (UNSUPPORTED) */
    S3_TROUBLE_NOT_ENCRYPTED, /* the answer does not say that it is encrypted under our key (PEER) */
    S3_TROUBLE_BROKEN,        /* lengths, ETags, XML: not what was asked for, again and again (PEER) */
    S3_TROUBLE_REFUSED,       /* any other refusal; the code says which (INVALID) */
    S3_TROUBLE_CANCELLED,     /* (CANCELLED) */
    S3_TROUBLE_MAX
};
const char *s3_trouble_name(enum s3_trouble t); /* "key_refused" */

struct s3_failure {
    enum s3_trouble trouble;
    int http_status;     /* 0: no answer */
    char code[64];       /* S3's, such as "KMS.DisabledException"; "": none */
    char message[160];   /* S3's, made printable */
    char request_id[64]; /* of S3 */
    unsigned attempts;
    /* The last attempt may have done its work although its answer is missing: the caller must look again. */
    bool unsure;
};

/* All functions below fail with the codes of enum s3_trouble (INTERNAL and IO for our own trouble) and fill *why, which
 * may be NULL. ETags stand without their quotes. */

/* ---- objects ---- */

/* What an object's headers tell. */
struct s3_head {
    int64_t size, modified_ms;
    char etag[S3_STORE_ETAG_BYTES];
    bool is_kms;          /* encrypted with SSE-KMS */
    char key_id[256];     /* as S3 names the key; "": it doesn't */
    bool bucket_key;      /* S3 says so */
    char version_id[128]; /* "": none */
};

/* Writes a whole object. With `only_new`, PRECONDITION if the key is taken (a store may not know that: UNSUPPORTED). */
struct s3_put {
    const char *key;
    struct slice body;
    bool only_new;
};
struct result s3_store_put(struct s3_store_client *c, const struct s3_put *put, char ret_etag[S3_STORE_ETAG_BYTES],
                           struct s3_failure *why);

/* Bytes [from, from + length) to take(), in order, as they come, in pieces; fewer only at the object's end. etag: it
 * must be this one (NULL: any, but the same in all attempts). An answer that ends early is taken up again where it
 * ended. take returning false ends the call with CANCELLED. ret (may be NULL) has the whole object's size. RANGE: from
 * is at or behind the end. */
struct s3_get {
    const char *key, *etag;
    int64_t from, length; /* length at least 1 */
    bool (*take)(void *arg, struct slice piece);
    void *arg;
};
struct result s3_store_get(struct s3_store_client *c, const struct s3_get *get, struct s3_head *ret,
                           struct s3_failure *why);
/* A whole object of at most max bytes, appended to out. TOO_LARGE. */
struct result s3_store_get_whole(struct s3_store_client *c, const char *key, size_t max, struct buf *out,
                                 struct s3_head *ret, struct s3_failure *why);
struct result s3_store_head(struct s3_store_client *c, const char *key, struct s3_head *ret, struct s3_failure *why);

/* What is not there is deleted, too. version_id: that version for good; NULL: the object. */
struct result s3_store_delete(struct s3_store_client *c, const char *key, const char *version_id,
                              struct s3_failure *why);
/* Any number; one by one where the store can't do it otherwise. On a failure some may be gone. */
struct s3_name {
    const char *key, *version_id; /* version_id NULL: the object */
};
struct result s3_store_delete_many(struct s3_store_client *c, const struct s3_name *names, size_t count,
                                   struct s3_failure *why);

/* ---- listings: page by page, ordered by the bytes of the keys ---- */

struct s3_entry {
    char *key;        /* owned; of a common prefix: it, with its delimiter */
    char *version_id; /* owned; of versions only */
    char *upload_id;  /* owned; of uploads only */
    char etag[S3_STORE_ETAG_BYTES];
    int64_t size, modified_ms; /* of uploads: when they began */
    bool is_prefix, is_latest, is_delete_marker;
};
struct s3_entries {
    struct s3_entry *items;
    size_t count;
    char *next, *next_id; /* where the next page begins; next NULL: that was the last one */
};
void s3_entries_done(struct s3_entries *e); /* accepts zeroed */

struct s3_list {
    const char *prefix;             /* "" for all */
    const char *delimiter;          /* NULL: none */
    const char *start_after;        /* s3_store_list only, its first page: a key; NULL: from the beginning */
    const struct s3_entries *after; /* the page before; NULL: the first */
    unsigned max_keys;              /* 0: S3_STORE_PAGE_KEYS */
};
struct result s3_store_list(struct s3_store_client *c, const struct s3_list *list, struct s3_entries *ret,
                            struct s3_failure *why);
/* All versions and delete markers. In a bucket that never had versions: each object once, with version_id "null". */
struct result s3_store_list_versions(struct s3_store_client *c, const struct s3_list *list, struct s3_entries *ret,
                                     struct s3_failure *why);
/* Multipart uploads under way. */
struct result s3_store_list_uploads(struct s3_store_client *c, const struct s3_list *list, struct s3_entries *ret,
                                    struct s3_failure *why);

/* ---- multipart uploads ---- */

/* The caller frees *ret_upload_id. */
struct result s3_store_upload_create(struct s3_store_client *c, const char *key, char **ret_upload_id,
                                     struct s3_failure *why);
/* number: 1 to S3_STORE_MAX_PARTS. */
struct result s3_store_upload_part(struct s3_store_client *c, const char *key, const char *upload_id, unsigned number,
                                   struct slice body, char ret_etag[S3_STORE_ETAG_BYTES], struct s3_failure *why);
struct s3_upload_part {
    unsigned number; /* ascending */
    char etag[S3_STORE_ETAG_BYTES];
};
/* An upload that a lost answer had completed already counts as completed if the object has `size` bytes. */
struct result s3_store_upload_complete(struct s3_store_client *c, const char *key, const char *upload_id,
                                       const struct s3_upload_part *parts, size_t count, int64_t size,
                                       char ret_etag[S3_STORE_ETAG_BYTES], struct s3_failure *why);
/* One that is not there is aborted, too. */
struct result s3_store_upload_abort(struct s3_store_client *c, const char *key, const char *upload_id,
                                    struct s3_failure *why);

/* ---- the bucket ---- */

/* Is it there, here, and ours to use? */
struct result s3_store_head_bucket(struct s3_store_client *c, struct s3_failure *why);
/* Does it keep old versions? UNSUPPORTED where the store can't tell. */
struct result s3_store_has_versions(struct s3_store_client *c, bool *ret, struct s3_failure *why);

#endif
