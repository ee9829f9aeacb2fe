/* Requests of the store to S3, turns, and the opening and closing of a store that is there. */
#include <string.h>

#include "store/remote_priv.h"

struct result remote_new(const struct store_s3 *options, struct remote **ret) {
    size_t len = strlen(options->prefix);
    CHECK(len == 0 || (options->prefix[len - 1] == '/' && len < S3_STORE_MAX_KEY_BYTES / 2), ERR_INVALID,
          "the prefix of a store in S3 must end with '/' and have less than %d bytes", S3_STORE_MAX_KEY_BYTES / 2);
    struct remote *r = mem_alloc(sizeof *r);
    r->client = options->client;
    r->prefix = str_dup(options->prefix);
    r->key_arn = str_dup(options->key_arn);
    r->is_verified = options->key_arn == NULL;
    r->version = options->in_clear ? SEALED_VERSION_CLEAR : SEALED_VERSION;
    r->key_refused = options->key_refused;
    r->arg = options->arg;
    r->trash_end = &r->trash;
    pthread_cond_init(&r->changed, NULL);
    *ret = r;
    return OK;
}

struct remote *remote_free(struct remote *r) {
    if (!r) return NULL;
    while (r->trash) {
        struct remote_trash *next = r->trash->next;
        mem_free(r->trash->key);
        mem_free(r->trash->upload_id);
        mem_free(r->trash);
        r->trash = next;
    }
    for (size_t i = 0; i < ARRAY_LEN(r->shares); i++) {
        while (r->shares[i]) {
            struct remote_share *next = r->shares[i]->next;
            mem_free(r->shares[i]->sharers);
            mem_free(r->shares[i]);
            r->shares[i] = next;
        }
    }
    mem_free(r->candidates);
    pthread_cond_destroy(&r->changed);
    mem_free(r->prefix);
    mem_free(r->key_arn);
    mem_free(r);
    return NULL;
}

struct result remote_start(struct store *s) {
    TRY(remote_shares_load(s));
    TRY(remote_uploads_load(s));
    return remote_sweep_start(s);
}

void remote_stop(struct store *s) {
    struct remote *r = s->remote;
    if (!r || !r->has_thread) return;
    store_lock(s);
    r->stops = true;
    remote_announce(s);
    store_unlock(s);
    pthread_join(r->thread, NULL);
    r->has_thread = false;
}

unsigned remote_version(const struct store *s) {
    return s->remote ? s->remote->version : SEALED_VERSION;
}

/* ---- Turns ---- */

void remote_await(struct store *s) {
    pthread_cond_wait(&s->remote->changed, &s->lock);
}

void remote_announce(struct store *s) {
    pthread_cond_broadcast(&s->remote->changed);
}

static bool turn_is_taken(const struct store *s, const char *key) {
    for (const struct remote_turn *t = s->remote->turns; t; t = t->next)
        if (strcmp(t->key, key) == 0) return true;
    return false;
}

void remote_turn_enter(struct store *s, struct remote_turn *turn, const char *key, const struct record *record) {
    while (turn_is_taken(s, key))
        remote_await(s);
    *turn = (struct remote_turn){key, record, s->remote->turns};
    s->remote->turns = turn;
}

void remote_turn_leave(struct store *s, struct remote_turn *turn) {
    struct remote_turn **at = &s->remote->turns;
    while (*at != turn)
        at = &(*at)->next;
    *at = turn->next;
    remote_announce(s);
}

/* ---- Requests ---- */

struct result remote_key(const struct store *s, const char *path, struct buf *ret) {
    buf_append_str(ret, s->remote->prefix);
    buf_append_str(ret, path);
    CHECK(is_ok(buf_check(ret)), ERR_INVALID, "the object's key is too long for a store in S3 once it is sealed");
    return OK;
}
#define KEY_AUTO(name) BUF_AUTO(name, S3_STORE_MAX_KEY_BYTES)

struct result remote_result(struct store *s, struct result r, const struct s3_failure *why) {
    if (is_ok(r)) return r;
    AUTO_FREE char *detail = str_dup(err_detail());
    enum err_code code = r.code;
    switch (why->trouble) {
    case S3_TROUBLE_KEY_REFUSED:
        if (s->remote->key_refused) s->remote->key_refused(s->remote->arg, why);
        code = ERR_NO_LEASE;
        break;
    case S3_TROUBLE_ACCESS:
    case S3_TROUBLE_NO_BUCKET:
        code = ERR_UNREACHABLE; /* the operator's affair, not the tenant's */
        break;
    case S3_TROUBLE_PRECONDITION:
    case S3_TROUBLE_UNSUPPORTED:
    case S3_TROUBLE_NOT_ENCRYPTED:
    case S3_TROUBLE_BROKEN:
    case S3_TROUBLE_REFUSED:
        code = ERR_IO;
        break;
    case S3_TROUBLE_NONE:
    case S3_TROUBLE_THROTTLED:
    case S3_TROUBLE_UNREACHABLE:
    case S3_TROUBLE_NOT_FOUND:
    case S3_TROUBLE_RANGE:
    case S3_TROUBLE_CANCELLED:
    case S3_TROUBLE_MAX:
        break;
    }
    return err_make(code, "the store in S3: %s", detail);
}

/* The first object that was written: does S3 say of it, too, that it is encrypted with the key? */
static struct result verify(struct store *s, const char *key) {
    struct remote *r = s->remote;
    if (r->is_verified) return OK;
    struct s3_failure why = {0};
    struct s3_head head = {0};
    TRY(remote_result(s, s3_store_head(r->client, key, &head, &why), &why));
    CHECK(head.is_kms && strcmp(head.key_id, r->key_arn) == 0, ERR_IO,
          "the store in S3 does not encrypt with the organization's key, although it said so");
    r->is_verified = true;
    return OK;
}

struct result remote_put(struct store *s, const char *path, struct slice content, bool *ret_unsure) {
    KEY_AUTO(key);
    TRY(remote_key(s, path, &key));
    char etag[S3_STORE_ETAG_BYTES];
    struct s3_failure why = {0};
    const struct s3_put put = {.key = buf_str(&key), .body = content};
    struct result r = s3_store_put(remote_client(s), &put, etag, &why);
    *ret_unsure = is_err(r) && why.unsure;
    TRY(remote_result(s, r, &why));
    r = verify(s, buf_str(&key));
    *ret_unsure = is_err(r);
    return r;
}

struct result remote_delete_path(struct store *s, const char *path) {
    KEY_AUTO(key);
    TRY(remote_key(s, path, &key));
    struct s3_failure why = {0};
    struct result r = s3_store_delete(remote_client(s), buf_str(&key), NULL, &why);
    if (r.code == ERR_NOT_FOUND && why.trouble == S3_TROUBLE_NOT_FOUND) return OK;
    return remote_result(s, r, &why);
}

static struct result visit_page(struct store *s, const struct s3_entries *page, remote_visit_fn *visit, void *arg) {
    size_t skip = strlen(s->remote->prefix);
    for (size_t i = 0; i < page->count; i++) {
        const char *key = page->items[i].key;
        CHECK(strncmp(key, s->remote->prefix, skip) == 0, ERR_IO, "the store in S3 lists what was not asked for");
        TRY(visit(arg, key + skip, &page->items[i]));
    }
    return OK;
}

struct result remote_walk(struct store *s, const char *path, const char *delimiter, remote_visit_fn *visit, void *arg) {
    KEY_AUTO(prefix);
    TRY(remote_key(s, path, &prefix));
    AUTO(s3_entries_done) struct s3_entries page = {0};
    for (bool first = true; first || page.next; first = false) {
        struct s3_entries next = {0};
        struct s3_failure why = {0};
        const struct s3_list list = {.prefix = buf_str(&prefix), .delimiter = delimiter, .after = first ? NULL : &page};
        TRY(lease_check(s->lease));
        TRY(remote_result(s, s3_store_list(remote_client(s), &list, &next, &why), &why));
        s3_entries_done(&page);
        page = next;
        TRY(visit_page(s, &page, visit, arg));
    }
    return OK;
}

/* ---- Records ---- */

struct result remote_put_record(struct store *s, const struct record *record, struct slice context, const char *path,
                                bool *ret_unsure) {
    *ret_unsure = false;
    BUF_AUTO(sealed, RECORD_MAX_BYTES + RECORD_MAX_BYTES / 1024);
    TRY(store_seal_record(s, record, context, &sealed));
    return remote_put(s, path, buf_slice(&sealed), ret_unsure);
}

struct result remote_open_record(struct store *s, const char *path, struct slice context, struct buf *out) {
    KEY_AUTO(key);
    TRY(remote_key(s, path, &key));
    BUF_AUTO(sealed, RECORD_MAX_BYTES + RECORD_MAX_BYTES / 1024);
    struct s3_failure why = {0};
    struct s3_head head = {0};
    struct result r = s3_store_get_whole(remote_client(s), buf_str(&key), sealed.max, &sealed, &head, &why);
    CHECK(r.code != ERR_TOO_LARGE, ERR_CORRUPT, "a record of an impossible size");
    TRY(remote_result(s, r, &why));
    return sealed_open(s->lease, context, buf_slice(&sealed), out);
}

struct result remote_read_record(struct store *s, const char *path, struct slice context, struct record *ret) {
    AUTO(buf_done) struct buf plain;
    buf_init_wiping(&plain, RECORD_MAX_BYTES + LEASE_CHUNK_BYTES);
    TRY(remote_open_record(s, path, context, &plain));
    return record_parse(buf_slice(&plain), ret);
}
