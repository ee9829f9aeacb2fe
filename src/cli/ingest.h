/* `lockset ingest`: a file of documents into a collection, batch by batch. */
#ifndef LOCKSET_CLI_INGEST_H
#define LOCKSET_CLI_INGEST_H

#include "cli/client.h"

struct ingest_options {
    const char *file;      /* "-": standard input */
    char *docs_path;       /* of the API */
    const char *id_prefix; /* NULL: documents keep their _id or get one from the API */
    uint64_t batch;        /* documents a request */
    uint64_t max_wait_s;
    bool is_quiet;
};

/* Sends everything; progress goes to stderr. Fails with the place in the file when a document is refused or the API
 * gives up on a batch; what was sent before stays. */
struct result ingest_run(struct client *c, const struct ingest_options *options);

#endif
