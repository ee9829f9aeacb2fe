/* What the files of sigv4 share among themselves. */
#ifndef LOCKSET_AWS_SIGV4_PRIV_H
#define LOCKSET_AWS_SIGV4_PRIV_H

#include "aws/sigv4.h"

#define SIGV4_ALGORITHM "AWS4-HMAC-SHA256"

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
