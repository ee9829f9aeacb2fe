/* The organization's bucket for other clients than its engine: a store of its own inside the organization's folder,
 * served on the unix socket that the front (front/) passes connections to. Who asks must hold an access key of this
 * organization and region: the registry says which there are, at each request, and the lease derives their secrets. */
#ifndef LOCKSET_GATEWAY_OUTSIDE_H
#define LOCKSET_GATEWAY_OUTSIDE_H

#include "gateway/gateway.h"

struct outside_options {
    const char *registry;      /* path of the registry */
    const char *dir;           /* folder of the store; with s3 only of its lock */
    const struct store_s3 *s3; /* where the store is in S3; NULL: in dir */
    struct lease *lease;       /* borrowed; works already */
    int listen_fd;             /* taken over, also on failure */
};

/* Opens the store and serves it until the process ends. The bucket has the organization's name. */
struct result outside_serve(const struct outside_options *options);

#endif
