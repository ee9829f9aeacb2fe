/* JSON, through jansson (whose header only this file includes; others get json_t from here). Parsing is strict:
 * duplicate keys, invalid UTF-8, NUL in strings, integers over 64 bits, trailing bytes, NaN and nesting over 200 are
 * refused. A json_t is owned by reference count; `AUTO(json_unref) json_t *j = NULL;` drops it. */
#ifndef LOCKSET_BASE_JSON_H
#define LOCKSET_BASE_JSON_H

#include <jansson.h>

#include "base/buf.h"

static inline void json_unref(json_t **j) {
    json_decref(*j);
}
#define JSON_AUTO(name) AUTO(json_unref) json_t *name = NULL

/* Makes jansson wipe what it frees (KMS answers hold plaintext keys in base64). Call once, before threads. */
void json_start_wiping(void);

/* INVALID with line, column and jansson's reason. The caller owns *ret. */
struct result json_parse(struct slice text, json_t **ret);
/* The same, and it must be an object. */
struct result json_parse_object(struct slice text, json_t **ret);

/* Members, by type; the detail of the INVALID names the member and both types ("'name' must be a string, not a
 * number"). The plain forms require the member; _opt leaves *ret as it was when it is absent (null counts as wrong
 * type). Strings are borrowed from the object. */
struct result json_get_str(const json_t *object, const char *name, const char **ret);
struct result json_opt_str(const json_t *object, const char *name, const char **ret);
struct result json_get_int(const json_t *object, const char *name, int64_t min, int64_t max, int64_t *ret);
struct result json_opt_int(const json_t *object, const char *name, int64_t min, int64_t max, int64_t *ret);
struct result json_opt_bool(const json_t *object, const char *name, bool *ret);
struct result json_get_array(const json_t *object, const char *name, json_t **ret);
struct result json_get_object(const json_t *object, const char *name, json_t **ret);
struct result json_opt_array(const json_t *object, const char *name, json_t **ret);
struct result json_opt_object(const json_t *object, const char *name, json_t **ret);
/* INVALID naming the first member that is not in the NULL-terminated list. */
struct result json_only(const json_t *object, const char *const allowed[]);

/* Compact text, keys in their order of insertion, appended to out. */
struct result json_write(const json_t *j, struct buf *out);
/* Text as a quoted and escaped JSON string, appended to out. */
void json_write_str(struct slice text, struct buf *out);

#endif
