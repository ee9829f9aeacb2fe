/* The engine's side of the hand-over to its gateway: it gives the listener made inside its network namespace and gets
 * the S3 credentials of its epoch. JSON over base/ipc.h; the gateway's side is gateway/handover.h. */
#ifndef LOCKSET_ENGINE_HANDOVER_H
#define LOCKSET_ENGINE_HANDOVER_H

#include "base/buf.h"
#include "base/secret.h"

struct handover_credentials {
    struct secret access_key, secret_key; /* text without terminator */
};

/* Sends {"op":"listener","port":P} with the socket, closes it here, and waits at most timeout_ms for
 * {"op":"serving","epoch":N,...}: the gateway drains an earlier epoch first. Closes `fd`. UNREACHABLE when the gateway
 * is gone, TIMEOUT, PEER (another epoch, a key with other characters than letters, digits, '+', '/', '-', '_', '='). */
struct result handover_run(int fd, uint64_t epoch, int listen_fd, unsigned port, int timeout_ms,
                           struct handover_credentials *ret);
void handover_credentials_done(struct handover_credentials *c); /* accepts zeroed */

#endif
