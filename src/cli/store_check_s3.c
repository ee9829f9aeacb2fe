/* What a store asks of S3, tried in a folder of its own in the bucket, which is removed again. */
#include <stdlib.h>
#include <string.h>

#include "aws/s3_store_client.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/http_client.h"
#include "cli/store_check.h"

enum { TIME_MS = 15000, ATTEMPTS = 3, SMALL_BYTES = 100000, SKEW_MAX_MS = 300000, TAIL_BYTES = 1000, PASSES = 3 };

struct probe {
    struct store_check *c;
    const struct config_region *r;
    const char *key_arn; /* NULL: nothing is encrypted by S3 */
    struct s3_store_client *client;
    char *folder, *object; /* keys in the bucket */
    uint8_t *content;      /* of a multipart upload: one part and TAIL_BYTES */
    struct s3_failure why; /* of the latest call */
};

static const char *mend_of(const struct s3_failure *f) {
    static const struct {
        const char *code, *mend;
    } codes[] = {
        {"RequestTimeTooSkewed", "set this host's clock (NTP)"},
        {"AuthorizationHeaderMalformed", "the bucket is in another region: see store.region"},
        {"PermanentRedirect", "the bucket is in another region, or wants another store.path_style"},
        {"IllegalLocationConstraintException", "the bucket is in another region: see store.region"},
        {"InvalidAccessKeyId", "these credentials are not known there"},
        {"SignatureDoesNotMatch", "the secret key is not the one of this access key"},
        {"ExpiredToken", "the credentials have expired: get new ones"},
    };
    static const char *const troubles[S3_TROUBLE_MAX] = {
        [S3_TROUBLE_KEY_REFUSED] = "the key must be enabled, in the bucket's region, and its policy must let these "
                                   "credentials use it through S3",
        [S3_TROUBLE_ACCESS] = "allow these credentials what docs/operations.md lists for the bucket",
        [S3_TROUBLE_THROTTLED] = "try again when there is less load",
        [S3_TROUBLE_UNREACHABLE] = "see store.endpoint, the network, and whether the store runs",
        [S3_TROUBLE_NO_BUCKET] = "make the bucket, or mend store.bucket",
        [S3_TROUBLE_NOT_ENCRYPTED] = "this store ignores SSE-KMS: set up its KMS, or declare that it has none "
                                     "(store.kms: none, store.encryption: sealed)",
        [S3_TROUBLE_UNSUPPORTED] = "this store lacks something that is needed",
        [S3_TROUBLE_BROKEN] = "something between here and the store changes what is sent; or it is not S3",
        [S3_TROUBLE_REFUSED] = "see what the store says",
    };
    bool is_of_key = strstr(f->message, "kms") || strstr(f->message, "KMS"); /* Ceph's code for it names credentials */
    for (size_t i = 0; i < ARRAY_LEN(codes) && !is_of_key; i++)
        if (strcmp(f->code, codes[i].code) == 0) return codes[i].mend;
    if (is_of_key && f->trouble == S3_TROUBLE_ACCESS) return troubles[S3_TROUBLE_KEY_REFUSED];
    return f->trouble < S3_TROUBLE_MAX && troubles[f->trouble] ? troubles[f->trouble] : "see what the store says";
}

static bool note(struct probe *p, const char *name, struct result r, const char *detail) {
    const char *mend = mend_of(&p->why);
    bool ok = store_check_note(p->c, name, r, detail, mend);
    p->why = (struct s3_failure){0};
    return ok;
}

static struct slice small(const struct probe *p, size_t from) {
    return slice_make(p->content + from, SMALL_BYTES);
}

/* ---- One after the other ---- */

static struct result put(struct probe *p, struct slice body) {
    char etag[S3_STORE_ETAG_BYTES];
    return s3_store_put(p->client, &(struct s3_put){.key = p->object, .body = body}, etag, &p->why);
}

static struct result read_same(struct probe *p, struct slice body) {
    BUF_AUTO(found, SMALL_BYTES);
    TRY(s3_store_get_whole(p->client, p->object, SMALL_BYTES, &found, NULL, &p->why));
    CHECK(slice_equal(buf_slice(&found), body), ERR_CORRUPT, "other bytes than were written");
    return OK;
}

static bool take(void *arg, struct slice piece) {
    buf_append_slice(arg, piece);
    return true;
}

static struct result read_range(struct probe *p, int64_t from, size_t length) {
    BUF_AUTO(found, 1 << 20);
    const struct s3_get get = {.key = p->object, .from = from, .length = (int64_t)length, .take = take, .arg = &found};
    TRY(s3_store_get(p->client, &get, NULL, &p->why));
    CHECK(slice_equal(buf_slice(&found), slice_make(p->content + from, length)), ERR_CORRUPT,
          "the range brought other bytes than were written there");
    return OK;
}

/* What HEAD tells of the object's encryption, and of the store's clock. */
static struct result read_head(struct probe *p, struct s3_head *ret) {
    TRY(s3_store_head(p->client, p->object, ret, &p->why));
    if (!p->key_arn || (ret->is_kms && strcmp(ret->key_id, p->key_arn) == 0)) return OK;
    p->why.trouble = S3_TROUBLE_NOT_ENCRYPTED;
    FAIL(ERR_PEER, "HEAD says: %s%s, not %s", ret->is_kms ? "encrypted under " : "not encrypted with KMS",
         ret->is_kms ? ret->key_id : "", p->key_arn);
}

static void check_encryption(struct probe *p) {
    struct s3_head head = {0};
    bool wants_bucket_key = strcmp(p->r->encryption, "sealed+sse-kms") == 0;
    struct result r = read_head(p, &head);
    AUTO_FREE char *text =
        !p->key_arn
            ? str_format("none by S3 (store.kms: none); it is sealed before it goes there")
            : str_format("SSE-KMS under %s%s", p->key_arn,
                         !wants_bucket_key ? ", each object by itself"
                         : head.bucket_key ? ", with a bucket key"
                                           : "; the store tells nothing of a bucket key, so each object may cost "
                                             "a call of KMS");
    note(p, "encryption", r, text);
    if (is_err(r)) return;
    int64_t skew = clock_unix_ms() - head.modified_ms;
    AUTO_FREE char *seconds = str_format("%lld s apart", (long long)(llabs(skew) / 1000));
    struct result good = llabs(skew) <= SKEW_MAX_MS ? OK : err_make(ERR_INVALID, "%s", seconds);
    store_check_note(p->c, "clock", good, seconds, "set this host's clock (NTP), or the store's");
}

static struct result listed(struct probe *p) {
    AUTO(s3_entries_done) struct s3_entries page = {0};
    TRY(s3_store_list(p->client, &(struct s3_list){.prefix = p->folder}, &page, &p->why));
    CHECK(page.count == 1 && strcmp(page.items[0].key, p->object) == 0 && page.items[0].size == SMALL_BYTES, ERR_PEER,
          "the object that was just written is not listed, or with another size");
    return OK;
}

static void check_condition(struct probe *p) {
    char etag[S3_STORE_ETAG_BYTES];
    const struct s3_put twice = {.key = p->object, .body = small(p, 0), .only_new = true};
    struct result r = s3_store_put(p->client, &twice, etag, &p->why);
    const char *text = r.code == ERR_PRECONDITION              ? "a key that is taken is not written over"
                       : r.code == ERR_UNSUPPORTED || is_ok(r) ? "unknown to this store; Lockset does without"
                                                               : NULL;
    note(p, "conditional write", text ? OK : r, text);
}

static struct result multipart(struct probe *p) {
    AUTO_FREE char *id = NULL;
    TRY(s3_store_upload_create(p->client, p->object, &id, &p->why));
    struct s3_upload_part parts[2] = {{.number = 1}, {.number = 2}};
    const struct slice bodies[2] = {slice_make(p->content, S3_STORE_MIN_PART_BYTES),
                                    slice_make(p->content + S3_STORE_MIN_PART_BYTES, TAIL_BYTES)};
    for (unsigned i = 0; i < 2; i++)
        TRY(s3_store_upload_part(p->client, p->object, id, i + 1, bodies[i], parts[i].etag, &p->why));
    char etag[S3_STORE_ETAG_BYTES];
    TRY(s3_store_upload_complete(p->client, p->object, id, parts, 2, S3_STORE_MIN_PART_BYTES + TAIL_BYTES, etag,
                                 &p->why));
    TRY(read_range(p, S3_STORE_MIN_PART_BYTES - TAIL_BYTES, 2 * TAIL_BYTES));
    struct s3_head head;
    return read_head(p, &head);
}

static struct result abort_one(struct probe *p) {
    AUTO_FREE char *id = NULL;
    TRY(s3_store_upload_create(p->client, p->object, &id, &p->why));
    char etag[S3_STORE_ETAG_BYTES];
    struct result r = s3_store_upload_part(p->client, p->object, id, 1, small(p, 0), etag, &p->why);
    struct result aborted = s3_store_upload_abort(p->client, p->object, id, is_ok(r) ? &p->why : NULL);
    return is_ok(r) ? aborted : r;
}

static struct result delete_one(struct probe *p) {
    TRY(s3_store_delete(p->client, p->object, NULL, &p->why));
    struct s3_head head;
    struct result r = s3_store_head(p->client, p->object, &head, &p->why);
    CHECK(r.code == ERR_NOT_FOUND, ERR_PEER, "it is still there");
    p->why = (struct s3_failure){0};
    return OK;
}

/* Every version of everything below the folder. */
static struct result remove_all(struct probe *p) {
    for (int pass = 0; pass < PASSES; pass++) {
        AUTO(s3_entries_done) struct s3_entries page = {0};
        const struct s3_list list = {.prefix = p->folder};
        struct result r = s3_store_list_versions(p->client, &list, &page, &p->why);
        if (r.code == ERR_UNSUPPORTED) r = s3_store_list(p->client, &list, &page, &p->why);
        TRY(r);
        if (page.count == 0) return OK;
        for (size_t i = 0; i < page.count; i++)
            TRY(s3_store_delete(p->client, page.items[i].key, page.items[i].version_id, &p->why));
    }
    FAIL(ERR_IO, "objects below %s stay although they were deleted", p->folder);
}

/* ---- All ---- */

static void check_objects(struct probe *p) {
    if (note(p, "write", put(p, small(p, 0)), "100 kB")) {
        check_encryption(p);
        note(p, "read", read_same(p, small(p, 0)), "the same bytes");
        note(p, "read a range", read_range(p, 1234, 5678), "the bytes that were asked for");
        note(p, "list", listed(p), "what was just written is there");
        struct result r = put(p, small(p, 7));
        if (is_ok(r)) r = read_same(p, small(p, 7));
        note(p, "write over", r, "the new bytes are read at once");
        check_condition(p);
        note(p, "multipart upload", multipart(p), "5 MiB and a little, in two parts");
        note(p, "abort an upload", abort_one(p), "its parts are gone");
        note(p, "delete", delete_one(p), "it is gone at once");
    }
    note(p, "remove", remove_all(p), "nothing is left behind");
}

static void check_versions(struct probe *p) {
    bool has = false;
    struct result r = s3_store_has_versions(p->client, &has, &p->why);
    if (r.code == ERR_UNSUPPORTED || r.code == ERR_FORBIDDEN) {
        store_check_tell(p->c, "old versions",
                         r.code == ERR_FORBIDDEN ? "these credentials may not ask (s3:GetBucketVersioning)"
                                                 : "the store can't tell");
    } else {
        note(p, "old versions", r,
             has ? "kept by the bucket: what is overwritten or deleted stays, encrypted, until a lifecycle rule of the "
                   "bucket "
                   "expires it; wrapped keys of a deleted organization are deleted in all versions"
                 : "not kept by the bucket");
    }
    p->why = (struct s3_failure){0};
}

static struct result make_content(struct probe *p) {
    size_t n = S3_STORE_MIN_PART_BYTES + TAIL_BYTES;
    p->content = mem_alloc(n);
    uint8_t id[8];
    TRY(random_bytes(p->content, n));
    TRY(random_bytes(id, sizeof id));
    BUF_AUTO(hex, 32);
    hex_encode(slice_make(id, sizeof id), &hex);
    const char *prefix = p->r->store_prefix;
    p->folder = str_format("%s%s.check-%s/", prefix, prefix[0] ? "/" : "", buf_str(&hex));
    p->object = str_format("%sobject", p->folder);
    return OK;
}

static void run(struct probe *p, struct http_pool *pool) {
    const struct config_region *r = p->r;
    AUTO(credentials_provider_free_auto) struct credentials_provider *credentials = NULL;
    const struct credentials_provider_options chain = {
        .source = {.profile = r->store_profile}, .region = r->store_endpoint ? NULL : r->store_region, .pool = pool};
    struct result found = credentials_provider_new(&chain, &credentials);
    if (!store_check_note(p->c, "credentials", found, is_ok(found) ? credentials_provider_source(credentials) : NULL,
                          "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, store.profile, or the role of the instance "
                          "or container"))
        return;
    const struct s3_store_client_options options = {.pool = pool,
                                                    .credentials = credentials,
                                                    .endpoint = r->store_endpoint,
                                                    .region = r->store_region,
                                                    .bucket = r->store_bucket,
                                                    .path_style = strcmp(r->store_path_style, "true") == 0,
                                                    .key_arn = p->key_arn,
                                                    .context_org = p->key_arn ? "check" : NULL,
                                                    .context_region = p->key_arn ? r->name : NULL,
                                                    .bucket_key = strcmp(r->encryption, "sealed+sse-kms") == 0,
                                                    .total_timeout_ms = TIME_MS,
                                                    .max_attempts = ATTEMPTS};
    struct result made = make_content(p);
    if (is_ok(made)) made = s3_store_client_new(&options, &p->client);
    if (is_ok(made)) made = s3_store_head_bucket(p->client, &p->why);
    AUTO_FREE char *where =
        str_format("%s, region %s, %s", r->store_endpoint ? r->store_endpoint : "AWS", r->store_region,
                   options.path_style ? "its name in the path" : "its name in the host");
    if (note(p, "bucket", made, where)) {
        check_versions(p);
        check_objects(p);
    }
    s3_store_client_free(p->client);
    mem_free(p->content);
    mem_free(p->folder);
    mem_free(p->object);
}

void store_check_s3(struct store_check *c, const struct config_region *r, const char *key_arn) {
    struct probe p = {.c = c, .r = r, .key_arn = key_arn};
    http_client_start();
    struct http_pool *pool = NULL;
    struct result made = http_pool_new(&pool);
    if (is_err(made)) {
        store_check_note(c, "bucket", made, NULL, "");
        return;
    }
    run(&p, pool);
    http_pool_free(pool);
}
