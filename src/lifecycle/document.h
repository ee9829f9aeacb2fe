/* The body of an add: {"data":[{...},...]} into documents ready to be stored. A document's own fields keep the bytes
 * they came in; `_id` and `_event_time` are taken out, `_meta` is dropped (it belongs to the server). Pure. */
#ifndef LOCKSET_LIFECYCLE_DOCUMENT_H
#define LOCKSET_LIFECYCLE_DOCUMENT_H

#include "lifecycle/scan.h"
#include "lifecycle/schema.h"

enum {
    DOCUMENT_MAX_BODY_BYTES = 10 * 1024 * 1024,
    DOCUMENT_MAX_COUNT = 20000,
    DOCUMENT_MAX_ID_BYTES = 512,
};

struct document {
    char *id; /* NULL: the server makes one; owned, never holds NUL */
    bool has_event_time;
    int64_t event_time_us;  /* since 1970 UTC */
    size_t raw_at, raw_len; /* in documents.raw */
    char *flaw;             /* NULL, or why it can't be stored, for people; owned */
};

struct documents {
    struct document *items;
    size_t count;
    struct buf raw;       /* the JSON texts, one behind the other; wiping */
    struct schema schema; /* the fields of all documents without flaw */
};

void documents_init(struct documents *d);
void documents_done(struct documents *d);

/* INVALID when the body is not such an object (the detail says where and why), TOO_LARGE over DOCUMENT_MAX_COUNT.
 * On failure d holds nothing of use but can be freed. */
struct result documents_parse(struct slice body, struct documents *d);

/* One document alone, given as the text of a JSON object (what a patch made). Appended to d. INVALID. */
struct result documents_add(struct documents *d, struct slice object);

/* Microseconds since 1970 from an ISO 8601 text: "2026-01-02", "2026-01-02T03:04:05[.123456][Z|+01:00]" (a space
 * for the T will do; no zone means UTC). False if it is none, or outside of the years 1900 to 2299. */
bool document_parse_time(struct slice text, int64_t *ret_us);

#endif
