/* Commits inserts in groups. ClickHouse makes a part, and a dozen objects in the store, of every INSERT: so at most one
 * INSERT a table runs, and what arrives meanwhile is joined into the next one, up to 1,000 bodies or 16 MiB. Each body
 * is measured before, and learns its own outcome: when a group is refused because of its data, its halves are tried
 * until the bad body stands alone.
 *
 * A change of the table as a whole (ATTACH, DETACH, ...) runs alone too: an INSERT in flight during a swap would lose
 * rows that were acknowledged. Any thread. */
#ifndef LOCKSET_ENGINE_INSERT_GROUP_H
#define LOCKSET_ENGINE_INSERT_GROUP_H

#include "engine/statement.h"
#include "engine/writer_sql.h"

enum { INSERT_GROUP_MAX_BODIES = 1000, INSERT_GROUP_MAX_BYTES = 16 << 20 };

struct insert_groups;
struct result insert_groups_new(struct statement_env *env, struct insert_groups **ret);

/* Blocks until the rows are in the store, or aren't: ret->rows_written counts this body's own. rows: how many it is
 * meant to hold; UINT64_MAX: unknown, then it is committed alone and unchecked. */
void insert_groups_insert(struct insert_groups *g, const struct writer_sql *sql, struct slice body, uint64_t rows,
                          int64_t deadline_ns, struct outcome *ret);

/* Holds a table for a change; waits for its INSERT in flight, and for nothing else. False at the deadline. */
bool insert_groups_hold(struct insert_groups *g, const char *table, int64_t deadline_ns);
void insert_groups_release(struct insert_groups *g, const char *table);

#endif
