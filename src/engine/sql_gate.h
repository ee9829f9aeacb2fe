/* The gate in front of a tenant's SQL. ClickHouse's own parser must call the text one reading statement (that is asked
 * elsewhere: chdb.h classify); here the tokens are looked at, and refused is what reads beyond the organization's own
 * databases: table functions but the harmless ones, functions that read files, settings, dictionaries or the server's
 * state, tables of `system` but a few, INTO OUTFILE, SETTINGS, FORMAT, parameters that stand for names.
 *
 * It looks twice: at the text as it came, and at the text that ClickHouse writes for what it understood; so nothing
 * that the two read in different ways can hide between them.
 *
 * It is one of three walls: ClickHouse's grants and readonly mode refuse most of it again, and in the engine's sandbox
 * there is nothing to be had. The lists of table functions and system tables come from the library itself, so that what
 * a new version adds is refused until it is allowed here. */
#ifndef LOCKSET_ENGINE_SQL_GATE_H
#define LOCKSET_ENGINE_SQL_GATE_H

#include "base/buf.h"

struct sql_gate; /* immutable once made: any thread */

/* Both lists: one name a line. INVALID if one is empty: a gate that knows nothing must not open. */
struct result sql_gate_new(struct slice table_functions, struct slice system_tables, struct sql_gate **ret);
struct sql_gate *sql_gate_free(struct sql_gate *g); /* accepts NULL */

struct sql_shape {
    bool is_select; /* SELECT in one of its forms: can be streamed. False: EXPLAIN, DESCRIBE */
};

/* FORBIDDEN with a detail for the tenant that names what is refused; TOO_LARGE; INVALID (unterminated quote, brackets
 * that don't match or are nested too deep, nothing there). Its time is linear in the length of the text. */
struct result sql_gate_check(const struct sql_gate *g, struct slice sql, struct sql_shape *ret);

#endif
