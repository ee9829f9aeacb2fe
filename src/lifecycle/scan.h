/* A strict scanner over JSON text (RFC 8259) that builds no tree: documents are stored as the very bytes that came, so
 * all that is needed is where a value ends, what type it has, and whether the engine can hold it. Pure; one owner.
 *
 * Two kinds of trouble are kept apart. Broken text (syntax, invalid UTF-8, nesting over SCAN_MAX_DEPTH) fails with
 * INVALID: nothing behind it can be trusted. Well-formed text that the engine can't hold (a repeated key, an integer
 * beyond 64 bits, a number beyond a double, a lone surrogate, NUL) is only noted in `flaw`, so that one bad document
 * doesn't stop its neighbours. */
#ifndef LOCKSET_LIFECYCLE_SCAN_H
#define LOCKSET_LIFECYCLE_SCAN_H

#include "base/buf.h"

enum { SCAN_MAX_DEPTH = 100, SCAN_TYPE_BYTES = 8 };

/* The type of a value as the engine infers it, as a short text: "n" null, "b" bool, "i" int, "f" float, "s" string,
 * "o" object; arrays are "A" and the type of their elements: "Ai", "AAf", "Ao" objects, "AO" objects and nulls,
 * "An" nothing but nulls, "Ae" empty, "Ad" mixed; "?" where the engine's rule isn't known or nesting is deep. */
struct scan_type {
    char code[SCAN_TYPE_BYTES];
};

struct scan {
    struct slice text;
    size_t at;
    const char *flaw; /* static text of the first flaw since it was last set to NULL */
    size_t flaw_at;
};

void scan_init(struct scan *s, struct slice text);
/* Behind white space: the next byte, 0 at the end. */
uint8_t scan_peek(struct scan *s);
/* Takes this punctuation (after white space): INVALID if something else is there. */
struct result scan_expect(struct scan *s, char c);
/* Takes it if it is there. */
bool scan_take(struct scan *s, char c);
/* A string: *ret is the text with its quotes, as it stands; *ret_plain tells that it holds no escapes. */
struct result scan_string(struct scan *s, struct slice *ret, bool *ret_plain);
/* Any value: its span, and its type (ret_type may be NULL). */
struct result scan_value(struct scan *s, struct slice *ret, struct scan_type *ret_type);
/* Only white space may follow. */
struct result scan_end(struct scan *s);

/* Appends what a quoted string means (escapes resolved) to out. The string came from scan_string. */
void scan_decode(struct slice quoted, struct buf *out);

/* The type of an array's elements from two elements' types. */
struct scan_type scan_unify(struct scan_type a, struct scan_type b);

#endif
