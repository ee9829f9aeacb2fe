/* The bucket of a store in S3, as a gateway reaches it. */
#ifndef LOCKSET_GATEWAY_S3_PLACE_H
#define LOCKSET_GATEWAY_S3_PLACE_H

#include "config/config.h"
#include "gateway/keyring_link.h"
#include "store/store.h"

/* Looks for credentials (AWS's standard chain, which is asked again before they expire) and makes a client that asks S3
 * to encrypt under the organization's key, as the region's settings have it. `ret` and what it refers to live as long
 * as the process. When KMS refuses S3 the key, `keyring` is told. Errors of credentials_provider_new. */
struct result s3_place_open(const struct config_region *region, const char *org, const char *key_arn,
                            struct keyring_link *keyring, struct store_s3 *ret);

#endif
