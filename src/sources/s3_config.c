#include "sources/s3_config.h"

#include <string.h>

#include "sources/glob.h"

struct result s3_config_check_integration(const json_t *integration) {
    static const char *const members[] = {"aws_access_key", "aws_role", "endpoint", "region", NULL};
    static const char *const key_members[] = {"aws_access_key_id", "aws_secret_access_key", "aws_session_token", NULL};
    TRY(json_only(integration, members));
    const json_t *role = json_object_get(integration, "aws_role");
    CHECK(!role || json_is_null(role), ERR_INVALID,
          "aws_role is not served: give an aws_access_key, or none for public "
          "buckets");
    const char *text = NULL;
    TRY(json_opt_str(integration, "endpoint", &text));
    TRY(json_opt_str(integration, "region", &text));
    json_t *key = NULL;
    TRY(json_opt_object(integration, "aws_access_key", &key));
    if (!key) return OK;
    TRY(json_only(key, key_members));
    TRY(json_get_str(key, "aws_access_key_id", &text));
    CHECK(*text && strlen(text) <= 128, ERR_INVALID, "aws_access_key_id has 1 to 128 characters");
    TRY(json_get_str(key, "aws_secret_access_key", &text));
    CHECK(*text && strlen(text) <= 256, ERR_INVALID, "aws_secret_access_key has 1 to 256 characters");
    TRY(json_opt_str(key, "aws_session_token", &text));
    return OK;
}

static void take_credentials(const json_t *integration, struct s3_config *c) {
    const json_t *key = json_object_get(integration, "aws_access_key");
    c->access_key_id = json_string_value(json_object_get(key, "aws_access_key_id"));
    c->secret = json_string_value(json_object_get(key, "aws_secret_access_key"));
    c->session_token = json_string_value(json_object_get(key, "aws_session_token"));
    const char *endpoint = json_string_value(json_object_get(integration, "endpoint"));
    const char *region = json_string_value(json_object_get(integration, "region"));
    if (endpoint) c->endpoint = endpoint;
    if (region) c->region = region;
}

/* A client takes the addresses apart; none is needed to see that they are good. */
static struct result check_address(const struct s3_config *c) {
    struct s3_client_options o = {
        .endpoint = c->endpoint, .region = c->region ? c->region : "us-east-1", .bucket = c->bucket};
    struct s3_client *client;
    TRY(s3_client_new(&o, &client));
    s3_client_free(client);
    return OK;
}

/* Everything before the first special character of the pattern, if that says more than the prefix. */
static char *find_list_prefix(const struct s3_config *c) {
    if (!c->pattern) return str_dup(c->prefix);
    size_t n = glob_literal(c->pattern);
    return n > strlen(c->prefix) ? str_ndup(c->pattern, n) : str_dup(c->prefix);
}

static struct result read_texts(const json_t *config, struct s3_config *c) {
    static const char *const members[] = {"bucket", "prefix", "pattern", "region", "endpoint", "poll_interval_secs",
                                          NULL};
    TRY(json_only(config, members));
    TRY(json_get_str(config, "bucket", &c->bucket));
    TRY(json_opt_str(config, "prefix", &c->prefix));
    TRY(json_opt_str(config, "pattern", &c->pattern));
    TRY(json_opt_str(config, "region", &c->region));
    TRY(json_opt_str(config, "endpoint", &c->endpoint));
    TRY(json_opt_int(config, "poll_interval_secs", 1, S3_MAX_POLL_S, &c->poll_s));
    if (c->pattern && !*c->pattern) c->pattern = NULL;
    CHECK(strlen(c->prefix) <= S3_CLIENT_MAX_KEY_BYTES, ERR_INVALID, "'prefix' is over %d bytes",
          S3_CLIENT_MAX_KEY_BYTES);
    CHECK(!c->pattern || strlen(c->pattern) <= GLOB_MAX_BYTES, ERR_INVALID, "'pattern' is over %d bytes",
          GLOB_MAX_BYTES);
    return OK;
}

struct result s3_config_read(const json_t *config, const json_t *format, const json_t *integration,
                             struct s3_config *ret) {
    struct s3_config c = {.prefix = "", .poll_s = S3_DEFAULT_POLL_S};
    TRY(read_texts(config, &c));
    if (integration) {
        TRY(s3_config_check_integration(integration));
        take_credentials(integration, &c);
    }
    TRY(check_address(&c));
    TRY(s3_format_read(format, &c.format));
    c.list_prefix = find_list_prefix(&c);
    *ret = c;
    return OK;
}

void s3_config_done(struct s3_config *c) {
    mem_free(c->list_prefix);
    *c = (struct s3_config){0};
}

bool s3_config_wants_key(const struct s3_config *c, const char *key) {
    return strncmp(key, c->prefix, strlen(c->prefix)) == 0 && (!c->pattern || glob_matches(c->pattern, key));
}
