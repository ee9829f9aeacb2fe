/* The registry's tables and triggers, version 1. */
#ifndef LOCKSET_REGISTRY_SCHEMA_H
#define LOCKSET_REGISTRY_SCHEMA_H

/* One script of statements that makes them all in an empty database. */
extern const char registry_schema_sql[];

#endif
