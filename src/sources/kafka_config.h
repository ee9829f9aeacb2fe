/* What a Kafka source and its integration say, checked. Pure; strings are borrowed from the two objects. */
#ifndef LOCKSET_SOURCES_KAFKA_CONFIG_H
#define LOCKSET_SOURCES_KAFKA_CONFIG_H

#include "base/json.h"

enum { KAFKA_TOPIC_MAX_BYTES = 249 };

struct kafka_config {
    const char *topic;
    bool from_latest; /* the first start begins behind what is there already */
    bool key_is_id;   /* a message's key is its document's _id */
    const char *servers;
    const char *api_key; /* NULL: without TLS and without credentials */
    const char *secret;
};

/* config: {"kafka_topic_name", "offset_reset_policy"?: "EARLIEST" (default) | "LATEST", "key_is_id"?: true (default)};
 * format: NULL or {"json": ...}; integration: {"bootstrap_servers", "security_config"?: {"api_key", "secret"},
 * "kafka_topic_names"?, "kafka_data_format"?: "JSON"}. What Rockset only ever sends back ("status", ...) is let pass.
 * INVALID; the detail is for the customer and holds no credential. */
struct result kafka_config_read(const json_t *config, const json_t *format, const json_t *integration,
                                struct kafka_config *ret);

/* The integration's object alone. INVALID. */
struct result kafka_config_check_integration(const json_t *integration);

#endif
