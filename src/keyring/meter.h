/* Counts the calls of KMS in a region, by operation and by what came of them: KMS is paid for by the call. Thread-safe.
 */
#ifndef LOCKSET_KEYRING_METER_H
#define LOCKSET_KEYRING_METER_H

#include <stdatomic.h>

#include "aws/kms_client.h"
#include "base/json.h"

struct meter {
    _Atomic uint64_t calls[KMS_OPERATION_MAX][KMS_ERROR_MAX];
    _Atomic uint64_t purges, streams_cut;       /* ends of pairs; what gateways had under way at them */
    _Atomic uint64_t cache_hits, cache_misses;  /* of all gateways */
    _Atomic uint64_t granted, ended, recovered; /* leases; ends of recoveries */
    _Atomic uint64_t requests;                  /* on the wire: a call that was tried again is several */
};

/* meter NULL: nothing is counted. */
void meter_count(struct meter *m, enum kms_operation operation, const struct kms_answer *answer);
/* {"requests":n,"calls":{"Decrypt":{"ok":n,"disabled":n},...}}, for the caller to drop; what is zero is left out. */
json_t *meter_to_json(const struct meter *m);

#endif
