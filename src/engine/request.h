/* A request in ClickHouse's HTTP protocol, taken apart. */
#ifndef LOCKSET_ENGINE_REQUEST_H
#define LOCKSET_ENGINE_REQUEST_H

#include "base/http_server.h"

enum { REQUEST_MAX_PARAMS = 256, REQUEST_MAX_SETTINGS = 48 };

struct request {
    bool is_writer, is_readonly, waits_for_end;
    char *url_query; /* "" if absent */
    char *format, *database, *query_id;
    char *names[REQUEST_MAX_PARAMS], *values[REQUEST_MAX_PARAMS];
    size_t name_lens[REQUEST_MAX_PARAMS], value_lens[REQUEST_MAX_PARAMS], param_count;
    char *settings[REQUEST_MAX_SETTINGS]; /* "name=value" */
    size_t setting_count;
    uint64_t rows; /* UINT64_MAX: not told */
    int64_t deadline_ns;
};

/* INVALID, FORBIDDEN (a user that is none, settings of a reader) with a detail for the caller. On success
 * request_done is called. */
struct result request_parse(struct http_request *http, struct request *ret);
void request_done(struct request *r); /* accepts zeroed */

#endif
