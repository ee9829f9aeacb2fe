/* Where AWS credentials come from: the environment, or a profile of a shared credentials file.
 * Source: https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html. */
#ifndef LOCKSET_AWS_CREDENTIALS_H
#define LOCKSET_AWS_CREDENTIALS_H

#include "base/buf.h"
#include "base/secret.h"

struct credentials {
    char *access_key_id;
    struct secret secret_key;
    struct secret session_token; /* len 0: none */
    int64_t expires_unix_ms;     /* 0: never */
};
void credentials_done(struct credentials *c); /* accepts zeroed; leaves it zeroed */
#define CREDENTIALS_AUTO(name) AUTO(credentials_done) struct credentials name = {0}
/* IO when the secure heap is exhausted. */
struct result credentials_copy(const struct credentials *c, struct credentials *ret);

/* Where to look. Zeroed: environment first, then the file of AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials. With
 * file or profile set only a file is read, never the variables with keys. Borrowed strings. */
struct credentials_source {
    const char *file;    /* NULL: AWS_SHARED_CREDENTIALS_FILE, else ~/.aws/credentials */
    const char *profile; /* NULL: AWS_PROFILE, else "default" */
};

/* Loads. NOT_FOUND when nothing is configured there (the detail says what was looked for and how to set it); INVALID
 * for half a configuration (a key without its secret), duplicates or a malformed file. The caller calls
 * credentials_done. Thread-safe as long as nobody changes the environment. */
struct result credentials_load(const struct credentials_source *source, struct credentials *ret);

/* AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN. */
struct result credentials_from_environment(struct credentials *ret);
/* One profile out of a file's text (pure); `name` is only for messages. */
struct result credentials_parse(struct slice text, const char *name, const char *profile, struct credentials *ret);

/* What a profile may say beside keys; NULL: not said. All owned. */
struct credentials_profile {
    struct credentials keys; /* access_key_id NULL: it has none */
    char *role_arn, *source_profile, *credential_source, *credential_process, *sso, *token_file, *session_name;
};
void credentials_profile_done(struct credentials_profile *p); /* accepts zeroed */
/* Like credentials_parse, for a section [`section`]; NOT_FOUND if there is none. INVALID for half a pair of keys. */
struct result credentials_parse_profile(struct slice text, const char *name, const char *section,
                                        struct credentials_profile *ret);

#endif
