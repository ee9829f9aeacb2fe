/* A plain text table on stdout: columns as wide as their content (at most 80 characters, longer text is cut with
 * "...", except in the last column), numbers to the right. */
#ifndef LOCKSET_CLI_TABLE_H
#define LOCKSET_CLI_TABLE_H

#include "base/json.h"

/* Prints rows (an array of objects). columns: names to show, ended by NULL; NULL shows the members of the rows in the
 * order in which they first appear. */
void table_print(const json_t *rows, const char *const *columns);

#endif
