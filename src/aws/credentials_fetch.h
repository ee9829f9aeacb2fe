/* One fetch from each source of the standard chain that needs more than the environment. Private to src/aws. Each: what
 * is configured in the environment is read by itself; NOT_FOUND means that it is not configured, or not there. */
#ifndef LOCKSET_AWS_CREDENTIALS_FETCH_H
#define LOCKSET_AWS_CREDENTIALS_FETCH_H

#include "aws/credentials_provider.h"

struct credentials_fetch {
    struct http_pool *pool; /* NULL: no network */
    const char *region;     /* NULL: from the environment */
    const bool *cancelled;
};

/* AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN. */
struct result credentials_fetch_web_identity(const struct credentials_fetch *f, struct credentials *ret);
/* The same for a role, a token's file and a session's name (NULL: one of ours). */
struct result credentials_assume_role(const struct credentials_fetch *f, const char *role_arn, const char *token_file,
                                      const char *session_name, struct credentials *ret);
/* Credentials and config files. */
struct result credentials_fetch_shared(const struct credentials_fetch *f, const struct credentials_source *source,
                                       struct credentials *ret);
/* AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI. */
struct result credentials_fetch_container(const struct credentials_fetch *f, struct credentials *ret);
struct result credentials_fetch_instance(const struct credentials_fetch *f, struct credentials *ret);

/* Pure: the answers. */
struct result credentials_parse_sts(struct slice xml, struct credentials *ret);
struct result credentials_parse_json(struct slice json, const char *what, struct credentials *ret);
/* Plain http only to this machine and to the addresses of containers' agents. */
bool credentials_uri_is_allowed(const char *uri);

#endif
