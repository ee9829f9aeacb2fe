/* What one key's calls of KMS are made for, how many there were, and the cap on them. Calls are counted by any thread;
 * the cap belongs to the event loop's. */
#ifndef LOCKSET_KEYRING_COST_H
#define LOCKSET_KEYRING_COST_H

#include "aws/kms_client.h"
#include "base/json.h"

#include <stdatomic.h>

enum cost_cause {
    COST_PROBE,      /* Decrypt, by the clock */
    COST_FULL_CHECK, /* the other operations, by the clock */
    COST_PREFLIGHT,  /* while there is no lease */
    COST_CHECK,      /* somebody asked */
    COST_UNWRAP,
    COST_NEW_KEY,
    COST_CAUSES
};
const char *cost_cause_name(enum cost_cause cause);

struct cost {
    _Atomic uint64_t calls[COST_CAUSES][KMS_OPERATION_MAX]; /* on the wire: repetitions count */
    _Atomic uint64_t all;
    /* The cap: tokens come in at a steady rate, and each call takes one. */
    int64_t begun_ns, at_ns;
    double per_ns, most, tokens;
    uint64_t taken;
    bool is_capped;
    uint64_t capped; /* how often it began */
};

/* cap: calls an hour. */
void cost_init(struct cost *c, int64_t cap, int64_t now_ns);
/* c NULL: nothing is counted. */
void cost_count(struct cost *c, enum cost_cause cause, enum kms_operation operation, unsigned requests);
/* How long a question must wait for the cap: 0: not at all. In any hour there are at most `cap` calls, but for what was
 * on its way. */
int64_t cost_wait_ns(struct cost *c, int64_t now_ns);
/* {"probe":{"Decrypt":n},...}, without what is zero. */
json_t *cost_to_json(const struct cost *c);

#endif
