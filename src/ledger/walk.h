/* Reading audit ledgers, also copies far from where they were written. Changes nothing. Thread-safe. */
#ifndef LOCKSET_LEDGER_WALK_H
#define LOCKSET_LEDGER_WALK_H

#include "ledger/record.h"

struct ledger_report {
    struct ledger_mark last; /* of what was read */
    uint64_t first, records; /* first: its number; 0: none */
    unsigned files, torn;    /* torn: lines cut off by a crash, of which the ledger itself tells */
    bool is_bad;
    uint64_t bad_seq;    /* the record at fault, as far as that can be said; 0: none */
    char bad_file[32];   /* "00000002.jsonl", "head" */
    uint64_t bad_line;   /* in it; 0: none */
    char bad_text[1024]; /* what is wrong there */
};

/* Called for each good record, in their order; a failure ends the walk. */
typedef struct result ledger_visit(void *context, const struct ledger_record *r);

/* Reads one ledger: the folder with NNNNNNNN.jsonl and head. Stops at the first record that does not fit. is_partial:
 * files at the beginning may have been taken away. visit may be NULL. The failures are of reading itself (IO,
 * NOT_FOUND: no ledger) and visit's; what is wrong with the ledger is in *ret. */
struct result ledger_walk(const char *folder, bool is_partial, ledger_visit *visit, void *context,
                          struct ledger_report *ret);

/* Finds the ledgers in and below a folder (ROOT, ROOT/REGION or one itself), in order of their names. */
struct ledger_folders {
    char **items;
    size_t count;
};
struct result ledger_find(const char *path, struct ledger_folders *ret);
void ledger_folders_done(struct ledger_folders *f);

#endif
