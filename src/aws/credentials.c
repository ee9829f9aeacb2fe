#include "aws/credentials.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { FILE_MAX_BYTES = 1 << 20 };

void credentials_done(struct credentials *c) {
    mem_free(c->access_key_id);
    secret_done(&c->secret_key);
    secret_done(&c->session_token);
    *c = (struct credentials){0};
}

struct result credentials_copy(const struct credentials *c, struct credentials *ret) {
    CREDENTIALS_AUTO(copy);
    TRY(secret_from(c->secret_key.data, c->secret_key.len, &copy.secret_key));
    if (c->session_token.len) TRY(secret_from(c->session_token.data, c->session_token.len, &copy.session_token));
    copy.access_key_id = str_dup(c->access_key_id);
    copy.expires_unix_ms = c->expires_unix_ms;
    *ret = copy;
    copy = (struct credentials){0};
    return OK;
}

static struct result check_access_key_id(struct slice id, const char *where) {
    CHECK(id.len > 0 && id.len <= 128, ERR_INVALID, "%s: an access key id has 1 to 128 characters", where);
    for (size_t i = 0; i < id.len; i++)
        CHECK(id.data[i] > ' ' && id.data[i] <= '~' && id.data[i] != '/' && id.data[i] != ',', ERR_INVALID,
              "%s: the access key id holds a character that can't be part of one", where);
    return OK;
}

/* Puts the three together. A token is taken as absent when empty. */
static struct result make(struct slice id, struct slice key, struct slice token, const char *where,
                          struct credentials *ret) {
    TRY(check_access_key_id(id, where));
    CREDENTIALS_AUTO(made);
    made.access_key_id = slice_to_str(id);
    TRY(secret_from(key.data, key.len, &made.secret_key));
    if (token.len > 0) TRY(secret_from(token.data, token.len, &made.session_token));
    *ret = made;
    made = (struct credentials){0};
    return OK;
}

static struct slice env(const char *name) {
    return slice_str(getenv(name));
}

struct result credentials_from_environment(struct credentials *ret) {
    struct slice id = env("AWS_ACCESS_KEY_ID"), key = env("AWS_SECRET_ACCESS_KEY");
    CHECK(id.len > 0 || key.len > 0, ERR_NOT_FOUND, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set");
    CHECK(id.len > 0, ERR_INVALID, "AWS_SECRET_ACCESS_KEY is set, but AWS_ACCESS_KEY_ID is not; set both");
    CHECK(key.len > 0, ERR_INVALID, "AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not; set both");
    return make(id, key, env("AWS_SESSION_TOKEN"), "environment", ret);
}

static struct slice trim(struct slice s) {
    while (s.len > 0 && (s.data[0] == ' ' || s.data[0] == '\t'))
        s = slice_make(s.data + 1, s.len - 1);
    while (s.len > 0 && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t' || s.data[s.len - 1] == '\r'))
        s.len--;
    return s;
}

enum entry {
    ENTRY_ID,
    ENTRY_KEY,
    ENTRY_TOKEN,
    ENTRY_ROLE,
    ENTRY_SOURCE_PROFILE,
    ENTRY_CREDENTIAL_SOURCE,
    ENTRY_PROCESS,
    ENTRY_SSO_SESSION,
    ENTRY_SSO_URL,
    ENTRY_TOKEN_FILE,
    ENTRY_SESSION_NAME,
    ENTRY_MAX
};
static const char *const entry_names[ENTRY_MAX] = {
    "aws_access_key_id", "aws_secret_access_key",   "aws_session_token",  "role_arn",
    "source_profile",    "credential_source",       "credential_process", "sso_session",
    "sso_start_url",     "web_identity_token_file", "role_session_name"};

struct parse {
    const char *name, *profile;
    struct slice values[ENTRY_MAX]; /* data NULL: not given */
    bool in_profile, found;
    unsigned line_number;
};

static struct result parse_section(struct parse *p, struct slice line) {
    CHECK(line.data[line.len - 1] == ']', ERR_INVALID, "%s line %u: a profile's name must stand in [ ]", p->name,
          p->line_number);
    struct slice section = trim(slice_make(line.data + 1, line.len - 2));
    p->in_profile = slice_is(section, p->profile);
    CHECK(!p->in_profile || !p->found, ERR_INVALID, "%s line %u: profile '%s' is there twice", p->name, p->line_number,
          p->profile);
    p->found = p->found || p->in_profile;
    return OK;
}

static struct result parse_entry(struct parse *p, struct slice line) {
    struct slice name, value;
    CHECK(slice_cut(line, '=', &name, &value), ERR_INVALID, "%s line %u: neither [profile] nor name = value", p->name,
          p->line_number);
    name = trim(name);
    for (size_t i = 0; i < ENTRY_MAX && p->in_profile; i++) {
        if (!slice_is(name, entry_names[i])) continue;
        CHECK(p->values[i].data == NULL, ERR_INVALID, "%s line %u: %s is there twice in profile '%s'", p->name,
              p->line_number, entry_names[i], p->profile);
        p->values[i] = trim(value);
    }
    return OK;
}

static struct result scan(struct slice text, struct parse *p) {
    CHECK(!slice_has_nul(text), ERR_INVALID, "%s: not a text file", p->name);
    struct slice line, rest = text;
    bool more = true;
    while (more) {
        more = slice_cut(rest, '\n', &line, &rest);
        p->line_number++;
        bool is_continuation = line.len > 0 && (line.data[0] == ' ' || line.data[0] == '\t');
        line = trim(line);
        /* Indented lines are nested settings of other tools. */
        if (line.len == 0 || line.data[0] == '#' || line.data[0] == ';' || is_continuation) continue;
        if (line.data[0] == '[')
            TRY(parse_section(p, line));
        else
            TRY(parse_entry(p, line));
    }
    CHECK(p->found, ERR_NOT_FOUND, "%s has no profile '%s'; add [%s] with %s and %s", p->name, p->profile, p->profile,
          entry_names[ENTRY_ID], entry_names[ENTRY_KEY]);
    return OK;
}

static struct result take_keys(const struct parse *p, struct credentials *ret) {
    for (size_t i = ENTRY_ID; i <= ENTRY_KEY; i++)
        CHECK(p->values[i].len > 0, ERR_INVALID, "%s: profile '%s' lacks %s", p->name, p->profile, entry_names[i]);
    return make(p->values[ENTRY_ID], p->values[ENTRY_KEY], p->values[ENTRY_TOKEN], p->name, ret);
}

struct result credentials_parse(struct slice text, const char *name, const char *profile, struct credentials *ret) {
    struct parse p = {.name = name, .profile = profile};
    TRY(scan(text, &p));
    return take_keys(&p, ret);
}

void credentials_profile_done(struct credentials_profile *p) {
    credentials_done(&p->keys);
    mem_free(p->role_arn);
    mem_free(p->source_profile);
    mem_free(p->credential_source);
    mem_free(p->credential_process);
    mem_free(p->sso);
    mem_free(p->token_file);
    mem_free(p->session_name);
    *p = (struct credentials_profile){0};
}

static char *value(const struct parse *p, enum entry e) {
    return p->values[e].len ? slice_to_str(p->values[e]) : NULL;
}

struct result credentials_parse_profile(struct slice text, const char *name, const char *section,
                                        struct credentials_profile *ret) {
    struct parse p = {.name = name, .profile = section};
    TRY(scan(text, &p));
    AUTO(credentials_profile_done) struct credentials_profile made = {0};
    if (p.values[ENTRY_ID].len || p.values[ENTRY_KEY].len) TRY(take_keys(&p, &made.keys));
    made.role_arn = value(&p, ENTRY_ROLE);
    made.source_profile = value(&p, ENTRY_SOURCE_PROFILE);
    made.credential_source = value(&p, ENTRY_CREDENTIAL_SOURCE);
    made.credential_process = value(&p, ENTRY_PROCESS);
    made.sso = value(&p, p.values[ENTRY_SSO_SESSION].len ? ENTRY_SSO_SESSION : ENTRY_SSO_URL);
    made.token_file = value(&p, ENTRY_TOKEN_FILE);
    made.session_name = value(&p, ENTRY_SESSION_NAME);
    *ret = made;
    made = (struct credentials_profile){0};
    return OK;
}

static struct result load_file(const char *path, const char *profile, struct credentials *ret) {
    BUF_AUTO(text, FILE_MAX_BYTES);
    text.wipes = true;
    TRY(file_read(path, FILE_MAX_BYTES, &text));
    return credentials_parse(buf_slice(&text), path, profile, ret);
}

/* The caller frees; NULL if there is no home. */
static char *default_path(void) {
    const char *file = getenv("AWS_SHARED_CREDENTIALS_FILE");
    if (file && *file) return str_dup(file);
    const char *home = getenv("HOME");
    return home && *home ? str_format("%s/.aws/credentials", home) : NULL;
}

struct result credentials_load(const struct credentials_source *source, struct credentials *ret) {
    if (source->file == NULL && source->profile == NULL &&
        (env("AWS_ACCESS_KEY_ID").len > 0 || env("AWS_SECRET_ACCESS_KEY").len > 0))
        return credentials_from_environment(ret);
    AUTO_FREE char *path = source->file ? str_dup(source->file) : default_path();
    const char *profile = source->profile ? source->profile : getenv("AWS_PROFILE");
    if (profile == NULL || *profile == 0) profile = "default";
    CHECK(path, ERR_NOT_FOUND,
          "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SHARED_CREDENTIALS_FILE");
    struct result r = load_file(path, profile, ret);
    bool is_fallback = source->file == NULL && source->profile == NULL;
    if (r.code == ERR_NOT_FOUND && is_fallback)
        FAIL(ERR_NOT_FOUND,
             "no AWS credentials: AWS_ACCESS_KEY_ID is not set, and %.80s has no profile '%.40s'; set the variables or "
             "name a file in AWS_SHARED_CREDENTIALS_FILE",
             path, profile);
    return r;
}
