/* The unix socket over which tests ask for faults: one JSON command a line, one line back for each. A thread of its
 * own.
 */
#ifndef LOCKSET_KMS_FAULT_SOCKET_H
#define LOCKSET_KMS_FAULT_SOCKET_H

#include "kms/fault.h"

struct kmsd_fault_socket; /* opaque */

/* Listens at path, mode 0600; an old socket there is replaced. */
struct result kmsd_fault_socket_start(const char *path, struct kmsd_faults *faults, struct kmsd_fault_socket **ret);
/* Closes all connections, removes the socket, frees. Accepts NULL, returns NULL. */
struct kmsd_fault_socket *kmsd_fault_socket_stop(struct kmsd_fault_socket *s);

#endif
