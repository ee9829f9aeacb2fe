/* What the files of the HTTP server share: a request, its answer, and the functions that cross files. Nobody else
 * includes this. */
#ifndef LOCKSET_BASE_HTTP_INTERNAL_H
#define LOCKSET_BASE_HTTP_INTERNAL_H

#include "base/http_server.h"

struct MHD_Connection;

/* A header as the library keeps it: in its own memory, valid until the request's end. */
struct http_line {
    const char *name, *value;
    size_t name_len, value_len;
};

/* A body that is made while it is sent. Owned by the library's response; `closed` runs once. */
struct http_stream {
    ssize_t (*read)(void *arg, uint64_t offset, uint8_t *to, size_t max);
    void (*closed)(void *arg);
    void *arg;
    int64_t length;
    bool is_closed;
    struct http_request *request; /* NULL once the request ended */
    char *block;                  /* the response's own, where content was last read to; wiped with the response */
    size_t block_used;
};

struct http_answer {
    int status;
    struct http_field *fields; /* copies; the last one has no name */
    uint8_t *body;
    size_t body_len;
    struct http_stream *stream; /* instead of body */
};

struct http_param {
    char *name, *value; /* decoded */
    struct http_param *next;
};

struct http_request {
    struct http_server *server;
    struct MHD_Connection *connection;
    const char *method;
    char *target;
    const char *target_at; /* where the target stood in the library's memory; only for the guard */
    struct slice path, query;
    struct http_line *lines;
    size_t line_count, line_capacity;
    int64_t content_length; /* -1: not given */
    bool chunked;
    bool expects_continue;
    struct buf body;
    uint64_t received;
    bool counted; /* among the server's running requests */
    bool seen;    /* by the access handler */
    bool begun;   /* handler.begin was called, so handler.done must be */
    bool answered;
    bool delivered; /* the answer was handed to the library, or written */
    struct http_answer answer;
    struct http_param *params;
    void *user;
};

static inline bool http_has_body(const struct http_request *r) {
    return r->chunked || r->content_length > 0;
}

/* http_request.c */
struct http_request *http_request_new(struct http_server *s, const char *target);
void http_request_free(struct http_request *r);
void http_add_line(struct http_request *r, struct http_line line);

/* http_guard.c: fills content_length, chunked and expects_continue. The reason why the request must be refused, or
 * NULL. `version` and `header_bytes` are what the library says. */
const char *http_guard(struct http_request *r, const char *version, size_t header_bytes);

/* http_answer.c */
void http_stream_close(struct http_stream *s);
/* Hands the answer to the library. False: the connection must be dropped. */
bool http_deliver(struct http_request *r, bool closes);
/* Writes the answer past the library, which can't answer while a body is still coming, and reads on for a short while,
 * so that the client gets to read it before the connection is gone. The connection must be dropped afterwards. */
void http_deliver_early(struct http_request *r);
/* After a callback that may have blocked for long: don't hold that against the client. */
void http_restart_idle_timer(struct http_request *r, int64_t began_ns);
unsigned http_idle_timeout_s(const struct http_server *s);

#endif
