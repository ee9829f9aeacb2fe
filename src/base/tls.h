/* The server's side of TLS on a connected socket, for what is no HTTP server of its own (GnuTLS; TLS 1.2 and 1.3). A
 * struct tls_server is shared by threads and never changed; a struct tls belongs to one thread at a time. */
#ifndef LOCKSET_BASE_TLS_H
#define LOCKSET_BASE_TLS_H

#include <sys/types.h>

#include "base/buf.h"

struct tls_server;
/* INVALID when certificate chain and key don't go together. */
struct result tls_server_new(const char *cert_pem, const char *key_pem, struct tls_server **ret);
struct tls_server *tls_server_free(struct tls_server *s); /* accepts NULL, returns NULL */

struct tls;
/* The handshake, until deadline (CLOCK_BOOTTIME). fd is non-blocking and stays the caller's. TIMEOUT; PEER for a client
 * that doesn't speak TLS. */
struct result tls_accept(const struct tls_server *s, int fd, int64_t deadline_boottime_ns, struct tls **ret);
/* Says goodbye without waiting for an answer, and frees. Accepts NULL, returns NULL. */
struct tls *tls_free(struct tls *t);

enum { TLS_AGAIN = -1, TLS_BROKEN = -2 };
/* Bytes moved; 0 (reading only): the client has ended; TLS_AGAIN: wait for the socket; TLS_BROKEN. After TLS_AGAIN a
 * send is repeated with the same bytes. */
ssize_t tls_receive(struct tls *t, uint8_t *to, size_t max);
ssize_t tls_send(struct tls *t, struct slice bytes);
/* Bytes that were read from the socket already: no reason to wait for it. */
bool tls_has_pending(const struct tls *t);

#endif
