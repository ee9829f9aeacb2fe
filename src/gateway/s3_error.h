/* S3's error codes, and how Lockset's own errors become them. Thread-safe. */
#ifndef LOCKSET_GATEWAY_S3_ERROR_H
#define LOCKSET_GATEWAY_S3_ERROR_H

#include "base/buf.h"

enum s3_error {
    S3_ERROR_NONE = 0,
#define S3_ERROR(symbol, code, status, text) S3_ERR_##symbol,
#include "gateway/s3_error.def"
#undef S3_ERROR
    S3_ERROR_MAX
};

/* "NoSuchKey", its HTTP status, and its default text. */
const char *s3_error_code(enum s3_error e);
int s3_error_status(enum s3_error e);
const char *s3_error_text(enum s3_error e);

/* The S3 error for a failure of a module below. `absent` is what NOT_FOUND means to the caller (NoSuchKey,
 * NoSuchUpload). A missing lease is AccessDenied and never a 5xx: ClickHouse's client repeats those up to 500 times. */
enum s3_error s3_error_of(enum err_code code, enum s3_error absent);

/* The XML document of an error, appended to out.
 * Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html (RESTErrorResponses). */
void s3_error_xml(enum s3_error e, const char *message, struct slice resource, const char *request_id, struct buf *out);

#endif
