/* A shelf that is a bucket: PREFIX/<org>/keys/<id>.json. What deletes, deletes older versions as well. */
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "keyring/shelf.h"

enum { REMOVE_PASSES = 5, REMOVE_WAIT_MS = 200 };

struct s3_shelf {
    struct shelf shelf;
    struct s3_store_client_options options; /* the strings are owned */
    struct s3_store_client *client;         /* asks for no encryption: never writes */
    char *prefix;                           /* "" or with a slash at its end */
    char *local;
    bool sse_kms;
};

static struct s3_shelf *of(struct shelf *s) {
    return (struct s3_shelf *)s;
}

static char *key_of(struct shelf *s, const char *org, const char *id) {
    return str_format("%s%s/keys/%s.json", of(s)->prefix, org, id);
}

static struct result s3_read(struct shelf *s, const char *org, const char *id, struct buf *out) {
    AUTO_FREE char *key = key_of(s, org, id);
    return s3_store_get_whole(of(s)->client, key, SHELF_TEXT_MAX_BYTES, out, NULL, NULL);
}

/* What S3 says of the object itself, after it said that it encrypted it. */
static struct result check_encrypted(struct s3_store_client *c, const char *key, const char *kms_key_arn) {
    struct s3_head head;
    TRY(s3_store_head(c, key, &head, NULL));
    CHECK(
        head.is_kms && strcmp(head.key_id, kms_key_arn) == 0, ERR_PEER,
        "the store says that %s is encrypted %s%s, not under the organization's key: it does not do what it was asked "
        "for, so nothing is kept there",
        key, head.is_kms ? "under " : "in another way, or not at all", head.is_kms ? head.key_id : "");
    return OK;
}

static struct result remove_below(struct s3_shelf *t, const char *prefix);

static struct result s3_write(struct shelf *s, const char *org, const char *kms_key_arn, const char *id,
                              struct slice text) {
    struct s3_shelf *t = of(s);
    struct s3_store_client_options o = t->options;
    if (t->sse_kms) {
        o.key_arn = kms_key_arn;
        o.context_org = org;
    } else {
        o.context_region = NULL;
    }
    AUTO(s3_store_client_free_auto) struct s3_store_client *writer = NULL;
    TRY(s3_store_client_new(&o, &writer));
    AUTO_FREE char *key = key_of(s, org, id);
    char etag[S3_STORE_ETAG_BYTES];
    TRY(s3_store_put(writer, &(struct s3_put){.key = key, .body = text}, etag, NULL));
    if (!t->sse_kms) return OK;
    struct result checked = check_encrypted(writer, key, kms_key_arn);
    if (is_ok(checked)) return OK;
    AUTO_FREE char *why = str_dup(err_detail());
    if (is_err(remove_below(t, key))) log_warn("key.left", KV("org", org), KV("key", key));
    return err_make(checked.code, "%s", why);
}

/* ---- Listings ---- */

/* Calls `each` with a page of what stands below a prefix, until it was the last one. */
typedef struct result each_page(void *arg, const struct s3_entries *page);
typedef struct result list_fn(struct s3_store_client *c, const struct s3_list *list, struct s3_entries *ret,
                              struct s3_failure *why);

static struct result walk(struct s3_shelf *t, list_fn *list, const char *prefix, const char *delimiter, each_page *each,
                          void *arg) {
    AUTO(s3_entries_done) struct s3_entries page = {0};
    for (bool is_first = true;; is_first = false) {
        struct s3_entries next = {0};
        const struct s3_list query = {.prefix = prefix, .delimiter = delimiter, .after = is_first ? NULL : &page};
        TRY(list(t->client, &query, &next, NULL));
        s3_entries_done(&page);
        page = next;
        TRY(each(arg, &page));
        if (!page.next) return OK;
    }
}

struct names {
    shelf_each *each;
    void *arg;
    size_t skip; /* bytes of the prefix */
    bool are_orgs;
};

static struct result tell_names(void *arg, const struct s3_entries *page) {
    const struct names *n = arg;
    for (size_t i = 0; i < page->count; i++) {
        const struct s3_entry *e = &page->items[i];
        size_t len = strlen(e->key);
        if (len <= n->skip || e->is_prefix != n->are_orgs) continue;
        const char *name = e->key + n->skip;
        size_t rest = len - n->skip;
        if (n->are_orgs && (name[0] != 'o' || name[rest - 1] != '/')) continue;
        bool is_key =
            rest == SHELF_ID_HEX + 5 && strcmp(name + SHELF_ID_HEX, ".json") == 0 && shelf_is_id(name, SHELF_ID_HEX);
        if (!n->are_orgs && !is_key) continue;
        AUTO_FREE char *id = str_ndup(name, n->are_orgs ? rest - 1 : SHELF_ID_HEX);
        TRY(n->each(n->arg, id));
    }
    return OK;
}

static struct result s3_list(struct shelf *s, const char *org, shelf_each *each, void *arg) {
    AUTO_FREE char *prefix = str_format("%s%s/keys/", of(s)->prefix, org);
    struct names n = {.each = each, .arg = arg, .skip = strlen(prefix)};
    return walk(of(s), s3_store_list, prefix, "/", tell_names, &n);
}

static struct result s3_list_orgs(struct shelf *s, shelf_each *each, void *arg) {
    struct names n = {.each = each, .arg = arg, .skip = strlen(of(s)->prefix), .are_orgs = true};
    return walk(of(s), s3_store_list, of(s)->prefix, "/", tell_names, &n);
}

static struct result refuse_data(void *arg, const struct s3_entries *page) {
    const char *keys = arg;
    for (size_t i = 0; i < page->count; i++)
        CHECK(strcmp(page->items[i].key, keys) == 0, ERR_CONFLICT, "there is %s already", page->items[i].key);
    return OK;
}

static struct result s3_must_be_bare(struct shelf *s, const char *org) {
    AUTO_FREE char *prefix = str_format("%s%s/", of(s)->prefix, org);
    AUTO_FREE char *keys = str_format("%skeys/", prefix);
    return walk(of(s), s3_store_list, prefix, "/", refuse_data, keys);
}

/* ---- Removing ---- */

struct removal {
    struct s3_shelf *t;
    size_t seen;
};

static struct result remove_page(void *arg, const struct s3_entries *page) {
    struct removal *r = arg;
    if (page->count == 0) return OK;
    r->seen += page->count;
    AUTO_FREE struct s3_name *names = mem_alloc_array(page->count, sizeof *names);
    for (size_t i = 0; i < page->count; i++)
        names[i] = (struct s3_name){page->items[i].key, page->items[i].version_id};
    return s3_store_delete_many(r->t->client, names, page->count, NULL);
}

static struct result abort_page(void *arg, const struct s3_entries *page) {
    struct removal *r = arg;
    for (size_t i = 0; i < page->count; i++)
        TRY(s3_store_upload_abort(r->t->client, page->items[i].key, page->items[i].upload_id, NULL));
    return OK;
}

/* All objects below a prefix, in every version, until none is found: a gateway that is just dying may still finish a
 * write. */
static struct result remove_below(struct s3_shelf *t, const char *prefix) {
    for (int pass = 0; pass < REMOVE_PASSES; pass++) {
        if (pass > 1) clock_sleep_ms(REMOVE_WAIT_MS);
        struct removal r = {.t = t};
        struct result removed = walk(t, s3_store_list_versions, prefix, NULL, remove_page, &r);
        /* A store without versions has no listing of them. */
        if (removed.code == ERR_UNSUPPORTED) removed = walk(t, s3_store_list, prefix, NULL, remove_page, &r);
        TRY(removed);
        if (r.seen == 0) return OK;
    }
    FAIL(ERR_IO, "objects below %s come back, or stay although they were deleted (is there a retention on them?)",
         prefix);
}

static struct result s3_remove_keys(struct shelf *s, const char *org) {
    AUTO_FREE char *prefix = str_format("%s%s/keys/", of(s)->prefix, org);
    struct result r = remove_below(of(s), prefix);
    if (is_ok(r)) return OK;
    AUTO_FREE char *why = str_dup(err_detail());
    FAIL(r.code,
         "not every copy of the wrapped keys below %s/%s/keys can be deleted (%s); the credentials of Lockset need "
         "s3:ListBucketVersions, s3:DeleteObject and s3:DeleteObjectVersion",
         s->place, org, why);
}

static void s3_remove_rest(struct shelf *s, const char *org, json_t *remains) {
    AUTO_FREE char *prefix = str_format("%s%s/", of(s)->prefix, org);
    AUTO_FREE char *locks = str_format("%s/%s", of(s)->local, org);
    if (is_err(file_remove_tree(locks))) log_warn("org.locks_remain", KV("folder", locks), KV("reason", err_detail()));
    struct removal r = {.t = of(s)};
    struct result aborted = walk(of(s), s3_store_list_uploads, prefix, NULL, abort_page, &r);
    if (is_err(aborted) && aborted.code != ERR_UNSUPPORTED)
        log_warn("org.uploads_remain", KV("org", org), KV("store", s->place), KV("reason", err_detail()));
    if (is_ok(remove_below(of(s), prefix))) return;
    log_error("org.remains", KV("org", org), KV("folder", s->place), KV("reason", err_detail()));
    AUTO_FREE char *text = str_format("%s/%s (%.300s)", s->place, org, err_detail());
    json_array_append_new(remains, json_string(text));
}

/* ---- Opening ---- */

static struct shelf *s3_free(struct shelf *s) {
    struct s3_shelf *t = of(s);
    s3_store_client_free(t->client);
    mem_free(mem_unconst(t->options.endpoint));
    mem_free(mem_unconst(t->options.region));
    mem_free(mem_unconst(t->options.bucket));
    mem_free(mem_unconst(t->options.context_region));
    mem_free(t->prefix);
    mem_free(t->local);
    mem_free(s->place);
    mem_free(t);
    return NULL;
}

static const struct shelf_kind s3_kind = {.read = s3_read,
                                          .write = s3_write,
                                          .list = s3_list,
                                          .must_be_bare = s3_must_be_bare,
                                          .remove_keys = s3_remove_keys,
                                          .remove_rest = s3_remove_rest,
                                          .list_orgs = s3_list_orgs,
                                          .free = s3_free};

struct result shelf_open_s3(const struct shelf_s3_options *o, struct shelf **ret) {
    bool has_prefix = o->prefix[0] != '\0';
    struct s3_shelf *t = mem_alloc(sizeof *t);
    *t = (struct s3_shelf){
        .shelf = {.kind = &s3_kind, .place = str_format("s3://%s%s%s", o->bucket, has_prefix ? "/" : "", o->prefix)},
        .options = {.pool = o->pool,
                    .credentials = o->credentials,
                    .endpoint = o->endpoint ? str_dup(o->endpoint) : NULL,
                    .region = str_dup(o->signing_region),
                    .bucket = str_dup(o->bucket),
                    .path_style = o->path_style,
                    .context_region = str_dup(o->region),
                    .bucket_key = o->bucket_key},
        .prefix = str_format("%s%s", o->prefix, has_prefix ? "/" : ""),
        .local = str_dup(o->local),
        .sse_kms = o->sse_kms,
    };
    struct s3_store_client_options reader = t->options;
    reader.context_region = NULL;
    reader.bucket_key = false;
    struct result r = s3_store_client_new(&reader, &t->client);
    if (is_err(r)) {
        AUTO_FREE char *why = str_dup(err_detail());
        s3_free(&t->shelf);
        return err_make(r.code, "%s", why);
    }
    *ret = &t->shelf;
    return OK;
}
