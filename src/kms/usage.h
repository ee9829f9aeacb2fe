/* When each key of a region was last used with success, and for which operation. Kept in memory and written down by
 * kmsd_usage_save, which the store's sweep calls: a process that is killed forgets at most the last second or so (AWS
 * itself may take an hour to know). Thread-safe.
 * Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_GetKeyLastUsage.html */
#ifndef LOCKSET_KMS_USAGE_H
#define LOCKSET_KMS_USAGE_H

#include "kms/blob.h"

enum { KMSD_OPERATION_BYTES = 40, KMSD_UUID_BYTES = 37 };

struct kmsd_use {
    char key_id[KMSD_KEY_ID_CHARS + 1];
    char operation[KMSD_OPERATION_BYTES];                        /* "Encrypt" */
    char request_id[KMSD_UUID_BYTES], event_id[KMSD_UUID_BYTES]; /* "": none */
    int64_t at_ms;
};

struct kmsd_usage; /* opaque */

/* DATA/usage.json; made by the first save. INVALID if it is damaged. */
struct result kmsd_usage_open(const char *data_dir, int64_t now_ms, struct kmsd_usage **ret);
struct kmsd_usage *kmsd_usage_close(struct kmsd_usage *u); /* accepts NULL, returns NULL */
/* Since when uses are recorded here at all. */
int64_t kmsd_usage_since_ms(const struct kmsd_usage *u);

void kmsd_usage_note(struct kmsd_usage *u, const struct kmsd_use *use);
bool kmsd_usage_find(struct kmsd_usage *u, const char *key_id, struct kmsd_use *ret); /* false: never used */
void kmsd_usage_forget(struct kmsd_usage *u, const char *key_id);
/* Writes down what changed since the last time. By one thread. */
struct result kmsd_usage_save(struct kmsd_usage *u);

#endif
