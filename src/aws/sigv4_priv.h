/* What the files of sigv4 share among themselves. */
#ifndef LOCKSET_AWS_SIGV4_PRIV_H
#define LOCKSET_AWS_SIGV4_PRIV_H

#include "aws/sigv4.h"

#define SIGV4_ALGORITHM "AWS4-HMAC-SHA256"

/* The query parameters of the presigned form. */
enum sigv4_param {
    SIGV4_PARAM_ALGORITHM,
    SIGV4_PARAM_CREDENTIAL,
    SIGV4_PARAM_DATE,
    SIGV4_PARAM_EXPIRES,
    SIGV4_PARAM_SIGNED_HEADERS,
    SIGV4_PARAM_TOKEN,
    SIGV4_PARAM_SIGNATURE,
    SIGV4_PARAM_MAX
};
extern const char *const sigv4_param_names[SIGV4_PARAM_MAX];

/* A size no canonical request of r can exceed. */
size_t sigv4_canonical_max(const struct sigv4_request *r);

/* Same name, ASCII case ignored? */
bool sigv4_name_is(const char *name, struct slice other);

/* Byte order, a prefix before what it starts. */
int sigv4_compare(struct slice a, struct slice b);

/* "20150830/us-east-1/service/aws4_request". INVALID if region or service is empty or longer than 32 bytes. */
struct result sigv4_scope(const char *amz_date, const char *region, const char *service,
                          char ret[static SIGV4_SCOPE_BYTES]);

#endif
