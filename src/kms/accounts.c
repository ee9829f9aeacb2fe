#include "kms/accounts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/crypto.h"
#include "base/file.h"
#include "base/json.h"

enum { ACCOUNTS_MAX_BYTES = 1 << 20, ACCOUNTS_MAX = 1000 };

static struct result check_principal(const char *principal, const char *partition, const char *account) {
    struct arn arn;
    TRY(arn_parse(slice_str(principal), &arn));
    bool is_iam =
        slice_is(arn.service, "iam") && (slice_is(arn.resource, "root") || slice_starts_with(arn.resource, "user/"));
    bool is_session = slice_is(arn.service, "sts") && (slice_starts_with(arn.resource, "assumed-role/") ||
                                                       slice_starts_with(arn.resource, "federated-user/"));
    CHECK(slice_is(arn.partition, partition) && slice_is(arn.account, account) && arn.region.len == 0 &&
              (is_iam || is_session),
          ERR_INVALID, "'principal' must be arn:%s:iam::%s:root, a user or a role's session of that account", partition,
          account);
    return OK;
}

static struct result parse_policies(const json_t *j, struct kmsd_account *into) {
    json_t *list = NULL;
    TRY(json_opt_array(j, "identity_policies", &list));
    into->has_policies = list != NULL;
    if (list == NULL) return OK;
    struct arn arn;
    TRY(arn_parse(slice_str(into->principal), &arn));
    CHECK(!slice_is(arn.resource, "root"), ERR_INVALID,
          "an account's root has no identity policies: name a user or a role's session");
    into->policies.list = mem_alloc_array(json_array_size(list), sizeof(void *));
    for (size_t i = 0; i < json_array_size(list); i++) {
        TRY(kmsd_policy_parse_identity(json_array_get(list, i), &into->policies.list[i]));
        into->policies.count++;
    }
    return OK;
}

static struct result parse_account(const json_t *j, const char *partition, struct kmsd_account *ret) {
    static const char *const known[] = {"account",   "access_key_id",     "secret_access_key",
                                        "principal", "identity_policies", NULL};
    CHECK(json_is_object(j), ERR_INVALID, "each of 'accounts' must be an object");
    const char *account = NULL, *access_key_id = NULL, *secret_key = NULL, *principal = NULL;
    TRY(json_only(j, known));
    TRY(json_get_str(j, "account", &account));
    TRY(json_get_str(j, "access_key_id", &access_key_id));
    TRY(json_get_str(j, "secret_access_key", &secret_key));
    TRY(json_opt_str(j, "principal", &principal));
    CHECK(arn_is_account(slice_str(account)), ERR_INVALID, "'account' must be 12 digits");
    CHECK(access_key_id[0] != '\0' && strlen(access_key_id) <= 128, ERR_INVALID,
          "'access_key_id' must be of 1 to 128 characters");
    CHECK(strlen(secret_key) >= 16, ERR_INVALID, "'secret_access_key' must have at least 16 characters");
    ret->principal = principal != NULL ? str_dup(principal) : str_format("arn:%s:iam::%s:root", partition, account);
    ret->access_key_id = str_dup(access_key_id);
    snprintf(ret->account, sizeof ret->account, "%s", account);
    TRY(check_principal(ret->principal, partition, account));
    TRY(parse_policies(j, ret));
    return secret_from(secret_key, strlen(secret_key), &ret->secret_key);
}

struct result kmsd_accounts_parse(struct slice text, const char *partition, struct kmsd_accounts *ret) {
    static const char *const known[] = {"accounts", NULL};
    JSON_AUTO(j);
    json_t *list = NULL;
    TRY(json_parse_object(text, &j));
    TRY(json_only(j, known));
    TRY(json_get_array(j, "accounts", &list));
    size_t count = json_array_size(list);
    CHECK(count > 0 && count <= ACCOUNTS_MAX, ERR_INVALID, "'accounts' must list 1 to %d accounts", ACCOUNTS_MAX);
    AUTO(kmsd_accounts_done) struct kmsd_accounts a = {mem_alloc_array(count, sizeof *a.list), 0};
    for (size_t i = 0; i < count; i++) {
        a.count++;
        TRY(parse_account(json_array_get(list, i), partition, &a.list[i]));
        const struct kmsd_account *first = kmsd_accounts_find(&a, a.list[i].access_key_id);
        CHECK(first == &a.list[i], ERR_INVALID, "access_key_id %.40s is listed twice", a.list[i].access_key_id);
    }
    *ret = a;
    a = (struct kmsd_accounts){0};
    return OK;
}

struct result kmsd_accounts_load(const char *path, const char *partition, struct kmsd_accounts *ret) {
    AUTO(buf_done) struct buf text;
    buf_init_wiping(&text, ACCOUNTS_MAX_BYTES);
    struct stat st;
    if (stat(path, &st) != 0) return err_from_errno(errno, "%s", path);
    CHECK((st.st_mode & 077) == 0, ERR_FORBIDDEN, "%s holds credentials and can be read by others: chmod 600 it", path);
    TRY(file_read(path, ACCOUNTS_MAX_BYTES, &text));
    struct result r = kmsd_accounts_parse(buf_slice(&text), partition, ret);
    if (is_ok(r)) return OK;
    AUTO_FREE char *why = str_dup(err_detail());
    FAIL(r.code, "%s: %s", path, why);
}

struct result kmsd_accounts_create(const char *path, const char *partition) {
    uint8_t id[10], key[30];
    TRY(random_bytes(id, sizeof id));
    TRY(random_bytes(key, sizeof key));
    AUTO(buf_done) struct buf text, secret_text;
    buf_init_wiping(&text, 4096);
    buf_init_wiping(&secret_text, 64);
    base64_encode(slice_make(key, sizeof key), &secret_text);
    wipe(key, sizeof key);
    buf_append_str(&text, "{\"accounts\":[{\"account\":\"111122223333\",\"access_key_id\":\"AKIA");
    for (size_t i = 0; i < sizeof id; i++)
        buf_printf(&text, "%02X", id[i]);
    buf_append_str(&text, "\",\"secret_access_key\":\"");
    buf_append_slice(&text, buf_slice(&secret_text));
    buf_printf(&text, "\",\"principal\":\"arn:%s:iam::111122223333:root\"}]}\n", partition);
    TRY(buf_check(&text));
    return file_write_atomic(path, buf_slice(&text), 0600);
}

void kmsd_accounts_done(struct kmsd_accounts *a) {
    for (size_t i = 0; i < a->count; i++) {
        mem_free(a->list[i].access_key_id);
        mem_free(a->list[i].principal);
        kmsd_policies_done(&a->list[i].policies);
        secret_done(&a->list[i].secret_key);
    }
    mem_free(a->list);
    *a = (struct kmsd_accounts){0};
}

struct kmsd_account *kmsd_accounts_find(const struct kmsd_accounts *a, const char *access_key_id) {
    for (size_t i = 0; i < a->count; i++)
        if (a->list[i].access_key_id != NULL && strcmp(a->list[i].access_key_id, access_key_id) == 0)
            return &a->list[i];
    return NULL;
}
