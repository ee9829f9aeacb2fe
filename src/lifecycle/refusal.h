/* Why a client can't be served, in full: err.h's detail is too short for a message that names a key, a region, AWS's
 * error, since when and what to do. Filled where the failure begins; whoever answers the client turns it into JSON. A
 * struct refusal that stayed empty means that err.h's code and detail tell everything. */
#ifndef LOCKSET_LIFECYCLE_REFUSAL_H
#define LOCKSET_LIFECYCLE_REFUSAL_H

#include "base/json.h"

struct refusal {
    int status;             /* HTTP; 0: empty */
    const char *type;       /* Rockset's error type, static: "NOT_READY" */
    char *message;          /* owned */
    unsigned retry_after_s; /* 0: no Retry-After */
    json_t *checks;         /* owned; NULL: none */
};

void refusal_done(struct refusal *r); /* accepts zeroed */
#define REFUSAL_AUTO(name) AUTO(refusal_done) struct refusal name = {0}

/* Fills *why (dropping what it held) and returns a failure whose detail is the beginning of the message. */
struct result refuse(struct refusal *why, enum err_code code, int status, const char *type, unsigned retry_after_s,
                     const char *format, ...) __attribute__((format(printf, 6, 7)));

#endif
