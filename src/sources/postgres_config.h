/* What a PostgreSQL source is told, checked: the source's object {"table": "schema.table", "publication"?: name} and
 * the integration's {"host", "port"?, "dbname", "user", "password", "sslmode"?, "sslrootcert"?}. */
#ifndef LOCKSET_SOURCES_POSTGRES_CONFIG_H
#define LOCKSET_SOURCES_POSTGRES_CONFIG_H

#include "base/json.h"
#include "sources/postgres_link.h"

enum { POSTGRES_NAME_BYTES = 64 }; /* NAMEDATALEN: a name and its NUL */

struct postgres_config {
    char schema[POSTGRES_NAME_BYTES], table[POSTGRES_NAME_BYTES]; /* as in the catalog: case counts */
    char publication[POSTGRES_NAME_BYTES];
    bool owns_publication; /* none was named: ours, made and dropped by us */
    char slot[POSTGRES_NAME_BYTES];
    struct postgres_address address; /* borrows from the integration */
};

/* INVALID. source_id may be NULL when only the shape matters. */
struct result postgres_config_read(const char *source_id, const json_t *config, const json_t *format,
                                   const json_t *integration, struct postgres_config *ret);
/* The integration alone. */
struct result postgres_address_read(const json_t *integration, struct postgres_address *ret);

#endif
