/* The door for S3 clients of one region: takes connections, finds out from the first request's access key whose they
 * are, has that organization's gateway started, and moves bytes between the two. It holds no key of any organization,
 * believes nothing a client says, and sees data in passing only. Where the gateway can't be had it answers itself, as
 * S3 does for a bucket whose KMS key can't be used.
 *
 * All requests of a connection go to the gateway of the first: another organization's access key is unknown there.
 * A client that doesn't get its first head through in time is dropped; at the limit of connections the one that was
 * idle for longest makes room. */
#ifndef LOCKSET_FRONT_FRONT_H
#define LOCKSET_FRONT_FRONT_H

#include "base/tls.h"
#include "config/config.h"
#include "lifecycle/keylink.h"
#include "registry/registry.h"

struct front_options {
    const struct config *config;
    const char *region;
    struct registry *registry;
    struct keylink *keylink;
    const struct tls_server *tls; /* NULL: plain */
    int listen_fd;
};

/* Serves until the process ends, on threads of its own. Everything is borrowed, and lives as long. */
struct result front_start(const struct front_options *options);

#endif
