#include "config/stores.h"

#include <string.h>

static bool is(const char *value, const char *name) {
    return value && strcmp(value, name) == 0;
}

/* A failure says where the store was set: "FILE:LINE: region NAME: ...". */
#define STORE_CHECK(good, r, ...)                                                                                      \
    do {                                                                                                               \
        if (!(good)) return refuse(r, str_format(__VA_ARGS__));                                                        \
    } while (0)

static struct result refuse(const struct config_region *r, char *taken) {
    AUTO_FREE char *why = taken;
    FAIL(ERR_INVALID, "%s%sregion %s: %s", r->store_where ? r->store_where : "", r->store_where ? ": " : "", r->name,
         why);
}

static void inherit(char **own, const char *shared, const char *preset) {
    if (!*own && (shared || preset)) *own = str_dup(shared ? shared : preset);
}

static struct result check_folder(struct config_region *r) {
    const struct {
        const char *name, *value;
    } foreign[] = {{"endpoint", r->store_endpoint}, {"region", r->store_region},         {"bucket", r->store_bucket},
                   {"prefix", r->store_prefix},     {"path_style", r->store_path_style}, {"kms", r->store_kms},
                   {"profile", r->store_profile}};
    for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
        STORE_CHECK(!foreign[i].value, r, "store.%s is for stores of kind s3; this one's store.kind is file",
                    foreign[i].name);
    inherit(&r->encryption, NULL, "sealed");
    STORE_CHECK(is(r->encryption, "sealed"), r,
                "a store of kind file is always sealed; store.encryption must be sealed, not %s", r->encryption);
    return OK;
}

/* A bucket that several regions share has a folder for each. */
static void set_prefix(const struct config *c, struct config_region *r, bool has_own_bucket) {
    if (!r->store_prefix && has_own_bucket) r->store_prefix = str_dup("");
    if (!r->store_prefix) {
        size_t n = c->store_prefix ? strlen(c->store_prefix) : 0;
        bool needs_slash = n > 0 && c->store_prefix[n - 1] != '/';
        r->store_prefix = str_format("%s%s%s", n ? c->store_prefix : "", needs_slash ? "/" : "", r->name);
    }
    size_t n = strlen(r->store_prefix);
    if (n > 0 && r->store_prefix[n - 1] == '/') r->store_prefix[n - 1] = '\0';
}

static struct result check_s3(const struct config *c, struct config_region *r) {
    bool has_own_bucket = r->store_bucket != NULL, has_own_path = r->store_path != NULL;
    /* How this very table was written out once: DATA/store/NAME is only where an S3 store's locks are. */
    AUTO_FREE char *preset = str_format("%s/store/%s", c->data, r->name);
    STORE_CHECK(!has_own_path || is(r->store_path, preset), r,
                "store.path is for stores of kind file; this one's store.kind is s3");
    inherit(&r->store_endpoint, c->store_endpoint, NULL);
    inherit(&r->store_region, c->store_region, r->name);
    inherit(&r->store_bucket, c->store_bucket, NULL);
    inherit(&r->encryption, c->store_encryption, "sealed+sse-kms");
    inherit(&r->store_kms, c->store_kms, NULL);
    inherit(&r->store_profile, c->store_profile, NULL);
    STORE_CHECK(r->store_bucket, r, "store.kind is s3, so that store.bucket is needed");
    bool in_path = r->store_endpoint || strchr(r->store_bucket, '.');
    inherit(&r->store_path_style, c->store_path_style, in_path ? "true" : "false");
    set_prefix(c, r, has_own_bucket);
    STORE_CHECK(r->store_endpoint || is(r->store_region, r->name), r,
                "store.region is %s, but S3 encrypts only with keys of the bucket's own region: without store.endpoint "
                "it must be %s, or not be set",
                r->store_region, r->name);
    bool is_sealed_only = is(r->encryption, "sealed");
    STORE_CHECK(
        !is_sealed_only || is(r->store_kms, "none"), r,
        "store.encryption: sealed leaves S3's own encryption to whatever the bucket is set to; it is allowed only "
        "with store.kms: none, which declares that the store has no KMS. Else use sealed+sse-kms");
    STORE_CHECK(is_sealed_only || !r->store_kms, r,
                "store.kms: none says that the store has no KMS, but store.encryption: %s needs one; use sealed",
                r->encryption);
    return OK;
}

struct result config_check_store(struct config *c, size_t index) {
    struct config_region *r = &c->regions[index];
    inherit(&r->store_kind, c->store_kind, "file");
    return is(r->store_kind, "s3") ? check_s3(c, r) : check_folder(r);
}

static bool same(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* Is one the other, or a folder in it? */
static bool overlap(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b), shorter = n < m ? n : m;
    return strncmp(a, b, shorter) == 0 && (n == m || shorter == 0 || (n < m ? b : a)[shorter] == '/');
}

struct result config_check_stores(const struct config *c) {
    bool any_s3 = false;
    for (size_t i = 0; i < c->region_count; i++) {
        const struct config_region *r = &c->regions[i];
        if (!config_is_s3(r)) continue;
        any_s3 = true;
        for (size_t j = 0; j < i; j++) {
            const struct config_region *other = &c->regions[j];
            STORE_CHECK(!config_is_s3(other) || !same(other->store_endpoint, r->store_endpoint) ||
                            strcmp(other->store_bucket, r->store_bucket) != 0 ||
                            !overlap(other->store_prefix, r->store_prefix),
                        r, "its store lies in the bucket %s where that of %s lies; give each a store.prefix of its own",
                        r->store_bucket, other->name);
        }
    }
    const struct {
        const char *name, *value;
    } idle[] = {{"endpoint", c->store_endpoint},
                {"region", c->store_region},
                {"bucket", c->store_bucket},
                {"prefix", c->store_prefix},
                {"kms", c->store_kms},
                {"profile", c->store_profile},
                {"path_style", c->store_path_style},
                {"encryption", c->store_encryption}};
    for (size_t i = 0; i < ARRAY_LEN(idle) && c->region_count > 0 && !any_s3; i++)
        CHECK(!idle[i].value, ERR_INVALID, "store.%s is set, but no region's store.kind is s3", idle[i].name);
    return OK;
}
