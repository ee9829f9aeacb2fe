/* The preflight of a key as a list of checks for people. Pure: answers of KMS in, checks out. Thread-safe.
 *
 * A check is listed only when it was determined: ok true when it holds, false when it truly failed. What can't be known
 * because of another failure (whether a disabled key's policy allows kms:Decrypt, the state of a key that may not be
 * described) is left out, so that only what failed has ok=false and nothing unknown has ok=true. A preflight passes
 * when every check of the full list was determined and holds.
 *
 * Names: exists, state, key_spec, key_usage, multi_region, region, and the actions kms:DescribeKey, kms:Encrypt,
 * kms:Decrypt, kms:GenerateDataKey, kms:GenerateDataKeyWithoutPlaintext. */
#ifndef LOCKSET_KEYRING_CHECKS_H
#define LOCKSET_KEYRING_CHECKS_H

#include "base/json.h"
#include "keyring/verdict.h"

/* What was asked and answered. Answers of operations that were not asked stay zeroed. */
struct checks_answers {
    const char *key_arn, *region;
    const char *service_account_id;
    bool needs_multi_region; /* customers' keys; the operator's own need not be */
    bool asked[KMS_OPERATION_MAX];
    /* The Decrypt was of a made-up ciphertext, because there was no real one: only a refusal of the caller counts. */
    bool decrypt_is_bogus;
    struct kms_answer answers[KMS_OPERATION_MAX];
};
void checks_answers_done(struct checks_answers *a);

struct check {
    const char *name; /* static */
    bool ok;
    char detail[KMS_MESSAGE_BYTES + 128];
    char mend[512]; /* "" when ok */
};

enum { CHECKS_MAX = 12 };
struct checks {
    struct check items[CHECKS_MAX];
    size_t count;
    bool passed;
    struct verdict verdict; /* of the whole: good when passed; else the first refusal, corruption or silence, in this
                               order of weight */
};

void checks_evaluate(const struct checks_answers *a, struct checks *ret);
/* [{"check","ok","detail","mend"}]; the caller owns it. */
json_t *checks_to_json(const struct checks *c);

#endif
