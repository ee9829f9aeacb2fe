/* A small client of S3 and of what speaks like it: lists a bucket, reads parts of objects. Signature Version 4, or
 * nothing at all for public buckets. Path-style addresses for endpoints that are named, AWS's virtual-host style
 * otherwise. Makes no second attempt: whoever reads goes on where it was. Thread-safe but for being freed.
 * Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html and API_GetObject.html. */
#ifndef LOCKSET_AWS_S3_CLIENT_H
#define LOCKSET_AWS_S3_CLIENT_H

#include "base/buf.h"
#include "base/http_client.h"

enum { S3_CLIENT_MAX_KEY_BYTES = 1024, S3_CLIENT_PAGE_KEYS = 1000 };

struct s3_client_options {
    struct http_pool *pool; /* outlives the client */
    const char *endpoint;   /* http(s)://HOST[:PORT]; NULL: AWS's own */
    const char *region, *bucket;
    const char *access_key_id; /* NULL: anonymous */
    struct slice secret_key, session_token;
    unsigned timeout_ms;   /* of each request; 0: 30,000 */
    const bool *cancelled; /* polled atomically; NULL: never */
};

struct s3_client;
/* INVALID. All strings are copied, `cancelled` is borrowed. */
struct result s3_client_new(const struct s3_client_options *o, struct s3_client **ret);
struct s3_client *s3_client_free(struct s3_client *c); /* accepts NULL */

/* All functions below: INVALID (this is no such request, or the bucket is elsewhere), FORBIDDEN (credentials or
 * policy), NOT_FOUND (bucket, object), UNREACHABLE (no answer, or one that asks to come again), TIMEOUT, CANCELLED,
 * PEER. */

struct s3_object {
    char *key, *etag; /* owned; the ETag without its quotes */
    int64_t size, modified_ms;
};
struct s3_page {
    struct s3_object *items; /* ordered by the bytes of their keys */
    size_t count;
    char *next_token; /* NULL: the last page */
};
void s3_page_done(struct s3_page *p); /* accepts zeroed */
/* prefix: "" for all. Either token (of the page before), or start_after (a key; "" from the beginning). */
struct result s3_client_list(struct s3_client *c, const char *prefix, const char *start_after, const char *token,
                             unsigned max_keys, struct s3_page *ret);

struct s3_part {
    int64_t total;         /* bytes of the whole object */
    bool is_gzip, is_zstd; /* by its Content-Encoding */
};
/* Bytes from `from` on, at most max, appended to out; fewer only at the object's end. CONFLICT: the object has another
 * ETag by now. */
struct result s3_client_get(struct s3_client *c, const char *key, const char *etag, int64_t from, size_t max,
                            struct buf *out, struct s3_part *ret);
/* Only whether it is there with this ETag: NOT_FOUND, CONFLICT. */
struct result s3_client_head(struct s3_client *c, const char *key, const char *etag);

#endif
