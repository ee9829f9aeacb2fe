/* What a region's store settings must be together. */
#ifndef LOCKSET_CONFIG_STORES_H
#define LOCKSET_CONFIG_STORES_H

#include "config/config.h"

/* Fills in what the region leaves out, from the settings for all regions and the defaults, and checks the whole.
 * INVALID: the detail begins with where it was set. */
struct result config_check_store(struct config *c, size_t index);
/* What concerns several regions: each has a place of its own. After config_check_store of each. INVALID. */
struct result config_check_stores(const struct config *c);

#endif
