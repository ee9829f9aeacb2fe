/* Values of query parameters: Rockset's types to ClickHouse's typed parameters. Pure. */
#ifndef LOCKSET_LIFECYCLE_SQL_VALUE_H
#define LOCKSET_LIFECYCLE_SQL_VALUE_H

#include "lifecycle/sql_text.h"

/* Is this NULL, or an array of {name, type?, value} with names that differ? INVALID otherwise. */
struct result sql_value_check(const json_t *parameters);

/* Appends the expression that stands for one parameter to out->text, and its value to out->params. INVALID when the
 * value doesn't fit its type; the detail names parameter, type and the form wanted, never the value. */
struct result sql_value_put(const json_t *parameter, struct sql_text *out);

#endif
