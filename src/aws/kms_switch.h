/* Disabling and enabling a KMS key with a customer's own credentials: for a drill. A service never does it: its account
 * has no permission to. */
#ifndef LOCKSET_AWS_KMS_SWITCH_H
#define LOCKSET_AWS_KMS_SWITCH_H

#include "aws/credentials.h"
#include "aws/kms_client.h"

/* EnableKey or DisableKey, once. options: as of a kms_client; key_arn: the key's in that region. UNREACHABLE, TIMEOUT;
 * PEER with AWS's error code and text. */
struct result kms_switch_key(const struct kms_client_options *options, const char *key_arn, bool enable);

#endif
