/* `lockset store check`: is the place of a region's store fit for it? */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/commands.h"
#include "cli/store_check.h"

bool store_check_note(struct store_check *c, const char *name, struct result r, const char *detail, const char *mend) {
    bool ok = is_ok(r);
    AUTO_FREE char *why = ok ? NULL : str_dup(err_detail());
    json_t *line = json_pack("{s:s, s:b, s:s}", "check", name, "ok", ok, "detail", ok ? detail : why);
    if (!ok && mend && mend[0]) json_object_set_new(line, "mend", json_string(mend));
    json_array_append_new(c->list, line);
    c->failed += !ok;
    return ok;
}

void store_check_tell(struct store_check *c, const char *name, const char *detail) {
    store_check_note(c, name, OK, detail, NULL);
}

static const char *text_of(const json_t *line, const char *name) {
    const char *text = json_string_value(json_object_get(line, name));
    return text ? text : "";
}

static void print_check(const struct config_region *r, const char *place, const struct store_check *c) {
    printf("%s: %s, %s\n", r->name, place, r->encryption);
    size_t i;
    const json_t *line;
    json_array_foreach(c->list, i, line) {
        bool ok = json_is_true(json_object_get(line, "ok"));
        printf("  %-4s  %-22s  %s\n", ok ? "ok" : "FAIL", text_of(line, "check"), text_of(line, "detail"));
        if (!ok && text_of(line, "mend")[0]) printf("  %-4s  %-22s  -> %s\n", "", "", text_of(line, "mend"));
    }
}

static void check_region(const struct config_region *r, const char *key_arn, json_t *all, bool as_json, size_t *failed,
                         size_t *count) {
    struct store_check c = {.list = json_array()};
    bool is_s3 = config_is_s3(r), has_prefix = is_s3 && r->store_prefix[0];
    AUTO_FREE char *place = is_s3 ? str_format("s3://%s%s%s", r->store_bucket, has_prefix ? "/" : "", r->store_prefix)
                                  : str_dup(r->store_path);
    if (is_s3)
        store_check_s3(&c, r, key_arn);
    else
        store_check_folder(&c, r->store_path);
    *failed += c.failed;
    *count += json_array_size(c.list);
    if (!as_json) print_check(r, place, &c);
    json_array_append_new(all,
                          json_pack("{s:s, s:s, s:s, s:s, s:b, s:O}", "region", r->name, "kind", r->store_kind, "store",
                                    place, "encryption", r->encryption, "ok", c.failed == 0, "checks", c.list));
    json_decref(c.list);
}

/* What S3 is to encrypt under; NULL where it is not to. */
static struct result find_key(const struct args *a, const struct config_region *r, const char **ret) {
    *ret = NULL;
    if (!config_is_s3(r) || strcmp(r->encryption, "sealed") == 0) return OK;
    *ret = args_has(a, "--key-arn") ? args_get(a, "--key-arn") : r->service_key_arn;
    CHECK(*ret, ERR_INVALID,
          "S3 is to encrypt the store of %s (store.encryption: %s), so that trying it needs a key: give --key-arn ARN, "
          "or "
          "set service_key_arn of the region",
          r->name, r->encryption);
    AUTO_FREE char *part = str_format(":kms:%s:", r->name);
    CHECK(strstr(*ret, part), ERR_INVALID,
          "%s is not the ARN of a key in %s, whose store it is to encrypt; see --region", *ret, r->name);
    return OK;
}

/* --config, else what a node on --data was last started with. */
static struct result load(const struct args *a, struct config **ret) {
    const char *file = args_get(a, "--config"), *data = args_get(a, "--data");
    CHECK(!file || !data, ERR_INVALID, "give --config or --data, not both");
    if (file) return config_load(file, NULL, 0, ret);
    AUTO_FREE char *written = str_format("%s/run/config.yaml", data ? data : "lockset-data");
    CHECK(access(written, R_OK) == 0, ERR_INVALID,
          "no node was started on %s yet; name its settings with --config FILE", data ? data : "lockset-data");
    return config_load(written, NULL, 0, ret);
}

static struct result run_check(const struct args *a) {
    AUTO(config_free_auto) struct config *c = NULL;
    TRY(load(a, &c));
    const char *only = args_get(a, "--region");
    bool as_json = args_has(a, "--json");
    CHECK(c->region_count > 0, ERR_INVALID, "the settings have no regions");
    CHECK(!only || config_find_region(c, only), ERR_INVALID, "the settings have no region %s", only);
    JSON_AUTO(all);
    all = json_array();
    size_t failed = 0, count = 0;
    for (int pass = 0; pass < 2; pass++) { /* nothing is tried before everything that is needed for it is there */
        for (size_t i = 0; i < c->region_count; i++) {
            const char *key_arn;
            if (only && strcmp(only, c->regions[i].name) != 0) continue;
            TRY(find_key(a, &c->regions[i], &key_arn));
            if (pass == 1) check_region(&c->regions[i], key_arn, all, as_json, &failed, &count);
        }
    }
    if (as_json) {
        BUF_AUTO(text, 1 << 20);
        TRY(json_write(all, &text));
        TRY(buf_check(&text));
        printf("%s\n", buf_str(&text));
    }
    fflush(stdout);
    CHECK(failed == 0, ERR_CONFLICT, "%zu of %zu checks failed", failed, count);
    return OK;
}

const struct command store_commands[] = {
    {"store check", "",
     "Tries what a store needs, on each region's: a line each, with what to do where it fails. Leaves nothing behind.",
     (const struct args_option[]){
         {"--config", "FILE", "settings in YAML", NULL},
         {"--data", "DIR", "or: data folder of a node, for the settings it was last started with", "./lockset-data"},
         {"--key-arn", "ARN", "a store in S3: the KMS key to encrypt under; default: service_key_arn of the region",
          NULL},
         {"--region", "REGION", "only this region's store", NULL},
         {"--json", NULL, "a list of regions, each with its checks", NULL},
         {NULL, NULL, NULL, NULL}},
     true, run_check},
    {NULL, NULL, NULL, NULL, false, NULL},
};
