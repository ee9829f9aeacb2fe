/* Where a region's wrapped keys stand beside the data, and what the keyring does to that place besides: a folder, or a
 * bucket in S3. One shelf a region; it knows nothing of what is in the texts (key_file.h does). Thread-safe; may block
 * for as long as the disk or S3 takes.
 *
 *     STORE/<org>/keys/<id>.json */
#ifndef LOCKSET_KEYRING_SHELF_H
#define LOCKSET_KEYRING_SHELF_H

#include "aws/s3_store_client.h"
#include "base/json.h"

enum { SHELF_TEXT_MAX_BYTES = 64 * 1024, SHELF_ID_HEX = 32 };

struct shelf;

/* Called with each organization's or key's id; a failure ends the walk with it. */
typedef struct result shelf_each(void *arg, const char *id);

/* What a kind of shelf must be able to do. IO, NO_SPACE, UNREACHABLE, TIMEOUT, FORBIDDEN; NO_LEASE where the place
 * answers that the organization's KMS key is not usable. */
struct shelf_kind {
    /* NOT_FOUND. */
    struct result (*read)(struct shelf *s, const char *org, const char *id, struct buf *out);
    /* Durable before it returns; what is there is replaced. kms_key_arn: the organization's. */
    struct result (*write)(struct shelf *s, const char *org, const char *kms_key_arn, const char *id,
                           struct slice text);
    struct result (*list)(struct shelf *s, const char *org, shelf_each *each, void *arg);
    /* CONFLICT when something of the organization is there that isn't a wrapped key. */
    struct result (*must_be_bare)(struct shelf *s, const char *org);
    /* Every copy of every wrapped key of the organization, older versions included. */
    struct result (*remove_keys)(struct shelf *s, const char *org);
    /* Everything else of the organization; what can't be removed is appended to `remains`, as text. */
    void (*remove_rest)(struct shelf *s, const char *org, json_t *remains);
    /* Each organization that has anything there. */
    struct result (*list_orgs)(struct shelf *s, shelf_each *each, void *arg);
    struct shelf *(*free)(struct shelf *s);
};

/* The first member of each kind's own struct. */
struct shelf {
    const struct shelf_kind *kind;
    char *place; /* for people: the folder, or s3://BUCKET/PREFIX */
};

/* The folder is made. IO, NO_SPACE. */
struct result shelf_open_folder(const char *folder, struct shelf **ret);

/* A bucket, or a prefix in it. */
struct shelf_s3_options {
    struct http_pool *pool;                   /* outlives the shelf */
    struct credentials_provider *credentials; /* the same */
    const char *endpoint;                     /* NULL: AWS's own */
    const char *signing_region, *bucket;
    const char *prefix; /* "" or without a slash at its end */
    bool path_style;
    const char *local;  /* folder of this host where gateways have their locks: an organization's goes with its data */
    const char *region; /* the store's: part of the encryption context */
    bool sse_kms, bucket_key; /* writes ask S3 to encrypt under the organization's key */
};
/* Asks nothing of the bucket yet. INVALID. Strings are copied. */
struct result shelf_open_s3(const struct shelf_s3_options *o, struct shelf **ret);

static inline struct shelf *shelf_free(struct shelf *s) { /* accepts NULL */
    return s ? s->kind->free(s) : NULL;
}
static inline void shelf_free_auto(struct shelf **s) {
    shelf_free(*s);
}

/* 32 hexadecimal digits? */
bool shelf_is_id(const char *s, size_t n);

#endif
