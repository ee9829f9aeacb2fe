/* Requests: the first byte picks the operation, the rest is the body. Every answer is one of KMS's: a known status, and
 * JSON or nothing. One key exists, so that bodies can reach the cryptography; ID stands for its id. */
#include <sanitizer/lsan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/file.h"
#include "base/log.h"
#include "base/secret.h"
#include "kms/service.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const operations[] = {
    "CancelKeyDeletion",
    "CreateKey",
    "Decrypt",
    "DescribeKey",
    "DisableKey",
    "EnableKey",
    "Encrypt",
    "GetKeyPolicy",
    "ListKeys",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateDataKey",
    "PutKeyPolicy",
    "ReplicateKey",
    "ScheduleKeyDeletion",
    "CreateAlias",
    "CreateGrant",
    "DeleteAlias",
    "DisableKeyRotation",
    "EnableKeyRotation",
    "GenerateRandom",
    "GetKeyRotationStatus",
    "ListAliases",
    "ListGrants",
    "ListKeyPolicies",
    "ListKeyRotations",
    "ListResourceTags",
    "ListRetirableGrants",
    "ReEncrypt",
    "RetireGrant",
    "RevokeGrant",
    "RotateKeyOnDemand",
    "TagResource",
    "UntagResource",
    "UpdateAlias",
    "UpdateKeyDescription",
    "UpdatePrimaryRegion",
    "GetKeyLastUsage",
};
enum { KEYS_PER_STORE = 200 };
static const int64_t now = 1764000000000;
static struct kmsd_service service;
static struct kmsd_accounts accounts;
static char *root, key_id[KMSD_KEY_ID_CHARS + 1];
static unsigned creations;

static void must(struct result r) {
    if (is_ok(r)) return;
    fprintf(stderr, "%s\n", err_detail());
    abort();
}

/* A store with one key; begun anew now and then, for CreateKey fills it. */
static void begin_store(void) {
    kmsd_store_close(service.store);
    must(file_remove_tree(root));
    AUTO_FREE char *dir = str_format("%s/us-west-2", root);
    struct kmsd_store_options options = {.data_dir = dir, .region = "us-west-2"};
    must(kmsd_store_open(&options, &service.store));
    BUF_AUTO(policy, 1024);
    kmsd_policy_default("aws", "111122223333", &policy);
    struct kmsd_state state = {.description = str_dup(""), .policy = buf_take_str(&policy), .tags = str_dup("[]")};
    struct kmsd_key *k = NULL;
    must(kmsd_store_create(service.store, "111122223333", kmsd_symmetric, true, now, &state, &k));
    snprintf(key_id, sizeof key_id, "%s", k->family.id);
    kmsd_key_unref(k);
    creations = 0;
}

static void remove_store(void) {
    kmsd_store_close(service.store);
    result_ignore(file_remove_tree(root)); // a leftover in /dev/shm fails nothing
}

static void start(void) {
    static const char text[] = "{\"accounts\":[{\"account\":\"111122223333\",\"access_key_id\":\"A\","
                               "\"secret_access_key\":\"0123456789abcdef\"}]}";
    static char name[] = "/dev/shm/lockset-fuzz-XXXXXX";
    must(secret_start(1 << 18, true));
    // The generator's state stands in OpenSSL's secure heap, where the leak checker can't see what it refers to.
    uint8_t first[16];
    __lsan_disable();
    must(random_bytes(first, sizeof first));
    __lsan_enable();
    json_start_wiping();
    log_start("fuzz", LOG_WARN);
    must(kmsd_accounts_parse(slice_str(text), "aws", &accounts));
    root = mkdtemp(name);
    if (root == NULL) abort();
    begin_store();
    atexit(remove_store);
}

static void put_id(const uint8_t *data, size_t size, struct buf *out) {
    for (size_t i = 0; i < size; i++)
        if (i + 1 < size && data[i] == 'I' && data[i + 1] == 'D') {
            buf_append_str(out, key_id);
            i++;
        } else {
            buf_append_byte(out, data[i]);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (root == NULL) start();
    if (size < 1) return 0;
    const char *operation = operations[data[0] % ARRAY_LEN(operations)];
    if ((strcmp(operation, "CreateKey") == 0 || strcmp(operation, "ReplicateKey") == 0) && ++creations > KEYS_PER_STORE)
        begin_store();
    BUF_AUTO(body, 1 << 20);
    put_id(data + 1, size - 1, &body);
    AUTO(buf_done) struct buf answer;
    buf_init_wiping(&answer, 2 << 20);
    int status = kmsd_service_call(&service, &accounts.list[0], operation, buf_slice(&body), now, &answer);
    if (status != 200 && status != 400) abort(); // nothing a client sends is an internal failure
    JSON_AUTO(j);
    if (answer.len > 0) must(json_parse_object(buf_slice(&answer), &j));
    if (status == 400 && !json_is_string(json_object_get(j, "__type"))) abort();
    return 0;
}
