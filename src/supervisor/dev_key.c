#include <string.h>

#include "aws/credentials.h"
#include "aws/sigv4.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/http_client.h"
#include "supervisor/dev.h"

/* The key is made once; its ARN is kept beside the local KMS's data. */
static char *remembered_path(const struct config *c) {
    return str_format("%s/kms/service-key.json", c->data);
}

static struct result remembered(const struct config *c, char **ret_arn) {
    AUTO_FREE char *path = remembered_path(c);
    BUF_AUTO(text, 4096);
    TRY(file_read(path, 4096, &text));
    JSON_AUTO(object);
    TRY(json_parse_object(buf_slice(&text), &object));
    const char *arn;
    TRY(json_get_str(object, "arn", &arn));
    *ret_arn = str_dup(arn);
    return OK;
}

static struct result remember(const struct config *c, const char *arn) {
    AUTO_FREE char *path = remembered_path(c);
    AUTO_FREE char *folder = str_format("%s/kms", c->data);
    TRY(file_make_dirs(folder));
    BUF_AUTO(text, 4096);
    buf_append_str(&text, "{\"arn\":");
    json_write_str(slice_str(arn), &text);
    buf_append_str(&text, "}\n");
    TRY(buf_check(&text));
    return file_write_atomic(path, buf_slice(&text), 0600);
}

static struct result create_key(const struct dev *d, const char *host, char **ret_arn) {
    static const char body[] = "{\"MultiRegion\":true,\"Description\":\"Lockset: the operator's own key\"}";
    CREDENTIALS_AUTO(credentials);
    struct credentials_source source = {.file = d->credentials_file, .profile = "service"};
    TRY(credentials_load(&source, &credentials));
    uint8_t digest[SHA256_BYTES];
    TRY(sha256(slice_str(body), digest));
    BUF_AUTO(hash, 65);
    hex_encode(slice_make(digest, sizeof(digest)), &hash);
    struct http_field fields[6] = {
        {"Host", host}, {"Content-Type", "application/x-amz-json-1.1"}, {"X-Amz-Target", "TrentService.CreateKey"}};
    struct sigv4_request request = {.method = slice_str("POST"),
                                    .path = slice_str("/"),
                                    .fields = fields,
                                    .payload_hash = buf_slice(&hash),
                                    .path_rule = SIGV4_PATH_DEFAULT};
    struct sigv4_signer signer = {.access_key_id = credentials.access_key_id,
                                  .secret_key = secret_view(&credentials.secret_key),
                                  .region = dev_region_names[0],
                                  .service = "kms",
                                  .unix_ms = clock_unix_ms()};
    AUTO(sigv4_signed_done) struct sigv4_signed made = {0};
    TRY(sigv4_sign(&signer, &request, &made));
    fields[3] = (struct http_field){"X-Amz-Date", made.amz_date};
    fields[4] = (struct http_field){"Authorization", buf_str(&made.authorization)};
    struct http_pool *pool = NULL;
    TRY(http_pool_new(&pool));
    struct http_call call = {
        .method = "POST", .url = d->kms_url[0], .fields = fields, .body = slice_str(body), .timeout_ms = 5000};
    AUTO(http_reply_done) struct http_reply reply = {0};
    struct result r = http_call(pool, &call, &reply);
    http_pool_free(pool);
    TRY(r);
    CHECK(reply.status == 200, ERR_PEER, "CreateKey was answered with status %d", reply.status);
    JSON_AUTO(answer);
    TRY(json_parse_object(buf_slice(&reply.body), &answer));
    json_t *metadata;
    const char *arn;
    TRY(json_get_object(answer, "KeyMetadata", &metadata));
    TRY(json_get_str(metadata, "Arn", &arn));
    *ret_arn = str_dup(arn);
    return OK;
}

struct result dev_service_key(const struct dev *d, const struct config *c, char **ret_arn) {
    if (is_ok(remembered(c, ret_arn))) return OK;
    const char *host = strstr(d->kms_url[0], "://");
    CHECK(host, ERR_INVALID, "the KMS endpoint '%s' is not a URL", d->kms_url[0]);
    AUTO_FREE char *host_port = str_dup(host + 3);
    host_port[strcspn(host_port, "/")] = '\0';
    AUTO_FREE char *arn = NULL;
    TRY(create_key(d, host_port, &arn));
    TRY(remember(c, arn));
    *ret_arn = TAKE(arn);
    return OK;
}
