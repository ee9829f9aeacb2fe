/* The registry's tables and triggers, version 3. */
#ifndef LOCKSET_REGISTRY_SCHEMA_H
#define LOCKSET_REGISTRY_SCHEMA_H

/* One script of statements that makes them all in an empty database. */
extern const char registry_schema_sql[];
/* What version 1 lacks. */
extern const char registry_from_1_sql[];
/* What version 2 lacks. */
extern const char registry_from_2_sql[];

#endif
