#include "gateway/s3_place.h"

#include <string.h>

#include "aws/s3_store_client.h"
#include "base/http_client.h"
#include "base/log.h"

static enum wire_refusal reason_of(const char *code) {
    static const struct {
        const char *code;
        enum wire_refusal reason;
    } known[] = {{"KMS.DisabledException", WIRE_DISABLED},
                 {"KMS.NotFoundException", WIRE_KEY_NOT_FOUND},
                 {"KMS.KMSInvalidStateException", WIRE_INVALID_STATE}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(code, known[i].code) == 0) return known[i].reason;
    return WIRE_DENIED;
}

static void tell(void *arg, const struct s3_failure *why) {
    struct keyring_link *keyring = arg;
    if (keyring_link_key_refused(keyring, reason_of(why->code)))
        log_warn("store.key_refused", KV("code", why->code), KV("message", why->message),
                 KV("request_id", why->request_id));
}

struct result s3_place_open(const struct config_region *region, const char *org, const char *key_arn,
                            struct keyring_link *keyring, struct store_s3 *ret) {
    struct http_pool *pool = NULL;
    TRY(http_pool_new(&pool));
    struct credentials_provider *credentials = NULL;
    const struct credentials_provider_options chain = {.source = {.profile = region->store_profile},
                                                       .region = region->store_endpoint ? NULL : region->store_region,
                                                       .pool = pool};
    TRY(credentials_provider_new(&chain, &credentials));
    bool has_sse = strcmp(region->encryption, "sealed") != 0;
    const struct s3_store_client_options options = {
        .pool = pool,
        .credentials = credentials,
        .endpoint = region->store_endpoint,
        .region = region->store_region,
        .bucket = region->store_bucket,
        .path_style = strcmp(region->store_path_style, "true") == 0,
        .key_arn = has_sse ? key_arn : NULL,
        .context_org = has_sse ? org : NULL,
        .context_region = has_sse ? region->name : NULL,
        .bucket_key = strcmp(region->encryption, "sealed+sse-kms") == 0,
    };
    struct s3_store_client *client = NULL;
    TRY(s3_store_client_new(&options, &client));
    bool has_prefix = region->store_prefix[0] != '\0';
    *ret = (struct store_s3){.client = client,
                             .prefix = str_format("%s%s%s/", region->store_prefix, has_prefix ? "/" : "", org),
                             .in_clear = strcmp(region->encryption, "sse-kms") == 0,
                             .key_arn = has_sse ? key_arn : NULL,
                             .key_refused = tell,
                             .arg = keyring};
    return OK;
}
