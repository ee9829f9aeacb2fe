/* What the parts of the store's S3 client share: one request with its retries. */
#ifndef LOCKSET_AWS_S3_STORE_PRIV_H
#define LOCKSET_AWS_S3_STORE_PRIV_H

#include "aws/s3_store_client.h"
#include "aws/s3_wire.h"

struct s3_store_client {
    struct s3_address address;
    char *region, *bucket, *key_arn, *context, *ca_file; /* context: as the header wants it */
    bool bucket_key;
    struct http_pool *pool;
    struct credentials_provider *credentials;
    unsigned attempt_timeout_ms, total_timeout_ms, max_attempts;
    const bool *cancelled;
    _Atomic int64_t clock_offset_ms; /* S3's clock minus ours, as far as an answer told us */
    _Atomic bool deletes_singly;     /* this store knows no DeleteObjects */
};

enum { S3_REQUEST_MAX_PAIRS = 12 };

/* One call. Zeroed but for client, method, what; texts are borrowed. */
struct s3_request {
    struct s3_store_client *client;
    const char *method;
    const char *what; /* for messages: "writing an object" */
    const char *key;  /* NULL: the bucket */
    struct http_field params[S3_REQUEST_MAX_PAIRS], fields[S3_REQUEST_MAX_PAIRS];
    size_t param_count, field_count;
    struct slice body;
    bool changes;           /* something in the store, so that a lost answer matters */
    bool encrypts;          /* asks for encryption, if the client is to */
    size_t max_reply;       /* 0: enough for an error */
    int64_t transfer_bytes; /* for the time-out: what comes or goes */
    /* Before each attempt and after each answer of 200 to 299; NULL: nothing. judge fails with PEER for an answer that
     * is broken (it is asked for again), unless it set f->trouble. */
    struct result (*prepare)(struct s3_request *r);
    struct result (*judge)(struct s3_request *r, const struct http_reply *reply, struct s3_failure *f);
    /* As of struct http_call; ended by the receiver itself: `stopped`, and judge is asked if it is `satisfied`. */
    bool (*write_body)(void *arg, struct slice piece);
    void (*see_head)(void *arg, const struct http_reply *head);
    void *arg;
    struct buf *refusal; /* where write_body puts what belongs to no object; NULL without write_body */
    bool progressed;     /* since the last attempt: it does not count */
    bool stopped, satisfied;
    char hash[65], md5[32];
};
void s3_request_param(struct s3_request *r, const char *name, const char *value);
void s3_request_field(struct s3_request *r, const char *name, const char *value);
/* On success the caller calls http_reply_done. *why is filled in any case; it may be NULL. */
struct result s3_request_send(struct s3_request *r, struct http_reply *reply, struct s3_failure *why);

/* ---- s3_store_error.c: pure ---- */

/* What an answer outside of 200 to 299 (or a document inside) says. */
void s3_failure_read(int status, const struct http_reply *reply, struct s3_failure *f);
/* Only the part from a parsed <Error>. */
void s3_failure_read_xml(const struct xml_node *error, struct s3_failure *f);
enum s3_remedy { S3_REMEDY_NONE, S3_REMEDY_WAIT, S3_REMEDY_CREDENTIALS, S3_REMEDY_CLOCK };
/* Sets f->trouble by status, code and message, and says what may mend it. */
enum s3_remedy s3_failure_classify(struct s3_failure *f);
enum err_code s3_trouble_code(enum s3_trouble t);
/* Copies a header's value, made printable; "" if there is none. */
void s3_header_copy(const struct http_reply *reply, const char *name, char *ret, size_t size);
/* The headers of encryption of an answer against what was asked for; must_tell: it has to have them. */
struct result s3_check_encryption(const struct s3_store_client *c, const struct http_reply *reply, bool must_tell,
                                  struct s3_failure *f);
/* ETag without quotes. PEER if there is none. */
struct result s3_take_etag(struct slice text, char ret[S3_STORE_ETAG_BYTES]);
/* Judges the answer to a write: encrypted as asked for (`encrypts`: it has to say so), and its ETag, which goes to the
 * request's arg, an array of S3_STORE_ETAG_BYTES. */
struct result s3_judge_written(struct s3_request *r, const struct http_reply *reply, struct s3_failure *f);
/* The headers of an object; PEER if they can't be read. needs_size: Content-Length is the whole object. */
struct result s3_take_head(const struct http_reply *reply, bool needs_size, struct s3_head *ret);

/* ---- s3_store_list.c: pure ---- */

enum s3_listing { S3_LISTING_OBJECTS, S3_LISTING_VERSIONS, S3_LISTING_UPLOADS };
/* One page; PEER for what is none. */
struct result s3_page_parse(struct slice text, enum s3_listing kind, const char *prefix, struct s3_entries *ret);

#endif
