/* The aliases of one region, durable: DATA/aliases.json, written anew with each change. Names are an account's own.
 * Thread-safe.
 * Source: https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html */
#ifndef LOCKSET_KMS_ALIASES_H
#define LOCKSET_KMS_ALIASES_H

#include "aws/arn.h"
#include "kms/blob.h"

enum { KMSD_ALIAS_BYTES = 257 };

struct kmsd_alias {
    char account[ARN_ACCOUNT_BYTES];
    char name[KMSD_ALIAS_BYTES]; /* "alias/x" */
    char key_id[KMSD_KEY_ID_CHARS + 1];
    int64_t created_ms, updated_ms;
};

struct kmsd_aliases;

/* INVALID, naming the file, when it is damaged. */
struct result kmsd_aliases_open(const char *data_dir, struct kmsd_aliases **ret);
struct kmsd_aliases *kmsd_aliases_close(struct kmsd_aliases *a); /* accepts NULL, returns NULL */

struct result kmsd_aliases_find(struct kmsd_aliases *a, const char *account, const char *name, struct kmsd_alias *ret);
/* EXISTS if the account has the name already; TOO_LARGE over max_per_key names for one key. */
struct result kmsd_aliases_create(struct kmsd_aliases *a, const struct kmsd_alias *alias, size_t max_per_key);
struct result kmsd_aliases_point(struct kmsd_aliases *a, const struct kmsd_alias *alias); /* to another key */
struct result kmsd_aliases_delete(struct kmsd_aliases *a, const char *account, const char *name);
struct result kmsd_aliases_forget_key(struct kmsd_aliases *a, const char *key_id); /* none is fine */
/* In order of their names, at most max, those behind `after`; of one key unless key_id is NULL. The caller frees
 * *ret_list with mem_free. */
void kmsd_aliases_list(struct kmsd_aliases *a, const char *account, const char *key_id, const char *after, size_t max,
                       struct kmsd_alias **ret_list, size_t *ret_count, bool *ret_more);

#endif
