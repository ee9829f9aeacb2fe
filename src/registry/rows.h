/* What the files of registry/ share: steps inside a transaction that is already open. */
#ifndef LOCKSET_REGISTRY_ROWS_H
#define LOCKSET_REGISTRY_ROWS_H

#include "registry/db.h"

struct result rows_require_org(struct registry *r, const char *org);
struct result rows_add_event(struct registry *r, const struct registry_event *e);
/* A new region, AVAILABLE. */
struct result rows_insert_region(struct registry *r, const char *org, const char *region, const char *kms_key_arn,
                                 const char *state_reason, int64_t at_ms);
struct result rows_add_wrapped_key(struct registry *r, const struct registry_wrapped_key *k);
enum registry_kind rows_kind(sqlite3_stmt *s, int column);

#endif
