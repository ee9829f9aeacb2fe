/* The S3 endpoint of one organization in one region: bucket `lockset` (or another name), served to one listener at a
 * time. Everything it stores and gives out goes through the store, and so through the lease.
 *
 * A listener belongs to an epoch and has credentials of its own. gateway_serve ends the one before: its connections are
 * cut and its requests drained before the new one answers, and nothing of an old epoch is committed afterwards. */
#ifndef LOCKSET_GATEWAY_GATEWAY_H
#define LOCKSET_GATEWAY_GATEWAY_H

#include <stdint.h>

#include "base/buf.h"
#include "keys/lease.h"
#include "store/store.h"

enum { GATEWAY_ACCESS_KEY_BYTES = 32, GATEWAY_SECRET_KEY_BYTES = 64 };

struct gateway_credentials {
    char access_key[GATEWAY_ACCESS_KEY_BYTES];
    char secret_key[GATEWAY_SECRET_KEY_BYTES];
};
/* Fresh random ones, of AWS's usual lengths (20 and 40 characters). Wipe them after use. */
struct result gateway_credentials_random(struct gateway_credentials *ret);

/* The secret key of an access key, for the caller to wipe; false: there is no such key, or it can't be had now. Called
 * by the threads of requests, once for each. */
typedef bool gateway_secret_fn(void *arg, const char *access_key, char ret[static GATEWAY_SECRET_KEY_BYTES]);

struct gateway_options {
    gateway_secret_fn *secret; /* NULL: each listener has one access key, given to gateway_serve */
    void *secret_arg;
    struct store *store;       /* borrowed */
    struct lease *lease;       /* borrowed */
    const char *region;        /* accepted in credential scopes, beside us-east-1, which S3 clients sign by default */
    const char *bucket;        /* NULL: "lockset" */
    const char *key_arn;       /* what objects are said to be encrypted with */
    int64_t bucket_created_ms; /* since 1970, for ListBuckets */
    unsigned max_connections;  /* 0: 1024 */
};

struct gateway; /* opaque; functions are thread-safe unless said */

struct result gateway_new(const struct gateway_options *options, struct gateway **ret);
/* Stops serving, then frees. */
struct gateway *gateway_free(struct gateway *g);

/* Makes `epoch` the current one, stops the listener before (cut, drained), then serves listen_fd, which the gateway
 * owns from now on, also on failure. credentials: NULL where the options have `secret`. One thread at a time. CONFLICT
 * if the epoch is not above the current one. */
struct result gateway_serve(struct gateway *g, uint64_t epoch, int listen_fd,
                            const struct gateway_credentials *credentials);
/* Ends the current listener, cut and drained. One thread at a time. */
void gateway_stop(struct gateway *g);

#endif
