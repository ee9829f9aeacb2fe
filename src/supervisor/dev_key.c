#include <string.h>

#include "aws/credentials.h"
#include "aws/sigv4.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/http_client.h"
#include "supervisor/dev.h"

/* The keys are made once; their ARNs are kept beside the local KMS's data. */
static char *remembered_path(const struct config *c) {
    return str_format("%s/kms/service-key.json", c->data);
}

static struct result remembered(const struct config *c, char *ret_arns[static DEV_REGIONS]) {
    AUTO_FREE char *path = remembered_path(c);
    BUF_AUTO(text, 4096);
    TRY(file_read(path, 4096, &text));
    JSON_AUTO(object);
    TRY(json_parse_object(buf_slice(&text), &object));
    for (unsigned i = 0; i < DEV_REGIONS; i++) {
        const char *arn = NULL;
        TRY(json_opt_str(object, dev_region_names[i], &arn));
        if (arn) ret_arns[i] = str_dup(arn);
    }
    return OK;
}

static struct result remember(const struct config *c, char *const arns[static DEV_REGIONS]) {
    AUTO_FREE char *path = remembered_path(c);
    AUTO_FREE char *folder = str_format("%s/kms", c->data);
    TRY(file_make_dirs(folder));
    JSON_AUTO(object);
    object = json_object();
    for (unsigned i = 0; i < DEV_REGIONS; i++)
        if (arns[i]) json_object_set_new(object, dev_region_names[i], json_string(arns[i]));
    BUF_AUTO(text, 4096);
    TRY(json_write(object, &text));
    buf_append_str(&text, "\n");
    TRY(buf_check(&text));
    return file_write_atomic(path, buf_slice(&text), 0600);
}

/* One call of a region's KMS as the operator; the answer's body. */
static struct result ask(const struct dev *d, unsigned region, const char *operation, const json_t *body,
                         json_t **ret) {
    const char *host = strstr(d->kms_url[region], "://");
    CHECK(host, ERR_INVALID, "the KMS endpoint '%s' is not a URL", d->kms_url[region]);
    AUTO_FREE char *host_port = str_dup(host + 3);
    host_port[strcspn(host_port, "/")] = '\0';
    AUTO_FREE char *target = str_format("TrentService.%s", operation);
    BUF_AUTO(text, 4096);
    TRY(json_write(body, &text));
    TRY(buf_check(&text));
    CREDENTIALS_AUTO(credentials);
    struct credentials_source source = {.file = d->credentials_file, .profile = "service"};
    TRY(credentials_load(&source, &credentials));
    uint8_t digest[SHA256_BYTES];
    TRY(sha256(buf_slice(&text), digest));
    BUF_AUTO(hash, 65);
    hex_encode(slice_make(digest, sizeof(digest)), &hash);
    struct http_field fields[6] = {
        {"Host", host_port}, {"Content-Type", "application/x-amz-json-1.1"}, {"X-Amz-Target", target}};
    struct sigv4_request request = {.method = slice_str("POST"),
                                    .path = slice_str("/"),
                                    .fields = fields,
                                    .payload_hash = buf_slice(&hash),
                                    .path_rule = SIGV4_PATH_DEFAULT};
    struct sigv4_signer signer = {.access_key_id = credentials.access_key_id,
                                  .secret_key = secret_view(&credentials.secret_key),
                                  .region = dev_region_names[region],
                                  .service = "kms",
                                  .unix_ms = clock_unix_ms()};
    AUTO(sigv4_signed_done) struct sigv4_signed made = {0};
    TRY(sigv4_sign(&signer, &request, &made));
    fields[3] = (struct http_field){"X-Amz-Date", made.amz_date};
    fields[4] = (struct http_field){"Authorization", buf_str(&made.authorization)};
    struct http_pool *pool = NULL;
    TRY(http_pool_new(&pool));
    struct http_call call = {
        .method = "POST", .url = d->kms_url[region], .fields = fields, .body = buf_slice(&text), .timeout_ms = 5000};
    AUTO(http_reply_done) struct http_reply reply = {0};
    struct result r = http_call(pool, &call, &reply);
    http_pool_free(pool);
    TRY(r);
    CHECK(reply.status == 200, ERR_PEER, "%s in %s was answered with status %d", operation, dev_region_names[region],
          reply.status);
    return json_parse_object(buf_slice(&reply.body), ret);
}

static struct result arn_in(const json_t *answer, const char *member, char **ret) {
    json_t *metadata;
    const char *arn;
    TRY(json_get_object(answer, member, &metadata));
    TRY(json_get_str(metadata, "Arn", &arn));
    *ret = str_dup(arn);
    return OK;
}

static struct result create_key(const struct dev *d, char **ret_arn) {
    JSON_AUTO(body);
    JSON_AUTO(answer);
    body = json_pack("{s:b, s:s}", "MultiRegion", 1, "Description", "Lockset: the operator's own key");
    TRY(ask(d, 0, "CreateKey", body, &answer));
    return arn_in(answer, "KeyMetadata", ret_arn);
}

static struct result replicate_key(const struct dev *d, const char *primary, unsigned region, char **ret_arn) {
    JSON_AUTO(body);
    JSON_AUTO(answer);
    body = json_pack("{s:s, s:s}", "KeyId", primary, "ReplicaRegion", dev_region_names[region]);
    TRY(ask(d, 0, "ReplicateKey", body, &answer));
    return arn_in(answer, "ReplicaKeyMetadata", ret_arn);
}

struct result dev_service_keys(const struct dev *d, const struct config *c, char *ret_arns[static DEV_REGIONS]) {
    result_ignore(remembered(c, ret_arns)); /* none yet, or none that can be read: new ones */
    if (!ret_arns[0]) {
        TRY(create_key(d, &ret_arns[0]));
        TRY(remember(c, ret_arns));
    }
    for (unsigned i = 1; i < DEV_REGIONS; i++) {
        if (ret_arns[i]) continue;
        TRY(replicate_key(d, ret_arns[0], i, &ret_arns[i]));
        TRY(remember(c, ret_arns));
    }
    return OK;
}
