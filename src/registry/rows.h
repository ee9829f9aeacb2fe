/* What the files of registry/ share: steps inside a transaction that is already open. */
#ifndef LOCKSET_REGISTRY_ROWS_H
#define LOCKSET_REGISTRY_ROWS_H

#include "registry/db.h"

struct result rows_require_org(struct registry *r, const char *org);
struct result rows_add_event(struct registry *r, const struct registry_event *e);
struct result rows_add_wrapped_key(struct registry *r, const struct registry_wrapped_key *k);
enum registry_kind rows_kind(sqlite3_stmt *s, int column);

#endif
