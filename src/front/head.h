/* The head of a request, as far as it must be understood to find out whose it is: the access key id in the header
 * Authorization or in a presigned query. Nothing is believed of it: the organization's gateway reads the same bytes
 * again and verifies their signature, so what is misread here can only lead to the wrong gateway, which refuses. Pure.
 */
#ifndef LOCKSET_FRONT_HEAD_H
#define LOCKSET_FRONT_HEAD_H

#include "base/buf.h"

enum { HEAD_MAX_BYTES = 64 * 1024, HEAD_KEY_MAX_CHARS = 128, HEAD_METHOD_MAX_CHARS = 15 };

enum head_auth {
    HEAD_KEY,          /* access_key_id is there */
    HEAD_NO_AUTH,      /* anonymous */
    HEAD_OTHER_SCHEME, /* signed otherwise than with Signature V4 */
    HEAD_MALFORMED,    /* Signature V4 without an access key id, or with two */
};

struct head {
    enum head_auth auth;
    char access_key_id[HEAD_KEY_MAX_CHARS + 1];
    char method[HEAD_METHOD_MAX_CHARS + 1];
    struct slice path; /* as on the wire; into the bytes that were parsed */
};

/* Where the head ends (behind its empty line) in what has come so far; 0: not yet. `seen`: how much was searched
 * before. */
size_t head_end(struct slice bytes, size_t seen);
/* The head, whole. INVALID when the request line is none of HTTP/1. */
struct result head_parse(struct slice bytes, struct head *ret);

#endif
