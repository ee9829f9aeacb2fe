/* Which region of a Multi-Region key is its primary.
 * Source: https://docs.aws.amazon.com/kms/latest/developerguide/multi-region-update.html */
#include <stdio.h>
#include <string.h>

#include "kms/operations.h"

enum { KEY_ID_MAX = 2048 };

struct move {
    struct kmsd_call *call;
    const char *region;
};

static struct result edit_primary(struct kmsd_store *s, const struct kmsd_key *key, struct kmsd_family *draft,
                                  void *arg) {
    const struct move *m = arg;
    struct kmsd_call *c = m->call;
    TRY(kmsd_check_enabled(c, key));
    if (!kmsd_key_is_primary(key)) REFUSE(c, UNSUPPORTED_OPERATION, "%s is not a multi-region primary key.", key->arn);
    if (strcmp(m->region, key->region) == 0)
        REFUSE(c, UNSUPPORTED_OPERATION, "%s is the primary key in %s already.", key->arn, m->region);
    struct kmsd_related *there = kmsd_family_region(draft, m->region);
    if (there == NULL) {
        char arn[ARN_KMS_KEY_BYTES];
        kmsd_key_arn_in(draft, m->region, arn);
        REFUSE(c, NOT_FOUND, "Key '%s' does not exist", arn);
    }
    struct kmsd_related first = *there;
    for (; there > draft->related; there--)
        *there = there[-1];
    draft->related[0] = first;
    snprintf(draft->former_primary, sizeof draft->former_primary, "%s", key->region);
    snprintf(draft->primary_region, sizeof draft->primary_region, "%s", m->region);
    draft->primary_since_ms = c->now_ms;
    return OK;
}

/* The new primary's policy is another process's: only the one of the key here is asked. */
struct result kmsd_update_primary_region(struct kmsd_call *c) {
    const char *key_id = NULL;
    struct move m = {.call = c};
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(kmsd_get_str(c, "KeyId", 1, KEY_ID_MAX, &key_id));
    TRY(kmsd_get_str(c, "PrimaryRegion", 1, 32, &m.region));
    if (!arn_is_region(slice_str(m.region)))
        REFUSE(c, VALIDATION,
               "1 validation error detected: Value '%s' at 'primaryRegion' failed to satisfy constraint: Member must "
               "satisfy regular expression pattern: ^([a-z]+-){2,3}\\d+$",
               m.region);
    TRY(kmsd_find_authorized(c, key_id, 0, NULL, &k));
    return kmsd_change_family(c, k, edit_primary, &m);
}
