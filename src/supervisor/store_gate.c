#include "supervisor/store_gate.h"

#include <string.h>

#include "aws/s3_store_client.h"
#include "base/crypto.h"
#include "base/http_client.h"
#include "base/log.h"

enum { TIME_MS = 10000, ATTEMPTS = 2 };

/* As S3 keeps it, whatever it answered to the write. */
static struct result look(struct s3_store_client *client, const char *key, const char *key_arn, bool *ret_ignored) {
    char etag[S3_STORE_ETAG_BYTES];
    struct s3_failure why = {0};
    struct s3_head head = {0};
    struct result r = s3_store_put(client, &(struct s3_put){.key = key, .body = slice_str("lockset\n")}, etag, &why);
    if (is_ok(r)) r = s3_store_head(client, key, &head, &why);
    *ret_ignored =
        why.trouble == S3_TROUBLE_NOT_ENCRYPTED || (is_ok(r) && (!head.is_kms || strcmp(head.key_id, key_arn) != 0));
    return r;
}

/* In every version. */
static void clean(struct s3_store_client *client, const char *key) {
    AUTO(s3_entries_done) struct s3_entries page = {0};
    const struct s3_list list = {.prefix = key};
    struct result r = s3_store_list_versions(client, &list, &page, NULL);
    if (r.code == ERR_UNSUPPORTED || r.code == ERR_FORBIDDEN) r = s3_store_delete(client, key, NULL, NULL);
    for (size_t i = 0; i < page.count && is_ok(r); i++)
        r = s3_store_delete(client, page.items[i].key, page.items[i].version_id, NULL);
    if (is_err(r)) log_warn("store.probe_left", KV("key", key), KV("reason", err_detail()));
}

static struct result check_with(const struct config_region *r, struct s3_store_client *client) {
    uint8_t id[8];
    TRY(random_bytes(id, sizeof id));
    BUF_AUTO(hex, 32);
    hex_encode(slice_make(id, sizeof id), &hex);
    AUTO_FREE char *key = str_format("%s%s.start-%s", r->store_prefix, r->store_prefix[0] ? "/" : "", buf_str(&hex));
    bool is_ignored = false;
    struct result looked = look(client, key, r->service_key_arn, &is_ignored);
    if (is_err(looked) && !is_ignored) {
        log_warn("store.not_tried", KV("region", r->name), KV("bucket", r->store_bucket), KV("reason", err_detail()));
        return OK;
    }
    clean(client, key);
    CHECK(!is_ignored, ERR_INVALID,
          "region %s: store.encryption is %s, but the store in the bucket %s takes SSE-KMS headers without encrypting "
          "under "
          "the key they name. Set up its KMS; or, if it has none, declare that with store.kms: none and "
          "store.encryption: sealed. `lockset store check` tries it again",
          r->name, r->encryption, r->store_bucket);
    return OK;
}

static struct result check_region(const struct config_region *r, struct http_pool *pool) {
    AUTO(credentials_provider_free_auto) struct credentials_provider *credentials = NULL;
    const struct credentials_provider_options chain = {
        .source = {.profile = r->store_profile}, .region = r->store_endpoint ? NULL : r->store_region, .pool = pool};
    struct result found = credentials_provider_new(&chain, &credentials);
    if (is_err(found)) {
        AUTO_FREE char *why = str_dup(err_detail());
        FAIL(found.code, "region %s: credentials for its store in S3: %s", r->name, why);
    }
    log_info("store.credentials", KV("region", r->name), KV("source", credentials_provider_source(credentials)));
    if (!strcmp(r->encryption, "sealed") || !r->service_key_arn) return OK;
    const struct s3_store_client_options options = {.pool = pool,
                                                    .credentials = credentials,
                                                    .endpoint = r->store_endpoint,
                                                    .region = r->store_region,
                                                    .bucket = r->store_bucket,
                                                    .path_style = strcmp(r->store_path_style, "true") == 0,
                                                    .key_arn = r->service_key_arn,
                                                    .context_org = "start",
                                                    .context_region = r->name,
                                                    .bucket_key = strcmp(r->encryption, "sealed+sse-kms") == 0,
                                                    .total_timeout_ms = TIME_MS,
                                                    .max_attempts = ATTEMPTS};
    AUTO(s3_store_client_free_auto) struct s3_store_client *client = NULL;
    TRY(s3_store_client_new(&options, &client));
    return check_with(r, client);
}

struct result store_gate_check(const struct config *c) {
    struct http_pool *pool = NULL;
    struct result r = OK;
    for (size_t i = 0; i < c->region_count && is_ok(r); i++) {
        if (!config_is_s3(&c->regions[i])) continue;
        if (!pool) r = http_pool_new(&pool);
        if (is_ok(r)) r = check_region(&c->regions[i], pool);
    }
    http_pool_free(pool);
    return r;
}
