/* One record of an audit ledger: a line of JSON that names the record before it by hash and ends with its own. Pure.
 * Thread-safe.
 *
 *     {"seq":7,"prev":"<hash of 6>","time":"...Z","region":"...","org":"...","kind":"kms",...,"hash":"<64 hex>"}
 *
 * "hash" is always last, and is the SHA-256 of the line's bytes before it (without `,"hash":...}` and without the end
 * of line). What stands there was written by lockset-keyring and never changes, so nothing needs to be brought into a
 * canonical form: any other byte is another hash. The first record's prev is 64 zeros. */
#ifndef LOCKSET_LEDGER_RECORD_H
#define LOCKSET_LEDGER_RECORD_H

#include "base/json.h"

enum { LEDGER_LINE_BYTES = 16384, LEDGER_HASH_BYTES = 65 }; /* a line with its end; a hash with its NUL */

/* A place in the chain: after which record. */
struct ledger_mark {
    uint64_t seq; /* 0: before the first */
    char hash[LEDGER_HASH_BYTES];
};
#define LEDGER_BEGINNING ((struct ledger_mark){0, "0000000000000000000000000000000000000000000000000000000000000000"})

/* Appends a line, with its end, to out, and moves *at on to it. fields: an object whose members come after "kind";
 * borrowed. TOO_LARGE. */
struct result ledger_record_write(struct ledger_mark *at, int64_t unix_ms, const char *region, const char *org,
                                  const char *kind, const json_t *fields, struct buf *out);

struct ledger_record {
    struct ledger_mark mark;
    char prev[LEDGER_HASH_BYTES];
    const char *time, *region, *org, *kind; /* of json */
    json_t *json;
};
void ledger_record_done(struct ledger_record *r);

/* Reads a line without its end. CORRUPT says what is wrong with it: no record, or its hash is another. */
struct result ledger_record_read(struct slice line, struct ledger_record *ret);

/* {"seq":7,"hash":"..."}: the head, a line of a fixed length. */
enum { LEDGER_HEAD_BYTES = 128 };
void ledger_head_write(const struct ledger_mark *at, char ret[static LEDGER_HEAD_BYTES]);
struct result ledger_head_read(struct slice text, struct ledger_mark *ret);

#endif
