/* A sealed file, as docs/format.md defines it: a header in clear (magic, version, key ARN, branch, salt), then chunks
 * of 64 KiB plaintext, each AES-256-GCM under the file's own key, with position, finality and the header authenticated.
 * Or in clear, with AES-256-GMAC tags over the same: version 2, for stores that encrypt by themselves.
 * The context (at most LEASE_CONTEXT_MAX_BYTES) says what the file is and where it belongs; a file opened with another
 * context than it was sealed with is CORRUPT. Objects here belong to one thread at a time. */
#ifndef LOCKSET_STORE_SEALED_H
#define LOCKSET_STORE_SEALED_H

#include "base/buf.h"
#include "keys/lease.h"

enum {
    SEALED_MAGIC_BYTES = 8,
    SEALED_VERSION = 1,       /* encrypted */
    SEALED_VERSION_CLEAR = 2, /* only authenticated: for stores that encrypt by themselves */
    SEALED_ARN_MAX_BYTES = 2048,
    SEALED_HEADER_MIN_BYTES = SEALED_MAGIC_BYTES + 2 + 2 + 1 + LEASE_BRANCH_ID_BYTES + LEASE_SALT_BYTES,
    SEALED_HEADER_MAX_BYTES = SEALED_HEADER_MIN_BYTES - 1 + SEALED_ARN_MAX_BYTES,
};
#define SEALED_PLAIN_MAX_BYTES (1ULL << 48)

struct sealed_header {
    struct slice key_arn; /* borrowed from the bytes parsed */
    unsigned version;
    uint8_t branch[LEASE_BRANCH_ID_BYTES];
    uint8_t salt[LEASE_SALT_BYTES];
    size_t len; /* of the header itself */
};

/* Parses the beginning of a file; bytes beyond the header are ignored. CORRUPT, also for versions unknown here. */
struct result sealed_header_parse(struct slice bytes, struct sealed_header *ret);
/* The length of a file with a header of that length and so many bytes of plaintext. */
uint64_t sealed_file_bytes(size_t header_bytes, uint64_t plain_bytes);

/* Small things, whole: appends the sealed form to out; opens and appends the plaintext (out should be wiping). */
struct result sealed_seal(struct lease *lease, unsigned version, struct slice context, struct slice plain,
                          struct buf *out);
struct result sealed_open(struct lease *lease, struct slice context, struct slice sealed, struct buf *out);

/* Where sealed bytes go, one after the other. */
struct sealed_sink {
    struct result (*write)(void *arg, struct slice bytes);
    void *arg;
};
/* Writes a sealed file in bounded memory. */
struct sealed_writer;
struct result sealed_writer_new(struct lease *lease, unsigned version, struct slice context,
                                const struct sealed_sink *sink, struct sealed_writer **ret);
/* The same to a descriptor, which stays the caller's; encrypted. */
struct result sealed_writer_new_file(struct lease *lease, struct slice context, int fd, struct sealed_writer **ret);
struct sealed_writer *sealed_writer_free(struct sealed_writer *w); /* wipes; accepts NULL, returns NULL */
struct result sealed_writer_append(struct sealed_writer *w, struct slice plain);
/* Seals the final chunk. Not a sync. */
struct result sealed_writer_finish(struct sealed_writer *w);

/* Where sealed bytes come from: exactly n at an offset, else an error; CORRUPT when there are fewer. */
struct sealed_source {
    struct result (*read)(void *arg, uint64_t offset, uint8_t *to, size_t n);
    struct result (*size)(void *arg, uint64_t *ret);
    void (*done)(void *arg);
    void *arg;
};
/* Reads a sealed file at random. */
struct sealed_reader;
/* Takes the source over, on success only. plain_bytes is what the file must hold, from an authenticated place: a
 * file of another length is CORRUPT. */
struct result sealed_reader_new(struct lease *lease, struct slice context, const struct sealed_source *source,
                                uint64_t plain_bytes, struct sealed_reader **ret);
/* The same from a descriptor. */
struct result sealed_reader_new_file(struct lease *lease, struct slice context, int fd, uint64_t plain_bytes,
                                     struct sealed_reader **ret);
struct sealed_reader *sealed_reader_free(struct sealed_reader *r);
/* Opens chunk `index` into out, which has room for LEASE_CHUNK_BYTES. */
struct result sealed_reader_chunk(struct sealed_reader *r, uint64_t index, uint8_t *out, size_t *ret_len);

#endif
