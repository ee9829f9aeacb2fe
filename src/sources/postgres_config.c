#include "sources/postgres_config.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/crypto.h"

enum { MAX_PORT = 65535, DEFAULT_PORT = 5432, MAX_TEXT_BYTES = 1024, HASH_BYTES = 8 };

#define SLOT_PREFIX "lockset_"

/* "lockset_" and the source's id in what slots may be named with: lower-case letters, digits, underscores. Hyphens and
 * capitals are only written differently; an id that doesn't fit otherwise is told apart by its hash. */
static struct result name_slot(const char *source_id, char ret[static POSTGRES_NAME_BYTES]) {
    size_t at = strlen(SLOT_PREFIX), room = POSTGRES_NAME_BYTES - 1 - 2 * (size_t)HASH_BYTES - 1;
    bool exact = strlen(source_id) + at < POSTGRES_NAME_BYTES;
    for (const char *c = source_id; *c; c++)
        exact = exact && (isalnum((unsigned char)*c) || *c == '_' || *c == '-');
    snprintf(ret, POSTGRES_NAME_BYTES, SLOT_PREFIX);
    for (const char *c = source_id; *c && at < (exact ? POSTGRES_NAME_BYTES - 1 : room); c++)
        ret[at++] = isalnum((unsigned char)*c) ? (char)tolower((unsigned char)*c) : '_';
    ret[at] = '\0';
    if (exact) return OK;
    uint8_t digest[SHA256_BYTES];
    TRY(sha256(slice_str(source_id), digest));
    ret[at++] = '_';
    for (int i = 0; i < HASH_BYTES; i++, at += 2)
        snprintf(ret + at, 3, "%02x", digest[i]);
    return OK;
}

/* The next part of "schema.table": up to a dot, or in double quotes, where "" stands for one. */
static struct result take_name(const char **at, char ret[static POSTGRES_NAME_BYTES]) {
    size_t len = 0;
    bool quoted = **at == '"';
    *at += quoted;
    for (; **at; (*at)++) {
        if (quoted && **at == '"' && (*at)[1] != '"') break;
        if (!quoted && **at == '.') break;
        CHECK(quoted || **at != '"', ERR_INVALID, "\"table\" has a quote inside of a name");
        *at += quoted && **at == '"';
        CHECK(len < POSTGRES_NAME_BYTES - 1, ERR_INVALID, "\"table\" holds a name of more than %d bytes",
              POSTGRES_NAME_BYTES - 1);
        ret[len++] = **at;
    }
    ret[len] = '\0';
    CHECK(!quoted || **at == '"', ERR_INVALID, "\"table\" has a quote that does not end");
    *at += quoted;
    CHECK(len > 0, ERR_INVALID, "\"table\" must name schema and table, for example \"public.orders\"");
    return OK;
}

static struct result read_table(const char *text, struct postgres_config *ret) {
    TRY(take_name(&text, ret->schema));
    CHECK(*text == '.', ERR_INVALID, "\"table\" must name schema and table, for example \"public.orders\"");
    text++;
    TRY(take_name(&text, ret->table));
    CHECK(*text == '\0', ERR_INVALID, "\"table\" must be schema.table; put names with a dot in double quotes");
    return OK;
}

static struct result read_source(const char *source_id, const json_t *config, struct postgres_config *ret) {
    static const char *const members[] = {"table", "publication", NULL};
    const char *table = NULL, *publication = NULL;
    CHECK(json_is_object(config), ERR_INVALID, "a PostgreSQL source needs a \"table\"");
    CHECK(!json_object_get(config, "tables"), ERR_INVALID,
          "a PostgreSQL source reads one table: give \"table\", and make a source for each");
    TRY(json_only(config, members));
    TRY(json_get_str(config, "table", &table));
    TRY(read_table(table, ret));
    TRY(name_slot(source_id ? source_id : "check", ret->slot));
    TRY(json_opt_str(config, "publication", &publication));
    ret->owns_publication = publication == NULL;
    if (!publication) publication = ret->slot;
    CHECK(*publication && strlen(publication) < POSTGRES_NAME_BYTES, ERR_INVALID,
          "\"publication\" must have 1 to %d bytes", POSTGRES_NAME_BYTES - 1);
    snprintf(ret->publication, sizeof ret->publication, "%s", publication);
    return OK;
}

static struct result read_format(const json_t *format) {
    static const char *const members[] = {"json", NULL};
    bool json = true;
    if (!format || json_is_null(format)) return OK;
    CHECK(json_is_object(format) && is_ok(json_only(format, members)) && is_ok(json_opt_bool(format, "json", &json)) &&
              json,
          ERR_INVALID, "format_params don't apply to a PostgreSQL source: rows become documents");
    return OK;
}

static struct result get_text(const json_t *integration, const char *name, const char **ret) {
    TRY(json_get_str(integration, name, ret));
    CHECK(**ret && strlen(*ret) <= MAX_TEXT_BYTES, ERR_INVALID, "'%s' must have 1 to %d bytes", name, MAX_TEXT_BYTES);
    return OK;
}

/* A name or an address; not a list, not a folder of sockets. */
static struct result check_host(const char *host) {
    for (const char *c = host; *c; c++)
        CHECK(isalnum((unsigned char)*c) || strchr(".-_:", *c), ERR_INVALID,
              "'host' must be one host name or address, without port or slashes");
    return OK;
}

struct result postgres_address_read(const json_t *integration, struct postgres_address *ret) {
    static const char *const members[] = {"host", "port", "dbname", "user", "password", "sslmode", "sslrootcert", NULL};
    static const char *const modes[] = {"disable", "require", "verify-ca", "verify-full"};
    int64_t port = DEFAULT_PORT;
    CHECK(json_is_object(integration), ERR_INVALID,
          "a PostgreSQL source needs an integration with host, dbname, user and password");
    TRY(json_only(integration, members));
    TRY(get_text(integration, "host", &ret->host));
    TRY(check_host(ret->host));
    TRY(json_opt_int(integration, "port", 1, MAX_PORT, &port));
    ret->port = (unsigned)port;
    TRY(get_text(integration, "dbname", &ret->dbname));
    TRY(get_text(integration, "user", &ret->user));
    TRY(get_text(integration, "password", &ret->password));
    ret->sslmode = "verify-full";
    TRY(json_opt_str(integration, "sslmode", &ret->sslmode));
    bool known = false;
    for (size_t i = 0; i < ARRAY_LEN(modes); i++)
        known = known || strcmp(ret->sslmode, modes[i]) == 0;
    CHECK(known, ERR_INVALID, "'sslmode' must be disable, require, verify-ca or verify-full (the default)");
    TRY(json_opt_str(integration, "sslrootcert", &ret->sslrootcert));
    CHECK(!ret->sslrootcert || strstr(ret->sslrootcert, "-----BEGIN CERTIFICATE-----"), ERR_INVALID,
          "'sslrootcert' must be the text of certificates in PEM, not a file's name");
    return OK;
}

struct result postgres_config_read(const char *source_id, const json_t *config, const json_t *format,
                                   const json_t *integration, struct postgres_config *ret) {
    *ret = (struct postgres_config){0};
    TRY(read_source(source_id, config, ret));
    TRY(read_format(format));
    return postgres_address_read(integration, &ret->address);
}
