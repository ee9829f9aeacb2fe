/* Writing audit ledgers: one per organization and region, in ROOT/REGION/ORG. Files NNNNNNNN.jsonl hold the records
 * (see record.h) and only ever grow; `head` names the last one. One process writes a root. Thread-safe.
 *
 * After a crash the next record is preceded by what was found: a line that was cut off is put aside whole (torn-SEQ,
 * SEQ being the record "torn" that tells of it), and when the head names a record that is not there, a record "gap",
 * chained to the lost one, says so for ever. */
#ifndef LOCKSET_LEDGER_LEDGER_H
#define LOCKSET_LEDGER_LEDGER_H

#include "ledger/record.h"

struct ledgers;
struct ledger;

/* The ledger of what belongs to no organization (yet) is this one's. */
#define LEDGER_OPERATOR "operator"

/* file_bytes: when a new file is begun; 0: 16 MiB. Touches nothing on disk. Lives as long as the process. */
struct ledgers *ledgers_new(const char *root, size_t file_bytes);
/* The same pointer for the same names, good as long as the ledgers. region and org: [a-z0-9-]. Nothing is opened before
 * the first append. */
struct ledger *ledgers_get(struct ledgers *l, const char *region, const char *org);
void ledgers_free(struct ledgers *l); /* for tests; accepts NULL */

/* It is known from elsewhere that record seq was written: when it isn't found at the next opening, that is a gap. */
void ledger_expect(struct ledger *l, uint64_t seq);
/* The last record's number; 0: none since the start. */
uint64_t ledger_seq(struct ledger *l);

/* LEDGER_BATCHED: written (it survives the death of this process), and durable with the next synced record or within a
 * minute, whichever comes first: an append that comes later than that syncs. */
enum ledger_durability { LEDGER_BATCHED, LEDGER_SYNCED };

/* Appends a record. fields: an object; taken over. On failure (IO, NO_SPACE, TOO_LARGE) nothing was appended, or what
 * was is not to be relied on; the next append looks at the files anew. */
struct result ledger_append(struct ledger *l, const char *kind, json_t *fields, enum ledger_durability how);

#endif
