/* The embedded ClickHouse of this process: started once, used through short-lived sessions, one for each statement
 * (0.2 ms): settings, limits and readonly mode are a session's, so nothing of one statement reaches the next. */
#ifndef LOCKSET_ENGINE_INSTANCE_H
#define LOCKSET_ENGINE_INSTANCE_H

#include <pthread.h>

#include "engine/chdb.h"

struct instance_options {
    const char *data_path; /* private and empty; a tmpfs */
    uint64_t memory_bytes; /* what the process may use: ClickHouse is told to stop at 60 % of it */
};

struct instance {
    struct chdb chdb;
    char *path_argument, *config_argument;
    struct chdb_session **keeper; /* keeps the instance up between statements */
    pthread_mutex_t connecting;
};

/* Writes the configuration into data_path, starts ClickHouse, checks that it answers. `chdb` has been loaded. IO,
 * INTERNAL. Never ends before the process does. */
struct result instance_start(const struct chdb *chdb, const struct instance_options *options, struct instance *ret);

/* A new session; `settings` are "name=value" strings. INTERNAL when ClickHouse refuses (a setting it doesn't know). Any
 * thread. */
struct result instance_connect(struct instance *i, const char *const *settings, size_t count,
                               struct chdb_session ***ret);
void instance_close(struct instance *i, struct chdb_session **s); /* accepts NULL */

/* Runs a statement of our own in a session of its own and appends the answer's bytes. INTERNAL with ClickHouse's text.
 */
struct result instance_ask(struct instance *i, const char *sql, const char *format, struct buf *out);

/* The configuration files, for the tests: what they forbid is part of the contract. */
void instance_write_config(const struct instance_options *options, struct buf *config, struct buf *users);

#endif
