/* The key policy a customer writes, so that the service may use their key, and nothing more. Pure; thread-safe.
 * Source: https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-modifying-external-accounts.html */
#ifndef LOCKSET_AWS_KEY_POLICY_H
#define LOCKSET_AWS_KEY_POLICY_H

#include "base/buf.h"

/* What the service needs of a key, in this order; ends with NULL. */
extern const char *const key_policy_actions[];

struct key_policy_grant {
    const char *service_account_id;  /* 12 digits: who may use the key */
    const char *customer_account_id; /* 12 digits; NULL: not known */
    const char *key_arn;             /* NULL: "*", which in a key policy means the key it belongs to */
    const char *partition;           /* NULL: that of key_arn, else "aws" */
};

/* Appends, as indented JSON with a final newline, the one statement that grants the service the use of the key.
 * INVALID for account ids that are none or a key_arn that is no key's ARN. */
struct result key_policy_statement(const struct key_policy_grant *g, struct buf *out);

/* The same as a whole policy document: first, if the customer's account is known, the statement that keeps the key in
 * the hands of that account (KMS's own default), then the service's. Without the account the document holds the
 * service's statement alone, and KMS refuses it from whoever could not change the policy afterwards. */
struct result key_policy_document(const struct key_policy_grant *g, struct buf *out);

/* A new key with that policy, as a CloudFormation template (JSON) and as Terraform (HCL). The customer's account, if it
 * isn't known, is the one that the document is applied in. */
struct result key_policy_cloudformation(const struct key_policy_grant *g, struct buf *out);
struct result key_policy_terraform(const struct key_policy_grant *g, struct buf *out);

#endif
