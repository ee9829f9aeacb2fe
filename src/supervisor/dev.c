#include "supervisor/dev.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aws/credentials.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/http_server.h"

const char *const dev_region_names[DEV_REGIONS] = {"us-west-2", "us-east-1"};

static const char customer_account[] = "111122223333";

enum { GATEWAY_PORTS = 10 /* behind the first one */ };

/* n characters of [A-Z2-7]. */
static struct result random_word(size_t n, char *ret) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    TRY(random_bytes(ret, n));
    for (size_t i = 0; i < n; i++)
        ret[i] = alphabet[(uint8_t)ret[i] % 32];
    ret[n] = '\0';
    return OK;
}

static struct result append_profile(struct buf *out, const char *profile) {
    char id[17], secret[41];
    TRY(random_word(16, id));
    TRY(random_word(40, secret));
    buf_printf(out, "[%s]\naws_access_key_id = AKIA%s\naws_secret_access_key = %s\nregion = %s\n\n", profile, id,
               secret, dev_region_names[0]);
    wipe(secret, sizeof(secret));
    return OK;
}

static struct result make_credentials(const struct dev *d) {
    if (access(d->credentials_file, F_OK) == 0) return OK;
    AUTO(buf_done) struct buf text;
    buf_init_wiping(&text, 4096);
    TRY(append_profile(&text, "service"));
    TRY(append_profile(&text, "customer"));
    return file_write_atomic(d->credentials_file, buf_slice(&text), 0600);
}

static struct result append_account(const struct dev *d, const char *profile, const char *account, struct buf *out) {
    CREDENTIALS_AUTO(credentials);
    struct credentials_source source = {.file = d->credentials_file, .profile = profile};
    TRY(credentials_load(&source, &credentials));
    buf_printf(out, "%s{\"account\":\"%s\",\"principal\":\"arn:aws:iam::%s:root\",\"access_key_id\":",
               out->len > 16 ? "," : "", account, account);
    json_write_str(slice_str(credentials.access_key_id), out);
    buf_append_str(out, ",\"secret_access_key\":");
    json_write_str(secret_view(&credentials.secret_key), out);
    buf_append_str(out, "}");
    return OK;
}

/* The local KMS knows the callers that the credentials file names. */
static struct result make_accounts(const struct dev *d, const struct config *c) {
    AUTO(buf_done) struct buf text;
    buf_init_wiping(&text, 8192);
    buf_append_str(&text, "{\"accounts\":[");
    TRY(append_account(d, "service", c->service_account_id, &text));
    TRY(append_account(d, "customer", customer_account, &text));
    buf_append_str(&text, "]}\n");
    TRY(buf_check(&text));
    return file_write_atomic(d->accounts_file, buf_slice(&text), 0600);
}

enum { FREE_PORT_FIRST = 10240, FREE_PORTS = 20000, FREE_PORT_TRIES = 64 };

/* A port that is free now: the wanted one, or (0) any of those that the system doesn't give to outgoing connections,
 * which could take it before its server starts. *ret_fd holds it until all are chosen. */
static struct result free_port(unsigned wanted, int *ret_fd, unsigned *ret) {
    for (unsigned i = 0; wanted == 0 && i < FREE_PORT_TRIES; i++) {
        uint16_t any = 0;
        TRY(random_bytes(&any, sizeof any));
        if (is_ok(http_listen_tcp("127.0.0.1", FREE_PORT_FIRST + any % FREE_PORTS, ret_fd, ret))) return OK;
    }
    return http_listen_tcp("127.0.0.1", wanted, ret_fd, ret);
}

static struct result choose_held(struct dev *d, const struct config *c, int *fds) {
    unsigned base = (unsigned)c->dev_port_base;
    for (unsigned i = 0; i < DEV_REGIONS; i++) {
        TRY(free_port(base ? base + i : 0, fds++, &d->api_port[i]));
        if (d->own_kms) TRY(free_port(base ? base + DEV_REGIONS + i : 0, fds++, &d->kms_port[i]));
        TRY(free_port(base ? base + GATEWAY_PORTS + i : 0, fds++, &d->gateway_port[i]));
        d->kms_url[i] = d->own_kms ? str_format("http://127.0.0.1:%u", d->kms_port[i]) : str_dup(c->kms_endpoint);
    }
    return OK;
}

static struct result choose_ports(struct dev *d, const struct config *c) {
    int fds[3 * DEV_REGIONS];
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        fds[i] = -1;
    struct result r = choose_held(d, c, fds);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        fd_close(&fds[i]);
    return r;
}

static struct result load_token(struct dev *d, const struct config *c) {
    AUTO_FREE char *path = str_format("%s/dev.json", c->data);
    BUF_AUTO(text, 1 << 20);
    if (is_ok(file_read(path, 1 << 20, &text))) {
        JSON_AUTO(old);
        const char *token = NULL;
        if (is_ok(json_parse_object(buf_slice(&text), &old)) && is_ok(json_get_str(old, "operator_token", &token))) {
            d->operator_token = str_dup(token);
            return OK;
        }
    }
    char word[41];
    TRY(random_word(40, word));
    d->operator_token = str_format("lso_%s", word);
    return OK;
}

struct result dev_prepare(struct dev *d, const struct config *c) {
    *d = (struct dev){.own_kms = c->kms_endpoint == NULL};
    d->credentials_file = str_format("%s/credentials", c->data);
    d->accounts_file = str_format("%s/run/kms-accounts.json", c->data);
    TRY(make_credentials(d));
    TRY(make_accounts(d, c));
    TRY(load_token(d, c));
    return choose_ports(d, c);
}

void dev_done(struct dev *d) {
    for (unsigned i = 0; i < DEV_REGIONS; i++) {
        mem_free(d->kms_url[i]);
        mem_free(d->api_listen[i]);
        mem_free(d->gateway_listen[i]);
    }
    mem_free(d->operator_token);
    mem_free(d->accounts_file);
    mem_free(d->credentials_file);
    *d = (struct dev){0};
}

size_t dev_overrides(struct dev *d, char *const service_key_arns[static DEV_REGIONS], struct config_override *ret) {
    static const struct {
        const char *name, *listen, *gateway, *endpoint, *key;
    } members[DEV_REGIONS] = {
        {"regions.0.name", "regions.0.api.listen", "regions.0.gateway.listen", "regions.0.kms.endpoint",
         "regions.0.service_key_arn"},
        {"regions.1.name", "regions.1.api.listen", "regions.1.gateway.listen", "regions.1.kms.endpoint",
         "regions.1.service_key_arn"},
    };
    size_t n = 0;
    ret[n++] = (struct config_override){"customer_keys.enabled", "true"};
    ret[n++] = (struct config_override){"aws.credentials_file", d->credentials_file};
    ret[n++] = (struct config_override){"aws.profile", "service"};
    for (unsigned i = 0; i < DEV_REGIONS; i++) {
        mem_free(d->api_listen[i]);
        d->api_listen[i] = str_format("127.0.0.1:%u", d->api_port[i]);
        ret[n++] = (struct config_override){members[i].name, dev_region_names[i]};
        ret[n++] = (struct config_override){members[i].listen, d->api_listen[i]};
        mem_free(d->gateway_listen[i]);
        d->gateway_listen[i] = str_format("127.0.0.1:%u", d->gateway_port[i]);
        ret[n++] = (struct config_override){members[i].gateway, d->gateway_listen[i]};
        ret[n++] = (struct config_override){members[i].endpoint, d->kms_url[i]};
        if (service_key_arns[i]) ret[n++] = (struct config_override){members[i].key, service_key_arns[i]};
    }
    return n;
}

struct result dev_write_json(const struct dev *d, const struct config *c, const json_t *processes) {
    JSON_AUTO(regions);
    regions = json_array();
    for (unsigned i = 0; i < DEV_REGIONS; i++) {
        const struct config_region *served = config_find_region(c, dev_region_names[i]);
        AUTO_FREE char *api = str_format("http://127.0.0.1:%u", d->api_port[i]);
        AUTO_FREE char *gateway = str_format("http://127.0.0.1:%u", d->gateway_port[i]);
        json_array_append_new(regions, json_pack("{s:s,s:s?,s:s,s:s?,s:s?}", "name", dev_region_names[i], "api_url",
                                                 served ? api : NULL, "kms_url", d->kms_url[i], "gateway_url",
                                                 served ? gateway : NULL, "store", served ? served->store_path : NULL));
    }
    JSON_AUTO(all);
    all = json_pack("{s:s,s:s,s:I,s:O,s:O}", "operator_token", d->operator_token, "service_account_id",
                    c->service_account_id, "port_base", (json_int_t)c->dev_port_base, "regions", regions, "processes",
                    processes);
    AUTO(buf_done) struct buf text;
    buf_init_wiping(&text, 1 << 20);
    TRY(json_write(all, &text));
    buf_append_str(&text, "\n");
    TRY(buf_check(&text));
    AUTO_FREE char *path = str_format("%s/dev.json", c->data);
    return file_write_atomic(path, buf_slice(&text), 0600);
}
