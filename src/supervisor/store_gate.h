/* A store in S3 that says nothing against SSE-KMS but does not do it must not be used: tried when a node starts. */
#ifndef LOCKSET_SUPERVISOR_STORE_GATE_H
#define LOCKSET_SUPERVISOR_STORE_GATE_H

#include "config/config.h"

/* Writes an object into each region's store in S3, under the operator's own key there, looks at how it is kept, and
 * removes it. INVALID when the store ignores what it is asked for, NOT_FOUND without any credentials: both last. That a
 * store is away, or refuses this key, is logged: it may come back. Regions without service_key_arn are left to the
 * first write under an organization's key, which is checked as well. */
struct result store_gate_check(const struct config *c);

#endif
