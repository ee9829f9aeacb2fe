/* What Lockset holds in the customer's server: a replication slot and, unless one was named, a publication. Also what
 * else the server must be like. */
#ifndef LOCKSET_SOURCES_POSTGRES_SLOT_H
#define LOCKSET_SOURCES_POSTGRES_SLOT_H

#include "sources/postgres_table.h"

/* INVALID or FORBIDDEN, with what to do: wal_level, a standby, the right to replicate, an encoding that is none. ret:
 * the cluster's system identifier. */
struct result postgres_server_check(struct postgres_link *l, char ret_system[static POSTGRES_SYSTEM_BYTES]);

/* Text that stays the same as long as the publication (and the table in it) is the same one; "" if there is none, or
 * the table isn't in it. INVALID if it leaves out rows, columns or kinds of changes. */
struct result postgres_publication_mark(struct postgres_link *l, const struct postgres_config *config,
                                        const struct postgres_table *table, char ret[static POSTGRES_MARK_BYTES]);
/* For the first start: makes ours, or checks the one that was named. NOT_FOUND, FORBIDDEN. */
struct result postgres_publication_ensure(struct postgres_link *l, const struct postgres_config *config,
                                          const struct postgres_table *table, char ret[static POSTGRES_MARK_BYTES]);

/* A slot of ours that a start left behind which never came to its first position. UNREACHABLE while it is in use. */
struct result postgres_slot_remove(struct postgres_link *l, const char *slot);
/* The failure to make a slot, which link_take returned, with what to do. */
struct result postgres_slot_failed(const struct postgres_link *l, struct result r);

/* Why changes since the LSN can't be had from the slot any more; NULL: they can. Owned. */
struct result postgres_slot_trouble(struct postgres_link *l, const char *slot, uint64_t lsn, char **ret_why);

#endif
