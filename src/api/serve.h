/* The HTTP side of lockset-api: each request is routed, authenticated, handled, and answered exactly once. */
#ifndef LOCKSET_API_SERVE_H
#define LOCKSET_API_SERVE_H

#include "api/call.h"

/* Serves on a listening socket, which is the server's from now on. tls_*: PEM texts, both or none. */
struct result serve_start(struct api *api, int listen_fd, const char *tls_cert_pem, const char *tls_key_pem,
                          struct http_server **ret);

#endif
