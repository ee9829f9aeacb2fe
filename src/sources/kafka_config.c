#include "sources/kafka_config.h"

#include <ctype.h>
#include <string.h>

enum { SERVERS_MAX_BYTES = 4096, CREDENTIAL_MAX_BYTES = 1024 };

static struct result check_topic(const char *name) {
    size_t n = strlen(name);
    CHECK(n > 0, ERR_INVALID, "kafka_topic_name must not be empty");
    CHECK(n <= KAFKA_TOPIC_MAX_BYTES, ERR_INVALID, "kafka_topic_name is longer than %d characters",
          KAFKA_TOPIC_MAX_BYTES);
    CHECK(strcmp(name, ".") != 0 && strcmp(name, "..") != 0, ERR_INVALID, "kafka_topic_name can't be '%s'", name);
    for (size_t i = 0; i < n; i++)
        CHECK(isalnum((unsigned char)name[i]) || strchr("._-", name[i]), ERR_INVALID,
              "kafka_topic_name may hold letters, digits, '.', '_' and '-' only: it names one topic");
    return OK;
}

/* "host", "host:port" or "[v6 address]:port". */
static struct result check_server(struct slice server) {
    struct slice host = server, port = slice_str("9092"), rest;
    int shown = (int)(server.len < 80 ? server.len : 80);
    if (slice_starts_with(server, "[")) {
        CHECK(slice_cut(slice_make(server.data + 1, server.len - 1), ']', &host, &rest), ERR_INVALID,
              "bootstrap_servers: '%.*s' lacks a ']'", shown, (const char *)server.data);
        CHECK(rest.len == 0 || rest.data[0] == ':', ERR_INVALID, "bootstrap_servers: '%.*s' is not host:port", shown,
              (const char *)server.data);
        if (rest.len) port = slice_make(rest.data + 1, rest.len - 1);
    } else if (!slice_cut(server, ':', &host, &rest)) {
        host = server;
    } else {
        port = rest;
    }
    bool v6 = host.data != server.data;
    for (size_t i = 0; i < host.len; i++)
        CHECK(isalnum(host.data[i]) || strchr(v6 ? ":.%" : "._-", host.data[i]), ERR_INVALID,
              "bootstrap_servers: '%.*s' is not host:port", shown, (const char *)server.data);
    uint64_t number = 0;
    CHECK(host.len > 0 && is_ok(slice_to_u64(port, 65535, &number)) && number > 0, ERR_INVALID,
          "bootstrap_servers: '%.*s' is not host:port", shown, (const char *)server.data);
    return OK;
}

static struct result check_servers(const char *servers) {
    CHECK(strlen(servers) <= SERVERS_MAX_BYTES, ERR_INVALID, "bootstrap_servers is longer than %d bytes",
          SERVERS_MAX_BYTES);
    struct slice left = slice_str(servers), server;
    bool more = true;
    while (more) {
        struct slice all = left;
        more = slice_cut(all, ',', &server, &left);
        CHECK(server.len > 0, ERR_INVALID, "bootstrap_servers must be host:port, or several with commas between them");
        TRY(check_server(server));
    }
    return OK;
}

static struct result check_credential(const char *name, const char *value) {
    size_t n = strlen(value);
    CHECK(n > 0, ERR_INVALID, "security_config: '%s' must not be empty", name);
    CHECK(n <= CREDENTIAL_MAX_BYTES, ERR_INVALID, "security_config: '%s' is longer than %d bytes", name,
          CREDENTIAL_MAX_BYTES);
    return OK;
}

static struct result check_format(const json_t *format) {
    if (!format || json_is_null(format)) return OK;
    CHECK(json_is_object(format), ERR_INVALID, "format_params must be an object");
    static const char *const known[] = {"json", NULL};
    CHECK(is_ok(json_only(format, known)), ERR_INVALID,
          "format_params: only 'json' is known for Kafka: every message is one JSON object");
    const json_t *json = json_object_get(format, "json");
    CHECK(!json || json_is_true(json) || json_is_object(json), ERR_INVALID,
          "format_params: 'json' must be true or an object");
    return OK;
}

static struct result read_source(const json_t *config, struct kafka_config *ret) {
    CHECK(json_is_object(config), ERR_INVALID, "kafka must be an object");
    static const char *const known[] = {"kafka_topic_name", "offset_reset_policy", "key_is_id", "use_v3",
                                        "status",           "consumer_group_id",   NULL};
    TRY(json_only(config, known));
    TRY(json_get_str(config, "kafka_topic_name", &ret->topic));
    TRY(check_topic(ret->topic));
    const char *policy = "EARLIEST";
    if (!json_is_null(json_object_get(config, "offset_reset_policy")))
        TRY(json_opt_str(config, "offset_reset_policy", &policy));
    ret->from_latest = strcmp(policy, "LATEST") == 0;
    CHECK(ret->from_latest || strcmp(policy, "EARLIEST") == 0, ERR_INVALID,
          "offset_reset_policy must be EARLIEST or LATEST, not '%.40s'", policy);
    ret->key_is_id = true;
    TRY(json_opt_bool(config, "key_is_id", &ret->key_is_id));
    return OK;
}

static struct result read_security(const json_t *integration, struct kafka_config *ret) {
    const json_t *security = json_object_get(integration, "security_config");
    if (!security || json_is_null(security)) return OK;
    CHECK(json_is_object(security), ERR_INVALID, "security_config must be an object");
    static const char *const known[] = {"api_key", "secret", NULL};
    TRY(json_only(security, known));
    TRY(json_get_str(security, "api_key", &ret->api_key));
    TRY(json_get_str(security, "secret", &ret->secret));
    TRY(check_credential("api_key", ret->api_key));
    return check_credential("secret", ret->secret);
}

/* The topics that the integration is for, if it names any. topic NULL: any will do. */
static struct result check_allowed(const json_t *integration, const char *topic) {
    const json_t *names = json_object_get(integration, "kafka_topic_names");
    if (!names || json_is_null(names)) return OK;
    CHECK(json_is_array(names), ERR_INVALID, "kafka_topic_names must be an array of strings");
    bool found = json_array_size(names) == 0 || !topic;
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        CHECK(name, ERR_INVALID, "kafka_topic_names must be an array of strings");
        found = found || strcmp(name, topic) == 0;
    }
    CHECK(found, ERR_INVALID, "the topic '%s' is not among the integration's kafka_topic_names", topic);
    return OK;
}

static struct result read_integration(const json_t *integration, struct kafka_config *ret) {
    CHECK(integration && !json_is_null(integration), ERR_INVALID, "a Kafka source needs an integration");
    CHECK(json_is_object(integration), ERR_INVALID, "the integration's kafka must be an object");
    static const char *const known[] = {"bootstrap_servers",
                                        "security_config",
                                        "kafka_topic_names",
                                        "kafka_data_format",
                                        "use_v3",
                                        "source_status_by_topic",
                                        "connection_string",
                                        NULL};
    TRY(json_only(integration, known));
    CHECK(json_object_get(integration, "bootstrap_servers"), ERR_INVALID,
          "the integration has no bootstrap_servers: Kafka topics are read from their brokers");
    TRY(json_get_str(integration, "bootstrap_servers", &ret->servers));
    TRY(check_servers(ret->servers));
    const char *format = "JSON";
    if (!json_is_null(json_object_get(integration, "kafka_data_format")))
        TRY(json_opt_str(integration, "kafka_data_format", &format));
    CHECK(strcmp(format, "JSON") == 0, ERR_INVALID, "kafka_data_format must be JSON, not '%.40s'", format);
    TRY(read_security(integration, ret));
    return check_allowed(integration, ret->topic);
}

struct result kafka_config_check_integration(const json_t *integration) {
    struct kafka_config read = {0};
    return read_integration(integration, &read);
}

struct result kafka_config_read(const json_t *config, const json_t *format, const json_t *integration,
                                struct kafka_config *ret) {
    struct kafka_config read = {0};
    TRY(read_source(config, &read));
    TRY(check_format(format));
    TRY(read_integration(integration, &read));
    *ret = read;
    return OK;
}
