/* One request and its answer: what all operations share. Inside of gateway/ only. An exchange belongs to the thread of
 * its connection. */
#ifndef LOCKSET_GATEWAY_EXCHANGE_H
#define LOCKSET_GATEWAY_EXCHANGE_H

#include "base/http_server.h"
#include "gateway/gateway.h"
#include "gateway/s3_chunked.h"
#include "gateway/s3_digest.h"
#include "gateway/s3_request.h"

#define S3_NAMESPACE "http://s3.amazonaws.com/doc/2006-03-01/"

enum {
    EXCHANGE_ID_BYTES = 17,
    EXCHANGE_ANSWER_MAX_BYTES = 16 * 1024 * 1024, /* a page of 1,000 longest keys, escaped */
};

/* What serves one listener: an epoch and its credentials. */
struct listener {
    struct gateway *gateway;
    uint64_t epoch;
    struct gateway_credentials credentials; /* wiped when the listener ends */
    struct http_server *server;
};

/* Read-only while requests run. */
struct gateway_settings {
    struct store *store;
    struct lease *lease;
    gateway_secret_fn *secret; /* NULL: the listener's credentials */
    void *secret_arg;
    char *region, *bucket, *key_arn;
    int64_t bucket_created_ms;
};
const struct gateway_settings *gateway_settings(const struct gateway *g);

/* Headers of an answer, growing; always ends with name NULL. */
struct fields {
    struct http_field *list;
    char **owned;
    size_t count, capacity, owned_count, owned_capacity;
};
void fields_add(struct fields *f, const char *name, const char *value); /* borrowed texts */
void fields_add_format(struct fields *f, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4))); /* name borrowed */
void fields_add_copy(struct fields *f, const char *name, const char *value);
void fields_done(struct fields *f);
#define FIELDS_AUTO(name) AUTO(fields_done) struct fields name = {0}

struct exchange {
    const struct listener *listener;
    const struct gateway_settings *settings;
    struct http_request *http;
    struct s3_request request;
    struct s3_digest digest;
    bool is_chunked; /* the body comes as aws-chunked */
    struct s3_chunked chunked;
    char secret_key[GATEWAY_SECRET_KEY_BYTES]; /* of who asks */
    struct secret signing_key;                 /* for chunk signatures; empty otherwise */
    struct sigv4_verified authorized;          /* the request's own signature, where their chain begins */
    char id[EXCHANGE_ID_BYTES];
    struct buf body;             /* of S3_BODY_XML */
    struct store_writer *writer; /* of S3_BODY_STREAM */
    struct store_reader *reader; /* of GetObject, while it streams */
    uint64_t range_offset;
    struct buf ahead; /* the first bytes of the range, verified before the status was sent */
};

/* --- Answering. Each ends the request. --- */

void exchange_fail(struct exchange *x, enum s3_error error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void exchange_refuse(struct exchange *x, const struct s3_refusal *refusal);
/* From a failed call of the store or the lease; `absent` is what NOT_FOUND means. */
void exchange_fail_result(struct exchange *x, struct result r, enum s3_error absent);
/* 200 with an XML document, or another success without a body. `f` may be NULL; the request id is added. */
void exchange_answer_xml(struct exchange *x, struct fields *f, const struct buf *document);
void exchange_answer_empty(struct exchange *x, int status, struct fields *f);

/* x-amz-request-id. */
void exchange_add_id(const struct exchange *x, struct fields *f);
/* x-amz-server-side-encryption and its key. Source: API_PutObject (response headers). */
void exchange_add_encryption(const struct exchange *x, struct fields *f);
/* CopyObjectResult or CopyPartResult; source NULL: its checksum, if it has one, is not the copy's. */
void exchange_answer_copied(struct exchange *x, const char *element, const struct store_written *written,
                            const struct store_info *source);
/* x-amz-checksum-...: what the client announced and was verified is confirmed, as newer SDKs expect. */
void exchange_add_checksum(const struct exchange *x, struct fields *f);
/* ETag in quotes. */
void exchange_add_etag(struct fields *f, const struct store_etag *etag);

static inline const char *exchange_header(const struct exchange *x, const char *name) {
    return http_header(x->http, name);
}

/* x-amz-content-sha256, or what a presigned URL says instead; NULL if neither. */
const char *exchange_content_sha256(const struct exchange *x);

/* --- Steps of a request, in order. False: answered. --- */

bool exchange_authenticate(struct exchange *x);  /* authenticate.c */
bool exchange_check_headers(struct exchange *x); /* object_fields.c: x-amz-* headers that mean something to us */
bool exchange_write_condition(struct exchange *x, struct store_condition *ret); /* If-Match, If-None-Match of a write */

/* The metadata that a write brings: content headers and x-amz-meta-*. The caller calls object_fields_done. */
struct object_fields {
    struct store_field *list;
    size_t count;
};
bool exchange_object_fields(struct exchange *x, struct object_fields *ret);
void object_fields_add(struct object_fields *f, const char *name, const char *value);
void object_fields_done(struct object_fields *f);

/* --- Operations. --- */

void bucket_list_all(struct exchange *x);
void bucket_head(struct exchange *x);
void bucket_create(struct exchange *x);
void bucket_location(struct exchange *x);
void listing_objects(struct exchange *x); /* both versions */
void listing_versions(struct exchange *x);
void listing_uploads(struct exchange *x);
void listing_parts(struct exchange *x);
void subresource_get(struct exchange *x);
void object_attributes(struct exchange *x);
void object_get(struct exchange *x); /* and HEAD */
bool object_put_begin(struct exchange *x);
void object_put_finish(struct exchange *x);
void object_copy(struct exchange *x);
void object_delete(struct exchange *x);
void object_delete_many(struct exchange *x);
void upload_create(struct exchange *x);
bool upload_part_begin(struct exchange *x);
void upload_part_finish(struct exchange *x);
void upload_part_copy(struct exchange *x);
void upload_complete(struct exchange *x);
void upload_abort(struct exchange *x);

/* The source of a copy: named by x-amz-copy-source, its conditions judged. On success *ret_key is the caller's to free
 * and *ret the caller's to store_info_done. */
bool exchange_copy_source(struct exchange *x, char **ret_key, struct store_info *ret);

/* The handler of a listener's HTTP server; the context is a struct listener. */
extern const struct http_handler exchange_handler;
void exchange_bad_framing(void *context, struct http_request *r, const char *why);

#endif
