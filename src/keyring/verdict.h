/* What an answer of KMS means for a lease: a closed table over aws/kms_message.h's errors. Pure; thread-safe.
 *
 * Refused: the customer (or AWS in their name) said no. Silent: no statement about the key at all, whatever the words:
 * no answer, throttling, faults of KMS, states that pass by themselves, trouble with the service's own credentials or
 * clock, and everything unknown. Corrupt: KMS works and does not recognise our wrapped key: an alarm, and no reason to
 * extend a lease. A dry run's success is silent too: it is never the only evidence. */
#ifndef LOCKSET_KEYRING_VERDICT_H
#define LOCKSET_KEYRING_VERDICT_H

#include "aws/kms_message.h"

enum verdict_kind { VERDICT_GOOD, VERDICT_REFUSED, VERDICT_SILENT, VERDICT_CORRUPT, VERDICT_MAX };
const char *verdict_name(enum verdict_kind kind); /* "good", "refused", "silent", "corrupt" */

struct verdict {
    enum verdict_kind kind;
    char aws_error[KMS_CODE_BYTES];    /* AWS's code; for a key that DescribeKey shows unusable, the code its use would
                                          give; "" if AWS said nothing */
    char text[KMS_MESSAGE_BYTES];      /* for people: AWS's message or what we saw */
    bool has_deletion, knows_deletion; /* DescribeKey answered; with a deletion date */
    int64_t deletion_unix_ms;
};

/* Of an error alone. */
enum verdict_kind verdict_of_error(enum kms_error e);

/* Of an answer to `operation`. A successful DescribeKey counts as what it shows: a key that is not Enabled (or
 * Updating, which works), of another spec or usage, is refused; one that is still Creating is silent. */
void verdict_of(const struct kms_answer *a, enum kms_operation operation, struct verdict *ret);

#endif
