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
    unsigned api_port[DEV_REGIONS], kms_port[DEV_REGIONS], gateway_port[DEV_REGIONS];
    char *kms_url[DEV_REGIONS], *api_listen[DEV_REGIONS], *gateway_listen[DEV_REGIONS];
    bool own_kms;         /* started by us */
    char *operator_token; /* kept in dev.json between starts */
    char *accounts_file;  /* for lockset-kms */
    char *credentials_file;
};

/* Chooses ports and folders, makes credentials on the first start, and takes over the token of an earlier one. */
struct result dev_prepare(struct dev *d, const struct config *c);
void dev_done(struct dev *d);

/* The overrides that turn the configuration into a development node: the regions with their endpoints and the
 * operator's keys there. An ARN may be NULL. Returns how many; the strings live as long as d. */
size_t dev_overrides(struct dev *d, char *const service_key_arns[static DEV_REGIONS], struct config_override *ret);
enum { DEV_OVERRIDES_MAX = 3 + 5 * DEV_REGIONS };

/* The operator's own Multi-Region key and its replica in the other region: those made on an earlier start, or new
 * ones. What couldn't be made stays NULL, and the failure says why. The caller frees the ARNs. */
struct result dev_service_keys(const struct dev *d, const struct config *c, char *ret_arns[static DEV_REGIONS]);

/* Writes dev.json (mode 0600). processes: name -> pid; borrowed. */
struct result dev_write_json(const struct dev *d, const struct config *c, const json_t *processes);

#endif
