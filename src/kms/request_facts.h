/* The request context of a call: what conditions of policies are asked about. */
#ifndef LOCKSET_KMS_REQUEST_FACTS_H
#define LOCKSET_KMS_REQUEST_FACTS_H

#include "kms/call.h"

/* k: the key the call is about; NULL: none yet. context: NULL for operations without one. The caller calls
 * kmsd_facts_done. */
void kmsd_request_facts(const struct kmsd_call *c, const struct kmsd_key *k, const struct kmsd_context *context,
                        struct kmsd_facts *ret);

#endif
