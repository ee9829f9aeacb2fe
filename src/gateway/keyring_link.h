/* The gateway's end of the control socket to the keyring: a thread that moves what arrives into the lease and re-arms
 * the dead-man timer, and the way to ask for a branch key that isn't there yet. END wipes the lease and ends the
 * process at once. When the keyring is gone the process goes on until the timer fires. */
#ifndef LOCKSET_GATEWAY_KEYRING_LINK_H
#define LOCKSET_GATEWAY_KEYRING_LINK_H

#include "base/buf.h"
#include "keys/lease.h"
#include "keys/wire.h"

struct keyring_link;

/* Starts the thread and becomes the lease's fetch callback; it lives as long as the process. fd is borrowed. */
struct result keyring_link_start(int fd, struct lease *lease, struct keyring_link **ret);
/* Blocks until the keyring has handed over the name key, an active branch and an expiry; UNREACHABLE when it is gone
 * before. */
struct result keyring_link_wait(struct keyring_link *k);
/* Tells the keyring that KMS refused the store in S3 the organization's key: it asks KMS itself at once, and decides.
 * At most once a second; false: it was told just now. Any thread. */
bool keyring_link_key_refused(struct keyring_link *k, enum wire_refusal reason);

#endif
