/* Cuts a file of JSON documents into its documents without parsing them: a JSON array of objects, or objects one after
 * the other (JSON lines). Only braces, brackets and strings are followed; what stands inside a document is checked by
 * the API. Reads in bounded memory. */
#ifndef LOCKSET_CLI_SPLITTER_H
#define LOCKSET_CLI_SPLITTER_H

#include <stdio.h>

#include "base/buf.h"

struct splitter {
    FILE *file;
    struct buf document; /* the current one, from '{' to '}' */
    uint64_t offset;     /* bytes read */
    uint64_t line;       /* of the current place, from 1 */
    int error_number;    /* of a read that failed; 0: none */
    bool is_array, started;
};

void splitter_init(struct splitter *s, FILE *file); /* the file stays the caller's */
void splitter_done(struct splitter *s);
/* The next document; *ret is borrowed until the next call. An empty slice at the end. INVALID with the line when
 * something other than a document stands there, TOO_LARGE for one over 10 MiB, IO when the file can't be read on. */
struct result splitter_next(struct splitter *s, struct slice *ret);

#endif
