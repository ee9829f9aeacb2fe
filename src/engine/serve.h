/* ClickHouse's HTTP protocol on the engine's unix socket, as client.h speaks it and as a ClickHouse server would
 * answer:
 *
 *   GET /ping                     "Ok.\n"
 *   POST /?query=..&param_x=..&default_format=..&database=..&query_id=..&wait_end_of_query=1&<setting>=..
 *        the statement in the URL, or in the body, or begun in the one and ended in the other; for an INSERT the body
 *        is the data. GET is readonly.
 *   X-ClickHouse-User: reader | writer      (reader if absent: the gate, readonly mode, no settings)
 *   X-Lockset-Rows: N                       rows in the body of an INSERT
 *   X-Lockset-Deadline-Ms: N                time the statement may take; default 120,000, at most 600,000
 *
 * Answers carry X-Lockset-Epoch, X-ClickHouse-Summary, -Format, -Query-Id; errors -Exception-Code and the text. Results
 * over 1 MiB in formats that can be cut are streamed; an error behind the first rows is appended between marks that
 * hold the X-ClickHouse-Exception-Tag, as ClickHouse does since 25.11. Other formats are held in memory up to 64 MiB.
 */
#ifndef LOCKSET_ENGINE_SERVE_H
#define LOCKSET_ENGINE_SERVE_H

#include "base/http_server.h"
#include "engine/insert_group.h"
#include "engine/name_list.h"
#include "engine/sql_gate.h"
#include "engine/statement.h"

enum { SERVE_MAX_READERS = 32, SERVE_MAX_BODY_BYTES = 64 << 20, SERVE_MAX_BUFFERED_BYTES = 64 << 20 };

struct serve_options {
    int listen_fd; /* owned from now on */
    struct statement_env *env;
    struct insert_groups *groups;
    const struct sql_gate *gate; /* NULL: no gate (tests of the walls behind it) */
    struct name_list settings; /* the names of all settings: ClickHouse lets unknown ones of a session pass silently */
    struct writer_disk disk;   /* its keys must outlive the server */
    uint64_t epoch;
};

/* Returns when no request has been under way for a moment: what comes then is sent again by the api. */
void serve_wait_quiet(void);

/* Serves until the process ends. */
struct result serve_start(const struct serve_options *options);

#endif
