/* JSON Patch (RFC 6902) with JSON Pointer (RFC 6901) on one document, plus the operation "increment" (adds a number
 * to a number). Names of operations in any case. All or nothing: on failure the document is as it was. Pure. */
#ifndef LOCKSET_LIFECYCLE_PATCH_H
#define LOCKSET_LIFECYCLE_PATCH_H

#include "base/json.h"

enum { PATCH_MAX_OPERATIONS = 1000, PATCH_MAX_DEPTH = 100 };

/* Applies the array of operations to a copy of `document` (an object) and puts that into *ret, which the caller owns.
 * INVALID when an operation is malformed, a path doesn't exist, "test" doesn't hold, or the path is one that can't
 * change (/_id, /_event_time, /_meta; "test" may look at them); the detail names the operation by its index. */
struct result patch_apply(const json_t *document, const json_t *operations, json_t **ret);

#endif
