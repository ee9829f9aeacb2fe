/* Purges documents that are older than their collection keeps them (retention_secs, by _event_time). Views hide them
 * the moment they are too old; here they are removed from the tables, and with the next merge from the store. Only
 * engines that are at work are used: for an idle organization it is done when it is next active. */
#ifndef LOCKSET_LIFECYCLE_RETENTION_H
#define LOCKSET_LIFECYCLE_RETENTION_H

#include "lifecycle/tenant.h"

enum { RETENTION_EVERY_MS = 30000, RETENTION_MERGE_EVERY_MS = 3600000 };

struct retention;
/* Starts a thread. `tenants` must outlive it. */
struct result retention_new(struct tenants *tenants, struct retention **ret);
struct retention *retention_free(struct retention *r); /* accepts NULL; ends the thread */

#endif
