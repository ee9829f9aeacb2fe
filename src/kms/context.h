/* The encryption context of a cryptographic call: pairs of strings that the ciphertext is bound to. Pure; one owner.
 * Source: https://docs.aws.amazon.com/kms/latest/developerguide/encrypt_context.html */
#ifndef LOCKSET_KMS_CONTEXT_H
#define LOCKSET_KMS_CONTEXT_H

#include "base/json.h"

struct kmsd_pair {
    const char *name, *value; /* borrowed from the request's JSON */
};

struct kmsd_context {
    struct kmsd_pair *pairs; /* sorted by the bytes of the name */
    size_t count;
};

/* From a JSON object (NULL: the empty context), which must outlive it. INVALID when a value isn't a string. The caller
 * calls kmsd_context_done. */
struct result kmsd_context_from_json(json_t *object, struct kmsd_context *ret);
void kmsd_context_done(struct kmsd_context *c); /* accepts zeroed */

/* Appends the one byte string that stands for this set of pairs and for no other: the number of pairs, then each name
 * and value behind its length, all as 32-bit big-endian numbers. */
void kmsd_context_write(const struct kmsd_context *c, struct buf *out);

#endif
