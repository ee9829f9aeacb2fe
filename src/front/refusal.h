/* Why an organization's bucket can't be served now, as S3 says it of a bucket under SSE-KMS. Pure. */
#ifndef LOCKSET_FRONT_REFUSAL_H
#define LOCKSET_FRONT_REFUSAL_H

#include "base/json.h"
#include "gateway/s3_error.h"

enum { FRONT_MESSAGE_BYTES = 1024, FRONT_RETRY_S = 5 };

struct front_refusal {
    enum s3_error error; /* S3_ERROR_NONE: none */
    char message[FRONT_MESSAGE_BYTES];
};

void front_refuse(struct front_refusal *ret, enum s3_error error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* From a state object of the keyring (NULL: not known). A key that KMS refuses: KMS.DisabledException,
 * KMS.KMSInvalidStateException, KMS.NotFoundException (400) or AccessDenied (403), by what AWS said; a KMS that can't
 * be reached, and a state that is still to be found out: ServiceUnavailable (503). False, and nothing set, when
 * AVAILABLE. */
bool front_judge(const json_t *state, struct front_refusal *ret);

#endif
