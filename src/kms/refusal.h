/* The errors of AWS KMS as they stand on the wire. Pure. A refusal is decided where the rule is checked and carried to
 * the answer in the call's own slot; the result that travels up says only that there is one.
 * Source: https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html and each operation's page. */
#ifndef LOCKSET_KMS_REFUSAL_H
#define LOCKSET_KMS_REFUSAL_H

#include "base/buf.h"

enum kmsd_error {
    KMSD_OK,
#define REFUSAL(symbol, status, member, name) KMSD_##symbol,
#include "kms/refusal.def"
#undef REFUSAL
    KMSD_ERROR_MAX
};

struct kmsd_refusal {
    enum kmsd_error error; /* KMSD_OK: none */
    char *text;            /* NULL: AWS sends none */
};
void kmsd_refusal_done(struct kmsd_refusal *r); /* accepts zeroed */

/* Fills r and fails with INVALID. format NULL: no text. */
struct result kmsd_refuse(struct kmsd_refusal *r, enum kmsd_error error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

int kmsd_error_status(enum kmsd_error e);
const char *kmsd_error_name(enum kmsd_error e); /* "DisabledException" */
/* {"__type":"...","message":"..."} */
void kmsd_refusal_write(const struct kmsd_refusal *r, struct buf *out);

#endif
