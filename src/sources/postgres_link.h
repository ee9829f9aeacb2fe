/* One connection to a PostgreSQL server through libpq, which only src/sources includes. Nothing here blocks: every wait
 * looks at `cancelled` many times a second and has an end. Environment variables, password files and certificates of
 * the process's user have no say. One thread at a time. Details hold the server's message, never the password. */
#ifndef LOCKSET_SOURCES_POSTGRES_LINK_H
#define LOCKSET_SOURCES_POSTGRES_LINK_H

#include <libpq-fe.h>
#include <stdatomic.h>

#include "base/buf.h"

struct postgres_address {
    const char *host, *dbname, *user, *password, *sslmode;
    const char *sslrootcert; /* PEM text, or NULL: the system's authorities */
    unsigned port;
};

struct postgres_link; /* opaque */

/* Connects and sets the session up so that values read alike from queries and from the stream. UNREACHABLE, TIMEOUT,
 * FORBIDDEN (refuses us), NOT_FOUND (no such database), INVALID (too old). */
struct result postgres_link_open(const struct postgres_address *address, bool for_replication,
                                 const _Atomic bool *cancelled, struct postgres_link **ret);
struct postgres_link *postgres_link_close(struct postgres_link *l); /* accepts NULL, returns NULL */
/* It can't be used any more: the connection was lost, or left in the middle of something. */
bool postgres_link_is_broken(const struct postgres_link *l);
/* 150004 */
int postgres_link_version(const struct postgres_link *l);

static inline void postgres_result_free(PGresult **r) {
    PQclear(*r);
}
#define POSTGRES_RESULT_AUTO(name) AUTO(postgres_result_free) PGresult *name = NULL

/* A statement and all of its rows. params are text and may be NULL with count 0, which then goes as a simple query, the
 * only kind that replication connections know. The caller owns *ret. Failures keep the connection, unless it broke. */
struct result postgres_link_query(struct postgres_link *l, const char *sql, unsigned count, const char *const params[],
                                  PGresult **ret);

/* The same in steps: rows come one by one if `singly`. */
struct result postgres_link_send(struct postgres_link *l, const char *sql, unsigned count, const char *const params[],
                                 bool singly);
/* The next result. *ready is false if none came until the moment (on clock_boottime_ns). *ret NULL: that was all. */
struct result postgres_link_take(struct postgres_link *l, int64_t until_ns, bool *ready, PGresult **ret);

/* Starts a stream of copy data in both directions. */
struct result postgres_link_stream(struct postgres_link *l, const char *command);
/* The next message of it, which the caller frees with PQfreemem; *ready is false if none came in time. Fails when the
 * stream is over, which the server only does to shut down. */
struct result postgres_link_receive(struct postgres_link *l, int64_t until_ns, bool *ready, char **ret,
                                    size_t *ret_len);
struct result postgres_link_tell(struct postgres_link *l, struct slice message);

/* The text in double quotes, as an identifier; in single quotes, as a literal. Appended. */
void postgres_quote_name(const char *name, struct buf *out);
void postgres_quote_text(const char *text, struct buf *out);

/* SQLSTATE of the last failure a server reported on this connection; "" if none. */
const char *postgres_link_state(const struct postgres_link *l);

#endif
