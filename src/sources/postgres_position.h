/* Where a reader of a PostgreSQL table goes on, and the argument why that loses and doubles nothing.
 *
 * The slot is made once, before anything is read; from its LSN on the server keeps every change. Then the table is
 * read page by page in the order of its key, each page in a snapshot of its own, at any pace and over any number of
 * restarts. Then all changes since the slot's LSN are applied in commit order. Every record is absolute: the whole row
 * under its key, or the deletion of a key. So:
 *
 * - A row that no transaction changed after the slot's LSN: a page holds it, and nothing in the stream touches it.
 * - Any other row: whatever the pages made of it, the last change in the stream decides, and that is the row as it is.
 *   That goes for rows that were deleted (or moved to another key) between two pages, and for rows that moved across
 *   the place that was read: the stream holds the deletion of the old key and the whole row under the new one.
 * - While the stream is behind the last page, a row may be seen older than a page had it, never wrong at the end:
 *   `until` is an LSN taken after the last page; the initial load is complete once the stream has passed it.
 *
 * One gap has to be closed: a transaction's commit may stand in the log before the slot's LSN, and still not be visible
 * to a page, because visibility comes a moment later (much later, when the server waits for a synchronous standby).
 * So before the first position is given out, every transaction that was running when the slot was made must have ended.
 *
 * A batch may end inside of a transaction: lsn is then still the end of the one before, so that the server sends the
 * transaction again, and `done` of its changes are passed over. The slot is confirmed up to lsn, never further. */
#ifndef LOCKSET_SOURCES_POSTGRES_POSITION_H
#define LOCKSET_SOURCES_POSTGRES_POSITION_H

#include "base/json.h"

enum { POSTGRES_MAX_KEYS = 32, POSTGRES_SYSTEM_BYTES = 24, POSTGRES_LSN_BYTES = 20, POSTGRES_MARK_BYTES = 32 };

struct postgres_position {
    char system[POSTGRES_SYSTEM_BYTES];    /* the cluster's system identifier, in decimal */
    uint32_t table;                        /* OID */
    char publication[POSTGRES_MARK_BYTES]; /* which one, and the table's place in it: see postgres_slot.h */
    unsigned keys_count;
    char *keys[POSTGRES_MAX_KEYS]; /* the key's columns, in its order; owned */
    uint64_t lsn;                  /* everything that committed before is in what was given out */
    bool is_snapshot;
    bool has_after;
    char *after[POSTGRES_MAX_KEYS]; /* snapshot: the key of the last row, as text; owned */
    int64_t rows;                   /* snapshot: how many were read */
    uint64_t until;                 /* changes: the initial load is complete there; 0: it is */
    uint64_t in_commit;             /* changes: the transaction that was begun (where its commit stands), or 0 */
    uint64_t done;                  /* how many of its changes are done */
};

void postgres_position_done(struct postgres_position *p);
json_t *postgres_position_to_json(const struct postgres_position *p); /* the caller owns it */
/* CORRUPT if it is none; ret can then still be given to _done. */
struct result postgres_position_from_json(const json_t *j, struct postgres_position *ret);

/* "0/16B3748", and back (INVALID). */
void postgres_lsn_format(uint64_t lsn, char ret[static POSTGRES_LSN_BYTES]);
struct result postgres_lsn_parse(const char *text, uint64_t *ret);

#endif
