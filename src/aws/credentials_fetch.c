#include "aws/credentials_fetch.h"

#include <stdlib.h>
#include <string.h>

#include "aws/s3_wire.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"

enum {
    TOKEN_MAX_BYTES = 65536,
    ANSWER_MAX_BYTES = 256 * 1024,
    NETWORK_TIMEOUT_MS = 10000,
    LOCAL_TIMEOUT_MS = 5000,
    INSTANCE_CONNECT_MS = 1000,
    ATTEMPTS = 3,
    PAUSE_MS = 200
};

/* Set and not empty, or NULL. */
static const char *env(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* A few attempts: metadata services are small and restart. */
static struct result ask(const struct credentials_fetch *f, const struct http_call *call, const char *what,
                         struct http_reply *ret) {
    CHECK(f->pool, ERR_UNSUPPORTED, "%s: credentials over the network are not served here", what);
    struct http_call own = *call;
    own.cancelled = f->cancelled;
    own.max_reply_bytes = ANSWER_MAX_BYTES;
    for (unsigned n = 1;; n++) {
        struct result r = http_call(f->pool, &own, ret);
        bool again = is_ok(r) ? ret->status == 429 || ret->status >= 500 : r.code == ERR_PEER || r.code == ERR_TIMEOUT;
        if (!again || n == ATTEMPTS) {
            if (r.code == ERR_CANCELLED) return r;
            CHECK(is_ok(r), ERR_UNREACHABLE, "%s can't be reached", what);
            return OK;
        }
        if (is_ok(r)) http_reply_done(ret);
        clock_sleep_ms(PAUSE_MS * n);
    }
}

static struct result check_status(const struct http_reply *reply, const char *what) {
    if (reply->status == 200) return OK;
    if (reply->status == 429 || reply->status >= 500) FAIL(ERR_UNREACHABLE, "%s answers %d", what, reply->status);
    FAIL(ERR_FORBIDDEN, "%s answers %d", what, reply->status);
}

static struct result make(const char *id, const char *key, const char *token, const char *expires, const char *what,
                          struct credentials *ret) {
    CREDENTIALS_AUTO(c);
    CHECK(*id && *key && strlen(id) <= 128, ERR_PEER, "%s: the answer holds no credentials", what);
    CHECK(!*expires || s3_wire_parse_time(expires, &c.expires_unix_ms), ERR_PEER,
          "%s: the credentials' end can't be read", what);
    c.access_key_id = str_dup(id);
    TRY(secret_from(key, strlen(key), &c.secret_key));
    if (*token) TRY(secret_from(token, strlen(token), &c.session_token));
    *ret = c;
    c = (struct credentials){0};
    return OK;
}

/* ---- web identity ---- */

static void wipe_tree(struct xml_node **root) {
    for (struct xml_node *n = *root; n; n = n->next) {
        wipe(n->text, strlen(n->text));
        if (n->first_child) wipe_tree(&n->first_child);
    }
}

static void xml_free_wiping(struct xml_node **root) {
    wipe_tree(root);
    xml_free(*root);
}

struct result credentials_parse_sts(struct slice xml, struct credentials *ret) {
    AUTO(xml_free_wiping) struct xml_node *root = NULL;
    CHECK(is_ok(xml_parse(xml, &root)), ERR_PEER, "STS: the answer can't be read");
    const struct xml_node *made = xml_child(root, "AssumeRoleWithWebIdentityResult");
    const struct xml_node *c = made ? xml_child(made, "Credentials") : NULL;
    CHECK(c, ERR_PEER, "STS: the answer holds no credentials");
    return make(s3_wire_child(c, "AccessKeyId"), s3_wire_child(c, "SecretAccessKey"), s3_wire_child(c, "SessionToken"),
                s3_wire_child(c, "Expiration"), "STS", ret);
}

static struct result sts_refused(const struct http_reply *reply, const char *role) {
    AUTO(xml_free_auto) struct xml_node *root = NULL;
    const struct xml_node *error = NULL;
    char code[65];
    if (reply->body.len && is_ok(xml_parse(buf_slice(&reply->body), &root))) error = xml_child(root, "Error");
    s3_wire_clean(code, sizeof code, error ? s3_wire_child(error, "Code") : "");
    if (reply->status == 429 || reply->status >= 500 || strcmp(code, "IDPCommunicationError") == 0)
        FAIL(ERR_UNREACHABLE, "STS can't give the role %s now: %d %s", role, reply->status, code);
    FAIL(ERR_FORBIDDEN, "STS does not give the role %s: %d %s", role, reply->status, code);
}

static char *sts_endpoint(const struct credentials_fetch *f) {
    const char *own = env("AWS_ENDPOINT_URL_STS");
    if (own) return str_dup(own);
    const char *region = f->region ? f->region : env("AWS_REGION");
    if (!region) region = env("AWS_DEFAULT_REGION");
    if (!region) region = "us-east-1";
    return str_format("https://sts.%s.amazonaws.com%s", region, strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
}

struct result credentials_assume_role(const struct credentials_fetch *f, const char *role_arn, const char *token_file,
                                      const char *session_name, struct credentials *ret) {
    AUTO(buf_done) struct buf token, form;
    buf_init_wiping(&token, TOKEN_MAX_BYTES);
    buf_init_wiping(&form, 4 * TOKEN_MAX_BYTES);
    struct result read = file_read(token_file, TOKEN_MAX_BYTES, &token);
    CHECK(is_ok(read), ERR_INVALID, "the web identity token in %.200s can't be read", token_file);
    buf_append_str(&form, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=");
    percent_encode(slice_str(role_arn), false, &form);
    buf_append_str(&form, "&RoleSessionName=");
    percent_encode(slice_str(session_name ? session_name : "lockset"), false, &form);
    buf_append_str(&form, "&WebIdentityToken=");
    struct slice text = buf_slice(&token);
    while (text.len && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == '\r'))
        text.len--;
    percent_encode(text, false, &form);
    TRY(buf_check(&form));
    AUTO_FREE char *url = sts_endpoint(f);
    struct http_field fields[] = {{"Content-Type", "application/x-www-form-urlencoded"}, {0}};
    struct http_call call = {.method = "POST",
                             .url = url,
                             .fields = fields,
                             .body = buf_slice(&form),
                             .connect_timeout_ms = LOCAL_TIMEOUT_MS,
                             .timeout_ms = NETWORK_TIMEOUT_MS};
    AUTO(http_reply_done) struct http_reply reply = {0};
    TRY(ask(f, &call, "STS", &reply));
    if (reply.status != 200) return sts_refused(&reply, role_arn);
    return credentials_parse_sts(buf_slice(&reply.body), ret);
}

struct result credentials_fetch_web_identity(const struct credentials_fetch *f, struct credentials *ret) {
    const char *file = env("AWS_WEB_IDENTITY_TOKEN_FILE"), *role = env("AWS_ROLE_ARN");
    CHECK(file, ERR_NOT_FOUND, "AWS_WEB_IDENTITY_TOKEN_FILE is not set");
    CHECK(role, ERR_INVALID, "AWS_WEB_IDENTITY_TOKEN_FILE is set, but AWS_ROLE_ARN is not; set both");
    return credentials_assume_role(f, role, file, env("AWS_ROLE_SESSION_NAME"), ret);
}

/* ---- shared files ---- */

static char *path_of(const char *variable, const char *name) {
    if (env(variable)) return str_dup(env(variable));
    return env("HOME") ? str_format("%s/.aws/%s", env("HOME"), name) : NULL;
}

/* NOT_FOUND: no such file or section. */
static struct result read_profile(const char *path, const char *section, struct credentials_profile *ret) {
    BUF_AUTO(text, 1 << 20);
    text.wipes = true;
    CHECK(path, ERR_NOT_FOUND, "there is no home folder");
    TRY(file_read(path, 1 << 20, &text));
    return credentials_parse_profile(buf_slice(&text), path, section, ret);
}

static struct result use_profile(const struct credentials_fetch *f, const char *profile,
                                 const struct credentials_profile *p, struct credentials *ret) {
    if (p->role_arn && p->token_file)
        return credentials_assume_role(f, p->role_arn, p->token_file, p->session_name, ret);
    CHECK(!p->role_arn, ERR_UNSUPPORTED,
          "profile '%s' assumes a role from other credentials (role_arn), which Lockset does not do; give it keys, or "
          "web_identity_token_file",
          profile);
    if (p->keys.access_key_id) return credentials_copy(&p->keys, ret);
    CHECK(!p->sso, ERR_UNSUPPORTED, "profile '%s' signs in through SSO, which Lockset does not do", profile);
    CHECK(!p->credential_process, ERR_UNSUPPORTED,
          "profile '%s' names a credential_process, which Lockset does not run", profile);
    FAIL(ERR_NOT_FOUND, "profile '%s' holds no credentials", profile);
}

struct result credentials_fetch_shared(const struct credentials_fetch *f, const struct credentials_source *source,
                                       struct credentials *ret) {
    if (source->file) return credentials_load(source, ret);
    const char *profile = source->profile ? source->profile : env("AWS_PROFILE");
    bool asked_for = profile != NULL;
    if (!profile) profile = "default";
    AUTO_FREE char *keys_path = path_of("AWS_SHARED_CREDENTIALS_FILE", "credentials");
    AUTO_FREE char *config_path = path_of("AWS_CONFIG_FILE", "config");
    AUTO_FREE char *section = strcmp(profile, "default") == 0 ? str_dup(profile) : str_format("profile %s", profile);
    AUTO(credentials_profile_done) struct credentials_profile keys = {0}, config = {0};
    struct result from_keys = read_profile(keys_path, profile, &keys);
    if (is_err(from_keys) && from_keys.code != ERR_NOT_FOUND) return from_keys;
    struct result from_config = read_profile(config_path, section, &config);
    if (is_err(from_config) && from_config.code != ERR_NOT_FOUND) return from_config;
    if (is_err(from_keys) && is_err(from_config)) {
        /* A profile that was named must be there. */
        enum err_code code = asked_for ? ERR_INVALID : ERR_NOT_FOUND;
        FAIL(code, "there is no profile '%s' in %s or %s", profile, keys_path ? keys_path : "-",
             config_path ? config_path : "-");
    }
    bool first = is_ok(from_keys) && (keys.role_arn || (keys.keys.access_key_id && !config.role_arn));
    struct result r = use_profile(f, profile, first || is_err(from_config) ? &keys : &config, ret);
    if (r.code == ERR_NOT_FOUND && asked_for) FAIL(ERR_INVALID, "profile '%s' holds no credentials", profile);
    return r;
}

/* ---- containers ---- */

struct result credentials_parse_json(struct slice text, const char *what, struct credentials *ret) {
    JSON_AUTO(j);
    const char *id = "", *key = "", *token = "", *expires = "";
    CHECK(is_ok(json_parse_object(text, &j)) && is_ok(json_opt_str(j, "AccessKeyId", &id)) &&
              is_ok(json_opt_str(j, "SecretAccessKey", &key)) && is_ok(json_opt_str(j, "Token", &token)) &&
              is_ok(json_opt_str(j, "Expiration", &expires)),
          ERR_PEER, "%s: the answer can't be read", what);
    return make(id, key, token, expires, what, ret);
}

bool credentials_uri_is_allowed(const char *uri) {
    if (strncmp(uri, "https://", 8) == 0) return uri[8] != 0;
    if (strncmp(uri, "http://", 7) != 0) return false;
    static const char *const hosts[] = {"localhost",     "127.0.0.1",      "[::1]",
                                        "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"};
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        size_t n = strlen(hosts[i]);
        const char *rest = uri + 7 + n;
        if (strncmp(uri + 7, hosts[i], n) != 0) continue;
        if (*rest == ':') rest += 1 + strspn(rest + 1, "0123456789");
        if (*rest == 0 || *rest == '/' || *rest == '?') return true;
    }
    return false;
}

struct result credentials_fetch_container(const struct credentials_fetch *f, struct credentials *ret) {
    static const char what[] = "the container's credentials";
    const char *relative = env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
               *full = env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    CHECK(relative || full, ERR_NOT_FOUND, "AWS_CONTAINER_CREDENTIALS_FULL_URI is not set");
    CHECK(!relative || *relative == '/', ERR_INVALID, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI must begin with /");
    AUTO_FREE char *url = relative ? str_format("http://169.254.170.2%s", relative) : str_dup(full);
    CHECK(credentials_uri_is_allowed(url), ERR_INVALID,
          "AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, or on this machine");
    AUTO(buf_done) struct buf token;
    buf_init_wiping(&token, TOKEN_MAX_BYTES);
    const char *file = env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    if (file) {
        CHECK(is_ok(file_read(file, TOKEN_MAX_BYTES, &token)), ERR_INVALID,
              "the token in AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE can't be read");
        while (token.len && (token.data[token.len - 1] == '\n' || token.data[token.len - 1] == '\r'))
            token.data[--token.len] = 0;
    } else if (env("AWS_CONTAINER_AUTHORIZATION_TOKEN")) {
        buf_append_str(&token, env("AWS_CONTAINER_AUTHORIZATION_TOKEN"));
    }
    struct http_field fields[] = {{"Accept", "application/json"}, {0}, {0}};
    if (token.len) fields[1] = (struct http_field){"Authorization", buf_str(&token)};
    struct http_call call = {.method = "GET",
                             .url = url,
                             .fields = fields,
                             .connect_timeout_ms = LOCAL_TIMEOUT_MS,
                             .timeout_ms = LOCAL_TIMEOUT_MS};
    AUTO(http_reply_done) struct http_reply reply = {0};
    TRY(ask(f, &call, what, &reply));
    TRY(check_status(&reply, what));
    return credentials_parse_json(buf_slice(&reply.body), what, ret);
}

/* ---- instance metadata: version 2 only ---- */

struct instance {
    const struct credentials_fetch *f;
    const char *base;
    struct buf token;
};

static void instance_done(struct instance *i) {
    buf_done(&i->token);
}

static struct result instance_ask(struct instance *i, const char *method, const char *path, struct http_reply *ret) {
    AUTO_FREE char *url = str_format("%s%s", i->base, path);
    struct http_field fields[] = {{"X-aws-ec2-metadata-token-ttl-seconds", "21600"}, {0}};
    if (i->token.len) fields[0] = (struct http_field){"X-aws-ec2-metadata-token", buf_str(&i->token)};
    struct http_call call = {.method = method,
                             .url = url,
                             .fields = fields,
                             .connect_timeout_ms = INSTANCE_CONNECT_MS,
                             .timeout_ms = LOCAL_TIMEOUT_MS};
    return ask(i->f, &call, "the instance's metadata", ret);
}

static struct result instance_token(struct instance *i) {
    AUTO(http_reply_done) struct http_reply reply = {0};
    struct result r = instance_ask(i, "PUT", "/latest/api/token", &reply);
    /* Nobody there: this is no instance. */
    CHECK(r.code != ERR_UNREACHABLE, ERR_NOT_FOUND, "there is no instance metadata service");
    TRY(r);
    CHECK(reply.status != 404 && reply.status != 405, ERR_NOT_FOUND, "there is no instance metadata service (IMDSv2)");
    TRY(check_status(&reply, "the instance's metadata"));
    buf_append_slice(&i->token, buf_slice(&reply.body));
    CHECK(i->token.len, ERR_PEER, "the instance's metadata service gave no token");
    return buf_check(&i->token);
}

static const char roles_path[] = "/latest/meta-data/iam/security-credentials/";

static struct result instance_role(struct instance *i, char **ret_path) {
    AUTO(http_reply_done) struct http_reply reply = {0};
    TRY(instance_ask(i, "GET", roles_path, &reply));
    CHECK(reply.status != 404, ERR_NOT_FOUND, "the instance has no role");
    TRY(check_status(&reply, "the instance's metadata"));
    struct slice role, rest;
    slice_cut(buf_slice(&reply.body), '\n', &role, &rest);
    if (role.len && role.data[role.len - 1] == '\r') role.len--;
    CHECK(role.len && role.len <= 128, ERR_NOT_FOUND, "the instance has no role");
    BUF_AUTO(path, 1024);
    buf_append_str(&path, roles_path);
    percent_encode(role, false, &path);
    TRY(buf_check(&path));
    *ret_path = buf_take_str(&path);
    return OK;
}

struct result credentials_fetch_instance(const struct credentials_fetch *f, struct credentials *ret) {
    const char *off = env("AWS_EC2_METADATA_DISABLED"), *own = env("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    const char *mode = env("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    CHECK(!off || strcasecmp(off, "true") != 0, ERR_NOT_FOUND, "AWS_EC2_METADATA_DISABLED is true");
    CHECK(f->pool, ERR_NOT_FOUND, "instance metadata is not asked here");
    bool six = mode && strcasecmp(mode, "ipv6") == 0;
    AUTO_FREE char *base = str_dup(own ? own : six ? "http://[fd00:ec2::254]" : "http://169.254.169.254");
    size_t n = strlen(base);
    if (n && base[n - 1] == '/') base[n - 1] = 0;
    AUTO(instance_done) struct instance i = {.f = f, .base = base};
    buf_init_wiping(&i.token, 4096);
    TRY(instance_token(&i));
    AUTO_FREE char *path = NULL;
    TRY(instance_role(&i, &path));
    AUTO(http_reply_done) struct http_reply reply = {0};
    TRY(instance_ask(&i, "GET", path, &reply));
    TRY(check_status(&reply, "the instance's metadata"));
    return credentials_parse_json(buf_slice(&reply.body), "the instance's metadata", ret);
}
