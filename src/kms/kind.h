/* The kinds of keys there are: what they are made of (KeySpec), what they are for (KeyUsage), and which algorithms
 * follow. Keys that aren't symmetric can be created, described and managed here; nothing computes with them. Pure.
 * Source: https://docs.aws.amazon.com/kms/latest/developerguide/symm-asymm-choose-key-spec.html */
#ifndef LOCKSET_KMS_KIND_H
#define LOCKSET_KMS_KIND_H

#include "base/json.h"

struct kmsd_kind {
    const char *spec, *usage;      /* "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT" */
    const char *algorithms_name;   /* the member of KeyMetadata they stand in */
    const char *const *algorithms; /* ended by NULL */
};

extern const struct kmsd_kind *const kmsd_symmetric;
/* NULL: there is no such spec, or not for that usage. */
const struct kmsd_kind *kmsd_kind_find(const char *spec, const char *usage);
bool kmsd_is_spec(const char *spec);
bool kmsd_kind_is_symmetric(const struct kmsd_kind *k); /* for encryption */

#endif
