/* What `lockset dev` adds to a node: accounts with credentials, a local KMS a region, the operator's own key there,
 * free ports, and dev.json. */
#ifndef LOCKSET_SUPERVISOR_DEV_H
#define LOCKSET_SUPERVISOR_DEV_H

#include "base/json.h"
#include "base/secret.h"
#include "config/config.h"

enum { DEV_REGIONS = 2 };
extern const char *const dev_region_names[DEV_REGIONS]; /* us-west-2, us-east-1 */

struct dev {
    unsigned api_port[DEV_REGIONS], kms_port[DEV_REGIONS];
    char *kms_url[DEV_REGIONS];
    bool own_kms;         /* started by us */
    char *operator_token; /* kept in dev.json between starts */
    char *accounts_file;  /* for lockset-kms */
    char *credentials_file;
};

/* Chooses ports and folders, makes credentials on the first start, and takes over the token of an earlier one. */
struct result dev_prepare(struct dev *d, const struct config *c);
void dev_done(struct dev *d);

/* The overrides that turn the configuration into a development node: one region that serves, its endpoints, its key.
 * `service_key_arn` may be NULL. Returns how many; strings belong to the caller's `storage` (mem_free each). */
size_t dev_overrides(const struct dev *d, const char *service_key_arn, struct config_override *ret, char **storage);
enum { DEV_OVERRIDES_MAX = 8 };

/* The operator's own Multi-Region key in the region's KMS: the one made on an earlier start, or a new one. The caller
 * frees *ret_arn. */
struct result dev_service_key(const struct dev *d, const struct config *c, char **ret_arn);

/* Writes dev.json (mode 0600). processes: name -> pid; borrowed. */
struct result dev_write_json(const struct dev *d, const struct config *c, const json_t *processes);

#endif
