/* The life of workspaces and collections: the registry's rows and what belongs to them in the engine. Thread-safe. */
#ifndef LOCKSET_LIFECYCLE_COLLECTIONS_H
#define LOCKSET_LIFECYCLE_COLLECTIONS_H

#include "lifecycle/tenant.h"

enum { COLLECTION_NAME_MAX = 128, COLLECTION_MIN_RETENTION_S = 3600, COLLECTION_MAX_DESCRIPTION = 4096 };

/* [A-Za-z0-9][A-Za-z0-9_-]{0,127}; a workspace also can't have the name of one of the engine's own databases. INVALID.
 */
struct result collection_check_name(const char *name);
struct result workspace_check_name(const char *name);

/* Of the server itself, in every organization that needs it: no list shows it, no request names it. */
#define COLLECTION_SYSTEM_WORKSPACE "_lockset"
bool collection_is_system(const char *workspace);
/* The collection that keeps an organization's integrations, in the tenant's region. Its being there also tells, without
 * anything being decrypted, that the organization has data sources to be looked for. Made if need be, or NOT_FOUND. On
 * failure *why is filled, but for NOT_FOUND. */
struct result collection_integrations(struct tenant *t, bool make, struct registry_collection *ret,
                                      struct refusal *why);

/* Makes it, in the registry and in the engine. `c` holds org, region, workspace, name, description, created_by,
 * retention_secs; its id and status are set (status CREATED; it is READY when the function returns). On failure *why is
 * filled and nothing is left behind. */
struct result collection_create(struct tenant *t, struct registry_collection *c, struct refusal *why);
/* The field mapping's SQL, for the caller to free; NULL: none. Looks into the engine, until the deadline, if the
 * collection isn't attached yet. On failure *why is filled. */
struct result collection_mapping(struct tenant *t, const struct registry_collection *c, enum keylink_use use,
                                 int64_t deadline_ns, char **ret, struct refusal *why);
/* Changes it, or (NULL) takes it away; the SQL was checked. Documents that are stored stay as they are. */
struct result collection_set_mapping(struct tenant *t, const struct registry_collection *c, const char *sql,
                                     struct refusal *why);

/* Deletes it with all its objects in the store. */
struct result collection_delete(struct tenant *t, const struct registry_collection *c, struct refusal *why);

#endif
