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

struct result config_check_form(const char *name, const char *value) {
    static const struct {
        const char *name;
        struct result (*check)(struct slice value);
    } forms[] = {
        {"api.listen", check_listen},       {"gateway.listen", check_listen}, {"kms.endpoint", check_url},
        {"service_key_arn", check_key_arn}, {"webhook.url", check_url},       {"service.account_id", check_account},
        {"log.level", check_level},
    };
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        if (strcmp(forms[i].name, name) == 0) return forms[i].check(slice_str(value));
    return OK;
}
