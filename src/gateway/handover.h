/* How an engine's listener comes to the gateway: the supervisor announces an engine with its end of a socket pair, the
 * engine sends a listening socket made in its own network namespace over it, the gateway answers with the credentials
 * of that epoch. All JSON over base/ipc.h. One thread. */
#ifndef LOCKSET_GATEWAY_HANDOVER_H
#define LOCKSET_GATEWAY_HANDOVER_H

#include <stdint.h>

#include "base/buf.h"
#include "gateway/gateway.h"

/* Waits for {"op":"engine","epoch":N} with one descriptor, which the caller closes. UNREACHABLE when the supervisor is
 * gone; PEER for anything else, after which the next call is fine. */
struct result handover_next_engine(int supervisor_fd, uint64_t *ret_epoch, int *ret_engine_fd);

/* Waits for {"op":"listener","port":P} with one listening stream socket, which the caller owns. UNREACHABLE when the
 * engine died first, TIMEOUT, PEER. */
struct result handover_take_listener(int engine_fd, int timeout_ms, int *ret_listen_fd, unsigned *ret_port);

/* Sends {"op":"serving","epoch":N,"access_key":...,"secret_key":...}. */
struct result handover_answer(int engine_fd, uint64_t epoch, const struct gateway_credentials *credentials);

#endif
