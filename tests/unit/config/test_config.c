#include <stdlib.h>

#include "testing.h"

#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "config/config.h"

static char folder[] = "/tmp/lockset-config-XXXXXX";
static char *file;

static int set_up(void **state) {
    if (!mkdtemp(folder)) return 1;
    file = str_format("%s/c.yaml", folder);
    return 0;
}

static int tear_down(void **state) {
    mem_free(file);
    return is_ok(file_remove_tree(folder)) ? 0 : 1;
}

/* Loads a file with this text. */
static struct result load(const char *yaml, struct config **ret) {
    TRY(file_write_atomic(file, slice_str(yaml), 0600));
    return config_load(file, NULL, 0, ret);
}

/* The file is refused, and the detail holds both words. */
static void refused(const char *yaml, const char *first, const char *second) {
    struct config *c = NULL;
    ASSERT_ERR(INVALID, load(yaml, &c));
    if (!strstr(err_detail(), first) || !strstr(err_detail(), second))
        fail_msg("'%s' should name '%s' and '%s'", err_detail(), first, second);
    assert_null(c);
}

static void test_defaults(void **state) {
    AUTO(config_free_auto) struct config *c = NULL;
    ASSERT_OK(config_load(NULL, NULL, 0, &c));
    assert_int_equal(c->key_probe_interval_ms, 10000);
    assert_int_equal(c->key_pause_after_ms, 4 * 3600 * 1000);
    assert_int_equal(c->cache_max_bytes, 1 << 30);
    assert_string_equal(c->service_account_id, "318212636800");
    assert_false(c->customer_keys_enabled);
    assert_int_equal(c->data[0], '/');
}

static void test_both_spellings(void **state) {
    AUTO(config_free_auto) struct config *c = NULL;
    ASSERT_OK(load("key:\n  probe_interval: 5s\nkey.ride_through: 0s\ncustomer_keys: {enabled: true}\n", &c));
    assert_int_equal(c->key_probe_interval_ms, 5000);
    assert_int_equal(c->key_ride_through_ms, 0);
    assert_true(c->customer_keys_enabled);
}

static void test_refusals(void **state) {
    refused("key.probe_interval: 61s\n", "c.yaml:1", "1s to 60s");
    refused("\nkey:\n  probe_interval: 0s\n", "c.yaml:3", "key.probe_interval");
    refused("key.probe_interval: 10\n", "c.yaml:1", "unit");
    refused("key.probe_interval: ten\n", "c.yaml:1", "number");
    refused("key.probe_interval: 99999999999999999999s\n", "c.yaml:1", "key.probe_interval");
    refused("key.prob_interval: 10s\n", "c.yaml:1", "unknown key");
    refused("service.account_id: 1234\n", "c.yaml:1", "12 characters");
    refused("service.account_id: 12345678901x\n", "c.yaml:1: service.account_id", "digits");
    refused("customer_keys.enabled: yes\n", "c.yaml:1", "true or false");
    refused("cache.max_bytes: 1GB\n", "c.yaml:1", "KiB");
    refused("key.ride_through: 301s\n", "c.yaml:1", "300s");
    refused("a: [\n", "c.yaml:", "YAML");
    refused("just words\n", "c.yaml:1", "KEY: VALUE");
    refused("api.tls.cert: /x\n", "api.tls.cert", "api.tls.key");
    refused("log.level: loud\n", "c.yaml:1: log.level", "loud");
    refused("kms.endpoint: 127.0.0.1:8602\n", "c.yaml:1: kms.endpoint", "http(s)://");
    refused("kms.endpoint: http://10.1.2.3:8000\n", "c.yaml:1: kms.endpoint", "https://");
    refused("kms.endpoint: http://127.0.0.1.example.com\n", "c.yaml:1: kms.endpoint", "https://");
    refused("webhook.url: http://hooks.example.com/x\n", "c.yaml:1: webhook.url", "https://");
    refused("regions:\n  - {name: a, api.listen: \"0.0.0.0:8600\"}\n", "api.listen", "api.tls.cert");
    refused("aws.profile: ''\n", "c.yaml:1: aws.profile", "1 to 256 characters");
    refused("regions:\n  - name: a\n    api.listen: 8600\n", "c.yaml:3: a region's api.listen", "HOST:PORT");
    refused("regions:\n  - name: a\n    api.listen: ':8600'\n", "c.yaml:3", "HOST:PORT");
    refused("regions:\n  - name: a\n    gateway.listen: h:99999\n", "c.yaml:3", "HOST:PORT");
    refused("regions:\n  - {name: a, kms.endpoint: nonsense}\n", "c.yaml:2", "http(s)://");
    refused("regions:\n  - {name: a, service_key_arn: alias/x}\n", "c.yaml:2", ":key/mrk-");
    refused("key.probe_interval: 5s\nkey:\n  probe_interval: 6s\n", "c.yaml:3", "line 1");
    refused("regions:\n  - api.listen: 127.0.0.1:1\n", "c.yaml: regions.0", "name");
    refused("regions:\n  - {name: a, color: red}\n", "c.yaml:2", "unknown key");
    refused("regions: [{name: a}, {name: a}]\n", "region a", "twice");
}

/* Each wrong setting of a store, with the line in which it stands. */
static void test_store_refusals(void **state) {
#define S3_STORE(rest) "regions:\n  - name: us-west-2\n    store: {kind: s3, bucket: data-1, " rest "}\n"
    refused("regions: [{name: a, store: {kind: nfs}}]\n", "c.yaml:1: a region's store.kind", "file or s3");
    refused("regions:\n  - name: a\n    store: {kind: s3}\n", "c.yaml:3: region a", "store.bucket is needed");
    refused("store.kind: s3\nregions: [{name: a}]\n", "c.yaml: region a", "store.bucket is needed");
    refused("store: {bucket: abc}\nregions: [{name: a}]\n", "store.bucket", "no region's store.kind is s3");
    refused("regions:\n  - name: a\n    store: {bucket: abc}\n", "c.yaml:3: region a: store.bucket", "kind is file");
    refused("regions:\n  - name: a\n    store: {encryption: sse-kms}\n", "c.yaml:3: region a", "must be sealed");
    refused(S3_STORE("path: /data"), "c.yaml:3: region us-west-2: store.path", "kind is s3");
    refused(S3_STORE("encryption: aes"), "c.yaml:3: a region's store.encryption", "sealed+sse-kms");
    refused(S3_STORE("encryption: sealed"), "c.yaml:3: region us-west-2: store.encryption: sealed", "store.kms: none");
    refused(S3_STORE("kms: none"), "c.yaml:3: region us-west-2: store.kms: none", "needs one; use sealed");
    refused(S3_STORE("kms: vault"), "c.yaml:3: a region's store.kms", "must be none");
    refused(S3_STORE("endpoint: 'http://10.0.0.1:8000'"), "c.yaml:3: a region's store.endpoint", "https://");
    refused(S3_STORE("endpoint: s3.example.com"), "c.yaml:3: a region's store.endpoint", "http(s)://");
    refused(S3_STORE("region: us-east-1"), "c.yaml:3: region us-west-2: store.region is us-east-1",
            "bucket's own region");
    refused(S3_STORE("region: 'US West'"), "c.yaml:3: a region's store.region", "us-west-2");
    refused(S3_STORE("path_style: yes"), "c.yaml:3: a region's store.path_style", "true or false");
    refused(S3_STORE("prefix: /a"), "c.yaml:3: a region's store.prefix", "slash at its beginning");
    refused(S3_STORE("prefix: a//b"), "c.yaml:3: a region's store.prefix", "two in a row");
    refused(S3_STORE("prefix: a/../b"), "c.yaml:3: a region's store.prefix", "'..'");
    refused(S3_STORE("prefix: 'a b'"), "c.yaml:3: a region's store.prefix", "A-Z");
    refused(S3_STORE("bucketname: x"), "c.yaml:3: unknown key 'regions.0.store.bucketname'", "store.bucket");
    refused("store.bucket: Data\n", "c.yaml:1: store.bucket", "a-z");
    refused("store.bucket: ab\n", "c.yaml:1: store.bucket", "3 to 63");
    refused("store.bucket: -ab\n", "c.yaml:1: store.bucket", "both ends");
    refused("store.endpoint: http://10.0.0.1\n", "c.yaml:1: store.endpoint", "https://");
    refused("store.kind: tape\n", "c.yaml:1: store.kind", "file or s3");
    refused("store.encryption: nothing\n", "c.yaml:1: store.encryption", "sse-kms");
    refused("regions:\n  - {name: a, store: {kind: s3, bucket: one, prefix: x}}\n"
            "  - {name: b, store: {kind: s3, bucket: one, prefix: x/y}}\n",
            "c.yaml:3: region b", "give each a store.prefix");
    refused("regions:\n  - {name: a, store: {kind: s3, bucket: one}}\n"
            "  - {name: b, store: {kind: s3, bucket: one, prefix: y}}\n",
            "c.yaml:3: region b", "give each a store.prefix");
}

/* What a region leaves out comes from the settings for all, and from defaults that suit AWS or another endpoint. */
static void test_store_defaults(void **state) {
    AUTO(config_free_auto) struct config *aws = NULL;
    ASSERT_OK(load("regions:\n  - {name: us-west-2, store: {kind: s3, bucket: data-1}}\n"
                   "  - {name: us-east-1, store: {kind: s3, bucket: my.data, prefix: a/b/, encryption: sse-kms}}\n"
                   "  - {name: eu-west-1}\n",
                   &aws));
    const struct config_region *r = aws->regions;
    assert_true(config_is_s3(&r[0]));
    assert_null(r[0].store_endpoint);
    assert_string_equal(r[0].store_region, "us-west-2");
    assert_string_equal(r[0].store_prefix, "");
    assert_string_equal(r[0].store_path_style, "false");
    assert_string_equal(r[0].encryption, "sealed+sse-kms");
    assert_string_equal(r[1].store_prefix, "a/b");
    assert_string_equal(r[1].store_path_style, "true"); /* a dot would spoil the certificate's name */
    assert_string_equal(r[1].encryption, "sse-kms");
    assert_false(config_is_s3(&r[2]));
    assert_string_equal(r[2].encryption, "sealed");

    AUTO(config_free_auto) struct config *shared = NULL;
    AUTO(config_free_auto) struct config *again = NULL;
    ASSERT_OK(load("store: {kind: s3, endpoint: 'http://127.0.0.1:8000', region: default, bucket: lab, prefix: dev,\n"
                   "        encryption: sealed, kms: none}\n"
                   "regions: [{name: a}, {name: b, store: {bucket: own}}, {name: c, store: {kind: file}}]\n",
                   &shared));
    BUF_AUTO(text, 1 << 16);
    config_write(shared, &text);
    ASSERT_OK(load(buf_str(&text), &again));
    for (int i = 0; i < 2; i++) {
        r = i ? again->regions : shared->regions;
        assert_string_equal(r[0].store_prefix, "dev/a");
        assert_string_equal(r[0].store_bucket, "lab");
        assert_string_equal(r[0].store_region, "default");
        assert_string_equal(r[0].store_path_style, "true");
        assert_string_equal(r[0].store_kms, "none");
        assert_string_equal(r[1].store_bucket, "own");
        assert_string_equal(r[1].store_prefix, "");
        assert_string_equal(r[2].store_kind, "file");
    }
}

static void test_missing_file(void **state) {
    struct config *c = NULL;
    ASSERT_ERR(NOT_FOUND, config_load("/nowhere/at/all.yaml", NULL, 0, &c));
    assert_non_null(strstr(err_detail(), "/nowhere/at/all.yaml"));
}

/* interval + 2 x time-out + 1 s must stay within the published bound. */
static void test_bound(void **state) {
    AUTO(config_free_auto) struct config *c = NULL;
    refused("key.denied_bound: 20s\n", "key.denied_bound", "31000 ms");
    ASSERT_OK(load("key.denied_bound: 31s\n", &c));
}

static void test_overrides_win(void **state) {
    AUTO(config_free_auto) struct config *c = NULL;
    ASSERT_OK(file_write_atomic(file, slice_str("key.probe_interval: 5s\n"), 0600));
    struct config_override given[] = {{"key.probe_interval", "7s"}, {"regions.0.name", "us-west-2"}};
    ASSERT_OK(config_load(file, given, 2, &c));
    assert_int_equal(c->key_probe_interval_ms, 7000);
    assert_non_null(config_find_region(c, "us-west-2"));
    assert_null(config_find_region(c, "eu-west-1"));
    struct config_override wrong[] = {{"nope", "1"}};
    struct config *none = NULL;
    ASSERT_ERR(INVALID, config_load(NULL, wrong, 1, &none));
    assert_non_null(strstr(err_detail(), "--set"));
}

/* What is written reads back as the same, also with awkward text. */
static void test_round_trip(void **state) {
    AUTO(config_free_auto) struct config *c = NULL;
    AUTO(config_free_auto) struct config *again = NULL;
    struct config_override given[] = {{"data", "/tmp/a \"b\" \\ c: #d"},
                                      {"key.kms_timeout", "250ms"},
                                      {"regions.0.name", "us-west-2"},
                                      {"regions.0.kms.endpoint", "http://127.0.0.1:1"},
                                      {"regions.1.name", "us-east-1"}};
    ASSERT_OK(config_load(NULL, given, ARRAY_LEN(given), &c));
    BUF_AUTO(text, 1 << 16);
    config_write(c, &text);
    ASSERT_OK(load(buf_str(&text), &again));
    assert_string_equal(again->data, c->data);
    assert_int_equal(again->key_kms_timeout_ms, 250);
    assert_int_equal(again->region_count, 2);
    assert_string_equal(again->regions[0].kms_endpoint, "http://127.0.0.1:1");
    assert_string_equal(again->regions[1].store_path, c->regions[1].store_path);
}

static void test_describe(void **state) {
    BUF_AUTO(text, 1 << 16);
    config_describe(&text);
    ASSERT_OK(buf_check(&text));
    assert_non_null(strstr(buf_str(&text), "key.probe_interval"));
    assert_non_null(strstr(buf_str(&text), "1s to 60s"));
    assert_non_null(strstr(buf_str(&text), "5s to 30d"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),       cmocka_unit_test(test_both_spellings),
        cmocka_unit_test(test_refusals),       cmocka_unit_test(test_missing_file),
        cmocka_unit_test(test_bound),          cmocka_unit_test(test_overrides_win),
        cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_describe),
        cmocka_unit_test(test_store_refusals), cmocka_unit_test(test_store_defaults),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
