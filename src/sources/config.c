#include "sources/config.h"

#include <string.h>
#include <strings.h>

#include "base/clock.h"

#define MASK "********"

static const char *const kinds[] = {"s3", "kafka", "postgres"};
/* Rockset's others. */
static const char *const unserved[] = {
    "kinesis",   "dynamodb",    "gcs",      "mongodb", "azure_blob_storage", "azure_event_hubs", "azure_service_bus",
    "snowflake", "file_upload", "snapshot", "system",  "write_api"};

static bool is_absent(const json_t *o, const char *name) {
    const json_t *v = json_object_get(o, name);
    return !v || json_is_null(v);
}

static const char *text_of(const json_t *o, const char *name) {
    return json_string_value(json_object_get(o, name));
}

const struct source_driver *config_driver(const json_t *kept) {
    const char *kind = text_of(kept, "kind");
    return kind ? source_driver_find(kind) : NULL;
}

/* Exactly one kind, whose value is an object. */
static struct result find_kind(const json_t *asked, const char *what, const char **ret_kind, json_t **ret_config) {
    *ret_kind = NULL;
    for (size_t i = 0; i < ARRAY_LEN(unserved); i++)
        CHECK(is_absent(asked, unserved[i]), ERR_UNSUPPORTED,
              "%s of the kind '%s' is not served: there are s3, kafka and postgres", what, unserved[i]);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (is_absent(asked, kinds[i])) continue;
        CHECK(!*ret_kind, ERR_INVALID, "%s is of one kind: it has both '%s' and '%s'", what, *ret_kind, kinds[i]);
        TRY(json_get_object(asked, kinds[i], ret_config));
        *ret_kind = kinds[i];
    }
    CHECK(*ret_kind, ERR_INVALID, "%s needs one of 's3', 'kafka', 'postgres'", what);
    CHECK(source_driver_find(*ret_kind), ERR_UNSUPPORTED, "this server was built without the kind '%s'", *ret_kind);
    return OK;
}

static struct result check_size(const json_t *value) {
    BUF_AUTO(text, CONFIG_MAX_BYTES);
    text.wipes = true;
    TRY(json_write(value, &text));
    CHECK(is_ok(buf_check(&text)), ERR_INVALID, "a source or an integration is described in at most %d KiB",
          CONFIG_MAX_BYTES / 1024);
    return OK;
}

/* ---- sources ---- */

static struct result find_integration(const json_t *asked, const json_t *integrations, const char *kind,
                                      const json_t **ret_config) {
    const char *name = NULL;
    *ret_config = NULL;
    if (!is_absent(asked, "integration_name")) TRY(json_get_str(asked, "integration_name", &name));
    if (!name || !*name) return OK;
    const json_t *found = json_object_get(integrations, name);
    CHECK(found, ERR_NOT_FOUND, "there is no integration named '%.128s'", name);
    const char *own = text_of(found, "kind");
    CHECK(own && strcmp(own, kind) == 0, ERR_INVALID, "the integration '%.128s' is one for '%s', the source is of '%s'",
          name, own ? own : "?", kind);
    *ret_config = json_object_get(found, "config");
    return OK;
}

struct result config_make_source(const json_t *asked, const json_t *integrations, const char *id, int64_t now_ms,
                                 json_t **ret) {
    static const char *const members[] = {"id",
                                          "integration_name",
                                          "format_params",
                                          "ingest_transformation",
                                          "status",
                                          "suspended_at",
                                          "resume_at",
                                          "s3",
                                          "kafka",
                                          "postgres",
                                          "kinesis",
                                          "dynamodb",
                                          "gcs",
                                          "mongodb",
                                          "azure_blob_storage",
                                          "azure_event_hubs",
                                          "azure_service_bus",
                                          "snowflake",
                                          "file_upload",
                                          "snapshot",
                                          "system",
                                          "write_api",
                                          NULL};
    CHECK(json_is_object(asked), ERR_INVALID, "a source is an object");
    TRY(json_only(asked, members));
    CHECK(is_absent(asked, "ingest_transformation"), ERR_UNSUPPORTED,
          "'ingest_transformation' is not served: give the collection a field_mapping_query");
    const char *kind;
    json_t *config;
    const json_t *integration, *format = NULL;
    TRY(find_kind(asked, "a source", &kind, &config));
    TRY(find_integration(asked, integrations, kind, &integration));
    if (!is_absent(asked, "format_params")) {
        json_t *object;
        TRY(json_get_object(asked, "format_params", &object));
        format = object;
    }
    TRY(check_size(asked));
    TRY(source_driver_find(kind)->check(config, format, integration));
    json_t *o = json_pack("{s:s, s:s, s:O, s:I}", "id", id, "kind", kind, "config", config, "created_at_ms",
                          (json_int_t)now_ms);
    if (integration) json_object_set(o, "integration_name", json_object_get(asked, "integration_name"));
    if (format) json_object_set(o, "format_params", json_object_get(asked, "format_params"));
    *ret = o;
    return OK;
}

bool config_is_suspended(const json_t *source, int64_t now_ms) {
    json_int_t since = json_integer_value(json_object_get(source, "suspended_at_ms"));
    json_int_t until = json_integer_value(json_object_get(source, "resume_at_ms"));
    return since > 0 && (until == 0 || now_ms < until);
}

static void put_time(json_t *o, const char *name, const json_t *ms) {
    if (!json_is_integer(ms) || json_integer_value(ms) == 0) return;
    char text[CLOCK_ISO_BYTES];
    clock_format_iso(json_integer_value(ms), text);
    json_object_set_new(o, name, json_string(text));
}

json_t *config_shape_source(const json_t *kept) {
    json_t *o = json_object();
    json_object_set(o, "id", json_object_get(kept, "id"));
    json_t *name = json_object_get(kept, "integration_name");
    json_object_set_new(o, "integration_name", name ? json_incref(name) : json_null());
    json_t *config = json_deep_copy(json_object_get(kept, "config"));
    config_mask(config);
    const char *kind = text_of(kept, "kind");
    if (kind) json_object_set_new(o, kind, config);
    if (json_object_get(kept, "format_params"))
        json_object_set(o, "format_params", json_object_get(kept, "format_params"));
    if (config_is_suspended(kept, clock_unix_ms())) {
        put_time(o, "suspended_at", json_object_get(kept, "suspended_at_ms"));
        put_time(o, "resume_at", json_object_get(kept, "resume_at_ms"));
    }
    return o;
}

/* ---- integrations ---- */

static struct result check_name(const char *name) {
    size_t n = strlen(name);
    bool good = n >= 1 && n <= 128;
    for (size_t i = 0; i < n && good; i++) {
        char c = name[i];
        bool alphanumeric = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        good = alphanumeric || (i > 0 && (c == '_' || c == '-'));
    }
    CHECK(good, ERR_INVALID,
          "'%.60s' is no good name: a letter or digit first, then letters, digits, '-' and '_', at most 128 in all",
          name);
    return OK;
}

/* An answer sent back. */
static bool holds_mask(const json_t *value) {
    const char *name;
    size_t i;
    json_t *item;
    if (json_is_string(value)) return strstr(json_string_value(value), MASK) != NULL;
    json_array_foreach(value, i, item) if (holds_mask(item)) return true;
    json_object_foreach((json_t *)mem_unconst(value), name, item) if (holds_mask(item)) return true;
    return false;
}

struct result config_make_integration(const json_t *asked, const char *created_by, int64_t now_ms, json_t **ret) {
    static const char *const members[] = {"name",
                                          "description",
                                          "is_write_enabled",
                                          "s3",
                                          "kafka",
                                          "postgres",
                                          "kinesis",
                                          "dynamodb",
                                          "gcs",
                                          "mongodb",
                                          "snowflake",
                                          "azure_blob_storage",
                                          "azure_event_hubs",
                                          "azure_service_bus",
                                          NULL};
    TRY(json_only(asked, members));
    const char *name, *kind, *description = "";
    json_t *config;
    TRY(json_get_str(asked, "name", &name));
    TRY(check_name(name));
    if (!is_absent(asked, "description")) TRY(json_get_str(asked, "description", &description));
    CHECK(strlen(description) <= CONFIG_MAX_DESCRIPTION, ERR_INVALID, "'description' is over %d bytes",
          CONFIG_MAX_DESCRIPTION);
    TRY(find_kind(asked, "an integration", &kind, &config));
    TRY(check_size(asked));
    CHECK(!holds_mask(config), ERR_INVALID,
          "a secret is given as asterisks, as answers show it: give the secret itself");
    const struct source_driver *driver = source_driver_find(kind);
    if (driver->check_integration) TRY(driver->check_integration(config));
    *ret = json_pack("{s:s, s:s, s:s, s:I, s:s, s:O}", "name", name, "description", description, "created_by",
                     created_by, "created_at_ms", (json_int_t)now_ms, "kind", kind, "config", config);
    return OK;
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcasecmp(text + n - m, end) == 0;
}

static bool is_secret_name(const char *name) {
    static const char *const ends[] = {"password",    "secret",  "secret_key",  "secret_access_key",
                                       "passphrase",  "token",   "private_key", "sslkey",
                                       "credentials", "api_key", "key_pem",     "key_file_json",
                                       "apikey",      "passwd",  "keytab",      "account_key"};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        if (ends_with(name, ends[i])) return true;
    return false;
}

/* scheme://user:password@host -> scheme://user:********@host; NULL: there is none. */
static char *mask_uri(const char *text) {
    const char *scheme = strstr(text, "://");
    if (!scheme) return NULL;
    const char *begin = scheme + 3, *host = begin + strcspn(begin, "/?#");
    const char *at = memrchr(begin, '@', (size_t)(host - begin));
    if (!at) return NULL;
    const char *colon = memchr(begin, ':', (size_t)(at - begin));
    return colon ? str_format("%.*s:" MASK "%s", (int)(colon - text), text, at) : NULL;
}

/* What a string member shows: a URI may also carry its password behind the '?'. */
static json_t *masked(const char *name, const json_t *value) {
    const char *text = json_string_value(value);
    if (is_secret_name(name) || strcasestr(text, "password=") || strcasestr(text, "secret=")) return json_string(MASK);
    AUTO_FREE char *uri = mask_uri(text);
    return uri ? json_string(uri) : NULL;
}

void config_mask(json_t *value) {
    if (json_is_array(value)) {
        size_t i;
        json_t *item;
        json_array_foreach(value, i, item) config_mask(item);
        return;
    }
    const char *name;
    void *next;
    json_t *item;
    json_object_foreach_safe(value, next, name, item) {
        json_t *shown = NULL;
        if (json_is_string(item))
            shown = masked(name, item);
        else if (is_secret_name(name) && !json_is_null(item))
            shown = json_string(MASK);
        else
            config_mask(item);
        if (shown) json_object_set_new(value, name, shown);
    }
}

json_t *config_shape_integration(const json_t *kept, json_t *collections) {
    json_t *o = json_object();
    static const char *const same[] = {"name", "description", "created_by"};
    for (size_t i = 0; i < ARRAY_LEN(same); i++)
        json_object_set(o, same[i], json_object_get(kept, same[i]));
    put_time(o, "created_at", json_object_get(kept, "created_at_ms"));
    json_object_set_new(o, "is_write_enabled", json_false());
    json_object_set_new(o, "collections", collections);
    json_t *config = json_deep_copy(json_object_get(kept, "config"));
    config_mask(config);
    const char *kind = text_of(kept, "kind");
    if (kind) json_object_set_new(o, kind, config);
    return o;
}
