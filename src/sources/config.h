/* Source objects and integrations: from the shapes of requests to what is kept, and from there to the shapes of
 * answers. Pure.
 *
 * A kept source:      {"id","kind","integration_name","config","format_params","created_at_ms","suspended_at_ms",
 *                      "resume_at_ms"}
 * A kept integration: {"name","description","created_by","created_at_ms","kind","config"} */
#ifndef LOCKSET_SOURCES_CONFIG_H
#define LOCKSET_SOURCES_CONFIG_H

#include "sources/driver.h"

enum { CONFIG_MAX_SOURCES = 16, CONFIG_MAX_BYTES = 256 * 1024, CONFIG_MAX_DESCRIPTION = 4096 };

/* The driver of a kept object. NULL: made by a version that knew more. */
const struct source_driver *config_driver(const json_t *kept);

/* From a request's Source object; `integrations` are all kept ones, by name. INVALID; NOT_FOUND: no such integration;
 * UNSUPPORTED: a kind that isn't served. The id is the caller's. */
struct result config_make_source(const json_t *asked, const json_t *integrations, const char *id, int64_t now_ms,
                                 json_t **ret);
/* As an answer, without status: {"id","integration_name","s3":{...},"format_params","suspended_at","resume_at"}. */
json_t *config_shape_source(const json_t *kept);
bool config_is_suspended(const json_t *source, int64_t now_ms);

/* From a request's body (name, description, one kind). INVALID, UNSUPPORTED. */
struct result config_make_integration(const json_t *asked, const char *created_by, int64_t now_ms, json_t **ret);
/* As an answer, secrets masked. `collections`: "workspace.name" of those that use it; taken over. */
json_t *config_shape_integration(const json_t *kept, json_t *collections);
/* Replaces everything that may be a secret, at any depth, by asterisks: members called password, secret, token, key and
 * the like, and passwords inside of URIs. */
void config_mask(json_t *value);

#endif
