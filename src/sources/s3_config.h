/* The configuration of a bucket as a source, checked. Pure. */
#ifndef LOCKSET_SOURCES_S3_CONFIG_H
#define LOCKSET_SOURCES_S3_CONFIG_H

#include "sources/s3_object.h"

enum { S3_DEFAULT_POLL_S = 60, S3_MAX_POLL_S = 86400 };

struct s3_config {
    const char *bucket, *prefix, *pattern;              /* prefix "" and pattern NULL: none */
    const char *region, *endpoint;                      /* NULL: the deployment's region, AWS's endpoint */
    const char *access_key_id, *secret, *session_token; /* NULL: anonymous */
    int64_t poll_s;
    struct s3_format format;
    char *list_prefix; /* what to ask the bucket for; owned */
};
/* All strings are borrowed from what is given. INVALID. On success s3_config_done is called. */
struct result s3_config_read(const json_t *config, const json_t *format, const json_t *integration,
                             struct s3_config *ret);
void s3_config_done(struct s3_config *c); /* accepts zeroed */
struct result s3_config_check_integration(const json_t *integration);
bool s3_config_wants_key(const struct s3_config *c, const char *key);

#endif
