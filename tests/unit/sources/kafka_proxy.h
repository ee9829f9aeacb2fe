/* Stands between a reader and the mock cluster (of one broker), for what the mock can't do: TLS and SASL, partitions
 * that come later, damage, silence. It knows just enough of the protocol for that. */
#ifndef LOCKSET_TESTS_KAFKA_PROXY_H
#define LOCKSET_TESTS_KAFKA_PROXY_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct kafka_proxy {
    char servers[40]; /* "localhost:PORT" */
    int listener, upstream_port, port;
    SSL_CTX *tls; /* NULL: plain, no login */
    const char *user, *password;
    _Atomic int shown_partitions; /* 0: all */
    _Atomic int damage;           /* that many answers with messages get a wrong byte */
    _Atomic bool frozen;          /* nothing is answered any more */
    _Atomic bool ending;
    _Atomic int logins, refusals, connections;
    pthread_t thread;
};
/* certificate: where the proxy's own certificate is written, for clients to trust; NULL: no TLS. */
void kafka_proxy_start(struct kafka_proxy *p, const char *upstream, const char *certificate);
void kafka_proxy_end(struct kafka_proxy *p); /* once its clients are closed */

/* Appends a batch of records as it is to a partition of the cluster at servers (the mock gives it its offset, and takes
 * `count` for its length). offsets: of each record, from the batch's begin; last: the batch's last offset. */
void kafka_raw_produce(const char *servers, const char *topic, bool is_control, const int *offsets, int count,
                       int last);

#endif
