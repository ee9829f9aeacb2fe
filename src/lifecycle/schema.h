/* The inferred schema of a collection: which top-level fields there are and which types their values had. It is
 * collection data: it lives in memory, and sealed with the documents (as a hidden row of their own table), nowhere
 * else. From it the view is made that shows the fields as columns. A value; one owner at a time.
 *
 * The first SCHEMA_MAX_FIELDS fields become columns. Fields beyond that, names over SCHEMA_MAX_NAME_BYTES, and names
 * that begin with "__lockset" don't; once there is such a field the view has a column `_doc` with the whole document,
 * through which they are reached (`_doc.name`). */
#ifndef LOCKSET_LIFECYCLE_SCHEMA_H
#define LOCKSET_LIFECYCLE_SCHEMA_H

#include "base/json.h"
#include "lifecycle/scan.h"

enum {
    SCHEMA_MAX_FIELDS = 1000,
    SCHEMA_MAX_NAME_BYTES = 1024,
    SCHEMA_MAX_NAMES_BYTES = 64 * 1024, /* of all names together */
    SCHEMA_MAX_ARRAYS = 4,
};

struct schema_field {
    char *name; /* owned; may hold anything but NUL */
    size_t name_len;
    unsigned kinds; /* SCHEMA_* bits */
    char arrays[SCHEMA_MAX_ARRAYS][SCAN_TYPE_BYTES];
    unsigned array_count;
};

enum {
    SCHEMA_BOOL = 1,
    SCHEMA_INT = 2,
    SCHEMA_FLOAT = 4,
    SCHEMA_STRING = 8,
    SCHEMA_OBJECT = 16,
    SCHEMA_ARRAY = 32,   /* of one of the types in `arrays` */
    SCHEMA_UNKNOWN = 64, /* a type the engine infers by a rule not known here, or too many kinds of arrays */
};

struct schema {
    struct schema_field *fields; /* in the order they were first seen */
    size_t count, capacity;
    size_t names_bytes;
    bool has_more;   /* there are fields without a column */
    uint16_t *index; /* open addressing over fields, +1; SCHEMA_INDEX slots, made with the first field */
};

void schema_init(struct schema *s);
void schema_done(struct schema *s); /* accepts zeroed */

void schema_add(struct schema *s, struct slice name, struct scan_type type);
/* Adds all that `other` has. */
void schema_merge(struct schema *s, const struct schema *other);
bool schema_has(const struct schema *s, struct slice name);
/* Adds to `names` (as fields of no type) the fields that once held an empty array. */
void schema_empty_arrays(const struct schema *s, struct schema *names);
/* Is everything in `part` in s already? */
bool schema_covers(const struct schema *s, const struct schema *part);

/* As JSON text, appended to out; and back. INVALID for anything schema_write doesn't write. */
void schema_write(const struct schema *s, struct buf *out);
struct result schema_read(struct slice text, struct schema *s);

/* The columns of the view, appended to out: ", <expression> AS `name`" for each field, reading the documents' column
 * `doc`. */
void schema_columns(const struct schema *s, const char *doc, struct buf *out);

/* Appends a name as a quoted identifier, or text as a string literal, of ClickHouse's SQL. */
void sql_quote_name(struct slice name, struct buf *out);
void sql_quote_text(struct slice text, struct buf *out);

#endif
