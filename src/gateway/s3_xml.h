/* The XML bodies that requests bring. Pure; each result has one owner. */
#ifndef LOCKSET_GATEWAY_S3_XML_H
#define LOCKSET_GATEWAY_S3_XML_H

#include "base/buf.h"
#include "gateway/s3_checksum.h"
#include "gateway/s3_request.h"

enum { S3_PARTS_MAX = 10000, S3_DELETE_MAX = 1000, S3_ETAG_BYTES = 80 };

struct s3_part_ref {
    unsigned number;
    char etag[S3_ETAG_BYTES]; /* without quotes */
    bool has_checksum;
    enum s3_checksum_kind kind;
    char checksum[S3_CHECKSUM_TEXT_BYTES]; /* as it came */
};

struct s3_part_list {
    struct s3_part_ref *parts; /* ascending */
    size_t count;
};

/* CompleteMultipartUpload: 1..10,000 parts in ascending order. MalformedXML, InvalidPartOrder, InvalidArgument. The
 * caller calls s3_part_list_done. Source: API_CompleteMultipartUpload. */
bool s3_complete_parse(struct slice body, struct s3_part_list *ret, struct s3_refusal *refusal);
void s3_part_list_done(struct s3_part_list *l); /* accepts zeroed */

struct s3_delete_list {
    char **keys;
    size_t count;
    bool quiet;
};

/* DeleteObjects: 1..1,000 keys. A VersionId can only be "null". Source: API_DeleteObjects. */
bool s3_delete_parse(struct slice body, struct s3_delete_list *ret, struct s3_refusal *refusal);
void s3_delete_list_done(struct s3_delete_list *l); /* accepts zeroed */

/* CreateBucketConfiguration: empty, or with a LocationConstraint. *ret_location is "" if there is none; the caller
 * frees it. */
bool s3_create_bucket_parse(struct slice body, char **ret_location, struct s3_refusal *refusal);

#endif
