/* Conditional requests: If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, If-Range.
 * Source: RFC 9110 section 13; https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-reads.html. Pure,
 * thread-safe. */
#ifndef LOCKSET_GATEWAY_S3_CONDITION_H
#define LOCKSET_GATEWAY_S3_CONDITION_H

#include "base/buf.h"

/* Header values as received; NULL if absent. Borrowed. */
struct s3_conditions {
    const char *if_match, *if_none_match, *if_modified_since, *if_unmodified_since;
};

enum s3_verdict { S3_GO, S3_NOT_MODIFIED, S3_PRECONDITION };

/* For an object that exists. etag without quotes. If-Match outweighs If-Unmodified-Since, If-None-Match outweighs
 * If-Modified-Since. S3_NOT_MODIFIED is 304 for GET and HEAD, 412 for a copy's source. A date that can't be parsed is
 * ignored. */
enum s3_verdict s3_conditions_judge(const struct s3_conditions *c, const char *etag, int64_t modified_unix_ms);

/* Does a list of entity tags ("*", "a", "\"a\", W/\"b\"") hold this one? */
bool s3_etag_listed(const char *list, const char *etag);

/* If-Range: does the range still count? header NULL: yes. */
bool s3_if_range_holds(const char *header, const char *etag, int64_t modified_unix_ms);

#endif
