#include <string.h>

#include "config/forms.h"

static struct result check_listen(struct slice v) {
    size_t colon = v.len;
    while (colon > 0 && v.data[colon - 1] != ':')
        colon--;
    uint64_t port;
    bool good = colon > 1 && is_ok(slice_to_u64(slice_make(v.data + colon, v.len - colon), 65535, &port));
    CHECK(good, ERR_INVALID, "it must be HOST:PORT, such as 0.0.0.0:8600");
    return OK;
}

bool config_is_this_host(struct slice host_and_port) {
    static const char *const local[] = {"127.0.0.1", "[::1]", "localhost"};
    for (size_t i = 0; i < ARRAY_LEN(local); i++) {
        size_t n = strlen(local[i]);
        if (slice_starts_with(host_and_port, local[i]) &&
            (host_and_port.len == n || host_and_port.data[n] == ':' || host_and_port.data[n] == '/'))
            return true;
    }
    return false;
}

/* What leaves a host is encrypted. */
static struct result check_hop(struct slice v) {
    size_t n = strlen("http://");
    bool is_plain = slice_starts_with(v, "http://");
    CHECK(!is_plain || config_is_this_host(slice_make(v.data + n, v.len - n)), ERR_INVALID,
          "it must begin with https://; http:// only to this very host (127.0.0.1, [::1], localhost)");
    return OK;
}

static struct result check_url(struct slice v) {
    bool good = (slice_starts_with(v, "https://") && v.len > 8) || (slice_starts_with(v, "http://") && v.len > 7);
    CHECK(good, ERR_INVALID, "it must be http(s)://HOST[:PORT]");
    return check_hop(v);
}

static struct result check_key_arn(struct slice v) {
    CHECK(slice_starts_with(v, "arn:") && memmem(v.data, v.len, ":key/", 5), ERR_INVALID,
          "it must be the ARN of a key: arn:aws:kms:REGION:ACCOUNT:key/mrk-...");
    return OK;
}

static struct result check_account(struct slice v) {
    for (size_t i = 0; i < v.len; i++)
        CHECK(v.data[i] >= '0' && v.data[i] <= '9', ERR_INVALID, "it must be 12 digits");
    return OK;
}

static struct result check_level(struct slice v) {
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    for (size_t i = 0; i < ARRAY_LEN(levels); i++)
        if (slice_is(v, levels[i])) return OK;
    FAIL(ERR_INVALID, "it must be debug, info, warn or error");
}

static bool is_of(struct slice v, const char *letters) {
    for (size_t i = 0; i < v.len; i++)
        if (!v.data[i] || !strchr(letters, v.data[i])) return false;
    return true;
}

#define LOWER "abcdefghijklmnopqrstuvwxyz0123456789"

static struct result check_bucket(struct slice v) {
    bool good = v.len >= 3 && v.len <= 63 && is_of(v, LOWER ".-") && is_of(slice_make(v.data, 1), LOWER) &&
                is_of(slice_make(v.data + v.len - 1, 1), LOWER) && !memmem(v.data, v.len, "..", 2);
    CHECK(good, ERR_INVALID,
          "it must be a bucket's name: 3 to 63 of a-z, 0-9, - and ., with a letter or digit at both ends");
    return OK;
}

/* Nothing that would have to be escaped, and no step that a client would take out of a URL. */
static struct result check_prefix(struct slice v) {
    bool good = v.len > 0 && v.len <= 200 && is_of(v, LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ_-./") && v.data[0] != '/';
    size_t start = 0;
    for (size_t i = 0; i <= v.len && good; i++) {
        if (i < v.len && v.data[i] != '/') continue;
        struct slice step = slice_make(v.data + start, i - start);
        good = (step.len > 0 || i == v.len) && !slice_is(step, ".") && !slice_is(step, "..");
        start = i + 1;
    }
    CHECK(good, ERR_INVALID,
          "it must be 1 to 200 of A-Z, a-z, 0-9, _, -, . and /, without a slash at its beginning, two in a row, or a "
          "step '.' or '..'");
    return OK;
}

static struct result check_store_kind(struct slice v) {
    CHECK(slice_is(v, "file") || slice_is(v, "s3"), ERR_INVALID, "it must be file or s3");
    return OK;
}

static struct result check_encryption(struct slice v) {
    CHECK(slice_is(v, "sealed") || slice_is(v, "sse-kms") || slice_is(v, "sealed+sse-kms"), ERR_INVALID,
          "it must be sealed, sse-kms or sealed+sse-kms");
    return OK;
}

static struct result check_bool(struct slice v) {
    CHECK(slice_is(v, "true") || slice_is(v, "false"), ERR_INVALID, "it must be true or false");
    return OK;
}

static struct result check_store_kms(struct slice v) {
    CHECK(slice_is(v, "none"), ERR_INVALID,
          "it must be none, or not be there: a store that has a KMS isn't asked which");
    return OK;
}

static struct result check_region_name(struct slice v) {
    CHECK(v.len > 0 && v.len <= 64 && is_of(v, LOWER "-"), ERR_INVALID,
          "it must be a region's name, such as us-west-2");
    return OK;
}

struct result config_check_form(const char *name, const char *value) {
    static const struct {
        const char *name;
        struct result (*check)(struct slice value);
    } forms[] = {
        {"api.listen", check_listen},       {"gateway.listen", check_listen},    {"kms.endpoint", check_url},
        {"service_key_arn", check_key_arn}, {"webhook.url", check_url},          {"service.account_id", check_account},
        {"log.level", check_level},         {"store.kind", check_store_kind},    {"store.encryption", check_encryption},
        {"store.endpoint", check_url},      {"store.region", check_region_name}, {"store.bucket", check_bucket},
        {"store.prefix", check_prefix},     {"store.path_style", check_bool},    {"store.kms", check_store_kms},
    };
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        if (strcmp(forms[i].name, name) == 0) return forms[i].check(slice_str(value));
    return OK;
}
