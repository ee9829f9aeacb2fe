/* Credentials that last: AWS's standard chain behind one object, which fetches again before they expire.
 *
 * The chain, in this order: the environment (AWS_ACCESS_KEY_ID), web identity (AWS_WEB_IDENTITY_TOKEN_FILE and
 * AWS_ROLE_ARN, through STS), the shared files (credentials and config; AWS_PROFILE), a container's endpoint
 * (AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI), the instance's metadata (IMDSv2 only; unless
 * AWS_EC2_METADATA_DISABLED is true). The first that is configured counts: if it fails, that is told, and no other is
 * tried. Thread-safe.
 * Source: https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html. */
#ifndef LOCKSET_AWS_CREDENTIALS_PROVIDER_H
#define LOCKSET_AWS_CREDENTIALS_PROVIDER_H

#include "aws/credentials.h"
#include "base/http_client.h"

struct credentials_provider;

struct credentials_provider_options {
    struct credentials_source source; /* file or profile named: only that; zeroed: the whole chain */
    const char *region;               /* for STS's own address; NULL: AWS_REGION, AWS_DEFAULT_REGION, else us-east-1 */
    struct http_pool *pool;           /* outlives the provider; NULL: sources that need the network are refused */
    const bool *cancelled;            /* polled atomically; NULL: never */
};

/* Fetches once. NOT_FOUND: nothing is configured anywhere (the detail says how to); INVALID, FORBIDDEN, UNREACHABLE,
 * TIMEOUT, PEER of the source that is configured. Strings are copied. */
struct result credentials_provider_new(const struct credentials_provider_options *o, struct credentials_provider **ret);
/* One that only holds what it is given, by this call and by credentials_provider_put. */
struct result credentials_provider_new_held(const struct credentials *c, struct credentials_provider **ret);
struct credentials_provider *credentials_provider_free(struct credentials_provider *p); /* accepts NULL */
static inline void credentials_provider_free_auto(struct credentials_provider **p) {
    credentials_provider_free(*p);
}
/* "environment", "web identity", "shared files", "container", "instance metadata", "given". */
const char *credentials_provider_source(const struct credentials_provider *p);

/* A copy of what is valid now; the caller calls credentials_done. Fetches again within the last five minutes (of
 * credentials that live shorter: within the last quarter) of their time; while that fails, the old ones are given as
 * long as they last. */
struct result credentials_provider_get(struct credentials_provider *p, struct credentials *ret);
/* Somebody refused the credentials with this id as expired or unknown: fetches now, unless others did already. Did they
 * change? */
bool credentials_provider_renew(struct credentials_provider *p, const char *refused_access_key_id);
/* Replaces those of a provider that holds. */
struct result credentials_provider_put(struct credentials_provider *p, const struct credentials *c);

#endif
