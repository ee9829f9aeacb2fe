/* Decompression of gzip (RFC 1952) and zstd (RFC 8878) in pieces, in bounded memory: whoever calls says how much may
 * come out at once. Several members or frames, one behind the other, are one text. One owner. */
#ifndef LOCKSET_BASE_INFLATE_H
#define LOCKSET_BASE_INFLATE_H

#include "base/buf.h"

enum inflate_kind { INFLATE_GZIP, INFLATE_ZSTD };

struct inflate;
struct result inflate_new(enum inflate_kind kind, struct inflate **ret);
struct inflate *inflate_free(struct inflate *i); /* accepts NULL */

/* Takes from the front of *in and appends at most max bytes to out. Takes everything unless out got max bytes. CORRUPT:
 * this is no such text. */
struct result inflate_some(struct inflate *i, struct slice *in, size_t max, struct buf *out);
/* May the text end here, between two members? False: it was cut off. */
bool inflate_is_whole(const struct inflate *i);

#endif
