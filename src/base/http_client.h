/* A blocking HTTP client on libcurl (whose header only http_client.c includes): keep-alive pool, TLS 1.2 or newer with
 * verified peers, no redirects, no proxies from the environment, no netrc. Thread-safe: a pool may be shared. */
#ifndef LOCKSET_BASE_HTTP_CLIENT_H
#define LOCKSET_BASE_HTTP_CLIENT_H

#include "base/buf.h"
#include "base/http_server.h" /* struct http_field */

struct http_pool;
/* Call once per process before threads. */
void http_client_start(void);
struct result http_pool_new(struct http_pool **ret);
struct http_pool *http_pool_free(struct http_pool *p); /* accepts NULL; no call may be running */

struct http_reply;
struct http_call {
    const char *method;
    const char *url;                 /* http:// or https:// */
    const char *unix_socket;         /* connect there instead of to the URL's host; NULL: no */
    const struct http_field *fields; /* ends with name NULL; "Host" overrides; "Expect: 100-continue" waits up to 1 s */
    struct slice body;               /* sent with Content-Length; or: */
    ssize_t (*read_body)(void *arg, uint8_t *to, size_t max); /* 0: end, -1: abort (CANCELLED) */
    int64_t read_body_length;                                 /* -1: chunked */
    unsigned connect_timeout_ms;                              /* default 5,000 */
    unsigned timeout_ms;                                      /* whole call; 0: none */
    /* Receives the body; returning false aborts the call with CANCELLED. NULL: it goes to reply.body. */
    bool (*write_body)(void *arg, struct slice piece);
    /* Told status and headers (without a body) before write_body's first piece. NULL: not asked for. */
    void (*see_head)(void *arg, const struct http_reply *head);
    void *arg;              /* for read_body, write_body, see_head */
    size_t max_reply_bytes; /* default 1 MiB, or no limit with write_body; larger: TOO_LARGE */
    const bool *cancelled;  /* polled at least every 100 ms (atomically); NULL: never */
    const char *ca_file;    /* trusted certificates, PEM; NULL: the system's */
};

struct http_reply {
    int status;
    struct buf headers; /* raw lines, for http_reply_header */
    struct buf body;    /* a wiping buffer */
};

/* UNREACHABLE (DNS, connect, TLS, connection broken before an answer), TIMEOUT, TOO_LARGE, CANCELLED, PEER. Any HTTP
 * status is a success here. On success the caller calls http_reply_done. */
struct result http_call(struct http_pool *p, const struct http_call *call, struct http_reply *ret);
void http_reply_done(struct http_reply *r); /* accepts zeroed */
/* A header of the reply, any case; false if absent. Borrowed. */
bool http_reply_header(const struct http_reply *r, const char *name, struct slice *ret);

#endif
