/* The store's S3 client from the command line: one operation, its outcome as a line of JSON. Settings by environment:
 * S3_ENDPOINT, S3_REGION, S3_BUCKET, S3_KEY_ARN, S3_BUCKET_KEY=1, S3_TIMEOUT_MS, S3_TOTAL_MS, S3_ATTEMPTS; credentials
 * by the standard chain. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws/s3_store_client.h"
#include "base/file.h"
#include "base/json.h"

static struct s3_failure failure;
static struct buf out;
static json_t *told;

static void tell_str(const char *name, const char *value) {
    json_object_set_new(told, name, json_string(value));
}

static void tell_int(const char *name, int64_t value) {
    json_object_set_new(told, name, json_integer(value));
}

static unsigned number(const char *name) {
    const char *value = getenv(name);
    return value ? (unsigned)atoi(value) : 0;
}

static bool take(void *arg, struct slice piece) {
    fwrite(piece.data, 1, piece.len, arg);
    return true;
}

static void tell_head(const struct s3_head *h) {
    tell_int("size", h->size);
    tell_int("modified_ms", h->modified_ms);
    tell_str("etag", h->etag);
    json_object_set_new(told, "is_kms", json_boolean(h->is_kms));
    tell_str("key_id", h->key_id);
}

static struct result put(struct s3_store_client *c, char **a) {
    char etag[S3_STORE_ETAG_BYTES] = "";
    BUF_AUTO(body, 1 << 30);
    TRY(file_read(a[1], 1 << 30, &body));
    struct s3_put put = {.key = a[0], .body = buf_slice(&body), .only_new = a[2] != NULL};
    struct result r = s3_store_put(c, &put, etag, &failure);
    tell_str("etag", etag);
    return r;
}

/* KEY FROM LENGTH FILE [ETAG] */
static struct result get(struct s3_store_client *c, char **a) {
    FILE *f = fopen(a[3], "wb");
    CHECK(f, ERR_IO, "%s can't be written", a[3]);
    struct s3_get get = {.key = a[0], .etag = a[4], .from = atoll(a[1]), .length = atoll(a[2]), .take = take, .arg = f};
    struct s3_head head = {0};
    struct result r = s3_store_get(c, &get, &head, &failure);
    fclose(f);
    tell_head(&head);
    return r;
}

/* KEY MAX FILE */
static struct result whole(struct s3_store_client *c, char **a) {
    BUF_AUTO(body, (size_t)atoll(a[1]));
    struct s3_head head = {0};
    TRY(s3_store_get_whole(c, a[0], (size_t)atoll(a[1]), &body, &head, &failure));
    tell_head(&head);
    return file_write_atomic(a[2], buf_slice(&body), 0600);
}

static struct result head(struct s3_store_client *c, char **a) {
    struct s3_head h = {0};
    struct result r = s3_store_head(c, a[0], &h, &failure);
    tell_head(&h);
    return r;
}

static struct result delete (struct s3_store_client *c, char **a) {
    return s3_store_delete(c, a[0], a[1], &failure);
}

static struct result delete_many(struct s3_store_client *c, char **a) {
    size_t n = 0;
    while (a[n])
        n++;
    AUTO_FREE struct s3_name *names = mem_alloc_array(n + 1, sizeof *names);
    for (size_t i = 0; i < n; i++)
        names[i].key = a[i];
    return s3_store_delete_many(c, names, n, &failure);
}

static void tell_page(json_t *list, const struct s3_entries *page) {
    for (size_t i = 0; i < page->count; i++) {
        const struct s3_entry *e = &page->items[i];
        json_array_append_new(list, json_pack("{ss ss* ss* ss sI sb sb sb}", "key", e->key, "version_id", e->version_id,
                                              "upload_id", e->upload_id, "etag", e->etag, "size", (json_int_t)e->size,
                                              "is_prefix", e->is_prefix, "is_latest", e->is_latest, "is_delete_marker",
                                              e->is_delete_marker));
    }
}

/* objects|versions|uploads PREFIX DELIMITER START_AFTER PAGE ("" for none) */
static struct result list(struct s3_store_client *c, char **a) {
    json_t *items = json_array();
    json_object_set_new(told, "items", items);
    AUTO(s3_entries_done) struct s3_entries page = {0}, next = {0};
    struct result r = OK;
    for (int64_t n = 1;; n++) {
        struct s3_list l = {.prefix = a[1],
                            .delimiter = *a[2] ? a[2] : NULL,
                            .start_after = *a[3] ? a[3] : NULL,
                            .after = n > 1 ? &page : NULL,
                            .max_keys = (unsigned)atoi(a[4])};
        if (strcmp(a[0], "objects") == 0) r = s3_store_list(c, &l, &next, &failure);
        if (strcmp(a[0], "versions") == 0) r = s3_store_list_versions(c, &l, &next, &failure);
        if (strcmp(a[0], "uploads") == 0) r = s3_store_list_uploads(c, &l, &next, &failure);
        TRY(r);
        s3_entries_done(&page);
        page = next;
        next = (struct s3_entries){0};
        tell_page(items, &page);
        tell_int("pages", n);
        if (!page.next) return OK;
    }
}

/* KEY FILE PART_BYTES [leave] */
static struct result upload(struct s3_store_client *c, char **a) {
    BUF_AUTO(body, 1 << 30);
    AUTO_FREE char *id = NULL;
    TRY(file_read(a[1], 1 << 30, &body));
    TRY(s3_store_upload_create(c, a[0], &id, &failure));
    tell_str("upload_id", id);
    size_t step = (size_t)atoll(a[2]), count = 0;
    AUTO_FREE struct s3_upload_part *parts = mem_alloc_array(body.len / step + 1, sizeof *parts);
    for (size_t at = 0; at < body.len; at += step) {
        struct slice piece = slice_make(body.data + at, body.len - at < step ? body.len - at : step);
        parts[count].number = (unsigned)count + 1;
        TRY(s3_store_upload_part(c, a[0], id, parts[count].number, piece, parts[count].etag, &failure));
        count++;
    }
    if (a[3]) return OK;
    char etag[S3_STORE_ETAG_BYTES] = "";
    TRY(s3_store_upload_complete(c, a[0], id, parts, count, (int64_t)body.len, etag, &failure));
    tell_str("etag", etag);
    return OK;
}

static struct result abort_upload(struct s3_store_client *c, char **a) {
    return s3_store_upload_abort(c, a[0], a[1], &failure);
}

static struct result bucket(struct s3_store_client *c, char **a) {
    bool has = false;
    TRY(s3_store_head_bucket(c, &failure));
    TRY(s3_store_has_versions(c, &has, &failure));
    json_object_set_new(told, "has_versions", json_boolean(has));
    return OK;
}

static const struct {
    const char *name;
    int least;
    struct result (*run)(struct s3_store_client *c, char **a);
} operations[] = {{"put", 2, put},      {"get", 4, get},       {"whole", 3, whole},
                  {"head", 1, head},    {"delete", 1, delete}, {"delete-many", 1, delete_many},
                  {"list", 5, list},    {"upload", 3, upload}, {"abort", 2, abort_upload},
                  {"bucket", 0, bucket}};

/* [REFRESH_MS]: once more after that time. */
static struct result credentials(struct credentials_provider *p, char **a) {
    CREDENTIALS_AUTO(c);
    TRY(credentials_provider_get(p, &c));
    tell_str("source", credentials_provider_source(p));
    tell_str("access_key_id", c.access_key_id);
    AUTO_FREE char *key = slice_to_str(secret_view(&c.secret_key));
    AUTO_FREE char *token = slice_to_str(secret_view(&c.session_token));
    tell_str("secret_key", key);
    tell_str("token", token);
    tell_int("expires_unix_ms", c.expires_unix_ms);
    return OK;
}

static struct result run(int argc, char **argv) {
    AUTO(credentials_provider_free_auto) struct credentials_provider *p = NULL;
    AUTO(s3_store_client_free_auto) struct s3_store_client *c = NULL;
    struct http_pool *pool;
    TRY(http_pool_new(&pool));
    struct credentials_provider_options po = {.pool = pool, .region = getenv("S3_REGION")};
    TRY(credentials_provider_new(&po, &p));
    if (argc > 1 && strcmp(argv[1], "credentials") == 0) return credentials(p, argv + 2);
    struct s3_store_client_options o = {.pool = pool,
                                        .credentials = p,
                                        .endpoint = getenv("S3_ENDPOINT"),
                                        .region = getenv("S3_REGION"),
                                        .bucket = getenv("S3_BUCKET"),
                                        .path_style = true,
                                        .key_arn = getenv("S3_KEY_ARN"),
                                        .context_org = "org-of-tests",
                                        .context_region = "us-west-2",
                                        .bucket_key = number("S3_BUCKET_KEY") != 0,
                                        .attempt_timeout_ms = number("S3_TIMEOUT_MS"),
                                        .total_timeout_ms = number("S3_TOTAL_MS"),
                                        .max_attempts = number("S3_ATTEMPTS")};
    TRY(s3_store_client_new(&o, &c));
    for (size_t i = 0; i < ARRAY_LEN(operations); i++)
        if (argc > 1 + operations[i].least && strcmp(argv[1], operations[i].name) == 0)
            return operations[i].run(c, argv + 2);
    FAIL(ERR_INVALID, "usage: s3-harness OPERATION ...");
}

int main(int argc, char **argv) {
    if (is_err(secret_start(1 << 20, true))) return 2;
    http_client_start();
    told = json_object();
    struct result r = run(argc, argv);
    tell_str("result", is_ok(r) ? "OK" : err_name(r.code));
    tell_str("detail", is_ok(r) ? "" : err_detail());
    tell_str("trouble", s3_trouble_name(failure.trouble));
    tell_str("code", failure.code);
    tell_int("status", failure.http_status);
    tell_int("attempts", failure.attempts);
    json_object_set_new(told, "unsure", json_boolean(failure.unsure));
    buf_init(&out, 64 << 20);
    if (is_err(json_write(told, &out))) return 2;
    puts(buf_str(&out));
    buf_done(&out);
    json_decref(told);
    return 0;
}
