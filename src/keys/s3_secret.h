/* The secret of an access key for S3 clients: derived, each time it is needed, from the organization's name key in its
 * region, which is stored only as KMS wrapped it. Nothing else is kept of it: without the customer's key nobody can
 * find it out, nor judge a signature that was made with it. */
#ifndef LOCKSET_KEYS_S3_SECRET_H
#define LOCKSET_KEYS_S3_SECRET_H

#include "base/secret.h"

enum { S3_SECRET_CHARS = 40 };

/* 40 characters of base64url: HKDF-SHA256(name key, info = label, organization, region, access key id). ret ends with
 * NUL; the caller wipes it. INVALID if one of the texts has no or over 2,048 bytes. */
struct result s3_secret_derive(struct slice name_key, const char *org, const char *region, const char *access_key_id,
                               char ret[static S3_SECRET_CHARS + 1]);

#endif
