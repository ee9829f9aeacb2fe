/* Who may call: access keys and the principals behind them, from a JSON file of mode 0600:
 *     {"accounts":[{"account":"111122223333","access_key_id":"...","secret_access_key":"...",
 *                   "principal":"arn:aws:iam::111122223333:root"}]}
 * principal may be left out (the account's root), or name a user, a role's session or a federated user of that account.
 * "identity_policies": [{"Version": ..., "Statement": [...]}, ...] are what IAM would have for it; left out, everything
 * is allowed that the account may do. Read once at start, then only looked at: thread-safe. */
#ifndef LOCKSET_KMS_ACCOUNTS_H
#define LOCKSET_KMS_ACCOUNTS_H

#include "aws/arn.h"
#include "base/secret.h"
#include "kms/policy.h"

struct kmsd_account {
    char account[ARN_ACCOUNT_BYTES];
    char *access_key_id, *principal;
    struct secret secret_key;
    bool has_policies; /* false: everything is allowed */
    struct kmsd_policies policies;
};

struct kmsd_accounts {
    struct kmsd_account *list;
    size_t count;
};

/* NOT_FOUND, FORBIDDEN if others may read the file, INVALID naming what is wrong. The caller calls
 * kmsd_accounts_done. */
struct result kmsd_accounts_load(const char *path, const char *partition, struct kmsd_accounts *ret);
/* The same from the file's text. Pure. */
struct result kmsd_accounts_parse(struct slice text, const char *partition, struct kmsd_accounts *ret);
void kmsd_accounts_done(struct kmsd_accounts *a); /* accepts zeroed */
/* Writes a file with one account, 111122223333, and fresh credentials. */
struct result kmsd_accounts_create(const char *path, const char *partition);
struct kmsd_account *kmsd_accounts_find(const struct kmsd_accounts *a, const char *access_key_id); /* or NULL */

#endif
