/* Recovery after a pause: for each collection it is decided whether its sources still have everything that was missed.
 * Runs in the region's api, while the key is RECOVERING and has a lease. Thread-safe; the caller sees to it that one
 * recovery of an organization runs at a time. */
#ifndef LOCKSET_LIFECYCLE_RECOVERY_H
#define LOCKSET_LIFECYCLE_RECOVERY_H

#include "lifecycle/tenant.h"

/* Decides about one collection: *ret_why (owned; NULL if recovered) tells what is missing. A failure (*why may be
 * filled) means that it can't be said now. Changes nothing. */
typedef struct result recovery_decide(void *arg, const struct registry_collection *c, bool *ret_recovered,
                                      char **ret_why, struct refusal *why);

struct recovery {
    struct tenants *tenants;
    const char *org;
    int64_t since_ms;    /* when this recovery was asked for: what was decided since stays decided */
    bool keeps_readable; /* data of unrecoverable collections can still be queried */
    recovery_decide *decide;
    void *arg;
};

/* Decides about every collection of the organization in this region, and remembers it: the registry's status READY or
 * PAUSED, with the reason. What is unrecoverable stays so; what could not be decided, because a source can't be asked,
 * is asked again the next time, and holds up no other. *ret: [{"collection","recovered","reason"}], for the caller to
 * drop. On failure *why is filled, and what was decided so far stays decided: run it again. */
struct result recovery_run(const struct recovery *o, json_t **ret, struct refusal *why);

/* Was anything of this organization ever decided here? */
struct result recovery_happened(struct tenants *t, const char *org, bool *ret);

/* What exactly an unrecoverable collection lacks: the customer's topics, buckets and tables are named, so it is kept
 * sealed. NULL when nothing is kept, or it can't be read now. The caller frees it. */
char *recovery_detail(struct tenants *t, const struct registry_collection *c);

/* May the collection be read, or written? OK, or FORBIDDEN with *why filled when it is unrecoverable. */
struct result recovery_check(struct registry *r, const struct registry_collection *c, enum keylink_use use,
                             struct refusal *why);

#endif
