/* What an S3 request asks for: operation, bucket, key, query parameters. Pure: bytes in, no I/O, no HTTP server.
 * Path style only (/bucket/key). Source:
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html.
 *
 * A query parameter that the operation does not know makes the request "not implemented": a subresource such as ?acl
 * must never be answered as if it had been honoured. Thread-safe; one object has one owner. */
#ifndef LOCKSET_GATEWAY_S3_REQUEST_H
#define LOCKSET_GATEWAY_S3_REQUEST_H

#include "base/buf.h"
#include "gateway/s3_error.h"

enum s3_operation {
    S3_LIST_BUCKETS,
    S3_HEAD_BUCKET,
    S3_CREATE_BUCKET,
    S3_GET_BUCKET_LOCATION,
    S3_GET_SUBRESOURCE, /* ?acl, ?versioning, ... of a bucket or an object; which: see the parameters */
    S3_LIST_VERSIONS,
    S3_LIST_OBJECTS_V2,
    S3_LIST_OBJECTS_V1,
    S3_LIST_UPLOADS,
    S3_DELETE_OBJECTS,
    S3_GET_OBJECT,
    S3_GET_OBJECT_ATTRIBUTES,
    S3_HEAD_OBJECT,
    S3_PUT_OBJECT,
    S3_COPY_OBJECT,
    S3_DELETE_OBJECT,
    S3_CREATE_UPLOAD,
    S3_UPLOAD_PART,
    S3_UPLOAD_PART_COPY,
    S3_COMPLETE_UPLOAD,
    S3_ABORT_UPLOAD,
    S3_LIST_PARTS,
    S3_OPERATION_MAX
};

enum s3_body {
    S3_BODY_NONE,   /* must be empty */
    S3_BODY_XML,    /* small, collected */
    S3_BODY_STREAM, /* an object or a part */
};

enum {
    S3_KEY_MAX_BYTES = 1024,
    S3_PARAMS_MAX = 64,        /* query parameters, presigning included */
    S3_XML_MAX_BYTES = 4194304 /* a completion with 10,000 parts, or 1,000 long keys to delete */
};

struct s3_param {
    char *name, *value; /* decoded; value is "" for a name alone */
};

struct s3_request {
    enum s3_operation operation;
    enum s3_body body;
    char *bucket; /* NULL for the service itself */
    char *key;    /* NULL for a bucket; UTF-8, 1..1024 bytes */
    struct s3_param *params;
    size_t param_count;
};

/* What is wrong, for the answer. `message` is for people. */
struct s3_refusal {
    enum s3_error error;
    char message[256];
};
void s3_refuse(struct s3_refusal *refusal, enum s3_error error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Parses. path and query as on the wire; has_copy_source tells a copy from a PUT. False: *refusal says why, and *ret is
 * as s3_request_done left it. On success the caller calls s3_request_done. */
bool s3_request_parse(const char *method, struct slice path, struct slice query, bool has_copy_source,
                      struct s3_request *ret, struct s3_refusal *refusal);
void s3_request_done(struct s3_request *r); /* accepts zeroed */

/* The value of a parameter; NULL if absent. */
const char *s3_param(const struct s3_request *r, const char *name);
/* "PutObject" */
const char *s3_operation_name(enum s3_operation op);

/* Bucket and key out of x-amz-copy-source ("bucket/key" or "/bucket/key", percent-encoded, perhaps with
 * ?versionId=null; other versions are not implemented). The caller frees both. */
bool s3_copy_source_parse(const char *header, char **ret_bucket, char **ret_key, struct s3_refusal *refusal);

/* A version id: every object has the one that S3 gives where there are none, "null". */
bool s3_version_check(const char *version, struct s3_refusal *refusal);

/* Is it a key that can be stored: UTF-8, 1..1024 bytes, no NUL? */
bool s3_key_check(struct slice key, struct s3_refusal *refusal);

/* A number in a parameter: absent gives `otherwise`; not a decimal number, or over `max` when not clamping, is
 * InvalidArgument. */
bool s3_param_number(const struct s3_request *r, const char *name, uint64_t otherwise, uint64_t max, bool clamps,
                     uint64_t *ret, struct s3_refusal *refusal);

#endif
