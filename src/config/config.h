/* Settings: one table (settings.def) of names, kinds, ranges and defaults; read from a YAML file, overridden by
 * KEY=VALUE pairs (`--set`). A value out of its range, an unknown key, a missing file: INVALID, and the detail names
 * file, line, key and range. The only home of libyaml. A config is not changed once loaded: any thread may read it. */
#ifndef LOCKSET_CONFIG_CONFIG_H
#define LOCKSET_CONFIG_CONFIG_H

#include <string.h>

#include "base/buf.h"

struct config_region {
    char *name;           /* us-west-2 */
    char *api_listen;     /* host:port */
    char *gateway_listen; /* host:port; NULL: none */
    char *kms_endpoint;   /* NULL: AWS's own */
    char *store_kind;     /* "file", "s3" */
    char *store_path; /* folder of the region's store; default DATA/store/NAME; of an S3 store only locks are there */
    char *encryption; /* "sealed", "sse-kms", "sealed+sse-kms" */
    /* Of kind "s3" only: */
    char *store_endpoint;   /* http(s)://HOST[:PORT]; NULL: AWS's own */
    char *store_region;     /* that requests are signed for */
    char *store_bucket;     /* */
    char *store_prefix;     /* of every key, without a slash at its ends; "" none */
    char *store_path_style; /* "true": the bucket stands in the path, "false": in the host's name */
    char *store_kms;        /* "none": the store has no KMS; else NULL */
    char *store_profile;    /* of AWS's shared files; NULL: the standard chain */
    char *store_where;      /* "FILE:LINE" of the last of its store's settings; NULL: none was given */
    char *service_key_arn;  /* the operator's own key for organizations without one; NULL: such organizations can't be
                               made */
};
static inline bool config_is_s3(const struct config_region *r) {
    return strcmp(r->store_kind, "s3") == 0;
}

struct config {
    char *data; /* the data folder; absolute */
    int64_t key_probe_interval_ms, key_full_check_interval_ms, key_kms_timeout_ms;
    int64_t key_denied_bound_ms, key_ride_through_ms, key_pause_after_ms, key_branch_window_ms;
    int64_t cache_epoch_ms, cache_max_bytes;
    char *service_account_id; /* 12 digits */
    bool customer_keys_enabled;
    bool org_auto_add_regions;
    bool engine_enabled; /* false: gateways only */
    bool engine_allow_weak_isolation;
    int64_t engine_idle_timeout_ms, engine_max_age_ms;
    int64_t engine_memory_bytes;              /* what one engine may use */
    char *engine_chdb;                        /* path of libchdb.so */
    char *api_tls_cert, *api_tls_key;         /* PEM files; both or none */
    char *gateway_tls_cert, *gateway_tls_key; /* the same for S3 clients */
    char *aws_credentials_file, *aws_profile; /* NULL: the environment */
    char *operator_token_file;                /* holds the operator's token (serve); NULL in dev */
    int64_t key_max_calls_per_hour, key_free_requests;
    char *key_price_per_10000;
    int64_t dev_port_base, dev_kms_day_ms;
    char *kms_endpoint; /* for every region that names none of its own */
    char *store_kind, *store_endpoint, *store_region, *store_bucket, *store_prefix, *store_path_style,
        *store_encryption, *store_kms, *store_profile; /* the same */
    char *webhook_url, *webhook_secret_file;           /* NULL: none */
    char *log_level;                                   /* debug, info, warn, error */
    struct config_region *regions;
    size_t region_count;
};

struct config_override {
    const char *key, *value;
};

/* The defaults, then the file (NULL: none), then the overrides; then everything is checked. The caller frees with
 * config_free. */
struct result config_load(const char *file, const struct config_override *overrides, size_t override_count,
                          struct config **ret);
struct config *config_free(struct config *c); /* accepts NULL, returns NULL */
static inline void config_free_auto(struct config **c) {
    config_free(*c);
}

/* The region of that name; NULL if the deployment has none. */
const struct config_region *config_find_region(const struct config *c, const char *name);

/* The whole configuration as YAML that config_load reads back, defaults included. Holds no secret. */
void config_write(const struct config *c, struct buf *out);

/* One line a setting: name, default, range, meaning; for `--help` and the docs. */
void config_describe(struct buf *out);

/* "10s", "250ms", "4h", "30d", "2m" -> milliseconds; a bare number is refused. INVALID. */
struct result config_parse_duration(struct slice text, int64_t *ret_ms);
/* "1GiB", "512MiB", "64KiB", "4096" -> bytes. INVALID. */
struct result config_parse_bytes(struct slice text, int64_t *ret_bytes);

#endif
