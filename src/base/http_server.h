/* An HTTP/1.1 server on libmicrohttpd (whose header only base/http_*.c include): one thread a connection, blocking
 * handlers, bounded memory in both directions. A framing guard runs before any handler: more than one Content-Length,
 * a Transfer-Encoding other than exactly "chunked", both together, no or several Host headers, a NUL or control
 * character in target or header: 400 and the connection closes.
 *
 * A request's life: begin -> body (0..n times) -> finish -> done. `begin` may already answer (a refusal: a body
 * over 1 MiB is then not read and the connection closes; with "Expect: 100-continue" no byte of it is sent). Such early
 * answers must not be streams. `finish` must answer.
 * `done` is always called last, also when the client went away. */
#ifndef LOCKSET_BASE_HTTP_SERVER_H
#define LOCKSET_BASE_HTTP_SERVER_H

#include <sys/types.h>

#include "base/buf.h"

struct http_server;
struct http_request; /* valid between begin and done; used by its own thread only */

struct http_handler {
    /* Decide. May call http_set_user. */
    void (*begin)(void *context, struct http_request *r);
    /* A piece of the body, at most 256 KiB. After an answer given here (an error) a rest of at most 1 MiB is read and
     * dropped; with a longer one, or an unknown one (chunked), the answer is sent at once and the connection closes.
     * NULL: bodies are collected, see collect_max_bytes. */
    void (*body)(void *context, struct http_request *r, struct slice piece);
    void (*finish)(void *context, struct http_request *r);
    void (*done)(void *context, struct http_request *r); /* may be NULL */
};

struct http_server_options {
    int listen_fd; /* a listening TCP or unix socket; the server owns it from now on */
    struct http_handler handler;
    void *context;
    size_t collect_max_bytes; /* without body(): the largest body; larger ones get 413 through `too_large` */
    void (*too_large)(void *context, struct http_request *r); /* answers 413 in the service's own shape */
    void (*bad_framing)(void *context, struct http_request *r, const char *why); /* answers 400; NULL: plain text */
    unsigned max_connections; /* default 1024; one more is closed at once, without an answer */
    /* At the limit, instead: the connection is closed that has been waited on for a request, or the rest of one, for
     * longest. So nobody can shut others out by opening connections, or by sending slowly. */
    bool replaces_waiting;
    unsigned idle_timeout_s; /* default 75; a client that sends or reads nothing for so long is dropped */
    const char *tls_cert_pem, *tls_key_pem; /* both or none */
};

struct result http_server_start(const struct http_server_options *options, struct http_server **ret);
/* Accepts nothing new, lets running requests end, closes all connections, frees. Blocks until the last one is done.
 * With cut = true the connections are shut down first, so running requests end at their next read or write. */
struct http_server *http_server_stop(struct http_server *s, bool cut);

/* What was asked. All borrowed until done. */
const char *http_method(const struct http_request *r);
struct slice http_target(const struct http_request *r); /* as on the wire: path and query, nothing decoded */
struct slice http_path(const struct http_request *r);   /* raw, before '?' */
struct slice http_query(const struct http_request *r);  /* raw, behind '?'; empty if none */
/* First value of a header, any case; NULL if absent. */
const char *http_header(const struct http_request *r, const char *name);
/* Calls each for every header in the order received. */
void http_each_header(const struct http_request *r, void (*each)(void *arg, const char *name, const char *value),
                      void *arg);
/* The whole body when collected; empty otherwise. */
struct slice http_body(const struct http_request *r);
/* Content-Length; -1 if absent (chunked, or no body). */
int64_t http_content_length(const struct http_request *r);
/* The value of a query parameter, percent-decoded (and '+' as it is); NULL if absent or malformed. Owned by r. */
const char *http_query_param(struct http_request *r, const char *name);
void http_set_user(struct http_request *r, void *user);
void *http_user(const struct http_request *r);
/* The client's socket, for a look whether it is still there (poll for POLLRDHUP) while a handler works; never to be
 * read, written, closed or kept beyond `done`. -1 if there is none. */
int http_client_fd(const struct http_request *r);
/* Has an answer been given? */
bool http_answered(const struct http_request *r);

struct http_field {
    const char *name, *value;
};

/* Answers with a copy of `body`. Fields end with name NULL; may be NULL. Content-Length and Date are added (fields of
 * these names are left out); for HEAD the body is
 * not sent but its length is. */
void http_answer(struct http_request *r, int status, const struct http_field *fields, struct slice body);
/* Answers with a stream of exactly `length` bytes (or chunked if length is -1): `read` fills up to max bytes (at most
 * 128 KiB are asked for) and returns how many, 0 at the end (chunked only), -1 to break the connection off (never a
 * clean end). May block. `closed` is called once, always, in the end. With HEAD nothing is read. */
void http_answer_stream(struct http_request *r, int status, const struct http_field *fields, int64_t length,
                        ssize_t (*read)(void *arg, uint64_t offset, uint8_t *to, size_t max), void (*closed)(void *arg),
                        void *arg);

/* A listening socket on host:port (port 0: any; *ret_port tells). EXISTS-like CONFLICT if the port is taken. */
struct result http_listen_tcp(const char *host, unsigned port, int *ret_fd, unsigned *ret_port);
/* A listening unix socket at path (an old one is replaced), mode 0600. */
struct result http_listen_unix(const char *path, int *ret_fd);

#endif
