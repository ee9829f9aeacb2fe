/* ClickHouse's exceptions as its HTTP interface shows them. */
#ifndef LOCKSET_ENGINE_EXCEPTION_H
#define LOCKSET_ENGINE_EXCEPTION_H

#include "base/buf.h"

/* The number in "Code: N. ..."; 1001 (their code for the unexpected) when there is none. */
int exception_code(struct slice text);
/* The HTTP status ClickHouse's interface answers with: 404 for unknown tables, databases and functions, 400 for what
 * does not parse, 403 for what is not allowed, 408 for time-outs, ... 500 for the rest. */
int exception_status(int code);
/* "Code: N. DB::Exception: <text>." appended to out, for refusals of our own. */
void exception_write(int code, const char *text, struct buf *out);

#endif
