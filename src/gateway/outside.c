#include "gateway/outside.h"

#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "registry/registry.h"

struct outside {
    struct registry *registry;
    struct lease *lease;
    struct registry_org org;
    struct store *store;
    struct gateway *gateway;
};

static bool find_secret(void *arg, const char *access_key, char ret[static GATEWAY_SECRET_KEY_BYTES]) {
    const struct outside *o = arg;
    AUTO(registry_s3_key_done) struct registry_s3_key key = {0};
    struct result r = registry_get_s3_key(o->registry, access_key, &key);
    if (is_err(r)) {
        if (r.code != ERR_NOT_FOUND) log_error("s3_key.not_read", KV("detail", err_detail()));
        return false;
    }
    if (strcmp(key.org, o->org.id) != 0 || strcmp(key.region, lease_region(o->lease)) != 0) return false;
    _Static_assert((int)GATEWAY_SECRET_KEY_BYTES >= (int)LEASE_S3_SECRET_BYTES, "a derived secret has room");
    return is_ok(lease_s3_secret(o->lease, access_key, ret));
}

static struct result open_parts(struct outside *o, const struct outside_options *options) {
    TRY(registry_open(options->registry, &o->registry));
    TRY(registry_get_org(o->registry, lease_org(o->lease), &o->org));
    TRY(file_make_dirs(options->dir));
    const struct store_options place = {.dir = options->dir, .s3 = options->s3, .bucket = "s3", .lease = o->lease};
    TRY(store_open(&place, &o->store));
    const struct gateway_options gateway = {.secret = find_secret,
                                            .secret_arg = o,
                                            .store = o->store,
                                            .lease = o->lease,
                                            .region = lease_region(o->lease),
                                            .bucket = o->org.name,
                                            .key_arn = lease_key_arn(o->lease),
                                            .bucket_created_ms = o->org.created_at_ms};
    return gateway_new(&gateway, &o->gateway);
}

struct result outside_serve(const struct outside_options *options) {
    struct outside *o = mem_alloc(sizeof *o); /* to the end of the process */
    o->lease = options->lease;
    struct result r = open_parts(o, options);
    if (is_err(r)) {
        close(options->listen_fd);
        return r;
    }
    TRY(gateway_serve(o->gateway, 1, options->listen_fd, NULL));
    log_info("outside.served", KV("org", o->org.id), KV("bucket", o->org.name));
    return OK;
}
