/* A client of AWS KMS, or of anything that speaks its protocol, for one region. Signs, sends, retries within bounds,
 * and answers with a closed list of outcomes. Thread-safe: one client may be used by many threads at once. */
#ifndef LOCKSET_AWS_KMS_CLIENT_H
#define LOCKSET_AWS_KMS_CLIENT_H

#include "aws/credentials.h"
#include "aws/kms_message.h"
#include "base/http_client.h"

struct kms_client;

struct kms_client_options {
    const char *region;   /* required */
    const char *endpoint; /* "http(s)://host[:port]"; NULL: https://kms.<region>.amazonaws.com (.cn in China) */
    struct credentials_source credentials;
    struct http_pool *pool; /* shared; outlives the client */
};

/* Loads the credentials once. INVALID for a bad region or endpoint; NOT_FOUND, INVALID of credentials_load. Strings
 * are copied. */
struct result kms_client_new(const struct kms_client_options *options, struct kms_client **ret);
struct kms_client *kms_client_free(struct kms_client *c); /* accepts NULL, returns NULL */
static inline void kms_client_free_auto(struct kms_client **c) {
    kms_client_free(*c);
}
const char *kms_client_region(const struct kms_client *c);
const char *kms_client_endpoint(const struct kms_client *c);

struct kms_call_options {
    unsigned attempt_timeout_ms; /* of one attempt; 0: 5,000 */
    unsigned total_timeout_ms;   /* of the call with its retries and waits; 0: 15,000 */
    unsigned max_attempts;       /* 1: no retries (probes); 0: 3 */
    const bool *cancelled;       /* polled; NULL: never */
};

/* Asks. Only for a question that can't be put (INVALID, INTERNAL, IO of the secure heap) the result is a failure;
 * everything KMS or the network may do is in ret->error. Retries, with exponential back-off and full jitter, only what
 * kms_error_is_retryable names and only while the total time lasts. A clock that is off is corrected from the answer's
 * Date header, for this and later calls; expired or unknown credentials are read again from their source: one more
 * attempt each, if max_attempts allows. options NULL: defaults. The caller calls kms_answer_done in any case. */
struct result kms_client_call(struct kms_client *c, const struct kms_request *request,
                              const struct kms_call_options *options, struct kms_answer *ret);

#endif
